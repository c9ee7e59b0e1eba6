"""Relativistic GANs (Jolicoeur-Martineau, arXiv 1807.00734).

Scores C are *high* on real data in this module. "rsgan" compares a real row with the generated row
of its index; the other kinds, "relativistic average", compare each row with the mean over the
opposite rows of the batch, so that a value depends on the whole batch. Where several processes
train, the batch is that of each process.

Shapes: ``[B]`` examples.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from clsgan.choices import one_of


def relativistic_critic(real: Tensor, fake: Tensor, kind: str) -> Tensor:
    """What the critic minimises: real rows are to score higher than generated ones.

    With ``x = C(x) - mean C(G(z))`` and ``g = C(G(z)) - mean C(x)``:

    - "rsgan": ``softplus(C(G(z)) - C(x))``
    - "rasgan": ``(softplus(-x) + softplus(g)) / 2``
    - "ralsgan": ``((x - 1)^2 + (g + 1)^2) / 2``
    - "rahinge": ``(max(0, 1 - x) + max(0, 1 + g)) / 2``

    Parameters
    ----------
    real, fake : Tensor [B]
        Scores C of the real and of the generated rows, unbounded.
    kind : {"rsgan", "rasgan", "ralsgan", "rahinge"}
        In any case: "RaLSGAN" as printed is valid too.

    Returns
    -------
    Tensor [B]

    Raises
    ------
    ValueError
        If `kind` is unknown.

    Examples
    --------
    >>> relativistic_critic(torch.tensor([3.0]), torch.tensor([1.0]), "ralsgan")
    tensor([1.])
    """
    return one_of("kind", str(kind).lower(), RELATIVISTIC)(real, fake)


def relativistic_generator(real: Tensor, fake: Tensor, kind: str) -> Tensor:
    """What the generator minimises: the critic's objective with real and generated exchanged.

    Parameters
    ----------
    real, fake : Tensor [B]
        Scores C of the real and of the generated rows, unbounded.
    kind : {"rsgan", "rasgan", "ralsgan", "rahinge"}
        See `relativistic_critic`.

    Returns
    -------
    Tensor [B]

    Raises
    ------
    ValueError
        If `kind` is unknown.

    Examples
    --------
    >>> relativistic_generator(torch.tensor([3.0]), torch.tensor([1.0]), "ralsgan")
    tensor([9.])
    """
    return relativistic_critic(fake, real, kind)


def _paired(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(fake - real)


def _average(penalty: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Half the penalties of how far real rows are above, and generated ones below, the mean."""

    def objective(real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (penalty(real - fake.mean()) + penalty(real.mean() - fake))

    return objective


RELATIVISTIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rsgan": _paired,
    "rasgan": _average(lambda ahead: F.softplus(-ahead)),
    "ralsgan": _average(lambda ahead: (ahead - 1).square()),
    "rahinge": _average(lambda ahead: torch.relu(1 - ahead)),
}
