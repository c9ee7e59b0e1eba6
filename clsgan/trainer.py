"""The loop: the only place where an optimiser steps."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clsgan.critic_terms import critic_scores, make_pairs, penalty_term, system_of
from clsgan.freezing import frozen, frozen_statistics
from clsgan.lipschitz import clip_weights
from clsgan.networks import level_of
from clsgan.objectives import loss_sensitive_generator
from clsgan.objectives.unlabeled import unlabeled_weight_ramp
from clsgan.processes import mean_of_all
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
)
from clsgan.threads import ThreadTuner
from clsgan.train_state import TrainState, set_learning_rates, update_averages
from clsgan.unlabeled_terms import KEPT, unlabeled_term

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG_EVERY = 25
PENALTY_LIMIT = 1e8  # a penalty above it cannot come down again in any run of use


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
        If a term becomes NaN or infinite, or a penalty explodes: it names the step and the term.

    Examples
    --------
    See `clsgan.estimator`, where it is called.
    """
    meter = _Meter(fabric, log, budget)
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
            if generated is not None and generated.requires_grad:
                scalars |= update_generator(fabric, state, streams, batch, generated, settings)
            update_averages(state)
            state.step += 1
            rows = (sizes.labeled + sizes.unlabeled) * fabric.world_size
            state.rows_seen += rows
            after_step(rows)
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
    logits, features = state.loss_network(real)
    lab, unl = logits[: len(batch.x_lab)], logits[len(batch.x_lab) :]
    terms: Scalars = {}
    weights = {"labeled": 1.0, "critic": settings.objective.hinge_weight}
    weights["penalty"] = settings.penalty_weight
    if settings.conditional:
        terms["labeled"] = labeled_term(settings.objective, lab, batch.y_lab, batch.class_weight)
    if len(unl):
        ramp = unlabeled_weight_ramp(progress, settings.unlabeled_start)
        weights["unlabeled"] = settings.objective.unlabeled_weight * ramp
        terms |= unlabeled_term(fabric, state, settings.objective, unl, batch)
    fake = None
    if generated is not None:
        fake = streams.generated_augment(generated.detach(), streams.generator)
    if settings.objective.system is not None:
        terms |= _critic(state, batch, fake, settings, (lab, features))
    else:
        terms |= _margins(fabric, state, batch, fake, settings, (lab, unl))
    penalty = penalty_term(
        fabric,
        settings,
        state.loss_network.module,
        batch,
        fake,
        streams.generator,
        state.steepest,
    )
    if penalty is not None:
        terms["penalty"] = penalty
    weights |= margin_weights(settings.objective) | {KEPT: 0.0}
    if not terms:
        return {}
    loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    state.loss_optimizer.zero_grad()
    fabric.backward(loss)
    state.loss_optimizer.step()
    if settings.clip is not None:
        clip_weights(state.loss_network.module, settings.clip)
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
        fake = streams.generated_augment(generated, streams.generator)
        output = network(fake)
        real = _real_scores(network, batch, settings)
    if settings.objective.system is None:
        losses = critic_scores(settings, output[0].float(), batch.y_gen)
        loss = loss_sensitive_generator(losses).mean()
    else:
        pairs = make_pairs(settings, batch, real or output, fake, output)
        loss = system_of(settings).generator(pairs).mean()
    state.generator_optimizer.zero_grad()
    fabric.backward(loss)
    scalars = {"generator": loss.detach()}
    if settings.log_gradients:
        scalars["generator_gradient_norm"] = _gradient_norm(state.generator)
    state.generator_optimizer.step()
    return scalars


def _gradient_norm(network: nn.Module) -> Tensor:
    """Euclidean norm of the gradient of all parameters together."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm: Tensor = torch.stack([gradient.norm() for gradient in gradients]).norm()
    return norm


def _critic(
    state: TrainState,
    batch: Batch,
    fake: Tensor | None,
    settings: Settings,
    real: tuple[Tensor, Tensor],
) -> Scalars:
    """What a system has its critic minimise, on labeled rows against generated ones."""
    if fake is None:
        return {}
    with frozen_statistics(state.loss_network):
        output = state.loss_network(fake)
    pairs = make_pairs(settings, batch, real, fake, output)
    return {"critic": system_of(settings).critic(pairs).mean()}


def _real_scores(
    network: nn.Module, batch: Batch, settings: Settings
) -> tuple[Tensor, Tensor] | None:
    """Output for labeled rows, where the generator's part of a system compares with it."""
    system = settings.objective.system
    if system is None or not system.row.generator_sees_real:
        return None
    with torch.no_grad():
        logits, features = network(batch.x_lab)
    return logits, features


def _margins(
    fabric: "Fabric",
    state: TrainState,
    batch: Batch,
    fake: Tensor | None,
    settings: Settings,
    logits: tuple[Tensor, Tensor],
) -> Scalars:
    """Terms against generated rows: of the whole loss network, or of its level alone."""
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
    """Generated rows, with a graph in the steps in which the generator learns."""
    if state.generator is None or state.step % settings.generator_interval:
        return None
    count = state.step // settings.generator_interval + 1
    with torch.set_grad_enabled(count % settings.critic_steps == 0):
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

    def __init__(self, fabric: "Fabric", log: RunLog, budget: Budget) -> None:
        self.fabric, self.log, self.budget = fabric, log, budget
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.images, self.since = 0, budget.elapsed()
        self.recent: list[tuple[int, Scalars]] = []

    def add(self, step: int, scalars: Scalars, images: int) -> None:
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.images += images
        self.recent.append((step, scalars))
        if step % LOG_EVERY == 0:
            self.flush(step)

    def flush(self, step: int) -> None:
        if not self.sums:
            return
        own = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        means = mean_of_all(self.fabric, own)
        if any(_is_bad(name, mean) for name, mean in means.items()):
            self._refuse()
            raise FloatingPointError(f"training diverged in another process by step {step}")
        now = self.budget.elapsed()
        speed = self.images / max(now - self.since, 1e-9)
        self.log.write(step, **means, images_per_second=speed, seconds=now)
        shown = means.get("labeled", means.get("critic", math.nan))
        text = f"loss {shown:.2f} · {speed:,.0f} images/s"
        self.log.update(self.budget.progress(step), text)
        self.sums, self.counts, self.images, self.since = {}, {}, 0, now
        self.recent = []

    def _refuse(self) -> None:
        """Name the first step, and the terms of it, that went wrong."""
        for step, scalars in self.recent:
            values = {name: float(value) for name, value in scalars.items()}
            bad = [f"{name} = {v:g}" for name, v in values.items() if _is_bad(name, v)]
            if bad:
                raise FloatingPointError(
                    f"training diverged: {', '.join(bad)} at step {step}; lower learning_rate, or "
                    "use precision='32'; a critic without bound needs Lipschitz control (penalty, "
                    "clip, spectral_norm)"
                )


def _is_bad(name: str, value: float) -> bool:
    return not math.isfinite(value) or (name == "penalty" and value > PENALTY_LIMIT)


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
