"""Costs C of GLS-GAN: what a violation of the margin costs (Qi, arXiv 1701.06264).

A cost maps a tensor of violations to one of the same shape, number by number, and has
C(a) >= a for every a, and C(a) = a for a >= 0.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from clsgan.choices import is_within

Cost = Callable[[Tensor], Tensor]


def hinge_cost(a: Tensor) -> Tensor:
    """Cost C(a) = max(a, 0) of LS-GAN (eq. 6).

    Parameters
    ----------
    a : Tensor
        Violations of the margin, any shape.

    Returns
    -------
    Tensor
        Same shape.

    Examples
    --------
    >>> hinge_cost(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return torch.relu(a)


def leaky_cost(slope: float) -> Cost:
    """Cost C(a) = max(a, slope * a) of GLS-GAN.

    Slope 0 is LS-GAN, slope 1 is WGAN, slope -1 the absolute value.

    Parameters
    ----------
    slope : float
        At most 1: a larger one breaks C(a) >= a.

    Returns
    -------
    callable
        Maps a tensor to a tensor of the same shape.

    Raises
    ------
    ValueError
        If the slope is above 1 or not finite.

    Examples
    --------
    >>> leaky_cost(0.0)(torch.tensor([-1.0, 2.0]))
    tensor([-0., 2.])
    """
    _check_bend("slope", slope)
    return lambda a: torch.maximum(a, slope * a)


def elu_cost(alpha: float) -> Cost:
    """Cost C(a) = a for a >= 0, alpha * (exp(a) - 1) below, for GLS-GAN.

    Like the hinge of LS-GAN it all but ignores pairs that keep the margin by far, but its gradient
    fades out instead of ending.

    Parameters
    ----------
    alpha : float
        At most 1: a larger one breaks C(a) >= a next to 0. At 0 it is LS-GAN's hinge.

    Returns
    -------
    callable
        Maps a tensor to a tensor of the same shape.

    Raises
    ------
    ValueError
        If alpha is above 1 or not finite.

    Examples
    --------
    >>> elu_cost(1.0)(torch.tensor([-50.0, 0.0, 2.0]))
    tensor([-1.,  0.,  2.])
    """
    _check_bend("alpha", alpha)
    return lambda a: F.elu(a, alpha=alpha)


def check_cost(cost: Cost) -> Cost:
    """Refuse a cost that breaks the conditions of GLS-GAN.

    C(a) >= a for every a, and C(a) = a for a >= 0, tried at numbers of every size up to 1000.

    Parameters
    ----------
    cost : callable
        Maps a tensor of violations to a tensor of the same shape, number by number.

    Returns
    -------
    callable
        The cost as given.

    Raises
    ------
    ValueError
        If a condition is broken; the message has the first number found that breaks it.

    Examples
    --------
    >>> check_cost(torch.abs)(torch.tensor([-2.0]))
    tensor([2.])
    >>> check_cost(F.softplus)
    Traceback (most recent call last):
    ValueError: the cost breaks C(a) = a for a >= 0: C(0) = 0.693147
    """
    sizes = torch.logspace(-4, 3, 141, dtype=torch.float64)
    tried = torch.cat([sizes.new_zeros(1), torch.stack([sizes, -sizes], dim=1).flatten()])
    costs = cost(tried.clone())
    if not isinstance(costs, Tensor) or costs.shape != tried.shape:
        given = tuple(costs.shape) if isinstance(costs, Tensor) else type(costs).__name__
        raise ValueError(
            f"a cost has the shape of the violations {tuple(tried.shape)}, not {given}"
        )
    slack = 1e-6 * (1 + tried.abs())
    equal = (costs - tried).abs() <= slack
    above = costs >= tried - slack
    _refuse_first("C(a) = a for a >= 0", tried, costs, (tried >= 0) & ~equal)
    _refuse_first("C(a) >= a for every a", tried, costs, ~above)
    return cost


def _refuse_first(condition: str, tried: Tensor, costs: Tensor, broken: Tensor) -> None:
    if bool(broken.any()):
        at = int(broken.to(torch.int8).argmax())
        raise ValueError(
            f"the cost breaks {condition}: C({float(tried[at]):g}) = {float(costs[at]):g}"
        )


def _check_bend(name: str, value: float) -> None:
    """Refuse the number of a cost that falls below a for a < 0."""
    if is_within(value, low=1) and value > 1:
        raise ValueError(f"{name}={value} breaks C(a) >= a for a < 0; a {name} is at most 1")
    if not is_within(value):
        raise ValueError(f"{name}={value!r} is not valid; it is a finite number, at most 1")
