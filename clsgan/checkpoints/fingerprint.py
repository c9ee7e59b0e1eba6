"""What makes a run the same run: its parameters and its data, in a few words of JSON."""

import hashlib
import json
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from clsgan.documents import OMITTED, to_json
from clsgan.pools.kinds import Pool, StreamedPool
from clsgan.pools.readers import ShardReader
from clsgan.training_data import TrainingData

Array = npt.NDArray[Any]
LOOKED_AT = 256  # rows that are hashed
CHANGING = "rows that are not the same when they are read again"
# What a run can be taken up with anew.
FREE = ("checkpoint", "checkpoint_every", "resume", "log_dir", "verbose")
MOST_NAMED = 5


def describe_run(params: Mapping[str, Any], data: TrainingData, **more: Any) -> dict[str, Any]:
    """Parameters and data of a run, to be held against those of a later one.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    data : TrainingData
    **more
        Whatever else must be the same.

    Returns
    -------
    dict
        What JSON can hold. Data are told apart by their shape, type, classes and a hash of 256
        rows, of a stream its first ones; of shards by names and sizes. Rows of a pool that are not
        the same when they are read again are not hashed.

    Examples
    --------
    See `clsgan.checkpoints.run.Checkpoints`.
    """
    spec = data.spec
    about = {"shape": list(spec.shape), "layout": spec.layout, "dtype": spec.dtype}
    about |= {"range": [float(spec.low), float(spec.high)]}
    described = {
        "params": {key: _param(value) for key, value in params.items() if key not in FREE},
        "X": about | _rows(data.labeled),
        "y": {"classes": _classes(data.classes), "hash": hash_of(data.codes)},
        "X_unlab": _unlabeled(data.unlabeled),
        **more,
    }
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is not the same in two descriptions.

    Parameters
    ----------
    then, now : mapping
        As `describe_run` makes them.

    Returns
    -------
    str
        Empty where they are the same.

    Examples
    --------
    >>> differences({"params": {"batch_size": 64}}, {"params": {"batch_size": 32}})
    'batch_size was 64 and is 32'
    """
    before, after = _flat(then), _flat(now)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    texts = [
        f"{name.removeprefix('params ')} was {before.get(name)!r} and is {after.get(name)!r}"
        for name in names[:MOST_NAMED]
    ]
    more = len(names) - len(texts)
    return "; ".join([*texts, f"and {more} more"] if more else texts)


def _flat(described: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in described.items():
        deeper = isinstance(value, Mapping) and OMITTED not in value
        flat |= _flat(value, f"{prefix}{key} ") if deeper else {f"{prefix}{key}": value}
    return flat


def _param(value: Any) -> Any:
    if isinstance(value, nn.Module):
        shapes = [list(parameter.shape) for parameter in value.parameters()]
        return {OMITTED: type(value).__name__, "weights": shapes}
    if isinstance(value, FunctionType):
        code, closed = value.__code__, [cell.cell_contents for cell in value.__closure__ or ()]
        constants = [*code.co_consts, *(value.__defaults__ or ()), *closed]
        text = repr((code.co_code, code.co_names, [c for c in constants if _is_plain(c)]))
        return {OMITTED: value.__qualname__, "code": hash_of(np.frombuffer(text.encode(), "u1"))}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _param(item) for key, item in value.items()}
    return to_json(value)


def _is_plain(constant: object) -> bool:
    """Whether what a function holds has the same text in every process."""
    return constant is None or isinstance(constant, str | bytes | int | float | tuple)


def _classes(classes: Array) -> list[str]:
    return [str(label) for label in classes.tolist()]


def _rows(rows: Array) -> dict[str, Any]:
    places = np.unique(np.linspace(0, max(len(rows) - 1, 0), LOOKED_AT).astype(int))
    return {"rows": len(rows), "hash": hash_of(rows[places]) if len(rows) else ""}


def _unlabeled(rows: Array | Pool) -> dict[str, Any]:
    if isinstance(rows, np.ndarray):
        return _rows(rows)
    described = {"rows": len(rows)}
    if isinstance(rows, StreamedPool) and isinstance(reader := rows.reader(0), ShardReader):
        shards = [[path.name, path.stat().st_size] for path in reader.shards]
        return described | {"shards": shards}
    return described | {"hash": _hash_of_some(rows)}


def _hash_of_some(pool: Pool) -> str:
    first, again = (hash_of(pool.some(LOOKED_AT)) for _ in range(2))
    return first if first == again else CHANGING


def hash_of(rows: Array) -> str:
    """A short hash of an array's values.

    Parameters
    ----------
    rows : array

    Returns
    -------
    str
        Sixteen hexadecimal digits.

    Examples
    --------
    >>> hash_of(np.arange(3)) == hash_of(np.arange(3)), len(hash_of(np.arange(3)))
    (True, 16)
    """
    return hashlib.blake2b(np.ascontiguousarray(rows).tobytes(), digest_size=8).hexdigest()
