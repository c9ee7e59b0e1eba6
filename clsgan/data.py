"""The image data sets: scikit-learn's digits, official files of others, any .npz."""

import http.client
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsgan.choices import one_of
from clsgan.data_files import Arrays, read_npz
from clsgan.data_sets import DATA_SETS, DataSet, prepare_command

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class ImageData:
    """A data set of images, or of rows, whole in memory.

    Attributes
    ----------
    name : str
        As it stands in tables; says so where the training rows are not all of the official ones.
    x_train, x_test : ndarray [N, H, W] or [N, H, W, C], uint8; or [N, F], float
    y_train, y_test : ndarray [N], int64
        Numbers into `class_names`; -1 in `y_train` marks unlabeled rows.
    class_names : tuple of str
    flip : bool
        Whether an image mirrored left to right is still of its class.

    Examples
    --------
    >>> data = load_data("digits")
    >>> data.x_train.shape, data.flip, data.class_names[:3]
    ((1297, 8, 8), False, ('0', '1', '2'))
    """

    name: str
    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]
    class_names: tuple[str, ...]
    flip: bool


def load_data(
    name: str, path: str | Path | None = None, root: str | Path | None = None
) -> ImageData:
    """Load a data set by name. Nothing is downloaded: that is what `prepare` does.

    Parameters
    ----------
    name : {"digits", "mnist", "fashion-mnist", "cifar10", "svhn", "npz"}
        ``npz``: any data set, from the file at `path`, and named after the file.
    path : str or Path, optional
        A .npz file with ``x_train, y_train, x_test, y_test`` (uint8 [N, H, W] or [N, H, W, C],
        with ``npz`` also floats [N, F]; integers from 0, or -1 in ``y_train`` for unlabeled
        rows) and, optionally, ``class_names``;
        or, for mnist, fashion-mnist and svhn, a folder with files of the official names and
        formats, of any content.
    root : str or Path, optional
        Folder in torchvision's layout; by default the environment variable ``CLSGAN_DATA`` or
        ``~/.cache/clsgan``. Fashion-MNIST is also found where Debian's package
        ``dataset-fashion-mnist`` installs it.

    Returns
    -------
    ImageData

    Raises
    ------
    ValueError
        If the name is unknown, or a file is corrupt or does not hold what it should.
    FileNotFoundError
        If the files are not there; the message has the line that downloads them.

    Notes
    -----
    ``digits`` are scikit-learn's 1,797, their values 0..16 rescaled to 0..255 and rounded; the 500
    test rows are drawn once for all, stratified over the classes. ``cifar10`` from a .npz with the
    first 40,000 official rows for training is named ``cifar10-40k``, and so on.

    Examples
    --------
    >>> load_data("digits").x_test.shape
    (500, 8, 8)
    """
    known = one_of("data set", name, DATA_SETS | {"npz": None})
    if path is not None:
        return _load_path(name, known, Path(path).expanduser())
    if known is None:
        raise ValueError("data set 'npz' needs the file: data.path=FILE.npz")
    folder = find_data(name, root)
    if folder is None:
        raise _absent(name, known, root)
    return _image_data(name, known, known.read(folder))


def find_data(name: str, root: str | Path | None = None) -> Path | None:
    """Where the official files of a data set lie; they are not opened.

    Parameters
    ----------
    name : {"digits", "mnist", "fashion-mnist", "cifar10", "svhn"}
    root : str or Path, optional
        As for `load_data`.

    Returns
    -------
    Path or None
        None where one of them is missing; the root for ``digits``, which need none.

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> find_data("svhn", root="nowhere") is None
    True
    """
    known = one_of("data set", name, DATA_SETS)
    folders = [_root(root) / known.folder]
    if name == "fashion-mnist":
        folders.append(DEBIAN_FASHION_MNIST)
    return next((folder for folder in folders if not _missing(known, folder)), None)


def prepare(name: str, root: str | Path | None = None) -> Path:
    """Download a data set's official files through torchvision, unless there, and check them.

    Parameters
    ----------
    name : {"digits", "mnist", "fashion-mnist", "cifar10", "svhn"}
        ``digits`` come with scikit-learn: nothing is downloaded.
    root : str or Path, optional
        As for `load_data`.

    Returns
    -------
    Path
        The root.

    Raises
    ------
    ValueError
        If the name is unknown, or a file that is there already is corrupt.
    ConnectionError
        If the download fails; the message names the files and the folder, to bring them by hand.

    Examples
    --------
    >>> prepare("digits", root="anywhere").name
    'anywhere'
    """
    known = one_of("data set", name, DATA_SETS)
    at = _root(root)
    if find_data(name, root) is None:
        at.mkdir(parents=True, exist_ok=True)
        _download(name, known, at)
    load_data(name, root=root)  # reads every file: a corrupt one is found now
    return at


def _download(name: str, known: DataSet, root: Path) -> None:
    from torchvision import datasets

    parts = [{"split": "train"}, {"split": "test"}] if name == "svhn" else [{}]
    try:
        for part in parts:
            getattr(datasets, str(known.torchvision_name))(str(root), download=True, **part)
    except (OSError, RuntimeError, http.client.HTTPException) as error:  # by mirror and by step
        raise ConnectionError(
            f"downloading {name} failed: {error}\nWithout a network, bring the official files "
            f"{', '.join(known.files)} (MNIST's may be .gz) into {root / known.folder}, or give "
            "the data as data.path=FILE.npz"
        ) from error


def _absent(name: str, known: DataSet, root: str | Path | None) -> FileNotFoundError:
    folder = _root(root) / known.folder
    return FileNotFoundError(
        f"{name} is not on this machine: {', '.join(_missing(known, folder))} not found in "
        f"{folder} (another root: data.root=FOLDER or the environment variable CLSGAN_DATA). "
        f"Download it with\n{prepare_command(name, root)}\nor give the data as data.path=FILE.npz"
    )


def _missing(known: DataSet, folder: Path) -> list[str]:
    def there(file: str) -> bool:
        return (folder / file).is_file() or (folder / f"{file}.gz").is_file()

    return [file for file in known.files if not there(file)]


def _load_path(name: str, known: DataSet | None, path: Path) -> ImageData:
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at data.path={path}")
    if path.is_dir():
        if known is None or known.read_any is None:
            raise ValueError(f"data set {name!r} is read from a .npz file, {path} is a folder")
        missing = _missing(known, path)
        if missing:
            raise FileNotFoundError(f"{', '.join(missing)} not found in {path}")
        return _image_data(name, known, known.read_any(path))
    arrays, class_names = read_npz(path)
    if known is not None:
        return _image_data(name, known, arrays)
    _check_arrays(arrays, str(path), rows_too=True)
    if class_names is None:
        class_names = tuple(map(str, range(_count_classes(arrays, str(path)))))
    _check_classes(arrays, len(class_names), str(path))
    x_train, y_train, x_test, y_test = arrays
    colour = x_train.ndim == 4 and x_train.shape[3] == 3
    y_train, y_test = y_train.astype(np.int64), y_test.astype(np.int64)
    return ImageData(path.stem, x_train, y_train, x_test, y_test, class_names, colour)


def _image_data(name: str, known: DataSet, arrays: Arrays) -> ImageData:
    where = f"data set {name!r}"
    _check_arrays(arrays, where)
    x_train, y_train, x_test, y_test = arrays
    if x_train.shape[1:] != known.image_shape:
        raise ValueError(
            f"{where} has images of shape {known.image_shape}, got {x_train.shape[1:]}"
        )
    _check_classes(arrays, len(known.class_names), where)
    n = len(x_train)
    short = f"{n // 1000}k" if n % 1000 == 0 else str(n)
    full_name = name if n == known.n_train else f"{name}-{short}"
    y_train, y_test = y_train.astype(np.int64), y_test.astype(np.int64)
    return ImageData(full_name, x_train, y_train, x_test, y_test, known.class_names, known.flip)


def _check_arrays(arrays: Arrays, where: str, rows_too: bool = False) -> None:
    """Raise ValueError unless shapes and types are those of a data set."""
    for part, x, y in (("train", *arrays[:2]), ("test", *arrays[2:])):
        are_images = x.dtype == np.uint8 and x.ndim in (3, 4)
        are_rows = rows_too and np.issubdtype(x.dtype, np.floating) and x.ndim == 2
        if not (are_images or are_rows) or 0 in x.shape:
            rows = ", or rows [N, F] of floats" if rows_too else ""
            raise ValueError(
                f"x_{part} of {where} must be uint8 images [N, H, W] or [N, H, W, C]{rows}, "
                f"got {x.dtype} of shape {x.shape}"
            )
        if x.ndim == 4 and x.shape[3] > 16 > x.shape[1]:
            raise ValueError(
                f"x_{part} of {where} has shape {x.shape}: channels stand first, they must "
                "stand last ([N, H, W, C])"
            )
        if not np.issubdtype(y.dtype, np.integer) or y.shape != x.shape[:1]:
            raise ValueError(
                f"y_{part} of {where} must be {len(x)} integers, one for each example, "
                f"got {y.dtype} of shape {y.shape}"
            )
    if arrays[0].shape[1:] != arrays[2].shape[1:]:
        raise ValueError(
            f"examples of {where} differ in shape: {arrays[0].shape[1:]} for training, "
            f"{arrays[2].shape[1:]} for testing"
        )


def _count_classes(arrays: Arrays, where: str) -> int:
    most = max(int(arrays[1].max()), int(arrays[3].max()))
    if most >= len(arrays[1]):
        raise ValueError(
            f"labels of {where} go up to {most} with {len(arrays[1])} training rows; number the "
            "classes from 0, or add class_names to the file"
        )
    return most + 1


def _check_classes(arrays: Arrays, n_classes: int, where: str) -> None:
    for part, y, lowest in (("train", arrays[1], -1), ("test", arrays[3], 0)):
        if y.min() < lowest or y.max() >= n_classes:
            raise ValueError(
                f"y_{part} of {where} must be in {lowest}..{n_classes - 1} (-1 marks an "
                f"unlabeled training row), got {y.min()}..{y.max()}"
            )


def _root(root: str | Path | None) -> Path:
    default = os.environ.get("CLSGAN_DATA") or "~/.cache/clsgan"
    return Path(root if root is not None else default).expanduser()
