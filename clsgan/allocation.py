"""A limit to what a block of code may allocate, for networks that a stranger's file describes."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


class LimitedAllocation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuse new tensors beyond a number of bytes, before they are made.

    What an operation of torch in the block is going to make is foreseen by the shapes of what it
    is given; most operations are run on the "meta" device for that, which has no memory. Views and
    what is written in place are free, and what was freed again is taken off.

    Parameters
    ----------
    n_bytes : int
        For all tensors together that operations of the block have made and that are still held.
    n_tensors : int
        How many of them there may be.

    Raises
    ------
    ValueError
        Where a block wants more.

    Examples
    --------
    >>> with LimitedAllocation(1000, 10):
    ...     layer = torch.nn.Linear(5, 5)
    >>> with LimitedAllocation(1000, 10):
    ...     layer = torch.nn.Linear(10**6, 10**6)
    Traceback (most recent call last):
    ValueError: it wants 4000000000000 bytes or more where 1000 are due
    >>> with LimitedAllocation(10**5, 10):
    ...     pairs = torch.arange(10**3)[:, None] - torch.arange(10**3)
    Traceback (most recent call last):
    ValueError: it wants 8016000 bytes or more where 100000 are due
    """

    def __init__(self, n_bytes: int, n_tensors: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n_bytes, self.n_tensors = n_bytes, n_tensors
        self.used = self.made = 0
        self.held: list[tuple[Callable[[], bool], int]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, for seconds, at the first operation

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if not _makes_tensors(func):
            return func(*args, **given)
        foreseen = _foreseen(func, args, given)
        if foreseen is not None:
            self._count(foreseen)
        result = func(*args, **given)
        made = _tensors_in(result)
        if foreseen is None:
            self._count([tensor.nbytes for tensor in made])
        for tensor in made:
            self.held.append((_weak(tensor), tensor.nbytes))
            self.used += tensor.nbytes
        return result

    def _count(self, sizes: Sequence[int]) -> None:
        """Refuse results of some sizes, in bytes, beside those that are held."""
        self.made += len(sizes)
        if self.made > self.n_tensors:
            raise ValueError(f"it wants more tensors than the {self.n_tensors} that are due")
        if self.used + sum(sizes) > self.n_bytes:
            self.held = [(freed, size) for freed, size in self.held if not freed()]
            self.used = sum(size for _, size in self.held)
        wanted = self.used + sum(sizes)
        if wanted > self.n_bytes:
            raise ValueError(f"it wants {wanted} bytes or more where {self.n_bytes} are due")


def _weak(tensor: Tensor) -> Callable[[], bool]:
    """What tells whether the memory of a tensor was freed, that of its views too."""
    storage: Any = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
    return lambda: bool(storage.expired())


def _makes_tensors(func: Any) -> bool:
    """Whether results have memory of their own, not that of an argument."""
    returned = func._schema.returns
    return any("Tensor" in str(each.type) and each.alias_info is None for each in returned)


def _foreseen(func: Any, args: tuple[Any, ...], given: Mapping[str, Any]) -> list[int] | None:
    """Bytes of each result of an operation; None where the values of the arguments decide."""
    try:
        if torch.Tag.pointwise in func.tags:
            return [_broadcast_bytes(_tensors_in(args))]
        if func.name() in ("aten::cat", "aten::stack"):
            return [sum(tensor.nbytes for tensor in args[0])]
        if func.name().startswith("aten::linalg_"):  # no larger than what they are made of
            return None
        return [tensor.nbytes for tensor in _tensors_in(_on_meta(func, args, given))]
    except (RuntimeError, TypeError, ValueError):  # what is wrong with the arguments comes up again
        return None


def _broadcast_bytes(tensors: Sequence[Tensor]) -> int:
    shape = np.broadcast_shapes(*(tuple(tensor.shape) for tensor in tensors))
    return prod(shape) * max(tensor.dtype.itemsize for tensor in tensors)


def _on_meta(func: Any, args: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
    """The results of an operation without their memory."""
    there = {name: _shadow(value) for name, value in given.items()}
    for argument in func._schema.arguments:
        if argument.name == "device":
            there["device"] = "meta"
        elif argument.name == "generator" and "generator" in there:
            there["generator"] = None
        elif argument.name == "pin_memory":
            there.pop("pin_memory", None)
    return func(*(_shadow(value) for value in args), **there)


def _shadow(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    if isinstance(value, list | tuple):
        return type(value)(_shadow(each) for each in value)
    return value


def _tensors_in(values: Any) -> list[Tensor]:
    several = values if isinstance(values, list | tuple) else [values]
    return [each for each in several if isinstance(each, Tensor)]
