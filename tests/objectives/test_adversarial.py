"""Non-saturating and hinge GAN against loops over single numbers."""

import math

import pytest
import torch
from torch import Tensor

from clsgan.objectives import (
    hinge_critic,
    hinge_generator,
    non_saturating_critic,
    non_saturating_generator,
)


def scores(rows: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    real, fake = 3 * torch.randn(2, rows, generator=generator, dtype=torch.float64)
    return real, fake


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def assert_close(given: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(given, torch.tensor(expected, dtype=torch.float64))


def test_non_saturating_critic_is_cross_entropy() -> None:
    real, fake = scores()
    expected = [
        -math.log(sigmoid(r)) - math.log(1 - sigmoid(f))
        for r, f in zip(real.tolist(), fake.tolist(), strict=True)
    ]
    assert_close(non_saturating_critic(real, fake), expected)


def test_non_saturating_generator_is_minus_log_d() -> None:
    _, fake = scores()
    assert_close(non_saturating_generator(fake), [-math.log(sigmoid(f)) for f in fake.tolist()])


def test_hinge_critic() -> None:
    real, fake = scores()
    expected = [
        max(0.0, 1 - r) + max(0.0, 1 + f) for r, f in zip(real.tolist(), fake.tolist(), strict=True)
    ]
    assert 0.0 in expected
    assert_close(hinge_critic(real, fake), expected)


def test_hinge_generator() -> None:
    _, fake = scores()
    assert_close(hinge_generator(fake), [-f for f in fake.tolist()])


def test_the_generator_does_not_saturate() -> None:
    fake = torch.tensor([-50.0, 0.0], requires_grad=True)
    non_saturating_generator(fake).sum().backward()
    assert fake.grad.tolist() == pytest.approx([-1.0, -0.5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("critic", [non_saturating_critic, hinge_critic])
def test_extreme_scores_stay_finite(critic, dtype) -> None:
    real = torch.tensor([1e4, -1e4], dtype=dtype, requires_grad=True)
    fake = torch.tensor([-1e4, 1e4], dtype=dtype, requires_grad=True)
    loss = critic(real, fake)
    loss.sum().backward()
    assert loss.dtype == dtype
    assert loss[0] == 0 and float(loss[1].detach()) == pytest.approx(2e4, rel=1e-3)
    assert real.grad.isfinite().all() and real.grad[1] == -1 and fake.grad[1] == 1
