"""Least Squares GAN against loops over single numbers, written from arXiv 1611.04076."""

import pytest
import torch
from torch import Tensor

from clsgan.objectives import is_chi_squared, least_squares_critic, least_squares_generator

CODINGS = [(-1.0, 1.0, 0.0), (0.0, 1.0, 1.0), (0.3, -2.0, 5.0)]

# Densities over five values; one is never real, one never generated.
P_REAL = torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0], dtype=torch.float64)
P_FAKE = torch.tensor([0.1, 0.1, 0.3, 0.0, 0.5], dtype=torch.float64)


def scores(rows: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    real, fake = 3 * torch.randn(2, rows, generator=generator, dtype=torch.float64)
    return real, fake


def best_scores(a: float, b: float) -> Tensor:
    """D of each of the five values, by Newton's method on V(D)."""

    def objective(d: Tensor) -> Tensor:
        # E_x and E_z are sums weighted by the densities; both are one-row terms of the function
        real_term = least_squares_critic(d, torch.full_like(d, a), a, b)
        fake_term = least_squares_critic(torch.full_like(d, b), d, a, b)
        return (P_REAL * real_term + P_FAKE * fake_term).sum()

    start = torch.full((5,), 7.0, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(objective(start), start)
    hessian = torch.autograd.functional.hessian(objective, start.detach())
    return start.detach() - torch.linalg.solve(hessian, gradient)


@pytest.mark.parametrize(("a", "b", "c"), CODINGS)
def test_both_objectives_are_equation_2(a, b, c) -> None:
    real, fake = scores()
    pairs = list(zip(real.tolist(), fake.tolist(), strict=True))
    critic = [(r - b) ** 2 / 2 + (f - a) ** 2 / 2 for r, f in pairs]
    generator = [(f - c) ** 2 / 2 for _, f in pairs]
    for given, expected in (
        (least_squares_critic(real, fake, a, b), critic),
        (least_squares_generator(fake, c), generator),
    ):
        torch.testing.assert_close(given, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("a", "b", "c"), CODINGS)
def test_the_best_critic_is_equation_5(a, b, c) -> None:
    expected = [
        (b * p + a * q) / (p + q) for p, q in zip(P_REAL.tolist(), P_FAKE.tolist(), strict=True)
    ]
    assert best_scores(a, b).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("a", "b", "c", "holds"),
    [
        (-1, 1, 0, True),
        (0, 1, 1, False),
        (0, 2, 1, True),
        (-0.9, 1.1, 0.1, True),  # neither difference is exact in binary
        (-1, 1, 0.5, False),
        (0, 1, 0, False),
        (float("nan"), 1, 0, False),
    ],
)
def test_chi_squared_condition(a, b, c, holds) -> None:
    assert is_chi_squared(a, b, c) is holds


@pytest.mark.parametrize(("a", "b", "c"), CODINGS)
def test_twice_the_generator_objective_is_chi_squared_where_it_is_said_so(a, b, c) -> None:
    d = best_scores(a, b)
    # eq. 4: the generator's objective with a term that is constant in it
    objective = ((P_REAL + P_FAKE) * least_squares_generator(d, c)).sum()
    divergence = sum(
        (2 * q - (p + q)) ** 2 / (p + q)
        for p, q in zip(P_REAL.tolist(), P_FAKE.tolist(), strict=True)
    )
    assert (float(2 * objective) == pytest.approx(divergence)) is is_chi_squared(a, b, c)


def test_extreme_scores_stay_finite() -> None:
    real = torch.tensor([1e4, -1e4], requires_grad=True)
    fake = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = least_squares_critic(real, fake, -1, 1) + least_squares_generator(fake, 0)
    loss.sum().backward()
    assert loss.isfinite().all() and real.grad.isfinite().all() and fake.grad.isfinite().all()
