"""Work that several processes of one run share: who writes, what all agree on, how rows gather."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")
Array = npt.NDArray[Any]


class OtherProcessError(ConnectionError):
    """This process stopped because another one did; what happened is said there.

    Examples
    --------
    >>> str(OtherProcessError("process 0 stopped"))
    'process 0 stopped'
    """


def place() -> tuple[int, int]:
    """This process's number, and how many processes a launcher started.

    Returns
    -------
    rank, world_size : int

    Raises
    ------
    ValueError
        If what a launcher left in the environment is not a number.

    Examples
    --------
    >>> place()
    (0, 1)
    """
    if _together():
        return distributed.get_rank(), distributed.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def from_first(make: Callable[[], T]) -> T:
    """Let the first process do something, and hand what it gives to all.

    Parameters
    ----------
    make : callable
        Called in process 0 alone; what it gives is sent pickled.

    Returns
    -------
    object

    Raises
    ------
    OtherProcessError
        In the other processes, if `make` failed; in the first its own error.

    Examples
    --------
    >>> from_first(lambda: 3)
    3
    """
    if not _together():
        return make()
    answer: list[Any] = [None, None]
    if distributed.get_rank() == 0:
        try:
            answer[0] = make()
        except BaseException as error:
            distributed.broadcast_object_list([None, f"{type(error).__name__}: {error}"])
            raise
    distributed.broadcast_object_list(answer)
    if answer[1] is not None:
        raise OtherProcessError(f"process 0 stopped: {answer[1]}")
    value: T = answer[0]
    return value


def sent_to_first(value: T) -> list[T]:
    """Hand what each process has to the first one.

    Parameters
    ----------
    value : object
        Sent pickled.

    Returns
    -------
    list
        In the first process that of every process, in order; in the others empty.

    Examples
    --------
    >>> sent_to_first(3)
    [3]
    """
    if not _together():
        return [value]
    rank, size = place()
    values: list[Any] = [None] * size if rank == 0 else []
    distributed.gather_object(value, values if rank == 0 else None)
    return values


def check_alike(facts: Mapping[str, object]) -> None:
    """Refuse processes that were given different data: each takes its own rows out of the whole.

    Parameters
    ----------
    facts : mapping of str to object
        What must be the same in all processes, by its name; sent pickled.

    Raises
    ------
    ValueError
        In all processes, if one differs from the first.

    Examples
    --------
    >>> check_alike({"labeled rows": 100})
    """
    if not _together():
        return
    every: list[Any] = [None] * place()[1]
    distributed.all_gather_object(every, dict(facts))
    for rank, other in enumerate(every):
        for name, value in every[0].items():
            if other[name] != value:
                raise ValueError(
                    f"process {rank} was given other data than process 0: {name} {other[name]!r}, "
                    f"there {value!r}. Give all of them the same; each takes its own share"
                )


def any_of(fabric: "Fabric", *flags: bool) -> list[bool]:
    """Whether each of some things is so in any process.

    Parameters
    ----------
    fabric : Fabric
    *flags : bool
        As many in all processes.

    Returns
    -------
    list of bool
        The same in all processes.

    Examples
    --------
    >>> from clsgan.devices import make_fabric
    >>> any_of(make_fabric("cpu", "32-true"), True, False)
    [True, False]
    """
    if fabric.world_size == 1:
        return list(flags)
    own = torch.tensor([float(flag) for flag in flags], device=fabric.device)
    return (cast(Tensor, fabric.all_reduce(own, reduce_op="sum")) > 0).tolist()


def gathered(work: Callable[[Any], Array], rows: Any) -> Array:
    """Apply a function to rows, each process to its part; all get the whole, in order.

    Parameters
    ----------
    work : callable
        Rows [n, ...] -> array [n, ...], row by row, such as `CLSGANClassifier.predict_proba`.
    rows : array or sequence
        The same in every process, and at least one.

    Returns
    -------
    array [N, ...]

    Examples
    --------
    >>> gathered(lambda rows: 2 * rows, np.arange(3))
    array([0, 2, 4])
    """
    if not _together():
        return work(rows)
    rank, size = place()
    bounds = [len(rows) * i // size for i in range(size + 1)]
    mine = rows[bounds[rank] : bounds[rank + 1]]
    parts: list[Any] = [None] * size
    distributed.all_gather_object(parts, work(mine) if len(mine) else None)
    return np.concatenate([part for part in parts if part is not None])


def rows_of_all(fabric: "Fabric", own: Tensor) -> Tensor:
    """The rows of all processes, in the order in which one process would have had them.

    Parameters
    ----------
    fabric : Fabric
    own : Tensor [B, ...]
        Every so many-th row, from this process's number on; as many in every process.

    Returns
    -------
    Tensor [B * world_size, ...]

    Examples
    --------
    >>> from clsgan.devices import make_fabric
    >>> rows_of_all(make_fabric("cpu", "32-true"), torch.arange(3))
    tensor([0, 1, 2])
    """
    if fabric.world_size == 1:
        return own
    every = cast(Tensor, fabric.all_gather(own.contiguous()))
    return every.transpose(0, 1).flatten(0, 1)


def agreed_seconds(fabric: "Fabric") -> Callable[[float], float] | None:
    """What makes all processes go by the clock of the first.

    Parameters
    ----------
    fabric : Fabric

    Returns
    -------
    callable or None
        For `clsgan.schedules.Budget`; None where there is one process.

    Examples
    --------
    >>> from clsgan.devices import make_fabric
    >>> agreed_seconds(make_fabric("cpu", "32-true")) is None
    True
    """
    if fabric.world_size == 1:
        return None

    def agree(seconds: float) -> float:
        told = torch.tensor(seconds, dtype=_exact(fabric), device=fabric.device)
        distributed.broadcast(told, src=0)
        return float(told)

    return agree


def average_buffers(fabric: "Fabric", *networks: nn.Module | None) -> None:
    """Give all processes the mean of their running statistics, so that they predict alike.

    Parameters
    ----------
    fabric : Fabric
    *networks : nn.Module or None
        Whose parameters are the same in all processes. Changed in place.

    Examples
    --------
    >>> from clsgan.devices import make_fabric
    >>> average_buffers(make_fabric("cpu", "32-true"), nn.BatchNorm1d(2), None)
    """
    if fabric.world_size == 1:
        return
    for network in networks:
        for buffer in [] if network is None else network.buffers():
            if buffer.is_floating_point():
                buffer.copy_(cast(Tensor, fabric.all_reduce(buffer.clone(), reduce_op="mean")))


def mean_of_all(fabric: "Fabric", values: dict[str, float]) -> dict[str, float]:
    """Means over all processes of scalars that each has.

    Parameters
    ----------
    fabric : Fabric
    values : dict of float
        Of the same names in all processes.

    Returns
    -------
    dict of float

    Examples
    --------
    >>> from clsgan.devices import make_fabric
    >>> mean_of_all(make_fabric("cpu", "32-true"), {"loss": 2.0})
    {'loss': 2.0}
    """
    if fabric.world_size == 1:
        return values
    own = torch.tensor(list(values.values()), device=fabric.device, dtype=_exact(fabric))
    together = cast(Tensor, fabric.all_reduce(own, reduce_op="mean"))
    return dict(zip(values, together.tolist(), strict=True))


@contextmanager
def lost_process_explained() -> Iterator[None]:
    """Say that another process is gone where a block fails for that reason.

    Raises
    ------
    OtherProcessError

    Examples
    --------
    >>> with lost_process_explained():
    ...     pass
    """
    try:
        yield
    except RuntimeError as error:
        if not _together():
            raise
        if not any(word in str(error) for word in _LOST):
            raise
        raise OtherProcessError(f"another process is gone, see its error: {error}") from error


def _exact(fabric: "Fabric") -> torch.dtype:
    return torch.float32 if fabric.device.type == "mps" else torch.float64


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


_LOST = ("Connection closed", "Connection reset", "gloo", "NCCL", "Broken pipe", "store")
