"""Lipschitz GAN against loops over single numbers, written from arXiv 1902.05687 and its code."""

import math

import pytest
import torch
from torch import Tensor

from clsgan.objectives import (
    PHIS,
    PSIS,
    lipschitz_critic,
    lipschitz_generator,
    non_saturating_critic,
    wasserstein_critic,
)

PLAIN = {
    "x": lambda t: t,
    "exp": math.exp,
    "log_sigmoid": lambda t: -math.log(1 / (1 + math.exp(t))),
    "sqrt": lambda t: t + math.sqrt(t * t + 1),
}


def scores(rows: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    real, fake = 3 * torch.randn(2, rows, generator=generator, dtype=torch.float64)
    return real, fake


def assert_close(given: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(given, torch.tensor(expected, dtype=torch.float64))


def test_the_four_functions_are_offered() -> None:
    assert set(PHIS) == set(PLAIN) and set(PSIS) == {"-x", *PLAIN}


@pytest.mark.parametrize("phi", PLAIN)
def test_critic(phi: str) -> None:
    real, fake = scores()
    expected = [
        PLAIN[phi](f) + PLAIN[phi](-r) for r, f in zip(real.tolist(), fake.tolist(), strict=True)
    ]
    assert_close(lipschitz_critic(real, fake, phi), expected)


@pytest.mark.parametrize("psi", PLAIN)
def test_generator_with_the_matching_function(psi: str) -> None:
    _, fake = scores()
    assert_close(lipschitz_generator(fake, psi), [PLAIN[psi](-f) for f in fake.tolist()])


def test_generator_maximises_the_score_by_default() -> None:
    _, fake = scores()
    for given in (lipschitz_generator(fake), lipschitz_generator(fake, "-x")):
        assert given.tolist() == [-f for f in fake.tolist()]


def test_identities() -> None:
    real, fake = scores()
    torch.testing.assert_close(lipschitz_critic(real, fake, "x"), wasserstein_critic(-real, -fake))
    torch.testing.assert_close(
        lipschitz_critic(real, fake, "log_sigmoid"), non_saturating_critic(real, fake)
    )


@pytest.mark.parametrize("phi", PLAIN)
def test_conditions_of_the_family(phi: str) -> None:
    t = torch.linspace(-6, 6, 121, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(PHIS[phi](t).sum(), t)
    assert (slope > 0).all() and (slope.diff() >= -1e-12).all()
    # varphi(t) = phi(-t): its slope cancels that of phi at t = 0
    zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    (at_zero,) = torch.autograd.grad(lipschitz_critic(zero, zero, phi).sum(), zero)
    assert float(at_zero) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("phi", PLAIN)
def test_extreme_scores_stay_finite_and_keep_a_gradient(phi: str, dtype) -> None:
    real = torch.tensor([1e4, -1e4], dtype=dtype, requires_grad=True)
    fake = torch.tensor([-1e4, 1e4], dtype=dtype, requires_grad=True)
    loss = lipschitz_critic(real, fake, phi)
    loss.sum().backward()
    assert loss.dtype == dtype and loss.isfinite().all()
    assert real.grad.isfinite().all() and fake.grad.isfinite().all()
    assert real.grad[1] < 0 < fake.grad[1]


def test_exp_is_exact_far_beyond_any_score_of_a_stable_critic() -> None:
    t = torch.tensor([60.0, 66.0, 500.0], dtype=torch.float64)
    assert PHIS["exp"](t).tolist() == pytest.approx([math.exp(v) for v in t.tolist()], rel=1e-14)
    single = torch.tensor([-80.0, 60.0])
    torch.testing.assert_close(PHIS["exp"](single), single.exp())


def test_exp_stays_convex_where_it_becomes_its_tangent() -> None:
    t = torch.linspace(60, 75, 301, dtype=torch.float32, requires_grad=True)
    value = PHIS["exp"](t)
    (slope,) = torch.autograd.grad(value.sum(), t)
    assert (value.diff() > 0).all() and (slope.diff() >= 0).all() and slope[-1] == slope[-2]


def test_sqrt_keeps_its_digits_at_low_scores() -> None:
    given = PHIS["sqrt"](torch.tensor([-1e4, -1e3]))
    assert given.tolist() == pytest.approx([5e-5, 5e-4], rel=1e-5)


def test_unknown_names_are_refused() -> None:
    one = torch.ones(1)
    with pytest.raises(ValueError, match=r"phi='logsigmoid'.*did you mean 'log_sigmoid'"):
        lipschitz_critic(one, one, "logsigmoid")
    with pytest.raises(ValueError, match=r"psi='expo'.*did you mean 'exp'"):
        lipschitz_generator(one, "expo")
