"""What is known of each data set that has a name."""

import functools
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clsgan.data_files import (
    CIFAR10_FILES,
    IDX_FILES,
    MAT_FILES,
    Arrays,
    read_cifar10,
    read_idx,
    read_svhn,
)


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set by its name.

    Attributes
    ----------
    read : callable
        (folder) -> arrays, from the official files alone.
    files : tuple of str
        What must lie in the folder, packed (.gz) or not; empty where no file is needed.
    folder : str
        Where torchvision keeps the files, below the root.
    torchvision_name : str or None
        The class of torchvision that downloads them.
    image_shape : tuple of int
    n_train : int
        Number of training rows in the published protocol.
    class_names : tuple of str
    flip : bool
    read_any : callable or None
        (folder) -> arrays, from any files of these names and formats.

    Examples
    --------
    >>> DATA_SETS["svhn"].files
    ('train_32x32.mat', 'test_32x32.mat')
    """

    read: Callable[[Path], Arrays]
    files: tuple[str, ...]
    folder: str
    torchvision_name: str | None
    image_shape: tuple[int, ...]
    n_train: int
    class_names: tuple[str, ...]
    flip: bool
    read_any: Callable[[Path], Arrays] | None = None


def prepare_command(name: str, root: str | Path | None = None) -> str:
    """The line that fetches a data set.

    Parameters
    ----------
    name : str
    root : str or Path, optional
        Where it is to lie, if not where it lies by default.

    Returns
    -------
    str

    Examples
    --------
    >>> prepare_command("svhn", "my data")
    "clsgan prepare svhn --root 'my data'"
    """
    return f"clsgan prepare {name}" + ("" if root is None else f" --root {shlex.quote(str(root))}")


def _read_digits(folder: Path) -> Arrays:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    x = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    rows = np.arange(len(x))
    train, test = train_test_split(rows, test_size=500, stratify=bunch.target, random_state=0)
    train, test = np.sort(train), np.sort(test)
    return x[train], bunch.target[train], x[test], bunch.target[test]


_TEN_DIGITS = tuple("0123456789")

DATA_SETS: dict[str, DataSet] = {
    "digits": DataSet(_read_digits, (), "", None, (8, 8), 1297, _TEN_DIGITS, flip=False),
    "mnist": DataSet(
        read=functools.partial(read_idx, official="MNIST"),
        read_any=functools.partial(read_idx, official=None),
        files=IDX_FILES,
        folder="MNIST/raw",
        torchvision_name="MNIST",
        image_shape=(28, 28),
        n_train=60_000,
        class_names=_TEN_DIGITS,
        flip=False,
    ),
    "fashion-mnist": DataSet(
        read=functools.partial(read_idx, official="FashionMNIST"),
        read_any=functools.partial(read_idx, official=None),
        files=IDX_FILES,
        folder="FashionMNIST/raw",
        torchvision_name="FashionMNIST",
        image_shape=(28, 28),
        n_train=60_000,
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        flip=True,
    ),
    "cifar10": DataSet(
        read=read_cifar10,
        files=CIFAR10_FILES,
        folder="cifar-10-batches-py",
        torchvision_name="CIFAR10",
        image_shape=(32, 32, 3),
        n_train=50_000,
        class_names=(
            *("airplane", "automobile", "bird", "cat", "deer"),
            *("dog", "frog", "horse", "ship", "truck"),
        ),
        flip=True,
    ),
    "svhn": DataSet(
        read=functools.partial(read_svhn, official=True),
        read_any=functools.partial(read_svhn, official=False),
        files=MAT_FILES,
        folder="",
        torchvision_name="SVHN",
        image_shape=(32, 32, 3),
        n_train=73_257,
        class_names=_TEN_DIGITS,
        flip=False,
    ),
}
