"""Random orders without memory: every row once a permutation, all different."""

import numpy as np
import pytest

from clsgan.pools.permutation import shuffled_index


@pytest.mark.parametrize("n_rows", [1, 2, 3, 5, 16, 17, 1000, 65_537])
def test_every_row_comes_once_a_permutation(n_rows):
    for first in (0, n_rows, 3 * n_rows):
        index = shuffled_index(np.arange(first, first + n_rows), n_rows, seed=4)
        assert np.array_equal(np.sort(index), np.arange(n_rows)) and index.dtype == np.int64


def test_permutations_differ_by_pass_and_by_seed():
    one, two = (shuffled_index(np.arange(k, k + 500), 500, seed=0) for k in (0, 500))
    other = shuffled_index(np.arange(500), 500, seed=1)
    assert not np.array_equal(one, two) and not np.array_equal(one, other)


def test_any_place_can_be_asked_for_alone():
    whole = shuffled_index(np.arange(700), 300, seed=2)
    assert [int(shuffled_index(k, 300, seed=2)) for k in range(0, 700, 50)] == whole[::50].tolist()


def test_neighbours_end_up_anywhere():
    """Rows a place apart are as far from each other as two random rows: a third of all rows."""
    index = shuffled_index(np.arange(20_000), 20_000, seed=0)
    assert abs(np.abs(np.diff(index)).mean() / 20_000 - 1 / 3) < 0.01
    assert abs(np.corrcoef(index[:-1], index[1:])[0, 1]) < 0.02


def test_a_billion_rows_are_no_more_work():
    index = shuffled_index(np.arange(10), 10**9, seed=0)
    assert len(set(index.tolist())) == 10 and index.max() < 10**9


def test_no_rows():
    with pytest.raises(ValueError, match="without rows"):
        shuffled_index(0, 0, seed=0)
