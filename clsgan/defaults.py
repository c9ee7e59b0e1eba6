"""What the "auto" and None of the estimator's parameters come to, given the training data."""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from clsgan.choices import one_of
from clsgan.inputs import InputSpec
from clsgan.objectives import build_objective
from clsgan.schedules import SCHEDULES
from clsgan.settings import Settings
from clsgan.train_state import OPTIMIZERS

OBJECTIVE_FIELDS = (
    "hinge_weight",
    "unlabeled_weight",
    "margin_scale",
    "margin_norm",
    "open_class",
    "unlabeled_fakes",
    "unlabeled_hinge_weight",
    "label_smoothing",
)
TRAINING_FIELDS = (
    "batch_size",
    "unlabeled_share",
    "unlabeled_start",
    "generated_batch_size",
    "generator_interval",
    "optimizer",
    "schedule",
    "learning_rate",
    "generator_learning_rate",
    "weight_decay",
    "average_decay",
)
# Section 7.2 and 7.4.1 of arXiv 1701.06264: 64 labeled and 64 unlabeled rows, Adam, lr x 0.8 every
# 25 epochs; one generated row for each real one; the weight decay is that of the published code.
PAPER_TRAINING: dict[str, Any] = {
    "batch_size": 128,
    "unlabeled_share": 0.5,
    "unlabeled_start": 0.0,
    "generated_batch_size": 128,
    "generator_interval": 1,
    "optimizer": "adam",
    "schedule": "step_decay",
    "learning_rate": 1e-3,
    "generator_learning_rate": 1e-3,
    "weight_decay": 5e-5,
    "average_decay": 0.99,
}
IMAGE_TRAINING: dict[str, Any] = {
    "unlabeled_share": 0.5,
    "unlabeled_start": 0.4,
    "optimizer": "sgd",
    "schedule": "linear",
    "generator_learning_rate": 1e-3,
    "weight_decay": 5e-3,
    "average_decay": 0.99,
}
# By the number of rows, labeled and unlabeled: few rows gain more from many small steps.
IMAGE_BATCHES: dict[int, dict[str, Any]] = {
    20_000: {
        "batch_size": 256,
        "learning_rate": 0.2,
        "generated_batch_size": 64,
        "generator_interval": 2,
    },
    5_000: {
        "batch_size": 128,
        "learning_rate": 0.15,
        "generated_batch_size": 64,
        "generator_interval": 2,
    },
    0: {
        "batch_size": 64,
        "learning_rate": 0.1,
        "generated_batch_size": 32,
        "generator_interval": 1,
    },
}
ROW_TRAINING: dict[str, Any] = IMAGE_TRAINING | {
    "batch_size": 128,
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "weight_decay": 1e-2,
    "generated_batch_size": 64,
    "generator_interval": 2,
}
STEP_RANGE = (200, 10_000)
PASSES = 20
SGD_NETWORKS = ("auto", "small", "wide_resnet_28_2")


def resolve_settings(params: Mapping[str, Any], spec: InputSpec, n_rows: int) -> Settings:
    """Settings of the loop from the estimator's parameters and the form of the data.

    Parameters
    ----------
    params : mapping
        `CLSGANClassifier.get_params`; None and "auto" mean the default for this data.
    spec : InputSpec
    n_rows : int
        Labeled and unlabeled rows together.

    Returns
    -------
    Settings

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of range.

    Examples
    --------
    >>> from clsgan import CLSGANClassifier
    >>> params = CLSGANClassifier(batch_size=32).get_params()
    >>> resolve_settings(params, InputSpec((4,), "ND", "float64"), n_rows=10).batch_size
    32
    """
    changes = {name: params[name] for name in OBJECTIVE_FIELDS}
    changes["unlabeled"] = None if params["unlabeled"] == "auto" else params["unlabeled"]
    objective = build_objective(params["objective"], **changes)
    training = dict(_training_defaults(params, spec, n_rows))
    training |= {name: params[name] for name in TRAINING_FIELDS if params[name] is not None}
    if params["generated_batch_size"] is None and objective.unlabeled_fakes == "prior":
        training["generated_batch_size"] = training["batch_size"]  # one for each real row
    if params["generator"] is None:
        training["generated_batch_size"] = 0
    _check_training(training)
    _check_parameters(params)
    settings = Settings(objective=objective, **training)
    _check_prior_fakes(settings)
    return settings


def default_steps(n_rows: int, batch_size: int) -> int:
    """Steps of a run for which neither `max_steps` nor `time_limit` is given.

    Parameters
    ----------
    n_rows : int
        Labeled and unlabeled rows together.
    batch_size : int

    Returns
    -------
    int
        Twenty passes over all rows, at least 200 and at most 10,000 steps.

    Examples
    --------
    >>> default_steps(50, 128), default_steps(40_000, 256)
    (200, 3125)
    """
    return int(min(max(PASSES * n_rows / batch_size, STEP_RANGE[0]), STEP_RANGE[1]))


def _training_defaults(params: Mapping[str, Any], spec: InputSpec, n_rows: int) -> dict[str, Any]:
    if params["objective"] == "paper":
        return PAPER_TRAINING
    if not spec.is_image:
        return ROW_TRAINING
    batches = next(sizes for least, sizes in IMAGE_BATCHES.items() if n_rows >= least)
    training = IMAGE_TRAINING | batches
    if params["loss_network"] in SGD_NETWORKS:
        return training
    return training | {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-2}


def _check_training(training: Mapping[str, Any]) -> None:
    one_of("optimizer", training["optimizer"], OPTIMIZERS)
    one_of("schedule", training["schedule"], SCHEDULES)
    for name, least in (("batch_size", 1), ("generator_interval", 1), ("generated_batch_size", 0)):
        value = training[name]
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name}={value!r} is not valid; it is a whole number >= {least}")
    for name in ("learning_rate", "generator_learning_rate"):
        if not _is_within(training[name], 0, math.inf) or training[name] == 0:
            raise ValueError(f"{name}={training[name]!r} is not valid; it is a number above 0")
    if not _is_within(training["weight_decay"], 0, math.inf):
        raise ValueError(f"weight_decay={training['weight_decay']!r} is not valid; it is >= 0")
    for name in ("unlabeled_share", "unlabeled_start", "average_decay"):
        if not _is_within(training[name], 0, 1):
            raise ValueError(f"{name}={training[name]!r} is not valid; it is in [0, 1]")


def _check_parameters(params: Mapping[str, Any]) -> None:
    """Refuse numbers of the estimator that are not part of the settings."""
    for name in ("latent_dim", "max_steps"):
        value = params[name]
        if value is not None and (not isinstance(value, Integral) or value < 1):
            raise ValueError(f"{name}={value!r} is not valid; it is a whole number >= 1")
    value = params["validation_fraction"]
    if not _is_within(value, 0, 1) or value == 1:
        raise ValueError(f"validation_fraction={value!r} is not valid; it is in [0, 1)")


def _check_prior_fakes(settings: Settings) -> None:
    """Refuse a batch in which no generated row is left to stand against unlabeled ones."""
    if settings.objective.unlabeled_fakes != "prior" or not settings.generated_batch_size:
        return
    labeled = settings.sizes(1.0, has_unlabeled=True, world_size=1).labeled
    if settings.generated_batch_size <= labeled and settings.objective.unlabeled != "none":
        raise ValueError(
            f"generated_batch_size={settings.generated_batch_size} leaves none for the unlabeled "
            f"rows beside {labeled} labeled ones; give more than {labeled}, or "
            "unlabeled_fakes='shared'"
        )


def _is_within(value: object, low: float, high: float) -> bool:
    return isinstance(value, Real) and math.isfinite(value) and low <= float(value) <= high
