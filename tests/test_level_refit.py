"""The level learned once more at the end: what it moves, what it earns, what it costs."""

import copy
import math
import os
import signal
import time

import numpy as np
import pytest
import torch
from loop_runs import changed, snapshot
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

import clsgan.trainer
from clsgan.level_refit import (
    LEAST_BATCHES,
    STEPS_EACH,
    refit_level,
    seconds_to_refit,
    seconds_to_refit_last,
)
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


@pytest.mark.parametrize("limit", [0.3, 4.0, 3600.0])
def test_a_budget_of_time_keeps_a_small_share_for_it(limit):
    assert 0 < seconds_to_refit(Budget(time_limit=limit)) <= min(0.1 * limit, 5)


def test_the_limit_holds_with_it(tiny, digits):
    started = time.perf_counter()
    model = tiny(max_steps=None, time_limit=3.0).fit(digits.x_lab, digits.y_lab, digits.x_unl)
    assert time.perf_counter() - started < 5.0
    assert model.n_steps_ > 1


def test_the_limit_holds_where_it_is_slow(tiny, mixed, slowed, monkeypatch):
    monkeypatch.setattr("clsgan.level_refit.ROUNDS", 20)
    slowed("clsgan.trainer.update_averages", 0.15)
    clock = slowed("clsgan.level_refit._judge", 5.0)
    params = FILTERED | {"max_steps": None, "time_limit": 20.0, "batch_size": 16}
    model = tiny(**params).fit(*mixed(0.5)[:3])
    assert clock() <= 20 + 2 and model.n_steps_ > ENOUGH


def test_the_last_one_has_more_batches():
    assert seconds_to_refit_last(1.0, step=64, progress=0.5) == 2.0
    assert seconds_to_refit_last(1.0, step=10_000, progress=0.5) == 1.0
    assert seconds_to_refit_last(1.0, step=64, progress=0.01) == 8.0


def test_scores_that_are_not_finite_leave_the_level_as_it_was(make_run):
    run = make_run()
    run.state.step = ENOUGH
    average = run.state.average_loss_network.module
    next(average.parameters()).data.fill_(math.nan)
    before = snapshot(level_of(average))
    assert not refit(run)
    assert not changed(before, level_of(average))


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


KNOWN = 6
FILTERED = {
    "unlabeled_filter": "open-class",
    "max_steps": 160,
    "batch_size": 64,
    "loss_network_options": {"widths": (16, 16, 32)},
    "augment": "weak",
}


@pytest.fixture(scope="module")
def mixed():
    """600 labels of six digits, 400 rows without, a share of them of other digits; test rows."""
    bunch = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(bunch.target))
    x, y = bunch.images.astype(np.uint8)[order], bunch.target[order]
    known, novel = np.flatnonzero(y < KNOWN), np.flatnonzero(y >= KNOWN)

    def rows(share):
        n_novel = round(share * 400)
        pool = np.concatenate([known[600 : 1000 - n_novel], novel[:n_novel]])
        test = np.concatenate([known[1000:], novel[400:]])
        return x[known[:600]], y[known[:600]], x[pool], x[test], y[test] >= KNOWN

    return rows


@pytest.fixture(scope="module")
def half_novel(tiny, mixed):
    """A model whose pool is half of other digits."""
    return tiny(**FILTERED).fit(*mixed(0.5)[:3])


def test_a_filter_keeps_about_the_known_share_of_the_pool(tiny, mixed, half_novel):
    """Seeds 0 to 3 keep 0.36 to 0.53 of a pool of which half is known, 0.59 to 0.96 of all."""
    assert 0.25 < half_novel.unlabeled_kept_share_ < 0.7
    all_known = tiny(**FILTERED).fit(*mixed(0.0)[:3])
    assert all_known.unlabeled_kept_share_ > half_novel.unlabeled_kept_share_


def test_a_filter_tells_novel_rows(mixed, half_novel):
    """Seeds 0 to 3: an area of 0.80 to 0.95."""
    test, is_novel = mixed(0.5)[3:]
    assert roc_auc_score(is_novel, half_novel.outlier_score(test)) > 0.7


def test_a_pool_of_other_classes_alone_leaves_its_place_to_labeled_rows(tiny, mixed, monkeypatch):
    """Half of a batch of 64 is unlabeled, until labeled rows held out tell how few are known."""
    X, y, _, test, is_novel = mixed(0.5)
    seen, take = [], clsgan.trainer.Streams.next

    def watched(streams, sizes):
        seen.append((sizes.labeled, sizes.unlabeled))
        return take(streams, sizes)

    monkeypatch.setattr(clsgan.trainer.Streams, "next", watched)
    tiny(**FILTERED).fit(X, y, test[is_novel])
    assert seen[-1][1] < 32 and all(sum(rows) == 64 for rows in seen)
    tiny(**FILTERED).fit(*mixed(0.0)[:3])
    assert seen[-1] == (32, 32)


def test_few_labels_are_told_from_nothing_by_it(make_run):
    run = make_run(unlabeled_filter="open-class")
    run.state.step = ENOUGH
    assert not refit(run), "100 labeled rows"


def test_a_filtered_run_goes_on_bit_for_bit_between_two_of_them(
    tiny, mixed, half_novel, tmp_path, monkeypatch
):
    X, y, pool, _, _ = mixed(0.5)
    kept = {"checkpoint": tmp_path / "run", "checkpoint_every": 1000}
    steps, update = [], clsgan.trainer.update_averages

    def stop(*args):
        steps.append(1)
        if len(steps) == 90:  # one was after step 80, the next is after step 96
            os.kill(os.getpid(), signal.SIGINT)
        return update(*args)

    monkeypatch.setattr(clsgan.trainer, "update_averages", stop)
    with pytest.warns(UserWarning, match="stopped by"):
        assert tiny(**FILTERED, **kept).fit(X, y, pool).interrupted_
    again = tiny(**FILTERED, **kept, resume=True).fit(X, y, pool)
    assert again.n_steps_ == FILTERED["max_steps"]
    states = [model.loss_network_.state_dict() for model in (half_novel, again)]
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []
