"""Batches of a pool as networks see them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clsgan.pools import Pool
from clsgan.units import Units


class PoolStore:
    """Unlabeled rows read from a pool as they are needed, on the device.

    Parameters
    ----------
    pool : Pool
    units : Units
    device : torch.device
    seed : int
    rank, world_size : int
        This process, and the number of processes; each takes its share of the same batches.

    Examples
    --------
    See `clsgan.fitting.make_streams`.
    """

    def __init__(
        self,
        pool: Pool,
        units: Units,
        device: torch.device,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.units, self.device, self.n_rows = units, device, len(pool)
        self.stream = pool.stream(seed, rank, world_size)

    def __len__(self) -> int:
        return self.n_rows

    def take(self, count: int) -> Tensor:
        """The next rows [count, ...] of this process, float32."""
        rows = torch.from_numpy(self.units.standardise(self.stream.take(count)))
        if rows.dim() == 4:
            rows = rows.contiguous(memory_format=torch.channels_last)
        if self.device.type == "cuda":
            rows = rows.pin_memory()
        return rows.to(self.device, non_blocking=True)

    def state_dict(self) -> dict[str, Any]:
        """The place in the pool, in a few numbers that JSON can hold."""
        return self.stream.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place in the pool."""
        self.stream.load_state_dict(state)
