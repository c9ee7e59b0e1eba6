"""The level learned once more, on features that stand still: those of the averaged network."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from clsgan.networks import Level, level_of
from clsgan.pool_belief import PoolBelief
from clsgan.processes import from_first, rows_of_all
from clsgan.settings import Settings
from clsgan.streams import Streams
from clsgan.terms import LEVEL_ROWS, outlier_term
from clsgan.train_state import LEVEL_GRADIENT, OPTIMIZERS, TrainState, level_decay
from clsgan.unlabeled_terms import pool_term

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from clsgan.schedules import Budget

MOST_BATCHES, LEAST_BATCHES = 32, 4
MOST_ROWS = 8192  # of each kind, over all processes
STEPS_EACH = 16  # of the run, for a batch, which costs a third of a step: its forward passes alone
ROUNDS, LEARNING_RATE, WARM_UP = 300, 0.2, 0.1
LEAST_LABELED = 500  # where the level weighs the pool
HELD_OUT = 0.25  # of the labeled rows, by whose scores the known share of a pool is estimated
SHARE, SECONDS = 0.015, 0.3  # of a budget of time, and for the steps of the level
MOST_SECONDS, MOST_SHARE = 4.0, 0.1  # the share bounds what tenths of a run take together too


class Judged(NamedTuple):
    """What the averaged network makes of rows.

    Parameters
    ----------
    scores : Tensor [N, K]
    features : Tensor [N, F]

    Examples
    --------
    >>> len(Judged(torch.zeros(2, 3), torch.zeros(2, 8)).scores)
    2
    """

    scores: Tensor
    features: Tensor


def refits_level(state: TrainState, streams: Streams, settings: Settings, world_size: int) -> bool:
    """Whether a run has a level that can be learned anew, and rows to tell known ones from.

    Where the level weighs the pool, 500 labeled rows are asked for: of fewer the network has
    learned the features by heart, and told from those even known rows of the pool look novel.

    Parameters
    ----------
    state : TrainState
    streams : Streams
    settings : Settings
    world_size : int
        Number of processes; none of them may be without a labeled row.

    Returns
    -------
    bool

    Examples
    --------
    See `refit_level`.
    """
    objective = settings.objective
    if level_of(state.loss_network.module) is None or not objective.outlier_weight:
        return False
    if objective.unlabeled_filter is None:
        return state.generator is not None and len(streams.labeled) >= world_size
    sizes = settings.sizes(1.0, len(streams.unlabeled) > 0, world_size)
    return sizes.unlabeled > 0 and len(streams.labeled) >= max(LEAST_LABELED, world_size)


def seconds_to_refit(budget: "Budget") -> float:
    """Seconds of a budget of time that are kept for it.

    Parameters
    ----------
    budget : Budget

    Returns
    -------
    float

    Examples
    --------
    >>> from clsgan.schedules import Budget
    >>> seconds_to_refit(Budget(time_limit=60)), seconds_to_refit(Budget(max_steps=10))
    (1.2, 0.0)
    """
    if budget.time_limit is None:
        return 0.0
    limit = budget.time_limit
    return min(SECONDS + SHARE * limit, MOST_SECONDS, MOST_SHARE * limit)


def seconds_to_refit_last(took: float, step: int, progress: float) -> float:
    """Seconds that it will take at the end of a run, by those that it took within the run.

    Parameters
    ----------
    took : float
    step : int
        After which it was learned.
    progress : float
        Share of the budget that was spent by then, above 0.

    Returns
    -------
    float
        More by as much as there will be more batches.

    Examples
    --------
    >>> seconds_to_refit_last(0.5, step=100, progress=0.5)
    1.0
    """
    now, last = (
        min(MOST_BATCHES, max(int(steps) // STEPS_EACH, LEAST_BATCHES))
        for steps in (step, step / progress)
    )
    return took * last / now


def refit_pays(budget: "Budget", took: float) -> bool:
    """Whether a run has time to learn its level anew before its end.

    Parameters
    ----------
    budget : Budget
    took : float
        Seconds that this has taken so far; those of the first process count.

    Returns
    -------
    bool
        False where it has taken a tenth of the time that is spent; always True in a run by steps.

    Examples
    --------
    >>> from clsgan.schedules import Budget
    >>> refit_pays(Budget(max_steps=10), 3.0), refit_pays(Budget(time_limit=60), 3.0)
    (True, False)
    """
    if budget.time_limit is None:
        return True
    spent = took - MOST_SHARE * budget.elapsed()
    return (spent if budget.agree is None else budget.agree(spent)) <= 0


def refit_level(fabric: "Fabric", state: TrainState, streams: Streams, settings: Settings) -> bool:
    """Learn the level on features of the averaged network, all of them taken now.

    Within a run the level follows features that move, in few and early steps. Features that stand
    still cost a forward pass each, and the level learns from them in some hundred steps of its own.
    What it learns is `clsgan.terms.outlier_term`, or `clsgan.unlabeled_terms.pool_term` where it
    weighs the pool. Class probabilities stay as they are.

    Parameters
    ----------
    fabric : Fabric
    state : TrainState
        The levels of both loss networks are changed in place, to the same one.
    streams : Streams
        Rows are taken from it, as the teacher sees them.
    settings : Settings

    Returns
    -------
    bool
        Whether it was learned: not in the first steps of a run, nor where scores or features are
        not finite, and only where `refits_level` says so.

    Examples
    --------
    See `clsgan.fitting.fit_networks`.
    """
    batches = min(MOST_BATCHES, state.step // STEPS_EACH)
    if batches < LEAST_BATCHES or not refits_level(state, streams, settings, fabric.world_size):
        return False
    judged = _judge(fabric, state, streams, settings, batches)
    level, average = (
        cast(Level, level_of(network.module))
        for network in (state.loss_network, state.average_loss_network)
    )
    before, pool = copy.deepcopy(average.state_dict()), state.pool
    with torch.enable_grad():
        _learn(average, state, settings, judged)
    if fabric.world_size > 1:  # the same rows, but another machine may round otherwise
        average.load_state_dict(from_first(average.state_dict))
        state.pool.known_share = from_first(lambda: state.pool.known_share)
    if not all(torch.isfinite(parameter).all() for parameter in average.parameters()):
        average.load_state_dict(before)
        state.pool = pool
        return False
    level.load_state_dict(average.state_dict())
    for parameter in level.parameters():  # the momentum is that of other weights
        state.loss_optimizer.state.pop(parameter, None)
    return True


@torch.no_grad()
def _judge(
    fabric: "Fabric", state: TrainState, streams: Streams, settings: Settings, batches: int
) -> dict[str, Judged]:
    """Labeled rows, each once; unlabeled and generated ones of some batches; of all processes."""
    network: Any = state.average_loss_network.module
    generator: Any = None if state.average_generator is None else state.average_generator.module
    sizes = settings.sizes(1.0, len(streams.unlabeled) > 0, fabric.world_size)
    largest = max(settings.batch_size, settings.generated_batch_size)
    batches = max(min(batches, MOST_ROWS // largest), 1)
    objective = settings.objective
    wanted = objective.unlabeled_filter is not None or objective.unlabeled_outlier_weight

    def judge(rows: Tensor) -> Judged:
        scores, features = network(rows)
        return Judged(*(rows_of_all(fabric, tensor.float()) for tensor in (scores, features)))

    labeled, unlabeled, generated = [], [], []
    with fabric.autocast():
        for rows in streams.plain_labeled(sizes.labeled, batches):
            labeled.append(judge(rows))
        for _ in range(batches):
            if sizes.unlabeled and wanted:
                unlabeled.append(judge(streams.plain_unlabeled(sizes.unlabeled)))
            if generator is not None:
                z, y = streams.noise(sizes.generated), streams.drawn_classes(sizes.generated)
                generated.append(judge(generator(z, y).float()))
    none = Judged(labeled[0].scores[:0], labeled[0].features[:0])
    kinds = {"labeled": labeled, "unlabeled": unlabeled, "generated": generated}
    return {
        kind: Judged(*(torch.cat(tensors) for tensors in zip(*(found or [none]), strict=True)))
        for kind, found in kinds.items()
    }


def _learn(level: Level, state: TrainState, settings: Settings, judged: dict[str, Judged]) -> None:
    """Steps on batches drawn from what was judged; the same in all processes.

    With a filter m is drawn anew, or it would know the rows held out from earlier tenths of the
    run, and what is believed of the pool starts anew with it.
    """
    generator = torch.Generator().manual_seed(state.step)
    lab, held = judged["labeled"], None
    if settings.objective.unlabeled_filter is not None:
        lab, held = _split(lab, HELD_OUT)
        level.forget(generator)
        state.pool = PoolBelief(class_shares=state.pool.class_shares, by_held_out=True)
    weights = {"params": list(level.parameters()), "weight_decay": level_decay(level)}
    optimizer = OPTIMIZERS["sgd"]([weights], LEARNING_RATE)
    fakes = min(settings.generated_batch_size, LEVEL_ROWS)
    level.requires_grad_(True)
    try:
        for i in range(ROUNDS):
            share = min(i / (WARM_UP * ROUNDS), 1.0) * (1 - i / ROUNDS)
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * share
            drawn = [
                _drawn(part, count, generator)
                for part, count in (
                    (lab, LEVEL_ROWS),
                    (judged["unlabeled"], LEVEL_ROWS),
                    (judged["generated"], fakes),
                )
            ]
            known, unl, fake = _moved(level, drawn)
            if held is None:
                terms = outlier_term(settings.objective, known, unl, fake)
            else:
                with torch.no_grad():
                    kept = _moved(level, [_drawn(held, LEVEL_ROWS, generator)])[0]
                terms = pool_term(state, known, unl, fake, kept)
            optimizer.zero_grad()
            torch.autograd.backward(terms["outlier"])
            nn.utils.clip_grad_norm_(level.parameters(), LEVEL_GRADIENT)
            optimizer.step()
    finally:
        optimizer.zero_grad()
        level.requires_grad_(False)


def _split(judged: Judged, share: float) -> tuple[Judged, Judged]:
    """The first rows, and a share of all, at least one, that is cut off at the end."""
    cut = len(judged.scores) - max(round(share * len(judged.scores)), 1)
    first, last = (Judged(*(t[rows] for t in judged)) for rows in (slice(cut), slice(cut, None)))
    return first, last


def _drawn(judged: Judged, count: int, generator: torch.Generator) -> Judged:
    """`count` rows, drawn with replacement; none where there are none."""
    if not len(judged.scores):
        return judged
    rows = torch.randint(len(judged.scores), (count,), generator=generator)
    rows = rows.to(judged.scores.device)
    return Judged(judged.scores[rows], judged.features[rows])


def _moved(level: Level, parts: Sequence[Judged]) -> Sequence[Tensor]:
    """Scores of every part, moved by the level, which is called once for all."""
    scores, features = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    moved: Tensor = scores + level(features, scores)
    return torch.split(moved, [len(part.scores) for part in parts])
