"""Image transforms against plain loops, pixel by pixel in float64."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from clsgan.transforms import affine, cutout, flip, jitter, shift


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return (torch.rand(*shape, generator=seeded(99), dtype=torch.float64) * 2 - 1).to(dtype)


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_rest():
    x = images(400, 2, 3, 5)
    out = flip(x, seeded())
    mirrored = [torch.equal(o, i.flip(2)) for o, i in zip(out, x, strict=True)]
    kept = [torch.equal(o, i) for o, i in zip(out, x, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 150 < sum(mirrored) < 250


def shifted_by_loop(image: np.ndarray, down: int, right: int, padding: str) -> np.ndarray:
    """Output (i, j) shows input (i + down, j + right), continued by NumPy's own padding."""
    n = max(abs(down), abs(right))
    wide = np.pad(image, ((0, 0), (n, n), (n, n)), mode=padding)
    out = np.empty_like(image)
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            out[:, i, j] = wide[:, i + down + n, j + right + n]
    return out


@pytest.mark.parametrize("padding", ["reflect", "edge"])
@pytest.mark.parametrize("mirror", [False, True])
def test_shift_is_one_of_the_loops_shifts_for_each_image(padding, mirror):
    x = images(60, 3, 5, 7)
    out = shift(x, seeded(), pixels=2, padding=padding, mirror=mirror).numpy()
    seen = set()
    for image, changed in zip(x.numpy(), out, strict=True):
        found = [
            (down, right, side)
            for down in range(-2, 3)
            for right in range(-2, 3)
            for side in ((1, -1) if mirror else (1,))
            if np.array_equal(shifted_by_loop(image, down, right, padding)[:, :, ::side], changed)
        ]
        assert len(found) == 1
        seen.update(found)
    assert {s[0] for s in seen} == {s[1] for s in seen} == {-2, -1, 0, 1, 2}
    assert len({s[2] for s in seen}) == (2 if mirror else 1)


def test_shift_takes_either_memory_layout_and_gives_channels_last():
    x = images(8, 3, 6, 6)
    out = shift(x, seeded(), 2)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out, shift(x.contiguous(memory_format=torch.channels_last), seeded(), 2))


@pytest.mark.parametrize("size", [1, 3, 4, 20])
def test_cutout_zeroes_one_square_per_image_and_nothing_else(size):
    x = images(80, 3, 7, 9) + 3  # no zero of its own
    out = cutout(x, seeded(), size)
    centres = set()
    for image, changed in zip(x, out, strict=True):
        found = []
        for cy in range(7):
            for cx in range(9):
                expected = image.clone()
                for i in range(7):
                    for j in range(9):
                        top, left = cy - size // 2, cx - size // 2
                        if top <= i < top + size and left <= j < left + size:
                            expected[:, i, j] = 0
                if torch.equal(changed, expected):
                    found.append((cy, cx))
        assert found
        centres.update(found)
    assert len(centres) > 30


def test_jitter_is_saturation_then_contrast_then_brightness():
    x = images(5, 3, 4, 6)
    out = jitter(x, seeded(7), brightness=0.3, contrast=0.4, saturation=0.5)
    draws = seeded(7)
    gain, level, s = (torch.rand(5, generator=draws).numpy().astype(np.float64) for _ in range(3))
    for b in range(5):
        image = x[b].numpy().copy()
        factor, c, add = 1 - 0.5 + s[b], 1 + 0.4 * (2 * gain[b] - 1), 0.3 * (2 * level[b] - 1)
        for i in range(4):
            for j in range(6):
                grey = image[:, i, j].mean()
                for k in range(3):
                    image[k, i, j] = grey + factor * (image[k, i, j] - grey)
        image = image.mean() + c * (image - image.mean()) + add
        np.testing.assert_allclose(out[b].numpy(), image, atol=1e-6)  # draws are float32


def affine_by_loop(image: np.ndarray, matrix: np.ndarray, move: np.ndarray) -> np.ndarray:
    """Bilinear, the image reflected at its outer edge."""
    _, h, w = image.shape
    wide = np.pad(image, ((0, 0), (h, h), (w, w)), mode="symmetric")
    out = np.zeros_like(image)
    for i in range(h):
        for j in range(w):
            x, y = matrix @ [j - (w - 1) / 2, i - (h - 1) / 2] + move
            x, y = x + (w - 1) / 2 + w, y + (h - 1) / 2 + h
            x0, y0 = math.floor(x), math.floor(y)
            for dy in (0, 1):
                for dx in (0, 1):
                    weight = (1 - abs(y - y0 - dy)) * (1 - abs(x - x0 - dx))
                    out[:, i, j] += weight * wide[:, y0 + dy, x0 + dx]
    return out


def test_affine_against_the_loop_on_a_non_square_image():
    x = images(6, 2, 5, 8)
    out = affine(x, seeded(3), degrees=20, scale=0.2, shear=0.3, pixels=1.5, mirror=True)
    draws = seeded(3)
    angle, size, k, across, down, coin = (
        torch.rand(6, generator=draws).numpy().astype(np.float64) for _ in range(6)
    )
    for b in range(6):
        a = math.radians(20 * (2 * angle[b] - 1))
        turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
        slant = np.array([[1, 0.3 * (2 * k[b] - 1)], [0, 1]])
        side = np.diag([-1.0 if coin[b] < 0.5 else 1.0, 1.0])
        matrix = turn @ slant @ side / (1 + 0.2 * (2 * size[b] - 1))
        move = 1.5 * (2 * np.array([across[b], down[b]]) - 1)
        expected = affine_by_loop(x[b].numpy(), matrix, move)
        np.testing.assert_allclose(out[b].numpy(), expected, atol=1e-5)


CHANGES = {
    "flip": flip,
    "shift": lambda x, g: shift(x, g, 1, mirror=True),
    "jitter": lambda x, g: jitter(x, g, 0.2, 0.2, 0.2),
    "cutout": lambda x, g: cutout(x, g, 2),
    "affine": lambda x, g: affine(x, g, 15, 0.1, 0.1, 1, mirror=True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_gradients_flow_to_the_images(name):
    x = images(3, 3, 4, 5).requires_grad_()
    assert gradcheck(lambda x: CHANGES[name](x, seeded()), (x,))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_dtype_is_kept_and_bf16_sees_the_same_change(name, dtype):
    x = images(16, 3, 8, 8, dtype=dtype)
    out = CHANGES[name](x, seeded())
    assert out.dtype == dtype and out.shape == x.shape
    exact = CHANGES[name](x.double(), seeded())
    assert (out.double() - exact).abs().max() < (0.03 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("name", CHANGES)
def test_the_generator_alone_decides(name, global_randomness_untouched):
    x = images(16, 3, 8, 8)
    first = CHANGES[name](x, seeded(5))
    assert torch.equal(first, CHANGES[name](x, seeded(5)))
    assert not torch.equal(first, CHANGES[name](x, seeded(6)))
    both = seeded(5)  # two views of one batch differ
    assert torch.equal(CHANGES[name](x, both), first)
    assert not torch.equal(CHANGES[name](x, both), first)


def test_samples_of_one_batch_draw_their_own_numbers():
    x = images(1, 3, 8, 8).expand(32, 3, 8, 8)
    for name, change in CHANGES.items():
        out = change(x, seeded())
        assert len({tuple(o.flatten().tolist()) for o in out}) >= (2 if name == "flip" else 10)


def test_impossible_settings_say_why():
    x = images(2, 1, 4, 6)
    with pytest.raises(ValueError, match=r"pixels must be in 0..3 for 4x6 images, got 4"):
        shift(x, seeded(), 4)
    with pytest.raises(ValueError, match="did you mean 'reflect'"):
        shift(x, seeded(), 1, padding="reflct")
    with pytest.raises(ValueError, match="scale must be in"):
        affine(x, seeded(), 0, 1.0, 0)
