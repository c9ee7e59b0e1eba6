"""What the tests share: scikit-learn's digits, and a watch on the global random states."""

import random
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits


class DigitsSplit(NamedTuple):
    """Scikit-learn's digits, 8x8 grey, uint8 in 0..16: few labeled, many not, some held out."""

    x_lab: np.ndarray  # [100, 8, 8], ten of each class
    y_lab: np.ndarray  # [100]
    x_unl: np.ndarray  # [1197, 8, 8]
    x_test: np.ndarray  # [500, 8, 8]
    y_test: np.ndarray  # [500]


@pytest.fixture(scope="session")
def digits() -> DigitsSplit:
    """The same split in every test; the arrays are read-only."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    x, y = bunch.images.astype(np.uint8)[order], bunch.target[order]
    x_test, y_test, x, y = x[:500], y[:500], x[500:], y[500:]
    labeled = np.concatenate([np.flatnonzero(y == k)[:10] for k in range(10)])
    arrays = (x[labeled], y[labeled], np.delete(x, labeled, axis=0), x_test, y_test)
    for array in arrays:
        array.setflags(write=False)
    return DigitsSplit(*arrays)


@pytest.fixture
def global_randomness_untouched() -> Iterator[None]:
    """Fail the test that uses this if it moves a global random state of Python, NumPy or torch."""
    before = (random.getstate(), np.random.get_state()[1:3], torch.get_rng_state())
    yield
    assert random.getstate() == before[0], "Python's random state moved"
    keys, position = np.random.get_state()[1:3]
    assert np.array_equal(keys, before[1][0]), "NumPy's random state moved"
    assert position == before[1][1], "NumPy's random state moved"
    assert torch.equal(torch.get_rng_state(), before[2]), "torch's random state moved"
