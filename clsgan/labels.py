"""Labels as users hand them in: which rows are labeled, and with which class."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite

Array = npt.NDArray[Any]
MINUS_ONE = ("auto", "unlabeled", "class")


def read_labels(y: Any, minus_one: str = "auto") -> tuple[Array, npt.NDArray[np.bool_]]:
    """Check labels and tell the labeled rows from the unlabeled ones.

    Unlabeled rows are marked by -1 in numeric labels, and by None or NaN in an object array. With
    ``minus_one="auto"``, -1 beside just one other label is a class of a binary problem.

    Parameters
    ----------
    y : array-like [N]
        Integers, booleans, strings, or floats with whole values.
    minus_one : {"auto", "unlabeled", "class"}
        What -1 means.

    Returns
    -------
    y : array [N]
        Entries of unlabeled rows mean nothing.
    labeled : array [N], bool

    Raises
    ------
    ValueError
        If the labels are continuous, infinite, of mixed types, or `minus_one` is unknown.

    Examples
    --------
    >>> read_labels([0, 1, -1])[1]
    array([ True,  True, False])
    >>> read_labels([1, -1, -1])[1]
    array([ True,  True,  True])
    >>> read_labels(np.array(["cat", None], dtype=object))[1]
    array([ True, False])
    """
    if minus_one not in MINUS_ONE:
        raise ValueError(f"minus_one={minus_one!r} is not valid; choose one of {list(MINUS_ONE)}")
    y = column_or_1d(label_array(y), warn=True)
    labeled = np.ones(len(y), dtype=bool)
    if y.dtype.kind == "O":
        labeled = np.array([not _is_missing(label) for label in y], dtype=bool)
        y = _unmix(y, labeled)
    else:
        assert_all_finite(y, input_name="y")
    if y.dtype.kind in "if" and marks_unlabeled(y[labeled], minus_one):
        labeled &= y != -1
    if labeled.any():
        check_classification_targets(y[labeled])
    return y, labeled


def label_array(labels: Any) -> Any:
    """Labels of a list as an array; anything but a list is handed back.

    NumPy would turn None, NaN and numbers that stand beside strings into strings, that is, into
    classes.

    Parameters
    ----------
    labels : object

    Returns
    -------
    array [N] or what was given
        Of objects where strings and other things are mixed.

    Raises
    ------
    ValueError
        If entries are sequences of several lengths.

    Examples
    --------
    >>> label_array(["cat", float("nan")])
    array(['cat', nan], dtype=object)
    """
    if not isinstance(labels, list | tuple):
        return labels
    strings = {isinstance(label, str) for label in labels}
    try:
        return np.array(labels, dtype=object) if len(strings) == 2 else np.asarray(labels)
    except ValueError as error:
        raise ValueError(f"y must be one label a row, and makes no array: {error}") from error


def marks_unlabeled(y: Array, minus_one: str) -> bool:
    """Whether -1 stands for "unlabeled" in numeric labels.

    Parameters
    ----------
    y : array [N]
    minus_one : {"auto", "unlabeled", "class"}

    Returns
    -------
    bool

    Examples
    --------
    >>> marks_unlabeled(np.array([-1, 0, 1]), "auto"), marks_unlabeled(np.array([-1, 1]), "auto")
    (True, False)
    """
    others = np.unique(y[y != -1])
    return minus_one == "unlabeled" or (minus_one == "auto" and len(others) != 1)


def encode_labels(y: Array, labeled: npt.NDArray[np.bool_]) -> tuple[Array, npt.NDArray[np.int64]]:
    """Classes and class indices of the labeled rows.

    Parameters
    ----------
    y : array [N]
    labeled : array [N], bool

    Returns
    -------
    classes : array [K]
        Sorted.
    codes : array [n_labeled], int64

    Raises
    ------
    ValueError
        If no row is labeled, or all have the same class.

    Examples
    --------
    >>> encode_labels(np.array(["b", "a", "b"]), np.array([True, True, True]))
    (array(['a', 'b'], dtype='<U1'), array([1, 0, 1]))
    """
    if not labeled.any():
        raise ValueError("y has no labeled row: all are marked as unlabeled (-1, None or NaN)")
    classes, codes = np.unique(y[labeled], return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y has one class only, {classes.tolist()[0]!r}, in its {int(labeled.sum())} labeled "
            "rows; a classifier needs at least two classes"
        )
    return classes, codes.astype(np.int64)


def _is_missing(label: object) -> bool:
    return label is None or (isinstance(label, float | np.floating) and bool(np.isnan(label)))


def _unmix(y: Array, labeled: npt.NDArray[np.bool_]) -> Array:
    """Give object labels one type: all strings stay objects, all numbers become numeric."""
    known = y[labeled]
    strings = [isinstance(label, str) for label in known]
    if all(strings):
        return y
    if any(strings):
        example = (known[strings.index(True)], known[strings.index(False)])
        raise ValueError(
            f"y mixes labels of different types, such as {example[0]!r} and {example[1]!r}; "
            "use strings or numbers, with None or NaN for unlabeled rows"
        )
    numbers = np.array(known.tolist())
    if numbers.ndim != 1:
        raise ValueError(f"y holds {known[0]!r}; a label is a number, a string or a boolean")
    filled = np.zeros(len(y), dtype=numbers.dtype)
    filled[labeled] = numbers
    assert_all_finite(filled, input_name="y")
    return filled
