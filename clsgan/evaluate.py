"""Reports on a fitted classifier: how often it is wrong, where, and how well it knows it.

Of a generator, `minimum_reconstruction_error`, which stands in `clsgan.reconstruction`.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clsgan.metrics import (
    confusion,
    error_rate,
    expected_calibration_error,
    negative_log_likelihood,
    per_class_error,
)
from clsgan.reconstruction import Reconstruction, minimum_reconstruction_error

__all__ = [
    "ProbabilisticClassifier",
    "Reconstruction",
    "class_indices",
    "evaluate",
    "minimum_reconstruction_error",
    "report",
]


class ProbabilisticClassifier(Protocol):
    """What :func:`evaluate` asks of a model: any fitted scikit-learn classifier has it."""

    classes_: npt.NDArray[Any]

    def predict_proba(self, X: Any) -> npt.NDArray[Any]:
        """Class probabilities [N, K] in the order of ``classes_``."""


def evaluate(model: ProbabilisticClassifier, X: Any, y: npt.ArrayLike) -> dict[str, Any]:
    """Test error, calibration and confusion of a fitted classifier on rows it has not seen.

    Parameters
    ----------
    model : fitted classifier
        Anything with ``classes_`` and ``predict_proba``.
    X : array-like, folder or list of paths, N rows
        Whatever the model predicts on.
    y : array-like [N]
        True classes; every one must be among ``model.classes_``.

    Returns
    -------
    dict
        As :func:`report`.

    Raises
    ------
    ValueError
        ``y`` has another length than X, no row, or a class the model does not know.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from clsgan.evaluate import evaluate
    >>> X, y = load_digits(return_X_y=True)
    >>> numbers = evaluate(GaussianNB().fit(X[:1000], y[:1000]), X[1000:], y[1000:])
    >>> numbers["n"], round(numbers["error"], 2)
    (797, 0.21)
    """
    return report(model.classes_, y, model.predict_proba(X))


def report(
    classes: npt.ArrayLike, y: npt.ArrayLike, probabilities: npt.ArrayLike
) -> dict[str, Any]:
    """Test error, calibration and confusion from true classes and probabilities.

    Parameters
    ----------
    classes : array-like [K]
        The classes, in the order of the columns of ``probabilities``.
    y : array-like [N]
        True classes.
    probabilities : array-like [N, K]
        Predicted probabilities; the largest one is the prediction.

    Returns
    -------
    dict
        Plain numbers that JSON can hold: ``n``; ``error`` in 0..1; ``per_class_error``, a dict by
        class name, None for a class without rows; ``expected_calibration_error`` (15 bins);
        ``negative_log_likelihood`` in nats; ``confusion`` [K][K], true classes in rows.

    Raises
    ------
    ValueError
        Lengths differ, there is no row, or ``y`` holds a class that is not in ``classes``.

    Examples
    --------
    >>> from clsgan.evaluate import report
    >>> numbers = report(["cat", "dog"], ["cat", "dog"], [[0.8, 0.2], [0.6, 0.4]])
    >>> numbers["error"], numbers["per_class_error"], numbers["confusion"]
    (0.5, {'cat': 0.0, 'dog': 1.0}, [[1, 0], [1, 0]])
    """
    names, table = np.asarray(classes), np.asarray(probabilities, dtype=np.float64)
    true = class_indices(names, y)
    if table.shape != (len(true), len(names)):
        raise ValueError(
            f"probabilities must be [{len(true)}, {len(names)}] for these rows and classes, "
            f"got {list(table.shape)}"
        )
    predicted = table.argmax(axis=1)
    counts = confusion(true, predicted, len(names))
    errors = [None if math.isnan(e) else float(e) for e in per_class_error(counts)]
    return {
        "n": len(true),
        "error": error_rate(true, predicted),
        "per_class_error": dict(zip(map(str, names.tolist()), errors, strict=True)),
        "expected_calibration_error": expected_calibration_error(true, table),
        "negative_log_likelihood": negative_log_likelihood(true, table),
        "confusion": counts.tolist(),
    }


def class_indices(classes: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Where each row's class stands in ``classes``.

    Parameters
    ----------
    classes : array-like [K]
        The known classes, in any order.
    y : array-like [N]
        Classes of the rows.

    Returns
    -------
    ndarray of int64 [N]

    Raises
    ------
    ValueError
        ``y`` is not 1-D, is empty, or holds a class that is not in ``classes``.

    Examples
    --------
    >>> from clsgan.evaluate import class_indices
    >>> class_indices(["dog", "cat"], ["cat", "cat", "dog"]).tolist()
    [1, 1, 0]
    """
    known, rows = np.asarray(classes), np.asarray(y)
    if rows.ndim != 1 or len(rows) == 0:
        raise ValueError(f"y must be 1-D with at least one row, got shape {rows.shape}")
    places = {name: index for index, name in enumerate(known.tolist())}
    unknown = sorted({str(name) for name in rows.tolist() if name not in places})
    if unknown:
        raise ValueError(
            f"y holds classes that the model does not know: {', '.join(unknown[:10])}; "
            f"it knows {', '.join(map(str, known.tolist()))}"
        )
    return np.array([places[name] for name in rows.tolist()], dtype=np.int64)
