"""Named augmentations and albumentations pipelines, on real digits."""

import json
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from clsgan.augment import AUGMENTS, albumentations_augment, build_augment, photo_pipeline
from clsgan.transforms import cutout, jitter

A = pytest.importorskip("albumentations")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images(digits) -> torch.Tensor:
    """Digits as the networks see them: [40, 1, 8, 8] in [-1, 1]."""
    return torch.from_numpy(digits.x_unl[:40].astype(np.float32))[:, None] / 8 - 1


@pytest.fixture
def photos() -> torch.Tensor:
    """[12, 3, 24, 32] in [-1, 1], every value one of 256."""
    values = np.random.default_rng(0).integers(0, 256, (12, 3, 24, 32))
    return torch.from_numpy(values.astype(np.float32)) / 127.5 - 1


def test_none_changes_nothing(images):
    assert build_augment("none", (1, 8, 8), flip=True)(images, seeded()) is images
    rows = torch.ones(3, 5)
    assert build_augment("none", (5,), flip=False)(rows, seeded()) is rows


def test_weak_moves_digits_by_one_pixel_at_most_and_never_mirrors_them(images):
    out = build_augment("weak", (1, 8, 8), flip=False)(images, seeded())
    for image, changed in zip(images[:, 0], out[:, 0], strict=True):
        wide = np.pad(image.numpy(), 1, mode="reflect")
        moves = [wide[i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
        assert any(np.array_equal(changed.numpy(), move) for move in moves)


def test_flip_is_taken_where_allowed():
    ramp = torch.linspace(-1, 1, 32).expand(64, 3, 32, 32)  # dark left, bright right
    for name in ("weak", "medium", "strong"):
        left_darker = {
            allowed: (out[..., :16].mean((1, 2, 3)) < out[..., 16:].mean((1, 2, 3))).sum().item()
            for allowed in (False, True)
            for out in [build_augment(name, (3, 32, 32), flip=allowed)(ramp, seeded())]
        }
        assert left_darker[False] == 64
        assert 16 < left_darker[True] < 48


def test_medium_is_weak_then_jitter_then_cutout(images):
    out = build_augment("medium", (1, 8, 8), flip=False)(images, seeded(3))
    draws = seeded(3)
    expected = build_augment("weak", (1, 8, 8), flip=False)(images, draws)
    expected = cutout(jitter(expected, draws, brightness=0.2, contrast=0.2), draws, size=3)
    assert torch.equal(out, expected)


@pytest.mark.parametrize(("name", "most"), [("medium", 0.2), ("strong", 0.4)])
def test_brightness_reaches_its_range_and_no_further(name, most):
    flat = torch.full((400, 1, 8, 8), 0.5)  # contrast and moves leave it as it is
    change = (build_augment(name, (1, 8, 8), flip=True)(flat, seeded()) - 0.5)[:, 0].flatten(1)
    change = change[change.abs() < 0.49999]  # but for the cut-out square
    assert 0.95 * most < change.abs().max() <= most + 1e-6


def test_strong_turns_and_weak_does_not():
    stripes = torch.linspace(-1, 1, 32).expand(50, 1, 32, 32)  # every row the same
    for name, turned in (("weak", False), ("strong", True)):
        out = build_augment(name, (1, 32, 32), flip=False)(stripes, seeded())
        slope = (out[:, :, 1:] - out[:, :, :-1])[..., 14:18].abs().median()
        assert (slope > 0.005) == turned


@pytest.mark.parametrize("name", sorted(AUGMENTS))
@pytest.mark.parametrize(
    "shape", [(1, 4, 4), (1, 8, 8), (3, 32, 32), (3, 33, 17), (13, 9, 9), (3, 1, 1), (2, 96, 96)]
)
def test_any_image_size_and_number_of_channels(name, shape):
    x = torch.rand(3, *shape) * 2 - 1
    out = build_augment(name, shape, flip=True)(x, seeded())
    assert out.shape == x.shape and torch.isfinite(out).all()


def test_cut_out_square_has_three_eighths_of_the_side():
    out = build_augment("medium", (3, 32, 32), flip=True)(torch.ones(500, 3, 32, 32), seeded())
    assert int((out == 0).all(1).flatten(1).sum(1).max()) == 12 * 12


def test_wrong_names_and_shapes_say_why():
    with pytest.raises(ValueError, match=r"augment='strnog' .* 'strong'\? .*'medium', 'none'"):
        build_augment("strnog", (3, 32, 32), flip=True)
    with pytest.raises(ValueError, match="the only choice is augment='none'"):
        build_augment("weak", (64,), flip=False)
    with pytest.raises(ValueError, match=r"\(3, 32, 32\) are expected, got \(3, 8, 8\)"):
        build_augment("weak", (3, 32, 32), flip=True)(torch.zeros(1, 3, 8, 8), seeded())


def test_a_batch_of_256_takes_milliseconds():
    x = torch.rand(256, 3, 32, 32, generator=seeded()) * 2 - 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with its own clock: busy neighbours do not count
    try:
        for name in ("weak", "medium", "strong"):
            augment = build_augment(name, (3, 32, 32), flip=True)
            seconds = []
            for _ in range(7):
                start = time.thread_time()
                augment(x, seeded())
                seconds.append(time.thread_time() - start)
            assert min(seconds) < 0.04  # measured: 3 to 6 ms
    finally:
        torch.set_num_threads(threads)


def test_pipeline_matches_albumentations_run_by_hand(photos):
    pipeline = A.Compose([A.HorizontalFlip(p=0.5), A.RandomBrightnessContrast(p=0.5)])
    out = albumentations_augment(pipeline)(photos, seeded(4))
    seeds = torch.randint(2**62, (12,), generator=seeded(4)).tolist()
    for image, changed, seed in zip(photos, out, seeds, strict=True):
        pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        raw = np.rint((image.permute(1, 2, 0).numpy() + 1) * 127.5).astype(np.uint8)
        expected = pipeline(image=raw)["image"].astype(np.float32) / 127.5 - 1
        np.testing.assert_allclose(changed.permute(1, 2, 0), expected, atol=1e-6)


def test_pipeline_that_does_nothing_gives_the_images_back(photos):
    for dtype in ("uint8", "float32"):
        out = albumentations_augment(A.NoOp(), dtype=dtype)(photos, seeded())
        assert out.dtype == photos.dtype
        torch.testing.assert_close(out, photos, atol=1e-6, rtol=0)


def test_transforms_of_a_pipeline_draw_independent_numbers(photos):
    both = A.Compose([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])
    x = photos[:1].expand(200, -1, -1, -1)
    out = albumentations_augment(both)(x, seeded())
    ways = [x[0], x[0].flip(2), x[0].flip(1), x[0].flip(1, 2)]
    counts = [sum(torch.allclose(o, way, atol=1e-5) for o in out) for way in ways]
    assert sum(counts) == 200 and min(counts) > 25


def test_pipeline_is_seeded_by_the_generator_alone(photos, global_randomness_untouched):
    pipeline = photo_pipeline(24, 32, flip=True)
    augment = albumentations_augment(pipeline)
    first = augment(photos, seeded(1))
    pipeline(image=np.zeros((24, 32, 3), np.uint8))  # the user goes on using theirs
    assert torch.equal(first, augment(photos, seeded(1)))
    assert not torch.equal(first, augment(photos, seeded(2)))
    assert first.shape == photos.shape and first.abs().max() <= 1


def test_pipeline_from_dict_json_and_yaml(photos, tmp_path):
    pipeline = A.Compose([A.HorizontalFlip(p=0.5), A.Rotate(limit=20, p=1)])
    expected = albumentations_augment(pipeline)(photos, seeded())
    assert torch.equal(albumentations_augment(A.to_dict(pipeline))(photos, seeded()), expected)
    for suffix in ("json", "yaml"):
        A.save(pipeline, tmp_path / f"p.{suffix}", data_format=suffix)
        out = albumentations_augment(str(tmp_path / f"p.{suffix}"))(photos, seeded())
        assert torch.equal(out, expected)


def test_photo_pipeline_serves_grey_and_colour_and_mirrors_where_allowed():
    ramp = torch.linspace(-1, 1, 32).expand(40, 1, 24, 32)
    for flip in (False, True):
        out = albumentations_augment(photo_pipeline(24, 32, flip))(ramp, seeded())
        darker = (out[..., :16].mean((1, 2, 3)) < out[..., 16:].mean((1, 2, 3))).sum().item()
        assert darker == 40 if not flip else 8 < darker < 32


def test_pipelines_that_cannot_serve_say_why(photos, tmp_path):
    with pytest.raises(ValueError, match=r"\(24, 32, 3\) .* into \(8, 8, 3\); it must keep"):
        albumentations_augment(A.Resize(8, 8))(photos, seeded())
    with pytest.raises(ValueError, match="uint8 into float32; leave out Normalize"):
        albumentations_augment(A.Normalize())(photos, seeded())
    with pytest.raises(ValueError, match=r"fails on a uint8 image of shape \(24, 32, 3\)"):
        albumentations_augment(A.RandomCrop(64, 64))(photos, seeded())
    with pytest.raises(ValueError, match="passes no gradient"):
        albumentations_augment(A.NoOp())(photos.clone().requires_grad_(), seeded())
    with pytest.raises(TypeError, match="got list"):
        albumentations_augment([A.NoOp()])
    with pytest.raises(ValueError, match="dict form"):
        albumentations_augment({"transform": {"__class_fullname__": "NoSuchThing", "p": 1.0}})
    with pytest.raises(ValueError, match="did you mean 'float32'"):
        albumentations_augment(A.NoOp(), dtype="float")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        albumentations_augment(tmp_path / "nowhere.yaml")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json is not the dict form"):
        albumentations_augment(tmp_path / "bad.json")
    (tmp_path / "list.yaml").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match=r"list\.yaml is not the dict form"):
        albumentations_augment(tmp_path / "list.yaml")


def test_import_is_light_and_albumentations_is_told_not_to_call_home():
    code = (
        "import sys, os, clsgan.augment as a; assert 'albumentations' not in sys.modules;"
        "a.photo_pipeline(8, 8, True); print(os.environ['NO_ALBUMENTATIONS_UPDATE'])"
    )
    environ = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"
