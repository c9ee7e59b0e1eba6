"""The GAN systems by name: what the critic and the generator minimise, one table row each.

A row is a pair of functions ``(pairs, options) -> Tensor`` of the same form for every system, and
the defaults of its options. The loop, the penalties and both estimators take any row.

Shapes: ``[B]`` pairs of a real and a generated row.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from clsgan.choices import is_within, one_of, unknown_name
from clsgan.objectives.adversarial import (
    hinge_critic,
    hinge_generator,
    non_saturating_critic,
    non_saturating_generator,
)
from clsgan.objectives.beyond import beyond_critic, beyond_generator, check_beyond
from clsgan.objectives.least_squares import least_squares_critic, least_squares_generator
from clsgan.objectives.lipschitz_gan import PHIS, PSIS, lipschitz_critic, lipschitz_generator
from clsgan.objectives.loss_sensitive import loss_sensitive_generator
from clsgan.objectives.loss_sensitive_rows import (
    LOSS_SENSITIVE,
    check_cost_options,
    check_loss_sensitive,
    loss_sensitive_control,
    loss_sensitive_part,
)
from clsgan.objectives.relativistic import (
    RELATIVISTIC,
    relativistic_critic,
    relativistic_generator,
)
from clsgan.objectives.system_row import Options, Pairs, Part, System, SystemRow
from clsgan.objectives.wasserstein import wasserstein_critic, wasserstein_generator


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
    if "cost" in row.options:
        check_cost_options(given, chosen)
    row.check(chosen)
    return System(name, row, chosen)


def _check_coding(options: Options) -> None:
    for name in "abc":
        if not is_within(options[name]):
            raise ValueError(f"{name}={options[name]!r} is not valid; it is a finite number")
    a, b, c = (options[name] for name in "abc")
    if a == b:
        raise ValueError(f"the coding a={a!r}, b={b!r} asks the same of real and generated rows")
    if a > b:
        raise ValueError(
            f"the coding a={a!r}, b={b!r} has scores that are low on real rows; with the scores' "
            f"sign turned it is the same game: a={-a!r}, b={-b!r}, c={-c!r}"
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


def _beyond_control(options: Options, n_inputs: int | None) -> dict[str, Any]:
    return dict(GRADIENT_PENALTY) if options["critic"] == "wasserstein" else {}


GRADIENT_PENALTY: Options = {"penalty": "gp", "penalty_weight": 10.0, "critic_steps": 5}


def _of_losses(part: Callable[[Tensor], Tensor]) -> Part:
    return lambda pairs, options: part(pairs.fake)


SYSTEMS: dict[str, SystemRow] = {
    "ls_gan": SystemRow(
        loss_sensitive_part,
        _of_losses(loss_sensitive_generator),
        options=LOSS_SENSITIVE,
        check=check_loss_sensitive,
        control=loss_sensitive_control,
    ),
    "gls_gan": SystemRow(
        loss_sensitive_part,
        _of_losses(loss_sensitive_generator),
        options={**LOSS_SENSITIVE, "cost": "leaky", "slope": 0.2},
        check=check_loss_sensitive,
        control=loss_sensitive_control,
    ),
    "wgan": SystemRow(
        lambda pairs, options: wasserstein_critic(pairs.real, pairs.fake),
        _of_losses(wasserstein_generator),
        control=lambda options, n_inputs: {"clip": 0.01, "critic_steps": 5},
    ),
    "wgan_gp": SystemRow(
        lambda pairs, options: wasserstein_critic(pairs.real, pairs.fake),
        _of_losses(wasserstein_generator),
        control=lambda options, n_inputs: dict(GRADIENT_PENALTY),
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
        control=lambda options, n_inputs: {
            "penalty": "max",
            "penalty_weight": 0.1,
            "critic_steps": 5,
        },
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
