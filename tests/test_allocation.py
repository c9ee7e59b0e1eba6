"""A limit of memory that holds for every operation, before it is run."""

import pytest
import torch
from torch import nn

from clsgan.allocation import LimitedAllocation

HUGE = torch.zeros(1).expand(10**13)  # of 4 bytes
LONG = torch.zeros(1).expand(10**7)
MAKERS = {
    "by size": lambda: torch.randn(10**13),
    "like another": lambda: torch.empty_like(HUGE),
    "a range": lambda: torch.arange(10**13),
    "a copy": HUGE.clone,
    "another type": HUGE.double,
    "a sum": lambda: HUGE + 1,
    "a comparison": lambda: HUGE > 0,
    "pairs": lambda: LONG[:, None] - LONG,
    "an outer product": lambda: torch.outer(LONG, LONG),
    "joined": lambda: torch.cat([HUGE, HUGE]),
    "stacked": lambda: torch.stack([HUGE, HUGE]),
    "repeated": lambda: torch.zeros(1).repeat(10**13),
    "gathered": lambda: torch.zeros(1)[torch.zeros(1, dtype=torch.int64).expand(10**13)],
    "a pass": lambda: nn.functional.conv2d(
        torch.zeros(1).expand(1, 1, 10**6, 10**6), torch.zeros(1, 1, 1, 1)
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_too_large_is_not_made(name):
    told = r"it wants \d{10,} bytes or more where 1000000 are due"
    with pytest.raises(ValueError, match=told), LimitedAllocation(10**6, 100):
        MAKERS[name]()


def test_views_and_what_is_written_in_place_are_free():
    with LimitedAllocation(4_000, 1) as limit:
        x = torch.zeros(1000)
        x.view(10, 100)[3].add_(1).normal_()
        x.expand(10**9, 1000).T.unsqueeze(0).detach()
        x.requires_grad_()
    assert (limit.used, limit.made) == (4_000, 1)


def test_layers_are_counted_to_the_byte():
    with LimitedAllocation(10**6, 100) as limit:
        layer = nn.Sequential(nn.Linear(30, 20), nn.BatchNorm1d(20))
    known = [t for t in layer.state_dict().values() if t.dim()]
    assert limit.used == sum(t.nbytes for t in known)


def test_what_was_freed_is_taken_off_and_what_a_view_holds_is_not():
    with LimitedAllocation(10_000, 100):
        for _ in range(20):
            torch.zeros(1000)
        kept = [torch.zeros(1000)[:1] for _ in range(2)]
        with pytest.raises(ValueError, match="it wants 12000 bytes or more where 10000 are due"):
            torch.zeros(1000)
    assert len(kept) == 2


def test_drawn_values_are_counted_before_they_are_made():
    with pytest.raises(ValueError, match="where 1000 are due"), LimitedAllocation(1000, 10):
        torch.randn(10**13, generator=torch.Generator())


def test_the_number_of_tensors():
    told = "more tensors than the 10 that are due"
    with pytest.raises(ValueError, match=told), LimitedAllocation(10**6, 10):
        nn.Sequential(*(nn.Linear(2, 2) for _ in range(6)))


def test_results_and_errors_are_those_of_torch():
    with LimitedAllocation(10**6, 100):
        assert torch.equal(torch.arange(3) * 2, torch.tensor([0, 2, 4]))
        assert torch.tensor([0, 3, 0, 5]).nonzero().tolist() == [[1], [3]]
        q, r = torch.linalg.qr(torch.ones(3, 2))
        torch.testing.assert_close(q @ r, torch.ones(3, 2))
        with pytest.raises(RuntimeError, match="must match the size"):
            torch.zeros(2) + torch.zeros(3)
