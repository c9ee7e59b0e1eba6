"""What can be asked of a finished run: its test again, the names of its classes, its samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clsgan import run_folder
from clsgan.config import load_recipe
from clsgan.estimator import CLSGANClassifier
from clsgan.evaluate import report
from clsgan.model_folder import DOCUMENT
from clsgan.pictures import sample_grid
from clsgan.replaced_folder import left_over
from clsgan.run_data import load_run_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES_PER_CLASS = 10


def evaluate_run(run: str | Path, images: str | Path | None = None) -> dict[str, Any]:
    """Test the model of a run again, on its own test rows or on a folder of images.

    Parameters
    ----------
    run : str or Path
        A run folder; with `images`, also one that ``model.save`` wrote.
    images : str or Path or None, default=None
        A folder with one sub-folder of images a class; None takes the test rows of the run.

    Returns
    -------
    dict
        As :func:`clsgan.evaluate.report`; on the run's own rows also ``stored_error`` and
        ``changed_predictions``, the number of rows whose predicted class is another one now.

    Raises
    ------
    FileNotFoundError
        The run folder or its data are not there, or the run was stopped before its test.
    ValueError
        The data are not those of the run, or the folder holds a model alone.

    Examples
    --------
    >>> from clsgan.finished_run import evaluate_run
    >>> evaluate_run("a-folder-that-is-new")
    Traceback (most recent call last):
    FileNotFoundError: there is no run folder a-folder-that-is-new
    """
    model = CLSGANClassifier.load(model_folder(run))
    names = class_names(run, model)
    if images is not None:
        from clsgan.photos import labelled_folder

        paths, y = labelled_folder(Path(images))
        return report(names, y, model.predict_proba(list(paths)))
    folder = Path(run).expanduser()
    if _is_model(folder):
        raise ValueError(f"{folder} holds a model and no test rows; give --images FOLDER")
    if not (folder / run_folder.PREDICTIONS).exists():
        raise FileNotFoundError(
            f"{folder} was stopped before its test: clsgan train RECIPE run={folder} resume=true "
            "goes on with it; --images FOLDER tests its model on other images"
        )
    data = load_run_data(load_recipe(folder / run_folder.CONFIG).data)
    stored = run_folder.read_arrays(folder / run_folder.PREDICTIONS)
    true = data.named(data.y_test)
    split_hash = str(run_folder.read_arrays(folder / run_folder.LABELS)["hash"])
    if split_hash != data.split_hash or not np.array_equal(stored["y"], true):
        raise ValueError(f"the data are not those of {folder}: other labeled or test rows")
    probabilities = model.predict_proba(data.x_test)
    changed = probabilities.argmax(axis=1) != stored["probabilities"].argmax(axis=1)
    return {
        **report(names, true, probabilities),
        "stored_error": run_folder.read_json(folder / run_folder.RESULTS)["error"],
        "changed_predictions": int(changed.sum()),
    }


def model_folder(run: str | Path) -> Path:
    """The model of a run, or the folder itself where ``model.save`` wrote it.

    Parameters
    ----------
    run : str or Path
        A run folder, or one that ``model.save`` wrote.

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        There is no such folder, or no model in it.
    ValueError
        The model of the run is a link.

    Examples
    --------
    >>> from clsgan.finished_run import model_folder
    >>> model_folder("a-folder-that-is-new")
    Traceback (most recent call last):
    FileNotFoundError: there is no run folder a-folder-that-is-new
    """
    folder = Path(run).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no run folder {folder}")
    if _is_model(folder):
        return folder
    model = folder / run_folder.MODEL
    if model.is_symlink():
        raise ValueError(f"{model} is a link; a run folder holds its model itself")
    if not model.is_dir() and left_over(model) is None:
        raise FileNotFoundError(
            f"{folder} holds no {model.name}: it is no run folder, or its run did not finish "
            f"(resume=true goes on with such a one), nor did model.save write it: no {DOCUMENT}"
        )
    return model


def _is_model(folder: Path) -> bool:
    return (folder / DOCUMENT).is_file()


def class_names(run: str | Path, model: CLSGANClassifier) -> list[str]:
    """What the classes of a run are called, in the order of ``model.classes_``.

    Parameters
    ----------
    run : str or Path
        A run folder, or one that ``model.save`` wrote: that has no names beside ``classes_``.
    model : CLSGANClassifier
        Its model.

    Returns
    -------
    list of str [K]

    Raises
    ------
    FileNotFoundError
        The folder holds no ``labels.npz``.
    ValueError
        It names another number of classes than the model has.

    Examples
    --------
    See `evaluate_run`.
    """
    folder = Path(run).expanduser()
    if _is_model(folder):
        return [str(name) for name in model.classes_]
    stored = run_folder.read_arrays(folder / run_folder.LABELS)
    if "class_names" not in stored:  # written by an earlier version
        stored = run_folder.read_arrays(folder / run_folder.PREDICTIONS)
    names: list[str] = stored["class_names"].tolist()
    if len(names) != len(model.classes_):
        raise ValueError(f"{run} names {len(names)} classes, its model has {len(model.classes_)}")
    return names


def sample_picture(
    model: CLSGANClassifier, names: list[str], per_class: int = SAMPLES_PER_CLASS, seed: int = 0
) -> Figure:
    """Grid of generated images, one class a column.

    Parameters
    ----------
    model : CLSGANClassifier
        Fitted on images, with a generator.
    names : list of str [K]
        What to call the classes, in the order of ``model.classes_``.
    per_class : int, default=10
        Images of each class.
    seed : int, default=0
        Seed of the draw.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The model has no generator, or was fitted on rows that are no images.

    Examples
    --------
    See `run_recipe`.
    """
    if model.image_shape_ is None:
        raise ValueError("the model was fitted on rows, not on images: there is nothing to draw")
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1, got {per_class}")
    images, _ = model.sample(
        per_class * len(names), y=np.repeat(model.classes_, per_class), random_state=seed
    )
    channels, height, width = model.image_shape_
    by_class = np.asarray(images).reshape(len(names), per_class, *np.shape(images)[1:])
    return sample_grid(by_class, names, (channels, height, width))
