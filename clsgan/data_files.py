"""Files of data sets: official ones, their checksums taken from torchvision, and .npz."""

import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]
NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
IDX_FILES = tuple(
    f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
)
_MAT_ERRORS = (
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    TypeError,
    NotImplementedError,
    IndexError,
)
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, RuntimeError)  # of zipfile, on damage
MAT_FILES = ("train_32x32.mat", "test_32x32.mat")
CIFAR10_FILES = ("batches.meta", *(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


WRONG_MD5 = "its MD5 sum is not that of the official file"

_CONTENT_MD5 = {
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    }
}


def read_idx(folder: Path, official: str | None) -> Arrays:
    """Read the four files of MNIST or of a data set in its format, packed (.gz) or not.

    Parameters
    ----------
    folder : Path
    official : {"MNIST", "FashionMNIST"} or None
        torchvision's class whose MD5 sums the packed files must have; they are preferred then.
        Fashion-MNIST packed anew, as Debian does, and unpacked is known by its content.

    Returns
    -------
    x_train, y_train, x_test, y_test : ndarray
        uint8 [N, H, W] and int64 [N].

    Raises
    ------
    ValueError
        If a file is corrupt.

    Examples
    --------
    >>> IDX_FILES[0]
    'train-images-idx3-ubyte'
    """
    from torchvision import datasets
    from torchvision.datasets.mnist import read_image_file, read_label_file

    sums = dict(getattr(datasets, official).resources) if official else {}
    arrays = []
    for file in IDX_FILES:
        packed, plain = folder / f"{file}.gz", folder / file
        path = packed if packed.is_file() and (official or not plain.is_file()) else plain
        read = read_image_file if "images" in file else read_label_file
        allowed = {sums.get(path.name), _CONTENT_MD5.get(official or "", {}).get(file)} - {None}
        arrays.append(_read_idx_file(path, read, allowed))
    return arrays[0], arrays[1], arrays[2], arrays[3]


def _read_idx_file(
    path: Path, read: Callable[[str], Any], allowed_md5: set[str | None]
) -> NDArray[Any]:
    from torchvision.datasets.utils import calculate_md5

    with tempfile.TemporaryDirectory() as folder:
        plain = path
        try:
            if path.suffix == ".gz":
                plain = Path(folder) / path.stem
                with gzip.open(path) as packed, plain.open("wb") as target:
                    shutil.copyfileobj(packed, target)
            sums = {calculate_md5(path), calculate_md5(plain)} if allowed_md5 else set()
            array: NDArray[Any] = read(str(plain)).numpy()
        except (OSError, EOFError, zlib.error, RuntimeError, ValueError, TypeError) as error:
            raise corrupt(path, error) from error
        except (AssertionError, KeyError) as error:  # torchvision's checks of the header
            raise corrupt(path, "no idx file") from error
    if allowed_md5 and not allowed_md5 & sums:
        raise corrupt(path, WRONG_MD5)
    return array


def read_svhn(folder: Path, official: bool) -> Arrays:
    """Read SVHN's cropped digits; label 10 stands for digit 0.

    Parameters
    ----------
    folder : Path
    official : bool
        Whether the files must have the official MD5 sums.

    Returns
    -------
    x_train, y_train, x_test, y_test : ndarray
        uint8 [N, 32, 32, 3] and int64 [N].

    Raises
    ------
    ValueError
        If a file is corrupt, or not in the layout of SVHN (X: [32, 32, 3, N], y: [N, 1]).

    Examples
    --------
    >>> MAT_FILES
    ('train_32x32.mat', 'test_32x32.mat')
    """
    import scipy.io
    from torchvision.datasets import SVHN

    arrays = []
    for file in MAT_FILES:
        path = folder / file
        check_md5(path, SVHN.split_list[file.split("_")[0]][2] if official else None)
        try:
            content = scipy.io.loadmat(path)
            x, y = content["X"], content["y"].reshape(-1).astype(np.int64)
        except (*_MAT_ERRORS, scipy.io.matlab.MatReadError) as error:
            raise corrupt(path, error) from error
        except KeyError as error:
            raise corrupt(path, f"no {error} in it") from error
        if x.ndim != 4 or x.shape[3] != len(y):
            raise corrupt(path, f"X of shape {x.shape} and {len(y)} labels")
        arrays += [np.ascontiguousarray(x.transpose(3, 0, 1, 2)), np.where(y == 10, 0, y)]
    return arrays[0], arrays[1], arrays[2], arrays[3]


def read_cifar10(folder: Path) -> Arrays:
    """Read CIFAR-10's batches through torchvision, which checks their MD5 sums before unpickling.

    Parameters
    ----------
    folder : Path
        ``cifar-10-batches-py``.

    Returns
    -------
    x_train, y_train, x_test, y_test : ndarray
        uint8 [N, 32, 32, 3] and int64 [N].

    Raises
    ------
    ValueError
        If a file is not the official one.

    Examples
    --------
    >>> CIFAR10_FILES[1]
    'data_batch_1'
    """
    from torchvision.datasets import CIFAR10

    try:
        parts = [CIFAR10(str(folder.parent), train=train) for train in (True, False)]
    except RuntimeError as error:
        raise corrupt(folder, "a file is not the official one (MD5)") from error
    train, test = ((part.data, np.asarray(part.targets, dtype=np.int64)) for part in parts)
    return *train, *test


def check_md5(path: Path, md5: str | None) -> None:
    """Check a file against its MD5 sum.

    Parameters
    ----------
    path : Path
    md5 : str or None
        None: nothing to check.

    Raises
    ------
    ValueError
        If the sum is another.

    Examples
    --------
    >>> check_md5(Path("anything"), None)
    """
    from torchvision.datasets.utils import check_integrity

    if md5 is not None and not check_integrity(path, md5):
        raise corrupt(path, WRONG_MD5)


def corrupt(path: Path, reason: object) -> ValueError:
    """Build the error for a file that is there but of no use.

    Parameters
    ----------
    path : Path
    reason : object

    Returns
    -------
    ValueError

    Examples
    --------
    >>> str(corrupt(Path("a.gz"), "too short"))
    'a.gz is corrupt or of another kind: too short; delete it and bring it anew'
    """
    return ValueError(
        f"{path} is corrupt or of another kind: {reason}; delete it and bring it anew"
    )


def read_npz(path: Path) -> tuple[Arrays, tuple[str, ...] | None]:
    """Read a data set from a .npz file; nothing pickled is read.

    Parameters
    ----------
    path : Path
        Holds x_train, y_train, x_test, y_test and, optionally, class_names; other keys are ignored.

    Returns
    -------
    arrays : tuple of ndarray
        As they stand in the file.
    class_names : tuple of str or None

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If it is no .npz file, a key is missing or an array is pickled.

    Examples
    --------
    >>> read_npz(Path("nowhere.npz"))
    Traceback (most recent call last):
    FileNotFoundError: no file at nowhere.npz
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise ValueError("one bare array")
        with content:
            missing = [key for key in NPZ_KEYS if key not in content]
            if missing:
                raise ValueError(f"it lacks {missing} of {list(NPZ_KEYS)}, has {content.files}")
            x_train, y_train, x_test, y_test = (content[key] for key in NPZ_KEYS)
            names = content["class_names"].tolist() if "class_names" in content else None
    except (*_ZIP_ERRORS, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a data set: {error}") from error
    return (x_train, y_train, x_test, y_test), tuple(map(str, names)) if names else None
