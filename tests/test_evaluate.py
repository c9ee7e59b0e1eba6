"""Reports on a real fitted classifier agree with scikit-learn's own numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, log_loss

from clsgan.evaluate import class_indices, evaluate, report

NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
Fitted = tuple[LogisticRegression, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    x, y = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=200).fit(x[:150] / 16, NAMES[y[:150]])
    return model, x[150:] / 16, NAMES[y[150:]]


def test_numbers_agree_with_scikit_learn(fitted: Fitted) -> None:
    model, x, y = fitted
    numbers = evaluate(model, x, y)
    assert numbers["n"] == len(y) == 1647
    assert numbers["error"] == pytest.approx(1 - model.score(x, y))
    table = confusion_matrix(y, model.predict(x), labels=model.classes_)
    assert numbers["confusion"] == table.tolist()
    expected = log_loss(y, model.predict_proba(x), labels=model.classes_)
    assert numbers["negative_log_likelihood"] == pytest.approx(expected)
    by_hand = float(np.mean(model.predict(x[y == "eight"]) != "eight"))
    assert numbers["per_class_error"]["eight"] == pytest.approx(by_hand)
    assert list(numbers["per_class_error"]) == list(model.classes_)


def test_the_report_is_plain_json(fitted: Fitted) -> None:
    model, x, y = fitted
    numbers = evaluate(model, x[:20], y[:20])
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_a_class_without_test_rows_has_no_error(fitted: Fitted) -> None:
    model, x, y = fitted
    keep = y != "eight"
    errors = evaluate(model, x[keep], y[keep])["per_class_error"]
    assert errors["eight"] is None and errors["nine"] is not None


def test_a_class_the_model_does_not_know_is_named(fitted: Fitted) -> None:
    model, x, _ = fitted
    with pytest.raises(ValueError, match="does not know: ten; it knows eight, five"):
        evaluate(model, x[:2], ["ten", "one"])


def test_lengths_that_differ_are_named() -> None:
    with pytest.raises(ValueError, match=r"must be \[3, 2\].*got \[2, 2\]"):
        report([0, 1], [0, 1, 1], np.eye(2))
    with pytest.raises(ValueError, match="at least one row"):
        class_indices([0, 1], [])
