"""Weights of the classes, and the class shares that unlabeled rows are believed to have."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from clsgan.choices import unknown_name
from clsgan.streams import ClassShares

Array = npt.NDArray[Any]
ESTIMATE = "estimate"


def class_shares(params: Mapping[str, Any], classes: Array, codes: Array) -> ClassShares:
    """What `class_weight` and `class_prior` come to for the labels of a run.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    classes : array [K]
    codes : array [N], int64
        Class indices of the labeled rows.

    Returns
    -------
    ClassShares

    Raises
    ------
    ValueError
        If one of the two is not valid for these classes.

    Examples
    --------
    >>> params = {"class_weight": "balanced", "class_prior": "uniform"}
    >>> shares = class_shares(params, np.array(["a", "b"]), np.array([0, 1, 1, 1]))
    >>> shares.weight, shares.pool_prior
    (tensor([2.0000, 0.6667]), tensor([0.5000, 0.5000]))
    """
    weight = params.get("class_weight")
    prior = params.get("class_prior", "labels")
    return ClassShares(_weights(weight, classes, codes), _prior(prior, classes))


def _weights(given: Any, classes: Array, codes: Array) -> Tensor | None:
    """Weight of each class, on average 1 over the rows: a step stays as long as it was."""
    if given is None:
        return None
    if not isinstance(given, Mapping) and given != "balanced":
        raise ValueError(
            f"class_weight={given!r} is not valid; it is None, 'balanced' or a dict of a number "
            "for each class"
        )
    if isinstance(given, Mapping):
        unknown = [label for label in given if label not in classes.tolist()]
        if unknown:
            raise ValueError(
                f"class_weight={given!r} has {unknown!r}, not among the labels {classes.tolist()}"
            )
    try:
        weights = compute_class_weight(given, classes=classes, y=classes[codes])
        weights = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"class_weight={given!r} is not valid: {error}") from error
    total = weights[codes].mean()
    if not (np.isfinite(weights).all() and (weights >= 0).all() and total > 0):
        raise ValueError(f"class_weight={given!r} is not valid; weights are >= 0, and not all 0")
    return torch.tensor(weights / total, dtype=torch.float32)


def _prior(given: Any, classes: Array) -> Tensor | None:
    if isinstance(given, str):
        if given not in PRIORS:
            raise ValueError(unknown_name("class_prior", given, PRIORS))
        return PRIORS[given](len(classes))
    try:
        shares = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        shares = np.empty(0)
    valid = shares.shape == (len(classes),) and bool((shares >= 0).all())
    if not valid or abs(shares.sum() - 1) > 1e-3:
        raise ValueError(
            f"class_prior={given!r} is not valid; it is one of {sorted(PRIORS)}, or a share for "
            f"each of the classes {classes.tolist()}, with the sum 1"
        )
    return torch.tensor(shares / shares.sum(), dtype=torch.float32)


def _of_labels(n_classes: int) -> None:
    return None


def _uniform(n_classes: int) -> Tensor:
    return torch.full((n_classes,), 1 / n_classes)


PRIORS: dict[str, Callable[[int], Tensor | None]] = {
    "labels": _of_labels,
    "uniform": _uniform,
    ESTIMATE: _of_labels,  # where the estimate starts
}
