"""One checkpoint of several processes: what all share lies in it once, what differs by process."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clsgan.checkpoints.file import Checkpoint
from clsgan.processes import from_first, place, sent_to_first

# Of the first process for all: the log, and clocks, by which the others do not go.
OF_FIRST = ("budget", "log", "meter")
LOG = "history."


class Part(NamedTuple):
    """What a process has that is not as in the first one.

    Parameters
    ----------
    tensors : dict of str to Tensor
    document : dict
        Entries of the first level.
    absent : list of str
        Tensors of the first process that this one has not.

    Examples
    --------
    >>> Part({}, {}, []).absent
    []
    """

    tensors: dict[str, Tensor]
    document: dict[str, Any]
    absent: list[str]


def gather_parts(tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> Checkpoint:
    """What one checkpoint holds of all processes; every process calls this at the same step.

    Parameters
    ----------
    tensors, document : as `clsgan.checkpoints.snapshot.capture` makes them
        Of this process.

    Returns
    -------
    Checkpoint
        Of all processes in the first, to be written there; of no use in the others.

    Examples
    --------
    >>> gather_parts({}, {"step": 3}).document
    {'step': 3, 'processes': 1, 'parts': []}
    """
    if place()[1] == 1:
        return join_parts(tensors, document, [])
    marks = from_first(lambda: marks_of(tensors, document))
    parts = sent_to_first(part_beside(marks, tensors, document))
    return join_parts(tensors, document, parts[1:])


def marks_of(tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> dict[str, str]:
    """A hash of every tensor and of every entry of a document, by its kind and name.

    Parameters
    ----------
    tensors, document : as `clsgan.checkpoints.snapshot.capture` makes them

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> list(marks_of({"a": torch.ones(1)}, {"step": 3}))
    ['tensor a', 'entry step']
    """
    marks = {f"tensor {name}": _mark(tensor) for name, tensor in tensors.items()}
    marks |= {f"entry {name}": _hash(_text(value)) for name, value in document.items()}
    return marks


def part_beside(
    marks: Mapping[str, str], tensors: Mapping[str, Tensor], document: Mapping[str, Any]
) -> Part:
    """What of a process is not as in the first one.

    Parameters
    ----------
    marks : mapping
        As `marks_of` makes them, of the first process.
    tensors, document : as `clsgan.checkpoints.snapshot.capture` makes them
        Of this process.

    Returns
    -------
    Part

    Examples
    --------
    >>> marks = marks_of({"a": torch.ones(1), "b": torch.ones(1)}, {"step": 3})
    >>> part = part_beside(marks, {"a": torch.ones(1)}, {"step": 4})
    >>> part.tensors, part.document, part.absent
    ({}, {'step': 4}, ['b'])
    """
    own = marks_of(tensors, document)
    other = {name for name, mark in own.items() if marks.get(name) != mark}
    return Part(
        # copies: a view would be sent with all that it is a view of
        tensors={
            name: tensor.detach().cpu().clone()
            for name, tensor in tensors.items()
            if f"tensor {name}" in other and not name.startswith(LOG)
        },
        document={
            name: value
            for name, value in document.items()
            if f"entry {name}" in other and name not in OF_FIRST
        },
        absent=[
            name.removeprefix("tensor ")
            for name in marks
            if name.startswith("tensor ") and name not in own
        ],
    )


def join_parts(
    tensors: Mapping[str, Tensor], document: Mapping[str, Any], parts: Sequence[Part]
) -> Checkpoint:
    """One checkpoint of the first process and of what the others have beside it.

    Parameters
    ----------
    tensors, document : as `clsgan.checkpoints.snapshot.capture` makes them
        Of the first process.
    parts : sequence of Part
        Of the others, in order.

    Returns
    -------
    Checkpoint

    Examples
    --------
    >>> join_parts({"a": torch.ones(1)}, {}, [Part({"a": torch.zeros(1)}, {}, [])]).tensors.keys()
    dict_keys(['a', 'process.1.a'])
    """
    joined = dict(tensors)
    for rank, part in enumerate(parts, start=1):
        joined |= {f"process.{rank}.{name}": tensor for name, tensor in part.tensors.items()}
    described = [{"document": part.document, "absent": part.absent} for part in parts]
    return Checkpoint(joined, {**document, "processes": len(parts) + 1, "parts": described})


def own_part(saved: Checkpoint, rank: int) -> Checkpoint:
    """What one process goes on from.

    Parameters
    ----------
    saved : Checkpoint
        As `join_parts` makes it.
    rank : int
        Number of the process.

    Returns
    -------
    Checkpoint
        As `clsgan.checkpoints.snapshot.capture` made it there.

    Raises
    ------
    ValueError
        If it was written by another number of processes.

    Examples
    --------
    >>> saved = join_parts({"a": torch.ones(1)}, {}, [Part({"a": torch.zeros(1)}, {}, [])])
    >>> [float(own_part(saved, rank).tensors["a"]) for rank in range(2)]
    [1.0, 0.0]
    """
    tensors = {k: tensor for k, tensor in saved.tensors.items() if not k.startswith("process.")}
    document = {k: value for k, value in saved.document.items() if k != "parts"}
    if rank == 0:
        return Checkpoint(tensors, document)
    part, prefix = saved.document["parts"][rank - 1], f"process.{rank}."
    tensors = {name: tensor for name, tensor in tensors.items() if name not in part["absent"]}
    tensors |= {
        name.removeprefix(prefix): tensor
        for name, tensor in saved.tensors.items()
        if name.startswith(prefix)
    }
    return Checkpoint(tensors, document | part["document"])


def check_count(saved: Checkpoint, folder: object) -> None:
    """Refuse a checkpoint of another number of processes.

    Parameters
    ----------
    saved : Checkpoint
    folder : path
        For the message.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_count(Checkpoint({}, {"processes": 2}), "runs/a")
    Traceback (most recent call last):
    ValueError: runs/a holds a checkpoint of 2 processes, and there is 1; go on with as many, ...
    """
    before, now = int(saved.document["processes"]), place()[1]
    if before != now:
        raise ValueError(
            f"{folder} holds a checkpoint of {before} process{'es' * (before > 1)}, and there "
            f"{'is' if now == 1 else 'are'} {now}; go on with as many, or start anew in another "
            "folder"
        )


def _mark(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().flatten()
    content = flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""
    return f"{tensor.dtype} {tuple(tensor.shape)} {_hash(content)}"


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
