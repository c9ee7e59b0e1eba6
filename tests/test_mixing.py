"""Images with a part of another: the pixels, the targets, and where a run has them."""

import copy

import numpy as np
import pytest
import torch
from loop_runs import draw
from sklearn.datasets import load_digits

from clsgan import CLSGANClassifier
from clsgan.defaults import resolve_settings
from clsgan.draws import SharedGenerator
from clsgan.inputs import InputSpec
from clsgan.mixing import MIXED_UNTIL, Mixed, cutmix
from clsgan.objectives import UNLABELED
from clsgan.terms import labeled_term
from clsgan.trainer import update_loss_network
from clsgan.unlabeled_terms import KEPT, known_weights, unlabeled_term

SMALL = {"loss_network_options": {"widths": (16, 32, 64)}, "accelerator": "cpu", "precision": "32"}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("height", "width"), [(9, 9), (6, 11), (1, 7)])
def test_an_image_has_a_box_of_the_one_before_it(height, width):
    n, channels = 60, 3
    x = torch.arange(float(n))[:, None, None, None].expand(n, channels, height, width)
    mixed = cutmix(x, seeded(), share=0.7)
    whole = 0
    for i, image in enumerate(mixed.x.tolist()):
        before = (i - 1) % n
        other = [
            (r, c) for r in range(height) for c in range(width) if image[0][r][c] == float(before)
        ]
        for channel in image:
            for r in range(height):
                for c in range(width):
                    assert channel[r][c] == (before if (r, c) in other else i)
        rows, columns = {r for r, _ in other}, {c for _, c in other}
        assert len(other) == len(rows) * len(columns), "what is put in is a box"
        for places in (rows, columns):
            assert not places or len(places) == max(places) - min(places) + 1
        assert float(mixed.kept[i]) == pytest.approx(1 - len(other) / (height * width))
        whole += not other
    assert 0 < whole < n
    assert torch.equal(mixed.other(x), x.roll(1, 0))


def test_how_many_images_are_mixed_and_by_how_much():
    x = torch.rand(4000, 1, 32, 32, generator=seeded(1))
    assert torch.equal(cutmix(x, seeded(), share=0.0).x, x)
    kept = cutmix(x, seeded(), share=1.0).kept
    assert float((kept < 1).float().mean()) > 0.9  # boxes below a pixel are none
    # A box of the share 1 - r, r from U(0, 1), less what reaches over an edge; by a grid of both.
    side, sides = np.sqrt(1 - np.linspace(0, 1, 2001)), np.linspace(0, 1, 1001)
    inside = [np.clip(sides + s / 2, 0, 1) - np.clip(sides - s / 2, 0, 1) for s in side]
    expected = 1 - np.mean([part.mean() ** 2 for part in inside])
    assert float(kept.mean()) == pytest.approx(expected, abs=0.01)
    half = cutmix(x, seeded(), share=0.5).kept
    assert 0.4 < float((half < 1).float().mean()) < 0.55


def test_as_drawn_so_mixed():
    x = torch.rand(16, 3, 8, 8, generator=seeded(1))
    again, other = (cutmix(x, seeded(seed), share=0.5).x for seed in (3, 4))
    assert torch.equal(cutmix(x, seeded(3), share=0.5).x, again)
    assert not torch.equal(again, other)


def test_labels_count_by_their_pixels(make_run):
    objective = make_run(label_smoothing=0.2).settings.objective
    scores = torch.randn(5, 3, generator=seeded())
    y, kept = torch.tensor([0, 2, 1, 1, 0]), torch.tensor([1.0, 0.25, 0.5, 0.0, 0.9])
    expected = 0.0
    for i, row in enumerate(scores.double().tolist()):
        losses = [np.log(np.exp(row).sum()) - a for a in row]
        own, before, share = losses[y[i]], losses[y[i - 1]], float(kept[i])
        expected += 0.8 * (share * own + (1 - share) * before) / 5 + 0.2 * np.mean(losses) / 5
    mixed = Mixed(torch.empty(0), kept)
    assert float(labeled_term(objective, scores, y, mixed=mixed)) == pytest.approx(expected)


@pytest.mark.parametrize("filtered", [None, "open-class"])
def test_soft_labels_count_by_the_pixels_of_their_images(make_run, filtered):
    run = make_run(unlabeled_filter=filtered, class_alignment=0.0)
    batch, _ = draw(run)
    n = len(batch.x_unl)
    kept = torch.rand(n, generator=seeded())
    known = [1.0] * n
    if filtered:
        output = run.state.average_loss_network.module.head.level.output.weight
        torch.nn.init.normal_(output, std=0.5, generator=seeded())  # else all rows weigh the same
        known = known_weights(run.fabric, run.state, batch).tolist()
        assert np.ptp(known) > 0.05
    with torch.no_grad():
        target = run.state.average_loss_network.module(batch.x_teacher)[0]
        logits = run.state.loss_network.module(batch.x_unl)[0]
    loss, expected = UNLABELED["soft_labels"].loss, 0.0
    for i in range(n):
        for place, share in ((i, float(kept[i])), (i - 1, 1 - float(kept[i]))):
            row = loss(logits[i][None], target[place][None])
            expected += share * known[place] * float(row) / n
    mixed = Mixed(batch.x_unl, kept)
    terms = unlabeled_term(run.fabric, run.state, run.settings.objective, logits, batch, mixed)
    assert float(terms["unlabeled"]) == pytest.approx(expected, rel=1e-4)
    if filtered:
        assert float(terms[KEPT]) == pytest.approx(np.mean(known), rel=1e-4)


def test_a_step_learns_from_mixed_images_while_teacher_and_level_see_whole_ones(make_run):
    def seen_at(progress, share=1.0):
        run = make_run(cutmix=share, unlabeled_start=0.2)
        batch, generated = draw(run)
        before = copy.deepcopy(batch)
        learner, teacher = [], []
        for network, rows in (
            (run.state.loss_network.module, learner),
            (run.state.average_loss_network.module, teacher),
        ):
            network.register_forward_pre_hook(lambda _, given, rows=rows: rows.append(given[0]))
        update_loss_network(
            *(run.fabric, run.state, run.streams, batch, generated, run.settings), progress
        )
        assert torch.equal(batch.x_lab, before.x_lab) and torch.equal(batch.x_unl, before.x_unl)
        assert torch.equal(teacher[0], batch.x_teacher)
        n_lab = min(len(batch.x_lab), 64)
        plain = batch.x_lab if batch.x_lab_plain is None else batch.x_lab_plain
        assert torch.equal(teacher[1][:n_lab], plain[:n_lab])
        return learner[0], torch.cat([batch.x_lab, batch.x_unl]), len(batch.x_lab)

    for progress, share in ((0.1, 1.0), (MIXED_UNTIL, 1.0), (1.0, 1.0), (0.5, 0.0)):
        learner, whole, _ = seen_at(progress, share)
        assert torch.equal(learner, whole)
    learner, whole, n_lab = seen_at(0.5)
    for part in (slice(0, n_lab), slice(n_lab, None)):  # each with its own kind
        own, mixed = whole[part], learner[part]
        assert bool(((mixed == own) | (mixed == own.roll(1, 0))).all())
        assert float((mixed != own).flatten(1).any(1).float().mean()) > 0.5


@pytest.mark.parametrize("turns", [0.0, 1.0])
def test_the_terms_of_a_step_are_of_its_mixed_images(make_run, monkeypatch, turns):
    run = make_run(cutmix=1.0, rotation_weight=turns, class_alignment=0.0, label_smoothing=0.0)
    batch, _ = draw(run)
    made, scores = [], []

    def spy(x, generator, share):
        made.append(cutmix(x, generator, share))
        return made[-1]

    monkeypatch.setattr("clsgan.trainer.cutmix", spy)
    network = run.state.loss_network.module
    network.register_forward_hook(lambda _, given, output: scores.append(output[0].detach()))
    with torch.no_grad():
        target = run.state.average_loss_network.module(batch.x_teacher)[0]
    terms = update_loss_network(
        *(run.fabric, run.state, run.streams, batch, None, run.settings), progress=0.5
    )
    labeled, unlabeled = made
    n_lab, n_unl = len(batch.x_lab), len(unlabeled.x)
    target = target[len(target) - n_unl :]  # the first ones are turned
    assert n_unl == len(batch.x_unl) // (2 if turns else 1)
    lab, unl = scores[0][:n_lab], scores[0][n_lab : n_lab + n_unl]
    loss, expected = UNLABELED["soft_labels"].loss, {"labeled": 0.0, "unlabeled": 0.0}
    for i in range(n_lab):
        losses = -lab[i].log_softmax(0)
        share, y = float(labeled.kept[i]), batch.y_lab
        own = share * losses[y[i]] + (1 - share) * losses[y[i - 1]]
        expected["labeled"] += float(own) / n_lab
    for i in range(n_unl):
        share = float(unlabeled.kept[i])
        own, before = (float(loss(unl[i][None], target[k][None])) for k in (i, i - 1))
        expected["unlabeled"] += (share * own + (1 - share) * before) / n_unl
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(value, rel=1e-4)


def test_a_process_mixes_its_own_images_with_the_boxes_of_one_process():
    x = torch.rand(12, 1, 8, 8, generator=seeded(1))
    whole = cutmix(x, seeded(), share=0.8)
    for rank in range(2):
        generator = SharedGenerator(torch.device("cpu"), rank, 2).manual_seed(0)
        own = cutmix(x[rank::2], generator, share=0.8)
        assert torch.equal(own.kept, whole.kept[rank::2])
        assert torch.equal(own.x == x[rank::2], whole.x[rank::2] == x[rank::2])


def test_labels_alone_are_mixed_too():
    images, y = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)
    options = {"max_steps": 150, "random_state": 0, "generator": None} | SMALL
    mixed, plain = (
        CLSGANClassifier(unlabeled="none", cutmix=share, **options).fit(images[:300], y[:300])
        for share in (0.5, None)
    )
    assert mixed.score(images[1000:], y[1000:]) > 0.9
    labeled = [[record["labeled"] for record in m.history_] for m in (mixed, plain)]
    # The labels of a mixed image cannot be learned by heart.
    assert np.mean(labeled[0][2:4]) > np.mean(labeled[1][2:4]) + 0.1


def test_a_run_with_all_three_streams_learns_and_repeats():
    images, y = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)
    options = {"max_steps": 120, "random_state": 0, "cutmix": 0.5} | SMALL
    first, again = (
        CLSGANClassifier(**options).fit(images[:100], y[:100], X_unlab=images[100:1000])
        for _ in range(2)
    )
    assert first.score(images[1000:], y[1000:]) > 0.8
    assert np.array_equal(first.predict_loss(images[1000:]), again.predict_loss(images[1000:]))


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        (InputSpec((4,), "ND", "float64"), {}, r"cutmix=0\.5 .* shape \(4,\)"),
        (None, {"objective": "paper"}, r"cutmix=0\.5 .* margins_train='level' .* or cutmix=0"),
        (None, {"objective": "wgan_gp"}, "margins and critics that train the whole network"),
        (None, {"margins_train": "network", "outlier_weight": 0.0}, "mixes images of two classes"),
    ],
)
def test_what_cannot_be_mixed_is_refused(spec, changes, message):
    spec = spec or InputSpec((3, 32, 32), "NHWC", "uint8", 0.0, 255.0)
    params = CLSGANClassifier(cutmix=0.5, **changes).get_params()
    with pytest.raises(ValueError, match=message):
        resolve_settings(params, spec, 1000)
    resolve_settings(params | {"cutmix": 0}, spec, 1000)


def test_without_a_level_there_are_no_margins_to_spoil_either(tiny, digits):
    options = {"loss_network": "paper", "loss_network_options": None, "cutmix": 0.5}
    options |= {"unlabeled_start": 0.0, "max_steps": 1}
    with pytest.raises(ValueError, match=r"cutmix=0\.5 needs a loss network with a level"):
        tiny(**options).fit(*digits[:3])
    assert tiny(**options, generator=None).fit(*digits[:3]).n_steps_ == 1
