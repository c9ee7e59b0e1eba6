"""The loss-sensitive formulas against loops over single numbers, written from arXiv 1701.06264."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clsgan.objectives import (
    all_pairs_critic,
    at_label,
    class_losses,
    leaky_cost,
    loss_sensitive_critic,
    loss_sensitive_generator,
    open_class_losses,
    outlier_probability,
    pair_margins,
    pixel_margin,
    unlabeled_loss,
)

scores = st.lists(st.floats(-30, 30), min_size=2, max_size=6)


def random_logits(rows: int = 7, classes: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


def assert_close(given: Tensor, expected: list) -> None:
    assert given.dtype == torch.float64
    torch.testing.assert_close(given, torch.tensor(expected, dtype=torch.float64))


def plain_losses(a: list[float]) -> list[float]:
    """Eq. 17: L(x, l) = -log(exp(a_l) / sum_k exp(a_k))."""
    return [-math.log(math.exp(a_l) / sum(math.exp(a_k) for a_k in a)) for a_l in a]


def open_losses(a: list[float]) -> list[float]:
    """Section 6.1: L(x, l) = -log(exp(a_l) / (1 + sum_k exp(a_k)))."""
    return [-math.log(math.exp(a_l) / (1 + sum(math.exp(a_k) for a_k in a))) for a_l in a]


def test_class_losses_are_equation_17() -> None:
    logits = random_logits()
    assert_close(class_losses(logits), [plain_losses(a) for a in logits.tolist()])


def test_open_class_losses_have_the_one_in_the_denominator() -> None:
    logits = random_logits()
    assert_close(open_class_losses(logits), [open_losses(a) for a in logits.tolist()])


def test_unlabeled_loss_is_the_smallest_open_loss() -> None:
    logits = random_logits()
    assert_close(unlabeled_loss(logits), [min(open_losses(a)) for a in logits.tolist()])


def test_outlier_probability_is_what_the_classes_leave() -> None:
    logits = random_logits()
    expected = [1 / (1 + sum(math.exp(a_k) for a_k in a)) for a in logits.tolist()]
    assert_close(outlier_probability(logits), expected)


@settings(deadline=None, derandomize=True, database=None)
@given(scores)
def test_classes_and_outlier_share_one(a: list[float]) -> None:
    logits = torch.tensor([a], dtype=torch.float64)
    total = open_class_losses(logits).neg().exp().sum() + outlier_probability(logits)
    assert float(total) == pytest.approx(1, abs=1e-12)


@settings(deadline=None, derandomize=True, database=None)
@given(scores)
def test_the_one_changes_no_order_of_the_classes(a: list[float]) -> None:
    logits = torch.tensor([a], dtype=torch.float64)
    shift = open_class_losses(logits) - class_losses(logits)
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift))
    plain, with_one = class_losses(logits)[0], open_class_losses(logits)[0]
    assert float(plain[with_one.argmin()]) == pytest.approx(float(plain.min()), abs=1e-12)


def test_the_loss_of_an_outlier_is_not_capped_at_log_k() -> None:
    logits = torch.full((1, 4), -50.0, dtype=torch.float64)
    assert float(unlabeled_loss(logits)) == pytest.approx(50)
    assert float(class_losses(logits).min()) == pytest.approx(math.log(4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [class_losses, open_class_losses])
def test_extreme_scores_neither_overflow_nor_lose_their_gradient(function, dtype) -> None:
    rows = [[1e4, -1e4, 0.0], [1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]]
    logits = torch.tensor(rows, dtype=dtype, requires_grad=True)
    losses = function(logits)
    losses.sum().backward()
    assert losses.isfinite().all() and logits.grad.isfinite().all()
    assert losses[0].tolist() == [0.0, 2e4, 1e4]
    other = 1e4 if function is open_class_losses else math.log(3)
    assert losses[2].tolist() == pytest.approx([other] * 3, rel=1e-6)


def test_extreme_scores_of_unlabeled_rows() -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, -1e4]])
    assert unlabeled_loss(logits).tolist() == [0.0, 1e4]
    assert outlier_probability(logits).tolist() == [0.0, 1.0]


def test_at_label_picks_one_column_a_row() -> None:
    losses, y = random_logits(), torch.tensor([0, 4, 2, 2, 1, 3, 0])
    assert_close(at_label(losses, y), [row[k] for row, k in zip(losses.tolist(), y, strict=True)])


@pytest.mark.parametrize("p", [1, 2])
def test_pixel_margin_is_a_mean_over_pixels(p: int) -> None:
    generator = torch.Generator().manual_seed(1)
    real, fake = torch.rand(2, 3, 2, 4, 5, generator=generator, dtype=torch.float64)
    expected = []
    for x, g in zip(real.flatten(1).tolist(), fake.flatten(1).tolist(), strict=True):
        powers = [abs(a - b) ** p for a, b in zip(x, g, strict=True)]
        expected.append(1.7 * (sum(powers) / len(powers)) ** (1 / p))
    assert_close(pixel_margin(real, fake, 1.7, p), expected)


@pytest.mark.parametrize(("side", "published"), [(32, 0.0008), (64, 0.0002)])
def test_one_margin_scale_is_that_of_the_published_code_at_both_sizes(side, published) -> None:
    generator = torch.Generator().manual_seed(2)
    real, fake = torch.rand(2, 2, 3, side, side, generator=generator, dtype=torch.float64)
    summed = published * (real - fake).abs().sum(dim=(1, 2, 3))
    torch.testing.assert_close(pixel_margin(real, fake, 2.4576), summed)


def test_margin_of_every_pair_by_broadcasting() -> None:
    real, fake = torch.zeros(1, 1, 2, 2), torch.ones(4, 1, 2, 2)
    assert pixel_margin(real, fake, 3.0).tolist() == [3.0] * 4


@pytest.mark.parametrize("p", [1, 2])
def test_margins_carry_no_gradient(p: int) -> None:
    real = torch.rand(2, 1, 3, 3, requires_grad=True)
    fake = torch.rand(2, 1, 3, 3, requires_grad=True)
    assert not pixel_margin(real, fake, 1.0, p).requires_grad


def test_critic_is_the_hinge_of_equations_15_and_18() -> None:
    real, fake, margin = random_logits(3, 40, seed=3).abs()
    expected = [
        max(d + r - f, 0.0)
        for d, r, f in zip(margin.tolist(), real.tolist(), fake.tolist(), strict=True)
    ]
    assert 5 < expected.count(0.0) < 35
    assert_close(loss_sensitive_critic(real, fake, margin), expected)


def test_equation_15_from_scores_to_loss() -> None:
    real, fake = random_logits(seed=4), random_logits(seed=5)
    y, margin = [0, 1, 2, 3, 4, 0, 1], [0.5, 0.1, 3.0, 2.0, 0.0, 1.0, 4.0]
    expected = [
        max(d + open_losses(a)[k] - open_losses(b)[k], 0.0)
        for a, b, k, d in zip(real.tolist(), fake.tolist(), y, margin, strict=True)
    ]
    labels = torch.tensor(y)
    hinge = loss_sensitive_critic(
        at_label(open_class_losses(real), labels),
        at_label(open_class_losses(fake), labels),
        torch.tensor(margin, dtype=torch.float64),
    )
    assert_close(hinge, expected)


def test_critic_pulls_real_losses_down_and_generated_ones_up_where_the_margin_is_broken() -> None:
    real = torch.tensor([1.0, 1.0], requires_grad=True)
    fake = torch.tensor([1.2, 9.0], requires_grad=True)
    loss_sensitive_critic(real, fake, torch.ones(2)).sum().backward()
    assert real.grad.tolist() == [1.0, 0.0] and fake.grad.tolist() == [-1.0, 0.0]


def test_generator_minimises_the_loss_of_its_own_rows() -> None:
    fake = torch.tensor([0.3, 2.0], requires_grad=True)
    loss = loss_sensitive_generator(fake)
    loss.sum().backward()
    assert loss.tolist() == fake.tolist() and fake.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("p", [1, 2, 3])
def test_pair_margins_are_the_margins_of_every_pair(p: int) -> None:
    generator = torch.Generator().manual_seed(7)
    real = torch.rand(3, 2, 4, 5, generator=generator, dtype=torch.float64)
    fake = torch.rand(6, 2, 4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    margins = pair_margins(real, fake, 1.7, p)
    rows = [[float(pixel_margin(x[None], g[None], 1.7, p)) for g in fake] for x in real]
    assert_close(margins, rows)
    assert not margins.requires_grad


def test_pair_margins_of_one_row_with_itself_are_0_in_single_precision() -> None:
    rows = 1000 + torch.rand(40, 50, generator=torch.Generator().manual_seed(0))
    assert pair_margins(rows, rows, 1.0, p=2).diagonal().tolist() == [0.0] * 40


def test_pair_margins_of_half_precision_rows_are_float32() -> None:
    rows = torch.tensor([[0.0], [1.0]], dtype=torch.bfloat16)
    margins = pair_margins(rows, rows.float(), 1.0)
    assert margins.dtype == torch.float32 and margins.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_margin_between_features() -> None:
    real, fake = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 5.0]])
    assert pixel_margin(real, fake, 2.0).tolist() == [3.0]


@pytest.mark.parametrize("slope", [0.0, 0.3, -1.0])
def test_all_pairs_critic_is_the_double_sum_of_equation_8(slope: float) -> None:
    real, fake = random_logits(1, 4, seed=8)[0], random_logits(1, 6, seed=9)[0]
    margins = random_logits(4, 6, seed=10).abs()
    cost = leaky_cost(slope)
    total = 0.0
    for i, r in enumerate(real.tolist()):
        for j, f in enumerate(fake.tolist()):
            a = margins[i, j].item() + r - f
            total += max(a, slope * a)
    given = all_pairs_critic(real, fake, margins, cost)
    assert given.shape == (4,)
    assert float(given.mean()) == pytest.approx(total / 24)


def test_matched_pairs_lie_on_the_diagonal_of_all_pairs() -> None:
    real, fake = random_logits(2, 5, seed=11)
    x, g = random_logits(2, 15, seed=12).reshape(2, 5, 3)
    every = loss_sensitive_critic(real[:, None], fake, pair_margins(x, g, 2.0))
    matched = loss_sensitive_critic(real, fake, pixel_margin(x, g, 2.0))
    torch.testing.assert_close(every.diagonal(), matched)
