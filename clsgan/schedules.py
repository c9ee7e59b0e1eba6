"""How long a run lasts, and how its learning rates follow that budget."""

import time
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

WARM_UP = 0.1


class Budget:
    """Steps or seconds, whichever is spent first.

    Parameters
    ----------
    max_steps : int or None
    time_limit : float or None
        Seconds, counted from `started`.
    started : float or None
        `time.perf_counter()` at the start of the run; now, if None.
    agree : callable, optional
        Seconds of this process -> those that all processes go by, asked twice a step and wherever
        the time decides.

    Raises
    ------
    ValueError
        If neither is given or one is not positive.

    Examples
    --------
    >>> budget = Budget(max_steps=10)
    >>> budget.progress(4), budget.is_spent(9), budget.is_spent(10)
    (0.4, False, True)
    """

    def __init__(
        self,
        max_steps: int | None = None,
        time_limit: float | None = None,
        started: float | None = None,
        agree: Callable[[float], float] | None = None,
    ) -> None:
        for name, value in (("max_steps", max_steps), ("time_limit", time_limit)):
            if value is not None and not (isinstance(value, Real) and value > 0):
                raise ValueError(f"{name}={value!r} is not valid; it is above 0, or None")
        if max_steps is None and time_limit is None:
            raise ValueError("a budget needs max_steps or time_limit")
        self.max_steps, self.time_limit = max_steps, time_limit
        self.started = time.perf_counter() if started is None else started
        self.first_step_at: float | None = None
        self.agree, self.agreed = agree, 0.0
        self.reserve: dict[str, float] = {}  # seconds that what follows the last step will take

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def progress(self, step: int) -> float:
        """Share of the budget that is spent after `step` steps, 0 to 1."""
        shares = [0.0]
        if self.max_steps is not None:
            shares.append(step / self.max_steps)
        if self.time_limit is not None:
            seconds = self.elapsed() if self.agree is None else self.agreed
            shares.append(seconds / self.time_limit)
        return min(max(shares), 1.0)

    def is_spent(self, step: int) -> bool:
        """Whether no step is left; every run makes at least one."""
        elapsed = self._look()
        if step == 0:
            self.first_step_at = elapsed
            return False
        if self.max_steps is not None and step >= self.max_steps:
            return True
        if self.time_limit is None:
            return False
        a_step = (elapsed - (self.first_step_at or 0.0)) / step
        kept = sum(self.reserve.values())
        if self.agree is not None:  # each process took its own time for what follows
            kept = self.agree(kept)
        return elapsed + a_step + kept > self.time_limit

    def has_room(self, name: str) -> bool:
        """Whether what is kept back under a name can be had once before the end too, in time."""
        if self.time_limit is None:
            return True
        end = self.elapsed() + self.reserve.get(name, 0.0) + sum(self.reserve.values())
        return (end if self.agree is None else self.agree(end)) <= self.time_limit

    def shorten(self, seconds: float) -> None:
        """End earlier, for what comes after the run; by half of the time limit at most."""
        if self.time_limit is not None:
            seconds = seconds if self.agree is None else self.agree(seconds)
            self.time_limit -= min(seconds, self.time_limit / 2)

    def state_dict(self) -> dict[str, Any]:
        """Seconds since the start, since the first step, and kept for what follows the last."""
        elapsed = self.elapsed()
        since = 0.0 if self.first_step_at is None else elapsed - self.first_step_at
        return {"elapsed": elapsed, "since_first_step": since, "reserve": dict(self.reserve)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on: what was spent before counts as if it had been spent just now."""
        self.started -= float(state["elapsed"])
        self.first_step_at = self.elapsed() - float(state["since_first_step"])
        self.reserve |= state.get("reserve", {})  # what was measured, in place of a guess

    def _look(self) -> float:
        if self.agree is not None and self.time_limit is not None:
            self.agreed = self.agree(self.elapsed())
            return self.agreed
        return self.elapsed()


def linear(progress: float, epoch: float) -> float:
    """Factor of the learning rate: linear warm-up, then linear decay to 0 with the budget.

    Parameters
    ----------
    progress : float
        Share of the budget that is spent, 0 to 1.
    epoch : float
        Passes over all rows so far; not used.

    Returns
    -------
    float

    Examples
    --------
    >>> [round(linear(p, 0.0), 2) for p in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.02, 0.51, 1.0, 0.5, 0.0]
    """
    if progress < WARM_UP:
        return 0.02 + 0.98 * progress / WARM_UP
    return (1.0 - progress) / (1.0 - WARM_UP)


def step_decay(progress: float, epoch: float) -> float:
    """Factor of the learning rate: times 0.8 every 25 epochs (section 7.2 of 1701.06264).

    Parameters
    ----------
    progress : float
        Share of the budget that is spent; not used.
    epoch : float
        Passes over all rows so far.

    Returns
    -------
    float

    Examples
    --------
    >>> step_decay(0.0, 24.0), step_decay(0.0, 25.0)
    (1.0, 0.8)
    """
    return float(0.8 ** int(epoch // 25))


def constant(progress: float, epoch: float) -> float:
    """Factor of the learning rate: 1 throughout.

    Parameters
    ----------
    progress : float
        Not used.
    epoch : float
        Not used.

    Returns
    -------
    float

    Examples
    --------
    >>> constant(0.9, 3.0)
    1.0
    """
    return 1.0


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "linear": linear,
    "step_decay": step_decay,
    "constant": constant,
}
