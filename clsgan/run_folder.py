"""The folder of one run: where it lies, how its files are written, how they are read again."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsgan.runlog import METRICS_FILE

CONFIG, RESULTS, MODEL = "config.yaml", "results.json", "model"
LABELS, PREDICTIONS = "labels.npz", "test_predictions.npz"
POOL_INDEX = "unlabeled.index"
NUMBERS = re.compile(r"\[\n\s+([-+.,\deE\s]+?)\n\s*\]")  # a list of numbers, spread over lines
MOST_SMALL, MOST_PACKED = 64 * 2**20, 100  # bytes; times the size on disk
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
SAMPLES, CONFUSION = "samples.png", "confusion.png"


def claim_run_folder(name: str, given: str | Path | None = None) -> tuple[Path, list[Path]]:
    """Make the folder that a run will write, for this run alone.

    Parameters
    ----------
    name : str
        Name of the recipe.
    given : str or Path or None, default=None
        The folder asked for; None takes the next free ``runs/<name>-<number>``.

    Returns
    -------
    folder : Path
    made : list of Path
        The folders made for it, innermost first: what `discard_unstarted` may remove.

    Raises
    ------
    FileExistsError
        The folder asked for is a file, or holds something: a run never overwrites.

    Examples
    --------
    >>> import tempfile
    >>> from clsgan.run_folder import claim_run_folder
    >>> with tempfile.TemporaryDirectory() as here:
    ...     folder, made = claim_run_folder("digits", f"{here}/a/b")
    ...     [path.name for path in made]
    ['b', 'a']
    """
    if given is None:
        return _claim_numbered(Path("runs"), name)
    folder = Path(given).expanduser()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"run folder {folder} is a file")
    made = _absent(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if any(folder.iterdir()):
            raise FileExistsError
        (folder / CONFIG).touch(exist_ok=False)  # of two runs at once, one only makes it
    except FileExistsError:
        raise FileExistsError(
            f"run folder {folder} is not empty, and a run never overwrites; give another run=FOLDER"
        ) from None
    return folder, made


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary name beside it, then renamed.

    Parameters
    ----------
    path : Path
    content : bytes

    Raises
    ------
    FileNotFoundError
        There is no folder to write it into.
    OSError
        It cannot be written; what was there stays.

    Examples
    --------
    >>> import tempfile
    >>> from clsgan.run_folder import write_bytes
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bytes(Path(folder) / "a.txt", b"whole")
    ...     os.listdir(folder)
    ['a.txt']
    """
    check_parent(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def check_parent(path: str | Path) -> Path:
    """Refuse a file whose folder is not there, before the work that it is to hold.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        There is no folder to write it into.

    Examples
    --------
    >>> from clsgan.run_folder import check_parent
    >>> check_parent("a-folder-that-is-new/features.npy")
    Traceback (most recent call last):
    FileNotFoundError: there is no folder a-folder-that-is-new to write features.npy into
    """
    target = Path(path).expanduser()
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} into")
    return target


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dict as JSON, whole or not at all.

    Parameters
    ----------
    path : Path
    content : dict
        Plain values; NaN and infinity are refused, since JSON has neither.

    Raises
    ------
    ValueError
        A value is NaN or infinite.

    Examples
    --------
    >>> import tempfile
    >>> from clsgan.run_folder import read_json, write_json
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(Path(folder) / "a.json", {"error": 0.25})
    ...     read_json(Path(folder) / "a.json")
    {'error': 0.25}
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    text = NUMBERS.sub(lambda row: f"[{' '.join(row[1].split())}]", text)
    # a file name that is not UTF-8 has lone surrogates, for which JSON has the same \udcXX
    write_bytes(path, (text + "\n").encode(errors="backslashreplace"))


def write_arrays(path: Path, **arrays: npt.ArrayLike) -> None:
    """Write arrays as a compressed .npz, whole or not at all.

    Parameters
    ----------
    path : Path
    **arrays : array-like
        Numbers or strings by name; no objects, so that reading needs no pickle.

    Examples
    --------
    >>> import tempfile
    >>> from clsgan.run_folder import read_arrays, write_arrays
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_arrays(Path(folder) / "a.npz", rows=[3, 5], split="digits.seed0@100")
    ...     read_arrays(Path(folder) / "a.npz")["rows"].tolist()
    [3, 5]
    """
    buffer = io.BytesIO()
    plain = {name: _without_objects(np.asarray(values)) for name, values in arrays.items()}
    np.savez_compressed(buffer, allow_pickle=False, **plain)
    write_bytes(path, buffer.getvalue())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run folder.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError
        It is not there.
    ValueError
        It is not JSON, or a link.

    Examples
    --------
    See `write_json`.
    """
    _check_is_there(path)
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read an .npz file of a run folder; nothing in it is executed.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of ndarray

    Raises
    ------
    FileNotFoundError
        It is not there.
    ValueError
        It is truncated or corrupt, a link, or declares far more than its size on disk.

    Examples
    --------
    See `write_arrays`.
    """
    _check_is_there(path)
    try:
        with zipfile.ZipFile(path) as file:
            _check_declared(file, path.stat().st_size)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    # what zipfile, zlib and numpy raise for bytes that are not theirs
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is truncated or corrupt: {error}") from error


def discard_unstarted(folder: Path, made: Sequence[Path]) -> None:
    """Take back what was written for a run that failed before it trained.

    Parameters
    ----------
    folder : Path
        A run folder; it is left alone if it holds metrics.
    made : sequence of Path
        As from `claim_run_folder`; no other folder is removed, and none that holds something.

    Examples
    --------
    >>> import tempfile
    >>> from clsgan.run_folder import claim_run_folder, discard_unstarted
    >>> with tempfile.TemporaryDirectory() as here:
    ...     discard_unstarted(*claim_run_folder("digits", f"{here}/a/b"))
    ...     os.listdir(here)
    []
    """
    if (folder / METRICS_FILE).exists():
        return
    for name in (CONFIG, LABELS, POOL_INDEX):
        (folder / name).unlink(missing_ok=True)
    for path in made:
        with contextlib.suppress(OSError):  # it holds something
            path.rmdir()


def _claim_numbered(parent: Path, name: str) -> tuple[Path, list[Path]]:
    """Make the folder after the greatest number in use, so that runs sort by when they began."""
    pattern = re.compile(re.escape(name) + r"-(\d+)")
    names = os.listdir(parent) if parent.is_dir() else []
    used = [int(match[1]) for entry in names if (match := pattern.fullmatch(entry))]
    number = max(used, default=0)
    while True:
        number += 1
        folder = parent / f"{name}-{number}"
        made = _absent(folder)
        with contextlib.suppress(FileExistsError):  # another run was faster: the next number
            folder.mkdir(parents=True)
            return folder, made


def _absent(folder: Path) -> list[Path]:
    """The folder and those above it that are not there, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _check_declared(file: zipfile.ZipFile, size: int) -> None:
    """Refuse arrays that would take far more memory than what the file holds of them.

    The names and predictions of a run shrink to a hundredth at the least, if they are not small.
    """
    most = max(MOST_SMALL, MOST_PACKED * size)
    whole = sum(member.file_size for member in file.infolist())
    if whole > most:
        raise ValueError(f"it declares {whole} bytes where {most} are due")
    for member in file.infolist():
        with file.open(member) as content:
            version = np.lib.format.read_magic(content)
            read = HEADERS.get(version)
            if read is None:
                raise ValueError(f"{member.filename} has format {version}, which is not known")
            shape, _, dtype = read(content)
        if prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} declares more than it holds: {shape} of {dtype}")


def _check_is_there(path: Path) -> None:
    if path.is_symlink():
        raise ValueError(f"{path} is a link; a run folder holds its files itself")
    if not path.exists():
        raise FileNotFoundError(
            f"{path.parent} holds no {path.name}: it is no run folder, or its run did not finish"
        )


def _without_objects(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.astype(str) if array.dtype == object else array
