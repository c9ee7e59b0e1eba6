"""Where the time of a step goes: the parts of the loop, timed from outside."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch

from lightning_fabric import Fabric
from numpy.typing import NDArray

from clsgan import LSGAN, fitting, trainer
from clsgan.streams import Streams

PARTS = {  # of a step, each without those that it calls
    "rows": "rows and noise drawn",
    "generated": "generator, forward",
    "forward": "loss network, forward on real and on generated rows",
    "critic": "critic's objective",
    "penalty": "penalty: forward and double backward",
    "backward": "loss network, backward",
    "generator": "generator's step: loss network forward, backward through both, optimiser",
    "optimiser": "optimiser of the loss network, averages",
    "rest": "checks, log and all else",
}
WHOLE = "rest"  # what is in no other part


class Clock:
    """Seconds in each part; the time of a part within another one is not counted in both."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.open: list[str] = []
        self.since = 0.0

    def enter(self, name: str) -> None:
        # a backward pass or a forward one within the generator's step is its own
        own = "generator" if "generator" in self.open else name
        self._count()
        self.open.append(own)

    def leave(self) -> None:
        self._count()
        self.open.pop()

    def _count(self) -> None:
        now = perf_counter()
        if self.open:
            self.seconds[self.open[-1]] += now - self.since
        self.since = now

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time counted."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.enter(name)
            try:
                return function(*args, **kwargs)
            finally:
                self.leave()

        return call


@contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """Time what the loop calls within a block."""
    calls = {
        (Streams, "next"): "rows",
        (trainer, "_generate"): "generated",
        (trainer, "critic_term"): "critic",
        (trainer, "penalty_term"): "penalty",
        (Fabric, "backward"): "backward",
        (trainer, "update_generator"): "generator",
        (trainer, "update_averages"): "optimiser",
        (trainer, "update_generator_averages"): "optimiser",
    }
    train = fitting.train

    def loop(fabric: Fabric, state: Any, *args: Any, **kwargs: Any) -> None:
        # the wrapped network is called on real and on generated rows, the plain one by the others
        state.loss_network.register_forward_pre_hook(lambda *_: clock.enter("forward"))
        state.loss_network.register_forward_hook(lambda *_: clock.leave())
        state.loss_optimizer.step = clock.timed("optimiser", state.loss_optimizer.step)
        clock.timed(WHOLE, train)(fabric, state, *args, **kwargs)

    with ExitStack() as stack:
        for (owner, name), part in calls.items():
            stack.enter_context(patch.object(owner, name, clock.timed(part, getattr(owner, name))))
        stack.enter_context(patch.object(fitting, "train", loop))
        yield


def seconds_of(settings: Mapping[str, Any], rows: NDArray[Any]) -> tuple[dict[str, float], bool]:
    """Seconds of a step in each part of it, and whether it has a penalty."""
    clock = Clock()
    with watched(clock):
        model = LSGAN(**settings).fit(rows)
    seconds = {name: seconds / model.n_steps_ for name, seconds in clock.seconds.items()}
    return seconds, "penalty" in model.history_[-1]


def step_parts(
    settings: Mapping[str, Any], rows: NDArray[Any], repeats: int
) -> dict[str, dict[str, float]]:
    """Seconds and share of each part of a step; medians over repeats.

    The double backward of a penalty is done in the backward pass of the loss network: it is what
    this one takes more than without the penalty, with which it is run in turns.
    """
    found: dict[str, list[float]] = {name: [] for name in PARTS}
    for _ in range(repeats):
        parts, penalised = seconds_of(settings, rows)
        if penalised:
            plain = seconds_of({**settings, "penalty": None}, rows)[0]["backward"]
            parts["penalty"] += parts["backward"] - plain
            parts["backward"] = plain
        for name, seconds in parts.items():
            found[name].append(seconds)
    medians = {name: median(seconds) for name, seconds in found.items()}
    whole = sum(medians.values())
    return {n: {"seconds": s, "share": s / whole} for n, s in medians.items()}
