import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clsgan.networks import SmallLossNetwork, WhiteningStem, build_loss_network, whiten_stem


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.x_unl.astype(np.float32))[:, None] / 8 - 1


def colour_images(n: int, side: int) -> torch.Tensor:
    """Correlated noise: smooth in space, with channels that share a part."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(n, 3, side + 2, side + 2, generator=draw)
    smooth = F.avg_pool2d(noise + noise.mean(1, keepdim=True), 3, stride=1)
    return (smooth * 0.5 + 0.2).clamp(-1, 1)


def linear_part(stem: WhiteningStem, images: torch.Tensor) -> torch.Tensor:
    """What the stem computes before its GELU, without the negatives: [D, N * H' * W']."""
    out = F.conv2d(images.double(), stem.filters.double(), stem.bias.double(), stem.stride)
    return out[:, : stem.out_channels // 2].transpose(0, 1).flatten(1).detach()


def numpy_patches(images: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int]):
    """All patches as rows, by plain loops."""
    rows = []
    for i in range(0, images.shape[2] - kernel[0] + 1, stride[0]):
        for j in range(0, images.shape[3] - kernel[1] + 1, stride[1]):
            patch = images[:, :, i : i + kernel[0], j : j + kernel[1]]
            rows.append(patch.reshape(len(images), -1))
    return np.concatenate(rows)


def test_digits_come_out_white_as_numpy_says(images):
    stem = WhiteningStem((1, 8, 8))
    whiten_stem(stem, images)
    patches = numpy_patches(images.numpy().astype(np.float64), (2, 2), (1, 1))
    values = np.linalg.eigvalsh(np.cov(patches.T, bias=True))[::-1]
    expected = values / (values + 5e-4 * values.mean() + 1e-5)
    white = linear_part(stem, images).numpy()
    np.testing.assert_allclose(np.cov(white, bias=True), np.diag(expected), atol=1e-4)
    np.testing.assert_allclose(np.cov(white, bias=True), np.eye(4), atol=0.01)
    np.testing.assert_allclose(white.mean(1), 0, atol=1e-4)


@pytest.mark.parametrize("side", [16, 90])
def test_colour_keeps_the_largest_directions(side):
    images = colour_images(60, side)
    stem = WhiteningStem((3, side, side))
    stem.fit(images)
    kernel = tuple(stem.filters.shape[2:])
    patches = numpy_patches(images.numpy().astype(np.float64), kernel, stem.stride)
    values = np.linalg.eigvalsh(np.cov(patches.T, bias=True))[::-1]
    expected = (values / (values + 5e-4 * values.mean() + 1e-5))[: stem.out_channels // 2]
    covariance = np.cov(linear_part(stem, images).numpy(), bias=True)
    np.testing.assert_allclose(covariance, np.diag(expected), atol=1e-3)


def test_second_half_is_the_negative_of_the_first(images):
    stem = WhiteningStem((1, 8, 8))
    stem.fit(images)
    n = stem.out_channels // 2
    assert torch.equal(stem.filters[:n], -stem.filters[n:])
    assert torch.equal(stem.bias[:n], -stem.bias[n:])


def test_before_fitting_the_filters_are_orthogonal():
    stem = WhiteningStem((3, 32, 32))
    directions = stem.filters[: stem.out_channels // 2].flatten(1)
    torch.testing.assert_close(directions @ directions.T, torch.eye(12))


@pytest.mark.parametrize(
    ("shape", "channels", "size"),
    [
        ((1, 4, 4), 8, (3, 3)),
        ((3, 32, 32), 24, (31, 31)),
        ((13, 28, 28), 48, (27, 27)),
        ((3, 96, 96), 48, (31, 31)),
        ((3, 224, 224), 48, (37, 37)),
        ((1, 1, 30), 4, (1, 29)),
    ],
)
def test_the_size_that_follows(shape, channels, size):
    stem = WhiteningStem(shape)
    assert (stem.out_channels, stem.out_size) == (channels, size)
    assert stem(torch.zeros(1, *shape)).shape == (1, channels, *size)


def test_constant_images_stay_finite():
    stem = WhiteningStem((2, 8, 8))
    stem.fit(torch.full((5, 2, 8, 8), -1.0))
    out = stem(torch.full((1, 2, 8, 8), -1.0))
    assert torch.isfinite(out).all()
    assert out.abs().max() < 1e-2


def test_filters_are_fixed_and_saved(images):
    network = build_loss_network("small", (1, 8, 8), 10, {"widths": (32, 32)})
    whiten_stem(network, images)
    assert "stem.filters" in network.state_dict()
    assert "stem.filters" not in dict(network.named_parameters())
    copy = build_loss_network("small", (1, 8, 8), 10, {"widths": (32, 32)}, seed=5)
    copy.load_state_dict(network.state_dict())
    assert torch.equal(copy.eval()(images[:4])[0], network.eval()(images[:4])[0])


def test_a_wrapped_network_is_found_and_others_are_left_alone(images):
    wrapped = nn.Sequential(SmallLossNetwork((1, 8, 8), 10, widths=(32,)))
    before = wrapped[0].stem.filters.clone()
    whiten_stem(wrapped, images)
    assert not torch.equal(wrapped[0].stem.filters, before)
    mlp = build_loss_network("mlp", (1, 8, 8), 10)
    before = {name: value.clone() for name, value in mlp.state_dict().items()}
    whiten_stem(mlp, images)
    assert all(torch.equal(value, before[name]) for name, value in mlp.state_dict().items())


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (5, 3, 8, 8), (5, 1, 9, 8), (5, 8, 8)])
def test_images_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"cannot fit this stem; give \[N, 1, 8, 8\]"):
        WhiteningStem((1, 8, 8)).fit(torch.zeros(shape))
