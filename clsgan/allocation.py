"""A limit to what a block of code may allocate, for networks that a stranger's file describes."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class LimitedAllocation(TorchFunctionMode):
    """Refuse new tensors beyond a number of bytes, before they are made.

    Parameters
    ----------
    n_bytes : int
        For all tensors together that are made in the block by size, as those of new layers are.
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
    """

    def __init__(self, n_bytes: int, n_tensors: int) -> None:
        super().__init__()
        self.n_bytes, self.n_tensors = n_bytes, n_tensors
        self.used = self.made = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in BY_SIZE:
            dtype = given.get("dtype") or torch.get_default_dtype()
            self._count(prod(_sizes(args, given)) * dtype.itemsize)
        elif func is torch.arange or func is torch.linspace:
            ends = [abs(x) for x in (*args, *given.values()) if isinstance(x, int | float)]
            self._count(int(8 * max(ends, default=0)))
        return func(*args, **given)

    def _count(self, n_bytes: int) -> None:
        self.used, self.made = self.used + n_bytes, self.made + 1
        if self.used > self.n_bytes:
            raise ValueError(f"it wants {self.used} bytes or more where {self.n_bytes} are due")
        if self.made > self.n_tensors:
            raise ValueError(f"it wants more tensors than the {self.n_tensors} that are due")


def _sizes(args: tuple[Any, ...], given: Mapping[str, Any]) -> list[int]:
    first = given.get("size", args[0] if args else 0)
    if isinstance(first, Tensor):  # an `x.new_zeros(size)` begins with x
        args = args[1:]
        first = given.get("size", args[0] if args else 0)
    sizes = first if isinstance(first, Sequence) else [x for x in args if isinstance(x, int)]
    return [int(size) for size in sizes]


BY_SIZE = frozenset(
    {
        *(torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full),
        *(Tensor.new_empty, Tensor.new_zeros, Tensor.new_ones),
    }
)
