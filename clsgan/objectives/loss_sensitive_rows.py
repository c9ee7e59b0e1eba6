"""LS-GAN and GLS-GAN as systems: their margins, costs and options.

Shapes: ``[B]`` pairs of a real and a generated row.
"""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from clsgan.choices import is_within, one_of
from clsgan.objectives.costs import Cost, check_cost, elu_cost, hinge_cost, leaky_cost
from clsgan.objectives.loss_sensitive import (
    all_pairs_critic,
    loss_sensitive_critic,
    pair_margins,
    pixel_margin,
)
from clsgan.objectives.system_row import OUTPUTS, Options, Pairs


def build_cost(options: Options) -> Cost:
    """The cost C of the options "cost", "slope" and "alpha".

    Parameters
    ----------
    options : mapping
        "cost" is a key of `COSTS` or a callable that `check_cost` lets pass.

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        If the name is unknown, or the cost breaks a condition of GLS-GAN.

    Examples
    --------
    >>> import torch
    >>> build_cost({"cost": "leaky", "slope": -1.0})(torch.tensor([-2.0]))
    tensor([2.])
    """
    return check_cost(_cost(options))


def _cost(options: Options) -> Cost:
    cost: Any = options["cost"]
    chosen: Cost = cost if callable(cost) else one_of("cost", cost, COSTS)(options)
    return chosen


def check_cost_options(given: Options, chosen: Options) -> None:
    """Refuse a "slope" or an "alpha" that the cost has no use for.

    Parameters
    ----------
    given : mapping
        The options that were given.
    chosen : mapping
        These, and the defaults of the others.

    Raises
    ------
    ValueError
        If one is given for another cost.

    Examples
    --------
    >>> check_cost_options({"slope": 0.5}, LOSS_SENSITIVE)
    Traceback (most recent call last):
    ValueError: slope=0.5 is of cost='leaky'; got cost='hinge'
    """
    for name, its in BENDS.items():
        if name in given and chosen["cost"] != its:
            raise ValueError(
                f"{name}={given[name]!r} is of cost={its!r}; got cost={chosen['cost']!r}"
            )


def loss_sensitive_part(pairs: Pairs, options: Options) -> Tensor:
    """What the loss network minimises: C(margin + L(x) - L(G(z))) of eq. 6.

    Parameters
    ----------
    pairs : Pairs
    options : mapping
        See `LOSS_SENSITIVE`. With a "hinge_weight" the first term of eq. 6, L(x), is there too.

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> import torch
    >>> e = torch.zeros(2)
    >>> pairs = Pairs(e + 3, e, e[:, None], e[:, None], e, e)
    >>> loss_sensitive_part(pairs, LOSS_SENSITIVE)
    tensor([3., 3.])
    """
    features = options["margin"] == "features"
    rows = (pairs.features_real, pairs.features_fake) if features else (pairs.x_real, pairs.x_fake)
    scale, norm, cost = options["margin_scale"], options["margin_norm"], _cost(options)
    if options["pairs"] == "all":
        margins = pair_margins(*rows, scale, norm)
        hinge = all_pairs_critic(pairs.real, pairs.fake, margins, cost)
    else:
        margin = pixel_margin(*rows, scale, norm)
        hinge = loss_sensitive_critic(pairs.real, pairs.fake, margin, cost)
    weight = options["hinge_weight"]
    return hinge if weight is None else pairs.real + weight * hinge


def check_loss_sensitive(options: Options) -> None:
    """Refuse options of "ls_gan" and "gls_gan" that are not valid or cannot go together.

    Parameters
    ----------
    options : mapping
        See `LOSS_SENSITIVE`.

    Raises
    ------
    ValueError
        With the reason.

    Examples
    --------
    >>> check_loss_sensitive({**LOSS_SENSITIVE, "cost": "leaky", "slope": 1.5})
    Traceback (most recent call last):
    ValueError: slope=1.5 breaks C(a) >= a for a < 0; a slope is at most 1
    """
    one_of("margin", options["margin"], dict.fromkeys(("pixels", "features")))
    one_of("pairs", options["pairs"], dict.fromkeys(("matched", "all")))
    one_of("output", options["output"], OUTPUTS)
    build_cost(options)
    weight = options["hinge_weight"]
    if options["margin_norm"] not in (1, 2):
        raise ValueError(f"margin_norm={options['margin_norm']!r} is not valid; it is 1 or 2")
    scale = options["margin_scale"]
    if not is_within(scale, 0) or 0 < scale < TINY:
        raise ValueError(f"margin_scale={scale!r} is not valid; it is 0 or at least {TINY:g}")
    if weight is not None and (not is_within(weight, 0) or weight == 0):
        raise ValueError(f"hinge_weight={weight!r} is not valid; it is None or above 0")
    if weight is not None and options["output"] == "unbounded":
        raise ValueError(
            f"hinge_weight={weight!r} keeps the first term of eq. 6, E[L(x)], which has no minimum "
            "over unbounded losses: lowering all of them changes no hinge; choose another output, "
            "such as 'absolute', or leave the term out (hinge_weight=None, Lemma 1)"
        )


def loss_sensitive_control(options: Options, n_inputs: int | None) -> dict[str, Any]:
    """The Lipschitz control that comes with LS-GAN and GLS-GAN: a penalty in units of the margin.

    Slopes of the loss up to `LOOSE` times the steepest of the margin are free: the losses can
    follow it (kappa above 1 in Assumption 2 of the LS-GAN paper), and pairs that keep it count no
    more. The excess is penalised in the same units, and as much as the hinge weighs, so that it is
    the same for rows of any size.

    In a classifier, with a margin between features and without any, target and weight are 1. The
    labels ask for slopes of their own there, on which the penalty of images would be far too heavy.

    Parameters
    ----------
    options : mapping
        See `LOSS_SENSITIVE`.
    n_inputs : int or None
        Numbers in a row; None in a classifier.

    Returns
    -------
    dict
        Parameters of the estimator.

    Examples
    --------
    >>> control = loss_sensitive_control(LOSS_SENSITIVE, n_inputs=100)
    >>> round(control["penalty_target"], 6), round(control["penalty_weight"], 6)
    (0.98304, 16.556846)
    """
    control: dict[str, Any] = {"penalty": "gp", "one_sided": True, "critic_steps": 5}
    scale, weight = options["margin_scale"], options["hinge_weight"]
    if n_inputs is None or options["margin"] != "pixels" or not scale:
        return control | {"penalty_target": 1.0, "penalty_weight": 1.0}
    steepest = scale / math.sqrt(n_inputs)
    # a hinge pulls at the slope of the loss by its weight times the distance of its pair
    pull = scale / LOSS_SENSITIVE["margin_scale"] * max(1 if weight is None else weight, 1)
    return control | {"penalty_target": LOOSE * steepest, "penalty_weight": pull / steepest**2}


LOOSE = 4.0  # how much steeper than the margin the loss may be
TINY = 1e-9
COSTS: dict[str, Callable[[Options], Cost]] = {
    "hinge": lambda options: hinge_cost,
    "leaky": lambda options: leaky_cost(options["slope"]),
    "elu": lambda options: elu_cost(options["alpha"]),
}
BENDS = {"slope": "leaky", "alpha": "elu"}  # the cost that each is of
LOSS_SENSITIVE: Options = {
    "cost": "hinge",
    "slope": 0.0,
    "alpha": 1.0,
    "margin": "pixels",
    "pairs": "matched",
    "margin_scale": 2.4576,
    "margin_norm": 1,
    "hinge_weight": None,
    "output": "unbounded",
}
