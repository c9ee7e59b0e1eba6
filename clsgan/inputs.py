"""What users hand in, turned into arrays: kinds of input, layouts and value ranges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
LAYOUTS = ("auto", "NHW", "NHWC", "NCHW")
CHANNEL_COUNTS = ((1, 3), (1, 2, 3, 4))
SCALE_TOLERANCE = 4.0


@dataclass(frozen=True)
class InputSpec:
    """What `fit` learned of the form of X, so that later inputs and samples can follow it.

    Attributes
    ----------
    shape : tuple of int
        (C, H, W) of one image, or (D,) of one row.
    layout : {"NHW", "NHWC", "NCHW", "ND"}
    dtype : str
        NumPy's name of the type of X.
    low, high : float
        Values that networks see as -1 and 1; not used for rows.

    Examples
    --------
    >>> InputSpec((1, 8, 8), "NHW", "uint8", 0.0, 255.0).is_image
    True
    """

    shape: tuple[int, ...]
    layout: str
    dtype: str
    low: float = -1.0
    high: float = 1.0

    @property
    def is_image(self) -> bool:
        """Whether X holds images."""
        return self.layout != "ND"

    @property
    def is_square(self) -> bool:
        """Whether X holds images as wide as high."""
        return self.is_image and self.shape[1] == self.shape[2]


def resolve_layout(shape: Sequence[int], layout: str, name: str = "X") -> str:
    """The order of the axes of a batch of images.

    Parameters
    ----------
    shape : sequence of int
        Of the whole batch.
    layout : {"auto", "NHW", "NHWC", "NCHW"}
        What the user said; "auto" looks for an axis of 1 or 3, else of up to 4 entries.
    name : str
        For messages.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the layout is unknown, does not fit the shape, or cannot be told from it.

    Examples
    --------
    >>> resolve_layout((10, 32, 32, 3), "auto"), resolve_layout((10, 1, 28, 28), "auto")
    ('NHWC', 'NCHW')
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r} is not valid; choose one of {list(LAYOUTS)}")
    if layout != "auto":
        if len(layout) != len(shape):
            raise ValueError(f"{name} has shape {tuple(shape)}, which does not fit {layout=}")
        return layout
    if len(shape) == 3:
        return "NHW"
    for counts in CHANNEL_COUNTS:
        first, last = shape[1] in counts, shape[3] in counts
        if first != last:
            return "NCHW" if first else "NHWC"
    raise ValueError(
        f"{name} has shape {tuple(shape)}: which axis holds the channels cannot be told; "
        "pass layout='NHWC' or layout='NCHW'"
    )


def to_nchw(X: Array, layout: str) -> Array:
    """A view of images [N, C, H, W] of any layout.

    Parameters
    ----------
    X : array
    layout : {"NHW", "NHWC", "NCHW"}

    Returns
    -------
    array [N, C, H, W]

    Examples
    --------
    >>> to_nchw(np.zeros((2, 5, 4, 3)), "NHWC").shape
    (2, 3, 5, 4)
    """
    if layout == "NHW":
        return X[:, None]
    return X.transpose(0, 3, 1, 2) if layout == "NHWC" else X


def from_nchw(X: Array, layout: str) -> Array:
    """Undo `to_nchw`.

    Parameters
    ----------
    X : array [N, C, H, W]
    layout : {"NHW", "NHWC", "NCHW"}

    Returns
    -------
    array

    Examples
    --------
    >>> from_nchw(np.zeros((2, 3, 5, 4)), "NHWC").shape
    (2, 5, 4, 3)
    """
    if layout == "NHW":
        return X[:, 0]
    return X.transpose(0, 2, 3, 1) if layout == "NHWC" else X


def check_images(X: Any, name: str, layout: str) -> tuple[Array, str]:
    """Check a batch of images and find its layout.

    Parameters
    ----------
    X : array-like of 3 or 4 dimensions
    name : str
        For messages.
    layout : str
        See `resolve_layout`.

    Returns
    -------
    X : array [N, C, H, W]
        A view where possible; uint8 stays uint8, everything else becomes float32.
    layout : str

    Raises
    ------
    ValueError
        If it is empty, not numeric, of another number of dimensions, or not finite.

    Examples
    --------
    >>> images, layout = check_images(np.zeros((2, 8, 8)), "X", "auto")
    >>> images.shape, images.dtype, layout
    ((2, 1, 8, 8), dtype('float32'), 'NHW')
    """
    X = np.asarray(X)
    if X.ndim not in (3, 4):
        raise ValueError(
            f"{name} has shape {X.shape}; images are [N, H, W], [N, H, W, C] or [N, C, H, W], "
            "and rows [N, D]"
        )
    if 0 in X.shape:
        raise ValueError(f"{name} is empty: shape {X.shape}")
    if X.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {X.dtype}; images are of an integer or float type")
    layout = resolve_layout(X.shape, layout, name)
    X = to_nchw(X, layout)
    if X.dtype != np.uint8:
        X = X.astype(np.float32)
        if not np.isfinite(X).all():
            bad = int((~np.isfinite(X)).any(axis=(1, 2, 3)).sum())
            raise ValueError(f"{name} contains NaN or infinite values, in {bad} of {len(X)} images")
    if min(X.strides, default=0) < 0:  # as of X[::-1], which torch cannot take
        X = X.copy(order="K")
    return X, layout


def value_range(X: Array, dtype: str) -> tuple[float, float]:
    """The values that stand for black and white.

    Integers: 0 to 255 if the largest lies from 64 to 255 and none is negative, else 0 to the
    largest. Floats: 0 to 1 or -1 to 1 if all lie there; else 0 to the largest. Where there are
    other negative values, the smallest stands for black.

    Parameters
    ----------
    X : array [N, C, H, W]
    dtype : str
        The type that the user gave.

    Returns
    -------
    (low, high)

    Examples
    --------
    >>> value_range(np.full((1, 1, 2, 2), 200, np.uint8), "uint8")
    (0.0, 255.0)
    >>> value_range(np.full((1, 1, 2, 2), 0.5, np.float32), "float64")
    (0.0, 1.0)
    """
    low, high = float(X.min()), float(X.max())
    if np.dtype(dtype).kind in "iub":
        if low >= 0 and 64 <= high <= 255:
            return 0.0, 127.0 if np.dtype(dtype) == np.int8 else 255.0
        return min(low, 0.0), max(high, 1.0)
    if low >= -1 and high <= 1:
        return (0.0 if low >= 0 else -1.0), 1.0
    return min(low, 0.0), max(high, min(low, 0.0) + 1.0)


def check_same_scale(given: tuple[float, float], expected: tuple[float, float], name: str) -> None:
    """Refuse images whose values lie on another scale than those of the labeled ones.

    Parameters
    ----------
    given, expected : (low, high)
        Value ranges as `value_range` tells them.
    name : str
        For messages.

    Raises
    ------
    ValueError
        If one span is more than four times the other, or just one of them starts at -1.

    Examples
    --------
    >>> check_same_scale((0, 1), (0, 255), "X_unlab")
    Traceback (most recent call last):
    ValueError: X_unlab has values in 0..1, but the training images X have 0..255; put both on ...
    """
    ratio = (given[1] - given[0]) / (expected[1] - expected[0])
    standard = {tuple(given), tuple(expected)} == {(0.0, 1.0), (-1.0, 1.0)}
    if standard or not 1 / SCALE_TOLERANCE <= ratio <= SCALE_TOLERANCE:
        raise ValueError(
            f"{name} has values in {given[0]:g}..{given[1]:g}, but the training images X have "
            f"{expected[0]:g}..{expected[1]:g}; put both on the same scale, or settle it with "
            "value_range=(low, high)"
        )


def check_same_row_scale(given: Array, expected: Array, name: str) -> None:
    """Refuse rows whose columns are on another scale than those of the labeled ones.

    Parameters
    ----------
    given, expected : array [N, D]
    name : str
        For messages.

    Raises
    ------
    ValueError
        If the root mean squares of the columns differ by more than five times, in the median.

    Examples
    --------
    >>> rows = np.arange(20.0).reshape(10, 2)
    >>> check_same_row_scale(100 * rows, rows, "X_unlab")
    Traceback (most recent call last):
    ValueError: the columns of X_unlab are 100 times as large as those of X (median of root ...
    """
    if min(len(given), len(expected)) < 5:
        return
    one, other = (np.sqrt(np.mean(np.square(rows), axis=0)) for rows in (given, expected))
    used = (one > 0) & (other > 0)
    if not used.any():
        return
    ratio = float(np.median(one[used] / other[used]))
    if not 1 / 5 <= ratio <= 5:
        raise ValueError(
            f"the columns of {name} are {ratio:.3g} times as large as those of X (median of root "
            "mean squares); put both on the same scale. In a Pipeline, X_unlab is transformed "
            "only with transform_input=['X_unlab'] and metadata routing"
        )
