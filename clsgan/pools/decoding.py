"""From what a pool holds (files, bytes, pictures, arrays) to rows in the form of training rows."""

import io
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from clsgan.choices import one_of
from clsgan.image_files import fit_pixels, pixel_values, read_pixels
from clsgan.inputs import InputSpec
from clsgan.pools.samples import Item, content_of, is_picture
from clsgan.sources import tensor_to_array

Array = npt.NDArray[Any]
CheckArray = Callable[[Any], Array]
NPY = b"\x93NUMPY"
MOST_LISTED = 10_000


class RowDecoder:
    """Turns samples into rows, each once for every use.

    Image files and pictures are turned upright, cut, resized and brought to the values of the
    training images; arrays must have their shape and scale. Opened pictures keep their values where
    the training images are bytes too; those of more than 8 bits are arrays where they are not.

    Parameters
    ----------
    spec : InputSpec
        Of the training rows.
    check : callable
        Batch of arrays of the user -> rows [B, C, H, W] or [B, D], checked.
    name : str
        For messages.
    on_error : {"raise", "skip"}
        "skip" puts another row of the batch in the place of one that cannot be read, and keeps the
        reason.

    Attributes
    ----------
    skipped : dict of str to str
        Reasons by sample, of the first 10,000.

    Examples
    --------
    >>> from PIL import Image
    >>> spec = InputSpec((1, 4, 4), "NHW", "uint8", 0.0, 255.0)
    >>> decoder = RowDecoder(spec, np.asarray, "X_unlab")
    >>> decoder.rows([Item("a", Image.new("RGB", (9, 9), "white"))]).max()
    np.uint8(255)
    """

    def __init__(
        self, spec: InputSpec, check: CheckArray, name: str, on_error: str = "raise"
    ) -> None:
        self.skip = one_of("on_error", on_error, {"raise": False, "skip": True})
        self.spec, self.check, self.name = spec, check, name
        self.skipped: dict[str, str] = {}
        self.last: Array | None = None
        self.threads: ThreadPoolExecutor | None = None

    def array_rows(self, array: Array, numbers: Iterable[int]) -> Array:
        """Rows [B, C, H, W] or [B, D] of an array [B, ...], whose rows have these numbers."""
        try:
            return self.check(array)
        except ValueError:
            if not self.skip:
                raise
        return self.rows([Item(f"row {i}", x) for i, x in zip(numbers, array, strict=True)])

    def rows(self, items: Sequence[Item]) -> Array:
        """Rows [B, C, H, W] or [B, D] of samples."""
        read = self.read(items)
        self.last = next((row for row in read if not isinstance(row, str)), self.last)
        if self.last is None:
            raise ValueError(
                f"none of {len(items)} samples of {self.name} can be read; the first, "
                f"{items[0].name}: {read[0]}"
            )
        return np.stack([self.last if isinstance(row, str) else row for row in read])

    def read(self, items: Sequence[Item]) -> list[Array | str]:
        """The row of each sample [C, H, W] or [D], or why it could not be read."""
        checked = self._at_once(items)
        if checked is not None:
            return list(checked)
        encoded = (bytes, Path, Mapping)
        in_files = any(isinstance(item.content, encoded) for item in items)
        results: list[Array | str] = []
        tried = self._pool().map(self._try, items) if in_files else map(self._try, items)
        for item, result in zip(items, tried, strict=True):
            if isinstance(result, Exception):
                if not self.skip:
                    raise ValueError(f"{self.name}: {item.name}: {result}") from result
                if len(self.skipped) < MOST_LISTED or item.name in self.skipped:
                    self.skipped[item.name] = str(result)
                results.append(str(result))
            else:
                results.append(result)
        return results

    def _at_once(self, items: Sequence[Item]) -> Array | None:
        """Rows of samples that are arrays of one kind; None where one is not, or does not fit."""
        arrays: list[Array] = []
        try:
            for item in items:
                content = content_of(item.content)
                if is_picture(content):
                    return None
                arrays.append(_as_array(content))
            kinds = {(array.shape, array.dtype) for array in arrays}
            return self.check(np.stack(arrays)) if len(kinds) == 1 else None
        except ValueError:  # one by one, it is told which
            return None

    def _pool(self) -> ThreadPoolExecutor:
        if self.threads is None:
            self.threads = ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1))
        return self.threads

    def _try(self, item: Item) -> Array | Exception:
        try:
            return self._row(item)
        except (OSError, ValueError) as error:
            return error

    def _row(self, item: Item) -> Array:
        content = content_of(item.content)
        if isinstance(content, bytes) and content.startswith(NPY):
            content = read_npy(content)
        if self._is_of_numbers(content):
            content = pixel_values(content)
        if is_picture(content):
            return self._picture(item.name, content)
        row: Array = self.check(_as_array(content)[None])[0]
        return row

    def _is_of_numbers(self, content: Any) -> bool:
        """Whether an opened picture is taken as an array: it is none that a file of bytes holds."""
        if not hasattr(content, "getbands") or not self.spec.is_image:
            return False
        deep = content.mode == "F" or content.mode.startswith("I")
        return self.spec.shape[0] not in (1, 3) or (deep and self.spec.dtype != "uint8")

    def _picture(self, name: str, content: Any) -> Array:
        if not self.spec.is_image:
            raise ValueError(f"{name} is an image, but the training X held rows [N, D]")
        channels, height, width = self.spec.shape
        if channels not in (1, 3):
            raise ValueError(f"images in files have 1 or 3 channels, X has {channels}")
        shape = (height, width, channels)
        if hasattr(content, "getbands"):
            pixels = fit_pixels(content, shape)
            if self.spec.dtype == "uint8":
                return pixels.transpose(2, 0, 1)
        elif isinstance(content, bytes):
            pixels = read_pixels(name, shape, content)
        else:
            pixels = read_pixels(Path(content), shape)
        low, high = self.spec.low, self.spec.high
        image = pixels.transpose(2, 0, 1)
        if (low, high) == (0.0, 255.0):
            return image
        return (low + (high - low) / 255 * image).astype(np.float32)


def read_npy(content: bytes) -> Array:
    """An array of the bytes of an .npy file; nothing is allocated that they do not hold.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If it is truncated, declares more than it holds, or holds objects.

    Examples
    --------
    >>> buffer = io.BytesIO()
    >>> np.save(buffer, np.arange(3))
    >>> read_npy(buffer.getvalue())
    array([0, 1, 2])
    """
    file = io.BytesIO(content)
    try:
        shape, in_columns, dtype = _read_header(file)
    except _HEADER_ERRORS as error:
        raise ValueError(f"its .npy header cannot be read: {error!r}"[:200]) from error
    count = math.prod(map(int, shape))
    if dtype.kind not in "biuf" or min(shape, default=0) < 0:
        raise ValueError(f"it holds {dtype}, no numbers")
    if count * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"it declares {count} numbers and holds another count")
    flat = np.frombuffer(content, dtype, count, file.tell())
    return flat.reshape(shape, order="F" if in_columns else "C")


def _as_array(content: Any) -> Array:
    return tensor_to_array(content) if isinstance(content, Tensor) else np.asarray(content)


def _read_header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"it is of version {version}")
    return readers[version](file)


# what numpy raises on a header that is no dict of its kind, from the parser of Python on
_HEADER_ERRORS = (
    *(ValueError, TypeError, KeyError, SyntaxError, TokenError),
    *(OverflowError, RecursionError, MemoryError),
)
