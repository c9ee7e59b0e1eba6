"""The level learned once more, on features that stand still: those of the averaged network."""

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from clsgan.networks import Level, level_of
from clsgan.settings import Settings
from clsgan.streams import Streams
from clsgan.terms import LEVEL_ROWS, Scalars, outlier_term
from clsgan.train_state import TrainState, level_decay
from clsgan.unlabeled_terms import pool_term

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from clsgan.schedules import Budget

# Norm of the level's gradient at most. At the classifier's learning rate its two layers drove each
# other up without bound: in one of three runs of 300 s on CIFAR-10 to NaN.
LEVEL_GRADIENT = 0.3
MOST_BATCHES, LEAST_BATCHES = 32, 4
STEPS_EACH = 16  # of the run, for a batch: so it takes a fiftieth of the time at most
ROUNDS, LEARNING_RATE, WARM_UP = 300, 0.2, 0.1
SHARE, SECONDS, MOST_SECONDS = 0.015, 0.3, 4.0  # of a budget of time; and at least; at most


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


def refits_level(state: TrainState, settings: Settings) -> bool:
    """Whether a run has a level that can be learned, and rows to tell known ones from.

    Parameters
    ----------
    state : TrainState
    settings : Settings

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
    if objective.unlabeled_filter is not None:
        return objective.unlabeled != "none"
    return state.generator is not None


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
    return min(SECONDS + SHARE * budget.time_limit, MOST_SECONDS)


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
        Whether it was learned: not in the first steps of a run, nor from a pool without rows.

    Examples
    --------
    See `clsgan.fitting.fit_networks`.
    """
    batches = min(MOST_BATCHES, state.step // STEPS_EACH)
    if batches < LEAST_BATCHES or not refits_level(state, settings):
        return False
    lab, unl, fake = _judge(fabric, state, streams, settings, batches)
    if settings.objective.unlabeled_filter is not None and not len(unl.scores):
        return False
    average = cast(Level, level_of(state.average_loss_network.module))
    with torch.enable_grad():
        _learn(average, state, settings, lab, unl, fake)
    cast(Level, level_of(state.loss_network.module)).load_state_dict(average.state_dict())
    return True


@torch.no_grad()
def _judge(
    fabric: "Fabric", state: TrainState, streams: Streams, settings: Settings, batches: int
) -> list[Judged]:
    """Labeled, unlabeled and generated rows of some batches, of all processes, in order."""
    network: Any = state.average_loss_network.module
    generator: Any = None if state.average_generator is None else state.average_generator.module
    sizes = settings.sizes(1.0, len(streams.unlabeled) > 0, fabric.world_size)
    judged: list[list[Judged]] = [[], [], []]
    for _ in range(batches):
        batch = streams.next_plain(sizes)
        rows = [batch.x_lab, batch.x_unl, batch.x_unl[:0]]
        if generator is not None:
            rows[2] = generator(batch.z, batch.y_gen)
        with fabric.autocast():
            scores, features = network(torch.cat([part for part in rows if len(part)]))
        counts = [len(part) for part in rows]
        parts = zip(scores.float().split(counts), features.float().split(counts), strict=True)
        for found, part in zip(judged, parts, strict=True):
            found.append(Judged(*(_of_all(fabric, tensor) for tensor in part)))
    return [
        Judged(*(torch.cat(list(tensors)) for tensors in zip(*found, strict=True)))
        for found in judged
    ]


def _of_all(fabric: "Fabric", own: Tensor) -> Tensor:
    """Rows of all processes, as one process would have had them."""
    if fabric.world_size == 1 or not len(own):
        return own
    every = cast(Tensor, fabric.all_gather(own.contiguous()))
    return every.transpose(0, 1).flatten(0, 1)


def _learn(
    level: Level, state: TrainState, settings: Settings, lab: Judged, unl: Judged, fake: Judged
) -> None:
    """Steps on batches drawn from what was judged; the same in all processes."""
    optimizer = torch.optim.SGD(
        level.parameters(),
        lr=LEARNING_RATE,
        momentum=0.9,
        nesterov=True,
        weight_decay=level_decay(level),
    )
    generator = torch.Generator().manual_seed(state.step)
    fakes = min(settings.generated_batch_size, LEVEL_ROWS)
    level.requires_grad_(True)
    try:
        for i in range(ROUNDS):
            share = min(i / (WARM_UP * ROUNDS), 1.0) * (1 - i / ROUNDS)
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * share
            moved = [
                _moved(level, part, count, generator)
                for part, count in ((lab, LEVEL_ROWS), (unl, LEVEL_ROWS), (fake, fakes))
            ]
            terms = _terms(state, settings, *moved)
            optimizer.zero_grad()
            torch.autograd.backward(terms["outlier"])
            nn.utils.clip_grad_norm_(level.parameters(), LEVEL_GRADIENT)
            optimizer.step()
    finally:
        level.requires_grad_(False)


def _moved(level: Level, judged: Judged, count: int, generator: torch.Generator) -> Tensor:
    """Scores of `count` rows that are drawn with replacement, moved by the level."""
    if not len(judged.scores):
        return judged.scores
    drawn = torch.randint(len(judged.scores), (count,), generator=generator)
    drawn = drawn.to(judged.scores.device)
    scores = judged.scores[drawn]
    shift: Tensor = level(judged.features[drawn], scores)
    return scores + shift


def _terms(
    state: TrainState, settings: Settings, lab: Tensor, unl: Tensor, fake: Tensor
) -> Scalars:
    if settings.objective.unlabeled_filter is not None:
        return pool_term(state, lab, unl, fake)
    return outlier_term(settings.objective, lab, unl, fake)
