"""Penalties against a network whose gradient norm is written down number by number."""

import math

import pytest
import torch
from torch import Tensor, nn

from clsgan.lipschitz import (
    SteepestPoints,
    direct_penalty,
    gradient_norms,
    gradient_penalty,
    interpolates,
    max_gradient_penalty,
)
from clsgan.networks.loss_networks import MLPLossNetwork
from clsgan.objectives import at_label, class_losses


class TwoUnits:
    """f(x) = sum_j v_j tanh(w_j . x + c_j), by numbers: its gradient norm can be written down."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self.w = torch.randn(2, 6, generator=draw, dtype=torch.float64).requires_grad_()
        self.c = torch.randn(2, generator=draw, dtype=torch.float64)
        self.v = torch.randn(2, generator=draw, dtype=torch.float64)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.tanh(x.flatten(1) @ self.w.T + self.c) @ self.v

    def norm(self, x: Tensor) -> float:
        row = x.flatten().tolist()
        gradient = [0.0] * 6
        for w, c, v in zip(self.w.tolist(), self.c.tolist(), self.v.tolist(), strict=True):
            slope = 1 - math.tanh(sum(a * b for a, b in zip(w, row, strict=True)) + c) ** 2
            gradient = [g + v * slope * a for g, a in zip(gradient, w, strict=True)]
        return math.sqrt(sum(g * g for g in gradient))


def rows(n: int = 8) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    real, fake = torch.randn(2, n, 2, 3, 1, generator=draw, dtype=torch.float64)
    return real, fake


def between(real: Tensor, fake: Tensor, seed: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shares = torch.rand(len(real), generator=draw, dtype=torch.float64).tolist()
    return [a * x + (1 - a) * g for a, x, g in zip(shares, real, fake, strict=True)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_close(given: Tensor, expected: list[float] | float) -> None:
    torch.testing.assert_close(given.detach(), torch.tensor(expected, dtype=torch.float64))


def test_gradient_norms_are_those_of_whole_rows() -> None:
    network, (x, _) = TwoUnits(), rows()
    assert_close(gradient_norms(network, x), [network.norm(row) for row in x])
    assert not x.requires_grad


def test_direct_penalty_has_target_0() -> None:
    network, (x, _) = TwoUnits(), rows()
    norms = [network.norm(row) for row in x]
    assert_close(direct_penalty(network, x), norms)
    assert_close(direct_penalty(network, x, squared=True), [norm**2 for norm in norms])


@pytest.mark.parametrize("target", [1.0, 0.4])
@pytest.mark.parametrize("one_sided", [False, True])
def test_gradient_penalty_at_interpolates(one_sided: bool, target: float) -> None:
    network, (real, fake) = TwoUnits(), rows()
    excess = [network.norm(x) - target for x in between(real, fake, 3)]
    assert min(excess) < 0 < max(excess)
    expected = [max(0.0, e) ** 2 if one_sided else e**2 for e in excess]
    given = gradient_penalty(network, real, fake, seeded(3), one_sided=one_sided, target=target)
    assert_close(given, expected)


def test_max_gradient_penalty_is_the_square_of_the_steepest() -> None:
    network, (real, fake) = TwoUnits(), rows()
    steepest = max(network.norm(x) for x in between(real, fake, 3))
    given = max_gradient_penalty(network, real, fake, seeded(3))
    assert given.shape == ()
    assert_close(given, steepest**2)


def test_the_buffer_brings_the_steepest_points_back() -> None:
    network, buffer, (real, fake) = TwoUnits(), SteepestPoints(3), rows()
    kept: list[Tensor] = []
    for seed in range(4):
        points = between(real, fake, seed) + kept
        given = max_gradient_penalty(network, real, fake, seeded(seed), buffer=buffer)
        assert_close(given, max(network.norm(x) for x in points) ** 2)
        kept = sorted(points, key=network.norm, reverse=True)[:3]
        torch.testing.assert_close(buffer.x, torch.stack(kept))
        assert not buffer.x.requires_grad
    # it is from the second step on never below what was found before, for a network at rest
    plain = max_gradient_penalty(network, real, fake, seeded(9))
    assert max_gradient_penalty(network, real, fake, seeded(9), buffer=buffer) >= plain


def test_points_of_the_buffer_come_with_their_labels() -> None:
    scale = torch.tensor([1.0, 10.0, 2.0])
    seen = []

    def network(x: Tensor, y: Tensor) -> Tensor:
        seen.append((x.detach().flatten().tolist(), y.tolist()))
        return scale[y] * x[:, 0]

    buffer, x = SteepestPoints(1), torch.tensor([[1.0], [2.0], [3.0]])
    first = max_gradient_penalty(network, x, x, seeded(0), buffer=buffer, y=torch.tensor([0, 1, 2]))
    again = max_gradient_penalty(network, x, x, seeded(0), buffer=buffer, y=torch.zeros(3).long())
    assert float(first) == float(again) == 100.0
    assert seen == [([1, 2, 3], [0, 1, 2]), ([1, 2, 3, 2], [0, 0, 0, 1])]


def test_a_buffer_larger_than_the_batch_fills_up() -> None:
    network, buffer, (real, fake) = TwoUnits(), SteepestPoints(20), rows()
    for seed, held in enumerate((8, 16, 20, 20)):
        max_gradient_penalty(network, real, fake, seeded(seed), buffer=buffer)
        assert len(buffer.x) == held
    with pytest.raises(ValueError, match="size=0 is not valid"):
        SteepestPoints(0)


PENALTIES = {
    "direct": lambda network, real, fake: direct_penalty(network, real).sum(),
    "squared": lambda network, real, fake: direct_penalty(network, real, squared=True).sum(),
    "two-sided": lambda network, real, fake: gradient_penalty(network, real, fake, seeded(3)).sum(),
    "one-sided": lambda network, real, fake: gradient_penalty(
        network, real, fake, seeded(3), one_sided=True, target=0.4
    ).sum(),
    "max": lambda network, real, fake: max_gradient_penalty(network, real, fake, seeded(3)),
}


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=list(PENALTIES))
def test_penalties_have_the_right_gradient_in_the_weights(penalty) -> None:
    network, (real, fake) = TwoUnits(), rows()
    (gradient,) = torch.autograd.grad(penalty(network, real, fake), network.w)
    step = 1e-6
    for at in [(0, 0), (1, 4)]:
        values = []
        for sign in (1, -1):
            moved = network.w.detach().clone()
            moved[at] += sign * step
            network_there = TwoUnits()
            network_there.w = moved
            values.append(float(penalty(network_there, real, fake).detach()))
        assert float(gradient[at]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=list(PENALTIES))
def test_minimising_a_penalty_flattens_a_real_network(penalty) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 16), nn.LeakyReLU(), nn.Linear(16, 1))
    network = network.double()
    with torch.no_grad():
        draw = seeded(5)
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64))
    real, fake = rows()
    before = float(penalty(network, real, fake).detach())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(20):
        optimizer.zero_grad()
        penalty(network, real, fake).backward()
        optimizer.step()
    assert float(penalty(network, real, fake).detach()) < 0.9 * before


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=list(PENALTIES))
def test_a_flat_network_has_no_nan_gradient(penalty) -> None:
    weight = torch.zeros(6, requires_grad=True)
    real, fake = (row.float() for row in rows())
    value = penalty(lambda x: x.flatten(1) @ weight, real, fake)
    value.backward()
    assert value.isfinite() and weight.grad.isfinite().all()


def test_no_gradient_reaches_the_rows() -> None:
    network, (real, fake) = TwoUnits(), (row.requires_grad_() for row in rows())
    for penalty in PENALTIES.values():
        penalty(network, real, fake).backward()
    assert real.grad is None and fake.grad is None and network.w.grad is not None


def test_without_gradients_the_norms_are_numbers_only() -> None:
    network, (x, _) = TwoUnits(), rows()
    with torch.no_grad():
        norms = gradient_norms(network, x)
        assert not torch.is_grad_enabled()
    assert not norms.requires_grad
    assert torch.equal(norms, gradient_norms(network, x).detach())


def test_networks_of_the_package() -> None:
    x = torch.rand(4, 6, generator=seeded(0))
    one_class, network = MLPLossNetwork((6,), 1, hidden=(8,)), MLPLossNetwork((6,), 3, hidden=(8,))
    by_tuple = gradient_norms(one_class, x)
    torch.testing.assert_close(by_tuple, gradient_norms(lambda x: one_class(x)[0][:, 0], x))
    y = torch.tensor([0, 1, 2, 1])
    norms = gradient_norms(lambda x: at_label(class_losses(network(x)[0]), y), x)
    for i, label in enumerate(y.tolist()):
        row = x[i : i + 1].clone().requires_grad_()
        loss = class_losses(network(row)[0])[0, label]
        (gradient,) = torch.autograd.grad(loss, row)
        torch.testing.assert_close(norms[i], gradient.norm())
    with pytest.raises(ValueError, match=r"one number a row, \[4\]; the network gives \[4, 3\]"):
        gradient_norms(network, x)


@pytest.mark.usefixtures("global_randomness_untouched")
def test_interpolates_lie_between_their_pair_and_are_seeded() -> None:
    real, fake = rows()
    points = interpolates(real, fake, seeded(2))
    torch.testing.assert_close(points, torch.stack(between(real, fake, 2)))
    assert torch.equal(points, interpolates(real, fake, seeded(2)))
    assert not torch.equal(points, interpolates(real, fake, seeded(4)))
    assert points.dtype == torch.float64
    trained = torch.zeros_like(fake, requires_grad=True)
    assert not interpolates(real, trained, seeded(2)).requires_grad
    assert not interpolates(trained, real, seeded(2)).requires_grad
    with pytest.raises(ValueError, match=r"matched rows; real are \[8, 2, 3, 1\], fake \[5, "):
        interpolates(real, fake[:5], seeded(2))
