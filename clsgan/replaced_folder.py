"""A folder put in the place of another one, so that a process killed amid that loses neither."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from clsgan.folder_lock import FolderLock
from clsgan.tensor_files import sync

# in a work folder: what is being written, what it replaces, and what it has replaced
NEW, OLD, DONE = "new", "old", "done"


@contextlib.contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """A new folder to write to, which then takes the place of another.

    It lies in a work folder beside the target, which is removed at the end. The older folder is
    moved into that work folder before the new one is moved out: where a process is killed
    between the two, `left_over` finds the older one and `put_back` returns it.

    Parameters
    ----------
    target : Path
        A folder, or nothing yet. Its parent is there.

    Yields
    ------
    Path
        Empty. Files written to it are to be synced by the block.

    Raises
    ------
    OSError
        If it cannot be written or moved; the older folder is in its place then.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as here:
    ...     for text in ("a", "b"):
    ...         with written_aside(Path(here) / "model") as folder:
    ...             _ = (folder / "file").write_text(text)
    ...     os.listdir(here), (Path(here) / "model" / "file").read_text()
    (['model'], 'b')
    """
    work = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    try:
        with _held(work):
            (work / NEW).mkdir()
            yield work / NEW
            sync(work / NEW)
            (work / NEW).chmod(0o755)
            _swap(work, target)
    finally:
        if not _lies_in(work) or os.path.lexists(target):
            shutil.rmtree(work, ignore_errors=True)


def left_over(target: Path) -> Path | None:
    """The folder that was moved away from a target which is not there, and not replaced since.

    Parameters
    ----------
    target : Path

    Returns
    -------
    Path or None
        None where there is none.

    Examples
    --------
    >>> left_over(Path("nowhere/model")) is None
    True
    """
    if os.path.lexists(target):
        return None
    return next((work / OLD for work in _work_folders(target) if _lies_in(work)), None)


def put_back(target: Path) -> None:
    """Undo what killed processes left: an older folder returns, other remains are removed.

    Parameters
    ----------
    target : Path

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as here:
    ...     old = Path(tempfile.mkdtemp(prefix=_prefix(Path("model")), dir=here)) / OLD
    ...     old.mkdir()
    ...     put_back(Path(here) / "model")
    ...     os.listdir(here)
    ['model']
    """
    for work in _work_folders(target):
        with contextlib.suppress(OSError):  # in use, or locks are not known here
            _undo(work, target)


def _undo(work: Path, target: Path) -> None:
    with FolderLock(work):
        if _lies_in(work) and not os.path.lexists(target):
            (work / OLD).rename(target)
            sync(target.parent)
    shutil.rmtree(work, ignore_errors=True)


def _swap(work: Path, target: Path) -> None:
    moved = os.path.lexists(target)
    if moved:
        target.rename(work / OLD)
    try:
        (work / NEW).rename(target)
    except BaseException:
        if moved:
            (work / OLD).rename(target)
        raise
    sync(target.parent)
    if moved:  # it is not to come back, should the new one be deleted
        (work / OLD).rename(work / DONE)


@contextlib.contextmanager
def _held(work: Path) -> Iterator[None]:
    """Have a work folder alone, so that another process does not take it for a remain."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # where locks are not known, `put_back` does nothing
            stack.enter_context(FolderLock(work))
        yield


def _work_folders(target: Path) -> list[Path]:
    """Those of a target, the one that changed last first; a link is none."""
    pattern = re.compile(re.escape(_prefix(target)) + r"\w+")
    found: list[tuple[float, Path]] = []
    with contextlib.suppress(OSError):
        for name in os.listdir(target.parent):
            work = target.parent / name
            if pattern.fullmatch(name) and work.is_dir() and not work.is_symlink():
                found.append((work.stat().st_mtime, work))
    return [work for _, work in sorted(found, reverse=True)]


def _lies_in(work: Path) -> bool:
    return (work / OLD).is_dir() and not (work / OLD).is_symlink()


def _prefix(target: Path) -> str:
    return f".{target.name}.saving-"
