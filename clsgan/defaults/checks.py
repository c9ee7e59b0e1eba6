"""Numbers and combinations of parameters that are refused."""

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from clsgan.choices import is_within, one_of, unknown_name
from clsgan.documents import OMITTED
from clsgan.inputs import LAYOUTS, InputSpec
from clsgan.objectives import SYSTEMS, UNLABELED, Objective
from clsgan.schedules import SCHEDULES
from clsgan.settings import Settings
from clsgan.streams import NOISES
from clsgan.train_state import OPTIMIZERS

WHOLE_NUMBERS = (
    ("batch_size", 2),
    ("generator_interval", 1),
    ("generated_batch_size", 0),
    ("latent_dim", 1),
)
WITHOUT_CLASSES = {
    "output": "the losses of the classes are never below 0",
    "hinge_weight": "it is the parameter hinge_weight, beside the labeled term",
}


def check_kept(params: Mapping[str, Any]) -> None:
    """Refuse options that a model read from a folder has lost.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.

    Raises
    ------
    ValueError
        With the option to give anew.

    Examples
    --------
    >>> check_kept({"objective_options": {"cost": {"$omitted": "function"}}})
    Traceback (most recent call last):
    ValueError: objective_options: 'cost' was a function, which a saved model does not keep; give
    it anew
    """
    options = params["objective_options"]
    for name, value in options.items() if isinstance(options, Mapping) else ():
        if isinstance(value, Mapping) and OMITTED in value:
            raise ValueError(
                f"objective_options: {name!r} was a {value[OMITTED]}, which a saved model does not "
                "keep; give it anew"
            )


def check_training(training: Mapping[str, Any]) -> None:
    """Refuse numbers of the settings that are out of range.

    Parameters
    ----------
    training : mapping
        Values of `clsgan.defaults.resolve.TRAINING_FIELDS`.

    Raises
    ------
    ValueError

    Examples
    --------
    See `clsgan.defaults.resolve_settings`.
    """
    one_of("optimizer", training["optimizer"], OPTIMIZERS)
    one_of("schedule", training["schedule"], SCHEDULES)
    for name, least in WHOLE_NUMBERS:
        value = training[name]
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name}={value!r} is not valid; it is a whole number >= {least}")
    for name in ("learning_rate", "generator_learning_rate"):
        if not is_within(training[name], 0, math.inf) or training[name] == 0:
            raise ValueError(f"{name}={training[name]!r} is not valid; it is a number above 0")
    for name in ("weight_decay", "generator_weight_decay"):
        if not is_within(training[name], 0, math.inf):
            raise ValueError(f"{name}={training[name]!r} is not valid; it is >= 0")
    one_of("noise", training["noise"], NOISES)
    for name in ("unlabeled_share", "unlabeled_start", "average_decay"):
        if not is_within(training[name], 0, 1):
            raise ValueError(f"{name}={training[name]!r} is not valid; it is in [0, 1]")


def check_parameters(params: Mapping[str, Any]) -> None:
    """Refuse numbers of the estimator that are not part of the settings.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.

    Raises
    ------
    ValueError

    Examples
    --------
    See `clsgan.defaults.resolve_settings`.
    """
    steps, seconds = params["max_steps"], params["time_limit"]
    if steps is not None and (not isinstance(steps, Integral) or steps < 1):
        raise ValueError(f"max_steps={steps!r} is not valid; it is a whole number >= 1")
    if seconds is not None and (not is_within(seconds, 0, math.inf) or seconds == 0):
        raise ValueError(f"time_limit={seconds!r} is not valid; it is a number of seconds above 0")
    if params["layout"] not in LAYOUTS:
        raise ValueError(unknown_name("layout", params["layout"], LAYOUTS))
    value = params["validation_fraction"]
    if not is_within(value, 0, 1) or value == 1:
        raise ValueError(f"validation_fraction={value!r} is not valid; it is in [0, 1)")


def check_class_options(params: Mapping[str, Any]) -> None:
    """Refuse options of a system that mean something without classes alone.

    Parameters
    ----------
    params : mapping
        The classifier's parameters.

    Raises
    ------
    ValueError

    Examples
    --------
    See `clsgan.defaults.resolve_settings`.
    """
    given = params["objective_options"] or {}
    for name, instead in WITHOUT_CLASSES.items():
        if name in given and params["objective"] in SYSTEMS:
            raise ValueError(f"the option {name} is of LSGAN; in a classifier {instead}")
    if given.get("pairs") == "all" and params["objective"] in SYSTEMS:
        raise ValueError(
            "pairs='all' is of LSGAN; in a classifier it would compare losses of different "
            "classes, and eq. 14 and 15 ask for a margin at one class: leave it at 'matched'"
        )


def check_level_options(params: Mapping[str, Any], objective: Objective) -> None:
    """Refuse weights of the level's terms where there is no level.

    Parameters
    ----------
    params : mapping
        The classifier's parameters.
    objective : Objective

    Raises
    ------
    ValueError

    Examples
    --------
    See `clsgan.defaults.resolve_settings`.
    """
    if objective.margins_train == "level" or objective.system is not None:
        return
    for name in ("outlier_weight", "unlabeled_outlier_weight"):
        if params[name]:
            raise ValueError(
                f"{name}={params[name]!r} is of a term that trains the level; with "
                f"margins_train={objective.margins_train!r} (objective={params['objective']!r}) "
                "there is none"
            )


def check_prior(params: Mapping[str, Any], objective: Objective) -> None:
    """Refuse a class prior that nothing is aligned to.

    Parameters
    ----------
    params : mapping
        The classifier's parameters.
    objective : Objective

    Raises
    ------
    ValueError

    Examples
    --------
    See `clsgan.defaults.resolve_settings`.
    """
    given, asked = params["class_prior"], UNLABELED[objective.unlabeled]
    if (isinstance(given, str) and given == "labels") or objective.unlabeled == "none":
        return
    if asked is None or not asked.aligned or not objective.class_alignment:
        raise ValueError(
            f"class_prior={given!r} is what soft labels are aligned to; unlabeled="
            f"{objective.unlabeled!r} with class_alignment={objective.class_alignment} aligns none"
        )


def check_rotation(objective: Objective, spec: InputSpec) -> None:
    """Refuse to turn what is no square image.

    Parameters
    ----------
    objective : Objective
    spec : InputSpec

    Raises
    ------
    ValueError

    Examples
    --------
    See `clsgan.defaults.resolve_settings`.
    """
    if objective.rotation_weight and not spec.is_square:
        raise ValueError(
            f"rotation_weight={objective.rotation_weight} tells by how many quarter turns images "
            f"were turned, and needs square ones; these rows have the shape {spec.shape}"
        )


def check_cutmix(settings: Settings, spec: InputSpec) -> None:
    """Refuse to mix what is no image, or what margins or a critic take for rows of one class.

    Parameters
    ----------
    settings : Settings
    spec : InputSpec

    Raises
    ------
    ValueError

    Examples
    --------
    See `clsgan.defaults.resolve_settings`.
    """
    share = settings.objective.cutmix
    if share and not spec.is_image:
        raise ValueError(
            f"cutmix={share} puts boxes of images into others; these rows have the shape "
            f"{spec.shape}"
        )
    if share and settings.generated_batch_size and settings.objective.margins_train != "level":
        raise ValueError(
            f"cutmix={share} mixes images of two classes, which margins and critics that train "
            "the whole network take for images of one; give margins_train='level' (which no "
            "system has), or cutmix=0"
        )


def check_prior_fakes(settings: Settings) -> None:
    """Refuse a batch in which no generated row is left to stand against unlabeled ones.

    Parameters
    ----------
    settings : Settings

    Raises
    ------
    ValueError

    Examples
    --------
    See `clsgan.defaults.resolve_settings`.
    """
    if settings.objective.unlabeled_fakes != "prior" or not settings.generated_batch_size:
        return
    fewest_known = 1.0 if settings.objective.unlabeled_filter is None else 0.0
    labeled = settings.sizes(1.0, True, world_size=1, known_share=fewest_known).labeled
    if settings.generated_batch_size <= labeled and settings.objective.unlabeled != "none":
        raise ValueError(
            f"generated_batch_size={settings.generated_batch_size} leaves none for the unlabeled "
            f"rows beside {labeled} labeled ones; give more than {labeled}, or "
            "unlabeled_fakes='shared'"
        )
