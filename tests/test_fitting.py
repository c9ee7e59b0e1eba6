"""How the parts of a run are chosen and put together."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clsgan import fitting
from clsgan.defaults import choose_augment, default_steps
from clsgan.inputs import InputSpec

GREY = InputSpec((1, 16, 16), "NHW", "uint8", 0.0, 255.0)
COLOUR = InputSpec((3, 16, 16), "NHWC", "uint8", 0.0, 255.0)
PHOTO = InputSpec((3, 48, 48), "NHWC", "uint8", 0.0, 255.0)
ROWS = InputSpec((4,), "ND", "float64")


def augmented(images, spec=COLOUR, generated=False, has_unlabeled=False, **changes):
    params = {"augment": "auto", "flip": "auto", "objective": "default"} | changes
    pair = choose_augment(params, spec, has_unlabeled)
    return pair[generated](images, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def images(photos):
    pieces, _ = photos(48, 20)
    return torch.from_numpy(pieces / 127.5 - 1).float().permute(0, 3, 1, 2)


# Augmentation


def test_auto_augments_images_but_not_rows_and_not_for_the_paper(images):
    small = images[..., :16, :16]
    assert not torch.equal(augmented(small), small)
    assert torch.equal(augmented(small, objective="paper"), small)
    assert torch.equal(augmented(small, augment="none"), small)
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(augmented(rows, spec=ROWS), rows)


def test_auto_is_medium(images):
    small = images[..., :16, :16]
    assert torch.equal(augmented(small), augmented(small, augment="medium"))


def test_auto_is_weak_beside_unlabeled_rows(images):
    small = images[..., :16, :16]
    weak = augmented(small, augment="weak")
    assert torch.equal(augmented(small, has_unlabeled=True), weak)
    assert not torch.equal(augmented(small, augment="medium", has_unlabeled=True), weak)
    assert not torch.equal(augmented(small), augmented(small, augment="strong"))


def flips(images, **options):
    """How many of many copies of one image that differs from its mirror come out mirrored."""
    ramp = torch.linspace(-1, 1, 16).expand(64, images, 16, 16).contiguous()
    out = augmented(ramp, augment="weak", **options)
    return int((out[..., -4:].mean(dim=(1, 2, 3)) < out[..., :4].mean(dim=(1, 2, 3))).sum())


def test_flips_are_for_colour_unless_told():
    assert 16 < flips(3, spec=COLOUR) < 48
    assert flips(1, spec=GREY) == 0
    assert flips(3, spec=COLOUR, flip=False) == 0
    assert 16 < flips(1, spec=GREY, flip=True) < 48


def test_photos_are_augmented_as_other_colour_images_are(images):
    options = {"images": images, "spec": PHOTO, "has_unlabeled": True}
    assert torch.equal(augmented(**options), augmented(**options, augment="weak"))


def test_generated_rows_of_a_pipeline_get_a_family_that_gradients_pass(images):
    import albumentations

    pipeline = albumentations.Compose([albumentations.HorizontalFlip(p=1.0)])
    real = augmented(images, augment=pipeline, spec=PHOTO)
    assert torch.allclose(real, images.flip(3), atol=1 / 127)
    x = images.clone().requires_grad_()
    augmented(x, augment=pipeline, spec=PHOTO, generated=True).sum().backward()
    assert x.grad is not None and bool((x.grad != 0).any())


def test_names_give_both_kinds_of_rows_the_same(images):
    params = {"augment": "strong", "flip": "auto", "objective": "default"}
    real, generated = choose_augment(params, COLOUR)
    assert real is generated


def test_unknown_names_have_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'strong'"):
        choose_augment({"augment": "strongly", "flip": "auto", "objective": "default"}, GREY)


# Budgets


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "steps"),
    [(10, 128, 200), (1797, 256, 200), (40_000, 256, 3125), (10**7, 128, 10_000)],
)
def test_twenty_passes_within_bounds(n_rows, batch_size, steps):
    assert default_steps(n_rows, batch_size) == steps


def test_without_a_budget_the_default_is_made(tiny_rows, digits, monkeypatch):
    monkeypatch.setattr(fitting, "default_steps", lambda n_rows, batch_size: n_rows // batch_size)
    X, X_unlab = digits.x_lab.reshape(100, 64), digits.x_unl[:60].reshape(60, 64)
    model = tiny_rows(max_steps=None, batch_size=16).fit(X, digits.y_lab, X_unlab)
    assert model.n_steps_ == 160 // 16


def test_a_time_limit_alone_is_not_cut_by_steps(tiny_rows, digits):
    rows = digits.x_lab.reshape(100, 64)
    tiny_rows(max_steps=1).fit(rows, digits.y_lab)  # the first step of a process takes a second
    model = tiny_rows(max_steps=None, time_limit=1.5).fit(rows, digits.y_lab)
    assert model.fit_time_ < 3 and model.n_steps_ > 50  # on a busy machine too


def flushes() -> bool:
    return float(torch.tensor(1e-39) * 1) == 0.0


@pytest.mark.parametrize("limit", [{"max_steps": 3}, {"max_steps": 60, "time_limit": 60.0}])
def test_modes_of_the_processor_hold_while_it_trains_and_are_given_back(tiny, digits, limit):
    flushed, threads, before = set(), set(), torch.get_num_threads()

    class Watched(torch.nn.Linear):
        def forward(self, x):
            if torch.is_grad_enabled():
                flushed.add(flushes())
                threads.add(torch.get_num_threads())
            return super().forward(x.flatten(1))

    torch.set_num_threads(3)
    try:
        model = tiny(loss_network=Watched(64, 10), loss_network_options=None, **limit)
        model.fit(digits.x_lab, digits.y_lab)
        assert flushed == {True} and not flushes()
        assert threads == ({1, 3} if "time_limit" in limit else {3})
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_slow_validations_and_checkpoints_end_within_the_limit(tiny, digits, tmp_path, slowed):
    slowed("clsgan.trainer.update_averages", 0.5)
    slowed("clsgan.inference.mean_over_views", 2.75)  # 400 rows are four
    clock = slowed("clsgan.checkpoints.run.write_checkpoint", 2.0)
    params = {"max_steps": None, "time_limit": 60.0, "validation_fraction": 0.8}
    model = tiny(**params, checkpoint=tmp_path / "c").fit(digits.x_test, digits.y_test)
    assert 50 < clock() <= 60
    assert sum("validation_error" in line for line in model.history_) >= 2


def test_a_validation_that_would_fill_the_limit_is_left_to_the_end(tiny, digits, slowed):
    slowed("clsgan.trainer.update_averages", 0.5)
    clock = slowed("clsgan.inference.mean_over_views", 3.0)
    model = tiny(max_steps=None, time_limit=30.0, validation_fraction=0.8)
    model.fit(digits.x_test, digits.y_test)
    assert 28 <= clock() <= 30 and model.n_steps_ > 20
    assert model.validation_error_ is not None
    assert not any("validation_error" in line for line in model.history_)


# Parts


def test_the_stem_is_fitted_to_the_images_of_the_run(tiny, digits):
    """Its filters whiten patches: another set of images gives another stem."""
    one = tiny(max_steps=1).fit(digits.x_lab, digits.y_lab)
    other = tiny(max_steps=1).fit(digits.x_lab[:, ::-1], digits.y_lab)
    first, second = (
        {n: t for n, t in model.loss_network_.state_dict().items() if n.startswith("stem")}
        for model in (one, other)
    )
    assert first and any(not torch.equal(first[name], second[name]) for name in first)


def test_networks_come_back_ready_to_predict_and_to_train(tiny, digits):
    model = tiny(max_steps=1).fit(digits.x_lab, digits.y_lab)
    for network in (model.loss_network_, model.generator_):
        assert not network.training
        assert any(p.requires_grad for p in network.parameters())


def test_images_seen_are_counted_while_training(tiny, digits):
    model = tiny(max_steps=4, unlabeled_start=0.0).fit(digits.x_lab, digits.y_lab, digits.x_unl)
    seconds = 4 * 32 / model.images_per_second_
    assert 0 < seconds <= model.fit_time_


def test_no_generated_rows_is_no_generated_stream(tiny, digits):
    model = tiny(generated_batch_size=0).fit(digits.x_lab, digits.y_lab)
    assert "hinge" not in model.history_[-1]
    assert np.isfinite(model.predict_loss(digits.x_test)).all()


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_pipeline_file_augments(tmp_path, tiny, digits, as_path):
    file = tmp_path / "pipeline.yaml"
    albumentations = pytest.importorskip("albumentations")
    albumentations.save(albumentations.Compose([albumentations.Rotate(10)]), file, "yaml")
    model = tiny(augment=as_path(file)).fit(digits.x_lab, digits.y_lab)
    assert model.n_steps_ == 3
