"""Test error at few labels: the default, its baselines in the same engine, and scikit-learn's.

    python benchmarks/low_label.py --plan benchmarks/low_label.yaml --path cifar10=FILE.npz
    python benchmarks/low_label.py --data digits --labels 100 --seeds 0 1 2 --seconds 30

Run it again and it goes on where it was; `--list` prints what is missing. Methods of the engine
are arguments of `CLSGANClassifier`, trained for the same time on the same split. The others take
the time they need, which is reported. Nothing is chosen on test rows.
"""

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jobs
import numpy as np
from jobs import Benchmark, Job
from numpy.typing import NDArray
from simple_features import patch_features, pixel_features
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from clsgan import CLSGANClassifier
from clsgan.doctor import peak_memory_mb
from clsgan.metrics import error_rate
from clsgan.run_data import RunData

METHODS: dict[str, dict[str, Any]] = {  # constructor arguments of CLSGANClassifier
    "default": {},
    "supervised": {"unlabeled": "none", "generator": None},
    "pseudo_label": {"unlabeled": "pseudo_label", "generator": None},
    "mean_teacher": {"unlabeled": "mean_teacher", "generator": None},
    "fixmatch": {"unlabeled": "fixmatch", "generator": None},
}
FEATURES = {"pixels": pixel_features, "patches": patch_features}
FOLDS, SELECTION_ROWS = 3, 2_000  # unlabeled rows beside the folds of the labeled ones


def self_training() -> list[Any]:
    return [
        SelfTrainingClassifier(LogisticRegression(C=c, max_iter=200), threshold=threshold)
        for c in (0.1, 1.0, 10.0)
        for threshold in (0.8, 0.95)
    ]


def label_spreading() -> list[Any]:
    return [
        make_pipeline(scaling, LabelSpreading("knn", n_neighbors=n, alpha=alpha, max_iter=100))
        for scaling in (FunctionTransformer(), Normalizer())
        for n in (5, 10, 20)
        for alpha in (0.2, 0.8)
    ]


SIMPLE = {"self_training": self_training, "label_spreading": label_spreading}


def fit_network(job: Job, data: RunData) -> CLSGANClassifier:
    arguments = {"flip": data.flip, "layout": data.layout, **METHODS[job.method], **job.changes}
    budget = {"time_limit": job.seconds, "max_steps": job.steps}
    model = CLSGANClassifier(**{**arguments, **budget, "random_state": job.seed})
    model.fit(data.x_lab, data.y_lab, X_unlab=data.x_unlab)
    return model


def run_network(job: Job, data: RunData, models: Path | None) -> dict[str, Any]:
    model = fit_network(job, data)
    numbers = jobs.of_fit(model, data)
    if models is not None:
        models.mkdir(parents=True, exist_ok=True)
        model.save(models / job.name, overwrite=True)
    return numbers | jobs.tested(data, model.classes_, model.predict_proba(data.x_test))


def run_simple(job: Job, data: RunData) -> dict[str, Any]:
    """A semi-supervised method of scikit-learn on the features that do best on held-out labels."""
    started = time.perf_counter()
    images = data.x_lab if data.x_unlab is None else np.concatenate([data.x_lab, data.x_unlab])
    made = {name: build(images, job.seed) for name, build in FEATURES.items()}
    rows = {name: features(images) for name, features in made.items()}
    name, model = choose(SIMPLE[job.method](), rows, data.y_lab, job.seed)
    model.fit(rows[name], with_unlabeled(data.y_lab, len(images)))
    numbers = {"seconds": time.perf_counter() - started, "steps": None, "images_per_second": None}
    numbers |= {"config": {"features": name, "model": repr(model)}}
    numbers |= {"peak_memory_mb": peak_memory_mb()}
    table = np.asarray(model.predict_proba(made[name](data.x_test)), dtype=np.float64)
    table[~np.isfinite(table).all(axis=1)] = 1 / table.shape[1]  # no label reached its neighbours
    return numbers | jobs.tested(data, model.classes_, table)


def choose(
    models: Sequence[Any], rows: dict[str, NDArray[np.float32]], y: NDArray[np.int64], seed: int
) -> tuple[str, Any]:
    """Features and model with the least error on labeled rows that are held out in turns."""
    pairs = [(name, model) for name in reversed(rows) for model in models]
    least = int(np.unique(y, return_counts=True)[1].min())
    if least < 2:  # nothing can be held out
        return pairs[0]
    folds = StratifiedKFold(min(FOLDS, least), shuffle=True, random_state=seed)
    errors = [held_out_error(model, rows[name], y, folds) for name, model in pairs]
    return pairs[int(np.argmin(errors))]


def held_out_error(
    model: Any, x: NDArray[np.float32], y: NDArray[np.int64], folds: StratifiedKFold
) -> float:
    """Mean error over the folds of labeled rows, which come first in `x`."""
    unlabeled, errors = x[len(y) :][:SELECTION_ROWS], []
    for train, held in folds.split(x[: len(y)], y):
        shown = np.concatenate([x[train], unlabeled])
        fitted = clone(model).fit(shown, with_unlabeled(y[train], len(shown)))
        errors.append(error_rate(y[held], fitted.predict(x[held])))
    return float(np.mean(errors))


def with_unlabeled(y: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    return np.concatenate([y, np.full(n - len(y), -1)])


def run(job: Job, data: RunData, options: argparse.Namespace) -> dict[str, Any]:
    warnings.simplefilter("ignore", ConvergenceWarning)
    if job.method in SIMPLE:
        return run_simple(job, data)
    return run_network(job, data, options.models)


BENCHMARK = Benchmark("low_label", Path(__file__).resolve(), METHODS, tuple(SIMPLE), run)


def main(argv: Sequence[str] | None = None) -> int:
    return jobs.main(BENCHMARK, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    raise SystemExit(main())
