"""Known against novel rows of a pool: the risk against a plain loop, and the share it needs."""

import math

import numpy as np
import pytest
import torch

from clsgan.objectives import known_share_of_pool, non_negative_risk


def logistic(score):
    return math.log(1 + math.exp(-score))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_the_risk_is_equation_6_of_kiryo(share):
    draws = torch.Generator().manual_seed(0)
    labeled, pool = (torch.randn(n, generator=draws, dtype=torch.float64) for n in (5, 7))
    positive = np.mean([logistic(s) for s in labeled.tolist()])
    as_novel = np.mean([logistic(-s) for s in labeled.tolist()])
    novel = np.mean([logistic(-s) for s in pool.tolist()])
    expected = share * positive + max(0.0, novel - share * as_novel)
    assert float(non_negative_risk(labeled, pool, share)) == pytest.approx(expected, abs=1e-12)


def test_known_rows_of_the_pool_are_not_pushed_out():
    """Where the pool is as the labeled rows are, and its known share is 1, nothing is novel."""
    labeled = torch.full((8,), 3.0, requires_grad=True)
    pool = torch.full((8,), 3.0, requires_grad=True)
    non_negative_risk(labeled, pool, 1.0).backward()
    assert float((labeled.grad + pool.grad).sum()) < 0, "scores of such rows rise"
    labeled.grad = pool.grad = None
    non_negative_risk(labeled, pool, 0.0).backward()
    assert float(pool.grad.sum()) > 0, "of a pool without a known row they fall"


def mixture(share, n=1000, apart=4.0, seed=0):
    rng = np.random.default_rng(seed)
    known = rng.normal(apart, 1.0, n + round(share * n))
    novel = rng.normal(0.0, 1.0, n - round(share * n))
    return torch.tensor(known[:n]), torch.tensor(np.concatenate([known[n:], novel]))


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_the_share_of_known_rows_is_found(share):
    assert known_share_of_pool(*mixture(share)) == pytest.approx(share, abs=0.1)


def test_scores_that_tell_nothing_leave_every_row_in():
    assert known_share_of_pool(*mixture(0.5, apart=0.0)) > 0.85


def test_the_share_is_between_0_and_1():
    one = torch.ones(1)
    assert known_share_of_pool(one, one) == 1.0
    assert known_share_of_pool(one, 0 * one) == 0.0
    assert known_share_of_pool(0 * one, one) == 1.0
