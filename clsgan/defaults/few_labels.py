"""What a run does otherwise where labels are very few beside many unlabeled images."""

from collections.abc import Mapping
from typing import Any

from clsgan.choices import is_auto
from clsgan.defaults.augmentation import flips
from clsgan.defaults.training import MANY_ROWS, SGD_NETWORKS
from clsgan.inputs import InputSpec

# The network learns what to look at from telling how images are turned, until it knows enough for
# soft labels; figures in docs/ablation.md.
FEW_LABELS = 25  # of a class, on average; no more are few
FEW_LABELS_TRAINING: dict[str, Any] = {"unlabeled_share": 0.75, "unlabeled_start": 0.4}
FEW_LABELS_ROTATION = 1.0


def has_few_labels(n_labeled: int, n_unlabeled: int, n_classes: int) -> bool:
    """Whether a run has few labels beside many unlabeled rows.

    Parameters
    ----------
    n_labeled, n_unlabeled : int
        Rows.
    n_classes : int

    Returns
    -------
    bool
        25 labels of a class or fewer, in the mean, and 20,000 unlabeled rows or more.

    Examples
    --------
    >>> has_few_labels(40, 40_000, 10), has_few_labels(500, 40_000, 10), has_few_labels(40, 500, 10)
    (True, False, False)
    """
    return n_labeled <= FEW_LABELS * n_classes and n_unlabeled >= MANY_ROWS


def tells_rotations(params: Mapping[str, Any], spec: InputSpec) -> bool:
    """Whether quarter turns of unlabeled images are told, where labels are few.

    So it is beside the default's own objective and soft labels, with square images and a network
    that learns its features; not of grey images that are not mirrored, which are often digits or
    letters, not where rows of the pool may be of no class, nor beside an augmentation that is
    given, which may turn images itself.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec

    Returns
    -------
    bool

    Examples
    --------
    >>> from clsgan import CLSGANClassifier
    >>> spec = InputSpec((3, 32, 32), "NHWC", "uint8")
    >>> tells_rotations(CLSGANClassifier().get_params(), spec)
    True
    >>> tells_rotations(CLSGANClassifier(unlabeled="fixmatch").get_params(), spec)
    False
    >>> grey = InputSpec((1, 28, 28), "NHW", "uint8")
    >>> [tells_rotations(CLSGANClassifier(flip=f).get_params(), grey) for f in ("auto", True)]
    [False, True]
    """
    return (
        spec.is_square
        and (spec.shape[0] == 3 or flips(params["flip"], spec))
        and params["objective"] == "default"
        and params["unlabeled"] in ("auto", "soft_labels")
        and params["unlabeled_filter"] is None
        and params["loss_network"] in SGD_NETWORKS
        and all(is_auto(params[name]) for name in ("augment", "unlabeled_augment"))
    )
