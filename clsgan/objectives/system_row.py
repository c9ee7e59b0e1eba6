"""What a GAN system is: real rows against generated ones, a pair of functions, options.

Shapes: ``[B]`` pairs of a real and a generated row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

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


def _no_control(options: Options, n_inputs: int | None) -> dict[str, Any]:
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
        (options, number of inputs of a row) -> parameters of the estimator that come with the
        system: its Lipschitz control and the steps of the critic. The number is None in a
        classifier.
    generator_sees_real : bool
        Whether the generator's part uses `real`.

    Examples
    --------
    >>> from clsgan.objectives import SYSTEMS
    >>> SYSTEMS["least_squares"].options["b"]
    1.0
    """

    critic: Part
    generator: Part
    high_on_real: bool = False
    options: Options = field(default_factory=dict)
    check: Callable[[Options], None] = _anything
    control: Callable[[Options, int | None], dict[str, Any]] = _no_control
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
    >>> from clsgan.objectives import build_system
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

    def control(self, n_inputs: int | None) -> dict[str, Any]:
        """Parameters of the estimator that come with the system, see `SystemRow`."""
        return self.row.control(self.options, n_inputs)

    def single(self, logits: Tensor) -> Tensor:
        """Loss or score [B] of an unconditional network's single output [B, 1]."""
        return OUTPUTS[self.options.get("output", "unbounded")](logits[:, 0])


def _identity(values: Tensor) -> Tensor:
    return values


# What keeps the losses of an unconditional network >= 0. The published code has a ReLU, which can
# die: where every loss is 0, nothing has a gradient. A softplus all but does beside the first term
# of eq. 6, which pulls all losses down to where its slope is gone. An absolute value cannot.
OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "unbounded": _identity,
    "relu": torch.relu,
    "softplus": F.softplus,
    "absolute": torch.abs,
}
