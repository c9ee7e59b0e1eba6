"""The networks of a run with their optimisers and running averages."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from clsgan.lipschitz import SteepestPoints, decay_groups
from clsgan.networks import Level, level_of
from clsgan.pool_belief import PoolBelief
from clsgan.schedules import SCHEDULES
from clsgan.settings import Settings
from clsgan.skipped_steps import SkippedSteps

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Norm of the level's gradient at most. At the classifier's learning rate its two layers drove each
# other up without bound: in one of three runs of 300 s on CIFAR-10 to NaN.
LEVEL_GRADIENT = 0.3
# With less, an anchored outlier score fits generated rows and gets worse for other outliers;
# figures in docs/ablation.md.
LEVEL_DECAY = 0.1
FREE_LEVEL_DECAY = 0.02  # with less it learns few labeled rows by heart


@dataclass
class TrainState:
    """The networks of a run, their running averages and their optimisers.

    `teacher_classes` [K] is the running mean of the teacher's class probabilities; `steepest` are
    the points that the penalty "max" looks at again; `pool` is what is believed of the unlabeled
    rows.

    Examples
    --------
    >>> TrainState.__dataclass_fields__["step"].default
    0
    """

    loss_network: Any
    loss_optimizer: Any
    average_loss_network: AveragedModel
    generator: Any = None
    generator_optimizer: Any = None
    average_generator: AveragedModel | None = None
    teacher_classes: Tensor | None = None
    steepest: SteepestPoints | None = None
    pool: PoolBelief = field(default_factory=PoolBelief)
    step: int = 0
    rows_seen: int = 0
    skipped: SkippedSteps = field(default_factory=SkippedSteps)


def prepare_state(
    fabric: "Fabric", loss_network: nn.Module, generator: nn.Module | None, settings: Settings
) -> TrainState:
    """Put the networks on the device and give each its optimiser and its running average.

    Parameters
    ----------
    fabric : Fabric
        Launched.
    loss_network, generator : nn.Module
        Plain modules; they are trained in place.
    settings : Settings

    Returns
    -------
    TrainState

    Examples
    --------
    See `clsgan.estimator`, where it is called.
    """
    average_of = _averager(settings.average_decay)
    level = level_of(loss_network)
    if level is not None:  # how sure the classifier is says little of a pool with other classes
        level.anchor.fill_(settings.objective.unlabeled_filter is None)
    loss_network = loss_network.to(memory_format=torch.channels_last)
    optimizer = OPTIMIZERS[settings.optimizer](
        _decays(loss_network, settings), settings.learning_rate
    )
    wrapped, optimizer = fabric.setup(loss_network, optimizer)
    state = TrainState(wrapped, optimizer, average_of(loss_network))
    if settings.steepest_buffer:
        state.steepest = SteepestPoints(settings.steepest_buffer)
    if generator is not None:
        generator = generator.to(memory_format=torch.channels_last)
        optimizer = OPTIMIZERS[_generators(settings.optimizer)](
            decay_groups(generator, settings.generator_weight_decay),
            settings.generator_learning_rate,
        )
        state.generator, state.generator_optimizer = fabric.setup(generator, optimizer)
        state.average_generator = average_of(generator)
    return state


def set_learning_rates(state: TrainState, settings: Settings, progress: float, n_rows: int) -> None:
    """Set the learning rates of both optimisers for the next step.

    Parameters
    ----------
    state : TrainState
    settings : Settings
    progress : float
        Share of the budget that is spent.
    n_rows : int
        Labeled and unlabeled rows of the run; an epoch sees as many.

    Examples
    --------
    See `clsgan.trainer.train`.
    """
    epoch = state.rows_seen / n_rows
    factor = SCHEDULES[settings.schedule](progress, epoch)
    for group in state.loss_optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor
    if state.generator_optimizer is not None:
        for group in state.generator_optimizer.param_groups:
            group["lr"] = settings.generator_learning_rate * factor


def update_averages(state: TrainState) -> None:
    """Blend the loss network's weights and statistics after a step into their running averages.

    Parameters
    ----------
    state : TrainState

    Examples
    --------
    See `clsgan.trainer.train`.
    """
    state.average_loss_network.update_parameters(state.loss_network.module)


def update_generator_averages(state: TrainState) -> None:
    """Blend the generator's weights and statistics after a step into their running averages.

    Parameters
    ----------
    state : TrainState
        Without a generator nothing is done.

    Examples
    --------
    See `clsgan.trainer.train`.
    """
    if state.average_generator is not None:
        state.average_generator.update_parameters(state.generator.module)


def level_decay(level: Level) -> float:
    """Weight decay of a level, by what it starts from.

    Parameters
    ----------
    level : Level

    Returns
    -------
    float

    Examples
    --------
    >>> level_decay(Level(8))
    0.1
    """
    return LEVEL_DECAY if level.anchor else FREE_LEVEL_DECAY


def _decays(loss_network: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """Parameter groups of a loss network; those of its level decay faster."""
    level = level_of(loss_network)
    groups = decay_groups(loss_network, settings.weight_decay)
    if level is None:
        return groups
    own = decay_groups(level, level_decay(level))
    ids = {id(p) for p in level.parameters()}
    for group in groups:
        group["params"] = [p for p in group["params"] if id(p) not in ids]
    return [group for group in groups + own if group["params"]]


def _averager(decay: float) -> Callable[[nn.Module], AveragedModel]:
    """Running averages of weights and buffers; the first steps weigh as in a plain mean."""

    @torch.no_grad()
    def blend(averages: Any, values: Any, count: Tensor | int) -> None:
        share = 1.0 - min(decay, (1.0 + float(count)) / (10.0 + float(count)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, share)
            else:
                average.copy_(value)

    def of(module: nn.Module) -> AveragedModel:
        average = AveragedModel(module, multi_avg_fn=blend, use_buffers=True)
        for parameter in average.parameters():
            parameter.requires_grad_(False)
        average.eval()
        return average

    return of


def _generators(optimizer: str) -> str:
    """Of the generator: Adam beside any optimiser, but RMSProp beside RMSProp."""
    return "rmsprop" if optimizer == "rmsprop" else "adam"


def _sgd(groups: Any, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True)


def _adam(groups: Any, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=learning_rate, betas=(0.5, 0.999), fused=True)


def _adamw(groups: Any, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def _rmsprop(groups: Any, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(groups, lr=learning_rate)


OPTIMIZERS: dict[str, Callable[[Any, float], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
}
