"""Image files: finding them in folders, reading them into one array of equal sizes."""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from clsgan.choices import one_of
from clsgan.image_files import read_header, read_pixels
from clsgan.pools.folder_index import SUFFIXES, walk_images

AUTO_SIZE_CAP = 96  # pixels

ImagePath = str | os.PathLike[str]
T = TypeVar("T")
_log = logging.getLogger(__name__)


def find_images(folder: ImagePath) -> list[Path]:
    """Find the image files in a folder and its sub-folders, by suffix.

    Parameters
    ----------
    folder : str or Path
        Names that begin with a dot are passed over.

    Returns
    -------
    list of Path
        Sorted by the path below the folder.

    Raises
    ------
    FileNotFoundError
        If the folder is not there.
    NotADirectoryError
        If it is a file.
    ValueError
        If there is no image in it.

    Examples
    --------
    >>> find_images("nowhere")
    Traceback (most recent call last):
    FileNotFoundError: no folder at nowhere
    """
    folder = _existing_folder(folder)
    paths = _images_below(folder)
    if not paths:
        raise ValueError(f"no image in {folder} (looked for {' '.join(sorted(SUFFIXES))})")
    return paths


def labelled_folder(folder: ImagePath) -> tuple[list[Path], NDArray[np.str_]]:
    """Find the images of a folder that has one sub-folder for each class.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    paths : list of Path
        Sorted by class, then by path.
    labels : ndarray [N] of str
        Name of the sub-folder of each image.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        As in `find_images`.
    ValueError
        If there is no sub-folder, one of them has no image, or images lie beside them.

    Examples
    --------
    >>> labelled_folder("nowhere")
    Traceback (most recent call last):
    FileNotFoundError: no folder at nowhere
    """
    folder = _existing_folder(folder)
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    classes = [entry for entry in entries if entry.is_dir()]
    if not classes:
        raise ValueError(f"{folder} has no sub-folders; labeled images lie in one for each class")
    loose = [entry.name for entry in entries if _is_image(entry)]
    if loose:
        raise ValueError(
            f"{len(loose)} images lie beside the class sub-folders of {folder} ({loose[0]}, ...); "
            "move unlabeled images into a folder of their own"
        )
    found = {entry.name: _images_below(entry) for entry in classes}
    empty = [name for name, paths in found.items() if not paths]
    if empty:
        raise ValueError(f"no image in the class sub-folders {empty} of {folder}")
    labels = np.repeat(list(found), [len(paths) for paths in found.values()])
    return [path for paths in found.values() for path in paths], labels


def _existing_folder(folder: ImagePath) -> Path:
    path = Path(folder)
    if not path.exists():
        raise FileNotFoundError(f"no folder at {path}")
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is a file, a folder of images is expected")
    return path


def _images_below(folder: Path) -> list[Path]:
    return [folder / name for name in walk_images(folder)]


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


@overload
def read_images(
    paths: Sequence[ImagePath],
    image_size: int | tuple[int, int] | Literal["auto"] = ...,
    channels: Literal["auto", 1, 3] = ...,
    on_error: Literal["raise"] = ...,
) -> NDArray[np.uint8]: ...


@overload
def read_images(
    paths: Sequence[ImagePath],
    image_size: int | tuple[int, int] | Literal["auto"] = ...,
    channels: Literal["auto", 1, 3] = ...,
    *,
    on_error: Literal["skip"],
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[tuple[Path, str]]]: ...


def read_images(
    paths: Sequence[ImagePath],
    image_size: int | tuple[int, int] | Literal["auto"] = "auto",
    channels: Literal["auto", 1, 3] = "auto",
    on_error: Literal["raise", "skip"] = "raise",
) -> Any:
    """Read image files of any size into one array.

    Each is turned upright by its EXIF tag, cut to the middle part of the shape wanted, and resized
    with antialiasing. Transparent parts become white; 16-bit grey keeps its upper 8 bits; of an
    animation the first frame is taken. Files are read by a few threads.

    Parameters
    ----------
    paths : sequence of str or Path
    image_size : int, (height, width) or "auto"
        In pixels. "auto": a square as long as the median of the shorter sides, at most 96, rounded
        down to a multiple of 8, at least 8; the choice is logged.
    channels : {"auto", 1, 3}
        "auto": 1 if all files are grey by their headers, else 3.
    on_error : {"raise", "skip"}
        What to do where a file is missing, corrupt, no image, or larger than Pillow's limit against
        decompression bombs (``PIL.Image.MAX_IMAGE_PIXELS``).

    Returns
    -------
    images : ndarray [N, H, W, C], uint8
    kept : ndarray [N], int64
        With ``on_error="skip"`` only: which of the paths were read.
    skipped : list of (Path, str)
        With ``on_error="skip"`` only: the others, with the reasons.

    Raises
    ------
    FileNotFoundError
        If a file is missing (the first of them is named).
    ValueError
        If a file cannot be read, `paths` is empty, none is left, or an option is invalid.

    Examples
    --------
    >>> read_images(["nowhere.jpg"])
    Traceback (most recent call last):
    FileNotFoundError: no image at nowhere.jpg
    """
    skip = one_of("on_error", on_error, {"raise": False, "skip": True})
    size, n_channels = _check_size(image_size), _check_channels(channels)
    if isinstance(paths, str | os.PathLike):
        raise ValueError(f"a sequence of paths is expected, got one: {paths}; see find_images")
    files = dict(enumerate(map(Path, paths)))
    if not files:
        raise ValueError("paths is empty: no image to read")
    failed: dict[int, Exception] = {}
    headers = _each(lambda _, path: read_header(path), files, failed, skip)
    size = size or _auto_size([shorter for shorter, _ in headers.values()])
    n_channels = n_channels or (1 if all(grey for _, grey in headers.values()) else 3)
    images = np.empty((len(files), *size, n_channels), dtype=np.uint8)

    def read(i: int, path: Path) -> None:
        images[i] = read_pixels(path, images.shape[1:])

    kept = np.array(list(_each(read, {i: files[i] for i in headers}, failed, skip)), dtype=np.int64)
    if len(kept) == 0:
        raise ValueError(f"none of {len(files)} files can be read; the first: {failed[0]}")
    if not skip:
        return images
    return images[kept], kept, [(files[i], str(failed[i])) for i in sorted(failed)]


def _each(
    read: Callable[[int, Path], T],
    files: dict[int, Path],
    failed: dict[int, Exception],
    skip: bool,
) -> dict[int, T]:
    """Call `read` for each file in threads; errors go to `failed`, or the first one is raised."""
    results: dict[int, T] = {}

    def attempt(item: tuple[int, Path]) -> T | _Failure:
        try:
            return read(*item)
        except (FileNotFoundError, ValueError) as error:
            return _Failure(error)

    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:
        for i, result in zip(files, pool.map(attempt, files.items()), strict=True):
            if not isinstance(result, _Failure):
                results[i] = result
            elif skip:
                failed[i] = result.error
            else:
                pool.shutdown(wait=False, cancel_futures=True)
                raise result.error
    return results


class _Failure(NamedTuple):
    error: Exception


def _check_size(image_size: object) -> tuple[int, int] | None:
    if isinstance(image_size, str) and image_size == "auto":
        return None
    pair = image_size if isinstance(image_size, Sequence) else (image_size, image_size)
    sides = [int(side) for side in pair if isinstance(side, Integral)]
    if isinstance(image_size, str) or len(pair) != 2 or len(sides) != 2 or min(sides) < 1:
        raise ValueError(
            f"image_size={image_size!r} is not valid; give 'auto', a number of pixels, "
            "or (height, width)"
        )
    return sides[0], sides[1]


def _check_channels(channels: object) -> int | None:
    if channels not in ("auto", 1, 3):
        raise ValueError(f"channels={channels!r} is not valid; give 'auto', 1 or 3")
    return None if channels == "auto" else int(str(channels))


def _auto_size(shorter_sides: list[int]) -> tuple[int, int]:
    if not shorter_sides:
        return 8, 8
    median = float(np.median(shorter_sides))
    side = max(int(min(median, AUTO_SIZE_CAP)) // 8 * 8, 8)
    _log.info(
        "images are resized to %d x %d (median of the shorter sides: %g pixels); "
        "another size: image_size=",
        *(side, side, median),
    )
    return side, side
