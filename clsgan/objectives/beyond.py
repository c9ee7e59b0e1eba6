"""GANs beyond divergence minimization (Jolicoeur-Martineau, arXiv 1809.02145).

Critic and generator are trained by two objectives that are chosen independently. D is *high* on
real data in this module: the sigmoid of the score for the critic "bce", the score itself for the
others. The numbers 1-20 below are those of the generator losses in the published code.

Shapes: ``[B]`` examples.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from clsgan.choices import is_within, one_of
from clsgan.objectives.adversarial import hinge_critic, non_saturating_critic
from clsgan.objectives.least_squares import least_squares_critic
from clsgan.objectives.wasserstein import wasserstein_critic


def beyond_critic(real: Tensor, fake: Tensor, critic: str) -> Tensor:
    """What the critic minimises, whatever the generator's loss.

    Parameters
    ----------
    real, fake : Tensor [B]
        Scores of the real and of the generated rows, before any sigmoid.
    critic : {"bce", "least_squares", "wasserstein", "hinge"}
        "least_squares" has labels 1 and 0 and no factor 1/2, as published; "wasserstein" needs a
        gradient penalty beside it.

    Returns
    -------
    Tensor [B]

    Raises
    ------
    ValueError
        If `critic` is unknown.

    Examples
    --------
    >>> beyond_critic(torch.tensor([0.5]), torch.tensor([2.0]), "hinge")
    tensor([3.5000])
    """
    return one_of("critic", critic, BEYOND_CRITICS)(real, fake)


def beyond_generator(
    real: Tensor,
    fake: Tensor,
    kind: str,
    distance: str,
    target: float = 1.0,
    *,
    sigmoid: bool = False,
) -> Tensor:
    """What the generator minimises: a distance between D of its rows and what it should be.

    - "expected_distance" (1, 5, 9, 13, 17): ``d(D(x), D(G(z)))``
    - "expected_distance_to_label" (2, 6, 10, 14, 18): ``d(D(G(z)), target)``
    - "distance_of_expectations" (3, 7, 11, 15, 19): ``d(E D(G(z)), E D(x))``
    - "distance_of_expectations_to_label" (4, 8, 12, 16, 20): ``d(E D(G(z)), target)``

    Loss 18 with target 1 is the non-saturating loss, loss 2 is twice that of Least Squares GAN
    (c = 1), loss 7 the absolute difference of Wasserstein GAN.

    Parameters
    ----------
    real, fake : Tensor [B]
        D of the real rows, which the kinds "to_label" do not use, and of the generated ones.
    kind : str
        One of the above.
    distance : {"l2", "l1", "pseudo_huber", "log_l2", "log_l1"}
        ``(u - v)^2``, ``|u - v|``, ``sqrt((u - v)^2 + 1) - 1``, and the first two between
        logarithms, for D in (0, 1); the expectation is then that of the logarithm.
    target : float, default=1.0
        What D of generated rows should be.
    sigmoid : bool, default=False
        Whether `real` and `fake` are scores and D is their sigmoid, as for the critic "bce". Its
        logarithm, and the gradient of that, then stay exact where the sigmoid rounds to 0.

    Returns
    -------
    Tensor [B], or a scalar
        One value for the batch for the kinds "distance_of_expectations".

    Raises
    ------
    ValueError
        If a name is unknown, or `target` is not above 0 in a distance between logarithms.

    Examples
    --------
    >>> real, fake = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.25])
    >>> beyond_generator(real, fake, "expected_distance", "l1")
    tensor([1.0000, 0.2500])
    >>> beyond_generator(real, fake, "distance_of_expectations", "l1")
    tensor(0.6250)
    """
    of_kind = one_of("kind", kind, BEYOND_KINDS)
    logs, apart = one_of("distance", distance, DISTANCES)
    _check_target(distance, target)
    read = READINGS[logs, sigmoid]
    return of_kind(apart, read(real), read(fake), math.log(target) if logs else target)


def check_beyond(critic: str, kind: str, distance: str, target: float = 1.0) -> None:
    """Refuse choices of critic and generator loss that cannot go together.

    Parameters
    ----------
    critic, kind, distance : str
        See `beyond_critic` and `beyond_generator`.
    target : float, default=1.0

    Raises
    ------
    ValueError
        If a name is unknown, or the logarithm of an unbounded score or of a target not above 0
        would be taken.

    Examples
    --------
    >>> check_beyond("bce", "expected_distance", "log_l1")
    >>> check_beyond("hinge", "expected_distance", "log_l1")
    Traceback (most recent call last):
    ValueError: distance='log_l1' with critic='hinge': it takes the logarithm of D, and the scores
    of this critic are unbounded, so they may be negative; use critic='bce', or one of
    ['l1', 'l2', 'pseudo_huber']
    """
    one_of("critic", critic, BEYOND_CRITICS)
    one_of("kind", kind, BEYOND_KINDS)
    logs, _ = one_of("distance", distance, DISTANCES)
    if logs and critic not in BOUNDED_CRITICS:
        plain = sorted(name for name, (takes_logs, _) in DISTANCES.items() if not takes_logs)
        raise ValueError(
            f"distance={distance!r} with critic={critic!r}: it takes the logarithm of D, and the "
            "scores of this critic are unbounded, so they may be negative; use critic='bce', or "
            f"one of {plain}"
        )
    _check_target(distance, target)
    if target != 1 and not kind.endswith("_to_label"):
        raise ValueError(
            f"target={target!r} is of the kinds that end in '_to_label'; got kind={kind!r}"
        )


def _check_target(distance: str, target: float) -> None:
    if not is_within(target):
        raise ValueError(f"target={target!r} is not valid; it is a finite number")
    if DISTANCES[distance][0] and not target > 0:
        raise ValueError(
            f"target={target!r} has no logarithm, which distance={distance!r} takes; it is above 0"
        )


def _least_squares(real: Tensor, fake: Tensor) -> Tensor:
    return 2 * least_squares_critic(real, fake, a=0, b=1)


def _wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    return wasserstein_critic(-real, -fake)


def _pseudo_huber(difference: Tensor) -> Tensor:
    # sqrt(d^2 + 1) - 1, without the loss of digits for small d
    root = torch.hypot(difference, torch.ones_like(difference))
    return difference * (difference / (root + 1))


def _identity(values: Tensor) -> Tensor:
    return values


def _finite_log(values: Tensor) -> Tensor:
    """Logarithm, with the smallest normal number in place of 0, where a sigmoid may end."""
    return values.masked_fill(values == 0, torch.finfo(values.dtype).tiny).log()


Distance = Callable[[Tensor], Tensor]

BEYOND_CRITICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": non_saturating_critic,
    "least_squares": _least_squares,
    "wasserstein": _wasserstein,
    "hinge": hinge_critic,
}
BOUNDED_CRITICS = {"bce"}

# Whether it is between logarithms, and the distance as a function of the difference.
DISTANCES: dict[str, tuple[bool, Distance]] = {
    "l2": (False, torch.square),
    "l1": (False, torch.abs),
    "pseudo_huber": (False, _pseudo_huber),
    "log_l2": (True, torch.square),
    "log_l1": (True, torch.abs),
}

BEYOND_KINDS: dict[str, Callable[[Distance, Tensor, Tensor, float], Tensor]] = {
    "expected_distance": lambda d, real, fake, _: d(real - fake),
    "expected_distance_to_label": lambda d, _, fake, target: d(fake - target),
    "distance_of_expectations": lambda d, real, fake, _: d(fake.mean() - real.mean()),
    "distance_of_expectations_to_label": lambda d, _, fake, target: d(fake.mean() - target),
}

# What the distance is between, by (logarithms, sigmoid).
READINGS: dict[tuple[bool, bool], Callable[[Tensor], Tensor]] = {
    (False, False): _identity,
    (False, True): torch.sigmoid,
    (True, False): _finite_log,
    (True, True): F.logsigmoid,
}
