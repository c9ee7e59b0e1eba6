"""One sample as a pool holds it: its name, the image or row in it, the memory it takes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

IMAGE_KEYS = ("image", "img", "pixel_values", "picture", "x")
NUMBER_BYTES, OBJECT_BYTES = 32, 1024  # of a number in a list, and of what does not tell


class Item(NamedTuple):
    """One sample as a pool holds it.

    Parameters
    ----------
    name : str
        What messages call it.
    content : object
        Bytes, a path, a picture, an array, a tuple or dict that has one of these, or the error with
        which it could not be had.

    Examples
    --------
    >>> Item("row 3", [0.5, 1.0]).name
    'row 3'
    """

    name: str
    content: Any


def content_of(sample: Any) -> Any:
    """The image or row of a sample.

    Parameters
    ----------
    sample : object
        (image, label), {"image": ...}, the image or row itself, or an error in its place.

    Returns
    -------
    object

    Raises
    ------
    ValueError
        If it is a dict without an image; where it is an error, that one.

    Examples
    --------
    >>> content_of(({"image": [0.5, 1.0]}, 3))
    [0.5, 1.0]
    """
    if isinstance(sample, Exception):
        raise sample
    if isinstance(sample, tuple | list) and sample and not np.isscalar(sample[0]):
        sample = sample[0]
    if not isinstance(sample, Mapping):
        return sample
    if "bytes" in sample:  # an image of the `datasets` library that is not decoded
        return sample["bytes"] if sample["bytes"] is not None else Path(str(sample.get("path")))
    if not sample:
        raise ValueError("it has no image")
    for key in IMAGE_KEYS:
        if key in sample:
            return content_of(sample[key])
    raise ValueError(f"it has {sorted(map(str, sample))}; none is one of {list(IMAGE_KEYS)}")


def is_picture(content: Any) -> bool:
    """Whether what `content_of` gave is an image to be decoded, not an array.

    Parameters
    ----------
    content : object

    Returns
    -------
    bool

    Examples
    --------
    >>> is_picture(b"..."), is_picture([0.5, 1.0])
    (True, False)
    """
    return isinstance(content, bytes | os.PathLike | str) or hasattr(content, "getbands")


def size_of(sample: Any) -> int:
    """About how many bytes a sample takes while it is held; of a picture, its pixels.

    Parameters
    ----------
    sample : object

    Returns
    -------
    int

    Examples
    --------
    >>> size_of({"image": {"bytes": b"12345", "path": None}, "label": 3})
    69
    """
    if isinstance(sample, bytes | str):
        return len(sample)
    if hasattr(sample, "nbytes"):
        return int(sample.nbytes)
    if hasattr(sample, "getbands"):
        return int(sample.width * sample.height * len(sample.getbands()))
    if isinstance(sample, Mapping):
        return sum(map(size_of, sample.values()))
    if isinstance(sample, tuple | list):
        if sample and isinstance(sample[0], int | float):
            return NUMBER_BYTES * len(sample)  # not one by one, which takes longer than reading
        return sum(map(size_of, sample))
    return NUMBER_BYTES if sample is None or isinstance(sample, int | float) else OBJECT_BYTES
