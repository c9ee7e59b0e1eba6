"""The terms that the loss network minimises, each a mean over its rows."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clsgan.freezing import frozen_statistics
from clsgan.objectives import (
    UNLABELED,
    Objective,
    at_label,
    loss_sensitive_critic,
    pixel_margin,
    unlabeled_loss,
)
from clsgan.streams import Batch
from clsgan.train_state import TrainState

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Scalars = dict[str, Tensor]


def labeled_term(objective: Objective, logits: Tensor, y: Tensor) -> Tensor:
    """Mean loss of labeled rows, the first term of eq. 15, with label smoothing.

    Parameters
    ----------
    objective : Objective
    logits : Tensor [B, K]
    y : Tensor [B], int64

    Returns
    -------
    Tensor
        A scalar.

    Examples
    --------
    >>> from clsgan.objectives import OBJECTIVES
    >>> labeled_term(OBJECTIVES["default"], torch.zeros(1, 2), torch.tensor([0]))
    tensor(0.6931)
    """
    losses = objective.losses(logits)
    smoothing = objective.label_smoothing
    return (1 - smoothing) * at_label(losses, y).mean() + smoothing * losses.mean()


def unlabeled_term(
    fabric: "Fabric", state: TrainState, objective: Objective, logits: Tensor, batch: Batch
) -> Scalars:
    """Mean of what is asked of unlabeled rows besides eq. 18, if anything.

    Parameters
    ----------
    fabric : Fabric
    state : TrainState
        Has the teacher.
    objective : Objective
    logits : Tensor [U, K]
        Scores of the learning network.
    batch : Batch

    Returns
    -------
    dict of Tensor

    Examples
    --------
    See `clsgan.trainer.update_loss_network`.
    """
    asked = UNLABELED[objective.unlabeled]
    if asked is None:
        return {}
    if asked.teacher == "average":
        teacher: nn.Module = state.average_loss_network.module
    else:
        teacher = state.loss_network.module
    with torch.no_grad(), frozen_statistics(teacher), fabric.autocast():
        target = teacher(batch.x_teacher)[0].float()
    return {"unlabeled": asked.loss(logits, target).mean()}


def margin_terms(
    objective: Objective, batch: Batch, fake: Tensor, lab: Tensor, unl: Tensor, fake_logits: Tensor
) -> Scalars:
    """Hinge of eq. 15 on labeled rows and of eq. 18 on unlabeled ones, against generated rows.

    Parameters
    ----------
    objective : Objective
    batch : Batch
    fake : Tensor [M, ...]
        Generated rows; the first stand against labeled rows of the same class.
    lab, unl, fake_logits : Tensor [B, K], [U, K], [M, K]

    Returns
    -------
    dict of Tensor

    Examples
    --------
    See `clsgan.trainer.update_loss_network`.
    """

    def hinge(real: Tensor, real_loss: Tensor, fake: Tensor, fake_loss: Tensor) -> Tensor:
        n = min(len(real), len(fake))
        margin = pixel_margin(real[:n], fake[:n], objective.margin_scale, objective.margin_norm)
        return loss_sensitive_critic(real_loss[:n], fake_loss[:n], margin).mean()

    terms = {}
    if objective.hinge_weight:
        real_loss = at_label(objective.margin_losses(lab), batch.y_lab)
        fake_loss = at_label(objective.margin_losses(fake_logits), batch.y_gen)
        terms["hinge"] = hinge(batch.x_lab, real_loss, fake, fake_loss)
    first = len(lab) if objective.unlabeled_fakes == "prior" else 0
    if len(unl) and objective.unlabeled_hinge_weight and len(fake) > first:
        terms["unlabeled_hinge"] = hinge(
            batch.x_unl, unlabeled_loss(unl), fake[first:], unlabeled_loss(fake_logits[first:])
        )
    return terms


def margin_weights(objective: Objective) -> dict[str, float]:
    """Weights of the terms that `margin_terms` gives.

    Parameters
    ----------
    objective : Objective

    Returns
    -------
    dict of float

    Examples
    --------
    >>> from clsgan.objectives import OBJECTIVES
    >>> margin_weights(OBJECTIVES["paper"])
    {'hinge': 1.0, 'unlabeled_hinge': 1.0}
    """
    return {
        "hinge": objective.hinge_weight,
        "unlabeled_hinge": objective.unlabeled_weight * objective.unlabeled_hinge_weight,
    }
