"""The rows of one run: labeled, unlabeled and test rows of a recipe, split by its seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from clsgan.config import DataConfig
from clsgan.data import load_data
from clsgan.pools.tar_shards import find_shards
from clsgan.sources import Unlabeled
from clsgan.splits import split_hash, split_labels, split_name

TEST_SHARE = 0.2  # of the labeled images of a folder, when the recipe names no test folder


@dataclass(frozen=True)
class RunData:
    """What a run trains and tests on.

    Attributes
    ----------
    x_lab, x_unlab, x_test : array [N, ...] or list of Path
        Labeled, unlabeled (None where there is none) and test rows.
    y_lab, y_test : array [N]
        Their classes.
    pool : str or None
        Further unlabeled rows that stay on disk: a folder, shards or an .npy file.
    class_names : dict
        What to call each class, by class.
    labeled_rows : array of int64 [n_labels]
        Where the labeled rows stand in the training rows.
    split, split_hash : str
        Name of the split, and hash of ``labeled_rows``.
    flip : bool or None
        Whether mirror images keep their class; None where the data do not say.
    layout : {"NHW", "NHWC"} or None
        Order of the axes of arrays; None for paths.
    notes : tuple of str
        What the reader of the result must know about how it was split.

    Examples
    --------
    See `load_run_data`.
    """

    x_lab: Any
    y_lab: npt.NDArray[Any]
    x_unlab: Any
    x_test: Any
    y_test: npt.NDArray[Any]
    class_names: dict[Any, str]
    labeled_rows: npt.NDArray[np.int64]
    split: str
    split_hash: str
    flip: bool | None = None
    layout: str | None = None
    notes: tuple[str, ...] = ()
    pool: str | None = None

    @property
    def unlabeled(self) -> Any:
        """All unlabeled rows, as `fit` takes them."""
        if self.pool is None:
            return self.x_unlab
        return self.pool if self.x_unlab is None else Unlabeled(self.x_unlab, self.pool)

    def named(self, y: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
        """What the classes ``y`` [N] are called."""
        return np.array([self.class_names[label] for label in y.tolist()])


def load_run_data(config: DataConfig) -> RunData:
    """Load the data of a recipe and draw its labeled rows.

    Parameters
    ----------
    config : DataConfig
        ``name`` is ``folder`` or what :func:`clsgan.data.load_data` takes.

    Returns
    -------
    RunData

    Raises
    ------
    ValueError
        The data set is unknown, or cannot be split as asked.
    FileNotFoundError
        Its files are not there.

    Examples
    --------
    >>> from clsgan.config import DataConfig
    >>> from clsgan.run_data import load_run_data
    >>> data = load_run_data(DataConfig(name="digits", labels=100, seed=3))
    >>> data.split, len(data.x_lab), sorted(set(data.y_lab.tolist()))
    ('digits.seed3@100', 100, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    return _folder_data(config) if config.name == "folder" else _array_data(config)


def _array_data(config: DataConfig) -> RunData:
    if config.test is not None:
        raise ValueError(f"data.test belongs to data.name=folder, not to {config.name!r}")
    pool = _pool(config)
    images = load_data(config.name, path=config.path, root=config.root)
    rows, split = _draw(images.y_train, images.name, config)
    rest = np.delete(np.arange(len(images.y_train)), rows)
    return RunData(
        x_lab=images.x_train[rows],
        y_lab=images.y_train[rows],
        x_unlab=images.x_train[rest] if len(rest) else None,
        x_test=images.x_test,
        y_test=images.y_test,
        class_names=dict(enumerate(images.class_names)),
        labeled_rows=rows,
        split=split,
        split_hash=split_hash(rows),
        flip=images.flip if images.x_train.ndim > 2 else None,
        layout={2: None, 3: "NHW", 4: "NHWC"}[images.x_train.ndim],
        pool=pool,
    )


def _folder_data(config: DataConfig) -> RunData:
    from clsgan.photos import labelled_folder

    if config.path is None:
        raise ValueError("data.name=folder needs data.path=FOLDER, a folder of class sub-folders")
    paths, names = labelled_folder(Path(config.path))
    y = np.asarray(names)
    pool = _pool(config)
    train, x_test, y_test, notes = _hold_out(paths, y, config)
    index = np.unique(y[train], return_inverse=True)[1]
    rows, split = _draw(index, Path(config.path).name, config)
    rest = np.setdiff1d(np.arange(len(train)), rows)
    return RunData(
        x_lab=[paths[i] for i in train[rows]],
        y_lab=y[train[rows]],
        x_unlab=[paths[i] for i in train[rest]] or None,
        x_test=x_test,
        y_test=y_test,
        class_names={str(name): str(name) for name in np.unique(y[train])},
        labeled_rows=rows,
        split=split,
        split_hash=split_hash(rows),
        notes=notes,
        pool=pool,
    )


def _pool(config: DataConfig) -> str | None:
    """Where further unlabeled rows lie; that something is there is told before anything runs."""
    if config.unlabeled is None:
        return None
    found = find_shards(config.unlabeled)  # a pattern names no file
    if not found and not Path(config.unlabeled).exists():
        raise FileNotFoundError(f"there is no data.unlabeled={config.unlabeled}")
    if not found and not Path(config.unlabeled).is_dir() and not config.unlabeled.endswith(".npy"):
        raise ValueError(
            f"data.unlabeled={config.unlabeled} is none of a folder of images, .tar shards and an "
            ".npy file"
        )
    return config.unlabeled


def _draw(y: npt.NDArray[Any], name: str, config: DataConfig) -> tuple[npt.NDArray[np.int64], str]:
    count = int(np.sum(y != -1)) if config.labels is None else config.labels
    return split_labels(y, count, config.seed), split_name(name, config.seed, count)


def _hold_out(
    paths: Sequence[Path], y: npt.NDArray[Any], config: DataConfig
) -> tuple[npt.NDArray[np.int64], list[Path], npt.NDArray[Any], tuple[str, ...]]:
    """Training rows, test paths, test classes, and a note where they were cut from one folder."""
    from clsgan.photos import labelled_folder

    everything = np.arange(len(paths), dtype=np.int64)
    if config.test is not None:
        test_paths, test_names = labelled_folder(Path(config.test))
        return everything, list(test_paths), np.asarray(test_names), ()
    try:
        train, test = train_test_split(
            everything, test_size=TEST_SHARE, stratify=y, random_state=config.seed
        )
    except ValueError as error:
        raise ValueError(
            f"{TEST_SHARE:.0%} of {config.path} cannot be held out for testing ({error}); add "
            "images, or give data.test=FOLDER"
        ) from error
    train, test = np.sort(train), np.sort(test)
    note = f"tested on {len(test)} images held out of {config.path}, {TEST_SHARE:.0%} of each class"
    return train, [paths[i] for i in test], y[test], (note,)
