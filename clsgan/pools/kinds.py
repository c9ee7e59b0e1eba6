"""Pools of unlabeled rows that stay where they are: read a batch at a time, in a seeded order."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clsgan.pools.decoding import RowDecoder
from clsgan.pools.permutation import Index, shuffled_index
from clsgan.pools.readers import Reader, ShardReader
from clsgan.pools.samples import Item, size_of
from clsgan.pools.tar_shards import count_samples

Array = npt.NDArray[Any]
ENDLESS = 10**9  # rows of a stream that does not say how many it has
BUFFER_ROWS, BUFFER_BYTES = 8192, 2**28
SOME = 2**62  # the seed of `some`, which no run has


class Pool(Protocol):
    """Unlabeled rows that a run reads as it needs them."""

    def __len__(self) -> int: ...

    @property
    def decoders(self) -> list[RowDecoder]:
        """What reads its samples."""

    @property
    def skipped(self) -> dict[str, str]:
        """Samples that could not be read, and why."""

    def some(self, count: int) -> Array:
        """Rows to look at before training, at most `count`."""

    def stream(self, seed: int, rank: int = 0, world_size: int = 1) -> "PoolStream":
        """Endless batches of one process."""


class Indexed(Protocol):
    """Rows that can be read in any order."""

    def __len__(self) -> int: ...

    def rows(self, index: Index) -> Array:
        """The rows of an index [B], read and checked."""


class PoolStream(Protocol):
    """A place in an endless seeded sequence of rows."""

    def take(self, count: int) -> Array:
        """The next rows of this process [count, ...], in the units of the user."""

    def state_dict(self) -> dict[str, Any]:
        """The place, in a few numbers that JSON can hold."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place."""


class IndexedPool:
    """Rows that can be read in any order: a mapped array, files, a map-style dataset.

    Parameters
    ----------
    n_rows : int
    get : callable
        Index [B] -> list of Item, or array [B, ...].
    decoder : RowDecoder

    Examples
    --------
    >>> from clsgan.inputs import InputSpec
    >>> X = np.arange(12.0).reshape(6, 2)
    >>> decoder = RowDecoder(InputSpec((2,), "ND", "float64"), np.asarray, "X_unlab")
    >>> stream = IndexedPool(6, X.__getitem__, decoder).stream(seed=0)
    >>> sorted(stream.take(6)[:, 0].tolist())
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """

    def __init__(
        self, n_rows: int, get: Callable[[Index], Sequence[Item] | Array], decoder: RowDecoder
    ) -> None:
        self.n_rows, self.get, self.decoder = n_rows, get, decoder

    def __len__(self) -> int:
        return self.n_rows

    @property
    def decoders(self) -> list[RowDecoder]:
        """What reads its samples."""
        return [self.decoder]

    @property
    def skipped(self) -> dict[str, str]:
        """Samples that could not be read, and why."""
        return self.decoder.skipped

    def rows(self, index: Index) -> Array:
        """The rows of an index [B], read and checked."""
        got = self.get(index)
        if isinstance(got, np.ndarray):
            return self.decoder.array_rows(got, index.tolist())
        return self.decoder.rows(got)

    def some(self, count: int) -> Array:
        """Rows to look at before training, at most `count`."""
        places = np.arange(min(count, self.n_rows))
        return self.rows(np.sort(shuffled_index(places, self.n_rows, SOME)))

    def stream(self, seed: int, rank: int = 0, world_size: int = 1) -> "IndexedStream":
        """Endless batches of one process."""
        return IndexedStream(self, seed, rank, world_size)


class IndexedStream:
    """One random permutation of an indexed pool after another; the place is one number.

    Parameters
    ----------
    pool : IndexedPool or `clsgan.pools.joined.JoinedPool`
    seed : int
    rank, world_size : int
        This process, and the number of processes; each takes its share of the same batches.

    Examples
    --------
    See `IndexedPool`, whose `stream` makes it.
    """

    def __init__(self, pool: Indexed, seed: int, rank: int, world_size: int) -> None:
        self.pool, self.seed, self.rank, self.world_size = pool, seed, rank, world_size
        self.drawn = 0

    def take(self, count: int) -> Array:
        """The next rows of this process [count, ...], in the units of the user."""
        places = self.drawn + self.rank + self.world_size * np.arange(count)
        self.drawn += count * self.world_size
        index = shuffled_index(places, len(self.pool), self.seed)
        return self.pool.rows(index)

    def state_dict(self) -> dict[str, Any]:
        """The place: how many rows were drawn, of how many."""
        return {"kind": "indexed", "drawn": self.drawn, "n_rows": len(self.pool)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place."""
        if state.get("kind") != "indexed" or state["n_rows"] != len(self.pool):
            raise ValueError(f"X_unlab has {len(self.pool)} rows; the place saved is {dict(state)}")
        self.drawn = int(state["drawn"])


class StreamedPool:
    """Rows that come one after another: shards, an iterable dataset.

    Parameters
    ----------
    n_rows : int
    reader : callable
        seed -> Reader.
    decoder : RowDecoder
    buffer_rows, buffer_bytes : int
        How many samples are held, not decoded, to be shuffled.

    Examples
    --------
    >>> from clsgan.inputs import InputSpec
    >>> decoder = RowDecoder(InputSpec((1,), "ND", "float64"), np.asarray, "X_unlab")
    >>> from clsgan.pools.readers import IterableReader
    >>> rows = [np.array([float(i)]) for i in range(5)]
    >>> stream = StreamedPool(5, lambda seed: IterableReader(rows), decoder, 5).stream(seed=0)
    >>> sorted(stream.take(5).ravel().tolist())
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """

    def __init__(
        self,
        n_rows: int,
        reader: Callable[[int], Reader],
        decoder: RowDecoder,
        buffer_rows: int = BUFFER_ROWS,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        self.n_rows, self.reader, self.decoder = n_rows, reader, decoder
        self.buffer_rows, self.buffer_bytes = buffer_rows, buffer_bytes

    def __len__(self) -> int:
        return self.n_rows

    @property
    def decoders(self) -> list[RowDecoder]:
        """What reads its samples."""
        return [self.decoder]

    @property
    def skipped(self) -> dict[str, str]:
        """Samples that could not be read, and why."""
        return self.decoder.skipped

    def some(self, count: int) -> Array:
        """Rows to look at before training, at most `count`; no more samples are read."""
        return self.within(count).stream(0).take(min(count, self.n_rows, self.buffer_rows))

    def within(self, count: int) -> "StreamedPool":
        """The same samples, of which at most `count` are held."""
        most = min(count, self.buffer_rows)
        return StreamedPool(self.n_rows, self.reader, self.decoder, most, self.buffer_bytes)

    def stream(self, seed: int, rank: int = 0, world_size: int = 1) -> "StreamedStream":
        """Endless batches of one process, which reads all samples and decodes its own."""
        return StreamedStream(self, seed, rank, world_size)


class StreamedStream:
    """Blocks of samples, each read in order and shuffled as a whole.

    A place is where the block began and how much of it was used: going on reads one block again.

    Parameters
    ----------
    pool : StreamedPool
    seed : int
    rank, world_size : int
        This process, and the number of processes; each takes its share of the same batches.

    Examples
    --------
    See `StreamedPool`, whose `stream` makes it.
    """

    def __init__(self, pool: StreamedPool, seed: int, rank: int, world_size: int) -> None:
        self.pool, self.seed, self.rank, self.world_size = pool, seed, rank, world_size
        self.reader = pool.reader(seed)
        self.began, self.n_blocks, self.used = self.reader.state_dict(), -1, 0
        self.block: list[Item] = []

    def take(self, count: int) -> Array:
        """The next rows of this process [count, ...], in the units of the user."""
        together = self.items(count * self.world_size)
        return self.pool.decoder.rows(together[self.rank :: self.world_size])

    def items(self, count: int) -> list[Item]:
        """The next samples of all processes, not decoded."""
        return [self._next() for _ in range(count)]

    def state_dict(self) -> dict[str, Any]:
        """The place: where the block of samples began, its number, how many of it were used."""
        place = {"began": self.began, "n_blocks": self.n_blocks, "used": self.used}
        return {"kind": "streamed", **place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place."""
        if state.get("kind") != "streamed":
            raise ValueError(f"X_unlab is a stream; the place saved is {dict(state)}")
        if (state["began"], int(state["n_blocks"])) == (self.began, self.n_blocks):
            self.used = int(state["used"])  # the block is here: nothing is read again
            return
        self.reader.load_state_dict(state["began"])
        self.n_blocks = int(state["n_blocks"])
        if self.n_blocks >= 0:
            self.n_blocks -= 1
            self._fill()
        self.used = int(state["used"])

    def _next(self) -> Item:
        if self.used == len(self.block):
            self._fill()
        self.used += 1
        return self.block[self.used - 1]

    def _fill(self) -> None:
        self.began, self.used, self.block = self.reader.state_dict(), 0, []
        self.n_blocks += 1
        read: list[Item] = []
        n_bytes = 0
        ends = 0
        while len(read) < self.pool.buffer_rows and n_bytes < self.pool.buffer_bytes:
            item = self.reader.read()
            if item is not None:
                read.append(item)
                n_bytes += size_of(item.content)
            elif read:
                break  # a block ends where a pass does
            elif (ends := ends + 1) > 1:
                raise ValueError("X_unlab has no samples")
        order = np.random.default_rng((self.seed, self.n_blocks)).permutation(len(read))
        self.block = [read[i] for i in order]


def shard_pool(shards: list[Path], decoder: RowDecoder) -> StreamedPool:
    """A pool of shards.

    Parameters
    ----------
    shards : list of Path
    decoder : RowDecoder

    Returns
    -------
    StreamedPool

    Examples
    --------
    See `clsgan.pools.unlabeled_pool.open_pool`.
    """
    return StreamedPool(count_samples(shards)[0], lambda seed: ShardReader(shards, seed), decoder)
