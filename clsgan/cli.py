"""The command ``clsgan``."""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsgan._version import __version__

if TYPE_CHECKING:
    from clsgan.estimator import CLSGANClassifier

USER_ERRORS = (ValueError, TypeError, OSError, ImportError, MemoryError, FloatingPointError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        Arguments after the program's name; None takes those of the process.

    Returns
    -------
    int
        Exit status: 0, or 2 where what was asked for is not valid, or 130 if interrupted.

    Examples
    --------
    >>> from clsgan.cli import main
    >>> main(["train", "digits", "data.sede=3"])
    2
    """
    parser = _parser()
    options, more = parser.parse_known_args(argv)
    if more and (not hasattr(options, "overrides") or any(m.startswith("-") for m in more)):
        parser.error(f"not understood: {' '.join(more)}")
    if more:  # argparse takes key=value after an option for something else
        options.overrides += more
    if options.run_command is None:
        parser.print_help()
        return 0
    try:
        _run(options)
    except USER_ERRORS as error:
        if options.debug:
            raise
        text = str(error) or type(error).__name__
        print(f"clsgan: error{_which_process()}: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("clsgan: interrupted", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1 and options.run_command is not _train:
        raise ValueError(
            f"a launcher started WORLD_SIZE={world_size} processes; only clsgan train uses several"
        )
    options.run_command(options)


def _which_process() -> str:
    """Among several processes, the number of this one."""
    world_size = os.environ.get("WORLD_SIZE", "1")
    return "" if world_size == "1" else f" (process {os.environ.get('RANK', '0')} of {world_size})"


def _train(options: argparse.Namespace) -> None:
    from clsgan.config import load_recipe
    from clsgan.processes import lost_process_explained, place
    from clsgan.recipe import run_recipe, summary

    began = time.perf_counter()
    config = load_recipe(options.recipe, options.overrides)
    with lost_process_explained():
        results = run_recipe(config, verbose=0 if options.quiet else 1)
    if place()[0] == 0:
        print(summary(results))
        if not options.quiet:
            _print_time(time.perf_counter() - began, config.estimator.get("time_limit"))


def _print_time(seconds: float, limit: float | None) -> None:
    """Time of a command, beside the limit of its models; not to where the table may be kept."""
    text = f"{seconds:.1f} s for all of it"
    if limit is not None:
        text += f"; time_limit={limit:g} is for each fit and its test, data and pictures on top"
    print(text, file=sys.stderr)


def _recipes(options: argparse.Namespace) -> None:
    from clsgan.config import load_recipe, packaged_recipes

    configs = [load_recipe(name) for name in packaged_recipes()]
    width = max(len(config.name) for config in configs)
    for config in configs:
        print(f"{config.name:<{width}}  {config.description}")


def _evaluate(options: argparse.Namespace) -> None:
    from clsgan.finished_run import evaluate_run

    numbers = evaluate_run(options.run, options.images)
    print(f"test error                 {numbers['error']:.2%} of {numbers['n']:,}")
    print(f"expected calibration error {numbers['expected_calibration_error']:.4f}")
    print(f"negative log likelihood    {numbers['negative_log_likelihood']:.4f}")
    for name, error in numbers["per_class_error"].items():
        print(f"  {name:<24} {'no rows' if error is None else f'{error:.2%}'}")
    print("confusion, true classes in rows")
    for line in _table(list(numbers["per_class_error"]), numbers["confusion"]):
        print(line)
    if "stored_error" in numbers:
        changed = numbers["changed_predictions"]
        stored = numbers["stored_error"]
        print(f"when it was trained        {stored:.2%}; {changed} predictions changed")


def _table(names: Sequence[str], counts: Sequence[Sequence[int]]) -> list[str]:
    """Counts by true (rows) and predicted class, the latter by the first letters of its name."""
    width = max(6, *(len(f"{count:,}") for row in counts for count in row))
    rows = [("", [name[:width] for name in names])]
    rows += [
        (name, [f"{count:,}" for count in row]) for name, row in zip(names, counts, strict=True)
    ]
    return [
        " ".join([f"  {name:<24}", *(f"{cell:>{width}}" for cell in cells)]) for name, cells in rows
    ]


def _predict(options: argparse.Namespace) -> None:
    from clsgan.finished_run import class_names
    from clsgan.pools.bulk import COLUMNS, predict_shards
    from clsgan.run_folder import check_parent, write_bytes

    out = check_parent(options.out) if options.out else None
    if shards := _shards(options):
        model = _model(options.run)
        names = class_names(options.run, model)
        count, skipped = predict_shards(model, names, shards, options.out, progress=True)
        print(f"{out}: {count} rows")
        return _list_skipped(skipped)
    model, paths = _model(options.run), _image_paths(options.images)
    names = class_names(options.run, model)
    probabilities, outliers = model.predict_proba(paths), model.outlier_score(paths)
    best = probabilities.argmax(axis=1)
    rows = [
        (str(path), names[k], f"{row[k]:.4f}", f"{outlier:.4f}")
        for path, k, row, outlier in zip(paths, best, probabilities, outliers, strict=True)
    ]
    text = io.StringIO()
    writer = csv.writer(text, delimiter="," if out else "\t", lineterminator="\n")
    writer.writerows([COLUMNS, *rows])
    if out:
        write_bytes(out, text.getvalue().encode())
        print(f"{out}: {len(rows)} rows")
    else:
        print(text.getvalue(), end="")


def _features(options: argparse.Namespace) -> None:
    import numpy as np

    from clsgan.pools.bulk import feature_shards
    from clsgan.run_folder import check_parent, write_bytes

    out = check_parent(options.out)
    if shards := _shards(options):
        count, skipped = feature_shards(_model(options.run), shards, out, progress=True)
        print(f"{out}: {count} rows, whose images are named in {out}.names.txt")
        return _list_skipped(skipped)
    model, paths = _model(options.run), _image_paths(options.images)
    features = model.transform(paths)
    buffer = io.BytesIO()
    np.save(buffer, features, allow_pickle=False)
    write_bytes(out, buffer.getvalue())
    n_rows, n_features = features.shape
    print(f"{out}: {n_rows} rows of {n_features} features, in the order given")


def _sample(options: argparse.Namespace) -> None:
    from clsgan.finished_run import class_names, sample_picture
    from clsgan.pictures import png_bytes
    from clsgan.run_folder import check_parent, write_bytes

    out = check_parent(options.out)
    model = _model(options.run)
    names = class_names(options.run, model)
    figure = sample_picture(model, names, options.per_class, options.seed)
    write_bytes(out, png_bytes(figure))
    print(out)


def _pack(options: argparse.Namespace) -> None:
    from clsgan.pools.packing import pack_folder

    numbers = {"shard_images": options.shard_images, "image_size": options.image_size}
    packed = pack_folder(options.folder, options.out, progress=True, **numbers)
    print(f"{options.out}: {packed.n_samples} images in {len(packed.shards)} shards")
    _list_skipped(packed.skipped)


def _list_skipped(skipped: Sequence[Sequence[str]]) -> None:
    for name, reason in skipped:
        print(f"skipped {name}: {reason}", file=sys.stderr)


def _shards(options: argparse.Namespace) -> list[Path]:
    """The shards among what was given, which stream to a file."""
    from clsgan.pools.tar_shards import find_shards

    found = [(name, find_shards(name)) for name in options.images]
    shards = [path for _, paths in found for path in paths]
    if shards and not all(paths for _, paths in found):
        plain = next(name for name, paths in found if not paths)
        raise ValueError(f"{plain} is no shard, others are; give one kind at a time")
    if shards and not options.out:
        raise ValueError("shards stream to a file; give --out")
    return shards


def _prepare(options: argparse.Namespace) -> None:
    from clsgan.data import prepare

    print(prepare(options.dataset, root=options.root))


def _doctor(options: argparse.Namespace) -> None:
    from clsgan.doctor import doctor

    print(doctor(options.root))


def _model(run: str) -> CLSGANClassifier:
    from clsgan.estimator import CLSGANClassifier
    from clsgan.finished_run import model_folder

    model: CLSGANClassifier = CLSGANClassifier.load(model_folder(run))
    return model


def _image_paths(given: Sequence[str]) -> list[Path]:
    """Image files, and all those in folders, in the order given."""
    from clsgan.photos import find_images

    paths: list[Path] = []
    for name in given:
        path = Path(name).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"there is no image or folder {path}")
        paths += find_images(path) if path.is_dir() else [path]
    return paths


def _parser() -> argparse.ArgumentParser:
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument(
        "--debug", action="store_true", help="show where an error was raised, for a bug report"
    )
    parser = argparse.ArgumentParser(
        prog="clsgan", description="Classify with few labels: the conditional loss-sensitive GAN."
    )
    parser.add_argument("--version", action="version", version=f"clsgan {__version__}")
    parser.set_defaults(run_command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (run_command, text, arguments) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, parents=[everywhere])
        command.set_defaults(run_command=run_command)
        for names, settings in arguments:
            command.add_argument(*names, **settings)
    return parser


Argument = tuple[tuple[str, ...], dict[str, Any]]
Command = tuple[Callable[[argparse.Namespace], None], str, list[Argument]]

RUN: Argument = (
    ("run",),
    {"metavar": "RUN", "help": "a run folder, such as runs/digits-1, or one that model.save wrote"},
)
IMAGES: Argument = (
    ("images",),
    {"nargs": "+", "metavar": "IMAGES", "help": "image files, folders of them, or .tar shards"},
)
ROOT: Argument = (("--root",), {"help": "the folder of the data sets"})
COMMANDS: dict[str, Command] = {
    "train": (
        _train,
        "train a recipe, test it, and write a run folder",
        [
            (("recipe",), {"metavar": "RECIPE", "help": "a name, or a path to a .yaml file"}),
            (
                ("overrides",),
                {"nargs": "*", "metavar": "key=value", "help": "such as estimator.max_steps=300"},
            ),
            (("--quiet",), {"action": "store_true", "help": "no progress bar"}),
        ],
    ),
    "recipes": (_recipes, "list the recipes", []),
    "evaluate": (
        _evaluate,
        "test error, calibration and classes of a run",
        [RUN, (("--images",), {"metavar": "FOLDER", "help": "test on its class sub-folders"})],
    ),
    "predict": (
        _predict,
        "class, probability and outlier score of images",
        [RUN, IMAGES, (("--out",), {"metavar": "F.csv", "help": "write a table instead"})],
    ),
    "features": (
        _features,
        "features of images, as a numpy array [N, F]",
        [RUN, IMAGES, (("--out",), {"metavar": "F.npy", "required": True})],
    ),
    "sample": (
        _sample,
        "a grid of generated images by class",
        [
            RUN,
            (("--out",), {"metavar": "P.png", "required": True}),
            (("--per-class",), {"type": int, "default": 10, "metavar": "N"}),
            (("--seed",), {"type": int, "default": 0}),
        ],
    ),
    "pack": (
        _pack,
        "a folder of images as .tar shards; goes on where it was stopped",
        [
            (("folder",), {"metavar": "FOLDER"}),
            (("--out",), {"metavar": "SHARDS", "required": True, "help": "a folder"}),
            (("--shard-images",), {"type": int, "default": 10_000, "metavar": "N"}),
            (("--image-size",), {"type": int, "metavar": "N", "help": "store squares as PNG"}),
        ],
    ),
    "prepare": (
        _prepare,
        "fetch a data set, checked by md5",
        [(("dataset",), {"metavar": "DATASET"}), ROOT],
    ),
    "doctor": (_doctor, "versions, device, precision, data, and what is missing", [ROOT]),
}
