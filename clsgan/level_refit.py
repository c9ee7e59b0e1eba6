"""The level learned once more, on features that stand still: those of the averaged network."""

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from clsgan.networks import Level, level_of
from clsgan.pool_belief import PoolBelief
from clsgan.settings import Settings
from clsgan.streams import Streams
from clsgan.terms import LEVEL_ROWS, outlier_term
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
LEAST_LABELED = 500  # where the level weighs the pool
HELD_OUT = 0.25  # of the labeled rows, by whose scores the known share of a pool is estimated
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
        Whether it was learned: not in the first steps of a run; nor, where it weighs the pool,
        without rows of the pool, or from less than 500 labeled rows, whose features the network
        has learned by heart: told from those, even known rows of the pool would look novel.

    Examples
    --------
    See `clsgan.fitting.fit_networks`.
    """
    batches = min(MOST_BATCHES, state.step // STEPS_EACH)
    if batches < LEAST_BATCHES or not refits_level(state, settings):
        return False
    if settings.objective.unlabeled_filter is not None and not (
        len(streams.unlabeled) and len(streams.labeled) >= LEAST_LABELED
    ):
        return False
    judged = _judge(fabric, state, streams, settings, batches)
    average = cast(Level, level_of(state.average_loss_network.module))
    with torch.enable_grad():
        _learn(average, state, settings, judged)
    cast(Level, level_of(state.loss_network.module)).load_state_dict(average.state_dict())
    return True


@torch.no_grad()
def _judge(
    fabric: "Fabric", state: TrainState, streams: Streams, settings: Settings, batches: int
) -> dict[str, Judged]:
    """Labeled rows, each once; unlabeled and generated ones of some batches; of all processes."""
    network: Any = state.average_loss_network.module
    generator: Any = None if state.average_generator is None else state.average_generator.module
    sizes = settings.sizes(1.0, len(streams.unlabeled) > 0, fabric.world_size)

    def judge(rows: Tensor) -> Judged:
        with fabric.autocast():
            scores, features = network(rows)
        return Judged(*(_of_all(fabric, tensor.float()) for tensor in (scores, features)))

    labeled = [judge(rows) for rows in streams.plain_labeled(sizes.labeled, batches)]
    unlabeled, generated = [], []
    for _ in range(batches):
        if sizes.unlabeled:
            unlabeled.append(judge(streams.plain_unlabeled(sizes.unlabeled)))
        if generator is not None:
            z, y = streams.noise(sizes.generated), streams.drawn_classes(sizes.generated)
            generated.append(judge(generator(z, y)))
    none = Judged(labeled[0].scores[:0], labeled[0].features[:0])
    kinds = {"labeled": labeled, "unlabeled": unlabeled, "generated": generated}
    return {
        kind: Judged(*(torch.cat(tensors) for tensors in zip(*(found or [none]), strict=True)))
        for kind, found in kinds.items()
    }


def _of_all(fabric: "Fabric", own: Tensor) -> Tensor:
    """Rows of all processes, as one process would have had them."""
    if fabric.world_size == 1:
        return own
    every = cast(Tensor, fabric.all_gather(own.contiguous()))
    return every.transpose(0, 1).flatten(0, 1)


def _learn(level: Level, state: TrainState, settings: Settings, judged: dict[str, Judged]) -> None:
    """Steps on batches drawn from what was judged; the same in all processes."""
    optimizer = torch.optim.SGD(
        level.parameters(),
        lr=LEARNING_RATE,
        momentum=0.9,
        nesterov=True,
        weight_decay=level_decay(level),
    )
    generator = torch.Generator().manual_seed(state.step)
    lab, held = judged["labeled"], None
    if settings.objective.unlabeled_filter is not None:
        lab, held = _split(lab, HELD_OUT)
        state.pool = PoolBelief(class_shares=state.pool.class_shares)
    fakes = min(settings.generated_batch_size, LEVEL_ROWS)
    level.requires_grad_(True)
    try:
        for i in range(ROUNDS):
            share = min(i / (WARM_UP * ROUNDS), 1.0) * (1 - i / ROUNDS)
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * share
            known = _moved(level, lab, LEVEL_ROWS, generator)
            unl = _moved(level, judged["unlabeled"], LEVEL_ROWS, generator)
            fake = _moved(level, judged["generated"], fakes, generator)
            if held is None:
                terms = outlier_term(settings.objective, known, unl, fake)
            else:
                with torch.no_grad():
                    kept = _moved(level, held, LEVEL_ROWS, generator)
                terms = pool_term(state, known, unl, fake, kept)
            optimizer.zero_grad()
            torch.autograd.backward(terms["outlier"])
            nn.utils.clip_grad_norm_(level.parameters(), LEVEL_GRADIENT)
            optimizer.step()
    finally:
        level.requires_grad_(False)
    state.pool.by_held_out = held is not None


def _split(judged: Judged, share: float) -> tuple[Judged, Judged]:
    """The first rows, and a share of all that is cut off at the end; neither is empty."""
    cut = max(len(judged.scores) - max(round(share * len(judged.scores)), 1), 1)
    first, last = (Judged(*(t[rows] for t in judged)) for rows in (slice(cut), slice(cut, None)))
    return first, last if len(last.scores) else first


def _moved(level: Level, judged: Judged, count: int, generator: torch.Generator) -> Tensor:
    """Scores of `count` rows that are drawn with replacement, moved by the level."""
    if not len(judged.scores):
        return judged.scores
    drawn = torch.randint(len(judged.scores), (count,), generator=generator)
    drawn = drawn.to(judged.scores.device)
    scores = judged.scores[drawn]
    shift: Tensor = level(judged.features[drawn], scores)
    return scores + shift
