"""How the loss network is kept Lipschitz: as given, or as its system has it."""

import math
import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np

from clsgan.choices import is_within, one_of
from clsgan.objectives import Objective
from clsgan.penalty_terms import PENALTIES

PENALTY_WEIGHTS = {"direct": 1.0, "direct_squared": 1.0, "gp": 10.0, "max": 0.1}


def resolve_control(
    params: Mapping[str, Any], objective: Objective, has_generator: bool, n_inputs: int | None
) -> dict[str, Any]:
    """How the loss network is kept Lipschitz, and its steps: as given, or as the system has it.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    objective : Objective
    has_generator : bool
    n_inputs : int or None
        Numbers in a row, or in an image; None for a classifier.

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
    >>> from clsgan.objectives import build_objective
    >>> params = {"penalty": "auto", "penalty_weight": None, "one_sided": None, "clip": "auto",
    ...           "penalty_target": None, "steepest_buffer": 0, "spectral_norm": False,
    ...           "critic_steps": None}
    >>> resolve_control(params, build_objective("lipschitz_gan"), True, 2)["penalty"]
    'max'
    """
    own = objective.system.control(n_inputs) if objective.system is not None else {}
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
    same = penalty == own.get("penalty")
    same = same and control["one_sided"] in (None, own.get("one_sided", False))
    kept = own if same else {}
    if control["penalty_weight"] is None:
        default = PENALTY_WEIGHTS.get(penalty, 0.0) if penalty else 0.0
        control["penalty_weight"] = kept.get("penalty_weight", default)
    if control["one_sided"] is None:
        control["one_sided"] = kept.get("one_sided", False)
    _check_control(control, params["penalty_target"])
    target = params["penalty_target"]
    control["penalty_target"] = float(kept.get("penalty_target", 1.0) if target is None else target)
    budget = params.get("max_steps")
    if is_within(budget, 1) and budget < control["critic_steps"]:
        warnings.warn(
            f"max_steps={budget} is below critic_steps={control['critic_steps']}: the generator "
            "takes no step",
            stacklevel=2,
        )
    if not has_generator and (objective.system is not None or penalty in ("gp", "max")):
        raise ValueError(
            "without generated rows (generator=None, generated_batch_size=0) neither a system "
            "nor a penalty at interpolates can be trained"
        )
    return control


def _check_control(control: Mapping[str, Any], target: Any) -> None:
    steps, buffer, clip = (control[key] for key in ("critic_steps", "steepest_buffer", "clip"))
    if not isinstance(steps, Integral) or steps < 1:
        raise ValueError(f"critic_steps={steps!r} is not valid; it is a whole number >= 1")
    if not isinstance(buffer, Integral) or isinstance(buffer, bool) or buffer < 0:
        raise ValueError(f"steepest_buffer={buffer!r} is not valid; it is a whole number >= 0")
    if not is_within(control["penalty_weight"], 0, math.inf):
        raise ValueError(f"penalty_weight={control['penalty_weight']!r} is not valid; it is >= 0")
    if clip is not None and (not is_within(clip, 0, math.inf) or clip == 0):
        raise ValueError(f"clip={clip!r} is not valid; it is 'auto', None or a number above 0")
    if target is not None and not is_within(target, 0, math.inf):
        raise ValueError(f"penalty_target={target!r} is not valid; it is None or >= 0")
    if target is not None and control["penalty"] != "gp":
        raise ValueError(
            f"penalty_target={target!r} is of penalty='gp'; got {control['penalty']!r}"
        )
    for name in ("one_sided", "spectral_norm"):
        if not isinstance(control[name], bool | np.bool_):
            raise ValueError(f"{name}={control[name]!r} is not valid; it is True or False")
    for name, its in (("one_sided", "gp"), ("steepest_buffer", "max")):
        if control[name] and control["penalty"] != its:
            raise ValueError(
                f"{name}={control[name]!r} is of penalty={its!r}; got {control['penalty']!r}"
            )
