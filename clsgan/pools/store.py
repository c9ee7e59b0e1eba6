"""Batches of a pool as networks see them."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

from clsgan.pools.kinds import Pool
from clsgan.units import Units

Array = npt.NDArray[Any]


class Coming(NamedTuple):
    """A batch that is read before it is wanted, and the place where it begins.

    Parameters
    ----------
    wanted : int
        Rows.
    place : dict
        As the stream's `state_dict` gave it.
    rows : Future
        Gives array [wanted, ...].

    Examples
    --------
    >>> Coming(192, {"drawn": 0}, Future()).wanted
    192
    """

    wanted: int
    place: dict[str, Any]
    rows: "Future[Array]"


class PoolStore:
    """Unlabeled rows read from a pool as they are needed, on the device.

    While an accelerator computes, a thread reads the next batch. On a CPU that would take the cores
    that the step needs: reading was 6 microseconds a mapped image and 113 a PNG of 16x16, where a
    step took some hundred.

    Parameters
    ----------
    pool : Pool
    units : Units
    device : torch.device
    seed : int
    rank, world_size : int
        This process, and the number of processes; each takes its share of the same batches.
    ahead : bool, optional
        Whether to read ahead; where not given, on accelerators. The rows are the same.

    Examples
    --------
    See `clsgan.run_parts.make_streams`.
    """

    def __init__(
        self,
        pool: Pool,
        units: Units,
        device: torch.device,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        ahead: bool | None = None,
    ) -> None:
        self.units, self.device, self.n_rows = units, device, len(pool)
        self.stream = pool.stream(seed, rank, world_size)
        ahead = device.type != "cpu" if ahead is None else ahead
        self.thread = ThreadPoolExecutor(1) if ahead else None
        self.coming: Coming | None = None

    def __len__(self) -> int:
        return self.n_rows

    def take(self, count: int) -> Tensor:
        """The next rows [count, ...] of this process, float32."""
        rows = torch.from_numpy(self.units.standardise(self._read(count)))
        if rows.dim() == 4:
            rows = rows.contiguous(memory_format=torch.channels_last)
        if self.device.type == "cuda":
            rows = rows.pin_memory()
        return rows.to(self.device, non_blocking=True)

    def state_dict(self) -> dict[str, Any]:
        """The place of the next batch, in a few numbers that JSON can hold."""
        return self.stream.state_dict() if self.coming is None else self.coming.place

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place in the pool."""
        if self.coming is not None:
            self.coming.rows.exception()  # waits until it is read
            self.coming = None
        self.stream.load_state_dict(state)

    def _read(self, count: int) -> Array:
        if self.thread is None:
            return self.stream.take(count)
        if self.coming is not None and self.coming.wanted != count:
            self.load_state_dict(self.coming.place)
        rows = self.stream.take(count) if self.coming is None else self.coming.rows.result()
        place = self.stream.state_dict()
        self.coming = Coming(count, place, self.thread.submit(self.stream.take, count))
        return rows
