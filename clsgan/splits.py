"""Which rows are labeled: drawn by seed, balanced over the classes, named and pinned by hash."""

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray


def split_labels(y: ArrayLike, n_labels: int, seed: int) -> NDArray[np.int64]:
    """Draw the rows that keep their label, equally many of each class.

    Where the classes do not divide `n_labels`, the remainder goes to classes drawn by the seed, at
    most one row to each. Splits of one seed are nested: the rows of a smaller one are among those
    of a larger one.

    Parameters
    ----------
    y : array_like [N], integers
        Classes of all rows; rows with -1 are unlabeled and are never drawn.
    n_labels : int
        How many rows to draw. As many as there are labeled rows means all of them, balanced or not.
    seed : int
        Seed of the draw.

    Returns
    -------
    ndarray [n_labels], int64
        Row numbers, sorted.

    Raises
    ------
    ValueError
        If `y` is not one row of integers, `n_labels` is below the number of classes or above the
        number of labeled rows, or a class has too few rows.

    Examples
    --------
    >>> y = np.arange(1000) % 10
    >>> rows = split_labels(y, 20, seed=0)
    >>> np.bincount(y[rows])
    array([2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    >>> set(rows) <= set(split_labels(y, 50, seed=0))
    True
    """
    y = _row_of_integers(y, "y")
    labeled = np.flatnonzero(y != -1)
    classes, counts = np.unique(y[labeled], return_counts=True)
    _check_n_labels(n_labels, len(classes), len(labeled))
    if n_labels == len(labeled):
        return labeled.astype(np.int64)
    # Sorting uniform draws, not Generator.choice or permutation: NumPy may change the streams of
    # those from one version to the next, and pinned splits must outlive versions.
    rng = np.random.default_rng(seed)
    row_keys, class_keys = rng.random(len(y)), rng.random(len(classes))
    quotas = _class_quotas(classes, counts, n_labels, class_keys)
    drawn = []
    for k, quota in zip(classes, quotas, strict=True):
        rows = np.flatnonzero(y == k)
        drawn.append(rows[np.argsort(row_keys[rows], kind="stable")[:quota]])
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def _row_of_integers(values: ArrayLike, parameter: str) -> NDArray[np.int64]:
    row = np.asarray(values)
    if row.ndim != 1 or not np.issubdtype(row.dtype, np.integer):
        raise ValueError(
            f"{parameter} must be one row of integers, got {row.dtype} of shape {row.shape}"
        )
    return row.astype(np.int64)


def _check_n_labels(n_labels: int, n_classes: int, n_labeled: int) -> None:
    if n_classes == 0:
        raise ValueError("y has no labeled row to draw from (none, or all are -1)")
    if n_labels < n_classes:
        raise ValueError(
            f"n_labels={n_labels} leaves a class without a label: there are {n_classes} classes, "
            "give at least that many"
        )
    if n_labels > n_labeled:
        raise ValueError(f"n_labels={n_labels} is more than the {n_labeled} labeled rows of y")


def _class_quotas(
    classes: NDArray[np.int64],
    counts: NDArray[np.int64],
    n_labels: int,
    class_keys: NDArray[np.float64],
) -> NDArray[np.int64]:
    """How many rows of each class to draw; `class_keys` order the classes for the remainder."""
    base, remainder = divmod(n_labels, len(classes))
    quotas = np.full(len(classes), base, dtype=np.int64)
    quotas[np.argsort(class_keys, kind="stable")[:remainder]] += 1
    for k, count, quota in zip(classes, counts, quotas, strict=True):
        if count < quota:
            raise ValueError(
                f"n_labels={n_labels} asks for {quota} rows of class {k}, which has {count}; "
                f"lower n_labels to at most {count * len(classes)}"
            )
    return quotas


def split_name(data_name: str, seed: int, n_labels: int) -> str:
    """Name of a split, as it stands in run folders, result files and tables.

    Parameters
    ----------
    data_name : str
        Name of the data set, with its protocol where that is not the published one.
    seed : int
    n_labels : int

    Returns
    -------
    str

    Examples
    --------
    >>> split_name("cifar10-40k", 3, 4000)
    'cifar10-40k.seed3@4000'
    """
    return f"{data_name}.seed{seed}@{n_labels}"


def split_hash(indices: ArrayLike) -> str:
    """Fingerprint of a set of rows, whatever their order, to pin a split by.

    Parameters
    ----------
    indices : array_like [n], integers
        Row numbers, each once.

    Returns
    -------
    str
        First 16 hexadecimal digits of the SHA-256 of the sorted numbers as little-endian int64.

    Raises
    ------
    ValueError
        If `indices` is not one row of integers, or a row number stands in it twice.

    Examples
    --------
    >>> split_hash([2, 0, 1]) == split_hash([0, 1, 2])
    True
    >>> split_hash([0, 1, 2])
    'ab25350e3e65efeb'
    """
    rows = np.sort(_row_of_integers(indices, "indices"))
    if len(np.unique(rows)) != len(rows):
        raise ValueError("indices hold a row number twice")
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:16]


def split_validation(
    codes: NDArray[np.int64], fraction: float, seed: int, classes: ArrayLike | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut validation rows from labeled ones, a share of each class.

    Parameters
    ----------
    codes : array [N], int64
        Class indices.
    fraction : float
        Share of every class, in (0, 1); each class gives at least one row and keeps one.
    seed : int
    classes : array_like [K], optional
        Names of the classes, for messages.

    Returns
    -------
    (train, validation) : arrays of sorted row numbers

    Raises
    ------
    ValueError
        If the fraction is outside (0, 1), or a class has fewer than two rows.

    Examples
    --------
    >>> train, validation = split_validation(np.array([0, 0, 0, 1, 1, 1]), 0.3, seed=0)
    >>> len(train), len(validation)
    (4, 2)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction={fraction!r} is not valid; it is in [0, 1)")
    rng = np.random.default_rng(seed)
    held_out = []
    for k in np.unique(codes):
        rows = np.flatnonzero(codes == k)
        if len(rows) < 2:
            raise ValueError(
                f"validation_fraction={fraction} needs two labeled rows of every class, but class "
                f"{k if classes is None else np.asarray(classes).tolist()[k]!r} has {len(rows)}; "
                "label more or set validation_fraction=0"
            )
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        held_out.append(rows[np.argsort(rng.random(len(rows)), kind="stable")[:count]])
    validation = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(codes)), validation), validation
