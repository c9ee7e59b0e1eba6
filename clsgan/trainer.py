"""The loop: where both networks learn, step by step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clsgan.critic_terms import critic_scores, critic_term, make_pairs, real_scores, system_of
from clsgan.freezing import frozen, frozen_statistics
from clsgan.lipschitz import clip_weights
from clsgan.meter import Meter
from clsgan.mixing import MIXED_UNTIL, Mixed, cutmix
from clsgan.networks import level_of
from clsgan.objectives import loss_sensitive_generator, rotation_loss
from clsgan.objectives.unlabeled import unlabeled_weight_ramp
from clsgan.penalty_terms import penalty_term
from clsgan.runlog import RunLog
from clsgan.schedules import Budget
from clsgan.settings import Settings
from clsgan.step_check import KeptWeights, NotFinite, check_step, running_state, undo_step
from clsgan.streams import Batch, Streams
from clsgan.tenths import Tenths
from clsgan.terms import (
    Scalars,
    labeled_term,
    level_terms,
    margin_terms,
    margin_weights,
)
from clsgan.threads import ThreadTuner
from clsgan.train_state import (
    LEVEL_GRADIENT,
    TrainState,
    set_learning_rates,
    update_averages,
    update_generator_averages,
)
from clsgan.unlabeled_terms import KEPT, TURNED, turned_images, unlabeled_term

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LEVEL_TERMS = {"hinge", "unlabeled_hinge", "outlier"}
FILTER_INTERVAL = 4  # steps from one of the level to the next, at most, where it weighs the pool


def train(
    fabric: "Fabric",
    state: TrainState,
    streams: Streams,
    settings: Settings,
    budget: Budget,
    log: RunLog,
    validate: Callable[[nn.Module], float] | None = None,
    meter: Meter | None = None,
    keep_going: Callable[[], bool] | None = None,
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
        Error rate of a network on held-out labeled rows; called ten times a run, where the time
        limit leaves room.
    meter : Meter, optional
        Of the log, where it is part of checkpoints.
    keep_going : callable, optional
        Called after every step; False ends the run.

    Raises
    ------
    FloatingPointError
        If ten steps in a row are skipped, since a loss or a gradient is NaN or infinite or a
        penalty explodes: it names the first of them and the term.

    Examples
    --------
    See `clsgan.estimator`, where it is called.
    """
    meter = meter or Meter(log, budget, fabric)
    n_rows = len(streams.labeled) + len(streams.unlabeled)
    tenths = Tenths(fabric, state, streams, settings, budget, log, validate)
    with _threads(fabric, budget) as after_step:
        while not budget.is_spent(state.step):
            progress = budget.progress(state.step)
            set_learning_rates(state, settings, progress, n_rows)
            has_unlabeled, known_share = len(streams.unlabeled) > 0, state.pool.agreed_share()
            sizes = settings.sizes(progress, has_unlabeled, fabric.world_size, known_share)
            batch = streams.next(sizes)
            before = state.skipped.total
            scalars = _update_both(fabric, state, streams, batch, settings, progress)
            skipped = state.skipped.total > before
            state.step += 1
            rows = (sizes.labeled + sizes.unlabeled) * fabric.world_size
            state.rows_seen += rows
            after_step(rows)
            meter.add(state.step, scalars, rows, skipped)
            tenths.after_step()
            if keep_going is not None and not keep_going():
                break
    meter.flush(state.step)
    state.skipped.finish()


def _update_both(
    fabric: "Fabric",
    state: TrainState,
    streams: Streams,
    batch: Batch,
    settings: Settings,
    progress: float,
) -> Scalars:
    """One step of both networks and of their averages; without a trace if it is not finite."""
    before = running_state(state)
    generated = _generate(state, batch, settings)
    learns = generated is not None and generated.requires_grad
    kind = "plain" if generated is None else "generated" if not learns else "generator"
    kept = KeptWeights(state.loss_optimizer) if learns else None
    try:
        scalars = update_loss_network(fabric, state, streams, batch, generated, settings, progress)
        if generated is not None and learns:
            scalars |= update_generator(fabric, state, streams, batch, generated, settings)
    except NotFinite as error:
        undo_step(state, before, kept)
        state.skipped.skip(kind, state.step + 1, str(error))
        return {}
    # a system's generator is averaged over its own steps; beside the margins, over all of them
    if learns or settings.objective.system is None:
        update_generator_averages(state)
    update_averages(state)
    state.skipped.take(kind)
    return scalars


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
        Its augmentation is put on generated rows as on real ones; the level sees both without.
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

    Raises
    ------
    NotFinite
        If the loss or a gradient is not finite; no weight has changed then.

    Examples
    --------
    See `train`.
    """
    turned = turns = None
    if settings.objective.rotation_weight and len(batch.x_unl):
        share = 1.0 if progress < settings.unlabeled_start else TURNED
        batch, turned, turns = turned_images(batch, share)
    mixed_lab, mixed_unl = _mixed(streams, batch, settings, progress)
    x_lab = batch.x_lab if mixed_lab is None else mixed_lab.x
    x_unl = batch.x_unl if mixed_unl is None else mixed_unl.x
    parts = [rows for rows in (x_lab, x_unl, turned) if rows is not None and len(rows)]
    logits, features = state.loss_network(torch.cat(parts) if len(parts) > 1 else x_lab)
    n_lab, n_own = len(batch.x_lab), len(batch.x_lab) + len(batch.x_unl)
    lab, unl = logits[:n_lab], logits[n_lab:n_own]
    terms: Scalars = {}
    weights = {"labeled": 1.0, "critic": settings.objective.hinge_weight}
    weights["rotation"] = settings.objective.rotation_weight
    if turns is not None and len(turns):
        terms["rotation"] = rotation_loss(features[n_own:], turns).mean()
    weights["penalty"] = settings.penalty_weight
    if settings.conditional:
        terms["labeled"] = labeled_term(
            settings.objective, lab, batch.y_lab, batch.class_weight, mixed_lab
        )
    if len(unl):
        ramp = unlabeled_weight_ramp(progress, settings.unlabeled_start)
        weights["unlabeled"] = settings.objective.unlabeled_weight * ramp
        terms |= unlabeled_term(fabric, state, settings.objective, unl, batch, mixed_unl)
    fake = None
    if generated is not None:
        fake = _shown(state, streams, generated.detach(), settings)
    if settings.objective.system is not None:
        terms |= critic_term(state, batch, fake, settings, (lab, features))
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
    check_step(fabric, "loss network", terms, loss, state.loss_optimizer)
    level = level_of(state.loss_network.module)
    asked = LEVEL_TERMS & terms.keys() or settings.objective.open_class == "all"
    if level is not None and not asked:
        level.zero_grad()  # to None: else it would decay in steps in which it does not learn
    elif level is not None:
        _unscale(fabric, state.loss_optimizer)
        nn.utils.clip_grad_norm_(level.parameters(), LEVEL_GRADIENT)
    state.loss_optimizer.step()
    if settings.clip is not None:
        clip_weights(state.loss_network.module, settings.clip)
    return {name: term.detach() for name, term in terms.items()}


def _mixed(
    streams: Streams, batch: Batch, settings: Settings, progress: float
) -> tuple[Mixed | None, Mixed | None]:
    """Labeled and unlabeled images, some with a part of another; the batch itself stays whole."""
    share = settings.objective.cutmix
    if not share or not settings.unlabeled_start <= progress < MIXED_UNTIL:
        return None, None
    labeled = cutmix(batch.x_lab, streams.generator, share)
    if not len(batch.x_unl):
        return labeled, None
    return labeled, cutmix(batch.x_unl, streams.generator, share)


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

    Raises
    ------
    NotFinite
        If the loss or a gradient is not finite; no weight has changed then.

    Examples
    --------
    See `train`.
    """
    on_level = _margins_on_level(state, settings)
    network = (state.average_loss_network if on_level else state.loss_network).module
    with frozen(network), frozen_statistics(network), fabric.autocast():
        fake = _shown(state, streams, generated, settings)
        output = network(fake)
        real = real_scores(network, batch, settings)
    if settings.objective.system is None:
        losses = critic_scores(settings, output[0].float(), batch.y_gen)
        loss = loss_sensitive_generator(losses).mean()
    else:
        pairs = make_pairs(settings, batch, real or output, fake, output)
        loss = system_of(settings).generator(pairs).mean()
    state.generator_optimizer.zero_grad()
    fabric.backward(loss)
    check_step(fabric, "generator", {"generator": loss}, loss, state.generator_optimizer)
    scalars = {"generator": loss.detach()}
    if settings.log_gradients:
        _unscale(fabric, state.generator_optimizer)
        scalars["generator_gradient_norm"] = _gradient_norm(state.generator)
    state.generator_optimizer.step()
    return scalars


def _unscale(fabric: "Fabric", optimizer: Any) -> None:
    """Take the loss scale of fp16 out of gradients; the optimiser's step does not do it again.

    Of what wraps the optimiser it would; and Fabric's own way refuses those that are fused.
    """
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    if scaler is not None:
        scaler.unscale_(optimizer.optimizer)


def _gradient_norm(network: nn.Module) -> Tensor:
    """Euclidean norm of the gradient of all parameters together."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm: Tensor = torch.stack([gradient.norm() for gradient in gradients]).norm()
    return norm


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
        every = settings.generator_interval
        if settings.objective.unlabeled_filter is not None:
            every = min(every, FILTER_INTERVAL)
        if fake is None and state.step % every:
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


def _shown(state: TrainState, streams: Streams, generated: Tensor, settings: Settings) -> Tensor:
    """Generated rows as real ones beside them are shown: to the level as they are."""
    if _margins_on_level(state, settings):
        return generated
    return streams.generated_augment(generated, streams.generator)


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
