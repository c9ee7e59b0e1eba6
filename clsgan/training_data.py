"""From what users hand to `fit` to the arrays that the streams take."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from clsgan.inputs import (
    InputSpec,
    check_images,
    check_same_row_scale,
    check_same_scale,
    value_range,
)
from clsgan.labels import encode_labels, read_labels
from clsgan.pools.joined import join_rows
from clsgan.pools.kinds import Pool
from clsgan.pools.unlabeled_pool import open_pool
from clsgan.sources import Skipped, Unlabeled, is_from_files, is_image_like, load_source
from clsgan.units import Units

Array = npt.NDArray[Any]
CheckRows = Callable[..., Array]
LOOKED_AT = 1000  # rows of a pool whose scale is checked


@dataclass(frozen=True)
class TrainingData:
    """Checked training rows.

    Attributes
    ----------
    labeled : array [N, C, H, W] or [N, D]
        In the units of the user; uint8 or float32.
    unlabeled : array of that form, or Pool
        A pool is read batch by batch.
    codes : array [N], int64
        Class indices of the labeled rows.
    classes : array [K]
    spec : InputSpec
    units : Units
    skipped : dict of str to str
        Files of X that could not be read, with ``on_error="skip"``, and why; see `all_skipped`.

    Examples
    --------
    >>> sorted(TrainingData.__dataclass_fields__)[:3]
    ['classes', 'codes', 'labeled']
    """

    labeled: Array
    unlabeled: Array | Pool
    codes: npt.NDArray[np.int64]
    classes: Array
    spec: InputSpec
    units: Units
    skipped: dict[str, str] = field(default_factory=dict)

    def all_skipped(self) -> list[tuple[str, str]]:
        """Files of X and samples of the pool that could not be read until now, and why."""
        pool = {} if isinstance(self.unlabeled, np.ndarray) else self.unlabeled.skipped
        return list((self.skipped | pool).items())


def read_training_data(
    X: Any,
    y: Any,
    X_unlab: Any,
    params: Mapping[str, Any],
    check_rows: CheckRows,
    check_params: Callable[[Mapping[str, Any], InputSpec, int, int], None] | None = None,
) -> TrainingData:
    """Check what `fit` was given and bring it into one form.

    Parameters
    ----------
    X, y, X_unlab : see `CLSGANClassifier.fit`
    params : mapping
        The estimator's parameters.
    check_rows : callable
        scikit-learn's check of 2-D rows: (X, reset: bool, name: str) -> array [N, D].
    check_params : callable, optional
        `clsgan.early_checks.check_early`: called before an X_unlab that names files is opened.

    Returns
    -------
    TrainingData

    Raises
    ------
    ValueError
        If anything does not fit; the message names it and says what is valid.

    Examples
    --------
    >>> from clsgan import CLSGANClassifier
    >>> images = np.zeros((4, 8, 8), np.uint8)
    >>> params = CLSGANClassifier().get_params()
    >>> data = read_training_data(images, [0, 1, -1, 2], None, params, check_rows=None)
    >>> data.labeled.shape, data.unlabeled.shape, data.classes
    ((3, 1, 8, 8), (1, 1, 8, 8), array([0, 1, 2]))
    """
    from_files = is_from_files(X)
    skipped = Skipped() if params.get("on_error", "raise") == "skip" else None
    X, own_labels = load_source(X, "X", params["image_size"], skipped=skipped)
    if y is not None and skipped is not None:
        y = skipped.without(y)
    y = own_labels if y is None else y
    if y is None:
        raise ValueError("CLSGANClassifier requires y to be passed, but the target y is None")
    is_image = is_image_like(X)
    X, layout, dtype = _checked(X, is_image, from_files, params, check_rows)
    y, known = read_labels(y, params["minus_one"])
    if len(y) != len(X):
        raise ValueError(f"X has {len(X)} rows, but y has {len(y)} labels")
    classes, codes = encode_labels(y, known)
    labeled, unlabeled = X[known], X[~known]
    range_ = _image_range(labeled, dtype, from_files, params) if is_image else (-1.0, 1.0)
    spec = InputSpec(tuple(X.shape[1:]), layout, dtype, *range_)
    _check_scale(unlabeled, labeled, spec, params, "X in its unlabeled rows")
    more = None
    if X_unlab is not None:
        if check_params is not None and _names_files(X_unlab):
            check_params(params, spec, len(classes), len(X))
        more = read_unlabeled(X_unlab, spec, labeled, params, check_rows, skipped)
    joined = unlabeled if more is None else join_rows([unlabeled, more])
    looked_at = joined if isinstance(joined, np.ndarray) else joined.some(LOOKED_AT)
    units = _find_units(spec, labeled, looked_at)
    reasons = {} if skipped is None else skipped.reasons
    return TrainingData(labeled, joined, codes, classes, spec, units, reasons)


def read_density_data(X: Any, params: Mapping[str, Any], check_rows: CheckRows) -> TrainingData:
    """Check rows without labels and bring them into the form of rows of a single class.

    Parameters
    ----------
    X : see `clsgan.LSGAN.fit`
    params : mapping
        The estimator's parameters.
    check_rows : callable
        As in `read_training_data`.

    Returns
    -------
    TrainingData
        All rows are "labeled", with class 0.

    Raises
    ------
    ValueError
        If anything does not fit.

    Examples
    --------
    >>> params = {"image_size": "auto", "layout": "auto", "value_range": "auto"}
    >>> read_density_data(np.zeros((4, 8, 8), np.uint8), params, None).labeled.shape
    (4, 1, 8, 8)
    """
    from_files = is_from_files(X)
    X, _ = load_source(X, "X", params["image_size"])
    is_image = is_image_like(X)
    rows, layout, dtype = _checked(X, is_image, from_files, params, check_rows)
    range_ = _image_range(rows, dtype, from_files, params) if is_image else (-1.0, 1.0)
    spec = InputSpec(tuple(rows.shape[1:]), layout, dtype, *range_)
    units = _find_units(spec, rows, rows[:0])
    codes = np.zeros(len(rows), np.int64)
    return TrainingData(rows, rows[:0], codes, np.array([0]), spec, units)


def _names_files(X: Any) -> bool:
    parts = (X.data, *X.more) if isinstance(X, Unlabeled) else (X,)
    return any(isinstance(part, str | os.PathLike) or is_from_files(part) for part in parts)


def _checked(
    X: Any, is_image: bool, from_files: bool, params: Mapping[str, Any], check_rows: CheckRows
) -> tuple[Array, str, str]:
    """Training rows as an array, their layout, and the type of the user's numbers."""
    if not is_image:
        rows = check_rows(X, reset=True, name="X")
        return rows, "ND", str(rows.dtype)
    X = _as_array(X, "X")
    images, layout = check_images(X, "X", "NHWC" if from_files else params["layout"])
    return images, layout, str(X.dtype)


def read_unlabeled(
    X_unlab: Any,
    spec: InputSpec,
    labeled: Array,
    params: Mapping[str, Any],
    check_rows: CheckRows,
    skipped: Skipped | None = None,
) -> Array | Pool:
    """Check unlabeled rows against the labeled ones.

    Parameters
    ----------
    X_unlab : see `CLSGANClassifier.fit`
    spec : InputSpec
        Of the labeled rows.
    labeled : array [N, ...]
    params : mapping
    check_rows : callable
    skipped : Skipped, optional
        Gets the files that cannot be read, which are an error otherwise.

    Returns
    -------
    array [U, ...] or Pool

    Raises
    ------
    ValueError
        If the shape or the scale of the values differ from those of X.

    Examples
    --------
    >>> images = np.zeros((4, 1, 8, 8), np.uint8)
    >>> spec = InputSpec((1, 8, 8), "NHW", "uint8", 0.0, 255.0)
    >>> params = {"image_size": "auto", "value_range": "auto"}
    >>> read_unlabeled(np.zeros((3, 9, 9), np.uint8), spec, images, params, None)
    Traceback (most recent call last):
    ValueError: X_unlab holds images of 1x9x9 (channels x height x width), but X of 1x8x8
    """
    if isinstance(X_unlab, Unlabeled) and X_unlab.more:
        sources = (X_unlab.data, *X_unlab.more)
        each = (read_unlabeled(x, spec, labeled, params, check_rows, skipped) for x in sources)
        return join_rows(list(each))

    def check(rows: Any) -> Array:
        return read_like(rows, spec, "X_unlab", check_rows)[0]

    on_error, folder = params.get("on_error", "raise"), params.get("log_dir")
    rows = open_pool(X_unlab, spec, check, on_error, folder, skipped)
    if rows is None:
        rows, _ = read_like(X_unlab, spec, "X_unlab", check_rows, skipped=skipped)
    looked_at = rows if isinstance(rows, np.ndarray) else rows.some(LOOKED_AT)
    _check_scale(looked_at, labeled, spec, params, "X_unlab")
    return rows


def read_like(
    X: Any,
    spec: InputSpec,
    name: str,
    check_rows: CheckRows,
    labelled: bool = False,
    skipped: Skipped | None = None,
) -> tuple[Array, Array | None]:
    """Rows of later calls, in the form of the training rows.

    The pixels of image files, 0 to 255, are brought to the values of the training images.

    Parameters
    ----------
    X : see `CLSGANClassifier.fit`
    spec : InputSpec
        Of the training rows.
    name : str
        For messages.
    check_rows : callable

    labelled : bool
        Whether the sub-folders of a folder are classes.
    skipped : Skipped, optional
        Gets the files that cannot be read, which are an error otherwise.

    Returns
    -------
    rows : array [N, C, H, W] or [N, D]
    labels : array or None
        Labels that the source itself carries.

    Raises
    ------
    ValueError
        If the kind or the shape differ from those of the training rows.

    Examples
    --------
    >>> spec = InputSpec((1, 8, 8), "NHW", "uint8", 0.0, 255.0)
    >>> read_like(np.zeros((2, 8, 8), np.uint8), spec, "X", None)[0].shape
    (2, 1, 8, 8)
    """
    size = spec.shape[1:] if spec.is_image else "auto"
    channels = spec.shape[0] if spec.is_image else "auto"
    rows, labels = load_source(X, name, size, channels, labelled, skipped)
    if not spec.is_image:
        if is_image_like(rows):
            raise ValueError(f"{name} holds images, but the training X held rows [N, D]")
        return _check_named(rows, name, check_rows), labels
    if not is_image_like(rows):
        raise ValueError(
            f"{name} has shape {np.shape(rows)}, but the training X held images of "
            f"{_dimensions(spec.shape)} (channels x height x width); pass a batch, [N, ...]"
        )
    from_files = is_from_files(X)
    layout = "NHWC" if from_files else _layout_like(np.shape(rows), spec)
    images, _ = check_images(_as_array(rows, name), name, layout)
    if images.shape[1:] != spec.shape:
        raise ValueError(
            f"{name} holds images of {_dimensions(images.shape[1:])} (channels x height x width), "
            f"but X of {_dimensions(spec.shape)}"
        )
    if from_files and (spec.low, spec.high) != (0.0, 255.0):
        images = (spec.low + (spec.high - spec.low) / 255 * images).astype(np.float32)
    return images, labels


def check_predictable(images: Array, spec: InputSpec) -> None:
    """Refuse images to predict whose values plainly lie on another scale than those of training.

    Parameters
    ----------
    images : array [N, C, H, W]
    spec : InputSpec

    Raises
    ------
    ValueError
        If fractions of at most 1 follow training values of 16 and more, or the reverse.

    Examples
    --------
    >>> spec = InputSpec((1, 8, 8), "NHW", "uint8", 0.0, 255.0)
    >>> check_predictable(np.full((1, 1, 8, 8), 0.5, np.float32), spec)
    Traceback (most recent call last):
    ValueError: X has values in 0.5..0.5, but the training images X had 0..255; put both on ...
    """
    if images.dtype == np.uint8 and spec.high >= 16:
        return
    low, high = float(images.min()), float(images.max())
    fractions = images.dtype != np.uint8 and high <= 1 and bool((images % 1).any())
    if (fractions and spec.high >= 16) or (spec.high <= 1 and high >= 16):
        raise ValueError(
            f"X has values in {low:g}..{high:g}, but the training images X had "
            f"{spec.low:g}..{spec.high:g}; put both on the same scale"
        )


def _image_range(
    labeled: Array, dtype: str, from_files: bool, params: Mapping[str, Any]
) -> tuple[float, float]:
    given = params["value_range"]
    if isinstance(given, str) and given == "auto":
        return (0.0, 255.0) if from_files else value_range(labeled, dtype)
    pair = tuple(given) if isinstance(given, list | tuple | np.ndarray) else ()
    if not (len(pair) == 2 and all(isinstance(v, Real) for v in pair) and pair[0] < pair[1]):
        raise ValueError(
            f"value_range={given!r} is not valid; it is 'auto' or (low, high) with low < high"
        )
    if not np.isfinite(pair).all():
        raise ValueError(f"value_range={given!r} is not valid; it is finite")
    _check_within(labeled, float(pair[0]), float(pair[1]), "X")
    return float(pair[0]), float(pair[1])


def _check_within(images: Array, low: float, high: float, name: str) -> None:
    """Refuse images whose values lie more than one span outside of a range that was given."""
    least, most, span = float(images.min()), float(images.max()), high - low
    if least < low - span or most > high + span:
        raise ValueError(
            f"{name} has values in {least:g}..{most:g}, far outside of value_range={(low, high)}"
        )


def _check_scale(
    rows: Array, labeled: Array, spec: InputSpec, params: Mapping[str, Any], name: str
) -> None:
    """Refuse unlabeled rows on another scale than the labeled ones."""
    if len(rows) == 0:
        return
    if not spec.is_image:
        check_same_row_scale(rows, labeled, name)
    elif not isinstance(params["value_range"], str):
        _check_within(rows, spec.low, spec.high, name)
    elif not (rows.dtype == labeled.dtype == np.uint8 and spec.high == 255):  # bytes may be dark
        dtype = str(rows.dtype) if rows.dtype == np.uint8 else "float32"
        check_same_scale(value_range(rows, dtype), (spec.low, spec.high), name)


def _as_array(X: Any, name: str) -> Array:
    """Nested lists as an array; NumPy's own message does not say which input is ragged."""
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(f"{name} holds images of different shapes; resize them") from error


def _check_named(rows: Any, name: str, check_rows: CheckRows) -> Array:
    """scikit-learn's check, whose messages call everything X."""
    try:
        return check_rows(rows, reset=False, name=name)
    except ValueError as error:
        if name == "X":
            raise
        raise ValueError(f"{name}: {error}") from error


def _find_units(spec: InputSpec, labeled: Array, unlabeled: Array) -> Units:
    """What brings pixels to [-1, 1], and columns to mean 0 and variance 1."""
    if spec.is_image:
        half = (spec.high - spec.low) / 2
        return Units(np.array(spec.low + half), np.array(half))
    rows = np.concatenate([labeled, unlabeled]) if len(unlabeled) else labeled
    rows = rows.astype(np.float64)
    deviation = rows.std(axis=0)
    constant = deviation <= 1e-12 * np.abs(rows).max(axis=0)
    return Units(rows.mean(axis=0), np.where(constant, 1.0, deviation))


def _layout_like(shape: tuple[int, ...], spec: InputSpec) -> str:
    """The training layout where the shape fits it, so that an ambiguous batch is read alike."""
    if spec.layout != "NHW" and len(shape) == 4:
        axis = 3 if spec.layout == "NHWC" else 1
        if shape[axis] == spec.shape[0]:
            return spec.layout
    return "auto"


def _dimensions(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
