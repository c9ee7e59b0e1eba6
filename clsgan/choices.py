"""Choosing a part by name, and a number within bounds."""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from numbers import Real
from typing import TypeVar

T = TypeVar("T")


def one_of(parameter: str, name: object, table: Mapping[str, T]) -> T:
    """Look a part up by name.

    Parameters
    ----------
    parameter : str
        What the name was given for; stands in the message.
    name : object
        The name as the user gave it.
    table : mapping

    Returns
    -------
    object
        The value of `name` in the table.

    Raises
    ------
    ValueError
        If the name is unknown; the message has the valid ones and the nearest.

    Examples
    --------
    >>> one_of("size", "smal", {"small": 1, "large": 2})
    Traceback (most recent call last):
    ValueError: size='smal' is not known; did you mean 'small'? Valid: ['large', 'small']
    """
    if isinstance(name, str) and name in table:
        return table[name]
    raise ValueError(unknown_name(parameter, name, table))


def unknown_name(parameter: str, name: object, valid: Iterable[str]) -> str:
    """Message for a name that is not one of the valid ones.

    Parameters
    ----------
    parameter : str
    name : object
        The name as the user gave it.
    valid : iterable of str

    Returns
    -------
    str

    Examples
    --------
    >>> unknown_name("size", "smal", ["small"])
    "size='smal' is not known; did you mean 'small'? Valid: ['small']"
    """
    choices = sorted(valid)
    near = get_close_matches(str(name), choices, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{parameter}={name!r} is not known; {hint}Valid: {choices}"


def is_within(value: object, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether a value is a finite number in [low, high].

    Parameters
    ----------
    value : object
    low, high : float

    Returns
    -------
    bool

    Examples
    --------
    >>> is_within(0.5, 0, 1), is_within("0.5", 0, 1), is_within(float("nan"), 0, 1)
    (True, False, False)
    """
    return isinstance(value, Real) and math.isfinite(value) and low <= float(value) <= high


def is_auto(wanted: object) -> bool:
    """Whether a parameter is the word "auto"; it may be an array or a module, too.

    Parameters
    ----------
    wanted : object

    Returns
    -------
    bool

    Examples
    --------
    >>> is_auto("auto"), is_auto(None)
    (True, False)
    """
    return isinstance(wanted, str) and wanted == "auto"
