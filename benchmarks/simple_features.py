"""Features that need no label: whitened patches by k-means, pooled; and pixels. Both by PCA.

Patches after Coates, Ng and Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature
Learning" (2011), with the threshold of Coates and Ng, "The Importance of Encoding Versus Training
with Sparse Coding and Vector Quantization" (2011) in place of the triangle: as good, and cheaper.
The numbers were chosen on 800 rows held out of 4,000 labeled ones of CIFAR-10.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from torch import Tensor

FILTERS, THRESHOLD, POOLS = 400, 0.5, 3
PATCH_IMAGES, PATCHES_PER_IMAGE = 1_000, 30
SAMPLE = 5_000  # images that the principal components are taken from
DIMENSIONS, CHUNK = 256, 250

Features = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def pixel_features(pool: NDArray[np.uint8], seed: int) -> Features:
    """Principal components of the pixels of `pool` [N, H, W] or [N, H, W, C], by the largest."""
    return reduced(lambda images: to_nchw(images).flatten(1), sampled(pool, seed), seed, False)


def patch_features(pool: NDArray[np.uint8], seed: int) -> Features:
    """Principal components of pooled responses to filters that are learned on patches of `pool`."""
    sample = sampled(pool, seed)
    side = min(6, min(sample.shape[1:3]) // 4 + 1)
    stride = 1 if min(sample.shape[1:3]) < 16 else 2
    shown = patches(to_nchw(sample[:: max(len(sample) // PATCH_IMAGES, 1)]), side, 1)
    rng = np.random.default_rng(seed)
    taken = torch.from_numpy(rng.integers(0, shown.shape[1], (len(shown), PATCHES_PER_IMAGE)))
    rows = shown.gather(1, taken[..., None].expand(-1, -1, shown.shape[2])).flatten(0, 1)
    mean, (values, vectors) = rows.mean(0), torch.linalg.eigh(torch.cov(rows.T))
    whitening = (vectors * (values + 0.1).rsqrt()) @ vectors.T
    white = ((rows - mean) @ whitening).numpy()
    means = MiniBatchKMeans(min(FILTERS, len(white)), batch_size=4096, max_iter=10, n_init=1)
    centres = torch.from_numpy(means.set_params(random_state=seed).fit(white).cluster_centers_)
    filters = whitening @ F.normalize(centres.float(), dim=1).T
    offset = mean @ filters + THRESHOLD

    def encode(images: NDArray[np.uint8]) -> Tensor:
        x = to_nchw(images)
        height = (x.shape[2] - side) // stride + 1
        response = F.relu(patches(x, side, stride) @ filters - offset).transpose(1, 2)
        return F.adaptive_avg_pool2d(response.unflatten(2, (height, -1)), POOLS).flatten(1)

    return reduced(encode, sample, seed, True)


def reduced(
    encode: Callable[[NDArray[np.uint8]], Tensor],
    sample: NDArray[np.uint8],
    seed: int,
    standardize: bool,
) -> Features:
    """Principal components of an encoding, so scaled that the largest has variance 1."""

    def encoded(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        chunks = range(0, len(images), CHUNK)
        return np.concatenate([encode(images[i : i + CHUNK]).numpy() for i in chunks])

    first = encoded(sample)
    scale: Any = np.sqrt(first.var(0) + 1e-3) if standardize else 1.0
    n = min(DIMENSIONS, *first.shape)
    pca = PCA(n, svd_solver="randomized", random_state=seed).fit(first / scale)
    scale, unit = np.float32(scale), np.float32(np.sqrt(pca.explained_variance_[0]))

    def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        chunks = range(0, len(images), 20 * CHUNK)
        parts = [pca.transform(encoded(images[i : i + 20 * CHUNK]) / scale) for i in chunks]
        return np.concatenate(parts).astype(np.float32) / unit

    return features


def patches(x: Tensor, side: int, stride: int) -> Tensor:
    """Patches [B, L, C * side * side] of images in [0, 1], brightness and contrast taken out."""
    found = F.unfold(x, side, stride=stride).transpose(1, 2)
    found = found - found.mean(-1, keepdim=True)
    return found / (found.var(-1, unbiased=False, keepdim=True) + 10 / 255**2).sqrt()


def to_nchw(images: NDArray[np.uint8]) -> Tensor:
    x = torch.from_numpy(images).float() / 255
    return x[:, None] if x.dim() == 3 else x.permute(0, 3, 1, 2)


def sampled(pool: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    rows = np.random.default_rng(seed).permutation(len(pool))[:SAMPLE]
    return np.ascontiguousarray(pool[rows])
