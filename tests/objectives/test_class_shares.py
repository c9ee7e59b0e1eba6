"""Class shares of a pool by expectation maximisation."""

import numpy as np
import pytest
import torch

from clsgan.objectives import balanced_shares, shifted_shares


def test_a_step_is_that_of_saerens():
    draws = torch.Generator().manual_seed(0)
    p = torch.rand(6, 3, generator=draws, dtype=torch.float64)
    p = p / p.sum(dim=1, keepdim=True)
    trained, believed = [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]
    expected = np.zeros(3)
    for row in p.tolist():
        joint = [a * b / t for a, b, t in zip(row, believed, trained, strict=True)]
        expected += np.array(joint) / sum(joint) / len(p)
    made = shifted_shares(p, *(torch.tensor(s, dtype=torch.float64) for s in (trained, believed)))
    assert np.allclose(made.numpy(), expected, atol=1e-12)


def test_shares_of_a_shifted_pool_are_found():
    """Scores of two normal classes under equal shares; the pool has 9 of one to 1 of the other."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-1, 1, 9_000), rng.normal(1, 1, 1_000)])
    p = torch.tensor(1 / (1 + np.exp(-2 * x)))  # of the second class, under equal shares
    p, half = torch.stack([1 - p, p], dim=1), torch.tensor([0.5, 0.5], dtype=torch.float64)
    shares = half
    for _ in range(100):
        shares = shifted_shares(p, half, shares)
    assert shares.tolist() == pytest.approx([0.9, 0.1], abs=0.02)
    assert float(p[:, 1].mean()) > 0.2, "the mean prediction is not the share"


def test_a_class_that_no_label_has_stays_finite():
    shares = shifted_shares(torch.eye(2), torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5]))
    assert torch.isfinite(shares).all() and float(shares.sum()) == pytest.approx(1)


def test_weighed_shares():
    shares = torch.tensor([0.1, 0.9])
    assert balanced_shares(shares, None) is not None
    assert torch.equal(balanced_shares(shares, None), shares)
    assert torch.allclose(balanced_shares(shares, 1 / shares), torch.tensor([0.5, 0.5]))
