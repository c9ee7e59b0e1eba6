"""From a recipe to a run folder: load, split, fit, evaluate, hold against baselines, write."""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from clsgan import run_folder
from clsgan.baselines import check_baselines, fit_before_test, run_baseline
from clsgan.choices import is_auto
from clsgan.config import RecipeConfig
from clsgan.devices import choose_device, make_fabric
from clsgan.doctor import machine, peak_memory_mb, versions
from clsgan.estimator import CLSGANClassifier
from clsgan.evaluate import report
from clsgan.finished_run import sample_picture
from clsgan.folder_lock import FolderLock
from clsgan.networks import SmallLossNetwork
from clsgan.pictures import confusion_picture, png_bytes
from clsgan.processes import from_first, gathered, place
from clsgan.resumed_run import CHECKPOINT, forget_unstarted, open_run_folder, remove_old_log
from clsgan.run_data import RunData, load_run_data


def run_recipe(config: RecipeConfig, verbose: int = 1) -> dict[str, Any]:
    """Train, test and document one run.

    The run folder gets ``config.yaml`` (itself a recipe), ``labels.npz``, ``metrics.jsonl``,
    ``tensorboard/``, ``model/``, ``test_predictions.npz``, ``samples.png``, ``confusion.png`` and
    ``results.json``, which is written as soon as the model is tested, and again after each
    baseline. Test rows are used once, after training.

    Under a launcher such as torchrun every process calls this: they train one model, share the test
    rows, and the first of them writes and shows.

    Parameters
    ----------
    config : RecipeConfig
        As from :func:`clsgan.config.load_recipe`.
    verbose : int, default=1
        Above 0, progress is shown on standard error.

    Returns
    -------
    dict
        What ``results.json`` holds, and ``folder``, the run folder.

    Raises
    ------
    ValueError
        The data, an argument of the estimator or a baseline is not valid; nothing is left behind.
    FileExistsError
        The run folder asked for is not empty, and ``config.resume`` is False.
    BlockingIOError
        Another process is working in the run folder.
    KeyboardInterrupt
        Ctrl-C or SIGTERM; the run folder holds the model so far and a checkpoint.

    Examples
    --------
    >>> import tempfile
    >>> from clsgan.config import load_recipe
    >>> from clsgan.recipe import run_recipe
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     config = load_recipe(
    ...         "digits", ["estimator.max_steps=3", "baselines=[]", f"run={folder}/a"]
    ...     )
    ...     results = run_recipe(config, verbose=0)
    >>> results["split"]["name"], 0 < results["error"] < 1
    ('digits.seed0@100', True)
    """
    rank, _ = _joined_processes(config)
    data = load_run_data(config.data)
    check_baselines(config.baselines, data)
    config = _with_form(config, data)
    verbose = verbose if rank == 0 else 0
    arguments = {"verbose": verbose, "random_state": config.data.seed, **config.estimator}
    folder, made = from_first(lambda: open_run_folder(config))
    try:
        with ExitStack() as lock:
            from_first(lambda: _take(lock, folder))
            if not from_first(lambda: (folder / run_folder.RESULTS).exists()):
                _train_and_test(config, data, arguments, folder)
            results = _complete(config, data, arguments, folder)
    except BaseException:
        if rank == 0:
            forget_unstarted(folder, made)
        raise
    return {**results, "folder": str(folder)}


def summary(results: dict[str, Any]) -> str:
    """Table of a run for people: method, test error, rows, seconds, and where the files lie.

    Parameters
    ----------
    results : dict
        As from :func:`run_recipe`.

    Returns
    -------
    str

    Examples
    --------
    >>> from clsgan.recipe import summary
    >>> row = {"method": "clsgan", "error": 0.05, "n_test": 360, "seconds": 20.02}
    >>> split = {"name": "digits.seed0@100"}
    >>> print(summary({"split": split, "notes": [], "methods": [row], "folder": "runs/absent"}))
    digits.seed0@100
    method             test error %        n   seconds
    clsgan                     5.00      360      20.0
    runs/absent: model/
    """
    lines = [results["split"]["name"], *results["notes"]]
    lines.append(f"{'method':<18} {'test error %':>12} {'n':>8} {'seconds':>9}")
    for row in results["methods"]:
        error, seconds = f"{100 * row['error']:.2f}", f"{row['seconds']:.1f}"
        lines.append(f"{row['method']:<18} {error:>12} {row['n_test']:>8,} {seconds:>9}")
    folder = Path(results["folder"])
    names = (run_folder.SAMPLES, run_folder.CONFUSION, run_folder.RESULTS)
    files = [f"{run_folder.MODEL}/", *(name for name in names if (folder / name).exists())]
    return "\n".join([*lines, f"{folder}: {', '.join(files)}"])


def _joined_processes(config: RecipeConfig) -> tuple[int, int]:
    """Number of this process, and of all, once they can speak with each other."""
    if place()[1] > 1:
        make_fabric(choose_device(config.estimator.get("accelerator", "auto")), "32-true")
    return place()


def _take(lock: ExitStack, folder: Path) -> None:
    lock.enter_context(FolderLock(folder))


def _train_and_test(
    config: RecipeConfig, data: RunData, arguments: dict[str, Any], folder: Path
) -> None:
    """From the data to the model and its test; after Ctrl-C to the model alone."""
    from_first(lambda: _write_inputs(folder, config, data))
    kept: dict[str, Any] = {"log_dir": str(folder) if place()[0] == 0 else None}
    kept |= {"checkpoint": str(folder / CHECKPOINT), "resume": config.resume}
    if config.resume:
        from_first(lambda: remove_old_log(folder))
    model = CLSGANClassifier(**arguments, **kept)
    fit_before_test(model, data)
    memory = peak_memory_mb()
    from_first(lambda: _save(model, folder, config.resume))
    if model.interrupted_:
        raise KeyboardInterrupt
    numbers = _test(model, data, folder)
    results = _results(config, data, numbers, model) | {"peak_memory_mb": memory}
    from_first(lambda: run_folder.write_json(folder / run_folder.RESULTS, results))


def _save(model: CLSGANClassifier, folder: Path, again: bool) -> None:
    model.save(folder / run_folder.MODEL, overwrite=again)


def _complete(
    config: RecipeConfig, data: RunData, arguments: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Pictures and baselines, those that are not there yet; checkpoints are not needed for them."""
    from_first(lambda: _remove_checkpoints(folder))
    results = from_first(lambda: _with_pictures(config, data, folder))
    done = {row["method"] for row in results["methods"]}
    missing = [name for name in config.baselines if name not in done]
    if missing:
        arguments = _with_widths(arguments, folder)
    for name in missing:
        if arguments["verbose"] > 0:
            print(f"baseline {name}", file=sys.stderr)
        results["methods"].append(run_baseline(name, data, arguments))
        from_first(lambda: run_folder.write_json(folder / run_folder.RESULTS, results))
    return results


def _with_widths(arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The arguments, with the widths of the model where "auto" could choose others by now."""
    network = CLSGANClassifier.load(folder / run_folder.MODEL).loss_network_
    auto = is_auto(arguments.get("loss_network", "auto"))
    if not auto or arguments.get("loss_network_options") is not None:
        return arguments
    if not isinstance(network, SmallLossNetwork):
        return arguments
    return {**arguments, "loss_network_options": {"widths": list(network.widths)}}


def _remove_checkpoints(folder: Path) -> None:
    if (folder / CHECKPOINT).exists():
        shutil.rmtree(folder / CHECKPOINT)


def _with_pictures(config: RecipeConfig, data: RunData, folder: Path) -> dict[str, Any]:
    """What was measured so far, its pictures beside it."""
    results = run_folder.read_json(folder / run_folder.RESULTS)
    if not (folder / run_folder.CONFUSION).exists():
        model = CLSGANClassifier.load(folder / run_folder.MODEL)
        _draw(model, data, config, results["report"], folder)
    return results


def _with_form(config: RecipeConfig, data: RunData) -> RecipeConfig:
    """The recipe with what the data say of their form, where it does not say it itself."""
    told = {"flip": data.flip, "layout": data.layout}
    told = {name: value for name, value in told.items() if value is not None}
    return replace(config, estimator={**told, **config.estimator})


def _write_inputs(folder: Path, config: RecipeConfig, data: RunData) -> None:
    resolved = OmegaConf.structured(config)
    resolved.run = None  # so that the file can be trained again, into a new folder
    resolved.resume = False
    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    text = f"# {data.split} ({data.split_hash})\n# {found}\n{OmegaConf.to_yaml(resolved)}"
    run_folder.write_bytes(folder / run_folder.CONFIG, text.encode())
    run_folder.write_arrays(
        folder / run_folder.LABELS,
        rows=data.labeled_rows,
        split=data.split,
        hash=data.split_hash,
        class_names=data.named(np.unique(data.y_lab)),  # as the model's classes will be
    )


def _test(model: CLSGANClassifier, data: RunData, folder: Path) -> dict[str, Any]:
    names, true = data.named(model.classes_), data.named(data.y_test)
    probabilities = gathered(model.predict_proba, data.x_test)
    file, arrays = folder / run_folder.PREDICTIONS, {"y": true, "probabilities": probabilities}
    from_first(lambda: run_folder.write_arrays(file, class_names=names, **arrays))
    return report(names, true, probabilities)


def _draw(
    model: CLSGANClassifier,
    data: RunData,
    config: RecipeConfig,
    numbers: dict[str, Any],
    folder: Path,
) -> None:
    names: list[str] = data.named(model.classes_).tolist()
    title = f"{config.name}: test error {numbers['error']:.2%} of {numbers['n']:,}"
    figure = confusion_picture(numbers["confusion"], names, title)
    run_folder.write_bytes(folder / run_folder.CONFUSION, png_bytes(figure))
    if model.generator_ is not None and model.image_shape_ is not None:
        picture = png_bytes(sample_picture(model, names))
        run_folder.write_bytes(folder / run_folder.SAMPLES, picture)


def _own_row(model: CLSGANClassifier, numbers: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": "clsgan",
        "error": numbers["error"],
        "n_test": numbers["n"],
        "seconds": float(model.fit_time_),
        "steps": int(model.n_steps_),
        "images_per_second": float(model.images_per_second_),
    }


def _results(
    config: RecipeConfig,
    data: RunData,
    numbers: dict[str, Any],
    model: CLSGANClassifier,
) -> dict[str, Any]:
    return {
        "recipe": config.name,
        "error": numbers["error"],
        "n_test": numbers["n"],
        "split": {
            "name": data.split,
            "hash": data.split_hash,
            "seed": config.data.seed,
            "n_labeled": len(data.y_lab),
            "n_unlabeled": model.n_unlabeled_,
        },
        "notes": list(data.notes),
        "methods": [_own_row(model, numbers)],
        "report": numbers,
        "versions": versions(),
        "machine": machine(),
        "processes": place()[1],
    }
