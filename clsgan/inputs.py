"""What users hand in, turned into arrays: kinds of input, layouts and value ranges."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clsgan.labels import label_array

Array = npt.NDArray[Any]
LAYOUTS = ("auto", "NHW", "NHWC", "NCHW")
CHANNEL_COUNTS = ((1, 3), (1, 2, 3, 4))
SCALE_TOLERANCE = 4.0


class Unlabeled:
    """Unlabeled rows for ``fit(..., X_unlab=Unlabeled(X))`` inside a cross-validation.

    `GridSearchCV` cuts every array of the length of X into folds, X_unlab too if it happens to
    have as many rows. An `Unlabeled` has no length, so that every fold gets all of it.

    Parameters
    ----------
    data : any kind of input that `CLSGANClassifier.fit` takes as X_unlab

    Examples
    --------
    >>> Unlabeled([[1.0, 2.0]]).data
    [[1.0, 2.0]]
    """

    def __init__(self, data: Any) -> None:
        self.data = data


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


def load_source(
    X: Any,
    name: str,
    image_size: Any = "auto",
    channels: Any = "auto",
    labelled: bool = True,
) -> tuple[Any, Array | None]:
    """Turn files, datasets, tensors and wrapped inputs into an array.

    Parameters
    ----------
    X : object
        A folder, a list of paths, a torch Dataset, a tensor, a list of PIL images or arrays, an
        `Unlabeled`, or anything else, which is handed back as it is.
    name : str
        "X" or "X_unlab", for messages.
    image_size, channels : see `clsgan.photos.read_images`
    labelled : bool
        Whether the sub-folders of a folder are classes; if not, it may be flat.

    Returns
    -------
    X : array or what was given
    labels : array or None
        Labels that the source itself carries (class sub-folders, datasets of pairs).

    Raises
    ------
    ValueError
        If the source is empty or cannot be read.

    Examples
    --------
    >>> load_source(torch.zeros(2, 3), "X")[0].shape
    (2, 3)
    """
    if isinstance(X, Unlabeled):
        return load_source(X.data, name, image_size, channels, labelled)
    if isinstance(X, Tensor):
        return tensor_to_array(X), None
    if isinstance(X, str | os.PathLike):
        return _load_folder(Path(X), image_size, channels, labelled)
    if isinstance(X, torch.utils.data.Dataset):
        return _load_dataset(X, name)
    if is_from_files(X):
        return _read_images([Path(path) for path in X], image_size, channels), None
    if _is_list_of_pictures(X):
        return stack_images([_one_image(x) for x in X], name), None
    return X, None


def is_from_files(X: Any) -> bool:
    """Whether an input names image files: a folder, or a list of paths.

    Parameters
    ----------
    X : object
        As `load_source` takes it.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_from_files("photos"), is_from_files(["a.png", "b.png"]), is_from_files(np.zeros((2, 3)))
    (True, True, False)
    """
    if isinstance(X, Unlabeled):
        return is_from_files(X.data)
    if isinstance(X, str | os.PathLike):
        return True
    if isinstance(X, np.ndarray) and (X.ndim != 1 or X.dtype.kind not in "UO"):
        return False
    if not isinstance(X, list | tuple | np.ndarray) or len(X) == 0:
        return False
    return all(isinstance(x, str | os.PathLike) for x in X)


def tensor_to_array(x: Tensor) -> Array:
    """A NumPy array of a tensor on any device; bfloat16 becomes float32.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    array

    Examples
    --------
    >>> tensor_to_array(torch.zeros(2, dtype=torch.bfloat16)).dtype
    dtype('float32')
    """
    x = x.detach().cpu()
    return np.asarray((x.float() if x.dtype == torch.bfloat16 else x).numpy())


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


def is_image_like(X: Any) -> bool:
    """Whether an input holds images rather than rows.

    Parameters
    ----------
    X : object
        As `load_source` hands it back.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_image_like(np.zeros((2, 8, 8))), is_image_like([[1.0, 2.0]])
    (True, False)
    """
    if hasattr(X, "ndim"):
        return int(X.ndim) >= 3
    nested: Any = X
    for _ in range(2):
        if not isinstance(nested, list | tuple) or not nested:
            return False
        nested = nested[0]
    return isinstance(nested, list | tuple)


def stack_images(images: list[Array], name: str) -> Array:
    """Stack images of one shape.

    Parameters
    ----------
    images : list of array
    name : str
        For messages.

    Returns
    -------
    array [N, ...]

    Raises
    ------
    ValueError
        If the list is empty or the shapes differ.

    Examples
    --------
    >>> stack_images([np.zeros((2, 2)), np.zeros((2, 2))], "X").shape
    (2, 2, 2)
    """
    if not images:
        raise ValueError(f"{name} is empty")
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise ValueError(
            f"{name} holds images of different shapes, such as {sorted(shapes)[:3]}; resize them, "
            "or pass a folder or a list of paths, whose images are resized on reading"
        )
    return np.stack(images)


def _load_folder(
    folder: Path, image_size: Any, channels: Any, labelled: bool
) -> tuple[Array, Array | None]:
    from clsgan.photos import find_images, labelled_folder

    if not labelled:
        return _read_images(find_images(folder), image_size, channels), None
    paths, labels = labelled_folder(folder)
    return _read_images(paths, image_size, channels), np.asarray(labels)


def _read_images(paths: list[Path], image_size: Any, channels: Any) -> Array:
    from clsgan.photos import read_images

    return np.asarray(read_images(paths, image_size=image_size, channels=channels))


def _load_dataset(dataset: Any, name: str) -> tuple[Array, Array | None]:
    endless = isinstance(dataset, torch.utils.data.IterableDataset)
    if endless or not hasattr(dataset, "__len__"):
        raise ValueError(
            f"{name} is an iterable torch Dataset; pass one with __len__ and __getitem__"
        )
    items = [dataset[i] for i in range(len(dataset))]
    images = [_one_image(item[0] if isinstance(item, tuple | list) else item) for item in items]
    paired = bool(items) and isinstance(items[0], tuple | list) and len(items[0]) > 1
    labels = label_array([_one_label(item[1]) for item in items]) if paired else None
    return stack_images(images, name), labels


def _one_image(image: Any) -> Array:
    if isinstance(image, Tensor):
        return tensor_to_array(image)
    # the values of a PIL image with a palette are numbers of colours
    return np.asarray(image.convert("RGB") if getattr(image, "mode", None) == "P" else image)


def _one_label(label: Any) -> Any:
    return label.item() if isinstance(label, Tensor | np.generic) else label


def _is_list_of_pictures(X: Any) -> bool:
    """Whether X is a list of tensors, of arrays of two and more axes, or of PIL images."""
    if not isinstance(X, list | tuple) or len(X) == 0:
        return False
    first = X[0]
    return (hasattr(first, "convert") and hasattr(first, "getbands")) or (
        isinstance(first, Tensor | np.ndarray) and first.ndim >= 2
    )
