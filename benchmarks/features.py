"""Linear probe: logistic regression on features, by the same labels, held against pixels and PCA.

    python benchmarks/features.py --plan benchmarks/features.yaml --path cifar10=FILE.npz

Features of the default and of a supervised network (`transform`), of the pixels, of their
principal components and of whitened patches. C is chosen by cross-validation on the labels.
Models that `low_label.py --model-out DIR` kept are used with `--models DIR`, and not fitted again.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jobs
import numpy as np
from jobs import Benchmark, Job
from low_label import METHODS, fit_network
from numpy.typing import NDArray
from simple_features import patch_features, pixel_features
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from clsgan import CLSGANClassifier
from clsgan.doctor import peak_memory_mb
from clsgan.run_data import RunData

NETWORKS = {name: METHODS[name] for name in ("default", "supervised")}
STRENGTHS = [float(c) for c in np.logspace(-4, 2, 7)]
FOLDS = 5

Features = Callable[[NDArray[np.uint8]], NDArray[Any]]


def pixels(pool: NDArray[np.uint8], seed: int) -> Features:
    return lambda images: images.reshape(len(images), -1).astype(np.float32) / 255


SIMPLE: dict[str, Callable[[NDArray[np.uint8], int], Features]] = {
    "pixels": pixels,
    "pca": pixel_features,
    "patches": patch_features,
}


def features_of(job: Job, data: RunData, models: Path | None) -> Features:
    if job.method in SIMPLE:
        pool = data.x_lab if data.x_unlab is None else np.concatenate([data.x_lab, data.x_unlab])
        return SIMPLE[job.method](pool, job.seed)
    model = kept(job, models)
    transform: Features = (fit_network(job, data) if model is None else model).transform
    return transform


def kept(job: Job, models: Path | None) -> CLSGANClassifier | None:
    """The model that `low_label.py` kept, if it has the arguments that the method has now."""
    if models is None or not (models / job.name).is_dir():
        return None
    model = CLSGANClassifier.load(models / job.name)
    params, wanted = model.get_params(deep=False), BENCHMARK.arguments(job)
    return model if {name: params[name] for name in wanted} == wanted else None


def probe(x: NDArray[Any], y: NDArray[np.int64], seed: int) -> Any:
    """Logistic regression on features brought to mean 0 and, all together, variance 1."""
    mean, scale = x.mean(0), float(x.std())
    least = int(np.unique(y, return_counts=True)[1].min())
    folds = StratifiedKFold(min(FOLDS, max(least, 2)), shuffle=True, random_state=seed)
    scaled = FunctionTransformer(lambda rows: (rows - mean) / scale)
    model = make_pipeline(scaled, LogisticRegression(max_iter=200))
    return GridSearchCV(model, {"logisticregression__C": STRENGTHS}, cv=folds).fit(x, y)


def run(job: Job, data: RunData, options: argparse.Namespace) -> dict[str, Any]:
    warnings.simplefilter("ignore", ConvergenceWarning)
    started = time.perf_counter()
    features = features_of(job, data, options.models)
    x = features(data.x_lab)
    made = time.perf_counter() - started
    search = probe(x, data.y_lab, job.seed)
    numbers = {"n_features": x.shape[1], "C": search.best_params_["logisticregression__C"]}
    numbers |= {"feature_seconds": made, "seconds": time.perf_counter() - started}
    numbers |= {"peak_memory_mb": peak_memory_mb()}
    table = search.predict_proba(features(data.x_test))
    return numbers | jobs.tested(data, search.classes_, table)


BENCHMARK = Benchmark("features", Path(__file__).resolve(), NETWORKS, tuple(SIMPLE), run)


def main(argv: Sequence[str] | None = None) -> int:
    return jobs.main(BENCHMARK, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    raise SystemExit(main())
