"""Batches and optimisation: what None comes to, by the data and the objective."""

from collections.abc import Mapping
from typing import Any

from clsgan.inputs import InputSpec
from clsgan.objectives import SYSTEMS

# Section 7.1 to 7.4.1 of arXiv 1701.06264: 64 labeled and 64 unlabeled rows, Adam, lr x 0.8 every
# 25 epochs, weight decay of both networks (Algorithm 1), noise of 100 uniform values; one generated
# row for each real one. The decay's value is not printed; the published code names 5e-5.
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
    "generator_weight_decay": 5e-5,
    "average_decay": 0.99,
    "latent_dim": 100,
    "noise": "uniform",
}
IMAGE_TRAINING: dict[str, Any] = {
    "unlabeled_share": 0.5,
    "unlabeled_start": 0.2,
    "generated_batch_size": 32,
    "generator_interval": 8,
    "optimizer": "sgd",
    "schedule": "linear",
    "generator_learning_rate": 1e-3,
    "weight_decay": 5e-3,
    "generator_weight_decay": 0.0,
    "average_decay": 0.99,
    "latent_dim": 64,
    "noise": "normal",
}
MANY_ROWS = 20_000
# With so many images, what more generated ones teach the level cannot be told from noise, and takes
# time (docs/ablation.md).
MANY_ROWS_INTERVAL = 16
# By the number of rows, labeled and unlabeled: few rows gain more from many small steps.
IMAGE_BATCHES: dict[int, dict[str, Any]] = {
    MANY_ROWS: {"batch_size": 256, "learning_rate": 0.2},
    5_000: {"batch_size": 128, "learning_rate": 0.15},
    0: {"batch_size": 64, "learning_rate": 0.1},
}
ROW_TRAINING: dict[str, Any] = IMAGE_TRAINING | {
    "batch_size": 128,
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "weight_decay": 1e-2,
    "generated_batch_size": 64,
}
# A critic that is not bounded, beside a classifier: Adam's steps stay small where SGD's would not.
SYSTEM_TRAINING: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 1e-2,
    "generator_interval": 1,
}
# Of `LSGAN`: batch and optimiser as in the published code of LS-GAN; rows take larger
# steps.
DENSITY_TRAINING: dict[str, Any] = {
    "batch_size": 64,
    "unlabeled_share": 0.0,
    "unlabeled_start": 0.0,
    "generator_interval": 1,
    "optimizer": "adam",
    "schedule": "constant",
    "learning_rate": 2e-4,
    "generator_learning_rate": 2e-4,
    "weight_decay": 0.0,
    "generator_weight_decay": 0.0,
    "average_decay": 0.99,
    "latent_dim": 64,
    "noise": "normal",
}
DENSITY_ROWS: dict[str, Any] = {
    "batch_size": 128,
    "learning_rate": 1e-3,
    "generator_learning_rate": 1e-3,
    "latent_dim": 16,
}
LIKE_PAPER = ("paper", "cls_gan")
SGD_NETWORKS = ("auto", "small", "wide_resnet_28_2")
STEP_RANGE = (200, 10_000)
PASSES = 20


def training_defaults(params: Mapping[str, Any], spec: InputSpec, n_rows: int) -> dict[str, Any]:
    """Batches, optimiser and schedule that an objective has for this data.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec
    n_rows : int
        Labeled and unlabeled rows together.

    Returns
    -------
    dict

    Examples
    --------
    >>> params = {"objective": "default", "loss_network": "auto"}
    >>> spec = InputSpec((3, 32, 32), "NHWC", "uint8")
    >>> training_defaults(params, spec, 40_000)["batch_size"]
    256
    """
    if params["objective"] in LIKE_PAPER:
        return PAPER_TRAINING
    if params["objective"] in SYSTEMS:
        plain = {**params, "objective": "default"}
        return training_defaults(plain, spec, n_rows) | SYSTEM_TRAINING
    if not spec.is_image:
        return ROW_TRAINING
    training = IMAGE_TRAINING | _batches(n_rows)
    teach_classes = params.get("margins_train") == "network" or params["loss_network"] == "paper"
    if n_rows >= MANY_ROWS and not teach_classes:
        training["generator_interval"] = MANY_ROWS_INTERVAL
    if params["loss_network"] in SGD_NETWORKS:
        return training
    return training | {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-2}


def default_batch(n_rows: int) -> int:
    """Real images a step of the default, for so many rows.

    Parameters
    ----------
    n_rows : int
        Labeled and unlabeled rows together.

    Returns
    -------
    int

    Examples
    --------
    >>> default_batch(1_297), default_batch(40_000)
    (64, 256)
    """
    return int(_batches(n_rows)["batch_size"])


def _batches(n_rows: int) -> dict[str, Any]:
    return next(sizes for least, sizes in IMAGE_BATCHES.items() if n_rows >= least)


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
