"""Pools that do not match the labels: rows of other classes, and classes of unequal size.

    python benchmarks/mismatch.py --plan benchmarks/mismatch.yaml --path cifar10=FILE.npz
    python benchmarks/mismatch.py --data digits --seconds 10 --methods default@novel50
    python benchmarks/mismatch_table.py  # then writes the tables of docs/mismatch.md

A method is arguments of `CLSGANClassifier` and a scenario. `@novel50`, as in the realistic
evaluation of Oliver et al. (arXiv 1804.09170): six classes keep their labels (of CIFAR-10 the
animals), and half of the pool is of the other four; pools of all shares have one size.
`@imbalance10`: the largest class has ten times as many labels and unlabeled rows as the smallest,
the others lie between in equal ratios. Options are those of `low_label.py`; `--labels` counts the
labels of all classes before the scenario. Run it again and it goes on where it was.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jobs
import numpy as np
from ablation import FIRST_KNOWN, fit, outlier_scores, without_classes
from jobs import ROOT, Benchmark, Job
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from clsgan import CLSGANClassifier
from clsgan.data import load_data
from clsgan.run_data import RunData

RESULTS = ROOT / "benchmarks" / "results" / "mismatch"
KNOWN = 6
SHARES, FACTORS = (0, 25, 50, 75, 100), (10, 100)
SUPERVISED = {"unlabeled": "none", "generator": None}
BALANCED = {"class_weight": "balanced"}
ON_POOLS: dict[str, dict[str, Any]] = {
    "supervised": SUPERVISED,
    "default": {},
    "filtered": {"unlabeled_filter": "open-class"},
}
ON_CLASSES: dict[str, dict[str, Any]] = {
    "supervised": SUPERVISED,
    "supervised_balanced": SUPERVISED | BALANCED,
    "default": {},
    "balanced": BALANCED,
    "balanced_estimate": BALANCED | {"class_prior": "estimate"},
}
METHODS = {f"{name}@novel{s}": given for s in SHARES for name, given in ON_POOLS.items()} | {
    f"{name}@imbalance{f}": given for f in FACTORS for name, given in ON_CLASSES.items()
}
Rows = NDArray[np.int64]


def scenario_of(method: str) -> tuple[str, str, int]:
    """Name of a method, "novel" or "imbalance", and the share in per cent or the factor."""
    name, _, scenario = method.partition("@")
    kind = scenario.rstrip("0123456789")
    return name, kind, int(scenario.removeprefix(kind))


def run(job: Job, data: RunData, options: argparse.Namespace) -> dict[str, Any]:
    kind, amount = scenario_of(job.method)[1:]
    path = options.path[0] if options.path else None
    y_pool = np.delete(load_data(job.data, path=path).y_train, data.labeled_rows)
    novel = data.x_test[:0]
    if kind == "novel":
        data, y_pool, novel = with_novel(data, y_pool, amount, FIRST_KNOWN.get(job.data), job.seed)
    else:
        data, y_pool = with_imbalance(data, y_pool, amount, job.seed)
    model = fit(job, data, BENCHMARK.arguments(job))
    return measured(model, data, y_pool, novel)


def measured(
    model: CLSGANClassifier, data: RunData, y_pool: NDArray[Any], novel: NDArray[Any]
) -> dict[str, Any]:
    """Errors, balanced error, and areas under the ROC curve of two scores on novel test rows."""
    table = model.predict_proba(data.x_test)
    recall = balanced_accuracy_score(data.y_test, model.classes_[table.argmax(axis=1)])
    numbers = jobs.of_fit(model, data) | {
        "classes": data.named(model.classes_).tolist(),
        "n_labeled": len(data.x_lab),
        "n_unlabeled": len(data.x_unlab),
        "n_novel": int((~np.isin(y_pool, model.classes_)).sum()),
        "kept_share": model.unlabeled_kept_share_,
        "balanced_error": 1 - float(recall),
        "labels_by_class": np.bincount(data.y_lab).tolist(),
        "auroc": {},
    }
    if len(novel):
        numbers["auroc"] = areas(model, data.x_test, novel)
    return numbers | jobs.tested(data, model.classes_, table)


def areas(model: CLSGANClassifier, known: NDArray[Any], novel: NDArray[Any]) -> dict[str, float]:
    """Area under the ROC curve of each score, novel against known test rows."""
    inside, outside = outlier_scores(model, known), outlier_scores(model, novel)
    truth = np.repeat([0, 1], [len(known), len(novel)])
    return {
        name: float(roc_auc_score(truth, np.concatenate([inside[name], outside[name]])))
        for name in inside
    }


def with_novel(
    data: RunData, y_pool: NDArray[Any], share: int, order: Sequence[int] | None, seed: int
) -> tuple[RunData, NDArray[Any], NDArray[Any]]:
    """Data with six labeled classes and a pool of which `share` per cent is of the others.

    All shares have pools of one size, the largest that each can have. Classes of the pool, and
    test rows of the other classes, come with it.
    """
    classes = list(order or np.unique(data.y_lab).tolist())
    is_known = np.isin(y_pool, classes[:KNOWN])
    pool = data.x_unlab
    fewer, novel = without_classes(data, KNOWN, order)
    size = min(int(is_known.sum()), int((~is_known).sum()))
    rng, count = np.random.default_rng(seed), round(size * share / 100)
    known_rows = rng.permutation(np.flatnonzero(is_known))[: size - count]
    rows = np.sort(np.concatenate([known_rows, rng.permutation(np.flatnonzero(~is_known))[:count]]))
    return replace(fewer, x_unlab=pool[rows]), y_pool[rows], novel


def with_imbalance(
    data: RunData, y_pool: NDArray[Any], factor: int, seed: int
) -> tuple[RunData, NDArray[Any]]:
    """Data in which the first class has `factor` times as many rows as the last."""
    rng = np.random.default_rng(seed)
    lab, pool = thinned(data.y_lab, factor, rng), thinned(y_pool, factor, rng)
    fewer = replace(
        data,
        x_lab=data.x_lab[lab],
        y_lab=data.y_lab[lab],
        labeled_rows=data.labeled_rows[lab],
        x_unlab=data.x_unlab[pool],
    )
    return fewer, y_pool[pool]


def thinned(y: NDArray[Any], factor: int, rng: np.random.Generator) -> Rows:
    """Rows of which class k of K keeps ``factor ** (-k / (K - 1))``, at least one."""
    classes, counts = np.unique(y, return_counts=True)
    kept = [
        rng.permutation(np.flatnonzero(y == label))[
            : max(round(counts.min() * factor ** (-k / (len(classes) - 1))), 1)
        ]
        for k, label in enumerate(classes)
    ]
    return np.sort(np.concatenate(kept))


BENCHMARK = Benchmark("mismatch", Path(__file__).resolve(), METHODS, (), run)


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    description = f"{__doc__.splitlines()[0]} A method is a name and a scenario."
    return jobs.main(BENCHMARK, description, ["--out", str(RESULTS), *words])


if __name__ == "__main__":
    raise SystemExit(main())
