"""From what `fit` is given to the arrays of the streams."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch.utils.data import TensorDataset

from clsgan.inputs import InputSpec
from clsgan.sources import Unlabeled
from clsgan.streams import RowStore
from clsgan.training_data import (
    TrainingData,
    Units,
    check_predictable,
    read_like,
    read_training_data,
)

DEFAULTS = {"image_size": "auto", "layout": "auto", "minus_one": "auto", "value_range": "auto"}


class Rows(BaseEstimator):
    """scikit-learn's own check of rows, as an estimator makes it."""

    def check(self, X: Any, reset: bool, name: str) -> np.ndarray:
        return validate_data(self, X, reset=reset, dtype=[np.float64, np.float32])


def read(X: Any, y: Any = None, X_unlab: Any = None, **params: Any) -> TrainingData:
    return read_training_data(X, y, X_unlab, DEFAULTS | params, Rows().check)


def pictures(n: int, shape: tuple[int, ...] = (6, 6), seed: int = 0) -> np.ndarray:
    images = np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)
    images[0].flat[0] = 255
    return images


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images in each of two class folders, 16x16 RGB."""
    for k, image in enumerate(pictures(4, (16, 16, 3))):
        path = tmp_path / "photos" / ("cat", "dog")[k // 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "photos"


# ---- rows of both kinds are put where they belong


def test_unlabeled_rows_of_y_and_of_x_unlab_come_together() -> None:
    X, more = pictures(5), pictures(3, seed=1)
    data = read(X, [2, -1, 7, 2, -1], more)
    assert np.array_equal(data.labeled[:, 0], X[[0, 2, 3]])
    assert np.array_equal(data.unlabeled[:, 0], np.concatenate([X[[1, 4]], more]))
    assert data.codes.tolist() == [0, 1, 0] and data.classes.tolist() == [2, 7]
    assert data.spec == InputSpec((1, 6, 6), "NHW", "uint8", 0.0, 255.0)
    assert data.labeled.dtype == data.unlabeled.dtype == np.uint8


def test_strings_with_none_and_a_second_source() -> None:
    y = np.array(["b", None, "a", "b"], dtype=object)
    data = read(pictures(4), y, Unlabeled(list(torch.from_numpy(pictures(2, seed=1)))))
    assert data.classes.tolist() == ["a", "b"] and data.codes.tolist() == [1, 0, 1]
    assert len(data.unlabeled) == 3


@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW"])
def test_every_layout_gives_the_same_data(layout: str) -> None:
    images = pictures(4, (1, 6, 7) if layout == "NHW" else (3, 6, 7))
    given = {"NHW": images[:, 0], "NHWC": images.transpose(0, 2, 3, 1), "NCHW": images}[layout]
    data = read(given, [0, 1, 0, -1], given)
    assert data.spec.layout == layout and data.spec.shape == images.shape[1:]
    assert np.array_equal(data.labeled, images[:3])
    assert np.array_equal(data.unlabeled, images[[3, 0, 1, 2, 3]])


def test_a_layout_that_is_given_also_holds_for_x_unlab() -> None:
    X = pictures(3, (3, 8, 3))
    for layout, shape in (("NCHW", (3, 8, 3)), ("NHWC", (3, 3, 8))):
        data = read(X, [0, 1, 1], X, layout=layout)
        assert data.spec.shape == shape and np.array_equal(data.labeled, data.unlabeled)
    with pytest.raises(ValueError, match="layout='NHWC' or layout='NCHW'"):
        read(X, [0, 1, 1])


def test_labels_of_the_source_are_taken_and_given_ones_go_first() -> None:
    X = torch.rand(4, 1, 6, 6)
    pairs = TensorDataset(X, torch.tensor([5, 5, 3, -1]))
    assert read(pairs).classes.tolist() == [3, 5] and len(read(pairs).unlabeled) == 1
    assert read(pairs, [0, 1, 2, 0]).classes.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="y to be passed, but the target y is None"):
        read(X)
    with pytest.raises(ValueError, match="target y is None"):
        read(TensorDataset(X))


def test_rows_keep_their_columns_and_type() -> None:
    X = np.random.default_rng(0).normal(size=(6, 3))
    data = read(X.tolist(), [0, 1, 0, 1, -1, -1], X[:2])
    assert data.spec == InputSpec((3,), "ND", "float64") and not data.spec.is_image
    assert np.array_equal(data.unlabeled, X[[4, 5, 0, 1]])
    assert read(X.astype(np.float32), [0, 1] * 3).spec.dtype == "float32"
    assert read(torch.from_numpy(X), [0, 1] * 3).spec.dtype == "float64"


# ---- files


def test_a_folder_carries_classes(photos: Path) -> None:
    data = read(photos, X_unlab=photos / "cat")
    assert data.classes.tolist() == ["cat", "dog"]
    assert data.spec == InputSpec((3, 16, 16), "NHWC", "uint8", 0.0, 255.0)
    assert np.array_equal(data.labeled[:2], data.unlabeled)


def test_the_layout_of_arrays_is_not_put_on_files(photos: Path) -> None:
    assert read(photos, layout="NCHW", image_size=8).spec == read(photos, image_size=8).spec
    assert read(photos, image_size=(3, 3)).spec.shape == (3, 3, 3)


def test_dark_files_keep_the_scale_of_files(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.png" for k in range(2)]
    for path in paths:
        Image.new("L", (8, 8), 30).save(path)
    spec = read(paths, [0, 1]).spec
    assert (spec.low, spec.high) == (0.0, 255.0)


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", 0, 16), ("float32", -1, 1)])
def test_files_are_brought_to_the_scale_of_training_arrays(photos, dtype, low, high) -> None:
    X = np.zeros((2, 16, 16, 3))
    X[0], X[1] = low, high
    spec = read(X.astype(dtype), [0, 1]).spec
    images = read_like([photos / "cat" / "0.png"], spec, "X", Rows().check)[0]
    pixels = pictures(4, (16, 16, 3))[:1].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(images, low + (high - low) * (pixels / 255), atol=1e-5)


def test_later_calls_take_flat_folders_and_folders_with_classes_alike(photos: Path) -> None:
    spec = read(photos).spec
    whole = read_like(photos, spec, "X", Rows().check)[0]
    assert np.array_equal(whole, read(photos).labeled)
    assert np.array_equal(read_like(photos / "dog", spec, "X", Rows().check)[0], whole[2:])


def test_files_of_another_size_or_colour_follow_the_training_images(tmp_path: Path) -> None:
    Image.new("L", (40, 30), 255).save(tmp_path / "a.png")
    spec = InputSpec((3, 8, 8), "NHWC", "uint8", 0.0, 255.0)
    images = read_like(tmp_path, spec, "X", Rows().check)[0]
    assert images.shape == (1, 3, 8, 8) and (images == 255).all()


# ---- later rows follow the training rows


def test_an_ambiguous_batch_is_read_like_the_training_images() -> None:
    X = pictures(2, (5, 5, 5))
    for layout in ("NHWC", "NCHW"):
        spec = read(X, [0, 1], layout=layout).spec
        given = read_like(X, spec, "X", Rows().check)[0]
        assert np.array_equal(given, read(X, [0, 1], layout=layout).labeled)


def test_grey_images_with_and_without_an_axis_of_channels() -> None:
    X = pictures(2)
    spec = read(X, [0, 1]).spec
    for other in (X[..., None], X[:, None]):
        assert np.array_equal(read_like(other, spec, "X", Rows().check)[0][:, 0], X)
    spec = read(X[..., None], [0, 1]).spec
    assert np.array_equal(read_like(X, spec, "X", Rows().check)[0][:, 0], X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((2, 7, 6), np.uint8), "X holds images of 1x7x6 .* but X of 1x6x6"),
        (np.zeros((2, 6, 6, 3), np.uint8), "X holds images of 3x6x6"),
        (np.zeros((6, 6), np.uint8), r"X has shape \(6, 6\), but .* pass a batch"),
        (np.zeros((0, 6, 6), np.uint8), "X is empty"),
        (np.full((1, 6, 6), np.nan), "X contains NaN"),
    ],
)
def test_images_that_do_not_follow_the_training_images(X, message) -> None:
    spec = InputSpec((1, 6, 6), "NHW", "uint8", 0.0, 255.0)
    with pytest.raises(ValueError, match=message):
        read_like(X, spec, "X", Rows().check)[0]


def test_images_after_rows() -> None:
    with pytest.raises(ValueError, match=r"X holds images, but the training X held rows"):
        read_like(np.zeros((2, 3, 3)), InputSpec((9,), "ND", "float64"), "X", Rows().check)[0]


@pytest.mark.parametrize(
    ("high", "X", "fits"),
    [
        (255.0, np.full((1, 1, 2, 2), 0.5, np.float32), False),
        (1.0, np.full((1, 1, 2, 2), 255, np.uint8), False),
        (255.0, np.zeros((1, 1, 2, 2), np.float32), True),  # black, on either scale
        (255.0, np.ones((1, 1, 2, 2), np.uint8), True),
        (1.0, np.full((1, 1, 2, 2), 1.2, np.float32), True),
        (255.0, np.full((1, 1, 2, 2), 0.5, np.float32) + 100, True),
    ],
)
def test_images_to_predict_on_another_scale(high, X, fits) -> None:
    spec = InputSpec((1, 2, 2), "NHW", "float32", 0.0, high)
    if fits:
        check_predictable(X, spec)
        return
    with pytest.raises(ValueError, match=r"X has values in .* put both on the same scale"):
        check_predictable(X, spec)


# ---- bad input


@pytest.mark.parametrize(
    ("X", "y", "X_unlab", "message"),
    [
        (pictures(3), [0, 1], None, "X has 3 rows, but y has 2 labels"),
        (pictures(3), [1, 1, 1], None, "one class only"),
        (pictures(3), [-1, -1, -1], None, "no labeled row"),
        (pictures(3), [0, 1, 1], pictures(3, (7, 6)), "X_unlab holds images of 1x7x6 .*1x6x6"),
        (pictures(3), [0, 1, 1], pictures(3) / 255, r"X_unlab has values in 0\S*\.\.1, but .*0..2"),
        (pictures(3) / 255, [0, 1, 1], pictures(3), r"X_unlab has values in 0..255, but .* 0..1"),
        (pictures(3), [0, 1, 1], pictures(0 + 1)[:0], "X_unlab is empty"),
        (pictures(3), [0, 1, 1], np.full((2, 6, 6), np.inf), "X_unlab contains NaN or inf"),
        (pictures(3), [0, 1, 1], np.zeros((4, 36)), r"X_unlab has shape \(4, 36\), but .* images"),
        (pictures(1)[:0], [], None, "X is empty"),
        (np.zeros((0, 3)), [], None, "0 sample"),
        ([[1.0, np.nan], [0.0, 1.0]], [0, 1], None, "X contains NaN"),
        ([[1.0, 2.0], [0.0, 1.0]], [0, 1], np.zeros((2, 2, 2)), "X_unlab holds images, but"),
        ([[1.0, 2.0], [0.0, 1.0]], [0, 1], np.zeros((2, 3)), "X_unlab: X has 3 features"),
        ([[1.0, 2.0], [0.0, 1.0]], [0, 1], [[np.inf, 1.0]], "X_unlab: Input X contains inf"),
        ([[1.0, 2.0], [0.0, 1.0]], [0, 1], np.zeros((0, 2)), "X_unlab: Found array with 0 sample"),
    ],
)
def test_what_does_not_fit_is_named(X, y, X_unlab, message) -> None:
    with pytest.raises(ValueError, match=message):
        read(X, y, X_unlab)


def test_rows_on_another_scale() -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    with pytest.raises(ValueError, match=r"columns of X_unlab are .* times as large"):
        read(X, [0, 1] * 20, 100 * X)


@pytest.mark.parametrize(
    "value_range",
    [(1, 0), (0, 0), (0, 1, 2), 5, "high", ("0", "1"), (0, np.inf), (np.nan, 1), None],
)
def test_value_ranges_that_are_none(value_range) -> None:
    with pytest.raises(ValueError, match=r"value_range=.*is not valid"):
        read(pictures(2), [0, 1], value_range=value_range)


def test_a_value_range_that_is_given_settles_the_scale() -> None:
    data = read(pictures(2), [0, 1], pictures(2) / 255, value_range=(0, 1000))
    assert (data.spec.low, data.spec.high) == (0.0, 1000.0)
    assert data.units.standardise(np.array([0, 500, 1000])).tolist() == [-1, 0, 1]


# ---- units


@settings(deadline=None, derandomize=True, database=None)
@given(st.floats(-1e3, 1e3), st.floats(1e-2, 1e3), st.sampled_from(["float32", "float64"]))
def test_restoring_undoes_standardising(low: float, span: float, dtype: str) -> None:
    X = np.linspace(low, low + span, 11)
    half = span / 2
    units = Units(np.array(low + half), np.array(half))
    x = units.standardise(X)
    rounding = 1e-6 * (abs(low) + span)  # images are float32
    assert x.dtype == np.float32 and np.abs(x).max() <= 1 + rounding / half
    spec = InputSpec((1, 1, 11), "NHW", dtype, low, low + span)
    restored = units.restore(x, spec)
    assert restored.dtype == dtype
    np.testing.assert_allclose(restored, X, atol=rounding)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int64", "bool"])
def test_every_whole_value_comes_back(dtype: str) -> None:
    top = {"uint8": 255, "int8": 127, "bool": 1}.get(dtype, 1000)
    X = np.arange(top + 1).astype(dtype).reshape(-1, 1, 1)
    data = read(X, np.arange(len(X)) % 2)
    restored = data.units.restore(data.units.standardise(data.labeled), data.spec)
    assert restored.dtype == dtype and np.array_equal(restored[:, 0], X)


@pytest.mark.parametrize(
    ("X", "params", "expected"),
    [
        (pictures(2), {}, [0, 0, 255, 255]),
        (pictures(2), {"value_range": (-100, 1000)}, [0, 0, 255, 255]),
        (pictures(2) // 16, {}, [0, 0, 15, 15]),
        (pictures(2) / 255, {}, [0, 0, 1, 1]),
        (pictures(2) / 127.5 - 1, {}, [-1, -1, 1, 1]),
    ],
)
def test_samples_never_leave_the_range_or_wrap_around(X, params, expected) -> None:
    data = read(X, [0, 1], **params)
    restored = data.units.restore(np.array([-3, -1, 1, 3], np.float32), data.spec)
    assert restored.dtype == X.dtype and restored.tolist() == expected


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_prediction_sees_exactly_what_training_saw(dtype: str) -> None:
    data = read(pictures(20, (3, 6, 6)).astype(dtype), np.arange(20) % 2)
    offset, scale = (torch.tensor(float(value)) for value in (data.units.offset, data.units.scale))
    store = RowStore(torch.from_numpy(data.labeled), offset, scale, torch.device("cpu"))
    trained_on = store.gather(torch.arange(20)).numpy()
    assert np.array_equal(trained_on, data.units.standardise(data.labeled))


def test_columns_are_standardised_over_all_rows_and_constant_ones_stay() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(1e6, 3, 40), rng.normal(size=40), np.full(40, 0.1)])
    data = read(X[:10], [0, 1] * 5, X[10:])
    x = data.units.standardise(X)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0), [1, 1, 0], atol=1e-5)
    restored = data.units.restore(x, data.spec)
    np.testing.assert_allclose(restored, X, rtol=1e-6, atol=1e-6)


def test_unlabeled_rows_of_y_on_another_scale() -> None:
    X = np.concatenate([pictures(4) / 255.0, pictures(3).astype(float)])
    with pytest.raises(ValueError, match=r"X in its unlabeled rows has values in 0\.\.255"):
        read(X, [0, 1, 2, 1, -1, -1, -1])


def test_dark_unlabeled_bytes_are_no_other_scale() -> None:
    data = read(pictures(4), [0, 1, 0, 1], (pictures(3) // 8).astype(np.uint8))
    assert len(data.unlabeled) == 3


def test_a_value_range_given_as_an_array_checks_both_inputs() -> None:
    params = {"value_range": np.array([0, 1])}
    X = pictures(4) / 255.0
    assert read(X, [0, 1, 0, 1], X, **params).spec.high == 1.0
    with pytest.raises(ValueError, match=r"X_unlab has values in .*far outside of value_range"):
        read(X, [0, 1, 0, 1], pictures(4).astype(float), **params)
