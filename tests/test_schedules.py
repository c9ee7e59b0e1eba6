"""Budgets of steps and seconds, and the learning rates that follow them."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsgan.schedules import SCHEDULES, Budget, constant, linear, step_decay


def steps_made(budget: Budget, pause: float = 0.0) -> int:
    step = 0
    while not budget.is_spent(step):
        time.sleep(pause)
        step += 1
    return step


def test_a_budget_of_steps_is_met_exactly() -> None:
    assert steps_made(Budget(max_steps=7)) == 7
    assert [Budget(max_steps=4).progress(k) for k in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_time_limit_is_not_overrun_by_more_than_a_step() -> None:
    budget = Budget(time_limit=0.3)
    steps = steps_made(budget, pause=0.02)
    assert 3 <= steps <= 15 and budget.elapsed() <= 0.3 + 0.1


def test_time_counts_from_the_start_of_fit() -> None:
    late = Budget(time_limit=10.0, started=time.perf_counter() - 5.0)
    assert late.progress(0) == pytest.approx(0.5, abs=0.05)
    spent = Budget(time_limit=1.0, started=time.perf_counter() - 5.0)
    assert spent.progress(0) == 1.0
    assert steps_made(spent) == 1  # every run makes at least one


def test_whichever_is_spent_first() -> None:
    assert steps_made(Budget(max_steps=3, time_limit=60.0)) == 3
    assert steps_made(Budget(max_steps=10**6, time_limit=0.1), pause=0.02) < 20
    budget = Budget(max_steps=100, time_limit=10.0, started=time.perf_counter() - 8.0)
    assert budget.progress(10) == pytest.approx(0.8, abs=0.05)


def test_processes_stop_together_whatever_each_keeps_back() -> None:
    sent: list[float] = []

    def send(seconds: float) -> float:
        sent.append(seconds)
        return seconds

    for kept in ({"validation": 5.0}, {}):
        first = Budget(time_limit=10.0, started=time.perf_counter() - 6.0, agree=send)
        other = Budget(time_limit=10.0, agree=lambda seconds: sent.pop(0))
        first.reserve, other.reserve = dict(kept), {"validation": 5.0 - sum(kept.values())}
        for step in (0, 1):
            spent = first.is_spent(step)
            assert other.is_spent(step) == spent and not sent
        assert spent == bool(kept)


def test_there_is_room_for_what_ends_before_what_is_kept_back() -> None:
    budget = Budget(time_limit=10.0, started=time.perf_counter() - 5.0)
    budget.reserve = {"validation": 2.0}
    assert budget.has_room("validation") and budget.has_room("level")
    budget.reserve["checkpoint"] = 2.0
    assert not budget.has_room("validation") and budget.has_room("level")
    steps = Budget(max_steps=3, started=time.perf_counter() - 1e6)
    steps.reserve = {"validation": 1e6}
    assert steps.has_room("validation")


def test_processes_find_room_together() -> None:
    sent: list[float] = []
    first = Budget(time_limit=10.0, agree=lambda own: sent.append(own) or own)
    other = Budget(time_limit=10.0, agree=lambda own: sent.pop(0))
    first.reserve = {"validation": 6.0}
    assert not first.has_room("validation") and not other.has_room("validation")
    first.shorten(3.0)
    other.shorten(1.0)
    assert first.time_limit == other.time_limit == 7.0


def test_half_of_a_limit_stays_for_the_run() -> None:
    budget = Budget(time_limit=10.0)
    budget.shorten(100.0)
    assert budget.time_limit == 5.0


def test_a_budget_that_goes_on_keeps_back_what_it_did() -> None:
    before = Budget(time_limit=10.0, started=time.perf_counter() - 6.0)
    before.reserve = {"validation": 5.0}
    after = Budget(time_limit=10.0)
    after.reserve = {"validation": 0.1}  # a guess
    after.load_state_dict(before.state_dict())
    assert after.is_spent(1)


@pytest.mark.parametrize("value", [0, -1, float("nan"), "60"])
@pytest.mark.parametrize("name", ["max_steps", "time_limit"])
def test_budgets_are_above_0(name, value) -> None:
    with pytest.raises(ValueError, match=f"{name}=.*is not valid"):
        Budget(**{name: value})


def test_a_budget_needs_a_bound() -> None:
    with pytest.raises(ValueError, match="max_steps or time_limit"):
        Budget()


@settings(deadline=None, derandomize=True, database=None)
@given(st.floats(0, 1), st.floats(0, 1000))
def test_factors_lie_in_0_to_1(progress: float, epoch: float) -> None:
    assert all(0 <= schedule(progress, epoch) <= 1 + 1e-12 for schedule in SCHEDULES.values())


def test_linear_warms_up_without_a_jump_and_ends_at_0() -> None:
    rates = [linear(k / 1000, 0.0) for k in range(1001)]
    assert rates[0] > 0 and max(rates) == pytest.approx(1.0) and rates[-1] == 0.0
    assert rates.index(max(rates)) == 100
    assert max(abs(a - b) for a, b in pairwise(rates)) < 0.011


def test_step_decay_is_that_of_the_paper() -> None:
    rate, expected = 1.0, []
    for epoch in range(101):
        if epoch and epoch % 25 == 0:
            rate *= 0.8
        expected.append(rate)
    assert [step_decay(0.5, epoch + 0.5) for epoch in range(101)] == pytest.approx(expected)


def test_constant_stays() -> None:
    assert {constant(p, e) for p in (0.0, 0.5, 1.0) for e in (0.0, 99.0)} == {1.0}
