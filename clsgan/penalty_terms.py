"""Gradient penalties of a step, on the rows that the trainer has."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clsgan.critic_terms import critic_scores
from clsgan.freezing import frozen_statistics
from clsgan.lipschitz import (
    SteepestPoints,
    direct_penalty,
    gradient_penalty,
    max_gradient_penalty,
)
from clsgan.settings import Settings
from clsgan.streams import Batch

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def penalty_term(
    fabric: "Fabric",
    settings: Settings,
    network: nn.Module,
    batch: Batch,
    fake: Tensor | None,
    generator: torch.Generator,
    steepest: SteepestPoints | None,
) -> Tensor | None:
    """The gradient penalty of a step, in float32 on the plain module, with frozen statistics.

    Parameters
    ----------
    fabric : Fabric
    settings : Settings
    network : nn.Module
        Not wrapped: a double backward fails through wrappers.
    batch : Batch
    fake : Tensor [M, ...] or None
        Generated rows, without graph. None in a step without any: penalties at interpolates are
        left out.
    generator : torch.Generator
        Draws the interpolates.
    steepest : SteepestPoints or None
        Of the penalty "max".

    Returns
    -------
    Tensor or None
        A scalar.

    Examples
    --------
    See `clsgan.trainer.update_loss_network`.
    """
    if settings.penalty is None or (fake is None and not settings.penalty.startswith("direct")):
        return None

    def scores(x: Tensor, y: Tensor) -> Tensor:
        return critic_scores(settings, network(x)[0].float(), y)

    device = fabric.device.type
    with frozen_statistics(network), torch.autocast(device, enabled=False):
        compute = PENALTIES[settings.penalty]
        return compute(settings, scores, batch, fake, generator, steepest).mean()


Scores = Callable[[Tensor, Tensor], Tensor]


def _direct(
    settings: Settings,
    scores: Scores,
    batch: Batch,
    fake: Tensor | None,
    generator: torch.Generator,
    steepest: SteepestPoints | None,
) -> Tensor:
    squared = settings.penalty == "direct_squared"
    return direct_penalty(lambda x: scores(x, batch.y_lab), batch.x_lab.float(), squared=squared)


def _at_interpolates(
    settings: Settings,
    scores: Scores,
    batch: Batch,
    fake: Tensor | None,
    generator: torch.Generator,
    steepest: SteepestPoints | None,
) -> Tensor:
    real, fake, y = _matched(batch, fake)
    return gradient_penalty(
        lambda x: scores(x, y),
        real,
        fake,
        generator,
        one_sided=settings.one_sided,
        target=settings.penalty_target,
    )


def _steepest(
    settings: Settings,
    scores: Scores,
    batch: Batch,
    fake: Tensor | None,
    generator: torch.Generator,
    steepest: SteepestPoints | None,
) -> Tensor:
    real, fake, y = _matched(batch, fake)
    return max_gradient_penalty(scores, real, fake, generator, buffer=steepest, y=y)


def _matched(batch: Batch, fake: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Labeled rows, generated rows and their common classes."""
    if fake is None:
        raise ValueError("a penalty at interpolates needs generated rows")
    n = min(len(batch.x_lab), len(fake))
    return batch.x_lab[:n].float(), fake[:n].float(), batch.y_lab[:n]


PENALTIES: dict[str, Callable[..., Tensor]] = {
    "direct": _direct,
    "direct_squared": _direct,
    "gp": _at_interpolates,
    "max": _steepest,
}
