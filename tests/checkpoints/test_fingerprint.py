"""What tells a run from another: streams by their first rows."""

import numpy as np
import pytest

from clsgan import CLSGANClassifier
from clsgan.checkpoints.fingerprint import describe_run, differences
from clsgan.training_data import read_training_data


def images(seed=0, n=300):
    return np.random.default_rng(seed).integers(0, 256, (n, 4, 4), np.uint8)


class Stream:
    """Begins anew with the same rows, or with others where it is told to change."""

    def __init__(self, rows, changes=False):
        self.rows, self.changes, self.begun = rows, changes, 0

    def __iter__(self):
        self.begun += self.changes
        return iter(np.roll(self.rows, self.begun, axis=0))


def data_with(X_unlab):
    X, params = images(9, n=4), CLSGANClassifier().get_params()
    return read_training_data(X, [0, 1, 0, 1], X_unlab, params, check_rows=None)


def described(X_unlab):
    return describe_run({}, data_with(X_unlab))


def test_another_stream_is_noticed():
    then = described(Stream(images()))
    assert differences(then, described(Stream(images()))) == ""
    assert differences(then, described(Stream(images(1)))).startswith("X_unlab hash was")


def test_a_stream_stays_where_it_is():
    data = data_with(Stream(images()))
    stream, alone = (data.unlabeled.stream(3) for _ in range(2))
    rows = [stream.take(50)]
    describe_run({}, data)
    rows.append(stream.take(50))
    assert np.array_equal(np.concatenate(rows), alone.take(100))


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_that_change_are_not_compared(seed):
    then = described(Stream(images(), changes=True))
    assert differences(then, described(Stream(images(seed), changes=True))) == ""
