"""The terms that the loss network minimises, each a mean over its rows."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from clsgan.mixing import Mixed
from clsgan.networks import Level, level_of
from clsgan.objectives import (
    Objective,
    at_label,
    loss_sensitive_critic,
    pixel_margin,
    unlabeled_loss,
    without_weights,
)
from clsgan.streams import Batch
from clsgan.train_state import TrainState
from clsgan.unlabeled_terms import pool_term

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Scalars = dict[str, Tensor]
LEVEL_ROWS = 64  # of each kind, over all processes


def labeled_term(
    objective: Objective,
    logits: Tensor,
    y: Tensor,
    class_weight: Tensor | None = None,
    mixed: Mixed | None = None,
) -> Tensor:
    """Mean loss of labeled rows, the first term of eq. 15, with label smoothing.

    Parameters
    ----------
    objective : Objective
    logits : Tensor [B, K]
    y : Tensor [B], int64
    class_weight : Tensor [K], optional
        Weight of each class, which the scores have and the labels have not.
    mixed : Mixed, optional
        The images that the scores are of, where parts of others were put into them.

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
    losses = objective.losses(without_weights(logits, class_weight))
    smoothing, at_own = objective.label_smoothing, at_label(losses, y)
    if mixed is not None:
        at_own = mixed.blend(at_own, at_label(losses, mixed.other(y)))
    return (1 - smoothing) * at_own.mean() + smoothing * losses.mean()


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
        Scores; those of the first rows of the batch suffice.

    Returns
    -------
    dict of Tensor

    Examples
    --------
    See `clsgan.trainer.update_loss_network`.
    """

    def hinge(real: Tensor, real_loss: Tensor, fake: Tensor, fake_loss: Tensor) -> Tensor:
        n = min(len(real_loss), len(fake))
        margin = pixel_margin(real[:n], fake[:n], objective.margin_scale, objective.margin_norm)
        return loss_sensitive_critic(real_loss[:n], fake_loss[:n], margin, objective.cost).mean()

    terms = {}
    if objective.hinge_weight:
        real_loss = at_label(objective.margin_losses(lab), batch.y_lab[: len(lab)])
        fake_loss = at_label(objective.margin_losses(fake_logits), batch.y_gen)
        terms["hinge"] = hinge(batch.x_lab, real_loss, fake, fake_loss)
    first = len(batch.x_lab) if objective.unlabeled_fakes == "prior" else 0
    if len(unl) and objective.unlabeled_hinge_weight and len(fake) > first:
        terms["unlabeled_hinge"] = hinge(
            batch.x_unl, unlabeled_loss(unl), fake[first:], unlabeled_loss(fake_logits[first:])
        )
    return terms


def level_terms(
    fabric: "Fabric", state: TrainState, objective: Objective, batch: Batch, fake: Tensor | None
) -> Scalars:
    """Margins, and how labeled rows are told from others, as functions of the level alone.

    Features are those of the averaged network, as at prediction: with statistics of its own a
    batch of generated rows looks unlike what the network sees of such rows later.

    Parameters
    ----------
    fabric : Fabric
    state : TrainState
        Both loss networks have a level.
    objective : Objective
    batch : Batch
    fake : Tensor [M, ...] or None
        Generated rows.

    Returns
    -------
    dict of Tensor

    Examples
    --------
    See `clsgan.trainer.update_loss_network`.
    """
    filtered = objective.unlabeled_filter is not None
    if fake is None and not (len(batch.x_unl) and filtered):
        return {}
    if batch.x_lab_plain is not None:  # else the level would learn how rows are augmented
        batch = replace(batch, x_lab=batch.x_lab_plain, x_unl=batch.x_teacher)
    most = max(LEVEL_ROWS // fabric.world_size, 1)
    labeled, unlabeled = batch.x_lab[:most], batch.x_unl[:most]
    parts = [part for part in (labeled, unlabeled, fake) if part is not None and len(part)]
    average: Any = state.average_loss_network.module
    level = cast(Level, level_of(state.loss_network.module))
    with torch.no_grad(), fabric.autocast():
        logits, features = average(torch.cat(parts))
    logits = logits + level(features, logits)  # in place of the averaged one: the sum is the same
    lab, unl = logits[: len(labeled)], logits[len(labeled) : len(labeled) + len(unlabeled)]
    fake_logits = logits[len(labeled) + len(unlabeled) :]
    margins = {}
    if fake is not None:
        margins = margin_terms(objective, batch, fake, lab, unl, fake_logits)
    if filtered and len(unl):
        return margins | pool_term(state, lab, unl, fake_logits)
    return margins | outlier_term(objective, lab, unl, fake_logits)


def outlier_term(objective: Objective, lab: Tensor, unl: Tensor, fake: Tensor) -> Scalars:
    """Cross-entropy of "one of the classes" on labeled rows, of "none" on generated ones.

    ``-log p(none)`` is the loss of a generated row as in the (K+1)-class form of Salimans et al.
    (arXiv 1606.03498, section 5), with the K+1st score fixed at 0. A generated row counts by
    ``1 - p_max``, how far the classifier is from sure of it: what looks like one of the classes is
    no outlier, and a good generator makes such rows (those near no class are the complement
    samples of Dai et al., arXiv 1705.09783). Unlabeled rows count as generated ones with a small
    weight: what is never labeled but frequent among them gets a high probability of none (learning
    from positive and unlabeled examples, Elkan and Noto, 2008).

    Parameters
    ----------
    objective : Objective
    lab, unl, fake : Tensor [B, K], [U, K], [M, K]
        Scores.

    Returns
    -------
    dict of Tensor
        Empty where there are no generated rows: unlabeled rows alone, most of them of the classes,
        make the score worse than the largest class probability is (docs/ablation.md).

    Examples
    --------
    >>> from clsgan.objectives import OBJECTIVES
    >>> scores = torch.zeros(1, 2)
    >>> outlier_term(OBJECTIVES["default"], scores, scores[:0], scores)
    {'outlier': tensor(0.9548)}
    """
    share = objective.unlabeled_outlier_weight
    if not len(fake) or not objective.outlier_weight:
        return {}
    known = F.softplus(-torch.logsumexp(lab, dim=1)).mean()
    unsure = 1 - fake.detach().softmax(dim=1).amax(dim=1)
    none = (unsure * F.softplus(torch.logsumexp(fake, dim=1))).mean()
    if len(unl) and share:
        none = none + share * F.softplus(torch.logsumexp(unl, dim=1)).mean()
    return {"outlier": known + none}


def margin_weights(objective: Objective) -> dict[str, float]:
    """Weights of the terms that `margin_terms` and `level_terms` give.

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
    {'hinge': 1.0, 'unlabeled_hinge': 1.0, 'outlier': 0.0}
    """
    return {
        "hinge": objective.hinge_weight,
        "unlabeled_hinge": objective.unlabeled_weight * objective.unlabeled_hinge_weight,
        "outlier": objective.outlier_weight,
    }
