"""Relativistic GANs against loops over single numbers, written from arXiv 1807.00734's code."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from clsgan.objectives import (
    RELATIVISTIC,
    non_saturating_critic,
    relativistic_critic,
    relativistic_generator,
)

Formula = Callable[[float, float, float, float], float]


def bce_1(score: float) -> float:
    return -math.log(1 / (1 + math.exp(-score)))


def bce_0(score: float) -> float:
    return -math.log(1 - 1 / (1 + math.exp(-score)))


# (C(x), C(G), mean C(x), mean C(G)) -> value of one pair
CRITICS: dict[str, Formula] = {
    "rsgan": lambda x, g, mr, mf: bce_1(x - g),
    "rasgan": lambda x, g, mr, mf: (bce_1(x - mf) + bce_0(g - mr)) / 2,
    "ralsgan": lambda x, g, mr, mf: ((x - mf - 1) ** 2 + (g - mr + 1) ** 2) / 2,
    "rahinge": lambda x, g, mr, mf: (max(0, 1 - (x - mf)) + max(0, 1 + (g - mr))) / 2,
}
GENERATORS: dict[str, Formula] = {
    "rsgan": lambda x, g, mr, mf: bce_1(g - x),
    "rasgan": lambda x, g, mr, mf: (bce_0(x - mf) + bce_1(g - mr)) / 2,
    "ralsgan": lambda x, g, mr, mf: ((x - mf + 1) ** 2 + (g - mr - 1) ** 2) / 2,
    "rahinge": lambda x, g, mr, mf: (max(0, 1 + (x - mf)) + max(0, 1 - (g - mr))) / 2,
}


def scores(rows: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    real, fake = 2 * torch.randn(2, rows, generator=generator, dtype=torch.float64)
    return real + 0.7, fake


def by_loop(formula: Formula, real: Tensor, fake: Tensor) -> Tensor:
    x, g = real.tolist(), fake.tolist()
    means = (sum(x) / len(x), sum(g) / len(g))
    values = [formula(x_i, g_i, *means) for x_i, g_i in zip(x, g, strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def test_the_four_kinds_are_offered() -> None:
    assert set(RELATIVISTIC) == set(CRITICS)


@pytest.mark.parametrize("kind", CRITICS)
def test_critic(kind: str) -> None:
    real, fake = scores()
    given = relativistic_critic(real, fake, kind)
    torch.testing.assert_close(given, by_loop(CRITICS[kind], real, fake))


@pytest.mark.parametrize("kind", GENERATORS)
def test_generator(kind: str) -> None:
    real, fake = scores()
    given = relativistic_generator(real, fake, kind)
    torch.testing.assert_close(given, by_loop(GENERATORS[kind], real, fake))


@pytest.mark.parametrize("kind", CRITICS)
def test_a_shift_of_all_scores_changes_nothing(kind: str) -> None:
    real, fake = scores()
    given = relativistic_critic(real + 5, fake + 5, kind)
    torch.testing.assert_close(given, relativistic_critic(real, fake, kind))


def test_rasgan_of_means_at_0_is_half_the_cross_entropy() -> None:
    real, fake = (rows - rows.mean() for rows in scores())
    expected = 0.5 * non_saturating_critic(real, fake)
    torch.testing.assert_close(relativistic_critic(real, fake, "rasgan"), expected)


@pytest.mark.parametrize("kind", CRITICS)
def test_critic_and_generator_pull_apart_and_together(kind: str) -> None:
    real, fake = (torch.tensor([0.1, -0.1]).requires_grad_() for _ in range(2))
    gradients = torch.autograd.grad(relativistic_critic(real, fake, kind).sum(), (real, fake))
    assert (gradients[0] < 0).all() and (gradients[1] > 0).all()
    gradients = torch.autograd.grad(relativistic_generator(real, fake, kind).sum(), (real, fake))
    assert (gradients[0] > 0).all() and (gradients[1] < 0).all()


def test_gradient_reaches_a_row_through_the_mean_as_well() -> None:
    real, fake = (rows.requires_grad_() for rows in scores(3))
    value = relativistic_critic(real, fake, "ralsgan")[0]
    for gradient in torch.autograd.grad(value, (real, fake)):
        assert (gradient != 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", CRITICS)
def test_extreme_scores_stay_finite(kind: str, dtype) -> None:
    real = torch.tensor([1e4, -1e4], dtype=dtype, requires_grad=True)
    fake = torch.tensor([-1e4, 1e4], dtype=dtype, requires_grad=True)
    loss = relativistic_critic(real, fake, kind)
    loss.sum().backward()
    assert loss.dtype == dtype and loss.shape == (2,)
    assert loss.isfinite().all() and real.grad.isfinite().all() and fake.grad.isfinite().all()


def test_names_as_printed_are_valid_and_others_are_not() -> None:
    real, fake = scores()
    printed = relativistic_critic(real, fake, "RaLSGAN")
    assert torch.equal(printed, relativistic_critic(real, fake, "ralsgan"))
    with pytest.raises(ValueError, match=r"kind='ralsgn'.*did you mean 'ralsgan'"):
        relativistic_generator(real, fake, "ralsgn")
