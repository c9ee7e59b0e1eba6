"""The loop: the only place where an optimiser steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from clsgan.lipschitz import decay_groups
from clsgan.objectives import (
    UNLABELED,
    Objective,
    at_label,
    loss_sensitive_critic,
    loss_sensitive_generator,
    pixel_margin,
    unlabeled_loss,
)
from clsgan.objectives.unlabeled import unlabeled_weight_ramp
from clsgan.runlog import RunLog
from clsgan.schedules import SCHEDULES, Budget
from clsgan.streams import Batch, BatchSizes, Streams

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG_EVERY = 25
Scalars = dict[str, Tensor]


@dataclass(frozen=True)
class Settings:
    """What the loop needs to know, resolved from the estimator's parameters.

    Attributes
    ----------
    objective : Objective
    batch_size : int
        Real rows a step, over all processes.
    unlabeled_share : float
        Share of them that are unlabeled once the unlabeled stream is on.
    unlabeled_start : float
        Share of the budget after which it is on.
    generated_batch_size : int
        Generated rows a step, over all processes; 0 turns the generated stream off.
    generator_interval : int
        The generated stream takes part in every so many steps.
    optimizer, schedule : str
        Keys of `OPTIMIZERS` and of `clsgan.schedules.SCHEDULES`.
    learning_rate, generator_learning_rate, weight_decay, average_decay : float

    Examples
    --------
    >>> from clsgan.objectives import OBJECTIVES
    >>> Settings(OBJECTIVES["paper"]).sizes(0.0, has_unlabeled=True, world_size=1)
    BatchSizes(labeled=64, unlabeled=192, generated=64)
    """

    objective: Objective
    batch_size: int = 256
    unlabeled_share: float = 0.75
    unlabeled_start: float = 0.0
    generated_batch_size: int = 64
    generator_interval: int = 1
    optimizer: str = "sgd"
    schedule: str = "linear"
    learning_rate: float = 0.2
    generator_learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    average_decay: float = 0.99

    def sizes(self, progress: float, has_unlabeled: bool, world_size: int) -> BatchSizes:
        """Rows of each stream for one process at a point of the run."""
        mine = max(self.batch_size // world_size, 2)
        on = has_unlabeled and progress >= self.unlabeled_start
        unlabeled = min(round(mine * self.unlabeled_share), mine - 1) if on else 0
        return BatchSizes(mine - unlabeled, unlabeled, self.generated_batch_size // world_size)


@dataclass
class TrainState:
    """The networks of a run, their running averages and their optimisers.

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
    step: int = 0
    rows_seen: int = 0


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
    average_of = _average(settings.average_decay)
    loss_network = loss_network.to(memory_format=torch.channels_last)
    optimizer = OPTIMIZERS[settings.optimizer](
        decay_groups(loss_network, settings.weight_decay), settings.learning_rate
    )
    wrapped, optimizer = fabric.setup(loss_network, optimizer)
    state = TrainState(wrapped, optimizer, average_of(loss_network))
    if generator is not None:
        generator = generator.to(memory_format=torch.channels_last)
        optimizer = OPTIMIZERS["adam"](
            decay_groups(generator, 0.0), settings.generator_learning_rate
        )
        state.generator, state.generator_optimizer = fabric.setup(generator, optimizer)
        state.average_generator = average_of(generator)
    return state


def train(
    fabric: "Fabric",
    state: TrainState,
    streams: Streams,
    settings: Settings,
    budget: Budget,
    log: RunLog,
    validate: Callable[[nn.Module], float] | None = None,
) -> None:
    """Train both networks until the budget is spent.

    Parameters
    ----------
    fabric : Fabric
    state : TrainState
        Changed in place; `state.average_loss_network` is what predicts.
    streams : Streams
    settings : Settings
    budget : Budget
    log : RunLog
        Gets the mean of every term over the steps since its last line.
    validate : callable, optional
        Error rate of a network on held-out labeled rows; called ten times a run.

    Raises
    ------
    FloatingPointError
        If a term becomes NaN or infinite.
    MemoryError
        If the device runs out of memory.

    Examples
    --------
    See `clsgan.estimator`, where it is called.
    """
    meter = _Meter(log, budget)
    validated = 0
    with _explain_out_of_memory(settings):
        while not budget.is_spent(state.step):
            progress = budget.progress(state.step)
            _set_learning_rates(state, streams, settings, progress)
            batch = streams.next(
                settings.sizes(progress, len(streams.unlabeled) > 0, fabric.world_size)
            )
            generated = _generate(state, batch, settings)
            scalars = update_loss_network(
                fabric, state, streams, batch, generated, settings, progress
            )
            if generated is not None:
                scalars |= update_generator(fabric, state, streams, batch, generated, settings)
            _update_averages(state)
            state.step += 1
            rows = len(batch.x_lab) + len(batch.x_unl)
            state.rows_seen += rows * fabric.world_size
            meter.add(state.step, scalars, rows)
            if validate is not None and int(10 * budget.progress(state.step)) > validated:
                validated = int(10 * budget.progress(state.step))
                log.write(state.step, validation_error=validate(state.average_loss_network.module))
    meter.flush(state.step)


def update_loss_network(
    fabric: "Fabric",
    state: TrainState,
    streams: Streams,
    batch: Batch,
    generated: Tensor | None,
    settings: Settings,
    progress: float,
) -> Scalars:
    """One step of the loss network: labeled term, unlabeled term, margins to generated rows.

    Parameters
    ----------
    fabric : Fabric
    state : TrainState
    streams : Streams
        Its augmentation is put on generated rows as on real ones.
    batch : Batch
    generated : Tensor [M, ...] or None
        G(z, y_gen), with the graph of the generator; its gradient is cut here.
    settings : Settings
    progress : float
        Share of the budget that is spent.

    Returns
    -------
    dict of Tensor
        The detached mean of every term.

    Examples
    --------
    See `train`.
    """
    real = torch.cat([batch.x_lab, batch.x_unl]) if len(batch.x_unl) else batch.x_lab
    logits = state.loss_network(real)[0]
    lab, unl = logits[: len(batch.x_lab)], logits[len(batch.x_lab) :]
    terms = {"labeled": _labeled_term(settings.objective, lab, batch.y_lab)}
    weights = {"labeled": 1.0}
    if len(unl):
        ramp = unlabeled_weight_ramp(progress, settings.unlabeled_start)
        weights["unlabeled"] = settings.objective.unlabeled_weight * ramp
        terms |= _unlabeled_term(fabric, state, settings.objective, unl, batch)
    if generated is not None:
        fake = streams.generated_augment(generated.detach(), streams.generator)
        with frozen_statistics(state.loss_network):
            fake_logits = state.loss_network(fake)[0]
        terms |= _margin_terms(settings.objective, batch, fake, lab, unl, fake_logits)
        weights |= _margin_weights(settings.objective)
    loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    state.loss_optimizer.zero_grad()
    fabric.backward(loss)
    state.loss_optimizer.step()
    return {name: term.detach() for name, term in terms.items()}


def update_generator(
    fabric: "Fabric",
    state: TrainState,
    streams: Streams,
    batch: Batch,
    generated: Tensor,
    settings: Settings,
) -> Scalars:
    """One step of the generator: smaller losses of its rows (eq. 16), the loss network frozen.

    Parameters
    ----------
    fabric : Fabric
    state : TrainState
    streams : Streams
    batch : Batch
    generated : Tensor [M, ...]
        G(z, y_gen), with the graph of the generator.
    settings : Settings

    Returns
    -------
    dict of Tensor
        The detached mean of every term.

    Examples
    --------
    See `train`.
    """
    network = state.loss_network.module
    with frozen(network), frozen_statistics(network), fabric.autocast():
        logits = network(streams.generated_augment(generated, streams.generator))[0]
    losses = at_label(settings.objective.margin_losses(logits.float()), batch.y_gen)
    loss = loss_sensitive_generator(losses).mean()
    state.generator_optimizer.zero_grad()
    fabric.backward(loss)
    state.generator_optimizer.step()
    return {"generator": loss.detach()}


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Give no gradient to the parameters of a network while the block runs.

    Parameters
    ----------
    network : nn.Module

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> with frozen(layer):
    ...     layer.weight.requires_grad
    False
    >>> layer.weight.requires_grad
    True
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Normalise with the running statistics, and leave them alone, while the block runs.

    Generated rows are judged as a row is judged at prediction. In their own or in shared batch
    statistics they spoil the ones that prediction uses: on CIFAR-10 with 4,000 labels that took
    the test error from 17.7 % to 45 %.

    Parameters
    ----------
    network : nn.Module

    Examples
    --------
    >>> norm = nn.BatchNorm1d(2)
    >>> with frozen_statistics(norm):
    ...     _ = norm(torch.ones(4, 2))
    >>> norm.running_mean, norm.training
    (tensor([0., 0.]), True)
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, NORMS_WITH_STATISTICS) and module.training
    ]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


NORMS_WITH_STATISTICS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
)


def _labeled_term(objective: Objective, logits: Tensor, y: Tensor) -> Tensor:
    losses = objective.losses(logits)
    smoothing = objective.label_smoothing
    return (1 - smoothing) * at_label(losses, y).mean() + smoothing * losses.mean()


def _unlabeled_term(
    fabric: "Fabric", state: TrainState, objective: Objective, logits: Tensor, batch: Batch
) -> Scalars:
    asked = UNLABELED[objective.unlabeled]
    if asked is None:
        return {}
    if asked.teacher == "average":
        teacher: nn.Module = state.average_loss_network.module
    else:
        teacher = state.loss_network.module
    with torch.no_grad(), frozen_statistics(teacher), fabric.autocast():
        target = teacher(batch.x_teacher)[0].float()
    return {"unlabeled": asked.loss(logits, target).mean()}


def _margin_terms(
    objective: Objective, batch: Batch, fake: Tensor, lab: Tensor, unl: Tensor, fake_logits: Tensor
) -> Scalars:
    """Hinge of eq. 15 on labeled rows and of eq. 18 on unlabeled ones, against generated rows."""

    def hinge(real: Tensor, real_loss: Tensor, fake: Tensor, fake_loss: Tensor) -> Tensor:
        n = min(len(real), len(fake))
        margin = pixel_margin(real[:n], fake[:n], objective.margin_scale, objective.margin_norm)
        return loss_sensitive_critic(real_loss[:n], fake_loss[:n], margin).mean()

    terms = {}
    if objective.hinge_weight:
        real_loss = at_label(objective.margin_losses(lab), batch.y_lab)
        fake_loss = at_label(objective.margin_losses(fake_logits), batch.y_gen)
        terms["hinge"] = hinge(batch.x_lab, real_loss, fake, fake_loss)
    first = len(lab) if objective.unlabeled_fakes == "prior" else 0
    if len(unl) and objective.unlabeled_hinge_weight and len(fake) > first:
        terms["unlabeled_hinge"] = hinge(
            batch.x_unl, unlabeled_loss(unl), fake[first:], unlabeled_loss(fake_logits[first:])
        )
    return terms


def _margin_weights(objective: Objective) -> dict[str, float]:
    return {
        "hinge": objective.hinge_weight,
        "unlabeled_hinge": objective.unlabeled_weight * objective.unlabeled_hinge_weight,
    }


def _generate(state: TrainState, batch: Batch, settings: Settings) -> Tensor | None:
    if state.generator is None or state.step % settings.generator_interval:
        return None
    rows: Tensor = state.generator(batch.z, batch.y_gen)
    return rows


def _set_learning_rates(
    state: TrainState, streams: Streams, settings: Settings, progress: float
) -> None:
    rows = len(streams.labeled) + len(streams.unlabeled)
    epoch = state.step * settings.batch_size / rows
    factor = SCHEDULES[settings.schedule](progress, epoch)
    for group in state.loss_optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor
    if state.generator_optimizer is not None:
        for group in state.generator_optimizer.param_groups:
            group["lr"] = settings.generator_learning_rate * factor


def _average(decay: float) -> Callable[[nn.Module], AveragedModel]:
    """Running averages of weights and buffers; the first steps weigh as in a plain mean."""

    @torch.no_grad()
    def blend(averages: Any, values: Any, count: Tensor) -> None:
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


def _update_averages(state: TrainState) -> None:
    state.average_loss_network.update_parameters(state.loss_network.module)
    if state.average_generator is not None:
        state.average_generator.update_parameters(state.generator.module)


def _sgd(groups: Any, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True)


def _adam(groups: Any, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=learning_rate, betas=(0.5, 0.999))


def _adamw(groups: Any, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=learning_rate)


OPTIMIZERS: dict[str, Callable[[Any, float], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
}


class _Meter:
    """Means of the terms between two lines of the log."""

    def __init__(self, log: RunLog, budget: Budget) -> None:
        self.log, self.budget = log, budget
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.images, self.since = 0, budget.elapsed()

    def add(self, step: int, scalars: Scalars, images: int) -> None:
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.images += images
        if step % LOG_EVERY == 0:
            self.flush(step)

    def flush(self, step: int) -> None:
        if not self.sums:
            return
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        bad = [name for name, mean in means.items() if not torch.isfinite(torch.tensor(mean))]
        if bad:
            raise FloatingPointError(
                f"training diverged: {', '.join(bad)} not finite in the {LOG_EVERY} steps up to "
                f"step {step}; lower learning_rate, or use precision='32'"
            )
        now = self.budget.elapsed()
        speed = self.images / max(now - self.since, 1e-9)
        self.log.write(step, **means, images_per_second=speed, seconds=now)
        text = f"loss {means['labeled']:.2f} · {speed:,.0f} images/s"
        self.log.update(self.budget.progress(step), text)
        self.sums, self.counts, self.images, self.since = {}, {}, 0, now


@contextmanager
def _explain_out_of_memory(settings: Settings) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "out of memory" not in str(error) and "allocate memory" not in str(error):
            raise
        raise MemoryError(
            f"out of memory at batch_size={settings.batch_size}, "
            f"generated_batch_size={settings.generated_batch_size}; halve batch_size, or choose "
            "a smaller loss_network"
        ) from error
