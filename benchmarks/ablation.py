"""What each part of the default earns: one change at a time, for the same wall-clock.

    python benchmarks/ablation.py --plan benchmarks/ablation.yaml --path cifar10=FILE.npz
    python benchmarks/ablation.py --plan benchmarks/ablation.yaml --path cifar10=FILE.npz --known 6
    python benchmarks/ablation.py --data digits --seconds 10 --methods default no_generator
    python benchmarks/ablation_table.py  # then writes the tables of docs/ablation.md

A variant is a set of constructor arguments. Run it again and it goes on where it was; options are
those of `low_label.py`, and `--known N`: only N classes keep their labels (of CIFAR-10 the animals
first), the pool holds all classes, and the test rows of the others are outliers.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jobs
import numpy as np
from jobs import ROOT, Benchmark, Job
from numpy.typing import NDArray
from outlier_images import outlier_images
from sklearn.metrics import roc_auc_score

from clsgan import CLSGANClassifier
from clsgan.run_data import RunData

VARIANTS: dict[str, dict[str, Any]] = {  # constructor arguments of CLSGANClassifier
    "default": {},
    "no_hinge": {"hinge_weight": 0.0},
    "no_unlabeled_hinge": {"unlabeled_hinge_weight": 0.0},
    "no_outlier_term": {"outlier_weight": 0.0},
    "no_unlabeled_outliers": {"unlabeled_outlier_weight": 0.0},
    "no_alignment": {"class_alignment": 0.0},
    "no_smoothing": {"label_smoothing": 0.0},
    "no_unlabeled": {"unlabeled": "none"},
    "no_generator": {"generator": None},
    "margins_on_network": {"margins_train": "network", "hinge_weight": 0.1},
    "medium_unlabeled": {"unlabeled_augment": "medium"},
    "plain_views": {"predict_views": "plain"},
    "narrow": {"loss_network_options": {"widths": [32, 64, 128]}},
    "paper": {"objective": "paper"},
}
RESULTS = ROOT / "benchmarks" / "results" / "ablation"
NOVEL, AT_KNOWN = "novel classes", "@known"
FIRST_KNOWN = {"cifar10": (2, 3, 4, 5, 6, 7, 0, 1, 8, 9)}  # animals, then vehicles

Scores = dict[str, NDArray[Any]]


def benchmark(known: int | None) -> Benchmark:
    """All variants; where not every class is known, their names say how many are."""
    suffix = "" if known is None else f"{AT_KNOWN}{known}"
    methods = {name + suffix: given for name, given in VARIANTS.items()}
    return Benchmark("ablation", Path(__file__).resolve(), methods, (), run)


def variant_of(method: str) -> tuple[str, int | None]:
    """Name of a variant, and how many classes are known to it, None for all."""
    name, _, known = method.partition(AT_KNOWN)
    return name, int(known) if known else None


def run(job: Job, data: RunData, options: argparse.Namespace) -> dict[str, Any]:
    known = variant_of(job.method)[1]
    images, notes = outlier_images(data.x_test, job.data)
    if known is not None:
        data, images[NOVEL] = without_classes(data, known, FIRST_KNOWN.get(job.data))
    model = fit(job, data, benchmark(known).arguments(job))
    numbers = jobs.of_fit(model, data) | {
        "classes": data.named(model.classes_).tolist(),
        "n_labeled": len(data.x_lab),
        "n_unlabeled": 0 if data.x_unlab is None else len(data.x_unlab),
        "auroc": auroc(model, data.x_test, images),
        "notes": notes,
    }
    return numbers | jobs.tested(data, model.classes_, model.predict_proba(data.x_test))


def fit(job: Job, data: RunData, arguments: Mapping[str, Any]) -> CLSGANClassifier:
    given = {"flip": data.flip, "layout": data.layout, **arguments}
    budget = {"time_limit": job.seconds, "max_steps": job.steps}
    model = CLSGANClassifier(**{**given, **budget, "random_state": job.seed})
    return model.fit(data.x_lab, data.y_lab, X_unlab=data.x_unlab)


def without_classes(
    data: RunData, known: int, order: Sequence[int] | None = None
) -> tuple[RunData, NDArray[Any]]:
    """The data with labels of `known` classes alone, and the test rows of the other ones.

    Labeled rows of the others join the pool. Classes are known in the given order, else by number.
    """
    classes = list(order or np.unique(data.y_lab).tolist())
    if not 2 <= known < len(classes):
        raise ValueError(f"--known {known} is not valid; give 2 to {len(classes) - 1}")
    lab, test = (np.isin(y, classes[:known]) for y in (data.y_lab, data.y_test))
    pool = [data.x_lab[~lab]] + ([] if data.x_unlab is None else [data.x_unlab])
    fewer = replace(
        data,
        x_lab=data.x_lab[lab],
        y_lab=data.y_lab[lab],
        x_unlab=np.concatenate(pool),
        x_test=data.x_test[test],
        y_test=data.y_test[test],
        labeled_rows=data.labeled_rows[lab],
    )
    return fewer, data.x_test[~test]


def auroc(
    model: CLSGANClassifier, test: NDArray[Any], outliers: Mapping[str, NDArray[Any]]
) -> dict[str, dict[str, float]]:
    """Areas under the ROC curve of two scores, each kind of outlier against the test rows."""
    inside = outlier_scores(model, test)
    areas = {}
    for kind, images in outliers.items():
        outside = outlier_scores(model, images)
        truth = np.repeat([0, 1], [len(test), len(images)])
        areas[kind] = {
            name: float(roc_auc_score(truth, np.concatenate([inside[name], outside[name]])))
            for name in inside
        }
    return areas


def outlier_scores(model: CLSGANClassifier, x: NDArray[Any]) -> Scores:
    """The model's own score, and how small the largest class probability is."""
    largest = model.predict_proba(x).max(axis=1)
    return {"outlier_score": model.outlier_score(x), "largest_probability": -largest}


def main(argv: Sequence[str] | None = None) -> int:
    """As `jobs.main`, with `--known` beside its options."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--known", type=int)
    parser.add_argument("--methods", nargs="+", default=[])
    parser.add_argument("--job")
    options, rest = parser.parse_known_args(argv)
    known = options.known
    if options.job:  # a process that runs one job: its method says how many classes are known
        known = variant_of(json.loads(options.job)["method"])[1]
        rest += ["--job", options.job]
    if options.methods:
        suffix = "" if known is None else f"{AT_KNOWN}{known}"
        rest += ["--methods", *(name + suffix for name in options.methods)]
    description = f"{__doc__.splitlines()[0]} --known N leaves labels to N classes alone."
    return jobs.main(benchmark(known), description, ["--out", str(RESULTS), *rest])


if __name__ == "__main__":
    raise SystemExit(main())
