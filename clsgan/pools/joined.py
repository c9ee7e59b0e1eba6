"""Pools of several sources, which are read as one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clsgan.pools.decoding import RowDecoder
from clsgan.pools.kinds import ENDLESS, SOME, IndexedPool, IndexedStream, Pool, StreamedPool
from clsgan.pools.permutation import Index, shuffled_index

Array = npt.NDArray[Any]


def join_rows(parts: Sequence[Array | Pool]) -> Array | Pool:
    """Rows of several sources as one: an array where all lie in memory.

    Parameters
    ----------
    parts : sequence of array or Pool
        In the form of the training rows; at most one is a stream.

    Returns
    -------
    array or Pool

    Raises
    ------
    ValueError
        If two are streams, or one is whose length is not known.

    Examples
    --------
    >>> join_rows([np.zeros((2, 1)), np.ones((1, 1))]).ravel().tolist()
    [0.0, 0.0, 1.0]
    """
    flat = [piece for part in parts for piece in _pieces(part)]
    filled = [part for part in flat if len(part)] or flat[:1]
    if len(filled) == 1:
        return filled[0]
    streams = [part for part in filled if isinstance(part, StreamedPool)]
    rest = [part for part in filled if isinstance(part, IndexedPool | np.ndarray)]
    if len(streams) > 1 or (streams and len(streams[0]) == ENDLESS):
        what = "two streams" if len(streams) > 1 else "a stream that does not tell its length"
        raise ValueError(
            f"unlabeled rows of {what} cannot be joined with others; pass one source, or shards"
        )
    arrays = [part for part in rest if isinstance(part, np.ndarray)]
    if len(arrays) == len(filled):
        return np.concatenate(arrays)
    held = JoinedPool(rest)
    return BlendedPool(held, streams[0]) if streams else held


def _pieces(part: Array | Pool) -> list[Array | Pool]:
    if isinstance(part, BlendedPool):
        return [*part.held.parts, part.streamed]
    return list(part.parts) if isinstance(part, JoinedPool) else [part]


class JoinedPool:
    """Rows in memory and those of indexed pools, one source behind the other.

    Parameters
    ----------
    parts : sequence of array [N, ...] or IndexedPool
        In the form of the training rows.

    Examples
    --------
    >>> from clsgan.pools.decoding import RowDecoder
    >>> from clsgan.inputs import InputSpec
    >>> X = np.arange(4.0).reshape(2, 2)
    >>> decoder = RowDecoder(InputSpec((2,), "ND", "float64"), np.asarray, "X_unlab")
    >>> pool = JoinedPool([X, IndexedPool(2, X.__getitem__, decoder)])
    >>> pool.rows(np.array([3, 0])).tolist()
    [[2.0, 3.0], [0.0, 1.0]]
    """

    def __init__(self, parts: Sequence[Array | IndexedPool]) -> None:
        self.parts = list(parts)
        self.begin = np.cumsum([0, *(len(part) for part in parts)])

    def __len__(self) -> int:
        return int(self.begin[-1])

    @property
    def decoders(self) -> list[RowDecoder]:
        """What reads the samples of its parts."""
        pools = [part for part in self.parts if isinstance(part, IndexedPool)]
        return [decoder for pool in pools for decoder in pool.decoders]

    @property
    def skipped(self) -> dict[str, str]:
        """Samples that could not be read, and why."""
        pools = [part for part in self.parts if isinstance(part, IndexedPool)]
        return {name: reason for pool in pools for name, reason in dict(pool.skipped).items()}

    def rows(self, index: Index) -> Array:
        """The rows of an index [B], read and checked."""
        owner = np.searchsorted(self.begin, index, side="right") - 1
        places, found = [], []
        for i, part in enumerate(self.parts):
            (mine,) = np.nonzero(owner == i)
            if len(mine):
                inside = index[mine] - self.begin[i]
                found.append(part[inside] if isinstance(part, np.ndarray) else part.rows(inside))
                places.append(mine)
        return np.asarray(np.concatenate(found)[np.argsort(np.concatenate(places))])

    def some(self, count: int) -> Array:
        """Rows to look at before training, at most `count`."""
        return self.rows(shuffled_index(np.arange(min(count, len(self))), len(self), SOME))

    def stream(self, seed: int, rank: int = 0, world_size: int = 1) -> IndexedStream:
        """Endless batches of one process."""
        return IndexedStream(self, seed, rank, world_size)


class BlendedPool:
    """Indexed rows and a stream; each comes as often as it has rows.

    Parameters
    ----------
    held : JoinedPool
    streamed : StreamedPool

    Examples
    --------
    See `join_rows`.
    """

    def __init__(self, held: JoinedPool, streamed: StreamedPool) -> None:
        self.held, self.streamed = held, streamed

    def __len__(self) -> int:
        return len(self.held) + len(self.streamed)

    @property
    def decoders(self) -> list[RowDecoder]:
        """What reads the samples of its parts."""
        return [*self.held.decoders, *self.streamed.decoders]

    @property
    def skipped(self) -> dict[str, str]:
        """Samples that could not be read, and why."""
        return self.held.skipped | self.streamed.skipped

    def some(self, count: int) -> Array:
        """Rows to look at before training, at most `count`; no more samples are read."""
        looked_at = BlendedPool(self.held, self.streamed.within(count))
        return looked_at.stream(SOME).take(min(count, len(self)))

    def stream(self, seed: int, rank: int = 0, world_size: int = 1) -> "BlendedStream":
        """Endless batches of one process."""
        return BlendedStream(self, seed, rank, world_size)


class BlendedStream:
    """A random order in which every indexed row comes once a pass, the stream's next between them.

    Parameters
    ----------
    pool : BlendedPool
    seed : int
    rank, world_size : int
        This process, and the number of processes; each takes its share of the same batches.

    Examples
    --------
    See `BlendedPool`, whose `stream` makes it.
    """

    def __init__(self, pool: BlendedPool, seed: int, rank: int, world_size: int) -> None:
        self.pool, self.seed, self.rank, self.world_size = pool, seed, rank, world_size
        self.inner = pool.streamed.stream(seed)
        self.drawn = 0

    def take(self, count: int) -> Array:
        """The next rows of this process [count, ...], in the units of the user."""
        places = self.drawn + np.arange(count * self.world_size)
        self.drawn += len(places)
        index = shuffled_index(places, len(self.pool), self.seed)
        held = index < len(self.pool.held)
        following = self.inner.items(int((~held).sum()))
        numbers = np.cumsum(~held) - 1
        own = slice(self.rank, None, self.world_size)
        index, held, numbers = index[own], held[own], numbers[own]
        parts = []
        if held.any():
            parts.append(self.pool.held.rows(index[held]))
        if not held.all():
            parts.append(self.pool.streamed.decoder.rows([following[i] for i in numbers[~held]]))
        back = np.argsort(np.concatenate([np.flatnonzero(held), np.flatnonzero(~held)]))
        return np.asarray(np.concatenate(parts)[back])

    def state_dict(self) -> dict[str, Any]:
        """The place: how many rows were drawn of both together, and the place in the stream."""
        place = {"drawn": self.drawn, "n_rows": len(self.pool)}
        return {"kind": "blended", **place, "streamed": self.inner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place."""
        if state.get("kind") != "blended" or state["n_rows"] != len(self.pool):
            raise ValueError(f"X_unlab has {len(self.pool)} rows; the place saved is {dict(state)}")
        self.drawn = int(state["drawn"])
        self.inner.load_state_dict(state["streamed"])
