"""Metrics against plain loops in float64, and against scikit-learn on a real classifier."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

from clsgan.metrics import (
    confusion,
    error_rate,
    expected_calibration_error,
    negative_log_likelihood,
    per_class_error,
)

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def digits() -> Arrays:
    """True classes [N] and probabilities [N, 10] of a real, imperfect classifier."""
    x, y = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=200).fit(x[:150] / 16, y[:150])
    return y[150:], model.predict_proba(x[150:] / 16)


def test_error_rate_is_one_minus_accuracy(digits: Arrays) -> None:
    y, probabilities = digits
    predicted = probabilities.argmax(axis=1)
    assert 0.02 < error_rate(y, predicted) < 0.5
    assert error_rate(y, predicted) == pytest.approx(1 - accuracy_score(y, predicted))


def test_confusion_and_per_class_error_against_a_loop(digits: Arrays) -> None:
    y, probabilities = digits
    predicted = probabilities.argmax(axis=1)
    table = [[0] * 10 for _ in range(10)]
    for true, guess in zip(y, predicted, strict=True):
        table[true][guess] += 1
    assert confusion(y, predicted, 10).tolist() == table
    expected = [1 - table[k][k] / sum(table[k]) for k in range(10)]
    np.testing.assert_allclose(per_class_error(table), expected, atol=1e-12)


def test_per_class_error_of_an_absent_class_is_nan() -> None:
    errors = per_class_error(confusion([0, 0], [0, 2], 3))
    assert errors[0] == 0.5 and np.isnan(errors[1:]).all()


@pytest.mark.parametrize("n_bins", [1, 10, 15])
def test_expected_calibration_error_against_a_loop(digits: Arrays, n_bins: int) -> None:
    y, probabilities = digits
    total = 0.0
    for b in range(n_bins):
        inside = []
        for true, row in zip(y, probabilities, strict=True):
            confidence = float(max(row))
            if b / n_bins < confidence <= (b + 1) / n_bins:
                inside.append((float(np.argmax(row) == true), confidence))
        if inside:
            accuracy = math.fsum(right for right, _ in inside) / len(inside)
            confidence = math.fsum(sure for _, sure in inside) / len(inside)
            total += len(inside) / len(y) * abs(accuracy - confidence)
    assert total > 0.01
    assert expected_calibration_error(y, probabilities, n_bins) == pytest.approx(total, abs=1e-12)


def test_a_sure_and_right_model_is_calibrated() -> None:
    assert expected_calibration_error([0, 1, 2], np.eye(3)) == 0.0


def test_negative_log_likelihood_against_a_loop(digits: Arrays) -> None:
    y, probabilities = digits
    total = -math.fsum(math.log(row[true]) for true, row in zip(y, probabilities, strict=True))
    assert negative_log_likelihood(y, probabilities) == pytest.approx(total / len(y), rel=1e-9)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        error_rate([0, 1, 1], [0, 1])
    with pytest.raises(ValueError, match="no row"):
        error_rate([], [])
    with pytest.raises(ValueError, match=r"y_pred must hold class indices 0\.\.1"):
        confusion([0, 1], [0, 2], 2)
    with pytest.raises(ValueError, match="n_bins must be at least 1, got 0"):
        expected_calibration_error([0], [[1.0, 0.0]], n_bins=0)
    with pytest.raises(ValueError, match=r"\[N, K\]"):
        negative_log_likelihood([0], [1.0])
