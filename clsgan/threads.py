"""Threads on a CPU: how many a run bounded by time uses, and how all of them round."""

import ctypes
import os
import time
from collections.abc import Callable

import torch

WARM_UP_STEPS = 1
TRIAL_STEPS = 4
SLOW_DOWN = 0.6
HOPELESS = 0.5
RETRY_SECONDS = 60.0
ENVIRONMENT_BYTES = 256  # more than C's fenv_t takes on any machine
_forked: list[int] = []  # GNU's OpenMP waits for ever for workers that a fork has left behind
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forked.append(os.getpid()))


def share_rounding() -> bool:
    """Give torch's worker threads the floating point environment of the calling thread.

    Whether a thread flushes denormals is a register of its own, which it has from the thread that
    started it. C's `fesetenv` sets it, called in a parallel region of the OpenMP that torch uses.

    Returns
    -------
    bool
        Whether there was a way: GNU's OpenMP, as in torch for Linux, more than one thread, and a
        process that is not a fork of another.

    Examples
    --------
    >>> share_rounding() in (True, False)
    True
    """
    if torch.get_num_threads() == 1 or _forked:
        return False
    try:
        loaded = ctypes.CDLL(None)
        region, get, put = loaded.GOMP_parallel, loaded.fegetenv, loaded.fesetenv
    except (AttributeError, OSError, TypeError):
        return False
    environment = ctypes.create_string_buffer(ENVIRONMENT_BYTES)
    get(environment)
    region(put, environment, ctypes.c_uint(torch.get_num_threads()), ctypes.c_uint(0))
    return True


class ThreadTuner:
    """Tries half of the threads and all of them, and stays with the quicker.

    Threads of one step wait for each other, so one that shares its core with another program holds
    up all: with one of two cores busy, two threads trained 280 to 640 images of 8x8 a second, one
    thread 2,800. Both are tried again every minute, and when the pace falls to 0.6 of what it was.
    Results depend on the number of threads in their last digits, so runs bounded by steps keep
    theirs.

    Parameters
    ----------
    n_threads : int
        The most to use.
    clock : callable
        Seconds, for tests.

    Examples
    --------
    >>> before = torch.get_num_threads()
    >>> with ThreadTuner(1) as tuner:
    ...     tuner.after_step(rows=64)
    >>> torch.get_num_threads() == before
    True
    """

    def __init__(self, n_threads: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.candidates = sorted({max(n_threads // 2, 1), n_threads})
        self.clock = clock
        self.pending: list[int] = []
        self.rates: dict[int, float] = {}

    def __enter__(self) -> "ThreadTuner":
        self.before = torch.get_num_threads()
        self._start_trials()
        return self

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self.before)

    def after_step(self, rows: int) -> None:
        """Count a step of so many rows, and change the number of threads where that pays."""
        self.steps += 1
        if self.steps <= 0:
            self.since = self.clock()
            return
        self.rows += rows
        rate = self.rows / max(self.clock() - self.since, 1e-9)
        on_trial = bool(self.pending)
        hopeless = on_trial and bool(self.rates) and rate < HOPELESS * max(self.rates.values())
        if self.steps < TRIAL_STEPS and not hopeless:
            return
        if on_trial:
            self.rates[self.pending.pop(0)] = rate
            self._use(self.pending[0] if self.pending else max(self.rates, key=self._rate))
        elif rate < SLOW_DOWN * self.rates[self.count] or self.clock() > self.next_trials:
            self._start_trials()
        else:
            self._count_anew(0)

    def _start_trials(self) -> None:
        self.next_trials = self.clock() + RETRY_SECONDS
        self.rates, self.pending = {}, list(self.candidates)
        self._use(self.pending[0])

    def _use(self, count: int) -> None:
        self.count = count
        torch.set_num_threads(count)
        self._count_anew(-WARM_UP_STEPS)

    def _count_anew(self, steps: int) -> None:
        self.rows, self.steps, self.since = 0, steps, self.clock()

    def _rate(self, count: int) -> float:
        return self.rates[count]
