"""Terms of the systems that are trained through one critic: critic, generator and penalties."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clsgan.freezing import frozen_statistics
from clsgan.lipschitz import (
    SteepestPoints,
    direct_penalty,
    gradient_penalty,
    max_gradient_penalty,
)
from clsgan.objectives import Pairs, System, at_label
from clsgan.settings import Settings
from clsgan.streams import Batch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Output = tuple[Tensor, Tensor]


def critic_scores(settings: Settings, logits: Tensor, y: Tensor) -> Tensor:
    """The number a row that a system, or a penalty, takes: the one critic interface.

    Parameters
    ----------
    settings : Settings
    logits : Tensor [B, K]
        What the loss network gives.
    y : Tensor [B], int64

    Returns
    -------
    Tensor [B]
        L(x, y), or the score of class y for a system whose scores are high on real rows. Without
        classes (K = 1) the network's single output.

    Examples
    --------
    >>> from clsgan.objectives import build_objective
    >>> hinge = Settings(build_objective("hinge"))
    >>> critic_scores(hinge, torch.tensor([[1.0, 5.0]]), torch.tensor([1]))
    tensor([5.])
    """
    system = settings.objective.system
    if system is not None and not settings.conditional:
        return system.single(logits)
    if system is not None and system.row.high_on_real:
        return at_label(logits, y)
    return at_label(settings.objective.margin_losses(logits), y)


def make_pairs(
    settings: Settings, batch: Batch, real: Output, fake_rows: Tensor, fake: Output
) -> Pairs:
    """Labeled rows against generated ones of the same class, as many as there are of both.

    Parameters
    ----------
    settings : Settings
    batch : Batch
    real : (logits [B, K], features [B, F])
        Of the labeled rows.
    fake_rows : Tensor [M, ...]
    fake : (logits [M, K], features [M, F])

    Returns
    -------
    Pairs

    Examples
    --------
    See `clsgan.trainer.update_loss_network`.
    """
    n = min(len(batch.x_lab), len(fake_rows))
    return Pairs(
        real=critic_scores(settings, real[0][:n].float(), batch.y_lab[:n]),
        fake=critic_scores(settings, fake[0][:n].float(), batch.y_gen[:n]),
        x_real=batch.x_lab[:n],
        x_fake=fake_rows[:n],
        features_real=real[1][:n],
        features_fake=fake[1][:n],
    )


def system_of(settings: Settings) -> System:
    """The system of settings that have one.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    System

    Raises
    ------
    ValueError
        If the objective trains margins and has no system.

    Examples
    --------
    >>> from clsgan.objectives import build_objective
    >>> system_of(Settings(build_objective("wgan"))).name
    'wgan'
    """
    if settings.objective.system is None:
        raise ValueError("the objective has no system")
    return settings.objective.system


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
        lambda x: scores(x, y), real, fake, generator, one_sided=settings.one_sided
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
