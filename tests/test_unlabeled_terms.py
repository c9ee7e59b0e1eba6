"""Which unlabeled rows are of a known class, and what that changes."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from loop_runs import changed, draw, loss_step, snapshot
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import nn

from clsgan import CLSGANClassifier
from clsgan.networks import level_of
from clsgan.objectives import UNLABELED, align_classes, outlier_probability
from clsgan.pool_belief import LEAST_SCORES, SCORES_KEPT, PoolBelief
from clsgan.streams import Batch
from clsgan.trainer import update_loss_network
from clsgan.unlabeled_terms import KEPT, known_weights, turned_images, unlabeled_term

KNOWN = [0, 1, 2, 3, 4, 5]


def set_level(run, value):
    """All rows get one level, by which p(none) is moved."""
    with torch.no_grad():
        run.state.average_loss_network.module.head.level.output.bias.fill_(value)


def test_rows_are_weighed_by_the_probability_of_a_known_class(make_run):
    run = make_run(unlabeled_filter="open-class", class_alignment=0.0)
    batch, _ = draw(run)
    set_level(run, -2.0)
    average = run.state.average_loss_network.module
    with torch.no_grad():
        target = average(batch.x_teacher)[0]
        logits = run.state.loss_network.module(batch.x_unl)[0]
    none = [1 / (1 + sum(np.exp(row))) for row in target.double().tolist()]
    losses = UNLABELED["soft_labels"].loss(logits, target)
    expected = np.mean([(1 - p) * float(loss) for p, loss in zip(none, losses, strict=True)])
    terms = unlabeled_term(run.fabric, run.state, run.settings.objective, logits, batch)
    assert float(terms["unlabeled"]) == pytest.approx(expected, rel=1e-4)
    assert float(terms[KEPT]) == pytest.approx(1 - np.mean(none), rel=1e-4)
    assert 0.05 < float(terms[KEPT]) < 0.95


def test_images_are_turned_by_as_many_quarters_as_is_said():
    empty = torch.empty(0)
    rows = torch.rand(11, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    batch = Batch(empty, empty, rows, rows + 1, empty, empty, empty)
    rest, images, turns = turned_images(batch, share=0.7)
    assert turns.tolist() == [0, 0, 1, 1, 2, 2, 3]
    for place, turn, image in zip([0, 4, 1, 5, 2, 6, 3], turns.tolist(), images, strict=True):
        expected = rows[place].tolist()
        for _ in range(turn):  # counter-clockwise: the last column becomes the first row
            expected = [[[row[c] for row in x] for c in (2, 1, 0)] for x in expected]
        assert image.tolist() == expected
    assert torch.equal(rest.x_unl, rows[7:]) and torch.equal(rest.x_teacher, rows[7:] + 1)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_all_images_are_turned_however_few_there_are(count):
    empty, rows = torch.empty(0), torch.rand(count, 3, 2, 2)
    rest, images, turns = turned_images(Batch(empty, empty, rows, rows, empty, empty, empty), 1.0)
    assert len(rest.x_unl) == len(rest.x_teacher) == 0
    assert images.shape == (count, 3, 2, 2)
    assert sorted(turns.tolist()) == sorted(place % 4 for place in range(count))


def rotation_step(make_run, weight, progress):
    run = make_run(rotation_weight=weight, unlabeled_start=0.5, generator=None, optimizer="sgd")
    batch = run.streams.next(run.settings.sizes(1.0, has_unlabeled=True, world_size=1))
    seen, forward = [], run.state.loss_network.module.forward

    def spy(x):
        seen.append(x.clone())
        return forward(x)

    run.state.loss_network.module.forward = spy
    terms = update_loss_network(
        run.fabric, run.state, run.streams, batch, None, run.settings, progress=progress
    )
    gradient = next(run.state.loss_network.module.stages.parameters()).grad
    return terms, gradient, seen[0], batch


def test_turned_images_come_first_and_soft_labels_later(make_run):
    sizes = {w: make_run(rotation_weight=w, unlabeled_start=0.5).settings for w in (0.0, 1.0)}
    early = {w: s.sizes(0.0, has_unlabeled=True, world_size=1).unlabeled for w, s in sizes.items()}
    assert early[0.0] == 0 < early[1.0]
    terms, _, seen, batch = rotation_step(make_run, 1.0, progress=0.1)
    n_lab, n_unl = len(batch.x_lab), len(batch.x_unl)
    assert "rotation" in terms and "unlabeled" not in terms and len(seen) == n_lab + n_unl
    upright = batch.x_unl[::4]  # first those that are not turned, then the others
    assert torch.equal(seen[n_lab : n_lab + len(upright)], upright)
    assert torch.equal(seen[n_lab + len(upright)], torch.rot90(batch.x_unl[1], 1, (1, 2)))
    terms, _, seen, _ = rotation_step(make_run, 1.0, progress=0.9)
    assert {"rotation", "unlabeled"} <= terms.keys() and len(seen) == n_lab + n_unl
    assert torch.equal(seen[n_lab : n_lab + n_unl // 2], batch.x_unl[n_unl // 2 :])


def test_few_labels_beside_many_colour_images_have_them_turned(monkeypatch):
    """The wiring from `fit` on, with a smaller number for many."""
    monkeypatch.setattr("clsgan.defaults.few_labels.MANY_ROWS", 30)
    images = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 3), dtype=np.uint8)
    options = {"max_steps": 2, "batch_size": 16, "random_state": 0, "accelerator": "cpu"}
    for n_labeled, turned in ((4, True), (52, False)):
        model = CLSGANClassifier(**options)
        y = np.arange(n_labeled) % 2
        model.fit(images[:n_labeled], y, X_unlab=np.concatenate([images, images[n_labeled:]]))
        assert ("rotation" in model.history_[0]) == turned


def test_the_rotation_counts_by_its_weight(make_run):
    gradients = [rotation_step(make_run, weight, progress=0.1)[1] for weight in (1.0, 2.0, 3.0)]
    steps = [later - earlier for earlier, later in pairwise(gradients)]
    assert float(steps[0].norm()) > 0
    torch.testing.assert_close(steps[1], steps[0], rtol=1e-3, atol=1e-5)


def test_quarter_turns_of_images_are_learned():
    """Digits, of which most say how they are turned; chance is log 4."""
    images, y = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype("float32")
    options = {"max_steps": 150, "batch_size": 128, "random_state": 0, "generator": None}
    model = CLSGANClassifier(rotation_weight=1.0, unlabeled_start=0.9, **options)
    model.fit(images[:50], y[:50], X_unlab=images[50:])
    told = [record["rotation"] for record in model.history_ if "rotation" in record]
    assert told[-1] < 0.7 and told[-1] + 0.3 < told[0] < 1.6


def test_fixmatch_weighs_by_the_averaged_network_too(make_run):
    run = make_run(unlabeled_filter="open-class", unlabeled="fixmatch")
    batch, _ = draw(run)
    set_level(run, -3.0)
    average = run.state.average_loss_network.module
    with torch.no_grad():
        expected = 1 - outlier_probability(average(batch.x_teacher)[0])
        logits = run.state.loss_network.module(batch.x_unl)[0]
    terms = unlabeled_term(run.fabric, run.state, run.settings.objective, logits, batch)
    assert torch.allclose(known_weights(run.fabric, run.state, batch), expected)
    assert float(terms[KEPT]) == pytest.approx(float(expected.mean()))


def test_the_shares_that_are_aligned_are_those_of_known_rows(make_run):
    run = make_run(unlabeled_filter="open-class")
    batch, _ = draw(run)
    set_level(run, -2.0)
    with torch.no_grad():
        target = run.state.average_loss_network.module(batch.x_teacher)[0]
        logits = run.state.loss_network.module(batch.x_unl)[0]
    known = 1 - outlier_probability(target)
    shares = (known[:, None] * target.softmax(1)).sum(0) / known.sum()
    aligned = align_classes(target, shares, batch.prior)
    losses = UNLABELED["soft_labels"].loss(logits, aligned)
    terms = unlabeled_term(run.fabric, run.state, run.settings.objective, logits, batch)
    assert float(terms["unlabeled"]) == pytest.approx(float((known * losses).mean()), rel=1e-4)


def test_the_filter_trains_the_level_and_reports_without_weight(make_run):
    run = make_run(unlabeled_filter="open-class", generator=None)
    batch = run.streams.next(run.settings.sizes(1.0, has_unlabeled=True, world_size=1))
    before = snapshot(run.state.loss_network.module)
    told = loss_step(run, batch, None)
    assert {"labeled", "unlabeled", "outlier", KEPT} == told.keys()
    assert "head.level.output.bias" in changed(before, run.state.loss_network.module)
    assert len(run.state.pool.pool_scores) == len(batch.x_unl)


def test_the_level_sees_rows_without_augmentation(make_run):
    run = make_run(unlabeled_filter="open-class", augment="strong")
    batch, _ = draw(run)
    assert not torch.equal(batch.x_lab, batch.x_lab_plain)
    assert draw(make_run(augment="strong", margins_train="network"))[0].x_lab_plain is None


def test_belief_keeps_the_latest_scores_and_waits_for_enough():
    belief = PoolBelief()
    high, low = torch.linspace(2, 3, LEAST_SCORES - 1), torch.linspace(-3, -2, LEAST_SCORES - 1)
    belief.see_scores(high, low)
    assert belief.known_share == 1.0, "too few rows to tell"
    belief.see_scores(high, low)
    assert belief.known_share == 0.0
    for _ in range(SCORES_KEPT // len(high) + 2):
        belief.see_scores(high, high)
    assert belief.known_share > 0.9 and len(belief.pool_scores) == SCORES_KEPT


def digits_with_novel(digits, novel):
    """Labels of six digits; a pool of 400 with a share of the other four; test rows."""
    x = np.concatenate([digits.x_unl, digits.x_lab])
    labeled = np.isin(digits.y_lab, KNOWN)
    truth = known_digits(x)
    rng = np.random.default_rng(0)
    inside, outside = (rng.permutation(np.flatnonzero(truth == value)) for value in (1, 0))
    pool = np.concatenate([inside[: round(400 * (1 - novel))], outside[: round(400 * novel)]])
    return digits.x_lab[labeled], digits.y_lab[labeled], x[pool]


def known_digits(x):
    """Whether each digit is one of the known, looked up in the data set."""
    bunch = load_digits()
    keys = [image.astype(np.uint8).tobytes() for image in bunch.images]
    y = dict(zip(keys, bunch.target.tolist(), strict=True))
    return np.array([y[np.ascontiguousarray(image).tobytes()] in KNOWN for image in x])


RUN = {
    "generator_interval": 2,
    "max_steps": 300,
    "batch_size": 64,
    "loss_network_options": {"widths": (16, 16, 32)},
}


def test_novel_digits_of_the_pool_are_told_from_known_ones(tiny, digits):
    X, y, pool = digits_with_novel(digits, novel=0.5)
    is_novel = ~np.isin(digits.y_test, KNOWN)
    model = tiny(unlabeled_filter="open-class", **RUN).fit(X, y, pool)
    assert roc_auc_score(is_novel, model.outlier_score(digits.x_test)) > 0.6
    assert 0.25 < model.unlabeled_kept_share_ < 0.75
    shares = [record[KEPT] for record in model.history_ if KEPT in record]
    assert model.unlabeled_kept_share_ == shares[-1]
    plain = tiny(**RUN).fit(X, y, pool)
    assert plain.unlabeled_kept_share_ is None


def test_a_pool_of_known_rows_alone_is_kept(tiny, digits):
    X, y, pool = digits_with_novel(digits, novel=0.0)
    model = tiny(unlabeled_filter="open-class", **RUN).fit(X, y, pool)
    assert model.unlabeled_kept_share_ > 0.6


@pytest.mark.parametrize("interval", [5, 8])
def test_with_the_filter_the_level_sees_every_generated_row_and_more_steps(make_run, interval):
    run = make_run(unlabeled_filter="open-class", generator_interval=interval)
    with_rows, asked = [], []
    for run.state.step in range(2 * interval):
        batch, generated = draw(run)
        made = generated if run.state.step % interval == 0 else None
        terms = loss_step(run, batch, made)
        with_rows += [run.state.step] if made is not None else []
        asked += [run.state.step] if "outlier" in terms else []
    assert set(with_rows) <= set(asked)
    assert {0, 4, 8} & set(range(2 * interval)) <= set(asked) < set(range(2 * interval))


def test_the_filter_takes_the_anchor_off_and_a_saved_model_is_without_it_too(
    tiny, digits, tmp_path
):
    for asked, anchor in (("open-class", 0.0), (None, 1.0)):
        model = tiny(unlabeled_filter=asked, max_steps=6).fit(*digits[:3])
        model.save(tmp_path / "model", overwrite=True)
        again = CLSGANClassifier.load(tmp_path / "model")
        assert float(level_of(again.loss_network_).anchor) == anchor
        assert np.array_equal(
            again.outlier_score(digits.x_test), model.outlier_score(digits.x_test)
        )


def test_the_kept_share_is_saved(tiny, digits, tmp_path):
    model = tiny(unlabeled_filter="open-class", unlabeled_start=0.0).fit(*digits[:3])
    model.save(tmp_path / "model")
    again = CLSGANClassifier.load(tmp_path / "model")
    assert again.unlabeled_kept_share_ == model.unlabeled_kept_share_ > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unlabeled": "margin"}, "unlabeled='margin' has none. Choose 'soft_labels'"),
        ({"objective": "paper"}, "unlabeled='margin' has none"),
        ({"margins_train": "network"}, "needs margins_train='level'"),
        ({"loss_network": "paper", "loss_network_options": None}, "a loss network with a level"),
        ({"unlabeled_filter": "openclass"}, "did you mean 'open-class'"),
    ],
)
def test_a_filter_that_nothing_trains_is_refused(tiny, digits, changes, message):
    options = {"unlabeled_filter": "open-class", "generated_batch_size": 40} | changes
    with pytest.raises(ValueError, match=message):
        tiny(**options).fit(*digits[:3])


def test_a_filter_without_unlabeled_rows_changes_nothing(tiny, digits):
    plain, filtered = (
        tiny(unlabeled="none", unlabeled_filter=name).fit(*digits[:3])
        for name in (None, "open-class")
    )
    assert filtered.unlabeled_kept_share_ is None
    assert (plain.predict(digits.x_test) == filtered.predict(digits.x_test)).all()


def test_a_module_of_the_users_own_has_a_level_that_filters(tiny, digits):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    model = tiny(
        loss_network=network,
        loss_network_options=None,
        unlabeled_filter="open-class",
        unlabeled_start=0.0,
    ).fit(*digits[:3])
    assert 0 < model.unlabeled_kept_share_ < 1
