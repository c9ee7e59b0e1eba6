"""What `fit` takes as unlabeled rows, opened as a pool where it should not lie in memory."""

import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clsgan.inputs import InputSpec
from clsgan.pools.decoding import RowDecoder
from clsgan.pools.folder_index import FolderIndex
from clsgan.pools.kinds import ENDLESS, IndexedPool, Pool, StreamedPool, shard_pool
from clsgan.pools.permutation import Index
from clsgan.pools.readers import IterableReader
from clsgan.pools.samples import Item
from clsgan.pools.tar_shards import find_shards
from clsgan.run_folder import POOL_INDEX
from clsgan.sources import Skipped, Unlabeled, is_from_files

Array = npt.NDArray[Any]
IN_MEMORY_BYTES = 2**26
AT_ONCE = 1024  # samples of a dataset that are turned into rows together


def open_pool(
    X: Any,
    spec: InputSpec,
    check: Callable[[Any], Array],
    on_error: str = "raise",
    folder: str | os.PathLike[str] | None = None,
    skipped: Skipped | None = None,
) -> Pool | Array | None:
    """Open unlabeled rows that stay where they are.

    Mapped arrays, .npy files, shards and iterables always do; folders, lists of files and map-style
    datasets whose rows would take more than 64 MiB.

    Parameters
    ----------
    X : any kind of input that `CLSGANClassifier.fit` takes as X_unlab
    spec : InputSpec
        Of the labeled rows.
    check : callable
        Batch of arrays -> checked rows [B, C, H, W] or [B, D].
    on_error : {"raise", "skip"}
    folder : path, optional
        Where the index of a folder of images is written; a temporary file if not given.
    skipped : Skipped, optional
        Gets the samples of a small dataset that cannot be read, with ``on_error="skip"``.

    Returns
    -------
    Pool, array or None
        The rows themselves of a small map-style dataset, read as those of a large one are; None for
        everything else that is better held in memory.

    Raises
    ------
    ValueError, FileNotFoundError
        If it is empty or cannot be opened.

    Examples
    --------
    >>> open_pool([[1.0, 2.0]], InputSpec((2,), "ND", "float64"), np.asarray)
    """
    if isinstance(X, Unlabeled):
        return open_pool(X.data, spec, check, on_error, folder, skipped)
    decoder = RowDecoder(spec, check, "X_unlab", on_error)
    if isinstance(X, str | os.PathLike) and Path(X).suffix == ".npy":
        X = map_array(X)
    if isinstance(X, np.memmap):
        return IndexedPool(len(X), lambda index: np.asarray(X[index]), decoder)
    shards = find_shards(X)
    if shards:
        return shard_pool(shards, decoder)
    if isinstance(X, str | os.PathLike):
        return _folder_pool(Path(X), decoder, folder)
    if _is_indexed(X):
        return _dataset(X, decoder, skipped)
    if is_from_files(X):
        files = X
        if len(files) * _row_bytes(spec) <= IN_MEMORY_BYTES:
            return None
        return IndexedPool(len(files), lambda index: [_file(files[i]) for i in index], decoder)
    if _is_stream(X):
        n_rows = len(X) if hasattr(X, "__len__") else ENDLESS
        return StreamedPool(n_rows, lambda seed: IterableReader(X), decoder)
    return None


def map_array(path: str | os.PathLike[str]) -> Array:
    """Map an .npy file, without reading it.

    Parameters
    ----------
    path : path

    Returns
    -------
    np.memmap

    Raises
    ------
    ValueError
        If it is no .npy file of numbers, or shorter than it declares.

    Examples
    --------
    >>> map_array("nowhere.npy")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.npy'
    """
    try:
        return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError, OverflowError) as error:
        raise ValueError(f"{path} is no .npy file of numbers, or is damaged: {error}") from error


def _folder_pool(X: Path, decoder: RowDecoder, folder: Any) -> Pool | None:
    if not X.is_dir():
        return None
    if folder is None:
        place = tempfile.TemporaryDirectory(prefix="clsgan-")
        file = Path(place.name, POOL_INDEX)
    else:
        place, file = None, Path(folder, POOL_INDEX)
        file.parent.mkdir(parents=True, exist_ok=True)
    index = FolderIndex.build(X, file)
    if len(index) * _row_bytes(decoder.spec) <= IN_MEMORY_BYTES:
        file.unlink()
        return None

    def get(rows: Index, kept: Any = place) -> list[Item]:  # the temporary folder lives with it
        return [_file(index.path(int(i))) for i in rows]

    return IndexedPool(len(index), get, decoder)


def _dataset(X: Any, decoder: RowDecoder, skipped: Skipped | None) -> Pool | Array:
    def get(rows: Index) -> list[Item]:
        return [_sample(X, int(i)) for i in rows]

    if len(X) * _row_bytes(decoder.spec) > IN_MEMORY_BYTES:
        return IndexedPool(len(X), get, decoder)
    rows = _held(len(X), get, decoder)
    if skipped is not None:
        skipped.reasons |= decoder.skipped
    return rows


def _held(n_rows: int, get: Callable[[Index], list[Item]], decoder: RowDecoder) -> Array:
    """All rows of a dataset, without those that cannot be read."""
    index = np.arange(n_rows)
    parts = (index[start : start + AT_ONCE] for start in range(0, n_rows, AT_ONCE))
    read = [row for part in parts for row in decoder.read(get(part))]
    rows = [row for row in read if not isinstance(row, str)]
    if not read:
        raise ValueError(f"{decoder.name} is empty")
    if not rows:
        raise ValueError(
            f"none of {len(read)} samples of {decoder.name} can be read; the first: {read[0]}"
        )
    return np.stack(rows)


def _sample(X: Any, i: int) -> Item:
    """A sample of a dataset, or the error that came in its place, which the decoder tells."""
    name = f"row {i}"
    try:
        return Item(name, X[i])
    except Exception as error:  # whatever a dataset of the user raises
        failed = ValueError(f"the dataset raised {type(error).__name__}: {error}")
        failed.__cause__ = error
        return Item(name, failed)


def _file(path: Any) -> Item:
    return Item(str(path), Path(path))


def _row_bytes(spec: InputSpec) -> int:
    return math.prod(spec.shape) * (1 if spec.is_image and spec.dtype == "uint8" else 4)


def _is_indexed(X: Any) -> bool:
    """Whether X is a map-style dataset, of torch or of the `datasets` library."""
    if isinstance(X, torch.utils.data.IterableDataset) or not hasattr(X, "__len__"):
        return False
    return isinstance(X, torch.utils.data.Dataset) or (
        hasattr(X, "column_names") and hasattr(X, "__getitem__") and not hasattr(X, "iloc")
    )


def _is_stream(X: Any) -> bool:
    """Whether X is an iterable that is no array, table, list or text."""
    plain = isinstance(X, list | tuple | set | dict | bytes | str | torch.Tensor | np.ndarray)
    array = hasattr(X, "__array__") or hasattr(X, "iloc") or hasattr(X, "toarray")
    return hasattr(X, "__iter__") and not plain and not array
