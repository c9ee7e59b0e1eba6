"""Samples in the order in which they can be had, with a place to go on from."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from clsgan.pools.permutation import shuffled_index
from clsgan.pools.samples import Item
from clsgan.pools.tar_shards import read_shard

OPEN_SHARDS = 4


class Reader(Protocol):
    """Samples in the order in which they can be had, pass after pass."""

    def read(self) -> Item | None:
        """The next sample, not decoded; None where a pass ends."""

    def state_dict(self) -> dict[str, Any]:
        """The place."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place."""


class ShardReader:
    """Samples of shards in shuffled order, a few of them open at a time and read in turn.

    Parameters
    ----------
    shards : list of Path
    seed : int

    Examples
    --------
    See `StreamedPool`.
    """

    def __init__(self, shards: list[Path], seed: int) -> None:
        self.shards, self.seed = shards, seed
        self.opened, self.in_pass = 0, False
        self.open: list[tuple[int, int, Iterator[tuple[Item, int]]]] = []
        self.load_state_dict({"opened": 0, "open": [], "shards": len(shards)})

    def read(self) -> Item | None:
        """The next sample, not decoded; None where a pass ends."""
        while self.open or self.opened % len(self.shards) or not self.in_pass:
            self._open()
            self.in_pass = True
            shard, place, samples = self.open.pop(0)
            following = next(samples, None)
            if following is not None:
                item, place = following
                self.open.append((shard, place, samples))
                return item
        self.in_pass = False
        return None

    def state_dict(self) -> dict[str, Any]:
        """How many shards were opened, and where those are that are open."""
        places = [[shard, place] for shard, place, _ in self.open]
        return {"opened": self.opened, "open": places, "shards": len(self.shards)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place."""
        if state["shards"] != len(self.shards):
            raise ValueError(f"X_unlab has {len(self.shards)} shards, not {state['shards']}")
        self.opened = int(state["opened"])
        self.in_pass = bool(state["open"]) or self.opened % len(self.shards) > 0
        self.open = [(i, at, read_shard(self.shards[i], at)) for i, at in state["open"]]

    def _open(self) -> None:
        """Open shards of this pass; those of the next one only when all are read."""
        while len(self.open) < OPEN_SHARDS:
            if self.opened % len(self.shards) == 0 and self.open:
                return
            shard = int(shuffled_index(self.opened, len(self.shards), self.seed))
            self.open.append((shard, 0, read_shard(self.shards[shard])))
            self.opened += 1


class IterableReader:
    """Samples of an iterable, which is started anew for every pass.

    Parameters
    ----------
    samples : iterable
        Of images or rows, pairs (image, label), or dicts with an "image". `set_epoch` and, in the
        first pass, `skip` are used where it has them, as streams of the `datasets` library do. An
        error that it raises ends the run: no iterator goes on behind one. So images are better
        decoded here, where a damaged one can be left out (of `datasets`: ``decode=False``).
    name : str

    Examples
    --------
    >>> reader = IterableReader([7, 8])
    >>> [item and item.content for item in (reader.read() for _ in range(3))]
    [7, 8, None]
    """

    def __init__(self, samples: Any, name: str = "sample") -> None:
        if iter(samples) is samples:
            raise ValueError("X_unlab can be read once only; pass what iter() starts anew")
        self.samples, self.name = samples, name
        self.iterator: Iterator[Any] | None = None
        self.load_state_dict({"passes": 0, "read": 0})

    def read(self) -> Item | None:
        """The next sample, not decoded; None where a pass ends."""
        if self.iterator is None:
            self.iterator = self._begun()
        for content in self.iterator:
            self.n_read += 1
            return Item(f"{self.name} {self.n_read - 1}", content)
        self.load_state_dict({"passes": self.passes + 1, "read": 0})
        return None

    def state_dict(self) -> dict[str, Any]:
        """How many passes were finished, and how many samples of this one were read."""
        return {"passes": self.passes, "read": self.n_read}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place: samples before it are passed over when the next one is read."""
        self.passes, self.n_read = int(state["passes"]), int(state["read"])
        self.iterator = None

    def _begun(self) -> Iterator[Any]:
        """What is left of this pass. The epoch is set here: other readers of the samples set it."""
        if hasattr(self.samples, "set_epoch"):
            self.samples.set_epoch(self.passes)
        # what `skip` of the `datasets` library returns keeps the shards in the order of epoch 0
        if self.passes == 0 and self.n_read > 0 and hasattr(self.samples, "skip"):
            return iter(self.samples.skip(self.n_read))
        return islice(self.samples, self.n_read, None)
