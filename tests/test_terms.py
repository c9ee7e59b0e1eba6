"""The terms of the level: what they are, what they may move, and what they earn."""

import copy
import math

import numpy as np
import pytest
import torch
from loop_runs import changed, draw, loss_step, snapshot
from sklearn.metrics import roc_auc_score

from clsgan.networks import level_of
from clsgan.objectives import OBJECTIVES, build_objective
from clsgan.terms import level_terms, margin_terms, outlier_term


def test_the_outlier_term_is_the_cross_entropy_of_none_of_the_classes():
    draws = torch.Generator().manual_seed(0)
    lab, unl, fake = (torch.randn(n, 3, generator=draws, dtype=torch.float64) for n in (4, 5, 2))

    def none(scores):
        return 1 / (1 + sum(math.exp(a) for a in scores))

    def softmax(scores):
        return [math.exp(a) / sum(math.exp(b) for b in scores) for a in scores]

    expected = np.mean([-math.log(1 - none(row)) for row in lab.tolist()])
    unsure = [1 - max(softmax(row)) for row in fake.tolist()]
    losses = [-math.log(none(row)) for row in fake.tolist()]
    expected += np.mean([u * loss for u, loss in zip(unsure, losses, strict=True)])
    expected += 0.3 * np.mean([-math.log(none(row)) for row in unl.tolist()])
    objective = build_objective("default", unlabeled_outlier_weight=0.3)
    term = outlier_term(objective, lab, unl, fake)["outlier"]
    assert float(term) == pytest.approx(expected, abs=1e-12)
    large = outlier_term(objective, 1e4 * lab, 1e4 * unl, 1e4 * fake)["outlier"]
    assert torch.isfinite(large)


@pytest.mark.parametrize("changes", [{"outlier_weight": 0.0}, {"unlabeled_outlier_weight": 0.0}])
def test_without_anything_to_tell_from_there_is_no_outlier_term(changes):
    scores = torch.zeros(2, 3)
    assert outlier_term(build_objective("default", **changes), scores, scores, scores[:0]) == {}


def test_margins_on_the_level_are_those_of_the_averaged_network(make_run):
    run = make_run()
    batch, generated = draw(run)
    average = copy.deepcopy(run.state.average_loss_network.module).eval()
    with torch.no_grad():
        lab, unl, fake = (average(x)[0] for x in (batch.x_lab, batch.x_unl, generated))
        expected = margin_terms(OBJECTIVES["default"], batch, generated, lab, unl, fake)
        terms = level_terms(run.fabric, run.state, OBJECTIVES["default"], batch, generated)
    assert {"hinge", "unlabeled_hinge", "outlier"} == terms.keys()
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(float(value), abs=1e-4)


def test_generated_rows_move_the_level_and_nothing_else(make_run):
    after = []
    for with_generated in (True, False):
        run = make_run(unlabeled_outlier_weight=0.0)
        batch, generated = draw(run)
        network = run.state.loss_network.module
        before = snapshot(network)
        for _ in range(2):  # the first step moves the last layer of the level, the second the rest
            loss_step(run, batch, generated if with_generated else None)
        after.append(snapshot(network))
        assert not with_generated or {"head.level.hidden.bias"} <= changed(before, network)
    pairs = {name: (after[0][name], after[1][name]) for name in after[0]}
    # to rounding: scores are sums with the level
    different = {name for name, pair in pairs.items() if not torch.allclose(*pair, atol=1e-5)}
    assert different and all("level" in name for name in different)


def test_the_paper_has_its_margins_train_the_network(make_run):
    after = []
    for with_generated in (True, False):
        run = make_run(objective="paper")
        batch, generated = draw(run)
        loss_step(run, batch, generated if with_generated else None)
        after.append(snapshot(run.state.loss_network.module))
    name = "head.linear.weight"
    assert not torch.equal(after[0][name], after[1][name])
    assert level_of(run.state.loss_network.module) is None


def test_what_is_no_digit_gets_the_higher_outlier_score(tiny, digits):
    options = {"batch_size": 64, "loss_network_options": {"widths": (16, 32, 32)}}
    model = tiny(max_steps=150, generator_interval=2, **options).fit(*digits[:3])
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 17, digits.x_test.shape).astype(digits.x_test.dtype)
    scores = np.concatenate([model.outlier_score(digits.x_test), model.outlier_score(noise)])
    is_noise = np.arange(len(scores)) >= len(digits.x_test)
    assert roc_auc_score(is_noise, scores) > 0.9
