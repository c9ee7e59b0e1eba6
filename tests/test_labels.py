"""Labels as users hand them in."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import DataConversionWarning

from clsgan.labels import encode_labels, label_array, marks_unlabeled, read_labels

NAN = float("nan")


def objects(*labels: object) -> np.ndarray:
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


def classes_and_codes(y: object, minus_one: str = "auto") -> tuple[list, list, list]:
    labels, labeled = read_labels(y, minus_one)
    classes, codes = encode_labels(labels, labeled)
    assert codes.dtype == np.int64 and labeled.dtype == bool
    return classes.tolist(), codes.tolist(), labeled.tolist()


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([3, 1, 3], [1, 3]),
        (np.array([3, 1, 3], np.uint8), [1, 3]),
        ([2.0, 0.0, 2.0], [0.0, 2.0]),
        (["b", "a", "b"], ["a", "b"]),
        (objects("b", "a", "b"), ["a", "b"]),
        ([True, False, True], [False, True]),
        (objects(True, False, True), [False, True]),
        (torch.tensor([3, 1, 3]), [1, 3]),
        ((3, 1, 3), [1, 3]),
    ],
)
def test_every_type_of_label(y, classes) -> None:
    assert classes_and_codes(y) == (classes, [1, 0, 1], [True] * 3)


@pytest.mark.parametrize(
    "y",
    [
        [0, -1, 2],
        [0.0, -1.0, 2.0],
        np.array([0, -1, 2], np.int8),
        objects(0, None, 2),
        objects(0, NAN, 2),
        objects(0, np.float32("nan"), 2),
        objects(0, -1, 2),
        [0, None, 2],
        torch.tensor([0, -1, 2]),
    ],
)
def test_marks_of_unlabeled_rows_beside_numbers(y) -> None:
    assert classes_and_codes(y) == ([0, 2], [0, 1], [True, False, True])


@pytest.mark.parametrize("missing", [None, NAN, np.float64("nan"), np.float32("nan")])
@pytest.mark.parametrize("make", [objects, lambda *labels: list(labels)])
def test_marks_of_unlabeled_rows_beside_strings(make, missing) -> None:
    classes, codes, labeled = classes_and_codes(make("cat", missing, "dog", missing))
    assert (classes, codes) == (["cat", "dog"], [0, 1])
    assert labeled == [True, False, True, False]


def test_both_marks_together() -> None:
    assert classes_and_codes(objects(0, -1, None, 1, NAN))[2] == [True, False, False, True, False]


def test_booleans_with_none() -> None:
    assert classes_and_codes(objects(True, None, False))[:2] == ([False, True], [1, 0])


@pytest.mark.parametrize(
    ("y", "minus_one", "classes"),
    [
        ([-1, 1, 1, -1], "auto", [-1, 1]),
        ([-1.0, 1.0], "auto", [-1, 1]),
        (objects(-1, 1, None), "auto", [-1, 1]),
        ([-1, 0, 1], "auto", [0, 1]),
        ([-1, 0, 1], "class", [-1, 0, 1]),
        ([-1, 0, 1], "unlabeled", [0, 1]),
        ([0, 1], "unlabeled", [0, 1]),
    ],
)
def test_what_minus_one_means(y, minus_one, classes) -> None:
    assert classes_and_codes(y, minus_one)[0] == classes


def test_minus_one_beside_one_label_as_unlabeled_leaves_one_class() -> None:
    with pytest.raises(ValueError, match="one class only, 1, in its 2 labeled rows"):
        classes_and_codes([-1, 1, 1, -1], "unlabeled")


def test_the_string_minus_one_is_a_class() -> None:
    assert classes_and_codes(["-1", "a", "b"])[0] == ["-1", "a", "b"]
    assert not marks_unlabeled(np.array([-1, 7, 7]), "auto")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.5, 1.5, 2.0], "continuous"),
        (objects(1, 2.5, None), "continuous"),
        ([0.0, 1.0, NAN], "y contains NaN"),
        ([0.0, 1.0, np.inf], "y contains infinity"),
        (objects(0, 1, np.inf), "y contains infinity"),
        (objects("cat", 1), "mixes labels of different types, such as 'cat' and 1"),
        (["cat", -1, "dog"], "mixes labels of different types, such as 'cat' and -1"),
        (objects((1, 2), (3, 4)), r"y holds \(1, 2\)"),
        ([[0, 1], [1, 0]], "1d array"),
        (3, "1d array"),
        (np.array([1j, 2]), "Complex"),
    ],
)
def test_labels_that_are_not_classes(y, message) -> None:
    with pytest.raises(ValueError, match=message):
        read_labels(y)


def test_minus_one_is_checked() -> None:
    with pytest.raises(ValueError, match=r"minus_one='clas' .*\['auto', 'unlabeled', 'class'\]"):
        read_labels([0, 1], "clas")


@pytest.mark.parametrize("y", [[-1, -1], objects(None, None), objects(NAN, None, -1), [None, None]])
def test_no_labeled_row(y) -> None:
    with pytest.raises(ValueError, match="y has no labeled row"):
        classes_and_codes(y)


@pytest.mark.parametrize("y", [[1, 1, 1], ["a", "a"], objects("a", None), [1, 1, 1, 1]])
def test_one_class_only(y) -> None:
    with pytest.raises(ValueError, match="y has one class only"):
        classes_and_codes(y)


def test_a_column_is_taken_with_a_warning() -> None:
    with pytest.warns(DataConversionWarning, match="column-vector"):
        labels, _ = read_labels([[0], [1]])
    assert labels.tolist() == [0, 1]


def test_what_was_given_is_not_changed() -> None:
    y = objects("a", None, "b")
    read_labels(y)
    assert y.tolist() == ["a", None, "b"]
    y = np.array([0, -1, 1])
    read_labels(y)
    assert y.tolist() == [0, -1, 1]


def test_a_list_of_one_type_becomes_a_plain_array() -> None:
    assert label_array(["a", "b"]).dtype.kind == "U"
    assert label_array([1, 2]).dtype.kind == "i"
    given = np.array(["a"])
    assert label_array(given) is given
