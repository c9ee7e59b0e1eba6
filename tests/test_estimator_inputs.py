"""Every kind of input through `fit`, `predict` and `sample`."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from clsgan import CLSGANClassifier, Unlabeled

FORMS = {
    "uint8 NHW": lambda x: x,
    "float64 NHW": lambda x: x.astype(np.float64),
    "float16 NHW": lambda x: x.astype(np.float16),
    "int64 NHW": lambda x: x.astype(np.int64),
    "uint8 NHWC": lambda x: x[..., None],
    "float32 NHWC": lambda x: x[..., None].astype(np.float32),
    "uint8 NCHW": lambda x: x[:, None],
    "float32 NCHW": lambda x: x[:, None].astype(np.float32),
    "nested lists": lambda x: x.tolist(),
    "list of arrays": list,
    "list of PIL images": lambda x: [Image.fromarray(image) for image in x],
    "uint8 tensor": lambda x: torch.tensor(x),
    "float tensor NCHW": lambda x: torch.tensor(x)[:, None].float(),
    "bfloat16 tensor": lambda x: torch.tensor(x).bfloat16(),
    "Fortran order": np.asfortranarray,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
}


class Pictures(Dataset):
    """Digits as a torch Dataset of PIL images, with labels or without."""

    def __init__(self, x, y=None):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        picture = Image.fromarray(self.x[i])
        return picture if self.y is None else (picture, int(self.y[i]))


@pytest.fixture(scope="module")
def expected(tiny, digits):
    """Losses of a model that was fitted on uint8 N,H,W."""
    model = tiny().fit(digits.x_lab, digits.y_lab, digits.x_unl[:60])
    return model.predict_loss(digits.x_test[:20])


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_images_gives_the_same_model(tiny, digits, expected, form):
    change = FORMS[form]
    model = tiny().fit(change(digits.x_lab), digits.y_lab, change(digits.x_unl[:60]))
    assert (model.predict_loss(change(digits.x_test[:20])) == expected).all()
    assert model.image_shape_ == (1, 8, 8)


@pytest.mark.parametrize("form", ["uint8 NHWC", "float32 NCHW", "uint8 tensor"])
def test_later_inputs_may_take_another_form(tiny, digits, expected, form):
    change = FORMS[form]
    model = tiny().fit(digits.x_lab, digits.y_lab, change(digits.x_unl[:60]))
    assert (model.predict_loss(change(digits.x_test[:20])) == expected).all()


def test_datasets(tiny, digits, expected):
    pairs = Pictures(digits.x_lab, digits.y_lab)
    model = tiny().fit(pairs, X_unlab=Pictures(digits.x_unl[:60]))
    assert (model.predict_loss(Pictures(digits.x_test[:20])) == expected).all()
    assert model.classes_.tolist() == list(range(10))
    tensors = TensorDataset(torch.tensor(digits.x_lab), torch.tensor(digits.y_lab))
    rest = TensorDataset(torch.tensor(digits.x_unl[:60]), torch.zeros(60, dtype=torch.int64))
    model = tiny().fit(tensors, X_unlab=rest)
    assert (model.predict_loss(digits.x_test[:20]) == expected).all(), (
        "labels of X_unlab are unused"
    )
    test = Pictures(digits.x_test, digits.y_test)
    assert model.score(test) == model.score(digits.x_test, digits.y_test)


def test_labels_given_win_over_those_of_a_dataset(tiny, digits):
    model = tiny().fit(Pictures(digits.x_lab, digits.y_lab), digits.y_lab + 100)
    assert model.classes_.tolist() == list(range(100, 110))


def test_wrapped_unlabeled_rows(tiny, digits, expected):
    model = tiny().fit(digits.x_lab, digits.y_lab, Unlabeled(digits.x_unl[:60]))
    assert (model.predict_loss(digits.x_test[:20]) == expected).all()


# Files


@pytest.fixture(scope="module")
def folders(photos, tmp_path_factory):
    """JPEGs of mixed sizes: two class sub-folders, and a flat folder of unlabeled ones."""
    root = tmp_path_factory.mktemp("pictures")
    pieces, y = photos(40, 16)
    for i, (piece, k) in enumerate(zip(pieces, y, strict=True)):
        unlabeled = i % 16 >= 12
        folder = root / "rest" if unlabeled else root / "labeled" / ("china", "flower")[k]
        folder.mkdir(parents=True, exist_ok=True)
        height, width = 24 + i % 7, 28 + i % 5
        Image.fromarray(piece[:height, :width]).save(folder / f"{i:02}.jpg", quality=95)
    return root


def test_folders_of_mixed_sizes(tiny, folders, caplog):
    model = tiny(max_steps=20).fit(folders / "labeled", X_unlab=folders / "rest")
    assert model.classes_.tolist() == ["china", "flower"]
    assert model.image_shape_ == (3, 24, 24) and model.layout_ == "NHWC"
    paths = sorted((folders / "labeled").rglob("*.jpg"))
    predicted = model.predict(paths)
    truth = [path.parent.name for path in paths]
    assert model.score(folders / "labeled") == np.mean(predicted == truth)
    assert (model.predict([str(path) for path in paths]) == predicted).all()
    assert model.predict(folders / "rest").shape == (8,)
    X, y = model.sample(3, random_state=0)
    assert X.shape == (3, 24, 24, 3) and X.dtype == np.uint8
    assert set(y) <= {"china", "flower"}


def test_list_of_paths_with_labels(tiny, folders):
    paths = sorted((folders / "labeled").rglob("*.jpg"))
    labels = [path.parent.name for path in paths]
    listed = tiny().fit([str(path) for path in paths], labels)
    by_folder = tiny().fit(str(folders / "labeled"))
    assert (listed.predict_loss(paths[:5]) == by_folder.predict_loss(paths[:5])).all()


def test_labeled_paths_with_missing_labels_count_as_unlabeled(tiny, folders):
    paths = sorted((folders / "labeled").rglob("*.jpg"))
    labels = np.array([path.parent.name for path in paths], dtype=object)
    labels[::4] = None
    model = tiny(verbose=0).fit(paths, labels)
    assert model.classes_.tolist() == ["china", "flower"]


@pytest.mark.parametrize(("size", "shape"), [(16, (3, 16, 16)), ((16, 24), (3, 16, 24))])
def test_image_size_is_followed_by_later_files(tiny, folders, size, shape):
    model = tiny(max_steps=1, image_size=size).fit(folders / "labeled", X_unlab=folders / "rest")
    assert model.image_shape_ == shape
    assert model.predict(sorted((folders / "rest").iterdir())[:1]).shape == (1,)


def test_grey_files_stay_grey_and_follow_into_prediction(tiny, folders, tmp_path):
    for path in (folders / "labeled").rglob("*.jpg"):
        target = tmp_path / path.parent.name / path.name
        target.parent.mkdir(exist_ok=True)
        Image.open(path).convert("L").save(target)
    model = tiny(max_steps=1).fit(tmp_path)
    assert model.image_shape_ == (1, 24, 24)
    colour = sorted((folders / "rest").iterdir())
    assert model.predict(colour).shape == (8,), "colour files are read as grey ones"


def test_files_are_augmented_as_arrays_are(tiny, photos, tmp_path):
    pieces, y = photos(56, 4)
    pieces, y = pieces[np.argsort(y, kind="stable")], np.sort(y)  # as files in folders are read
    for i, (piece, k) in enumerate(zip(pieces, y, strict=True)):
        (tmp_path / str(k)).mkdir(exist_ok=True)
        Image.fromarray(piece).save(tmp_path / str(k) / f"{i}.png")
    files = tiny(augment="auto", max_steps=2, batch_size=8).fit(tmp_path, X_unlab=pieces)
    arrays = tiny(augment="auto", max_steps=2, batch_size=8).fit(pieces, y, pieces)
    assert files.image_shape_ == arrays.image_shape_ == (3, 56, 56)
    np.testing.assert_array_equal(files.predict_loss(pieces), arrays.predict_loss(pieces))


# Layouts and values


def test_a_layout_that_cannot_be_told_is_asked_for(tiny, photos):
    X, y = photos(8, 8)
    X = X[:, :3]  # [16, 3, 8, 3]
    with pytest.raises(ValueError, match=r"shape \(16, 3, 8, 3\).*layout='NHWC' or layout='NCHW'"):
        tiny().fit(X, y)
    last = tiny(layout="NHWC", max_steps=1).fit(X, y)
    assert last.image_shape_ == (3, 3, 8) and last.layout_ == "NHWC"
    first = tiny(layout="NCHW", max_steps=1).fit(X, y)
    assert first.image_shape_ == (3, 8, 3)
    assert last.predict(X).shape == first.predict(X).shape == (16,), "read as in fit"
    assert last.sample(2)[0].shape == (2, 3, 8, 3) and first.sample(2)[0].shape == (2, 3, 8, 3)


def test_many_channels(tiny, photos):
    X, y = photos(8, 8)
    X = np.concatenate([X, X[..., ::-1]], axis=3)
    with pytest.raises(ValueError, match="layout='NHWC' or layout='NCHW'"):
        tiny().fit(X, y)
    model = tiny(layout="NHWC", max_steps=1).fit(X, y)
    assert model.image_shape_ == (6, 8, 8) and model.sample(1)[0].shape == (1, 8, 8, 6)


def test_value_range_decides_what_networks_see(tiny, digits):
    model = tiny(max_steps=1, value_range=(0, 32)).fit(digits.x_lab, digits.y_lab)
    image = torch.from_numpy(digits.x_test[:5, None] / 16.0 - 1.0).float()
    with torch.inference_mode():
        expected = -torch.log_softmax(model.loss_network_(image)[0], dim=1).numpy()
    assert np.allclose(model.predict_loss(digits.x_test[:5]), expected, atol=1e-5)


SCALES = {
    "uint8 0..16": (lambda x: x, 0, 16),
    "uint8 0..255": (lambda x: (x * 15.9).astype(np.uint8), 0, 255),
    "uint16": (lambda x: x.astype(np.uint16) * 1000, 0, 16000),
    "float 0..1": (lambda x: x / 16, 0, 1),
    "float32 -1..1": (lambda x: (x / 8 - 1).astype(np.float32), -1, 1),
    "float16 0..16": (lambda x: x.astype(np.float16), 0, 16),
}


@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW"])
@pytest.mark.parametrize("scale", SCALES)
def test_samples_come_in_the_units_and_layout_of_the_training_images(tiny, digits, scale, layout):
    change, low, high = SCALES[scale]
    axis = {"NHW": (), "NHWC": (3,), "NCHW": (1,)}[layout]
    X = np.expand_dims(change(digits.x_lab), axis)
    model = tiny(max_steps=1).fit(X, digits.y_lab)
    made, _ = model.sample(5, random_state=0)
    assert made.dtype == X.dtype and made.shape == (5, *X.shape[1:])
    assert low <= made.min() and made.max() <= high
    assert made.max() - made.min() > (high - low) / 20, "values spread over the range"
    assert model.predict(made).shape == (5,)


def test_samples_of_images_are_what_the_generator_makes(tiny, digits):
    model = tiny().fit(digits.x_lab / 16, digits.y_lab)
    seen = []
    hook = model.generator_.register_forward_hook(lambda module, z, x: seen.append(x))
    made, _ = model.sample(5, random_state=0)
    hook.remove()
    assert np.allclose(made, (seen[0][:, 0].numpy() + 1) / 2, atol=1e-6)


# Rows


def rows_of(digits):
    return digits.x_lab.reshape(100, 64).astype(np.float64)


ROW_FORMS = {
    "list": lambda x: x.tolist(),
    "float32": lambda x: x.astype(np.float32),
    "uint8": lambda x: x.astype(np.uint8),
    "tensor": torch.tensor,
    "dataset": lambda x: TensorDataset(torch.tensor(x), torch.zeros(len(x))),
}


@pytest.mark.parametrize("form", ROW_FORMS)
def test_every_form_of_the_same_rows(tiny_rows, digits, form):
    X, change = rows_of(digits), ROW_FORMS[form]
    plain = tiny_rows().fit(X, digits.y_lab, X[:50])
    model = tiny_rows().fit(change(X), digits.y_lab, change(X[:50]))
    assert np.allclose(model.predict_loss(change(X)), plain.predict_loss(X), atol=1e-5)
    assert model.image_shape_ is None and model.layout_ is None and model.n_features_in_ == 64


def test_the_scale_of_columns_does_not_matter(tiny_rows, digits):
    X = rows_of(digits)
    stretch = np.geomspace(1e-3, 1e5, 64)
    plain = tiny_rows().fit(X, digits.y_lab).predict_loss(X)
    stretched = tiny_rows().fit(X * stretch - 7, digits.y_lab).predict_loss(X * stretch - 7)
    assert np.allclose(plain, stretched, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_of_rows_come_in_their_units(tiny_rows, digits, dtype):
    X = (rows_of(digits) * 1000 + 5000).astype(dtype)
    model = tiny_rows(max_steps=20).fit(X, digits.y_lab)
    made, y = model.sample(200, random_state=0)
    assert made.shape == (200, 64) and made.dtype == dtype
    varied = X.std(axis=0) > 0
    distance = np.abs(made.mean(axis=0) - X.mean(axis=0))[varied] / X.std(axis=0)[varied]
    assert np.median(distance) < 3
    assert CLSGANClassifier.predict(model, made).shape == y.shape
