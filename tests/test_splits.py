"""Label splits: balance, seeds, nesting, and the hashes that pin them."""

import json
from pathlib import Path

import numpy as np
import pytest

from clsgan.splits import split_hash, split_labels, split_name

PINNED = json.loads((Path(__file__).parents[1] / "data/splits.json").read_text())


def test_draws_equally_many_of_each_class_sorted_and_once():
    y = np.random.default_rng(0).integers(0, 7, 900)
    rows = split_labels(y, 70, seed=3)
    assert rows.dtype == np.int64
    assert np.array_equal(np.bincount(y[rows]), np.full(7, 10))
    assert np.all(np.diff(rows) > 0)


def test_the_seed_decides_and_the_global_state_stays(global_randomness_untouched):
    y = np.arange(500) % 5
    assert np.array_equal(split_labels(y, 50, seed=1), split_labels(y, 50, seed=1))
    assert not np.array_equal(split_labels(y, 50, seed=1), split_labels(y, 50, seed=2))


def test_the_remainder_goes_to_classes_drawn_by_the_seed():
    y = np.arange(500) % 5
    counts = [np.bincount(y[split_labels(y, 23, seed=seed)]) for seed in range(20)]
    assert all(sorted(c) == [4, 4, 5, 5, 5] for c in counts)
    assert len({tuple(c) for c in counts}) > 3


def test_splits_of_one_seed_are_nested():
    y = np.random.default_rng(1).integers(0, 4, 400)
    previous: set[int] = set()
    for n_labels in (4, 6, 13, 40, 99, 200):
        rows = set(split_labels(y, n_labels, seed=0).tolist())
        assert previous < rows
        previous = rows


def test_every_row_of_a_class_is_equally_likely():
    y = np.arange(40) % 2
    drawn = np.concatenate([split_labels(y, 20, seed=seed) for seed in range(2000)])
    share = np.bincount(drawn, minlength=40) / 2000  # 10 of 20 a class: expected 0.5, sd 0.011
    assert np.abs(share - 0.5).max() < 0.05


def test_unlabeled_rows_are_never_drawn_and_any_integers_are_classes():
    y = np.array([-1, 7, 3, -1, 7, 3, 7, -1] * 4, dtype=np.int8)
    rows = split_labels(y, 8, seed=0)
    assert set(y[rows].tolist()) == {3, 7}
    assert np.array_equal(split_labels(y, 20, seed=0), np.flatnonzero(y != -1))  # all, unbalanced


@pytest.mark.parametrize(
    ("y", "n_labels", "message"),
    [
        (np.arange(100) % 10, 9, "n_labels=9 leaves a class without a label: there are 10"),
        (np.arange(100) % 10, 101, "n_labels=101 is more than the 100 labeled rows"),
        (np.array([0] * 50 + [1] * 3), 10, r"5 rows of class 1, which has 3; .* at most 6"),
        (np.full(5, -1), 5, "no labeled row"),
        (np.zeros((3, 1), int), 1, r"one row of integers, got int64 of shape \(3, 1\)"),
        (np.zeros(3), 1, "one row of integers, got float64"),
    ],
)
def test_impossible_splits_say_why(y, n_labels, message):
    with pytest.raises(ValueError, match=message):
        split_labels(y, n_labels, seed=0)


def test_name_and_hash():
    assert split_name("digits", 0, 100) == "digits.seed0@100"
    assert split_hash(np.array([5, 1, 3], dtype=np.uint8)) == split_hash([1, 3, 5])
    assert split_hash([1, 3, 5]) != split_hash([1, 3, 6])
    with pytest.raises(ValueError, match="twice"):
        split_hash([1, 1])
    with pytest.raises(ValueError, match="indices must be one row of integers"):
        split_hash([0.5])


@pytest.mark.parametrize(
    ("seed", "expected"),
    [(0, "42e714538bc38b5f"), (1, "7678c5c9db618bf1"), (2, "b70bd21efdd4b50c")],
)
def test_pinned_on_labels_of_the_size_of_cifar10_40k(seed, expected):
    assert split_hash(split_labels(np.arange(40_000) % 10, 4000, seed)) == expected


def test_every_pinned_hash_looks_like_one():
    assert len(PINNED) >= 6
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in PINNED.values())
