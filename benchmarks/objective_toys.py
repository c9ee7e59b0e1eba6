"""Toys of known densities, and what is measured on samples of a generator of them."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Standard deviation of every mode: of what is between neighbours 0.1 on grid25, 0.13 on ring8.
SPREAD = 0.2
NEAR = 3 * SPREAD  # a good sample is this near to the centre of a mode
FAIR_SHARE = 0.1  # a mode is covered with this much of its fair share of good samples
N_TRAIN, N_SAMPLES, N_KEPT = 10_000, 10_000, 400
BINS = 40
ANGLES = np.arange(8) * np.pi / 4
MIXTURES: dict[str, Array] = {  # centres [K, 2]
    "ring8": 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1),
    "grid25": np.array(list(itertools.product(range(-4, 5, 2), repeat=2)), dtype=np.float64),
}


def constants(data: str) -> dict[str, Any]:
    """What the rows of a toy are drawn with, and its samples judged by."""
    own = {"spread": SPREAD, "near": NEAR, "fair_share": FAIR_SHARE, "n_samples": N_SAMPLES}
    return {"n_train": N_TRAIN} | (own if data in MIXTURES else {"bins": BINS})


def mixture_rows(name: str, n: int = N_TRAIN) -> Array:
    """Rows [n, 2] of a mixture of equal Gaussians; the same for every seed of a run."""
    rng, centres = np.random.default_rng(0), MIXTURES[name]
    return centres[rng.integers(0, len(centres), n)] + rng.normal(size=(n, 2)) * SPREAD


def modes(samples: Array, centres: Array) -> dict[str, Any]:
    """Modes covered, and the share of samples near any."""
    distances = np.linalg.norm(samples[:, None] - centres, axis=2)
    good = distances.min(axis=1) < NEAR
    counts = np.bincount(distances.argmin(axis=1)[good], minlength=len(centres))
    least = FAIR_SHARE * len(samples) / len(centres)
    return {
        "modes": int((counts >= least).sum()),
        "n_modes": len(centres),
        "good": float(good.mean()),
    }


def line_rows(n: int = N_TRAIN) -> Array:
    """Rows [n, 1] of `line_masses`, by inverting the distribution function."""
    edges = np.linspace(-1, 1, 2001)
    cumulative = np.concatenate([[0.0], np.cumsum(line_masses(edges))])
    drawn = np.interp(np.random.default_rng(0).random(n), cumulative, edges)
    return np.asarray(drawn)[:, None]


def line_masses(edges: Array) -> Array:
    """Mass between neighbouring edges: two raised cosines on [-1, 0] and [0, 1], 1/3 and 2/3.

    It is Lipschitz with compact support, as Assumption 1 of the LS-GAN paper asks.
    """

    def below(x: Array, low: float) -> Array:
        t = np.clip(x - low, 0, 1)
        return np.asarray(t - np.sin(2 * np.pi * t) / (2 * np.pi))

    return np.diff(below(edges, -1.0) / 3 + 2 * below(edges, 0.0) / 3)


def line_distance(samples: Array) -> float:
    """Integral of |p_data - p_G| between histograms on the support; all that lies off it counts."""
    edges = np.linspace(-1, 1, BINS + 1)
    found = np.histogram(samples, edges)[0] / len(samples)
    return float(np.abs(found - line_masses(edges)).sum() + 1 - found.sum())


TOYS: dict[str, Callable[[], Array]] = {
    **{name: lambda name=name: mixture_rows(name) for name in MIXTURES},
    "line": line_rows,
}
