"""NaN and infinities never reach the weights nor their averages: such a step is skipped."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from clsgan.pool_belief import PoolBelief
from clsgan.terms import Scalars
from clsgan.train_state import TrainState

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PENALTY_LIMIT = 1e8  # a penalty above it cannot come down again in any run of use


class NotFinite(FloatingPointError):
    """A loss or a gradient of a step is NaN or infinite, or a penalty explodes.

    Examples
    --------
    >>> str(NotFinite("labeled = nan"))
    'labeled = nan'
    """


def check_step(
    fabric: "Fabric", name: str, terms: Scalars, loss: Tensor, optimizer: torch.optim.Optimizer
) -> None:
    """Refuse a step between its backward pass and that of the optimiser.

    It reads every gradient once and waits for the device once. Where losses are scaled (fp16), an
    infinite gradient is no failure: the scaler finds it, skips the step and lowers its factor.

    Parameters
    ----------
    fabric : Fabric
    name : str
        Of the network, for the message.
    terms : dict of Tensor
        What the loss is made of.
    loss : Tensor
        A scalar.
    optimizer : Optimizer
        Its parameters have gradients.

    Raises
    ------
    NotFinite
        In all processes, if it is so in one; the message names the terms.

    Examples
    --------
    See `clsgan.trainer.update_loss_network`.
    """
    scaled = getattr(fabric.strategy.precision, "scaler", None) is not None
    gradients = [] if scaled else _gradients(optimizer)
    # a sum is the cheapest number that is not finite if an entry is not
    total, penalty, *sums = _numbers(
        [loss, terms.get("penalty", loss), *(gradient.sum() for gradient in gradients)]
    )
    fine = math.isfinite(total) and not ("penalty" in terms and penalty > PENALTY_LIMIT)
    fine = fine and (math.isfinite(sum(sums)) or _all_finite(gradients))
    if fabric.world_size > 1:
        failures = torch.tensor(float(not fine), device=fabric.device)
        elsewhere = float(cast(Tensor, fabric.all_reduce(failures, reduce_op="sum"))) > 0
    else:
        elsewhere = False
    if not fine or elsewhere:
        raise NotFinite(_reason(name, terms, fine))


class Running(NamedTuple):
    """What a step changes besides weights and statistics; none of it is changed in place.

    Parameters
    ----------
    teacher_classes : Tensor [K] or None
    x, y : Tensor or None
        The steepest points.
    pool : PoolBelief

    Examples
    --------
    See `running_state`.
    """

    teacher_classes: Tensor | None
    x: Tensor | None
    y: Tensor | None
    pool: PoolBelief


def running_state(state: TrainState) -> Running:
    """What `undo_step` needs to know of the time before a step.

    Parameters
    ----------
    state : TrainState

    Returns
    -------
    Running

    Examples
    --------
    See `clsgan.trainer.train`.
    """
    points = state.steepest
    x, y = (None, None) if points is None else (points.x, points.y)
    return Running(state.teacher_classes, x, y, replace(state.pool))


class KeptWeights:
    """Weights of an optimiser and its moments, to go back to.

    A step of the generator looks at the loss network after its step. Where it is not finite, that
    one must be taken back too, or the generator would be left behind, step by step.

    Parameters
    ----------
    optimizer : Optimizer

    Examples
    --------
    >>> weight = torch.zeros(1, requires_grad=True)
    >>> optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
    >>> kept = KeptWeights(optimizer)
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> kept.put_back()
    >>> weight.tolist(), len(optimizer.state)
    ([0.0], 0)
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.weights = [(p, p.detach().clone()) for p in _parameters(optimizer)]
        self.moments = {
            parameter: {
                name: value.clone() if isinstance(value, Tensor) else value
                for name, value in held.items()
            }
            for parameter, held in optimizer.state.items()
        }

    @torch.no_grad()
    def put_back(self) -> None:
        """Bring both back to what they were; once."""
        for parameter, weight in self.weights:
            parameter.copy_(weight)
        self.optimizer.state.clear()
        self.optimizer.state.update(self.moments)


@torch.no_grad()
def undo_step(state: TrainState, before: Running, kept: KeptWeights | None = None) -> None:
    """Take back what a skipped step has left: statistics become those of the averages.

    Parameters
    ----------
    state : TrainState
        Changed in place.
    before : Running
    kept : KeptWeights, optional
        Of the loss network, where its optimiser may have stepped.

    Examples
    --------
    See `clsgan.trainer.train`.
    """
    if kept is not None:
        kept.put_back()
    state.teacher_classes, state.pool = before.teacher_classes, before.pool
    if state.steepest is not None:
        state.steepest.x, state.steepest.y = before.x, before.y
    averages = (state.average_loss_network, state.average_generator)
    for network, average in zip((state.loss_network, state.generator), averages, strict=True):
        if network is None or average is None:
            continue
        for mine, its in zip(network.module.buffers(), average.module.buffers(), strict=True):
            if mine.is_floating_point():
                mine.copy_(its)


def check_finite(state: TrainState) -> None:
    """Refuse weights that are not finite: the last step may have made them so, unseen by any term.

    Parameters
    ----------
    state : TrainState

    Raises
    ------
    FloatingPointError

    Examples
    --------
    See `clsgan.fitting.fit_networks`, which calls it behind the loop.
    """
    for name in ("average_loss_network", "average_generator"):
        average = getattr(state, name)
        if average is None:
            continue
        for parameter, tensor in average.module.named_parameters():
            if not bool(torch.isfinite(tensor).all()):
                raise FloatingPointError(
                    f"training diverged: {parameter} of the {name.removeprefix('average_')} is "
                    f"not finite after step {state.step}; lower learning_rate"
                )


def _numbers(scalars: list[Tensor]) -> list[float]:
    """Numbers of scalars, waiting once for a device; on a CPU there is nothing to wait for."""
    if scalars[0].device.type == "cpu":
        return [scalar.item() for scalar in scalars]
    numbers: list[float] = torch.stack([scalar.detach().float() for scalar in scalars]).tolist()
    return numbers


def _gradients(optimizer: Any) -> list[Tensor]:
    return [p.grad for p in _parameters(optimizer) if p.grad is not None]


def _parameters(optimizer: Any) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _all_finite(tensors: list[Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def _reason(name: str, terms: Scalars, fine: bool) -> str:
    values = {term: float(value.detach()) for term, value in terms.items()}
    bad = [
        f"{term} = {value:g}"
        for term, value in values.items()
        if not math.isfinite(value) or (term == "penalty" and value > PENALTY_LIMIT)
    ]
    where = "a process beside this one has a loss" if fine else f"a gradient of the {name}"
    return ", ".join(bad) or f"{where} that is not finite"
