"""The work of the study of classifiers: a system that gives one score a class, by its error."""

import argparse
from collections.abc import Mapping
from typing import Any

from jobs import tested
from objective_jobs import Job
from objective_variants import Arguments

from clsgan import CLSGANClassifier
from clsgan.config import DataConfig
from clsgan.run_data import load_run_data

N_LABELS = 100
# As wide as those of the other studies on images, with batch norm; all else is the estimator's own.
CLASSIFIER: Arguments = {
    "loss_network": "small",
    "loss_network_options": {"widths": [16, 32, 64]},
    "generator_options": {"widths": [32, 16, 16]},
}


def classifier_settings(job: Job, arguments: Mapping[str, Any]) -> Arguments:
    """Arguments of `CLSGANClassifier`: those of the study, with those of the variant over them."""
    budget = {"max_steps": job.steps, "time_limit": job.seconds, "random_state": job.seed}
    return {**CLASSIFIER, **arguments, **budget, "accelerator": "cpu"}


def classify(job: Job, arguments: Arguments, options: argparse.Namespace) -> dict[str, Any]:
    """Train with few labels and the other training rows as a pool; the error on test rows.

    The seed draws the labels, the same for every system, and starts the training.
    """
    path = options.path[0] if options.path else None
    data = load_run_data(DataConfig(job.data, path, labels=N_LABELS, seed=job.seed))
    config = classifier_settings(job, arguments)
    split = {"name": data.split, "hash": data.split_hash, "n_labeled": len(data.y_lab)}
    split["n_unlabeled"] = 0 if data.x_unlab is None else len(data.x_unlab)
    facts = {"split": split}
    model = CLSGANClassifier(**config, flip=data.flip, layout=data.layout)
    try:
        model.fit(data.x_lab, data.y_lab, X_unlab=data.x_unlab)
    except FloatingPointError as error:
        return facts | {"diverged": str(error), "measures": {}, "seconds": None, "steps": None}
    numbers = tested(data, model.classes_, model.predict_proba(data.x_test))
    measures = {name: numbers[name] for name in ("error", "expected_calibration_error", "n_test")}
    return facts | {
        "seconds": float(model.fit_time_),
        "steps": int(model.n_steps_),
        "images_per_second": float(model.images_per_second_),
        "precision": model.precision_,
        "measures": measures,
    }
