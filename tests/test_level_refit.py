"""The level learned once more at the end: what it moves, what it earns, what it costs."""

import copy
import time

import numpy as np
import pytest
import torch
from loop_runs import changed, snapshot
from sklearn.metrics import roc_auc_score

from clsgan.level_refit import LEAST_BATCHES, STEPS_EACH, refit_level, seconds_to_refit
from clsgan.networks import level_of
from clsgan.schedules import Budget

ENOUGH = LEAST_BATCHES * STEPS_EACH


def refit(run):
    return refit_level(run.fabric, run.state, run.streams, run.settings)


def test_it_moves_both_levels_alike_and_nothing_else(make_run):
    run = make_run()
    run.state.step = ENOUGH
    networks = run.state.loss_network.module, run.state.average_loss_network.module
    before = [snapshot(network) for network in networks]
    assert refit(run)
    for network, was in zip(networks, before, strict=True):
        moved = changed(was, network)
        assert moved and all("level" in name for name in moved)
        assert not any(p.requires_grad for p in level_of(networks[1]).parameters())
    for one, other in zip(*(level_of(n).parameters() for n in networks), strict=True):
        assert torch.equal(one, other)


def test_the_first_steps_of_a_run_have_none(make_run):
    run = make_run()
    run.state.step = ENOUGH - 1
    assert not refit(run)


@pytest.mark.parametrize("changes", [{"outlier_weight": 0.0}, {"margins_train": "network"}])
def test_a_run_that_learns_no_level_has_none(make_run, changes):
    run = make_run(**changes)
    run.state.step = ENOUGH
    assert not refit(run)


def test_without_generated_rows_the_score_stays_how_unsure_the_classifier_is(tiny, digits):
    model = tiny(max_steps=ENOUGH, generator=None)
    model.fit(digits.x_lab, digits.y_lab, digits.x_unl[:300])
    rows = digits.x_test[:50]
    unsure = 1 - model.predict_proba(rows).max(axis=1)
    np.testing.assert_allclose(model.outlier_score(rows), unsure, atol=1e-5)


def test_it_is_repeated_bit_for_bit_and_leaves_classes_alone(tiny, digits, monkeypatch):
    def fit():
        model = tiny(max_steps=ENOUGH, augment="weak")
        return model.fit(digits.x_lab, digits.y_lab, digits.x_unl[:300])

    rows = digits.x_test[:50]
    first, second = fit(), fit()
    np.testing.assert_array_equal(first.outlier_score(rows), second.outlier_score(rows))
    monkeypatch.setattr("clsgan.fitting.refit_level", lambda *args: False)
    without = fit()
    np.testing.assert_array_equal(first.predict(rows), without.predict(rows))
    np.testing.assert_allclose(
        first.predict_proba(rows), without.predict_proba(rows), rtol=1e-4, atol=1e-6
    )
    assert not np.array_equal(first.outlier_score(rows), without.outlier_score(rows))


def test_noise_is_told_from_digits_at_least_as_well_as_by_the_largest_probability(tiny, digits):
    model = tiny(max_steps=150).fit(digits.x_lab, digits.y_lab, digits.x_unl)
    noise = np.random.default_rng(0).integers(0, 17, digits.x_test.shape).astype(np.uint8)
    rows = np.concatenate([digits.x_test, noise])
    novel = np.arange(len(rows)) >= len(noise)
    unsure = 1 - model.predict_proba(rows).max(axis=1)
    assert roc_auc_score(novel, model.outlier_score(rows)) > roc_auc_score(novel, unsure) - 0.01


def test_a_budget_of_time_keeps_seconds_for_it(tiny, digits):
    assert seconds_to_refit(Budget(max_steps=9)) == 0
    assert seconds_to_refit(Budget(time_limit=3600)) < 5
    started = time.perf_counter()
    model = tiny(max_steps=None, time_limit=4.0).fit(digits.x_lab, digits.y_lab, digits.x_unl)
    assert time.perf_counter() - started < 6.0
    assert model.n_steps_ >= ENOUGH


def test_a_run_taken_up_after_its_last_step_ends_alike(tiny, digits, tmp_path):
    def fit(folder, **changes):
        given = {"max_steps": ENOUGH, "checkpoint": tmp_path / folder, "checkpoint_every": 0}
        model = tiny(**given, **changes)
        return copy.deepcopy(model.fit(digits.x_lab, digits.y_lab, digits.x_unl[:300]))

    whole = fit("run")
    again = fit("run", resume=True)
    for one, other in zip(
        whole.loss_network_.state_dict().values(),
        again.loss_network_.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(one, other)
