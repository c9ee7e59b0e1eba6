"""Distances between real and generated rows, measured on features [N, F] of any network."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def frechet_distance(real: npt.ArrayLike, fake: npt.ArrayLike) -> float:
    """Fréchet distance between two sets of features, each taken as a normal distribution.

    ``|mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))`` (Heusel et al. 2017, arXiv 1706.08500,
    eq. 6; on Inception features it is the FID). The last trace is the sum of the singular values
    of S_1^(1/2) S_2^(1/2), with symmetric roots, so nothing turns complex or loses half its digits
    where a covariance is singular, as it is with fewer rows than features.

    With few rows the estimate is far too large: compare figures of one count only.

    Parameters
    ----------
    real, fake : array-like [N, F] and [M, F]
        Features, two rows or more of each.

    Returns
    -------
    float
        In squared units of the features, at least 0.

    Raises
    ------
    ValueError
        Features that are not 2-D, differ in width, are not finite, or have fewer than 2 rows.

    Examples
    --------
    >>> from clsgan.metrics import frechet_distance
    >>> frechet_distance([[0.0], [2.0]], [[5.0], [7.0]])  # equal variances, means 5 apart
    25.0
    """
    first, second = _check_features(real, fake, least=2)
    gap = first.mean(axis=0) - second.mean(axis=0)
    root_1, root_2 = _covariance_root(first), _covariance_root(second)
    shared = np.linalg.svd(root_1.T @ root_2, compute_uv=False).sum()
    return max(float(gap @ gap + (root_1**2).sum() + (root_2**2).sum() - 2 * shared), 0.0)


def kernel_distance(
    real: npt.ArrayLike,
    fake: npt.ArrayLike,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    random_state: int | np.random.Generator = 0,
) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel ``(x . y / F + 1)^3``.

    The mean over random subsets of both sets (Binkowski et al. 2018, arXiv 1801.01401, section 4;
    on Inception features it is the KID). Its expectation is the same for any number of rows and
    subset size; it may come out slightly below 0.

    Parameters
    ----------
    real, fake : array-like [N, F] and [M, F]
        Features.
    subsets : int
        How many pairs of subsets are drawn.
    subset_size : int
        Rows of a subset, drawn without replacement.
    random_state : int or numpy Generator

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Features that are not 2-D, differ in width, are not finite, or have fewer rows than
        `subset_size`; `subset_size` < 2 or `subsets` < 1.

    Examples
    --------
    >>> from clsgan.metrics import kernel_distance
    >>> real, fake = [[0.0], [0.0]], [[1.0], [1.0]]
    >>> kernel_distance(real, fake, subset_size=2)  # 1 + 8 - 2 * 1
    7.0
    """
    if subset_size < 2 or subsets < 1:
        raise ValueError(
            f"subset_size={subset_size}, subsets={subsets} is not valid; at least 2 and 1"
        )
    first, second = _check_features(real, fake, least=subset_size)
    rng = np.random.default_rng(random_state)
    values = [
        _squared_discrepancy(
            first[rng.choice(len(first), subset_size, replace=False)],
            second[rng.choice(len(second), subset_size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return float(np.mean(values))


def feature_distances(
    real: npt.ArrayLike,
    fake: npt.ArrayLike,
    extractor: str,
    random_state: int | np.random.Generator = 0,
) -> dict[str, float]:
    """Both distances, under keys that say what they were measured on.

    Parameters
    ----------
    real, fake : array-like [N, F] and [M, F]
        Features.
    extractor : str
        What made the features: letters, digits and ``_``.
    random_state : int or numpy Generator
        Draws the subsets of the kernel distance, of 1000 rows or as many as there are.

    Returns
    -------
    dict of float
        `frechet_distance` under ``fid_...`` and `kernel_distance` under ``kid_...``.

    Raises
    ------
    ValueError
        As the two distances and `distance_key`.

    Examples
    --------
    >>> from clsgan.metrics import feature_distances
    >>> rows = np.random.default_rng(0).normal(size=(1000, 3))
    >>> list(feature_distances(rows, rows[:50], "loss_network"))
    ['fid_loss_network_1k_50', 'kid_loss_network_1k_50']
    """
    first, second = _check_features(real, fake, least=2)
    counts = len(first), len(second)
    kid = kernel_distance(first, second, subset_size=min(1000, *counts), random_state=random_state)
    return {
        distance_key("fid", extractor, *counts): frechet_distance(first, second),
        distance_key("kid", extractor, *counts): kid,
    }


def distance_key(distance: str, extractor: str, n_real: int, n_fake: int) -> str:
    """Key of a distance in a report: the distance, the extractor and how many rows.

    Parameters
    ----------
    distance, extractor : str
        Letters, digits and ``_``.
    n_real, n_fake : int
        Rows of each kind; said once where equal. Full thousands are written with a k.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        A name that does not fit in a key.

    Examples
    --------
    >>> from clsgan.metrics import distance_key
    >>> distance_key("fid", "loss_network", 10_000, 10_000)
    'fid_loss_network_10k'
    """
    for name in (distance, extractor):
        if not re.fullmatch(r"\w+", name):
            raise ValueError(f"{name!r} does not fit in a key; use letters, digits and _")
    counts = [n_real] if n_real == n_fake else [n_real, n_fake]
    sizes = [f"{n // 1000}k" if n and n % 1000 == 0 else str(n) for n in counts]
    return "_".join([distance, extractor, *sizes])


def inception_features(
    images: npt.ArrayLike, *, batch_size: int = 64, device: str = "cpu"
) -> Array:
    """Features of the Inception network that published FID and KID figures use.

    torch-fidelity computes them (``FeatureExtractorInceptionV3``, layer 2048). It comes with the
    extra ``[metrics]`` of this package, and downloads the weights once into torch's hub folder.

    Parameters
    ----------
    images : array-like of uint8 [N, C, H, W]
        C is 3, or 1 for grey images, which are repeated to three channels.
    batch_size : int
    device : str

    Returns
    -------
    ndarray of float64 [N, 2048]

    Raises
    ------
    ImportError
        The extra is not installed.
    ValueError
        Images of another type or shape.

    Examples
    --------
    >>> from clsgan.metrics import inception_features
    >>> inception_features(np.zeros((8, 3, 32, 32), np.uint8)).shape  # doctest: +SKIP
    (8, 2048)
    >>> inception_features(np.zeros((8, 3, 32, 32)))
    Traceback (most recent call last):
    ValueError: images must be uint8 [N, 3 or 1, H, W], got float64 (8, 3, 32, 32)
    """
    pixels = np.asarray(images)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
        raise ValueError(
            f"images must be uint8 [N, 3 or 1, H, W], got {pixels.dtype} {pixels.shape}"
        )
    if len(pixels) == 0 or batch_size < 1:
        raise ValueError(f"{len(pixels)} images in batches of {batch_size}: give at least 1 of 1")
    import torch  # here and in the next line: what else is here needs arrays only

    extractor = _inception().to(device)
    colour = np.broadcast_to(pixels, (len(pixels), 3, *pixels.shape[2:]))
    parts = []
    with torch.inference_mode():
        for start in range(0, len(colour), batch_size):
            batch = torch.from_numpy(colour[start : start + batch_size].copy())
            (features,) = extractor(batch.to(device))
            parts.append(features.cpu().numpy())
    return np.concatenate(parts).astype(np.float64)


def _inception() -> Any:
    """The extractor behind the [metrics] extra, with its weights."""
    try:
        from torch_fidelity import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ImportError(
            "Inception features need torch-fidelity, of clsgan's extra [metrics], "
            "which is not installed: pip install 'torch-fidelity>=0.4'"
        ) from error
    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], verbose=False)


def _covariance_root(features: Array) -> Array:
    """A with A A^T = S, the covariance of the features: the symmetric root of S, rotated."""
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(features, rowvar=False)))
    return np.asarray(vectors * np.sqrt(values.clip(min=0.0)))


def _squared_discrepancy(first: Array, second: Array) -> float:
    """Unbiased estimate from two sets of as many rows (Gretton et al. 2012, Lemma 6)."""
    n, width = first.shape

    def kernel(x: Array, y: Array) -> Array:
        return np.asarray((x @ y.T / width + 1.0) ** 3)

    within = kernel(first, first) + kernel(second, second)
    np.fill_diagonal(within, 0.0)
    return float(within.sum() / (n * (n - 1)) - 2.0 * kernel(first, second).mean())


def _check_features(real: npt.ArrayLike, fake: npt.ArrayLike, least: int) -> tuple[Array, Array]:
    first, second = np.asarray(real, dtype=np.float64), np.asarray(fake, dtype=np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or not first.size:
        raise ValueError(
            f"features must be [N, F] and [M, F] of one width, got {first.shape} and {second.shape}"
        )
    for name, features in (("real", first), ("fake", second)):
        if len(features) < least:
            raise ValueError(
                f"{name} has {len(features)} rows of features, at least {least} needed"
            )
        if not np.isfinite(features).all():
            raise ValueError(f"{name} holds features that are not finite")
    return first, second
