"""The objectives by name: which losses, margins and weights a run minimises."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from torch import Tensor

from clsgan.choices import one_of, unknown_name
from clsgan.objectives.costs import Cost, hinge_cost
from clsgan.objectives.gan_systems import SYSTEMS, build_system
from clsgan.objectives.loss_sensitive import class_losses, open_class_losses
from clsgan.objectives.loss_sensitive_rows import build_cost, check_cost_options
from clsgan.objectives.system_row import System
from clsgan.objectives.unlabeled import UNLABELED


@dataclass(frozen=True)
class Objective:
    """Everything that the two networks are trained to minimise.

    The loss network minimises ``E[L(x, y)] + hinge_weight * E[hinge]`` (eq. 15) plus
    ``unlabeled_weight`` times what is asked of unlabeled rows (eq. 18); the generator minimises
    ``E[L(G(z, y), y)]`` (eq. 16).

    Attributes
    ----------
    hinge_weight : float
        Weight lambda of the margins between labeled and generated rows.
    unlabeled_weight : float
        Weight gamma of the unlabeled term.
    margin_scale : float
        Factor tau of the margin Delta.
    margin_norm : int
        1 or 2: the pixel distance of the margin.
    unlabeled : str
        Key of `UNLABELED`. "margin" asks nothing but eq. 18.
    open_class : {"all", "margins", "unlabeled"}
        Where the "1+" softmax of section 6.1 is used: in every term; in the margins and the
        generator's loss, with the plain softmax in the labeled term and for prediction; or in
        eq. 18 alone.
    unlabeled_fakes : {"prior", "shared"}
        Whose generated rows stand against unlabeled ones in eq. 18: fresh ones with classes drawn
        from the prior of the labels, or those made for the labeled rows.
    unlabeled_hinge_weight : float
        Weight of eq. 18 inside the unlabeled term.
    label_smoothing : float
        Share of a label's weight that is spread over all classes.
    class_alignment : float
        How far the teacher's classes on unlabeled rows are made as frequent as the labels' are,
        see `clsgan.objectives.align_classes`: 0 not at all, 1 wholly.
    margins_train : {"level", "network"}
        What the margins change: the whole loss network, as in the paper, or its level alone (the
        shift of all class scores, `clsgan.networks.Level`), so that they cost no accuracy.
    outlier_weight : float
        Weight of telling labeled rows from generated ones by the probability of none of the
        classes, on the level alone.
    unlabeled_outlier_weight : float
        Weight of unlabeled rows among the generated ones in that term. Rows of classes that no
        label has can be found so: they are common in the pool and never labeled. Without generated
        rows they count for nothing.
    unlabeled_filter : {"open-class"} or None
        How rows of no known class are kept from the unlabeled term: "open-class" weighs a row by
        ``1 - p(none of the classes)`` of the averaged network.
    estimate_prior : bool
        Whether the class shares of the unlabeled rows, which the teacher's classes are aligned to,
        are estimated (`clsgan.objectives.shifted_shares`); else they are given.
    rotation_weight : float
        Weight of telling by how many quarter turns unlabeled images were turned, see
        `clsgan.objectives.rotation_loss`: all of them before `unlabeled_start`, and half of them
        from then on, which have no soft labels.
    cutmix : float
        Share of labeled and unlabeled images that have a box of another one put into them, and
        their targets mixed likewise, see `clsgan.mixing.cutmix`.
    cost : callable
        C of the margins (GLS-CLS): `hinge_cost` in the paper.
    system : System or None
        What stands in place of the margins, see `clsgan.objectives.SYSTEMS`; its weight is
        `hinge_weight`.

    Examples
    --------
    >>> OBJECTIVES["paper"].unlabeled
    'margin'
    """

    hinge_weight: float
    unlabeled_weight: float
    margin_scale: float
    margin_norm: int
    unlabeled: str
    open_class: str
    unlabeled_fakes: str
    unlabeled_hinge_weight: float
    label_smoothing: float
    class_alignment: float
    margins_train: str
    outlier_weight: float
    unlabeled_outlier_weight: float
    unlabeled_filter: str | None = None
    estimate_prior: bool = False
    rotation_weight: float = 0.0
    cutmix: float = 0.0
    cost: Cost = hinge_cost
    system: System | None = None

    def losses(self, logits: Tensor) -> Tensor:
        """Losses L(x, y) [B, K] of the labeled term and of prediction, from scores [B, K]."""
        return open_class_losses(logits) if self.open_class == "all" else class_losses(logits)

    def margin_losses(self, logits: Tensor) -> Tensor:
        """Losses L(x, y) [B, K] of the margins and of the generator, from scores [B, K]."""
        return class_losses(logits) if self.open_class == "unlabeled" else open_class_losses(logits)


OBJECTIVES: dict[str, Objective] = {
    "paper": Objective(
        hinge_weight=1.0,
        unlabeled_weight=1.0,
        margin_scale=2.4576,
        margin_norm=1,
        unlabeled="margin",
        open_class="all",
        unlabeled_fakes="prior",
        unlabeled_hinge_weight=1.0,
        label_smoothing=0.0,
        class_alignment=0.0,
        margins_train="network",
        outlier_weight=0.0,
        unlabeled_outlier_weight=0.0,
    ),
    "default": Objective(
        hinge_weight=1.0,
        unlabeled_weight=1.0,
        margin_scale=2.4576,
        margin_norm=1,
        unlabeled="soft_labels",
        open_class="margins",
        unlabeled_fakes="shared",
        unlabeled_hinge_weight=0.2,
        label_smoothing=0.1,
        class_alignment=1.0,
        margins_train="level",
        outlier_weight=1.0,
        unlabeled_outlier_weight=0.2,
    ),
}
OBJECTIVES["cls_gan"] = OBJECTIVES["paper"]
# Of a classifier with another system than the margins: what the labels and the unlabeled rows are
# asked stays that of the default, without its level.
SYSTEM_BASE = replace(
    OBJECTIVES["default"],
    margins_train="network",
    unlabeled_hinge_weight=0.0,
    label_smoothing=0.0,
    outlier_weight=0.0,
    unlabeled_outlier_weight=0.0,
)
# Fields of terms that a system does not have.
OF_MARGINS = (
    "margins_train",
    "unlabeled_fakes",
    "unlabeled_hinge_weight",
    "outlier_weight",
    "unlabeled_outlier_weight",
)
FILTERS = ("open-class",)
COST_OPTIONS: Mapping[str, Any] = {"cost": "hinge", "slope": 0.0, "alpha": 1.0}

CHOICES = {
    "open_class": ("all", "margins", "unlabeled"),
    "unlabeled_fakes": ("prior", "shared"),
    "unlabeled": tuple(UNLABELED),
    "margins_train": ("level", "network"),
    "unlabeled_filter": FILTERS,
}
WEIGHTS = {
    "hinge_weight",
    "unlabeled_weight",
    "margin_scale",
    "unlabeled_hinge_weight",
    "label_smoothing",
    "outlier_weight",
    "unlabeled_outlier_weight",
    "rotation_weight",
}
SHARES = {"class_alignment", "cutmix"}


def build_objective(
    name: str, options: Mapping[str, Any] | None = None, **changes: Any
) -> Objective:
    """The objective of a name, with the given fields changed.

    Parameters
    ----------
    name : str
        Key of `OBJECTIVES` or of `SYSTEMS`.
    options : mapping, optional
        Of the system; "cost", "slope" and "alpha" of "cls_gan".
    **changes
        Fields of `Objective`; None leaves the objective's own value.

    Returns
    -------
    Objective

    Raises
    ------
    ValueError
        If the name or a value is not one of the valid ones.

    Examples
    --------
    >>> build_objective("paper", hinge_weight=2.0, margin_scale=None).hinge_weight
    2.0
    """
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"objective_options={options!r} is not valid; it is a dict, or None")
    objective = _base(name, options, changes)
    given = {key: value for key, value in changes.items() if value is not None}
    for key in CHOICES.keys() & given.keys():
        one_of(key, given[key], dict.fromkeys(CHOICES[key]))
    if "margin_norm" in given and given["margin_norm"] not in (1, 2):
        raise ValueError(f"margin_norm={given['margin_norm']!r} is not valid; it is 1 or 2")
    for key in WEIGHTS & given.keys():
        if not isinstance(given[key], Real) or not 0 <= given[key] < math.inf:
            raise ValueError(f"{key}={given[key]!r} is not valid; it is a number >= 0")
    for key in SHARES & given.keys():
        if not isinstance(given[key], Real) or not 0 <= given[key] <= 1:
            raise ValueError(f"{key}={given[key]!r} is not valid; it is in [0, 1]")
    if not given.get("label_smoothing", 0) < 1:
        raise ValueError(
            f"label_smoothing={given['label_smoothing']!r} is not valid; it is in [0, 1)"
        )
    return replace(objective, **given)


def _base(name: str, options: Mapping[str, Any] | None, changes: Mapping[str, Any]) -> Objective:
    """The objective of a name as it is without changes of its fields."""
    if name in SYSTEMS:
        _check_system_changes(name, changes)
        wanted = {key: changes.get(key) for key in ("margin_scale", "margin_norm")}
        known = SYSTEMS[name].options
        own = {key: value for key, value in wanted.items() if value is not None and key in known}
        for key in own.keys() & (options or {}).keys():
            raise ValueError(f"{key} is given twice, as a parameter and in objective_options")
        return replace(SYSTEM_BASE, system=build_system(name, {**own, **(options or {})}))
    objective = one_of("objective", name, {**OBJECTIVES, **dict.fromkeys(SYSTEMS, SYSTEM_BASE)})
    if name == "cls_gan":
        for option in options or {}:
            if option not in COST_OPTIONS:
                raise ValueError(unknown_name("option of cls_gan", option, COST_OPTIONS))
        chosen = {**COST_OPTIONS, **(options or {})}
        check_cost_options(options or {}, chosen)
        return replace(objective, cost=build_cost(chosen))
    if options:
        raise ValueError(f"objective={name!r} takes no objective_options; got {sorted(options)}")
    return objective


def _check_system_changes(name: str, changes: Mapping[str, Any]) -> None:
    """Refuse what a system has no use for: its critic stands in the place of the margins."""
    unused = [key for key in OF_MARGINS if changes.get(key)]
    unused += [
        key
        for key in ("margin_scale", "margin_norm")
        if changes.get(key) is not None and key not in SYSTEMS[name].options
    ]
    if unused:
        raise ValueError(
            f"objective={name!r} has no use for {', '.join(unused)}: its critic stands in the "
            "place of the margins and of the terms of the level"
        )
    if changes.get("unlabeled") == "margin":
        raise ValueError(
            f"unlabeled='margin' asks the margins of eq. 18, which objective={name!r} does not "
            "have; choose another, or 'none'"
        )
