"""WebDataset shards: .tar files whose members of one stem are one sample, read in order."""

import glob
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from clsgan.pools.decoding import Item
from clsgan.pools.folder_index import SUFFIXES

INDEX = "shards.json"
MAX_MEMBER_BYTES = 2**28


def find_shards(X: Any) -> list[Path]:
    """The shards that an input names: a .tar file, a pattern, a folder or a list of them.

    Parameters
    ----------
    X : object

    Returns
    -------
    list of Path
        Empty where it names none.

    Raises
    ------
    FileNotFoundError
        If a shard that is named is missing.

    Examples
    --------
    >>> find_shards("photos"), find_shards([[1.0, 2.0]])
    ([], [])
    """
    if isinstance(X, str | os.PathLike):
        path = Path(X)
        if path.is_dir():
            return sorted(p for p in path.glob("*.tar") if not p.name.startswith("."))
        if path.suffix != ".tar":
            return []
        found = [path] if path.exists() else [Path(p) for p in sorted(glob.glob(str(path)))]
        if not found:
            raise FileNotFoundError(f"no shard at {path}")
        return found
    if not isinstance(X, list | tuple) or not X:
        return []
    if not all(isinstance(x, str | os.PathLike) and Path(x).suffix == ".tar" for x in X):
        return []
    return [path for x in X for path in find_shards(x)]


def read_shard(path: Path, start: int = 0) -> Iterator[tuple[Item, int]]:
    """Samples of a shard, as bytes, in the order in which they lie.

    Nothing is extracted: names are only names. Members with holes, links and those of more than
    256 MiB are passed over or refused.

    Parameters
    ----------
    path : Path
    start : int
        Byte at which a sample begins.

    Yields
    ------
    item : Item
        Its content is the bytes of the image or .npy file; what cannot be used is an error there.
    stop : int
        Byte at which the next sample begins.

    Raises
    ------
    ValueError
        If the file is no uncompressed .tar file, or truncated.

    Examples
    --------
    >>> next(read_shard(Path("nowhere.tar")))
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.tar'
    """
    sample: Item | None = None
    stem: str | None = None
    with path.open("rb") as file:
        file.seek(start)
        if not file.read(1):
            return
        file.seek(start)
        for member, content in _members(path, file):
            folder, _, base = member.name.rpartition("/")
            key = f"{folder}/{base.split('.', 1)[0]}"
            if stem is not None and key != stem:
                yield sample or _without_image(path, stem), member.offset
                sample = None
            stem = key
            if content is not None and sample is None:
                sample = Item(f"{path}/{_printable(member.name)}", content)
        if stem is not None:
            yield sample or _without_image(path, stem), os.fstat(file.fileno()).st_size


def count_samples(shards: list[Path]) -> tuple[int, bool]:
    """How many samples shards hold.

    Parameters
    ----------
    shards : list of Path

    Returns
    -------
    count : int
    exact : bool
        Whether shards.json beside them says so; else it is told from the first shard's size.

    Raises
    ------
    ValueError
        If the first shard holds no sample.

    Examples
    --------
    See `clsgan.pools.kinds.shard_pool`.
    """
    known: dict[Path, int] = {}
    for folder in {shard.parent for shard in shards}:
        if (folder / INDEX).is_file():
            known |= {folder / name: count for name, count in _stored_counts(folder).items()}
    if all(shard in known for shard in shards):
        return sum(known[shard] for shard in shards), True
    first = sum(1 for _ in read_shard(shards[0]))
    if not first:
        raise ValueError(f"{shards[0]} holds no sample")
    size = sum(shard.stat().st_size for shard in shards)
    return max(round(first * size / shards[0].stat().st_size), 1), False


def _stored_counts(folder: Path) -> dict[str, int]:
    try:
        stored = json.loads((folder / INDEX).read_text(encoding="utf-8"))["shards"]
        return {str(name): max(int(count), 0) for name, count in stored.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{folder / INDEX} is damaged; delete it to count anew") from error


def _members(path: Path, file: Any) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """Regular members, with the bytes of those that hold an image or an array."""
    bounded: Any = _Bounded(file)
    try:
        with tarfile.open(fileobj=bounded, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep all headers
                if not member.isreg() or member.issparse():
                    continue
                suffix = os.path.splitext(member.name)[1].lower()
                wanted = suffix in SUFFIXES or suffix == ".npy"
                if wanted and member.size > MAX_MEMBER_BYTES:
                    raise ValueError(f"{member.name} has {member.size} bytes, too many for a row")
                opened = tar.extractfile(member) if wanted else None
                yield member, None if opened is None else opened.read()
    except (tarfile.TarError, OSError, EOFError, OverflowError) as error:
        raise ValueError(f"{path} is no uncompressed .tar file, or is damaged: {error}") from error


class _Bounded:
    """A file that is asked for no more bytes than it has: a header may declare any number."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.tell = file, file.tell
        self.size = os.fstat(file.fileno()).st_size

    def read(self, count: int) -> bytes:
        return self.file.read(max(min(count, self.size - self.tell()), 0))

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(place, whence)


def _without_image(path: Path, stem: str) -> Item:
    return Item(f"{path}/{_printable(stem.lstrip('/'))}", {})


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)
