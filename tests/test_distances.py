"""Distances on features against loops, closed forms and SciPy; their keys; Inception's extra."""

from __future__ import annotations

import math
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.datasets import load_digits
from torch import Tensor, nn

from clsgan.metrics import (
    distance_key,
    feature_distances,
    frechet_distance,
    inception_features,
    kernel_distance,
)

Features = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def even_and_odd() -> Features:
    """Sixteen pixels of the middle of real digits, even against odd ones."""
    bunch = load_digits()
    pixels = bunch.images[:, 2:6, 2:6].reshape(-1, 16) / 16
    return pixels[bunch.target % 2 == 0], pixels[bunch.target % 2 == 1]


def random_features(n: int, m: int, width: int, seed: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(width, width))
    return rng.normal(size=(n, width)) @ mix, rng.normal(size=(m, width)) + 0.5


# --- the Fréchet distance


def test_frechet_distance_against_a_loop(even_and_odd: Features) -> None:
    means, covariances = [], []
    for rows in even_and_odd:
        mean = [math.fsum(column) / len(rows) for column in rows.T]
        total = np.zeros((16, 16))
        for row in rows:
            total += np.outer(row - mean, row - mean)
        means.append(np.array(mean))
        covariances.append(total / (len(rows) - 1))
    root = sqrtm(covariances[0] @ covariances[1])
    gap = math.fsum((a - b) ** 2 for a, b in zip(*means, strict=True))
    expected = gap + np.trace(covariances[0] + covariances[1] - 2 * root.real)
    assert expected > 0.05
    assert frechet_distance(*even_and_odd) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_one_feature() -> None:
    real, fake = np.random.default_rng(0).normal(size=(2, 50, 1)) * [[[1.0]], [[3.0]]]
    expected = (real.mean() - fake.mean()) ** 2 + (real.std(ddof=1) - fake.std(ddof=1)) ** 2
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "width"), [(200, 12), (10, 60)])
def test_frechet_distance_to_shifted_rows_is_the_shift(n: int, width: int) -> None:
    """Also with fewer rows than features, where roots of rounding errors used to add up."""
    rows = random_features(n, 1, width)[0]
    scale = rows.var(axis=0).sum()
    assert 0 <= frechet_distance(rows, rows) < 1e-12 * scale
    assert frechet_distance(rows, rows + 0.1) == pytest.approx(0.01 * width, abs=1e-12 * scale)


def test_frechet_distance_of_singular_covariances() -> None:
    """Spread along two axes at a right angle: nothing is shared, the variances add up."""
    along = np.array([-1.0, 0.0, 1.0])
    real, fake = np.zeros((3, 5)), np.zeros((3, 5))
    real[:, 0], fake[:, 1] = along, 2 * along
    assert frechet_distance(real, fake) == pytest.approx(1.0 + 4.0, rel=1e-14)
    fake[:, 0] = 3 * along
    fake[:, 1] = 0
    assert frechet_distance(real, fake) == pytest.approx((3 - 1) ** 2, rel=1e-14)
    assert frechet_distance(np.ones((4, 5)), np.zeros((4, 5))) == 5.0


def test_frechet_distance_does_not_depend_on_axes_order_or_offset() -> None:
    real, fake = random_features(80, 60, 6)
    value = frechet_distance(real, fake)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert frechet_distance(fake, real) == pytest.approx(value, rel=1e-12)
    assert frechet_distance(real @ turn, fake @ turn) == pytest.approx(value, rel=1e-12)
    assert frechet_distance(real + 1e6, fake + 1e6) == pytest.approx(value, rel=1e-6)
    assert frechet_distance(1e-9 * real, 1e-9 * fake) == pytest.approx(1e-18 * value, rel=1e-9)
    assert frechet_distance(real.astype(np.float32), fake) == pytest.approx(value, rel=1e-5)


# --- the kernel distance


def loop_discrepancy(real: np.ndarray, fake: np.ndarray) -> float:
    """Unbiased MMD^2 (Binkowski et al. 2018, eq. 4) of sets of one size."""
    n, width = real.shape

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (math.fsum(s * t for s, t in zip(a, b, strict=True)) / width + 1) ** 3

    total = 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                total += (kernel(real[i], real[j]) + kernel(fake[i], fake[j])) / (n * (n - 1))
            total -= 2 * kernel(real[i], fake[j]) / n**2
    return total


def test_kernel_distance_against_a_loop(even_and_odd: Features) -> None:
    real, fake = even_and_odd[0][:40], even_and_odd[1][:40]
    expected = loop_discrepancy(real, fake)
    assert abs(expected) > 1e-3
    found = kernel_distance(real, fake, subsets=3, subset_size=40)  # each has all of the rows
    assert found == pytest.approx(expected, rel=1e-10)


def test_kernel_distance_is_a_mean_over_seeded_subsets(
    even_and_odd: Features, global_randomness_untouched: None
) -> None:
    real, fake = even_and_odd
    value = kernel_distance(real, fake, subsets=20, subset_size=50, random_state=1)
    rng = np.random.default_rng(1)
    by_hand = []
    for _ in range(20):
        rows = rng.choice(len(real), 50, replace=False), rng.choice(len(fake), 50, replace=False)
        by_hand.append(loop_discrepancy(real[rows[0]], fake[rows[1]]))
    assert value == pytest.approx(np.mean(by_hand), rel=1e-10)
    generator = np.random.default_rng(1)
    assert kernel_distance(real, fake, subsets=20, subset_size=50, random_state=generator) == value
    assert kernel_distance(real, fake, subsets=20, subset_size=50, random_state=2) != value


def test_kernel_distance_is_unbiased() -> None:
    """Rows of one source: 0 on average, which the estimate with the diagonal is far from."""
    rng = np.random.default_rng(0)
    values = [
        kernel_distance(*rng.normal(size=(2, 8, 4)), subsets=1, subset_size=8) for _ in range(400)
    ]
    error = np.std(values) / math.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error < 0.5 and min(values) < 0


# --- keys


@pytest.mark.parametrize(
    ("n_real", "n_fake", "key"),
    [
        (10_000, 10_000, "fid_loss_network_10k"),
        (1_500, 1_500, "fid_loss_network_1500"),
        (10_000, 500, "fid_loss_network_10k_500"),
    ],
)
def test_key_names_extractor_and_counts(n_real: int, n_fake: int, key: str) -> None:
    assert distance_key("fid", "loss_network", n_real, n_fake) == key


def test_report_of_both_distances(even_and_odd: Features) -> None:
    real, fake = even_and_odd[0][:300], even_and_odd[1][:200]
    report = feature_distances(real, fake, "pixels", random_state=3)
    assert report == {
        "fid_pixels_300_200": frechet_distance(real, fake),
        "kid_pixels_300_200": kernel_distance(real, fake, subset_size=200, random_state=3),
    }


# --- Inception


class FakeInception(nn.Module):
    """Stands for torch-fidelity's extractor, whose weights are a download: means of channels."""

    def __init__(self, name: str, features_list: list[str], verbose: bool = True) -> None:
        super().__init__()
        assert (name, features_list, verbose) == ("inception-v3-compat", ["2048"], False)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        assert x.dtype == torch.uint8 and x.shape[1] == 3 and len(x) <= 3
        return (x.float().mean(dim=(2, 3)),)


@pytest.fixture
def fake_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch_fidelity")
    module.FeatureExtractorInceptionV3 = FakeInception  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", module)


@pytest.mark.usefixtures("fake_fidelity")
def test_inception_features_come_in_batches() -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 6, 5), dtype=np.uint8)
    images.setflags(write=False)
    features = inception_features(images, batch_size=3)
    assert features.dtype == np.float64
    np.testing.assert_allclose(features, images.mean(axis=(2, 3)), rtol=1e-6)
    grey = inception_features(images[:, :1], batch_size=3)
    np.testing.assert_allclose(grey, np.repeat(features[:, :1], 3, axis=1))
    assert list(feature_distances(features, grey, "inception")) == [
        "fid_inception_8",
        "kid_inception_8",
    ]


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ImportError, match=r"extra \[metrics\].*pip install 'torch-fidelity>=0.4'"):
        inception_features(np.zeros((2, 3, 8, 8), np.uint8))


# --- bad input


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 4)), r"one width, got \(3, 2\) and \(3, 4\)"),
        (np.zeros(3), np.zeros(3), r"must be \[N, F\]"),
        (np.zeros((3, 0)), np.zeros((3, 0)), r"must be \[N, F\]"),
        (np.zeros((3, 2)), np.zeros((1, 2)), "fake has 1 rows of features, at least 2 needed"),
        (np.full((3, 2), np.nan), np.zeros((3, 2)), "real holds features that are not finite"),
        (np.zeros((3, 2)), np.full((3, 2), np.inf), "fake holds features that are not finite"),
    ],
)
def test_bad_features_are_named(real: np.ndarray, fake: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(real, fake)
    with pytest.raises(ValueError, match=message):
        kernel_distance(real, fake, subset_size=2)


def test_other_bad_input_is_named() -> None:
    rows = np.zeros((30, 2))
    with pytest.raises(ValueError, match="real has 30 rows of features, at least 1000 needed"):
        kernel_distance(rows, rows)
    with pytest.raises(ValueError, match="subset_size=1, subsets=100 is not valid"):
        kernel_distance(rows, rows, subset_size=1)
    with pytest.raises(ValueError, match="'loss network' does not fit in a key"):
        distance_key("fid", "loss network", 10, 10)
    with pytest.raises(ValueError, match=r"images must be uint8 .* got uint8 \(2, 8, 8, 3\)"):
        inception_features(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="0 images in batches of 64"):
        inception_features(np.zeros((0, 3, 8, 8), np.uint8))
