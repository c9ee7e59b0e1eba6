"""Class shares of a pool by expectation maximisation."""

import numpy as np
import pytest
import torch

from clsgan.objectives import shifted_shares, without_weights


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


def test_weights_are_taken_out_of_scores_one_by_one():
    draws = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 3, generator=draws, dtype=torch.float64)
    weight = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    made = without_weights(scores, weight)
    for i in range(4):
        for k in range(3):
            expected = float(scores[i, k]) - np.log(float(weight[k]))
            assert float(made[i, k]) == pytest.approx(expected)
    assert without_weights(scores, None) is scores
    assert torch.isfinite(without_weights(scores, torch.tensor([0.0, 1.0, 2.0]))).all()


def test_at_its_least_the_adjusted_loss_gives_what_weighed_rows_give():
    """One row of two classes, of which 9 in 10 labels are the first; the second weighs nine."""
    shares, weight = torch.tensor([0.9, 0.1]), torch.tensor([1.0, 9.0])
    found = []
    for adjusted in (True, False):
        scores = torch.zeros(1, 2, requires_grad=True)
        optimizer = torch.optim.LBFGS([scores], max_iter=100)

        def loss(scores=scores, adjusted=adjusted, optimizer=optimizer):
            optimizer.zero_grad()
            given = without_weights(scores, weight) if adjusted else scores
            rows = shares if adjusted else shares * weight
            value = -(rows * given.log_softmax(dim=1)).sum()
            value.backward()
            return value

        optimizer.step(loss)
        found.append(scores.detach().softmax(dim=1))
    assert torch.allclose(found[0], found[1], atol=1e-3)
    assert torch.allclose(found[0], torch.tensor([[0.5, 0.5]]), atol=1e-3)
