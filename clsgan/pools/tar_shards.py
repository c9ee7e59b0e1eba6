"""WebDataset shards: .tar files whose members of one stem are one sample, read in order."""

import glob
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from clsgan.pools.folder_index import SUFFIXES, walk_images
from clsgan.pools.samples import Item

INDEX = "shards.json"
MAX_MEMBER_BYTES = 2**28
GIVEN_UP = -1  # the place in a shard whose rest cannot be read


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
    ValueError
        If a folder holds shards and images.

    Examples
    --------
    >>> find_shards("photos"), find_shards([[1.0, 2.0]])
    ([], [])
    """
    if isinstance(X, str | os.PathLike):
        path = Path(X)
        if path.is_dir():
            inside = sorted(p for p in path.glob("*.tar") if not p.name.startswith("."))
            if inside:
                _refuse_images(path, inside[0])
            return inside
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

    Nothing is extracted: names are only names. Members with holes and links are passed over. Where
    the shard is damaged, the last item is named like the shard and says so.

    Parameters
    ----------
    path : Path
    start : int
        Byte at which a sample begins, or `GIVEN_UP`.

    Yields
    ------
    item : Item
        Its content is the bytes of the image or .npy file; what cannot be used is an error there.
    stop : int
        Byte at which the next sample begins; `GIVEN_UP` where the rest cannot be read.

    Examples
    --------
    >>> [(item.name, stop) for item, stop in read_shard(Path("nowhere.tar"))]
    [('nowhere.tar', -1)]
    """
    if start == GIVEN_UP:
        return
    try:
        file = path.open("rb")
    except OSError as error:
        yield _unreadable(path, error), GIVEN_UP
        return
    with file:
        yield from _samples(path, file, start)


def count_samples(shards: list[Path]) -> tuple[int, bool]:
    """How many samples shards hold.

    Parameters
    ----------
    shards : list of Path

    Returns
    -------
    count : int
    exact : bool
        Whether shards.json beside them says so; else it is told from the size of the first shard
        that holds any.

    Raises
    ------
    ValueError
        If no shard holds a sample.

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
    size = sum(shard.stat().st_size for shard in shards)
    for shard in shards:
        if count := sum(stop != GIVEN_UP for _, stop in read_shard(shard)):
            return max(round(count * size / shard.stat().st_size), 1), False
    why = "".join(f": {item.content}" for item, _ in read_shard(shards[0]))
    raise ValueError(f"{shards[0]} holds no sample{why}; nor does another of {len(shards)} shards")


def _refuse_images(folder: Path, shard: Path) -> None:
    """Refuse a folder of shards that has images as well: which of them are meant is not plain."""
    images = (name for name in walk_images(folder) if Path(name).suffix.lower() in SUFFIXES)
    if image := next(images, None):
        raise ValueError(
            f"{folder} holds both shards ({shard.name}) and images ({image}); give "
            f"{folder / '*.tar'} for the shards, or move them out for the images"
        )


def _stored_counts(folder: Path) -> dict[str, int]:
    try:
        stored = json.loads((folder / INDEX).read_text(encoding="utf-8"))["shards"]
        return {str(name): max(int(count), 0) for name, count in stored.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{folder / INDEX} is damaged; delete it to count anew") from error


def _samples(path: Path, file: BinaryIO, start: int) -> Iterator[tuple[Item, int]]:
    sample: Item | None = None
    stem: str | None = None
    for member in _members(file, start):
        key = None if member.name is None else _stem(member.name)
        if stem is not None and key != stem:
            if sample is not None or not member.is_damage:
                yield sample or _without_image(path, stem), member.place
            sample = None
        stem = key
        if member.name is not None and member.content is not None and sample is None:
            sample = Item(f"{path}/{_printable(member.name)}", member.content)
        if member.is_damage:
            yield _unreadable(path, member.content), GIVEN_UP


class _Member(NamedTuple):
    """A member and the byte at which it begins; without a name, the end of the shard."""

    place: int
    name: str | None
    content: bytes | Exception | None = None

    @property
    def is_damage(self) -> bool:
        return self.name is None and self.content is not None


def _members(file: BinaryIO, start: int) -> Iterator[_Member]:
    """Regular members, with the bytes of those that hold an image or an array, and the end.

    Where the shard is damaged the end is the place from which reading finds the damage again.
    """
    bounded: Any = _Bounded(file)
    file.seek(start)
    place = start
    try:
        if start == bounded.size > 0:
            return
        with tarfile.open(fileobj=bounded, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep all headers
                place = member.offset
                if member.isreg() and not member.issparse():
                    yield _Member(place, member.name, _content(tar, member))
                place = tar.offset
        _check_end(bounded, place)
    except (tarfile.TarError, OSError, EOFError, OverflowError, ValueError) as error:
        yield _Member(place, None, error)
    else:
        yield _Member(bounded.size, None)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | ValueError | None:
    suffix = os.path.splitext(member.name)[1].lower()
    if suffix not in SUFFIXES and suffix != ".npy":
        return None
    if member.size > MAX_MEMBER_BYTES:
        return ValueError(f"it has {member.size} bytes, too many for a row")
    opened = tar.extractfile(member)
    return None if opened is None else opened.read()


def _check_end(file: Any, place: int) -> None:
    """Refuse an end that is none: tarfile takes a broken header behind the first one for it."""
    if place > file.size:
        raise tarfile.ReadError("unexpected end of data")
    file.seek(place)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"no header at byte {place}")


class _Bounded:
    """A file that is asked for no more bytes than it has: a header may declare any number."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.tell = file, file.tell
        self.size = os.fstat(file.fileno()).st_size

    def read(self, count: int) -> bytes:
        return self.file.read(max(min(count, self.size - self.tell()), 0))

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(place, whence)


def _unreadable(path: Path, error: object) -> Item:
    why = f"it is no uncompressed .tar file, or is damaged: {error}"
    if isinstance(error, OSError):
        why = str(error)
    return Item(str(path), ValueError(f"the rest cannot be read ({why})"))


def _stem(name: str) -> str:
    """What the members of a sample share: the name up to the first dot."""
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.split('.', 1)[0]}"


def _without_image(path: Path, stem: str) -> Item:
    return Item(f"{path}/{_printable(stem.lstrip('/'))}", {})


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)
