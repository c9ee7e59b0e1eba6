"""What the parameters of checkpoints may be."""

from collections.abc import Mapping
from numbers import Real
from typing import Any


def check_options(params: Mapping[str, Any]) -> None:
    """Refuse parameters of checkpoints that cannot be.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_options({"checkpoint": None, "checkpoint_every": -1, "resume": False})
    Traceback (most recent call last):
    ValueError: checkpoint_every=-1 is not valid; it is None or a number of seconds >= 0
    """
    every = params["checkpoint_every"]
    if every is not None and (not isinstance(every, Real) or not float(every) >= 0):
        raise ValueError(
            f"checkpoint_every={every!r} is not valid; it is None or a number of seconds >= 0"
        )
    if params["checkpoint"] is None and params["resume"]:
        raise ValueError("resume=True needs checkpoint=FOLDER")
