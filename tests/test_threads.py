"""Threads of runs bounded by time."""

import torch

from clsgan.threads import ThreadTuner


class Clock:
    """Steps take so many seconds by the number of threads."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.now = seconds, 0.0

    def __call__(self) -> float:
        return self.now

    def step(self, tuner: ThreadTuner) -> None:
        self.now += self.seconds[tuner.count]
        tuner.after_step(rows=64)


def run(seconds: dict[int, float], steps: int) -> tuple[int, Clock]:
    clock = Clock(seconds)
    before = torch.get_num_threads()
    with ThreadTuner(2, clock) as tuner:
        for _ in range(steps):
            clock.step(tuner)
        assert torch.get_num_threads() == tuner.count
        count = tuner.count
    assert torch.get_num_threads() == before
    return count, clock


def test_the_quicker_number_stays() -> None:
    assert run({1: 0.10, 2: 0.06}, steps=40)[0] == 2
    assert run({1: 0.10, 2: 0.90}, steps=40)[0] == 1


def test_a_hopeless_trial_is_cut_short() -> None:
    _, clock = run({1: 0.1, 2: 5.0}, steps=20)
    assert clock.now < 2 * 5.0 + 20 * 0.1  # one step to warm up, one to see


def test_a_fall_of_the_pace_starts_new_trials() -> None:
    clock = Clock({1: 0.10, 2: 0.06})
    with ThreadTuner(2, clock) as tuner:
        for _ in range(30):
            clock.step(tuner)
        assert tuner.count == 2
        clock.seconds = {1: 0.10, 2: 0.90}
        for _ in range(30):
            clock.step(tuner)
        assert tuner.count == 1


def test_a_neighbour_that_has_gone_is_noticed_within_a_minute() -> None:
    clock = Clock({1: 0.10, 2: 0.90})
    with ThreadTuner(2, clock) as tuner:
        for _ in range(30):
            clock.step(tuner)
        assert tuner.count == 1
        clock.seconds = {1: 0.10, 2: 0.06}
        for _ in range(650):
            clock.step(tuner)
        assert tuner.count == 2


def test_threads_come_back_after_an_error() -> None:
    before = torch.get_num_threads()
    try:
        with ThreadTuner(2):
            raise RuntimeError
    except RuntimeError:
        pass
    assert torch.get_num_threads() == before
