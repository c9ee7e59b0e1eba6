"""Bad input is named, and told what is valid, before anything is trained or written."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

from clsgan import CLSGANClassifier, fitting


@pytest.fixture
def refuses(tiny, tmp_path, monkeypatch):
    """fit raises, its message has every part, and nothing has been trained or written."""

    def no_training(*args, **kwargs):
        pytest.fail("training began")

    monkeypatch.setattr(fitting, "train", no_training)

    def check(parts, X, y=None, X_unlab=None, error=ValueError, **parameters):
        model = tiny(log_dir=tmp_path / "run", **parameters)
        with pytest.raises(error) as caught:
            model.fit(X, y, X_unlab)
        for part in parts:
            assert part in str(caught.value), f"{part!r} is not in: {caught.value}"
        assert not (tmp_path / "run").exists(), "something was written"
        fitted = [name for name in vars(model) if name.endswith("_") and name != "n_features_in_"]
        assert not fitted, "nothing was learned"

    return check


def spoilt(x, value):
    x = x.astype(float)
    x[3, 2, 1] = value
    return x


# Arrays

ARRAYS = {
    "no images": (lambda x: x[:0], ["X is empty", "(0, 8, 8)"]),
    "no rows": (lambda x: x[:0].reshape(0, 64), ["0 sample"]),
    "no list": (lambda x: [], ["2D array", "[]"]),
    "no pixels": (lambda x: x[:, :, :0], ["X is empty", "(100, 8, 0)"]),
    "one axis": (lambda x: x[:, 0, 0], ["1D array", "2D"]),
    "five axes": (
        lambda x: x[:, None, None],
        ["(100, 1, 1, 8, 8)", "[N, H, W], [N, H, W, C] or [N, C, H, W]"],
    ),
    "NaN": (lambda x: spoilt(x, np.nan), ["X contains NaN or infinite values, in 1 of 100"]),
    "infinite": (lambda x: spoilt(x, -np.inf), ["X contains NaN or infinite values, in 1 of 100"]),
    "NaN in rows": (lambda x: spoilt(x, np.nan).reshape(100, 64), ["NaN"]),
    "infinite rows": (lambda x: spoilt(x, np.inf).reshape(100, 64), ["infinity"]),
    "strings": (lambda x: x.astype(str), ["X has dtype <U3", "an integer or float type"]),
    "complex": (lambda x: x + 1j, ["X has dtype complex128", "an integer or float type"]),
    "other sizes": (
        lambda x: [image[: 7 + i % 2] for i, image in enumerate(x)],
        ["X holds images of different shapes", "(7, 8)", "(8, 8)"],
    ),
    "ragged lists": (
        lambda x: [image[: 7 + i % 2].tolist() for i, image in enumerate(x)],
        ["X holds images of different shapes"],
    ),
    "no dataset": (lambda x: TensorDataset(torch.zeros(0, 8, 8)), ["X is empty"]),
    "rows of pixels of other lengths": (lambda x: [[[1, 2], [3]] for _ in x], ["X holds"]),
    "nothing": (lambda x: None, ["2D array"]),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays(refuses, digits, case):
    spoil, parts = ARRAYS[case]
    X = spoil(digits.x_lab)
    length = len(X) if X is not None else 0
    refuses(parts, X, digits.y_lab[:length])


class Endless(IterableDataset):
    def __iter__(self):
        yield from iter(int, 1)


def test_a_dataset_without_a_length(refuses, digits):
    refuses(["iterable torch Dataset", "__len__ and __getitem__"], Endless(), digits.y_lab)


# Labels

LABELS = {
    "missing": (lambda y: None, ["requires y"]),
    "too few": (lambda y: y[:99], ["X has 100 rows, but y has 99 labels"]),
    "too many": (lambda y: np.append(y, 1), ["X has 100 rows, but y has 101 labels"]),
    "none of them": (lambda y: y[:0], ["X has 100 rows, but y has 0 labels"]),
    "two columns": (lambda y: np.stack([y, y], axis=1), ["(100, 2)", "1d"]),
    "one class": (lambda y: 0 * y + 3, ["one class", "3", "at least two classes"]),
    "one string class": (lambda y: ["a"] * len(y), ["one class", "'a'", "at least two classes"]),
    "all unlabeled": (lambda y: 0 * y - 1, ["no labeled row", "-1, None or NaN"]),
    "all None": (lambda y: np.full(len(y), None), ["no labeled row", "-1, None or NaN"]),
    "continuous": (lambda y: y + 0.5, ["continuous"]),
    "NaN": (lambda y: np.where(y == 3, np.nan, y), ["NaN"]),
    "infinite": (lambda y: np.where(y == 3, np.inf, y), ["infinity"]),
    "mixed": (
        lambda y: np.array([str(k) if k < 5 else int(k) for k in y], dtype=object),
        ["y mixes labels of different types", "strings or numbers"],
    ),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels(refuses, digits, case):
    spoil, parts = LABELS[case]
    refuses(parts, digits.x_lab, spoil(digits.y_lab))


def test_too_few_rows_of_a_class_for_the_validation_fraction(refuses, digits):
    rows = np.r_[0:91]
    parts = ["validation_fraction=0.5", "two labeled rows of every class", "9"]
    refuses(parts, digits.x_lab[rows], digits.y_lab[rows], validation_fraction=0.5)


# Unlabeled rows

UNLABELED = {
    "no images": (lambda x: x[:0], ["X_unlab is empty", "(0, 8, 8)"]),
    "another size": (lambda x: x[:, :7], ["X_unlab", "1x7x8", "1x8x8"]),
    "another number of channels": (
        lambda x: np.repeat(x[..., None], 3, axis=3),
        ["X_unlab", "3x8x8", "1x8x8"],
    ),
    "rows": (lambda x: x.reshape(len(x), 64), ["X_unlab", "(1197, 64)", "1x8x8", "[N, ...]"]),
    "one image": (lambda x: x[0], ["X_unlab", "(8, 8)", "1x8x8", "[N, ...]"]),
    "a scale of 1": (
        lambda x: x / 16,
        ["X_unlab has values in 0..1", "X have 0..16", "same scale"],
    ),
    "a scale of 255": (
        lambda x: (x * 15.9).astype(np.uint8),
        ["X_unlab has values in 0..255", "X have 0..16", "value_range=(low, high)"],
    ),
    "NaN": (lambda x: spoilt(x, np.nan), ["X_unlab contains NaN or infinite values, in 1 of 1197"]),
    "strings": (lambda x: x.astype(str), ["X_unlab has dtype <U3"]),
}


@pytest.mark.parametrize("case", UNLABELED)
def test_unlabeled_images(refuses, digits, case):
    spoil, parts = UNLABELED[case]
    refuses(parts, digits.x_lab, digits.y_lab, spoil(digits.x_unl))


UNLABELED_ROWS = {
    "images": (lambda x: x.reshape(-1, 8, 8), ["X_unlab holds images", "rows [N, D]"]),
    "fewer columns": (lambda x: x[:, :60], ["60 features", "64 features"]),
    "another scale": (lambda x: 255 * x, ["X_unlab", "255 times as large", "same scale"]),
    "NaN": (lambda x: np.where(x == 16, np.nan, x), ["NaN"]),
    "none": (lambda x: x[:0], ["0 sample"]),
}


@pytest.mark.parametrize("case", UNLABELED_ROWS)
def test_unlabeled_rows(refuses, digits, case):
    spoil, parts = UNLABELED_ROWS[case]
    X = digits.x_lab.reshape(100, 64)
    X_unlab = digits.x_unl.reshape(-1, 64)[:100].astype(float)
    refuses(parts, X, digits.y_lab, spoil(X_unlab))


def test_unlabeled_colour_on_the_scale_of_floats(refuses, photos):
    X, y = photos(8, 8)
    refuses(["X_unlab has values in 0..1", "X have 0..255"], X, y, X / 255)
    refuses(["X_unlab has values in 0..255", "X have 0..1"], X / 255, y, X)
    refuses(["X_unlab has values in -1..1", "X have 0..1"], X / 255, y, X / 127.5 - 1)


def test_values_beyond_the_range_given(refuses, photos):
    X, y = photos(8, 8)
    refuses(["value_range=(0.0, 1.0)", "0..255"], X, y, value_range=(0, 1))


# Parameters

NAMES = {
    "objective": ("papr", "paper"),
    "unlabeled": ("fixmach", "fixmatch"),
    "open_class": ("margin", "margins"),
    "unlabeled_fakes": ("shard", "shared"),
    "margin_norm": (3, "1 or 2"),
    "loss_network": ("smal", "small"),
    "generator": ("smal", "small"),
    "optimizer": ("adma", "adam"),
    "schedule": ("liner", "linear"),
    "augment": ("week", "weak"),
    "flip": ("no", "'auto', True or False"),
    "layout": ("HWC", "NHWC"),
    "minus_one": ("clas", "class"),
    "accelerator": ("gpu", "cuda"),
    "precision": ("bf61", "bf16"),
}


@pytest.mark.parametrize("name", NAMES)
def test_unknown_names(refuses, digits, name):
    given, nearest = NAMES[name]
    refuses([f"{name}={given!r}", nearest], digits.x_lab, digits.y_lab, **{name: given})


def test_unknown_timm_model(refuses, digits):
    parts = ["'resnet81'", "resnet18"]
    options = {"loss_network": "timm:resnet81", "loss_network_options": None}
    refuses(parts, digits.x_lab, digits.y_lab, **options)


@pytest.mark.parametrize("name", ["loss_network_options", "generator_options"])
def test_unknown_network_options(refuses, digits, name):
    refuses(["width", "widths"], digits.x_lab, digits.y_lab, **{name: {"width": (8, 8, 8)}})


NUMBERS = {
    "max_steps": (0, "0"),
    "time_limit": (-1.0, "0"),
    "batch_size": (1, "2"),
    "generated_batch_size": (-8, "0"),
    "generator_interval": (0, "1"),
    "latent_dim": (0, "1"),
    "learning_rate": (0.0, "0"),
    "generator_learning_rate": (-1.0, "0"),
    "weight_decay": (-1.0, "0"),
    "average_decay": (1.5, "0"),
    "unlabeled_share": (1.5, "0"),
    "unlabeled_start": (-0.5, "0"),
    "hinge_weight": (-1.0, "0"),
    "rotation_weight": (-1.0, "0"),
    "cutmix": (1.5, "[0, 1]"),
    "unlabeled_weight": (float("nan"), "0"),
    "margin_scale": (-1.0, "0"),
    "unlabeled_hinge_weight": (-1.0, "0"),
    "label_smoothing": (1.0, "[0, 1)"),
    "validation_fraction": (1.0, "[0, 1)"),
    "value_range": ((1, 1), "low < high"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_out_of_range(refuses, digits, name):
    given, valid = NUMBERS[name]
    refuses([f"{name}={given!r}", valid], digits.x_lab, digits.y_lab, **{name: given})


WRONG_TYPES = {
    "max_steps": ("300",),
    "time_limit": ("1m",),
    "batch_size": ("many", 2.5),
    "generated_batch_size": ("8", 2.5),
    "latent_dim": ("64", 8.5),
    "learning_rate": ("fast", float("nan"), float("inf")),
    "hinge_weight": ("much",),
    "label_smoothing": ("some",),
    "cutmix": ("half",),
    "validation_fraction": ("half",),
    "average_decay": ("0.9",),
    "value_range": (5, "0-255", (0, 1, 2)),
    "margin_scale": (float("inf"),),
}


@pytest.mark.parametrize(
    ("name", "given"), [(name, given) for name, values in WRONG_TYPES.items() for given in values]
)
def test_numbers_of_a_wrong_type(refuses, digits, name, given):
    errors = (ValueError, TypeError)
    refuses([f"{name}={given!r}"], digits.x_lab, digits.y_lab, error=errors, **{name: given})


def test_modules_that_do_not_fit(refuses, digits):
    options = {"loss_network_options": None, "generator_options": None}
    small = nn.Sequential(nn.Flatten(), nn.Linear(64, 9))
    refuses(["[2, 10]", "[2, 9]"], digits.x_lab, digits.y_lab, loss_network=small, **options)
    wrong = nn.Linear(3, 3)
    refuses(["nn", "fails"][1:], digits.x_lab, digits.y_lab, loss_network=wrong, **options)
    refuses(["generator"], digits.x_lab, digits.y_lab, generator=wrong, **options)


def test_a_log_folder_that_is_a_file(tiny, digits, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises((ValueError, OSError), match="file"):
        tiny(log_dir=tmp_path / "file").fit(digits.x_lab, digits.y_lab)
    assert (tmp_path / "file").read_text() == "mine"


# Image files


@pytest.fixture
def folder(digits, tmp_path):
    """Ten images in each of two class folders."""
    for i in range(20):
        path = tmp_path / "data" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.x_lab[i] * 15).save(path)
    return tmp_path / "data"


def test_missing_folder(refuses, tmp_path):
    refuses(["nowhere"], tmp_path / "nowhere", error=FileNotFoundError)
    refuses(["nowhere"], str(tmp_path / "nowhere"), error=FileNotFoundError)


def test_folder_without_classes(refuses, folder):
    refuses([str(folder / "a"), "no sub-folders", "one for each class"], folder / "a")


def test_empty_class_folder(refuses, folder):
    (folder / "c").mkdir()
    refuses([str(folder), "'c'"], folder)


def test_one_class_folder(refuses, folder):
    for path in (folder / "b").iterdir():
        path.unlink()
    (folder / "b").rmdir()
    refuses(["one class", "'a'"], folder)


def test_images_beside_class_folders(refuses, folder):
    (folder / "a" / "0.png").rename(folder / "loose.png")
    refuses([str(folder), "loose.png"], folder)


@pytest.mark.parametrize("content", [b"", b"not an image", "half"], ids=["empty", "text", "half"])
def test_corrupt_image(refuses, folder, digits, content):
    path = folder / "b" / "1.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    refuses([str(path)], folder)
    refuses([str(path)], [folder / "a" / "0.png", path], ["a", "b"])
    good = sorted((folder / "a").iterdir())
    refuses([str(path)], good, ["a", "b"] * 5, [path])


def test_missing_image(refuses, folder):
    missing = folder / "a" / "gone.png"
    paths = [*sorted(folder.rglob("*.png")), missing]
    refuses([str(missing)], paths, [0, 1] * 10 + [1], error=FileNotFoundError)


@pytest.mark.parametrize("size", [0, (8,), "large", (8.5, 8)])
def test_image_sizes_that_are_none(refuses, folder, size):
    refuses([f"image_size={size!r}", "(height, width)"], folder, image_size=size)


# Prediction

PREDICTED = {
    "another size": (lambda x: x[:, :7], ["1x7x8", "1x8x8"]),
    "one image": (lambda x: x[0], ["(8, 8)", "pass a batch"]),
    "rows": (lambda x: x.reshape(len(x), 64), ["(500, 64)", "1x8x8"]),
    "none": (lambda x: x[:0], ["X is empty"]),
    "NaN": (lambda x: spoilt(x, np.nan), ["X contains NaN or infinite values"]),
    "a scale of 1": (lambda x: x / 16, ["0..1", "0..16", "same scale"]),
}


@pytest.fixture(scope="module")
def fitted(tiny, digits):
    return tiny(max_steps=1).fit(digits.x_lab, digits.y_lab)


@pytest.mark.parametrize("case", PREDICTED)
def test_prediction(fitted, digits, case):
    spoil, parts = PREDICTED[case]
    for method in (fitted.predict, fitted.predict_proba, fitted.transform, fitted.outlier_score):
        with pytest.raises(ValueError) as caught:
            method(spoil(digits.x_test))
        assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_prediction_of_images_after_rows(tiny_rows, digits):
    model = tiny_rows(max_steps=1).fit(digits.x_lab.reshape(100, 64), digits.y_lab)
    with pytest.raises(ValueError, match=re.escape("X holds images, but the training X held rows")):
        model.predict(digits.x_test)


def test_a_failed_fit_keeps_the_fitted_model(tiny, digits):
    model = tiny(max_steps=1).fit(digits.x_lab, digits.y_lab)
    before = model.predict_loss(digits.x_test[:9])
    for bad in (digits.x_lab[:, :5, :5], digits.x_lab.reshape(100, 64)[:, :9]):
        with pytest.raises(ValueError):
            model.fit(bad, digits.y_lab[:99])
    assert (model.predict_loss(digits.x_test[:9]) == before).all()


def test_the_constructor_refuses_unknown_parameters():
    with pytest.raises(TypeError, match="max_step"):
        CLSGANClassifier(max_step=3)
    with pytest.raises(ValueError, match="max_step"):
        CLSGANClassifier().set_params(max_step=3)
