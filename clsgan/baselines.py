"""What a result is held against: simpler methods, trained on the same labeled rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.semi_supervised import LabelSpreading

from clsgan.choices import one_of
from clsgan.estimator import CLSGANClassifier
from clsgan.metrics import error_rate
from clsgan.processes import from_first, gathered
from clsgan.run_data import RunData

GRAPH_ROWS = 10_000  # rows that a graph of neighbours is built over: its cost grows with the square
NEIGHBOURS = 7


def run_baseline(name: str, data: RunData, arguments: dict[str, Any]) -> dict[str, Any]:
    """Train a baseline on the labeled (and unlabeled) rows of a run and test it on its test rows.

    Parameters
    ----------
    name : {"supervised", "label_spreading"}
    data : RunData
    arguments : dict
        Constructor arguments of the estimator that the baseline is held against.

    Returns
    -------
    dict
        ``method``, ``error``, ``n_test``, ``seconds`` to fit, and what else the baseline tells.

    Raises
    ------
    ValueError
        The name is unknown, or the baseline cannot be run on such data.

    Examples
    --------
    >>> from clsgan.baselines import run_baseline
    >>> from clsgan.config import DataConfig
    >>> from clsgan.run_data import load_run_data
    >>> data = load_run_data(DataConfig(name="digits", labels=100))
    >>> 0 < run_baseline("label_spreading", data, {})["error"] < 0.3
    True
    """
    run = one_of("baselines", name, BASELINES)
    return {"method": name, **run(data, arguments), "n_test": len(data.y_test)}


def check_baselines(names: Sequence[str], data: RunData) -> None:
    """Refuse baselines that are unknown or that cannot be run on such data, before any training.

    Parameters
    ----------
    names : sequence of str
    data : RunData

    Raises
    ------
    ValueError
        Says which baseline and why.

    Examples
    --------
    >>> from clsgan.baselines import check_baselines
    >>> from clsgan.config import DataConfig
    >>> from clsgan.run_data import load_run_data
    >>> check_baselines(["suprvised"], load_run_data(DataConfig(name="digits", labels=100)))
    Traceback (most recent call last):
    ValueError: baselines='suprvised' is not known; did you mean 'supervised'? Valid: ...
    """
    for name in names:
        one_of("baselines", name, BASELINES)
    if "label_spreading" in names and not isinstance(data.x_lab, np.ndarray):
        raise ValueError(
            "baseline 'label_spreading' needs images of one size as an array, not image files; "
            "set baselines=[supervised]"
        )


def fit_before_test(model: CLSGANClassifier, data: RunData) -> None:
    """Fit on the rows of a run, early enough for its test to end within the time limit.

    Parameters
    ----------
    model : CLSGANClassifier
    data : RunData

    Examples
    --------
    See `supervised`.
    """
    model._n_test = len(data.y_test)
    try:
        model.fit(data.x_lab, data.y_lab, X_unlab=data.unlabeled)
    finally:
        del model._n_test  # a later fit has no such test


def supervised(data: RunData, arguments: dict[str, Any]) -> dict[str, Any]:
    """Train the same network by the labels alone, for as many seconds or steps.

    The unlabeled rows are given, since defaults go by the number of all rows: batch size, learning
    rate and steps are those of the run. No loss sees them; a stem that whitens is fitted to them.

    Parameters
    ----------
    data : RunData
    arguments : dict
        Constructor arguments of the estimator that the baseline is held against.

    Returns
    -------
    dict

    Examples
    --------
    See `run_baseline`.
    """
    model = CLSGANClassifier(**{**arguments, "unlabeled": "none", "generator": None})
    fit_before_test(model, data)
    return {
        "error": error_rate(data.y_test, gathered(model.predict, data.x_test)),
        "seconds": float(model.fit_time_),
        "steps": int(model.n_steps_),
        "images_per_second": float(model.images_per_second_),
    }


def label_spreading(data: RunData, arguments: dict[str, Any]) -> dict[str, Any]:
    """Spread labels over a graph of nearest neighbours in pixel space, by scikit-learn.

    At most 10,000 rows enter the graph: all labeled ones, and the first unlabeled ones.

    Parameters
    ----------
    data : RunData
    arguments : dict
        Not used.

    Returns
    -------
    dict

    Examples
    --------
    See `run_baseline`.
    """
    return from_first(lambda: _spread_labels(data))


def _spread_labels(data: RunData) -> dict[str, Any]:
    started = time.perf_counter()
    x_lab, x_test = _flat(data.x_lab), _flat(data.x_test)
    rows = [x_lab]
    if data.x_unlab is not None:
        rows.append(_flat(data.x_unlab[: max(GRAPH_ROWS - len(x_lab), 0)]))
    x = np.concatenate(rows)
    scale = max(float(np.abs(x).max()), 1.0)
    classes, indices = np.unique(data.y_lab, return_inverse=True)
    y = np.concatenate([indices, np.full(len(x) - len(indices), -1)])
    model = LabelSpreading(kernel="knn", n_neighbors=min(NEIGHBOURS, len(x) - 1), max_iter=100)
    model.fit(x / scale, y)
    seconds = time.perf_counter() - started
    error = error_rate(data.y_test, classes[model.predict(x_test / scale)])
    return {"error": error, "seconds": seconds, "rows": len(x)}


def _flat(x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return x.reshape(len(x), math.prod(x.shape[1:])).astype(np.float32)


BASELINES: dict[str, Callable[[RunData, dict[str, Any]], dict[str, Any]]] = {
    "supervised": supervised,
    "label_spreading": label_spreading,
}
