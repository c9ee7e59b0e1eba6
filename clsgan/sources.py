"""Where rows come from: folders, paths, datasets, tensors and lists, turned into arrays."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clsgan.labels import label_array

Array = npt.NDArray[Any]


class Unlabeled:
    """Unlabeled rows of one source or several, as in ``fit(..., X_unlab=Unlabeled(X))``.

    `GridSearchCV` cuts every array of the length of X into folds, X_unlab too if it happens to
    have as many rows. An `Unlabeled` has no length, so that every fold gets all of it.

    Parameters
    ----------
    data : any kind of input that `CLSGANClassifier.fit` takes as X_unlab
    *more : any kind
        Further sources; one of all may be a stream or shards, whose length must be known then.

    Examples
    --------
    >>> Unlabeled([[1.0, 2.0]]).data
    [[1.0, 2.0]]
    """

    def __init__(self, data: Any, *more: Any) -> None:
        self.data, self.more = data, more


@dataclass
class Skipped:
    """What could not be read of a source, where that is no error.

    Attributes
    ----------
    reasons : dict of str to str
        By the path of the file.
    kept : array of int or None
        Which rows of the source read last are there; None is all of them.

    Examples
    --------
    >>> Skipped(kept=np.array([0, 2])).without(["a", "b", "c"])
    array(['a', 'c'], dtype='<U1')
    """

    reasons: dict[str, str] = field(default_factory=dict)
    kept: npt.NDArray[np.int64] | None = None

    def without(self, y: Any) -> Any:
        """The labels of the rows that are there."""
        if self.kept is None or len(y) <= int(self.kept.max(initial=0)):
            return y
        return y.iloc[self.kept] if hasattr(y, "iloc") else np.asarray(y)[self.kept]


def load_source(
    X: Any,
    name: str,
    image_size: Any = "auto",
    channels: Any = "auto",
    labelled: bool = True,
    skipped: Skipped | None = None,
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
    skipped : Skipped, optional
        Gets the files that cannot be read, which are an error otherwise.

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
        return load_source(X.data, name, image_size, channels, labelled, skipped)
    if isinstance(X, Tensor):
        return tensor_to_array(X), None
    if isinstance(X, str | os.PathLike):
        if Path(X).suffix == ".npy" and not Path(X).is_dir():
            return np.load(X, mmap_mode="r", allow_pickle=False), None
        return _load_folder(Path(X), image_size, channels, labelled, skipped)
    if isinstance(X, torch.utils.data.Dataset):
        return _load_dataset(X, name)
    if is_from_files(X):
        return _read_images([Path(path) for path in X], image_size, channels, skipped), None
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
        return Path(X).suffix != ".npy" or Path(X).is_dir()
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
    folder: Path, image_size: Any, channels: Any, labelled: bool, skipped: Skipped | None
) -> tuple[Array, Array | None]:
    from clsgan.photos import find_images, labelled_folder

    if not labelled:
        return _read_images(find_images(folder), image_size, channels, skipped), None
    paths, labels = labelled_folder(folder)
    images = _read_images(paths, image_size, channels, skipped)
    return images, np.asarray(labels if skipped is None else skipped.without(labels))


def _read_images(
    paths: list[Path], image_size: Any, channels: Any, skipped: Skipped | None
) -> Array:
    from clsgan.photos import read_images

    if skipped is None:
        return np.asarray(read_images(paths, image_size=image_size, channels=channels))
    images, skipped.kept, failed = read_images(paths, image_size, channels, on_error="skip")
    skipped.reasons |= {str(path): reason for path, reason in failed}
    return images


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
