"""Settings of the loop from an estimator's parameters and the form of the data."""

import math
from collections.abc import Mapping
from typing import Any

from clsgan.choices import one_of
from clsgan.class_balance import ESTIMATE
from clsgan.defaults.checks import (
    check_class_options,
    check_cutmix,
    check_kept,
    check_level_options,
    check_parameters,
    check_prior,
    check_prior_fakes,
    check_rotation,
    check_training,
)
from clsgan.defaults.control import resolve_control
from clsgan.defaults.few_labels import (
    FEW_LABELS_ROTATION,
    FEW_LABELS_TRAINING,
    tells_rotations,
)
from clsgan.defaults.training import (
    DENSITY_ROWS,
    DENSITY_TRAINING,
    training_defaults,
)
from clsgan.inputs import InputSpec
from clsgan.objectives import SYSTEMS, build_objective
from clsgan.settings import Settings

OBJECTIVE_FIELDS = (
    "hinge_weight",
    "unlabeled_weight",
    "margin_scale",
    "margin_norm",
    "open_class",
    "unlabeled_fakes",
    "unlabeled_hinge_weight",
    "label_smoothing",
    "class_alignment",
    "margins_train",
    "outlier_weight",
    "unlabeled_outlier_weight",
    "unlabeled_filter",
    "rotation_weight",
    "cutmix",
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
    "generator_weight_decay",
    "average_decay",
    "latent_dim",
    "noise",
)


def resolve_settings(
    params: Mapping[str, Any],
    spec: InputSpec,
    n_rows: int,
    few_labels: bool = False,
) -> Settings:
    """Settings of the loop from the estimator's parameters and the form of the data.

    Parameters
    ----------
    params : mapping
        `CLSGANClassifier.get_params`; None and "auto" mean the default for this data.
    spec : InputSpec
    n_rows : int
        Labeled and unlabeled rows together.
    few_labels : bool, default=False
        Whether there are few labels beside many unlabeled rows (`has_few_labels`).

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
    check_kept(params)
    changes = {name: params[name] for name in OBJECTIVE_FIELDS}
    changes["unlabeled"] = None if params["unlabeled"] == "auto" else params["unlabeled"]
    training = dict(training_defaults(params, spec, n_rows))
    if few_labels and tells_rotations(params, spec) and params["rotation_weight"] != 0:
        training |= FEW_LABELS_TRAINING
        if changes["rotation_weight"] is None:
            changes["rotation_weight"] = FEW_LABELS_ROTATION
    check_class_options(params)
    if isinstance(params["class_prior"], str) and params["class_prior"] == ESTIMATE:
        changes["estimate_prior"] = True
    objective = build_objective(params["objective"], params["objective_options"], **changes)
    check_level_options(params, objective)
    check_prior(params, objective)
    check_rotation(objective, spec)
    training |= {name: params[name] for name in TRAINING_FIELDS if params[name] is not None}
    if params["generated_batch_size"] is None and objective.unlabeled_fakes == "prior":
        training["generated_batch_size"] = training["batch_size"]  # one for each real row
    if params["generator"] is None:
        training["generated_batch_size"] = 0
    check_training(training)
    check_parameters(params)
    has_generator = training["generated_batch_size"] > 0
    control = resolve_control(params, objective, has_generator, n_inputs=None)
    settings = Settings(objective=objective, **training, **control)
    check_prior_fakes(settings)
    check_cutmix(settings, spec)
    return settings


def resolve_density_settings(params: Mapping[str, Any], spec: InputSpec) -> Settings:
    """Settings of the loop for `LSGAN`.

    Parameters
    ----------
    params : mapping
        `LSGAN.get_params` and what it fixes.
    spec : InputSpec

    Returns
    -------
    Settings

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of range.

    Examples
    --------
    >>> from clsgan import LSGAN
    >>> params = LSGAN(objective="wgan_gp").all_params()
    >>> resolve_density_settings(params, InputSpec((2,), "ND", "float64")).critic_steps
    5
    """
    name = params["objective"]
    one_of("objective", name, SYSTEMS)
    check_kept(params)
    own = {key: params[key] for key in ("margin_scale", "margin_norm")}
    objective = build_objective(name, params["objective_options"], **own, unlabeled="none")
    training = DENSITY_TRAINING | ({} if spec.is_image else DENSITY_ROWS)
    given = {key: params.get(key) for key in TRAINING_FIELDS}
    training |= {key: value for key, value in given.items() if value is not None}
    training["generated_batch_size"] = training["batch_size"]
    check_training(training)
    check_parameters(params)
    if params["generator"] is None:
        raise ValueError("generator=None is not valid; every system needs a generator")
    control = resolve_control(params, objective, has_generator=True, n_inputs=math.prod(spec.shape))
    control["log_gradients"] = bool(params["log_gradients"])
    return Settings(objective=objective, conditional=False, **training, **control)
