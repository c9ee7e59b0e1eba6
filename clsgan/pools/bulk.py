"""Predictions and features of shards of any size, written as they come, in several sittings."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from clsgan.documents import to_json
from clsgan.inputs import from_nchw
from clsgan.pools.decoding import RowDecoder
from clsgan.pools.growing_file import GrowingFile
from clsgan.pools.samples import Item
from clsgan.pools.tar_shards import GIVEN_UP, read_shard
from clsgan.run_folder import check_parent
from clsgan.sources import tensor_to_array
from clsgan.training_data import check_predictable, read_like

Array = npt.NDArray[Any]
ROWS = 1024  # images that are in memory at a time
HEADER = 128  # bytes before the numbers of an .npy file
COLUMNS = ("path", "class", "probability", "outlier_score")


def predict_shards(
    model: Any, names: Sequence[str], shards: list[Path], out: str | Path, progress: bool = False
) -> tuple[int, list[tuple[str, str]]]:
    """Write class, probability and outlier score of every image in shards to a CSV file.

    Rows are appended to a file beside `out`, which gets its name when all are written; a call that
    was stopped goes on where it stood. An image that cannot be read has a row without values; of a
    shard that is damaged, what lies behind the damage has none.

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
        Images, and rests of shards, that could not be read in this call.

    Raises
    ------
    ValueError
        If no image can be read, or the model takes none.
    FileExistsError
        If what lies beside `out` was begun with another model or other shards.
    BlockingIOError
        If another call writes it.

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

    target, made_of = check_parent(out), _made_of(model, "classes", names, shards)
    with GrowingFile(target, made_of) as growing:
        with growing.partials[0].open("r+b") as file:
            done = _whole_lines(file) - 1
            if done < 0:
                file.write(_csv([COLUMNS]))
                done = 0

            def write(items: Sequence[Item], rows: Array, good: list[bool]) -> None:
                _append(file, lines(items, rows, good))

            count, skipped = _each_batch(model, shards, done, write, progress)
            file.seek(0)
            has_values = any(not line.endswith(b",,,\n") for line in islice(file, 1, None))
        _check_some(has_values, growing, count, skipped)
        growing.finish()
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
    ValueError, FileExistsError, BlockingIOError
        As `predict_shards`.

    Examples
    --------
    See ``clsgan features``.
    """
    target, width = check_parent(out), len(model.get_feature_names_out())
    made_of = _made_of(model, "features", [], shards)
    with GrowingFile(target, made_of, (".names.txt",)) as growing:
        partial, listing = growing.partials
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
            has_values = _has_numbers(file)
        _check_some(has_values, growing, count, skipped)
        growing.finish()
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

    def check(rows: Any) -> Array:
        images, _ = read_like(rows, spec, "it", model._check_rows)
        check_predictable(images, spec)
        return images

    decoder = RowDecoder(spec, check, "shards", on_error="skip")
    samples = islice(_samples(shards, decoder.skipped), done, None)
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


def _samples(shards: list[Path], damaged: dict[str, str]) -> Iterator[Item]:
    for shard in shards:
        for item, stop in read_shard(shard):
            if stop == GIVEN_UP:
                damaged[item.name] = str(item.content)
            else:
                yield item


def _made_of(model: Any, what: str, names: Sequence[str], shards: list[Path]) -> dict[str, Any]:
    """All that the rows of a file follow from, but for rounding."""
    if not model.spec_.is_image:
        raise ValueError("the model was fitted on rows [N, D]; it cannot read images")
    sizes = [[str(path.resolve()), path.stat().st_size] for path in shards]
    return {"what": what, "names": list(names), "model": _digest(model), "shards": sizes}


def _digest(model: Any) -> str:
    """The bytes of weights, buffers and units, and how the networks are built and asked."""
    network, units = model.loss_network_, model.units_
    arrays = {"offset": np.asarray(units.offset), "scale": np.asarray(units.scale)}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        arrays[f"network.{name}"] = tensor_to_array(tensor)
    told = [to_json(asdict(model.spec_)), to_json(model._design), str(model.precision_)]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _check_some(
    has_values: bool, growing: GrowingFile, count: int, skipped: list[tuple[str, str]]
) -> None:
    """Refuse a file of blank rows alone, which would pass for a result."""
    if has_values or not (count or skipped):
        return
    growing.discard()
    first = "".join(f"; the first, {name}: {reason}" for name, reason in skipped[:1])
    raise ValueError(f"none of {count} images in the shards can be read{first}")


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


def _has_numbers(file: BinaryIO) -> bool:
    """Whether a row of an .npy file is not of NaN."""
    file.seek(HEADER)
    chunks = iter(lambda: file.read(2**20), b"")
    return any(not np.isnan(np.frombuffer(chunk, "<f4")).all() for chunk in chunks)


def _csv(rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(*_ENCODING)


_ENCODING = ("utf-8", "surrogateescape")
