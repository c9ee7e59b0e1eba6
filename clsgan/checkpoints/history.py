"""The log of a run as tensors: a checkpoint's header has a limit, its tensors have none."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def pack_history(records: Sequence[Mapping[str, float]]) -> tuple[dict[str, Tensor], list[Any]]:
    """Records as two tensors, 8 bytes a number and 4 a record.

    Parameters
    ----------
    records : sequence of dict
        Numbers by name, as `RunLog.records` has them.

    Returns
    -------
    tensors : dict of str to Tensor
        "values" [V], float64, all numbers in order; "kinds" [R], int32, the names of each.
    kinds : list of list of str
        The names that occur together.

    Examples
    --------
    >>> tensors, kinds = pack_history([{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}])
    >>> tensors["values"].tolist(), kinds
    ([1.0, 0.5, 2.0, 0.25], [['step', 'loss']])
    """
    kinds: dict[tuple[str, ...], int] = {}
    numbers = [kinds.setdefault(tuple(record), len(kinds)) for record in records]
    values = [value for record in records for value in record.values()]
    tensors = {
        "values": torch.tensor(values, dtype=torch.float64),
        "kinds": torch.tensor(numbers, dtype=torch.int32),
    }
    return tensors, [list(names) for names in kinds]


def unpack_history(
    tensors: Mapping[str, Tensor], kinds: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """The records that `pack_history` was given.

    Parameters
    ----------
    tensors, kinds : as `pack_history` gives them

    Returns
    -------
    list of dict

    Examples
    --------
    >>> unpack_history(*pack_history([{"step": 3, "loss": 0.5}]))
    [{'step': 3, 'loss': 0.5}]
    """
    values = iter(tensors["values"].tolist())
    # the names stand first: zip would else take a value too many at the end of a record
    records = [dict(zip(kinds[kind], values, strict=False)) for kind in tensors["kinds"].tolist()]
    return [record | {"step": int(record["step"])} for record in records]
