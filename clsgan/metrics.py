"""Numbers from arrays: error rates, calibration and confusion of class predictions.

Distances between real and generated rows stand in `clsgan.distances`, and are public here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, log_loss

from clsgan.distances import (
    distance_key,
    feature_distances,
    frechet_distance,
    inception_features,
    kernel_distance,
)

__all__ = [
    "confusion",
    "distance_key",
    "error_rate",
    "expected_calibration_error",
    "feature_distances",
    "frechet_distance",
    "inception_features",
    "kernel_distance",
    "negative_log_likelihood",
    "per_class_error",
]

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]


def error_rate(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Share of wrong predictions, between 0 and 1.

    Parameters
    ----------
    y_true : array-like [N]
        True classes.
    y_pred : array-like [N]
        Predicted classes.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        The lengths differ, or there is no row.

    Examples
    --------
    >>> from clsgan.metrics import error_rate
    >>> error_rate(["cat", "dog", "dog", "cat"], ["cat", "cat", "dog", "cat"])
    0.25
    """
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    _check_rows(true, predicted)
    return float(np.mean(true != predicted))


def confusion(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, n_classes: int
) -> npt.NDArray[np.int64]:
    """How often each class (row) was taken for each class (column).

    Parameters
    ----------
    y_true, y_pred : array-like of int [N]
        True and predicted class indices in 0..n_classes-1.
    n_classes : int
        Number of classes K.

    Returns
    -------
    ndarray of int64 [K, K]
        Counts; the diagonal is what was right.

    Raises
    ------
    ValueError
        The lengths differ, there is no row, or an index is not in 0..n_classes-1.

    Examples
    --------
    >>> from clsgan.metrics import confusion
    >>> confusion([0, 0, 1], [0, 1, 1], n_classes=3).tolist()
    [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    """
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    _check_rows(true, predicted)
    for name, indices in (("y_true", true), ("y_pred", predicted)):
        _check_indices(name, indices, n_classes)
    counts = confusion_matrix(true, predicted, labels=np.arange(n_classes))
    return np.asarray(counts, dtype=np.int64)


def per_class_error(counts: npt.ArrayLike) -> FloatArray:
    """Error rate of each true class; NaN for a class without rows.

    Parameters
    ----------
    counts : array-like of int [K, K]
        A confusion matrix, true classes in rows.

    Returns
    -------
    ndarray of float64 [K]

    Examples
    --------
    >>> from clsgan.metrics import per_class_error
    >>> per_class_error([[3, 1], [0, 2]]).tolist()
    [0.25, 0.0]
    """
    table = np.asarray(counts, dtype=np.float64)
    rows = table.sum(axis=1)
    wrong = rows - np.diag(table)
    errors = np.full(len(table), np.nan)
    np.divide(wrong, rows, out=errors, where=rows > 0)
    return errors


def expected_calibration_error(
    y_true: npt.ArrayLike, probabilities: npt.ArrayLike, n_bins: int = 15
) -> float:
    """Expected calibration error of the winning class, between 0 and 1.

    Rows are binned by the probability of their predicted class in ``n_bins`` bins of equal width,
    (0, 1/n], (1/n, 2/n], ...; the error is sum_b (n_b / N) |accuracy_b - mean confidence_b|
    (Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3).

    Parameters
    ----------
    y_true : array-like of int [N]
        True class indices in 0..K-1.
    probabilities : array-like [N, K]
        Predicted probabilities.
    n_bins : int, default=15
        Number of bins, at least 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Shapes do not fit, there is no row, or ``n_bins`` < 1.

    Examples
    --------
    >>> from clsgan.metrics import expected_calibration_error
    >>> expected_calibration_error([0, 1], [[0.9, 0.1], [0.9, 0.1]])  # sure of 0.9, right 0.5
    0.4
    """
    true, table = _check_probabilities(y_true, probabilities)
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    confidence = table.max(axis=1)
    right = (table.argmax(axis=1) == true).astype(np.float64)
    bins = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(true))


def negative_log_likelihood(y_true: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of -log p(true class), in nats; probabilities of 0 are clipped as in scikit-learn.

    Parameters
    ----------
    y_true : array-like of int [N]
        True class indices in 0..K-1.
    probabilities : array-like [N, K]
        Predicted probabilities, each row summing to 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Shapes do not fit or there is no row.

    Examples
    --------
    >>> from clsgan.metrics import negative_log_likelihood
    >>> round(negative_log_likelihood([0, 1], [[0.5, 0.5], [0.75, 0.25]]), 4)
    1.0397
    """
    true, table = _check_probabilities(y_true, probabilities)
    return float(log_loss(true, table, labels=np.arange(table.shape[1])))


def _check_rows(true: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> None:
    if true.ndim != 1 or true.shape != predicted.shape:
        raise ValueError(
            f"y_true and y_pred must be 1-D of one length, got {true.shape} and {predicted.shape}"
        )
    if len(true) == 0:
        raise ValueError("there is no row to compare")


def _check_indices(name: str, indices: npt.NDArray[Any], n_classes: int) -> None:
    if indices.dtype.kind not in "iu" or indices.min() < 0 or indices.max() >= n_classes:
        raise ValueError(
            f"{name} must hold class indices 0..{n_classes - 1}, got {np.unique(indices)[:10]}"
        )


def _check_probabilities(
    y_true: npt.ArrayLike, probabilities: npt.ArrayLike
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    true, table = np.asarray(y_true), np.asarray(probabilities, dtype=np.float64)
    if table.ndim != 2 or true.shape != table.shape[:1]:
        raise ValueError(
            f"probabilities must be [N, K] beside y_true [N], got {table.shape} and {true.shape}"
        )
    if len(true) == 0:
        raise ValueError("there is no row to compare")
    _check_indices("y_true", true, table.shape[1])
    return true, table
