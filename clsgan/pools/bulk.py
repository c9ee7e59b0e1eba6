"""Predictions and features of shards of any size, written as they come, in several sittings."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from clsgan.inputs import from_nchw
from clsgan.pools.decoding import Item, RowDecoder
from clsgan.pools.tar_shards import read_shard
from clsgan.run_folder import check_parent, read_json, write_json

Array = npt.NDArray[Any]
ROWS = 1024  # images that are in memory at a time
HEADER = 128  # bytes before the numbers of an .npy file
COLUMNS = ("path", "class", "probability", "outlier_score")


def predict_shards(
    model: Any, names: Sequence[str], shards: list[Path], out: str | Path, progress: bool = False
) -> tuple[int, list[tuple[str, str]]]:
    """Write class, probability and outlier score of every image in shards to a CSV file.

    Rows are appended to a file beside `out`, which gets its name when all are written; a call that
    was stopped goes on where it stood. An image that cannot be read has a row without values.

    Parameters
    ----------
    model : CLSGANClassifier
        Fitted on images.
    names : sequence of str
        Of the classes.
    shards : list of Path
    out : path
    progress : bool
        Show a bar.

    Returns
    -------
    n_rows : int
    skipped : list of (name, reason)
        Images that could not be read in this call.

    Raises
    ------
    ValueError
        If a shard is damaged, or the model takes no images.
    FileExistsError
        If what lies beside `out` was begun with another model or other shards.

    Examples
    --------
    See ``clsgan predict``.
    """

    def lines(items: Sequence[Item], rows: Array, good: list[bool]) -> bytes:
        cells = [("", "", "")] * len(items)
        if any(good):
            probabilities, outliers = model.predict_proba(rows), model.outlier_score(rows)
            best = probabilities.argmax(axis=1)
            for j, i in enumerate(np.flatnonzero(good)):
                share, outlier = probabilities[j, best[j]], outliers[j]
                cells[i] = (names[best[j]], f"{share:.4f}", f"{outlier:.4f}")
        return _csv((item.name, *cell) for item, cell in zip(items, cells, strict=True))

    target = check_parent(out)
    partial = _begin(target, model, shards)
    with partial.open("r+b") as file:
        done = _whole_lines(file) - 1
        if done < 0:
            file.write(_csv([COLUMNS]))
            done = 0

        def write(items: Sequence[Item], rows: Array, good: list[bool]) -> None:
            _append(file, lines(items, rows, good))

        count, skipped = _each_batch(model, shards, done, write, progress)
    _finish(partial, target)
    return count, skipped


def feature_shards(
    model: Any, shards: list[Path], out: str | Path, progress: bool = False
) -> tuple[int, list[tuple[str, str]]]:
    """Write the features of every image in shards to an .npy file [N, F], float32.

    The names of the images are written, one a line, to a file beside it that ends in .names.txt.
    An image that cannot be read has a row of NaN. A call that was stopped goes on where it stood.

    Parameters
    ----------
    model, shards, out, progress : see `predict_shards`

    Returns
    -------
    n_rows : int
    skipped : list of (name, reason)

    Raises
    ------
    ValueError, FileExistsError
        As `predict_shards`.

    Examples
    --------
    See ``clsgan features``.
    """
    target = check_parent(out)
    partial, width = _begin(target, model, shards), len(model.get_feature_names_out())
    listing = _listing(target)
    listing.touch()
    with partial.open("r+b") as file, listing.open("r+b") as listed:
        done = min(max(_size(file) - HEADER, 0) // (4 * width), _whole_lines(listed))
        _whole_lines(listed, done)
        _write_header(file, done, width)
        file.truncate(HEADER + 4 * width * done)
        file.seek(0, os.SEEK_END)

        def write(items: Sequence[Item], rows: Array, good: list[bool]) -> None:
            features = np.full((len(items), width), np.nan, np.float32)
            if any(good):
                features[good] = model.transform(rows)
            _append(file, features.tobytes())
            _append(listed, "".join(f"{item.name}\n" for item in items).encode(*_ENCODING))

        count, skipped = _each_batch(model, shards, done, write, progress)
        _write_header(file, count, width)
    _rename(listing, target.with_name(f"{target.name}.names.txt"))
    _finish(partial, target)
    return count, skipped


def _each_batch(
    model: Any,
    shards: list[Path],
    done: int,
    write: Callable[[Sequence[Item], Array, list[bool]], None],
    progress: bool,
) -> tuple[int, list[tuple[str, str]]]:
    from tqdm import tqdm

    spec = model.spec_
    if not spec.is_image:
        raise ValueError("the model was fitted on rows [N, D]; it cannot read images")
    decoder = RowDecoder(spec, _refuse_arrays, "shards", on_error="skip")
    samples = islice(_samples(shards), done, None)
    with tqdm(initial=done, unit="image", disable=not progress) as bar:
        while items := list(islice(samples, ROWS)):
            read = decoder.read(items)
            good = [not isinstance(row, str) for row in read]
            rows = [row for row in read if not isinstance(row, str)]
            batch = from_nchw(np.stack(rows), spec.layout) if rows else np.empty(0)
            write(items, batch, good)
            done += len(items)
            bar.update(len(items))
    return done, list(decoder.skipped.items())


def _samples(shards: list[Path]) -> Iterator[Item]:
    for shard in shards:
        for item, _ in read_shard(shard):
            yield item


def _refuse_arrays(rows: Any) -> Array:
    raise ValueError("it is an array, and the model was asked for images")


def _begin(target: Path, model: Any, shards: list[Path]) -> Path:
    """The file to append to; beside it lies what it was begun with."""
    partial, notes = _beside(target)
    scores = [float(p.detach().double().sum()) for p in model.loss_network_.parameters()]
    sizes = [[str(path.resolve()), path.stat().st_size] for path in shards]
    begun = json.loads(json.dumps({"model": scores, "shards": sizes}))
    if partial.exists() and notes.exists():
        if read_json(notes) != begun:
            raise FileExistsError(
                f"{partial} was begun with another model or other shards; delete it to begin anew"
            )
        return partial
    partial.write_bytes(b"")
    _listing(target).unlink(missing_ok=True)
    write_json(notes, begun)
    return partial


def _finish(partial: Path, target: Path) -> None:
    _rename(partial, target)
    _beside(target)[1].unlink()


def _rename(partial: Path, target: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, target)


def _listing(target: Path) -> Path:
    return target.with_name(f"{target.name}.names.txt.partial")


def _beside(target: Path) -> tuple[Path, Path]:
    return target.with_name(f"{target.name}.partial"), target.with_name(f"{target.name}.begun")


def _append(file: BinaryIO, content: bytes) -> None:
    file.write(content)
    file.flush()


def _whole_lines(file: BinaryIO, most: int | None = None) -> int:
    """Count lines that end, cut off what comes behind them, and stand at the end."""
    file.seek(0)
    count = at = 0
    for line in file:
        if not line.endswith(b"\n") or count == most:
            break
        count, at = count + 1, at + len(line)
    file.truncate(at)
    file.seek(at)
    return count


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _write_header(file: BinaryIO, n_rows: int, width: int) -> None:
    """The head of an .npy file of format 1.0, always of the same length."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({n_rows}, {width}), }}"
    body = text.ljust(HEADER - 11).encode() + b"\n"  # 10 bytes come before it
    file.seek(0)
    file.write(b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body)
    file.flush()


def _csv(rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(*_ENCODING)


_ENCODING = ("utf-8", "surrogateescape")
