"""What the "auto" and None of the estimator's parameters come to, given the training data."""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from clsgan.augment import Augment, albumentations_augment, build_augment, photo_pipeline
from clsgan.choices import one_of, unknown_name
from clsgan.class_balance import ESTIMATE
from clsgan.critic_terms import PENALTIES
from clsgan.inference import VIEWS
from clsgan.inputs import LAYOUTS, InputSpec
from clsgan.objectives import SYSTEMS, UNLABELED, Objective, build_objective
from clsgan.schedules import SCHEDULES
from clsgan.settings import Settings
from clsgan.streams import NOISES
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
    "class_alignment",
    "margins_train",
    "outlier_weight",
    "unlabeled_outlier_weight",
    "unlabeled_filter",
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
MANY_ROWS, MANY_ROWS_WIDTHS = 20_000, [64, 128, 256]
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
PENALTY_WEIGHTS = {"direct": 1.0, "direct_squared": 1.0, "gp": 10.0, "max": 0.1}
WITHOUT_CLASSES = {
    "output": "the losses of the classes are never below 0",
    "hinge_weight": "it is the parameter hinge_weight, beside the labeled term",
}
LIKE_PAPER = ("paper", "cls_gan")
WHOLE_NUMBERS = (
    ("batch_size", 2),
    ("generator_interval", 1),
    ("generated_batch_size", 0),
    ("latent_dim", 1),
)
STEP_RANGE = (200, 10_000)
PASSES = 20
PHOTO_SIDE = 48
PIPELINE_FILES = (".yaml", ".yml", ".json")
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
    _check_class_options(params)
    if isinstance(params["class_prior"], str) and params["class_prior"] == ESTIMATE:
        changes["estimate_prior"] = True
    objective = build_objective(params["objective"], params["objective_options"], **changes)
    _check_prior(params, objective)
    training = dict(_training_defaults(params, spec, n_rows))
    training |= {name: params[name] for name in TRAINING_FIELDS if params[name] is not None}
    if params["generated_batch_size"] is None and objective.unlabeled_fakes == "prior":
        training["generated_batch_size"] = training["batch_size"]  # one for each real row
    if params["generator"] is None:
        training["generated_batch_size"] = 0
    _check_training(training)
    _check_parameters(params)
    control = resolve_control(params, objective, training["generated_batch_size"] > 0)
    settings = Settings(objective=objective, **training, **control)
    _check_prior_fakes(settings)
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
    own = {key: params[key] for key in ("margin_scale", "margin_norm")}
    objective = build_objective(name, params["objective_options"], **own, unlabeled="none")
    training = DENSITY_TRAINING | ({} if spec.is_image else DENSITY_ROWS)
    given = {key: params.get(key) for key in TRAINING_FIELDS}
    training |= {key: value for key, value in given.items() if value is not None}
    training["generated_batch_size"] = training["batch_size"]
    _check_training(training)
    _check_parameters(params)
    if params["generator"] is None:
        raise ValueError("generator=None is not valid; every system needs a generator")
    control = resolve_control(params, objective, has_generator=True)
    control["log_gradients"] = bool(params["log_gradients"])
    return Settings(objective=objective, conditional=False, **training, **control)


def resolve_control(
    params: Mapping[str, Any], objective: Objective, has_generator: bool
) -> dict[str, Any]:
    """How the loss network is kept Lipschitz, and its steps: as given, or as the system has it.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    objective : Objective
    has_generator : bool

    Returns
    -------
    dict
        Fields of `Settings`.

    Raises
    ------
    ValueError
        If a value is not valid, or options are given for another penalty.

    Examples
    --------
    >>> params = {"penalty": "auto", "penalty_weight": None, "one_sided": None, "clip": "auto",
    ...           "steepest_buffer": 0, "spectral_norm": False, "critic_steps": None}
    >>> resolve_control(params, build_objective("lipschitz_gan"), True)["penalty"]
    'max'
    """
    own = objective.system.control() if objective.system is not None else {}
    steps = params["critic_steps"]
    control = {
        "penalty": own.get("penalty") if params["penalty"] == "auto" else params["penalty"],
        "clip": own.get("clip") if params["clip"] == "auto" else params["clip"],
        "critic_steps": own.get("critic_steps", 1) if steps is None else steps,
        "penalty_weight": params["penalty_weight"],
        **{name: params[name] for name in ("one_sided", "steepest_buffer", "spectral_norm")},
    }
    penalty = control["penalty"]
    if penalty is not None:
        one_of("penalty", penalty, PENALTIES)
    elif control["penalty_weight"] is not None:
        raise ValueError(
            f"penalty_weight={control['penalty_weight']!r} is of a penalty; got penalty=None"
            f"{' (as the objective has none)' if params['penalty'] == 'auto' else ''}"
        )
    kept = own if penalty == own.get("penalty") else {}
    if control["penalty_weight"] is None:
        default = PENALTY_WEIGHTS.get(penalty, 0.0) if penalty else 0.0
        control["penalty_weight"] = kept.get("penalty_weight", default)
    if control["one_sided"] is None:
        control["one_sided"] = kept.get("one_sided", False)
    _check_control(control)
    if not has_generator and (objective.system is not None or penalty in ("gp", "max")):
        raise ValueError(
            "without generated rows (generator=None, generated_batch_size=0) neither a system "
            "nor a penalty at interpolates can be trained"
        )
    return control


def _check_class_options(params: Mapping[str, Any]) -> None:
    """Refuse options that mean something without classes alone."""
    given = params["objective_options"] or {}
    for name, instead in WITHOUT_CLASSES.items():
        if name in given and params["objective"] in SYSTEMS:
            raise ValueError(f"the option {name} is of LSGAN; in a classifier {instead}")
    if given.get("pairs") == "all" and params["objective"] in SYSTEMS:
        raise ValueError(
            "pairs='all' is of LSGAN; in a classifier it would compare losses of different "
            "classes, and eq. 14 and 15 ask for a margin at one class: leave it at 'matched'"
        )


def _check_control(control: Mapping[str, Any]) -> None:
    steps, buffer, clip = (control[key] for key in ("critic_steps", "steepest_buffer", "clip"))
    if not isinstance(steps, Integral) or steps < 1:
        raise ValueError(f"critic_steps={steps!r} is not valid; it is a whole number >= 1")
    if not isinstance(buffer, Integral) or buffer < 0:
        raise ValueError(f"steepest_buffer={buffer!r} is not valid; it is a whole number >= 0")
    if not _is_within(control["penalty_weight"], 0, math.inf):
        raise ValueError(f"penalty_weight={control['penalty_weight']!r} is not valid; it is >= 0")
    if clip is not None and (not _is_within(clip, 0, math.inf) or clip == 0):
        raise ValueError(f"clip={clip!r} is not valid; it is 'auto', None or a number above 0")
    for name, its in (("one_sided", "gp"), ("steepest_buffer", "max")):
        if control[name] and control["penalty"] != its:
            raise ValueError(
                f"{name}={control[name]!r} is of penalty={its!r}; got {control['penalty']!r}"
            )


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


def choose_augment(
    params: Mapping[str, Any], spec: InputSpec, from_files: bool, has_unlabeled: bool = False
) -> tuple[Augment, Augment]:
    """Augmentation of the labeled and of the generated rows.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec
    from_files : bool
        Whether X was read from image files.
    has_unlabeled : bool
        Whether unlabeled rows are trained on too: "auto" is then "weak" in place of "medium".

    Returns
    -------
    (augment, generated_augment)
        The same, but for albumentations pipelines: no gradient passes them, and generated rows get
        the family "weak".

    Raises
    ------
    ValueError
        If a name is unknown.

    Examples
    --------
    >>> params = {"augment": "auto", "flip": "auto", "objective": "default"}
    >>> real, generated = choose_augment(params, InputSpec((4,), "ND", "float64"), False)
    >>> real is generated
    True
    """
    wanted = _settled(params["augment"], params, spec, from_files)
    if has_unlabeled and _is_auto(params["augment"]) and wanted == "medium":
        wanted = "weak"
    augment = _build(wanted, params, spec)
    if _is_family(wanted):
        return augment, augment
    return augment, _build("weak", params, spec)


def choose_unlabeled_augment(
    params: Mapping[str, Any], spec: InputSpec, from_files: bool, augment: Augment
) -> Augment:
    """Augmentation of the unlabeled rows that the loss network learns from.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec
    from_files : bool
        Whether X was read from image files.
    augment : callable
        That of the labeled rows.

    Returns
    -------
    callable
        "auto" is "strong" where `augment` is "auto" and comes to a family, else `augment`.

    Raises
    ------
    ValueError
        If a name is unknown.

    Examples
    --------
    >>> params = {"unlabeled_augment": "auto", "augment": "none", "objective": "default"}
    >>> keep = lambda x, generator: x
    >>> choose_unlabeled_augment(params, InputSpec((4,), "ND", "float64"), False, keep) is keep
    True
    """
    wanted = params["unlabeled_augment"]
    if not _is_auto(wanted):
        return _build(wanted, params, spec)
    if not _is_auto(params["augment"]):
        return augment
    settled = _settled("auto", params, spec, from_files)
    return _build("strong", params, spec) if settled == "medium" else augment


def flips(flip: str | bool, spec: InputSpec) -> bool:
    """Whether to mirror images; "auto" mirrors colour ones: grey ones are often digits, letters.

    Parameters
    ----------
    flip : {"auto", True, False}
    spec : InputSpec

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If it is another string.

    Examples
    --------
    >>> flips("auto", InputSpec((3, 32, 32), "NHWC", "uint8"))
    True
    """
    if isinstance(flip, str):
        if flip != "auto":
            raise ValueError(f"flip={flip!r} is not valid; choose 'auto', True or False")
        return spec.is_image and spec.shape[0] == 3
    return bool(flip) and spec.is_image


def choose_network_options(
    params: Mapping[str, Any], spec: InputSpec, n_rows: int
) -> Mapping[str, Any] | None:
    """Arguments of the loss network: those given, or for "auto" the widths for this much data.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec
    n_rows : int
        Labeled and unlabeled rows together.

    Returns
    -------
    mapping or None

    Examples
    --------
    >>> params = {"loss_network": "auto", "loss_network_options": None}
    >>> spec = InputSpec((3, 32, 32), "NHWC", "uint8")
    >>> choose_network_options(params, spec, 40_000), choose_network_options(params, spec, 2_000)
    ({'widths': [64, 128, 256]}, None)
    """
    given: Mapping[str, Any] | None = params["loss_network_options"]
    if given is None and _is_auto(params["loss_network"]) and spec.is_image and n_rows >= MANY_ROWS:
        return {"widths": list(MANY_ROWS_WIDTHS)}
    return given


def choose_views(params: Mapping[str, Any], spec: InputSpec) -> str:
    """Views of a row that predictions are averaged over: a key of `clsgan.inference.VIEWS`.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec

    Returns
    -------
    str
        "auto" is "mirror" where images are mirrored in training, else "plain".

    Raises
    ------
    ValueError
        If the name is unknown, or rows are to be mirrored.

    Examples
    --------
    >>> params = {"predict_views": "auto", "augment": "auto", "flip": "auto"}
    >>> params |= {"objective": "default"}
    >>> choose_views(params, InputSpec((3, 32, 32), "NHWC", "uint8"))
    'mirror'
    """
    wanted = params["predict_views"]
    if wanted == "auto":
        augment = _settled(params["augment"], params, spec, from_files=False)
        mirrored = augment != "none" and flips(params["flip"], spec)
        return "mirror" if mirrored else "plain"
    one_of("predict_views", wanted, VIEWS)
    if wanted != "plain" and not spec.is_image:
        raise ValueError(f"predict_views={wanted!r} is for images; for rows it is 'plain'")
    return str(wanted)


def _settled(wanted: Any, params: Mapping[str, Any], spec: InputSpec, from_files: bool) -> Any:
    """A family's name or a pipeline: what is wanted, or what "auto" comes to."""
    if not _is_auto(wanted):
        return wanted
    if params["objective"] in LIKE_PAPER or not spec.is_image:
        return "none"
    if from_files and min(spec.shape[1:]) >= PHOTO_SIDE:
        return photo_pipeline(spec.shape[1], spec.shape[2], flips(params["flip"], spec))
    return "medium"


def _is_family(wanted: Any) -> bool:
    """Whether it names a family of `clsgan.augment`, which gradients pass; else a pipeline."""
    return isinstance(wanted, str) and not wanted.endswith(PIPELINE_FILES)


def _build(wanted: Any, params: Mapping[str, Any], spec: InputSpec) -> Augment:
    if _is_family(wanted):
        return build_augment(wanted, spec.shape, flips(params["flip"], spec))
    return albumentations_augment(wanted)


def _is_auto(wanted: Any) -> bool:
    return isinstance(wanted, str) and wanted == "auto"


def _training_defaults(params: Mapping[str, Any], spec: InputSpec, n_rows: int) -> dict[str, Any]:
    if params["objective"] in LIKE_PAPER:
        return PAPER_TRAINING
    if params["objective"] in SYSTEMS:
        plain = {**params, "objective": "default"}
        return _training_defaults(plain, spec, n_rows) | SYSTEM_TRAINING
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
    for name, least in WHOLE_NUMBERS:
        value = training[name]
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name}={value!r} is not valid; it is a whole number >= {least}")
    for name in ("learning_rate", "generator_learning_rate"):
        if not _is_within(training[name], 0, math.inf) or training[name] == 0:
            raise ValueError(f"{name}={training[name]!r} is not valid; it is a number above 0")
    for name in ("weight_decay", "generator_weight_decay"):
        if not _is_within(training[name], 0, math.inf):
            raise ValueError(f"{name}={training[name]!r} is not valid; it is >= 0")
    one_of("noise", training["noise"], NOISES)
    for name in ("unlabeled_share", "unlabeled_start", "average_decay"):
        if not _is_within(training[name], 0, 1):
            raise ValueError(f"{name}={training[name]!r} is not valid; it is in [0, 1]")


def _check_parameters(params: Mapping[str, Any]) -> None:
    """Refuse numbers of the estimator that are not part of the settings."""
    steps, seconds = params["max_steps"], params["time_limit"]
    if steps is not None and (not isinstance(steps, Integral) or steps < 1):
        raise ValueError(f"max_steps={steps!r} is not valid; it is a whole number >= 1")
    if seconds is not None and (not _is_within(seconds, 0, math.inf) or seconds == 0):
        raise ValueError(f"time_limit={seconds!r} is not valid; it is a number of seconds above 0")
    if params["layout"] not in LAYOUTS:
        raise ValueError(unknown_name("layout", params["layout"], LAYOUTS))
    value = params["validation_fraction"]
    if not _is_within(value, 0, 1) or value == 1:
        raise ValueError(f"validation_fraction={value!r} is not valid; it is in [0, 1)")


def _check_prior(params: Mapping[str, Any], objective: Objective) -> None:
    """Refuse a class prior that nothing is aligned to."""
    given, asked = params["class_prior"], UNLABELED[objective.unlabeled]
    if (isinstance(given, str) and given == "labels") or objective.unlabeled == "none":
        return
    if asked is None or not asked.aligned or not objective.class_alignment:
        raise ValueError(
            f"class_prior={given!r} is what soft labels are aligned to; unlabeled="
            f"{objective.unlabeled!r} with class_alignment={objective.class_alignment} aligns none"
        )


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
