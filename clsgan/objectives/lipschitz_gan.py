"""Lipschitz GAN (Zhou et al., arXiv 1902.05687).

Scores are *high* on real data in this module. The critic has to be kept Lipschitz; the paper does
it by `clsgan.lipschitz.max_gradient_penalty`.

Shapes: ``[B]`` examples.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from clsgan.choices import one_of


def lipschitz_critic(real: Tensor, fake: Tensor, phi: str) -> Tensor:
    """What the critic minimises besides its Lipschitz term, ``phi(f(G(z))) + phi(-f(x))``.

    Parameters
    ----------
    real, fake : Tensor [B]
        Scores f of the real and of the generated rows.
    phi : {"x", "exp", "log_sigmoid", "sqrt"}
        ``t``, ``exp(t)``, ``-log(sigmoid(-t))`` or ``t + sqrt(t^2 + 1)``. "x" is Wasserstein GAN.
        "exp" goes on as its tangent before it overflows (above 66 in float32, 532 in float64).

    Returns
    -------
    Tensor [B]

    Raises
    ------
    ValueError
        If `phi` is unknown.

    Examples
    --------
    >>> lipschitz_critic(torch.tensor([2.0]), torch.tensor([-1.0]), "x")
    tensor([-3.])
    """
    function = one_of("phi", phi, PHIS)
    return function(fake) + function(-real)


def lipschitz_generator(fake: Tensor, psi: str = "-x") -> Tensor:
    """What the generator minimises, ``psi(f(G(z)))``.

    Parameters
    ----------
    fake : Tensor [B]
        Scores f of the generated rows.
    psi : {"-x", "x", "exp", "log_sigmoid", "sqrt"}
        "-x" is the published default beside every phi; the name of a phi stands for the function
        that matches it, ``phi(-f(G(z)))``, so that "x" and "-x" are one.

    Returns
    -------
    Tensor [B]

    Raises
    ------
    ValueError
        If `psi` is unknown.

    Examples
    --------
    >>> lipschitz_generator(torch.tensor([2.0]))
    tensor([-2.])
    >>> lipschitz_generator(torch.zeros(1), "exp")
    tensor([1.])
    """
    return one_of("psi", psi, PSIS)(-fake)


def _identity(t: Tensor) -> Tensor:
    return t


def _exp(t: Tensor) -> Tensor:
    # Convex and increasing beyond `top` as well, so phi stays in the paper's family.
    top = 0.75 * math.log(torch.finfo(t.dtype).max)
    return t.clamp(max=top).exp() * (1 + (t - top).clamp(min=0))


def _sqrt(t: Tensor) -> Tensor:
    # exp(asinh(t)) = t + sqrt(t^2 + 1), which as it stands loses every digit for t << 0.
    return t.asinh().exp()


PHIS: dict[str, Callable[[Tensor], Tensor]] = {
    "x": _identity,
    "exp": _exp,
    "log_sigmoid": F.softplus,
    "sqrt": _sqrt,
}
PSIS: dict[str, Callable[[Tensor], Tensor]] = {"-x": _identity, **PHIS}
