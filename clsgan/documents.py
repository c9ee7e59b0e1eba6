"""Parameters as JSON can hold them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

OMITTED, PAIRS = "$omitted", "$pairs"


def to_json(value: Any) -> Any:
    """A parameter as JSON can hold it; what it cannot is named and left out.

    Parameters
    ----------
    value : object

    Returns
    -------
    None, str, bool, int, float, list or dict

    Examples
    --------
    >>> to_json({"widths": (8, np.int64(16)), "seeds": object()})
    {'widths': [8, 16], 'seeds': {'$omitted': 'object'}}
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "biuf":
        return value.tolist()
    if isinstance(value, Mapping) and not all(isinstance(key, str) for key in value):
        return {PAIRS: [[to_json(key), to_json(item)] for key, item in value.items()]}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if hasattr(value, "__fspath__"):
        return str(value)
    if hasattr(value, "to_dict"):
        return to_json(value.to_dict())
    return {OMITTED: type(value).__name__}
