"""Costs of GLS-GAN against loops over single numbers, written from arXiv 1701.06264."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clsgan.objectives import (
    check_cost,
    elu_cost,
    hinge_cost,
    leaky_cost,
    loss_sensitive_critic,
    wasserstein_critic,
)


def violations(n: int = 50) -> Tensor:
    return 3 * torch.randn(n, generator=torch.Generator().manual_seed(6), dtype=torch.float64)


def assert_close(given: Tensor, expected: list[float]) -> None:
    assert given.dtype == torch.float64
    torch.testing.assert_close(given, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("slope", "cost"),
    [
        (0.0, lambda a: max(a, 0.0)),  # LS-GAN
        (1.0, lambda a: a),  # WGAN
        (-1.0, abs),
        (0.2, lambda a: a if a > 0 else 0.2 * a),
    ],
)
def test_leaky_costs_of_gls_gan(slope: float, cost) -> None:
    a = violations()
    assert_close(leaky_cost(slope)(a), [cost(value) for value in a.tolist()])


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0, -1.0])
def test_elu_cost(alpha: float) -> None:
    a = violations()
    expected = [v if v >= 0 else alpha * (math.exp(v) - 1) for v in a.tolist()]
    assert_close(elu_cost(alpha)(a), expected)


def test_slope_0_is_ls_gan() -> None:
    a = violations()
    torch.testing.assert_close(hinge_cost(a), leaky_cost(0.0)(a))
    torch.testing.assert_close(hinge_cost(a), elu_cost(0.0)(a))


def test_slope_1_is_wgan_and_drops_the_margin() -> None:
    real, fake = torch.tensor([5.0, -3.0]), torch.tensor([1.0, 1.0])
    for margin in (torch.zeros(2), torch.ones(2)):
        cost = loss_sensitive_critic(real, fake, margin, leaky_cost(1.0))
        assert (cost - margin).tolist() == wasserstein_critic(real, fake).tolist()


def test_slope_minus_1_is_the_absolute_value() -> None:
    real, fake, margin = violations(60).reshape(3, 20)
    given = loss_sensitive_critic(real, fake, margin, leaky_cost(-1.0))
    torch.testing.assert_close(given, (margin + real - fake).abs())


@settings(deadline=None, derandomize=True, database=None)
@given(st.floats(-100, 100), st.floats(-3, 1))
def test_a_cost_is_never_below_its_argument_and_equal_to_positive_ones(a, bend) -> None:
    for cost in (leaky_cost(bend), elu_cost(bend)):
        value = float(cost(torch.tensor(a, dtype=torch.float64)))
        assert value >= a and (a < 0 or value == a)


@pytest.mark.parametrize("make", [leaky_cost, elu_cost])
def test_bends_above_one_are_refused(make) -> None:
    with pytest.raises(ValueError, match=r"(slope|alpha)=1\.5 breaks C\(a\) >= a.*at most 1"):
        make(1.5)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
@pytest.mark.parametrize("make", [leaky_cost, elu_cost])
def test_bends_are_finite(make, value) -> None:
    with pytest.raises(ValueError, match=f"={value} is not valid; it is a finite number"):
        make(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cost", [hinge_cost, leaky_cost(-1.0), elu_cost(1.0), elu_cost(-0.5)])
def test_extreme_violations_stay_finite(cost, dtype) -> None:
    a = torch.tensor([1e4, -1e4], dtype=dtype, requires_grad=True)
    cost(a).sum().backward()
    assert cost(a).dtype == dtype and cost(a).isfinite().all() and a.grad.isfinite().all()
    assert a.grad[0] == 1


@pytest.mark.parametrize(
    "cost",
    [
        *(hinge_cost, leaky_cost(1.0), leaky_cost(-3.0), elu_cost(1.0), elu_cost(-2.0)),
        *(F.relu, F.elu, torch.abs, lambda a: torch.where(a >= 0, a, a.square())),
    ],
)
def test_costs_that_fulfil_the_conditions_pass(cost) -> None:
    assert check_cost(cost) is cost


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        (F.softplus, r"C\(a\) = a for a >= 0: C\(0\) = 0\.693"),
        (torch.square, r"C\(a\) = a for a >= 0: C\(0\.0001\) = 1e-08"),
        (lambda a: 2 * torch.relu(a), r"C\(a\) = a for a >= 0"),
        (lambda a: torch.where(a < 100, F.relu(a), 100.0), r"C\(a\) = a for a >= 0: C\(1"),
        (lambda a: F.elu(a, alpha=1.2), r"C\(a\) >= a for every a: C\(-"),
        (lambda a: F.leaky_relu(a, 1.01), r"C\(a\) >= a for every a: C\(-"),
        (lambda a: torch.where(a < -500, 2 * a, F.relu(a)), r"C\(a\) >= a for every a: C\(-"),
        (lambda a: torch.full_like(a, math.nan), r"C\(a\) = a for a >= 0: C\(0\) = nan"),
        (lambda a: torch.where(a < 0, math.nan, a), r"C\(a\) >= a for every a: .* = nan"),
        (lambda a: a.relu().mean(), r"shape of the violations \(283,\), not \(\)"),
        (lambda a: 0.0, "shape of the violations .* not float"),
    ],
)
def test_costs_that_break_a_condition_are_refused_with_the_reason(cost, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        check_cost(cost)
