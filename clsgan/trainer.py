"""The loop: the only place where an optimiser steps."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clsgan.freezing import frozen, frozen_statistics
from clsgan.networks import level_of
from clsgan.objectives import at_label, loss_sensitive_generator
from clsgan.objectives.unlabeled import unlabeled_weight_ramp
from clsgan.runlog import RunLog
from clsgan.schedules import Budget
from clsgan.settings import Settings
from clsgan.streams import Batch, Streams
from clsgan.terms import (
    Scalars,
    labeled_term,
    level_terms,
    margin_terms,
    margin_weights,
    unlabeled_term,
)
from clsgan.threads import ThreadTuner
from clsgan.train_state import TrainState, set_learning_rates, update_averages

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG_EVERY = 25


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

    Examples
    --------
    See `clsgan.estimator`, where it is called.
    """
    meter = _Meter(log, budget)
    n_rows = len(streams.labeled) + len(streams.unlabeled)
    validated = 0
    with _threads(fabric, budget) as after_step:
        while not budget.is_spent(state.step):
            progress = budget.progress(state.step)
            set_learning_rates(state, settings, progress, n_rows)
            sizes = settings.sizes(progress, len(streams.unlabeled) > 0, fabric.world_size)
            batch = streams.next(sizes)
            generated = _generate(state, batch, settings)
            scalars = update_loss_network(
                fabric, state, streams, batch, generated, settings, progress
            )
            if generated is not None:
                scalars |= update_generator(fabric, state, streams, batch, generated, settings)
            update_averages(state)
            state.step += 1
            state.rows_seen += (sizes.labeled + sizes.unlabeled) * fabric.world_size
            after_step(sizes.labeled + sizes.unlabeled)
            meter.add(state.step, scalars, sizes.labeled + sizes.unlabeled)
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
    terms = {"labeled": labeled_term(settings.objective, lab, batch.y_lab)}
    weights = {"labeled": 1.0}
    if len(unl):
        ramp = unlabeled_weight_ramp(progress, settings.unlabeled_start)
        weights["unlabeled"] = settings.objective.unlabeled_weight * ramp
        terms |= unlabeled_term(fabric, state, settings.objective, unl, batch)
    terms |= _margins(fabric, state, streams, batch, generated, settings, (lab, unl))
    weights |= margin_weights(settings.objective)
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
    on_level = _margins_on_level(state, settings)
    network = (state.average_loss_network if on_level else state.loss_network).module
    with frozen(network), frozen_statistics(network), fabric.autocast():
        logits = network(streams.generated_augment(generated, streams.generator))[0]
    losses = at_label(settings.objective.margin_losses(logits.float()), batch.y_gen)
    loss = loss_sensitive_generator(losses).mean()
    state.generator_optimizer.zero_grad()
    fabric.backward(loss)
    state.generator_optimizer.step()
    return {"generator": loss.detach()}


def _margins(
    fabric: "Fabric",
    state: TrainState,
    streams: Streams,
    batch: Batch,
    generated: Tensor | None,
    settings: Settings,
    logits: tuple[Tensor, Tensor],
) -> Scalars:
    """Terms against generated rows: of the whole loss network, or of its level alone."""
    fake = None
    if generated is not None:
        fake = streams.generated_augment(generated.detach(), streams.generator)
    if _margins_on_level(state, settings):
        if state.step % settings.generator_interval:
            return {}
        return level_terms(fabric, state, settings.objective, batch, fake)
    if fake is None:
        return {}
    with frozen_statistics(state.loss_network):
        fake_logits = state.loss_network(fake)[0]
    return margin_terms(settings.objective, batch, fake, *logits, fake_logits)


def _margins_on_level(state: TrainState, settings: Settings) -> bool:
    wanted = settings.objective.margins_train == "level"
    return wanted and level_of(state.loss_network.module) is not None


def _generate(state: TrainState, batch: Batch, settings: Settings) -> Tensor | None:
    if state.generator is None or state.step % settings.generator_interval:
        return None
    rows: Tensor = state.generator(batch.z, batch.y_gen)
    return rows


@contextmanager
def _threads(fabric: "Fabric", budget: Budget) -> Iterator[Callable[[int], None]]:
    """What is told of every step: chooses threads where the budget is time on a CPU."""
    if budget.time_limit is None or fabric.device.type != "cpu" or fabric.world_size > 1:
        yield lambda rows: None
        return
    with ThreadTuner(torch.get_num_threads()) as tuner:
        yield tuner.after_step


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
        bad = [name for name, mean in means.items() if not math.isfinite(mean)]
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
def explained_out_of_memory(settings: Settings) -> Iterator[None]:
    """Say what to lower when a device runs out of memory in a block.

    Parameters
    ----------
    settings : Settings

    Raises
    ------
    MemoryError

    Examples
    --------
    >>> from clsgan.objectives import OBJECTIVES
    >>> with explained_out_of_memory(Settings(OBJECTIVES["default"])):
    ...     raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
    Traceback (most recent call last):
    MemoryError: out of memory at batch_size=256, generated_batch_size=64; halve batch_size, ...
    """
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
