"""Random orders of any length that take no memory: the row at a place is computed."""

from typing import Any

import numpy as np
import numpy.typing as npt

ROUNDS = 6
_STEP = np.uint64(0x9E3779B97F4A7C15)
_ROUND_KEYS = np.arange(1, ROUNDS + 1, dtype=np.uint64) * _STEP

Index = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]


def shuffled_index(position: npt.ArrayLike, n_rows: int, seed: int) -> Index:
    """Rows at places of an endless sequence of random permutations.

    A keyed Feistel network permutes the numbers below the next power of four, and walks on until
    it is below `n_rows` (Black and Rogaway 2002, "Ciphers with arbitrary finite domains", section
    5). The permutation of 10^9 rows takes no more memory than that of 10.

    Parameters
    ----------
    position : array of int
        Places in the sequence; those from ``k * n_rows`` on belong to permutation k.
    n_rows : int
        At least 1.
    seed : int

    Returns
    -------
    array, int64
        Below `n_rows`, of the shape of `position`.

    Examples
    --------
    >>> sorted(shuffled_index(np.arange(7), 7, seed=0).tolist())
    [0, 1, 2, 3, 4, 5, 6]
    """
    if n_rows < 1:
        raise ValueError("rows are wanted of a stream without rows")
    place = np.atleast_1d(np.asarray(position, dtype=np.uint64))
    half = np.uint64(max((int(n_rows - 1).bit_length() + 1) // 2, 1))
    key = _mixed(place // np.uint64(n_rows) + _mixed(np.array([seed], dtype=np.uint64)))
    value = _encrypted(place % np.uint64(n_rows), key, half)
    while (outside := value >= n_rows).any():
        value[outside] = _encrypted(value[outside], key[outside], half)
    return value.astype(np.int64).reshape(np.shape(position))


def _encrypted(value: _Words, key: _Words, half: Any) -> _Words:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = value >> half, value & mask
    for number in range(ROUNDS):
        hashed = _mixed(right + key + _ROUND_KEYS[number])
        left, right = right, left ^ (hashed & mask)
    return np.asarray((left << half) | right)


def _mixed(x: _Words) -> _Words:
    """The finaliser of splitmix64; products are meant to overflow."""
    x = x + _STEP
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
