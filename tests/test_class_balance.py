"""`class_weight` and `class_prior`: what they come to, what they do, and what is refused."""

import math

import numpy as np
import pytest
import torch
from loop_runs import draw
from sklearn.utils.class_weight import compute_class_weight

from clsgan import CLSGANClassifier
from clsgan.class_balance import class_shares
from clsgan.objectives import build_objective
from clsgan.terms import labeled_term
from clsgan.unlabeled_terms import _aligned

CLASSES, CODES = np.array(["a", "b", "c"]), np.array([0, 0, 0, 0, 1, 1, 2, 2])


def shares(classes=CLASSES, codes=CODES, **changes):
    return class_shares({"class_weight": None, "class_prior": "labels"} | changes, classes, codes)


def test_balanced_weights_are_those_of_scikit_learn():
    weight = shares(class_weight="balanced").weight
    expected = compute_class_weight("balanced", classes=CLASSES, y=CLASSES[CODES])
    assert np.allclose(weight, expected)
    assert float(weight[torch.from_numpy(CODES)].mean()) == pytest.approx(1)


def test_given_weights_are_brought_to_a_mean_of_1():
    weight = shares(class_weight={"a": 100, "b": 300}).weight  # scikit-learn: others weigh 1
    assert float(weight[1] / weight[0]) == pytest.approx(3)
    assert float(weight[1] / weight[2]) == pytest.approx(300)
    assert float(weight[torch.from_numpy(CODES)].mean()) == pytest.approx(1)
    assert shares().weight is None


def test_priors():
    assert shares().pool_prior is None and shares(class_prior="estimate").pool_prior is None
    assert np.allclose(shares(class_prior="uniform").pool_prior, 1 / 3)
    given = shares(class_prior=np.array([0.5, 0.3, 0.2])).pool_prior
    assert np.allclose(given, [0.5, 0.3, 0.2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_weight": "balance"}, "class_weight='balance' is not valid; it is None, 'balanc"),
        ({"class_weight": 2.0}, "class_weight=2.0"),
        ({"class_weight": {"a": -1.0}}, "weights are >= 0"),
        ({"class_weight": {"a": 0, "b": 0, "c": 0}}, "not all 0"),
        ({"class_weight": {"a": float("nan")}}, "weights are >= 0"),
        ({"class_weight": {"a": "much"}}, "class_weight="),
        ({"class_weight": {"d": 1.0}}, "'d'.*not among the labels .*'a', 'b', 'c'"),
        ({"class_prior": "unifrom"}, "did you mean 'uniform'"),
        ({"class_prior": [0.5, 0.5]}, "a share for each of the classes"),
        ({"class_prior": [0.5, 0.5, 0.5]}, "with the sum 1"),
        ({"class_prior": [1.5, -0.5, 0.0]}, "class_prior="),
        ({"class_prior": 3}, "class_prior=3 is not valid"),
        ({"class_prior": None}, "class_prior=None is not valid"),
    ],
)
def test_what_is_not_valid_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        shares(**changes)


def test_a_prior_that_nothing_is_aligned_to_is_refused(tiny, digits):
    for changes in ({"class_alignment": 0.0}, {"unlabeled": "fixmatch"}, {"objective": "paper"}):
        with pytest.raises(ValueError, match="class_prior='uniform' is what soft labels"):
            tiny(class_prior="uniform", **changes).fit(*digits[:3])
    assert tiny(class_prior="uniform", unlabeled="none").fit(*digits[:3]).n_steps_ == 3


def test_the_labeled_term_is_that_of_scores_without_the_weights():
    objective = build_objective("default")
    draws = torch.Generator().manual_seed(0)
    logits, y = torch.randn(6, 3, generator=draws), torch.tensor([0, 1, 2, 0, 0, 1])
    weight = torch.tensor([0.5, 1.0, 4.0])
    smoothing, expected = objective.label_smoothing, 0.0
    for row, k in zip(logits.tolist(), y.tolist(), strict=True):
        moved = [a - math.log(w) for a, w in zip(row, weight.tolist(), strict=True)]
        losses = [math.log(sum(map(math.exp, moved))) - a for a in moved]
        expected += ((1 - smoothing) * losses[k] + smoothing * sum(losses) / 3) / 6
    assert float(labeled_term(objective, logits, y, weight)) == pytest.approx(expected, abs=1e-6)
    ones = labeled_term(objective, logits, y, torch.ones(3))
    assert float(ones) == pytest.approx(float(labeled_term(objective, logits, y)), abs=1e-6)


def test_batches_carry_weights_and_shares(make_run):
    run = make_run(class_weight="balanced", class_prior="uniform")
    batch, _ = draw(run)
    assert torch.allclose(batch.class_weight, torch.ones(10))  # ten labels of each digit
    assert torch.allclose(batch.prior, torch.full((10,), 0.1))
    assert draw(make_run())[0].class_weight is None


def few_of_one(digits):
    """Labels of two digits that are often taken for each other, 60 to 3."""
    x, y = np.concatenate([digits.x_lab, digits.x_test]), np.r_[digits.y_lab, digits.y_test]
    often, rarely = np.flatnonzero(y == 8)[:45], np.flatnonzero(y == 1)[:2]
    train = np.r_[often, rarely]
    rest = np.setdiff1d(np.flatnonzero(np.isin(y, [1, 8])), train)
    return x[train].reshape(-1, 64), y[train], x[rest].reshape(-1, 64), y[rest]


def test_balanced_weights_help_the_rare_class(tiny_rows, digits):
    x, y, x_test, y_test = few_of_one(digits)
    recall = {
        weight: np.mean(
            tiny_rows(class_weight=weight, max_steps=40).fit(x, y).predict(x_test)[y_test == 1] == 1
        )
        for weight in (None, "balanced")
    }
    assert recall["balanced"] > recall[None] + 0.1


def test_equal_weights_of_equal_classes_change_nothing_but_rounding(tiny, digits):
    plain = tiny().fit(*digits[:3]).predict_loss(digits.x_test)
    weighed = tiny(class_weight="balanced").fit(*digits[:3]).predict_loss(digits.x_test)
    assert np.allclose(plain, weighed, atol=1e-4)


def test_the_estimate_follows_the_pool(tiny_rows, digits):
    """Of a pool in which 5 to 9 are rare, soft labels aligned to equal shares are wrong."""
    few = np.flatnonzero(digits.y_test >= 5)
    pool = np.concatenate([np.flatnonzero(digits.y_test < 5), few[: len(few) // 10]])
    x_pool, y_pool = digits.x_test[pool].reshape(-1, 64), digits.y_test[pool]
    labeled = digits.x_lab.reshape(100, 64), digits.y_lab
    run = {"loss_network_options": {"hidden": (64,)}, "max_steps": 150, "batch_size": 64}
    error = {}
    for prior in ("labels", "estimate"):
        model = tiny_rows(class_prior=prior, generator=None, **run).fit(*labeled, x_pool)
        error[prior] = np.mean(model.predict(x_pool) != y_pool)
    assert error["estimate"] < error["labels"] - 0.02


def test_a_belief_that_the_teacher_has_learned_does_not_feed_itself(make_run):
    """It sees the shares of labels and of soft labels aligned to the belief, and no more."""
    run = make_run(class_prior="estimate")
    batch, _ = draw(run)
    believed = torch.softmax(torch.arange(10.0), dim=0)
    run.state.pool.class_shares = believed
    unlabeled = len(batch.x_unl) / (len(batch.x_unl) + len(batch.x_lab))
    learned = (1 - unlabeled) * batch.trained + unlabeled * believed
    target = learned.log().expand(len(batch.x_unl), -1)
    _aligned(run.fabric, run.state, run.settings.objective, batch, target, None)
    assert torch.allclose(run.state.pool.class_shares, believed, atol=1e-6)


def test_weights_and_priors_are_saved(tiny_rows, tmp_path):
    X, y = [[0.0], [1.0], [0.1], [1.1]], [0, 1, 0, 1]
    model = tiny_rows(class_weight={0: 1.0, 1: 2.0}, class_prior=np.array([0.5, 0.5])).fit(X, y)
    model.save(tmp_path / "model")
    again = CLSGANClassifier.load(tmp_path / "model")
    assert again.class_weight == {0: 1.0, 1: 2.0} and list(again.class_prior) == [0.5, 0.5]
    assert again.fit(X, y).n_steps_ == 3
