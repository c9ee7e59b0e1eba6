"""What is asked of unlabeled rows besides the margins: targets from a teacher, or nothing.

Each objective compares the scores of the network that learns with those of a teacher, which is
either the network itself or the running average of its weights. All return one value per row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_label_loss(
    logits: Tensor, teacher_logits: Tensor, temperature: float = 0.5, power: float = 1.0
) -> Tensor:
    """Cross-entropy to the teacher's sharpened class probabilities, weighted by its confidence.

    Parameters
    ----------
    logits, teacher_logits : Tensor [B, K]
        Scores of the learning network and of the teacher (no gradient reaches the teacher).
    temperature : float
        Below 1 sharpens the teacher's probabilities.
    power : float
        The weight of a row is the teacher's largest (unsharpened) probability to this power.

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> import torch
    >>> teacher = torch.tensor([[4.0, 0.0], [0.0, 0.0]])
    >>> soft_label_loss(teacher, teacher) < soft_label_loss(-teacher, teacher)
    tensor([ True, False])
    """
    teacher_logits = teacher_logits.detach()
    targets = F.softmax(teacher_logits / temperature, dim=-1)
    weight = F.softmax(teacher_logits, dim=-1).amax(dim=-1).pow(power)
    return weight * -(targets * F.log_softmax(logits, dim=-1)).sum(dim=-1)


def hard_label_loss(logits: Tensor, teacher_logits: Tensor, threshold: float) -> Tensor:
    """Cross-entropy to the teacher's best class where its probability reaches a threshold.

    With the teacher on a weak and the learner on a strong view this is FixMatch (Sohn et al.,
    arXiv 2001.07685, eq. 4); with one view it is pseudo-labelling (Lee, 2013).

    Parameters
    ----------
    logits, teacher_logits : Tensor [B, K]
        Scores of the learning network and of the teacher (no gradient reaches the teacher).
    threshold : float
        Rows with a smaller largest probability count 0.

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> import torch
    >>> teacher = torch.tensor([[9.0, 0.0], [0.1, 0.0]])
    >>> hard_label_loss(torch.zeros(2, 2), teacher, threshold=0.95)
    tensor([0.6931, 0.0000])
    """
    confidence, label = F.softmax(teacher_logits.detach(), dim=-1).max(dim=-1)
    loss = F.cross_entropy(logits, label, reduction="none")
    return loss * (confidence >= threshold).to(loss.dtype)


def probability_distance(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Squared distance of class probabilities, the consistency cost of Mean Teacher.

    Tarvainen and Valpola, arXiv 1703.01780.

    Parameters
    ----------
    logits, teacher_logits : Tensor [B, K]
        Scores of the learning network and of the teacher (no gradient reaches the teacher).

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> import torch
    >>> probability_distance(torch.zeros(1, 2), torch.zeros(1, 2))
    tensor([0.])
    """
    difference = F.softmax(logits, dim=-1) - F.softmax(teacher_logits.detach(), dim=-1)
    return difference.square().sum(dim=-1)


def rotation_loss(features: Tensor, turns: Tensor) -> Tensor:
    """Cross-entropy of the quarter turns of images, told from their features.

    RotNet (Gidaris et al., arXiv 1803.07728, eq. 2 and 3), with four scores that are fixed sums of
    the features: +- features / sqrt(F), the signs being four Walsh functions, none of them constant
    where there are more than four features. Features learn to fit fixed weights as well (Hoffer et
    al., arXiv 1801.04540), and there are no parameters to keep.

    Parameters
    ----------
    features : Tensor [B, F]
    turns : Tensor [B], int64
        0, 1, 2 or 3 quarter turns.

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> import torch
    >>> rotation_loss(torch.zeros(2, 8), torch.tensor([0, 3]))
    tensor([1.3863, 1.3863])
    """
    n_features = features.shape[1]
    signs = _walsh_signs(n_features, features.device).to(features.dtype)
    return F.cross_entropy(features @ signs.T / n_features**0.5, turns, reduction="none")


def _walsh_signs(n_features: int, device: torch.device) -> Tensor:
    """Four rows [4, F] of 1 and -1, orthogonal where F is a multiple of 8."""
    place = torch.arange(n_features, device=device)
    rows = torch.arange(1, 5, device=device)[:, None] & place  # bits of 1, 2, 3 and 4
    odd = (rows ^ (rows >> 1) ^ (rows >> 2)) & 1
    return 1 - 2 * odd


def align_classes(
    teacher_logits: Tensor, predicted: Tensor, expected: Tensor, strength: float = 1.0
) -> Tensor:
    """Move a teacher's scores so that its classes become as frequent as they are expected to be.

    Probabilities are multiplied by ``(expected / predicted) ** strength`` and normalised: the
    distribution alignment of ReMixMatch (Berthelot et al., arXiv 1911.09785, section 3.1).

    Parameters
    ----------
    teacher_logits : Tensor [B, K]
    predicted : Tensor [K]
        Mean of the teacher's class probabilities over many unlabeled rows.
    expected : Tensor [K]
        Class shares that the unlabeled rows are believed to have.
    strength : float
        0 leaves the scores as they are.

    Returns
    -------
    Tensor [B, K]
        Scores; their softmax has the changed probabilities.

    Examples
    --------
    >>> import torch
    >>> often, fair = torch.tensor([0.8, 0.2]), torch.tensor([0.5, 0.5])
    >>> align_classes(often.log()[None], predicted=often, expected=fair).softmax(1)
    tensor([[0.5000, 0.5000]])
    """
    tiny = 1e-4  # a class that is never predicted would get an infinite factor
    return teacher_logits + strength * (expected.clamp_min(tiny) / predicted.clamp_min(tiny)).log()


@dataclass(frozen=True)
class UnlabeledObjective:
    """One way to learn from unlabeled rows.

    Attributes
    ----------
    loss : callable
        (logits [B, K], teacher_logits [B, K]) -> [B].
    teacher : {"average", "self"}
        Whose scores are the target.
    teacher_view : {"weak", "plain"}
        What the teacher looks at; the learner sees the training augmentation.
    aligned : bool
        Whether the teacher's scores may be moved by `align_classes`.

    Examples
    --------
    >>> UNLABELED["fixmatch"].teacher
    'self'
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    teacher: Literal["average", "self"]
    teacher_view: Literal["weak", "plain"]
    aligned: bool = False


UNLABELED: dict[str, UnlabeledObjective | None] = {
    "soft_labels": UnlabeledObjective(soft_label_loss, "average", "plain", aligned=True),
    "pseudo_label": UnlabeledObjective(partial(hard_label_loss, threshold=0.95), "self", "plain"),
    "mean_teacher": UnlabeledObjective(probability_distance, "average", "weak"),
    "fixmatch": UnlabeledObjective(partial(hard_label_loss, threshold=0.95), "self", "weak"),
    "margin": None,
    "none": None,
}


def unlabeled_weight_ramp(progress: float, start: float, length: float = 0.1) -> float:
    """Weight of the unlabeled term as the run proceeds: 0 before `start`, then up to 1.

    Parameters
    ----------
    progress : float
        Share of the budget that is spent, 0 to 1.
    start : float
        Share of the budget at which unlabeled rows come in.
    length : float
        Share of the budget over which the weight grows linearly.

    Returns
    -------
    float

    Examples
    --------
    >>> [unlabeled_weight_ramp(p, start=0.2) for p in (0.1, 0.45, 0.6)]
    [0.0, 1.0, 1.0]
    """
    return min(max((progress - start) / length, 0.0), 1.0)
