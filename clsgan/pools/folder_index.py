"""The images of a folder tree of any size, listed once in a compact file."""

import heapq
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp"),
        *(".gif", ".tif", ".tiff", ".pgm", ".ppm", ".pnm"),
    )
)
MAGIC = b"CLSGIDX1"
FOOTER = struct.Struct("<8sQQQ")  # magic, number of paths, bytes of paths, bytes of the folder
RUN = 100_000  # names of one directory that are sorted in memory


def walk_images(folder: Path, run: int = RUN) -> Iterator[str]:
    """Paths of image files below a folder, sorted part by part, one at a time.

    Parameters
    ----------
    folder : Path
        Links are followed, but not back into a folder that the walk is in. Names that begin with a
        dot are passed over. A folder that cannot be listed and a link that cannot be followed come
        as if they were files: who reads them finds out, and says or skips it.
    run : int
        How many names of one directory are held in memory; more are sorted in a temporary file.

    Yields
    ------
    str
        Relative to the folder.

    Examples
    --------
    >>> list(walk_images(Path("clsgan")))
    []
    """
    yield from _walk(os.fspath(folder), "", (), run)


class FolderIndex:
    """Paths of a folder's images in a file that is mapped, not read.

    Parameters
    ----------
    file : Path
        As `FolderIndex.build` wrote it.

    Raises
    ------
    ValueError
        If it is no such file, or truncated.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as here:
    ...     _ = [Path(here, name).touch() for name in ("b.png", "a.jpg", "notes.txt")]
    ...     index = FolderIndex.build(here, Path(here, "index"))
    ...     len(index), index.name(1)
    (2, 'b.png')
    """

    def __init__(self, file: Path) -> None:
        size = file.stat().st_size
        with file.open("rb") as opened:
            opened.seek(max(size - FOOTER.size, 0))
            footer = opened.read(FOOTER.size)
        if len(footer) < FOOTER.size or not footer.startswith(MAGIC):
            raise ValueError(f"{file} is no index of a folder, or is truncated")
        _, self.count, names, root = FOOTER.unpack(footer)
        padded = names + root + -(names + root) % 8
        if padded + 8 * (self.count + 1) + FOOTER.size != size:
            raise ValueError(f"{file} is no index of a folder, or is truncated")
        self.bytes = np.memmap(file, np.uint8, "r", shape=(names + root,))
        self.offsets: npt.NDArray[np.uint64] = np.memmap(
            file, np.dtype("<u8"), "r", offset=padded, shape=(self.count + 1,)
        )
        self.folder = os.fsdecode(self.bytes[names:].tobytes())

    def __len__(self) -> int:
        return int(self.count)

    def name(self, i: int) -> str:
        """The path of image i, relative to the folder."""
        start, stop = int(self.offsets[i]), int(self.offsets[i + 1])
        return os.fsdecode(self.bytes[start:stop].tobytes())

    def path(self, i: int) -> Path:
        """The path of image i."""
        return Path(self.folder, self.name(i))

    @classmethod
    def build(cls, folder: str | os.PathLike[str], file: Path) -> "FolderIndex":
        """Walk a folder and write its index, whole or not at all.

        Parameters
        ----------
        folder : path
        file : Path

        Returns
        -------
        FolderIndex

        Raises
        ------
        ValueError
            If there is no image in the folder.
        """
        partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as out, tempfile.TemporaryFile() as offsets:
                count = _write(out, offsets, os.path.abspath(folder))
            if not count:
                known = " ".join(sorted(SUFFIXES))
                raise ValueError(f"no image in {folder} (looked for {known})")
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)
        return cls(file)


def _write(out: BinaryIO, offsets: BinaryIO, folder: str) -> int:
    count = at = 0
    for name in walk_images(Path(folder)):
        offsets.write(struct.pack("<Q", at))
        at += out.write(os.fsencode(name))
        count += 1
    offsets.write(struct.pack("<Q", at))
    root = out.write(os.fsencode(folder))
    out.write(bytes(-(at + root) % 8))
    offsets.seek(0)
    while chunk := offsets.read(2**20):
        out.write(chunk)
    out.write(FOOTER.pack(MAGIC, count, at, root))
    out.flush()
    os.fsync(out.fileno())
    return count


def _walk(folder: str, inside: str, above: tuple[tuple[int, int], ...], run: int) -> Iterator[str]:
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link back to a folder that this one is in
            return
        entries = os.scandir(folder)
    except OSError:
        if not inside:
            raise
        yield inside.rstrip("/")
        return
    for name in _sorted(_names(entries), run):
        is_folder, name = name.endswith("/"), name.rstrip("/")
        relative = f"{inside}{name}"
        if is_folder:
            yield from _walk(os.path.join(folder, name), f"{relative}/", (*above, here), run)
        else:
            yield relative


def _names(entries: Iterable["os.DirEntry[str]"]) -> Iterator[str]:
    """Image files of one directory, and its folders with a slash behind them."""
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            if entry.is_dir():
                yield f"{entry.name}/"
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
                yield entry.name
        except OSError:  # such as a link to itself
            yield entry.name


def _sorted(names: Iterable[str], run: int) -> Iterator[str]:
    """Sort any number of names: runs of them in files, merged."""
    runs: list[BinaryIO] = []
    held: list[str] = []
    try:
        for name in names:
            held.append(name)
            if len(held) == run:
                runs.append(_spilled(sorted(held, key=_without_slash)))
                held = []
        parts = [iter(sorted(held, key=_without_slash)), *map(_names_of, runs)]
        yield from heapq.merge(*parts, key=_without_slash)
    finally:
        for file in runs:
            file.close()


def _spilled(names: list[str]) -> BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by who merges
    file.write(b"".join(os.fsencode(name) + b"\0" for name in names))
    file.seek(0)
    return file


def _names_of(file: BinaryIO) -> Iterator[str]:
    rest = b""
    while chunk := file.read(2**16):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from map(os.fsdecode, whole)


def _without_slash(name: str) -> str:
    return name.rstrip("/")
