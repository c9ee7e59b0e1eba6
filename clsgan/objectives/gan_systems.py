"""The GAN systems by name: what the critic and the generator minimise, one table row each.

A row is a pair of functions ``(pairs, options) -> Tensor`` of the same form for every system, and
the defaults of its options. The loop, the penalties and both estimators take any row.

Shapes: ``[B]`` pairs of a real and a generated row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clsgan.choices import one_of, unknown_name
from clsgan.objectives.adversarial import (
    hinge_critic,
    hinge_generator,
    non_saturating_critic,
    non_saturating_generator,
)
from clsgan.objectives.beyond import beyond_critic, beyond_generator, check_beyond
from clsgan.objectives.costs import Cost, check_cost, elu_cost, hinge_cost, leaky_cost
from clsgan.objectives.least_squares import least_squares_critic, least_squares_generator
from clsgan.objectives.lipschitz_gan import PHIS, PSIS, lipschitz_critic, lipschitz_generator
from clsgan.objectives.loss_sensitive import (
    all_pairs_critic,
    loss_sensitive_critic,
    loss_sensitive_generator,
    pair_margins,
    pixel_margin,
)
from clsgan.objectives.relativistic import (
    RELATIVISTIC,
    relativistic_critic,
    relativistic_generator,
)
from clsgan.objectives.wasserstein import wasserstein_critic, wasserstein_generator

Options = Mapping[str, Any]
NO_OPTIONS: Options = MappingProxyType({})


@dataclass(frozen=True)
class Pairs:
    """Real rows against generated ones, as a system sees them.

    Attributes
    ----------
    real, fake : Tensor [B]
        Losses, or scores where the system's are high on real.
    x_real, x_fake : Tensor [B, ...]
        The rows.
    features_real, features_fake : Tensor [B, F]
        Features of the loss network.

    Examples
    --------
    >>> e = torch.zeros(2)
    >>> Pairs(e, e, e, e, e, e).real.shape
    torch.Size([2])
    """

    real: Tensor
    fake: Tensor
    x_real: Tensor
    x_fake: Tensor
    features_real: Tensor
    features_fake: Tensor


Part = Callable[[Pairs, Options], Tensor]


def _anything(options: Options) -> None:
    """No option needs a check."""


def _no_control(options: Options) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class SystemRow:
    """A row of `SYSTEMS`.

    Attributes
    ----------
    critic, generator : callable
        (pairs, options) -> Tensor [B], or a scalar for the batch; to be minimised.
    high_on_real : bool
        Whether the critic gives scores, high on real rows, rather than losses, low on them.
    options : mapping
        What can be chosen, with its defaults.
    check : callable
        Raises ValueError for options that are not valid.
    control : callable
        options -> parameters of the estimator that come with the system: its Lipschitz control
        and the steps of the critic.
    generator_sees_real : bool
        Whether the generator's part uses `real`.

    Examples
    --------
    >>> SYSTEMS["least_squares"].options["b"]
    1.0
    """

    critic: Part
    generator: Part
    high_on_real: bool = False
    options: Options = field(default_factory=dict)
    check: Callable[[Options], None] = _anything
    control: Callable[[Options], dict[str, Any]] = _no_control
    generator_sees_real: bool = False


@dataclass(frozen=True)
class System:
    """A system with its options chosen.

    Attributes
    ----------
    name : str
    row : SystemRow
    options : mapping

    Examples
    --------
    >>> one, e = torch.ones(2), torch.zeros(2)
    >>> build_system("wgan").critic(Pairs(one, 3 * one, e, e, e, e))
    tensor([-2., -2.])
    """

    name: str
    row: SystemRow
    options: Options

    def critic(self, pairs: Pairs) -> Tensor:
        """What the loss network minimises, [B] or a scalar."""
        return self.row.critic(pairs, self.options)

    def generator(self, pairs: Pairs) -> Tensor:
        """What the generator minimises, [B] or a scalar."""
        return self.row.generator(pairs, self.options)

    def control(self) -> dict[str, Any]:
        """Parameters of the estimator that come with the system."""
        return self.row.control(self.options)

    def single(self, logits: Tensor) -> Tensor:
        """Loss or score [B] of an unconditional network's single output [B, 1]."""
        return OUTPUTS[self.options.get("output", "unbounded")](logits[:, 0])


def build_system(name: str, options: Options | None = None) -> System:
    """The system of a name.

    Parameters
    ----------
    name : str
        Key of `SYSTEMS`.
    options : mapping, optional
        Instead of the defaults of its row.

    Returns
    -------
    System

    Raises
    ------
    ValueError
        If the name or an option is unknown, or options cannot go together; the message has the
        reason.

    Examples
    --------
    >>> build_system("lipschitz_gan", {"phi": "sqrt"}).options["psi"]
    '-x'
    """
    row = one_of("objective", name, SYSTEMS)
    given = dict(options or {})
    for option in given:
        if option not in row.options:
            raise ValueError(unknown_name(f"option of {name}", option, row.options))
    chosen = {**row.options, **given}
    row.check(chosen)
    return System(name, row, chosen)


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
    >>> build_cost({"cost": "leaky", "slope": -1.0})(torch.tensor([-2.0]))
    tensor([2.])
    """
    return check_cost(_cost(options))


def _cost(options: Options) -> Cost:
    cost: Any = options["cost"]
    chosen: Cost = cost if callable(cost) else one_of("cost", cost, COSTS)(options)
    return chosen


def _loss_sensitive(pairs: Pairs, options: Options) -> Tensor:
    """Eq. 6: C(margin + L(x) - L(G(z))), and the first term, E L(x) / lambda, where kept."""
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


def _check_loss_sensitive(options: Options) -> None:
    one_of("margin", options["margin"], dict.fromkeys(("pixels", "features")))
    one_of("pairs", options["pairs"], dict.fromkeys(("matched", "all")))
    one_of("output", options["output"], OUTPUTS)
    build_cost(options)
    weight = options["hinge_weight"]
    if options["margin_norm"] not in (1, 2):
        raise ValueError(f"margin_norm={options['margin_norm']!r} is not valid; it is 1 or 2")
    if not options["margin_scale"] >= 0:
        raise ValueError(f"margin_scale={options['margin_scale']!r} is not valid; it is >= 0")
    if weight is not None and not weight > 0:
        raise ValueError(f"hinge_weight={weight!r} is not valid; it is None or above 0")
    if weight is not None and options["output"] == "unbounded":
        raise ValueError(
            f"hinge_weight={weight!r} keeps the first term of eq. 6, E[L(x)], which has no minimum "
            "over unbounded losses: lowering all of them changes no hinge; choose output='softplus'"
            " or 'relu', or leave the term out (hinge_weight=None, Lemma 1)"
        )


def _check_coding(options: Options) -> None:
    if not options["b"] > options["a"]:
        raise ValueError(
            f"the coding a={options['a']!r}, b={options['b']!r} has scores that are not high on "
            "real rows; b is above a"
        )


def _check_lipschitz(options: Options) -> None:
    one_of("phi", options["phi"], PHIS)
    one_of("psi", options["psi"], PSIS)


def _beyond_generator(pairs: Pairs, options: Options) -> Tensor:
    return beyond_generator(
        pairs.real,
        pairs.fake,
        options["kind"],
        options["distance"],
        options["target"],
        sigmoid=options["critic"] == "bce",
    )


def _check_relativistic(options: Options) -> None:
    one_of("kind", str(options["kind"]).lower(), RELATIVISTIC)


def _beyond_control(options: Options) -> dict[str, Any]:
    return dict(GRADIENT_PENALTY) if options["critic"] == "wasserstein" else {}


def _slope_control(options: Options) -> dict[str, Any]:
    """Costs that are bent everywhere reward ever larger losses: the published code clips."""
    return {"clip": 0.08}


def _identity(values: Tensor) -> Tensor:
    return values


GRADIENT_PENALTY: Options = {"penalty": "gp", "penalty_weight": 10.0, "critic_steps": 5}
COSTS: dict[str, Callable[[Options], Cost]] = {
    "hinge": lambda options: hinge_cost,
    "leaky": lambda options: leaky_cost(options["slope"]),
    "elu": lambda options: elu_cost(options["alpha"]),
}
# What keeps the losses of an unconditional network >= 0. The published code has a ReLU, which can
# die: where every loss is 0, nothing has a gradient. A softplus cannot.
OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "unbounded": _identity,
    "relu": torch.relu,
    "softplus": F.softplus,
}
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


def _of_losses(part: Callable[[Tensor], Tensor]) -> Part:
    return lambda pairs, options: part(pairs.fake)


SYSTEMS: dict[str, SystemRow] = {
    "ls_gan": SystemRow(
        _loss_sensitive,
        _of_losses(loss_sensitive_generator),
        options=LOSS_SENSITIVE,
        check=_check_loss_sensitive,
    ),
    "gls_gan": SystemRow(
        _loss_sensitive,
        _of_losses(loss_sensitive_generator),
        options={**LOSS_SENSITIVE, "cost": "leaky", "slope": 0.2},
        check=_check_loss_sensitive,
        control=_slope_control,
    ),
    "wgan": SystemRow(
        lambda pairs, options: wasserstein_critic(pairs.real, pairs.fake),
        _of_losses(wasserstein_generator),
        control=lambda options: {"clip": 0.01, "critic_steps": 5},
    ),
    "wgan_gp": SystemRow(
        lambda pairs, options: wasserstein_critic(pairs.real, pairs.fake),
        _of_losses(wasserstein_generator),
        control=lambda options: dict(GRADIENT_PENALTY),
    ),
    "least_squares": SystemRow(
        lambda pairs, options: least_squares_critic(
            pairs.real, pairs.fake, options["a"], options["b"]
        ),
        lambda pairs, options: least_squares_generator(pairs.fake, options["c"]),
        high_on_real=True,
        options={"a": 0.0, "b": 1.0, "c": 1.0},
        check=_check_coding,
    ),
    "lipschitz_gan": SystemRow(
        lambda pairs, options: lipschitz_critic(pairs.real, pairs.fake, options["phi"]),
        lambda pairs, options: lipschitz_generator(pairs.fake, options["psi"]),
        high_on_real=True,
        options={"phi": "exp", "psi": "-x"},
        check=_check_lipschitz,
        control=lambda options: {"penalty": "max", "penalty_weight": 0.1, "critic_steps": 5},
    ),
    "beyond": SystemRow(
        lambda pairs, options: beyond_critic(pairs.real, pairs.fake, options["critic"]),
        _beyond_generator,
        high_on_real=True,
        options={
            "critic": "bce",
            "kind": "expected_distance",
            "distance": "l2",
            "target": 1.0,
        },
        check=lambda options: check_beyond(**options),
        control=_beyond_control,
        generator_sees_real=True,
    ),
    "relativistic": SystemRow(
        lambda pairs, options: relativistic_critic(pairs.real, pairs.fake, options["kind"]),
        lambda pairs, options: relativistic_generator(pairs.real, pairs.fake, options["kind"]),
        high_on_real=True,
        options={"kind": "rasgan"},
        check=_check_relativistic,
        generator_sees_real=True,
    ),
    "non_saturating": SystemRow(
        lambda pairs, options: non_saturating_critic(pairs.real, pairs.fake),
        _of_losses(non_saturating_generator),
        high_on_real=True,
    ),
    "hinge": SystemRow(
        lambda pairs, options: hinge_critic(pairs.real, pairs.fake),
        _of_losses(hinge_generator),
        high_on_real=True,
    ),
}
