"""What is asked of unlabeled rows, by a teacher, and which of them are of a known class."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsgan.freezing import frozen_statistics
from clsgan.mixing import Mixed
from clsgan.objectives import (
    UNLABELED,
    Objective,
    align_classes,
    non_negative_risk,
    outlier_probability,
    without_weights,
)
from clsgan.objectives.unlabeled import UnlabeledObjective
from clsgan.streams import Batch
from clsgan.train_state import TrainState

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Scalars = dict[str, Tensor]
FOLLOWING = 0.02  # weight of the newest batch in the running mean of class probabilities
FAKE_WEIGHT = 0.2  # of generated rows among the novel ones
TURNS = 4
TURNED = 0.5  # of the unlabeled images, where quarter turns are told and there are soft labels
KEPT = "unlabeled_kept"  # the mean weight of unlabeled rows: told, and of no weight in the loss


def unlabeled_term(
    fabric: "Fabric",
    state: TrainState,
    objective: Objective,
    logits: Tensor,
    batch: Batch,
    mixed: Mixed | None = None,
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
    mixed : Mixed, optional
        The images that these are of, where parts of others were put into them.

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
    known = None
    if objective.unlabeled_filter is not None:
        known = known_weights(fabric, state, batch, target if asked.teacher == "average" else None)
    logits, target = (without_weights(scores, batch.class_weight) for scores in (logits, target))
    if objective.class_alignment and asked.aligned:
        target = _aligned(fabric, state, objective, batch, target, known)
    losses = _row_losses(asked, logits, target, known)
    if mixed is not None:
        other_known = None if known is None else mixed.other(known)
        other = _row_losses(asked, logits, mixed.other(target), other_known)
        losses = mixed.blend(losses, other)
    if known is None:
        return {"unlabeled": losses.mean()}
    return {"unlabeled": losses.mean(), KEPT: known.mean()}


def _row_losses(
    asked: UnlabeledObjective, logits: Tensor, target: Tensor, known: Tensor | None
) -> Tensor:
    losses = asked.loss(logits, target)
    return losses if known is None else known * losses


def turned_images(batch: Batch, share: float) -> tuple[Batch, Tensor, Tensor]:
    """Take a share of the unlabeled images out of a batch and turn them.

    Parameters
    ----------
    batch : Batch
        Of square images.
    share : float

    Returns
    -------
    batch : Batch
        Without them.
    images : Tensor [R, C, H, H]
        The first rows, and of these every fourth turned by as many quarters.
    turns : Tensor [R], int64

    Examples
    --------
    >>> import torch
    >>> from clsgan.streams import Batch
    >>> e, x = torch.empty(0), torch.zeros(9, 1, 2, 2)
    >>> batch, images, turns = turned_images(Batch(e, e, x, x, e, e, e), share=0.5)
    >>> len(batch.x_unl), len(batch.x_teacher), turns.tolist()
    (5, 5, [0, 1, 2, 3])
    """
    n_turned = int(share * len(batch.x_unl))
    parts = [torch.rot90(batch.x_unl[k:n_turned:TURNS], k, (2, 3)) for k in range(TURNS)]
    images = torch.cat(parts).contiguous(memory_format=torch.channels_last)
    turns = (torch.arange(n_turned, device=images.device) % TURNS).sort().values
    rest = replace(batch, x_unl=batch.x_unl[n_turned:], x_teacher=batch.x_teacher[n_turned:])
    return rest, images, turns


def known_weights(
    fabric: "Fabric", state: TrainState, batch: Batch, scores: Tensor | None = None
) -> Tensor:
    """Probability that each unlabeled row is of a known class: its weight in the unlabeled term.

    ``1 - p(none of the classes)`` of the averaged network (section 6.1 of arXiv 1701.06264).

    Parameters
    ----------
    fabric : Fabric
    state : TrainState
    batch : Batch
    scores : Tensor [U, K], optional
        Those of the averaged network for `batch.x_teacher`, where they are there already.

    Returns
    -------
    Tensor [U]

    Examples
    --------
    See `clsgan.trainer.update_loss_network`.
    """
    if scores is None:
        with torch.no_grad(), fabric.autocast():
            scores = state.average_loss_network.module(batch.x_teacher)[0].float()
    return 1 - outlier_probability(scores)


def _aligned(
    fabric: "Fabric",
    state: TrainState,
    objective: Objective,
    batch: Batch,
    target: Tensor,
    known: Tensor | None,
) -> Tensor:
    """The teacher's scores, moved to the class shares that the unlabeled rows should have."""
    predicted = _follow_classes(fabric, state, target, known)
    expected = batch.prior
    if objective.estimate_prior and batch.trained is not None:
        trained = _trained_shares(state, batch, batch.trained)
        expected = _all_mean(fabric, state.pool.see_classes(target.softmax(dim=1), trained))
        state.pool.class_shares = expected
    return align_classes(target, predicted, expected, objective.class_alignment)


def _trained_shares(state: TrainState, batch: Batch, labels: Tensor) -> Tensor:
    """Class shares [K] under which the teacher learned: of labels, and of aligned soft labels.

    Taken for those of the labels alone, a belief that is too large would feed itself: soft labels
    are aligned to it, the teacher learns it, and it would be corrected by it once more.
    """
    believed = labels if state.pool.class_shares is None else state.pool.class_shares
    return torch.lerp(labels, believed, len(batch.x_unl) / (len(batch.x_lab) + len(batch.x_unl)))


def _follow_classes(
    fabric: "Fabric", state: TrainState, logits: Tensor, known: Tensor | None = None
) -> Tensor:
    """Running mean [K] of class probabilities of known rows, the same in all processes."""
    own = logits.softmax(dim=1)
    if known is None:
        mean = _all_mean(fabric, own.mean(dim=0))
    else:
        mean = _all_mean(fabric, (known[:, None] * own).mean(dim=0))
        mean = mean / mean.sum().clamp_min(1e-6)
    before = mean if state.teacher_classes is None else state.teacher_classes
    state.teacher_classes = torch.lerp(before, mean, FOLLOWING)
    return state.teacher_classes


def _all_mean(fabric: "Fabric", own: Tensor) -> Tensor:
    return cast(Tensor, fabric.all_reduce(own, reduce_op="mean"))


def pool_term(
    state: TrainState, lab: Tensor, unl: Tensor, fake: Tensor, held: Tensor | None = None
) -> Scalars:
    """What teaches the level to tell known from novel rows of a pool that has both.

    The non-negative risk of learning from positive and unlabeled examples, with the share of known
    rows as `PoolBelief` estimates it, in place of `clsgan.terms.outlier_term`: there the known
    rows of the pool are pushed out with the others. Generated rows count among the novel ones.

    Parameters
    ----------
    state : TrainState
        Its belief of the pool takes in the scores.
    lab, unl, fake : Tensor [B, K], [U, K], [M, K]
        Scores.
    held : Tensor [H, K], optional
        Of labeled rows that the level does not learn from: the share is estimated by them. By the
        others it would come out too small, and is only where no better estimate was made before.

    Returns
    -------
    dict of Tensor

    Examples
    --------
    See `clsgan.terms.level_terms`.
    """
    known, pool = lab.logsumexp(dim=1), unl.logsumexp(dim=1)
    if held is not None:
        state.pool.see_scores(held.logsumexp(dim=1), pool)
    elif not state.pool.by_held_out:
        state.pool.see_scores(known, pool)
    risk = non_negative_risk(known, pool, state.pool.known_share)
    if len(fake):
        risk = risk + FAKE_WEIGHT * F.softplus(fake.logsumexp(dim=1)).mean()
    return {"outlier": risk}


def last_kept_share(history: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean weight of unlabeled rows in the last record of a run that has one.

    Parameters
    ----------
    history : sequence of mapping
        Records of a run, as in :attr:`clsgan.runlog.RunLog.records`.

    Returns
    -------
    float or None
        None where no row was weighed.

    Examples
    --------
    >>> last_kept_share([{"step": 25, "unlabeled_kept": 0.5}, {"step": 30, "labeled": 1.0}])
    0.5
    """
    shares = [float(record[KEPT]) for record in history if KEPT in record]
    return shares[-1] if shares else None
