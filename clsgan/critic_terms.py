"""Terms of the systems that are trained through one critic, its own and the generator's."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clsgan.freezing import frozen_statistics
from clsgan.objectives import Pairs, System, at_label
from clsgan.settings import Settings
from clsgan.streams import Batch
from clsgan.train_state import TrainState

if TYPE_CHECKING:
    pass

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


def critic_term(
    state: TrainState,
    batch: Batch,
    fake: Tensor | None,
    settings: Settings,
    real: tuple[Tensor, Tensor],
) -> dict[str, Tensor]:
    """What a system has its critic minimise, on labeled rows against generated ones.

    Parameters
    ----------
    state : TrainState
    batch : Batch
    fake : Tensor [M, ...] or None
        Generated rows, without graph.
    settings : Settings
    real : (logits [B, K], features [B, F])
        Of the labeled rows.

    Returns
    -------
    dict of Tensor
        Empty in a step without generated rows.

    Examples
    --------
    See `clsgan.trainer.update_loss_network`.
    """
    if fake is None:
        return {}
    with frozen_statistics(state.loss_network):
        output = state.loss_network(fake)
    pairs = make_pairs(settings, batch, real, fake, output)
    return {"critic": system_of(settings).critic(pairs).mean()}


def real_scores(
    network: nn.Module, batch: Batch, settings: Settings
) -> tuple[Tensor, Tensor] | None:
    """Output for labeled rows, where the generator's part of a system compares with it.

    Parameters
    ----------
    network : nn.Module
        Frozen.
    batch : Batch
    settings : Settings

    Returns
    -------
    (logits [B, K], features [B, F]) or None

    Examples
    --------
    See `clsgan.trainer.update_generator`.
    """
    system = settings.objective.system
    if system is None or not system.row.generator_sees_real:
        return None
    with torch.no_grad():
        logits, features = network(batch.x_lab)
    return logits, features
