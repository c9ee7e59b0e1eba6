"""What a model file declares of its inputs, classes and counts, checked before it is relied on."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from clsgan.inputs import InputSpec
from clsgan.units import Units

REQUIRED = ("n_steps_", "fit_time_", "images_per_second_")
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("n_steps_", "n_skipped_steps", "n_unlabeled"), (int,)),
    **dict.fromkeys(("fit_time_", "images_per_second_"), (int, float)),
    **dict.fromkeys(("validation_error", "unlabeled_kept_share"), (int, float)),
}


def read_spec(stored: Mapping[str, Any]) -> InputSpec:
    """The form of X.

    Parameters
    ----------
    stored : mapping
        The fields of an `InputSpec`.

    Returns
    -------
    InputSpec

    Raises
    ------
    ValueError
        If they fit no input, or an image that has more pixels than an image file may have.

    Examples
    --------
    >>> spec = {"shape": [1, 8, 8], "layout": "NHW", "dtype": "uint8", "low": 0, "high": 255}
    >>> read_spec(spec).shape
    (1, 8, 8)
    >>> read_spec(spec | {"shape": [1, 10**6, 10**6]})
    Traceback (most recent call last):
    ValueError: the model file describes images of 1000000 x 1000000 pixels; at most ...
    """
    from PIL import Image

    shape = tuple(int(size) for size in stored["shape"])
    spec = InputSpec(**{**stored, "shape": shape})
    axes = {"ND": 1, "NHW": 3, "NHWC": 3, "NCHW": 3}.get(spec.layout)
    valid = axes == len(shape) and min(shape) > 0 and spec.low < spec.high
    if not valid or np.dtype(spec.dtype).kind not in "biuf":
        raise ValueError(f"the model file describes an input that is not valid: {dict(stored)}")
    most = Image.MAX_IMAGE_PIXELS
    if spec.is_image and most is not None and shape[1] * shape[2] > most:
        raise ValueError(
            f"the model file describes images of {shape[1]} x {shape[2]} pixels; at most "
            f"PIL.Image.MAX_IMAGE_PIXELS = {most} are read"
        )
    return spec


def store_classes(classes: npt.NDArray[Any] | None) -> dict[str, Any] | None:
    """Classes as JSON holds them.

    Parameters
    ----------
    classes : array [K] or None

    Returns
    -------
    dict or None

    Examples
    --------
    >>> store_classes(np.array(["a", "b"]))
    {'dtype': '<U1', 'values': ['a', 'b']}
    """
    if classes is None:
        return None
    return {"dtype": str(classes.dtype), "values": classes.tolist()}


def read_classes(stored: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Classes as `store_classes` wrote them.

    Parameters
    ----------
    stored : mapping

    Returns
    -------
    array [K]

    Raises
    ------
    ValueError
        If the type takes far more memory than the names.

    Examples
    --------
    >>> read_classes({"dtype": "<U1", "values": ["a", "b"]})
    array(['a', 'b'], dtype='<U1')
    """
    dtype, values = np.dtype(stored["dtype"]), stored["values"]
    longest = max((len(value) for value in values if isinstance(value, str)), default=1)
    if dtype.itemsize > 16 * max(longest, 1):
        raise ValueError(f"the model file has class names of {dtype}, which none of them needs")
    return np.array(values, dtype=dtype)


def read_units(tensors: Mapping[str, Tensor], spec: InputSpec) -> Units:
    """The units of X.

    Parameters
    ----------
    tensors : mapping of str to Tensor
    spec : InputSpec

    Returns
    -------
    Units

    Raises
    ------
    ValueError
        If there are not as many as inputs.

    Examples
    --------
    See `clsgan.saving.restore`.
    """
    offset, scale = (tensors[f"units.{name}"].numpy() for name in ("offset", "scale"))
    check_shape("units", offset, 1 if spec.is_image else spec.shape[0])
    check_shape("units", scale, len(offset))
    return Units(offset[0], scale[0]) if spec.is_image else Units(offset, scale)


def check_shape(name: str, array: npt.NDArray[Any], length: int) -> None:
    """Refuse an array that is not of a length.

    Parameters
    ----------
    name : str
        For the message.
    array : array
    length : int

    Examples
    --------
    >>> check_shape("class_prior", np.ones(3), 2)
    Traceback (most recent call last):
    ValueError: the model file has class_prior of shape (3,); (2,) is needed
    """
    if array.shape != (length,):
        raise ValueError(f"the model file has {name} of shape {array.shape}; {(length,)} is needed")


def check_numbers(fitted: Mapping[str, Any], spec: InputSpec) -> None:
    """Refuse numbers that a fit cannot have reported, or that are not those of its inputs.

    Parameters
    ----------
    fitted : mapping
    spec : InputSpec

    Raises
    ------
    ValueError

    Examples
    --------
    See `clsgan.saving.restore`.
    """
    for name, kinds in KINDS.items():
        value: Any = fitted.get(name)
        given = name in REQUIRED or value is not None
        if given and (type(value) not in kinds or value < 0):
            raise ValueError(f"the model file has {name}={value!r}, which is no number of its kind")
    declared_equal("n_features_in_", fitted["n_features_in_"], prod(spec.shape))
    names = fitted["feature_names_in"]
    if names is not None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("the model file has names of features that are no names")
        declared_equal("the number of feature names", len(names), prod(spec.shape))


def declared_equal(name: str, declared: Any, found: int) -> None:
    """Refuse a number that is declared of something and is not the one it has.

    Parameters
    ----------
    name : str
        For the message.
    declared : object
    found : int

    Raises
    ------
    ValueError

    Examples
    --------
    >>> declared_equal("n_features_out", 10**12, 16)
    Traceback (most recent call last):
    ValueError: the model file declares n_features_out=1000000000000; the model has 16
    """
    if type(declared) is not int or declared != found:
        raise ValueError(f"the model file declares {name}={declared!r}; the model has {found}")
