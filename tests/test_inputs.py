"""Every kind of input, layouts and value ranges."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from clsgan.inputs import (
    InputSpec,
    check_images,
    check_same_row_scale,
    check_same_scale,
    from_nchw,
    resolve_layout,
    to_nchw,
    value_range,
)
from clsgan.sources import Unlabeled, is_from_files, is_image_like, load_source, stack_images

shapes = st.tuples(*[st.integers(1, 6)] * 4)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders with images of mixed sizes: cat/0.png, cat/1.jpg, dog/deep/2.png."""
    rng = np.random.default_rng(0)
    sizes = {"cat/0.png": (20, 30), "cat/1.jpg": (24, 18), "dog/deep/2.png": (40, 40)}
    for k, (name, size) in enumerate(sizes.items()):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(100 * k, 100 * k + 50, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


class Pairs(Dataset):
    """Images with labels, as torchvision's data sets hand them out."""

    def __init__(self, images: list, labels: list) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple:
        return self.images[i], self.labels[i]


# ---- layouts


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((10, 8, 8), "NHW"),
        ((10, 3, 5), "NHW"),
        ((10, 32, 32, 3), "NHWC"),
        ((10, 28, 28, 1), "NHWC"),
        ((10, 3, 32, 32), "NCHW"),
        ((10, 1, 28, 28), "NCHW"),
        ((10, 16, 16, 4), "NHWC"),
        ((10, 2, 16, 16), "NCHW"),
        ((10, 4, 32, 3), "NHWC"),  # 1 and 3 channels before 2 and 4
        ((3, 3, 9, 9), "NCHW"),
    ],
)
def test_layouts_that_the_shape_tells(shape, layout) -> None:
    assert resolve_layout(shape, "auto") == layout
    assert resolve_layout(shape, layout) == layout


@pytest.mark.parametrize("shape", [(10, 3, 8, 3), (10, 1, 8, 3), (10, 9, 9, 9), (10, 13, 64, 64)])
def test_an_ambiguous_layout_names_the_parameter_that_settles_it(shape) -> None:
    with pytest.raises(ValueError, match=r"X_unlab has shape .*layout='NHWC' or layout='NCHW'"):
        resolve_layout(shape, "auto", "X_unlab")
    assert resolve_layout(shape, "NCHW") == "NCHW"
    assert resolve_layout(shape, "NHWC") == "NHWC"


def test_layouts_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"layout='NWHC' is not valid.*'NHWC'"):
        resolve_layout((2, 8, 8, 3), "NWHC")
    with pytest.raises(ValueError, match=r"\(2, 8, 8\), which does not fit layout='NHWC'"):
        resolve_layout((2, 8, 8), "NHWC")
    with pytest.raises(ValueError, match="does not fit layout='NHW'"):
        resolve_layout((2, 8, 8, 3), "NHW")


@settings(deadline=None, derandomize=True, database=None)
@given(shapes, st.sampled_from(["NHW", "NHWC", "NCHW"]))
def test_from_nchw_undoes_to_nchw(shape, layout) -> None:
    shape = shape[:3] if layout == "NHW" else shape
    X = np.arange(np.prod(shape)).reshape(shape)
    images = to_nchw(X, layout)
    assert images.ndim == 4 and np.shares_memory(images, X)
    assert np.array_equal(from_nchw(images, layout), X)


@settings(deadline=None, derandomize=True, database=None)
@given(shapes)
def test_to_nchw_moves_every_pixel_where_it_belongs(shape) -> None:
    X = np.random.default_rng(0).random(shape)
    n, h, w, c = (size - 1 for size in shape)
    assert to_nchw(X, "NHWC")[n, c, h, w] == X[n, h, w, c]
    assert to_nchw(X, "NCHW") is X
    assert to_nchw(X[..., 0], "NHW")[n, 0, h, w] == X[n, h, w, 0]


@settings(deadline=None, derandomize=True, database=None)
@given(shapes)
def test_auto_never_guesses_between_two_axes_that_could_both_be_channels(shape) -> None:
    _, first, _, last = shape
    both = {first, last} <= {1, 3}
    none = first > 4 and last > 4
    if both or none:
        with pytest.raises(ValueError, match="layout="):
            resolve_layout(shape, "auto")
    elif (first in (1, 3)) != (last in (1, 3)):
        assert resolve_layout(shape, "auto") == ("NCHW" if first in (1, 3) else "NHWC")


# ---- arrays


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (np.uint8, np.uint8),
        (np.int16, np.float32),
        (np.uint16, np.float32),
        (np.int64, np.float32),
        (bool, np.float32),
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float32),
        (">f4", np.float32),
    ],
)
def test_types_of_image_arrays(dtype, kept) -> None:
    X = np.arange(2 * 4 * 5).reshape(2, 4, 5).astype(dtype)
    images, layout = check_images(X, "X", "auto")
    assert (images.dtype, images.shape, layout) == (kept, (2, 1, 4, 5), "NHW")
    assert images.dtype.isnative
    assert np.array_equal(images[:, 0], X.astype(np.float32))


def test_uint8_images_are_not_copied() -> None:
    X = np.zeros((2, 8, 8, 3), np.uint8)
    assert np.shares_memory(check_images(X, "X", "auto")[0], X)


def test_nested_lists_are_images() -> None:
    X = np.arange(24).reshape(2, 3, 4).tolist()
    assert is_image_like(X)
    assert np.array_equal(check_images(X, "X", "auto")[0][:, 0], X)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(bad) -> None:
    X = np.zeros((5, 8, 8))
    X[1, 2, 3] = X[4, 0, 0] = bad
    with pytest.raises(ValueError, match="X_unlab contains NaN or infinite values, in 2 of 5 im"):
        check_images(X, "X_unlab", "auto")


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((0, 8, 8)), r"X is empty: shape \(0, 8, 8\)"),
        (np.zeros((3, 0, 8)), r"X is empty: shape \(3, 0, 8\)"),
        (np.zeros((2, 3, 4, 5, 6)), r"X has shape \(2, 3, 4, 5, 6\); images are \[N, H, W\]"),
        (np.zeros(4), r"rows \[N, D\]"),
        (np.full((1, 2, 2), "a"), "X has dtype <U1; images are of an integer or float type"),
        (np.zeros((1, 2, 2), complex), "dtype complex128"),
        (np.full((1, 2, 2), None), "dtype object"),
    ],
)
def test_arrays_that_are_no_images(X, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_images(X, "X", "auto")


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.zeros((2, 3)), False),
        (np.zeros((2, 3, 4)), True),
        (np.zeros((2, 3, 4, 1)), True),
        ([[1, 2], [3, 4]], False),
        ([[[1, 2]], [[3, 4]]], True),
        ([np.zeros(3), np.zeros(3)], False),
        ([], False),
        ([[]], False),
        (None, False),
    ],
)
def test_images_and_rows_are_told_apart(X, expected) -> None:
    assert is_image_like(X) is expected


# ---- tensors, datasets, lists


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int16, torch.bool, torch.float16, torch.float32, torch.float64]
)
def test_tensors(dtype) -> None:
    X = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).to(dtype)
    array, labels = load_source(X, "X")
    assert labels is None and isinstance(array, np.ndarray)
    assert array.dtype == X.numpy().dtype and np.array_equal(array, X.numpy())


def test_tensors_of_types_that_numpy_lacks_and_with_gradients() -> None:
    X = torch.linspace(0, 1, 12, dtype=torch.bfloat16).reshape(3, 4).requires_grad_()
    array, _ = load_source(X, "X")
    assert array.dtype == np.float32 and np.array_equal(array, X.detach().float().numpy())


def test_arrays_and_unknown_objects_are_handed_back() -> None:
    for X in (np.zeros((2, 3)), [[1.0, 2.0]], [], None, 3):
        assert load_source(X, "X")[0] is X


def test_unlabeled_is_unwrapped_and_has_no_length() -> None:
    X = np.zeros((2, 3))
    assert load_source(Unlabeled(X), "X_unlab")[0] is X
    assert load_source(Unlabeled(torch.zeros(2, 3)), "X_unlab")[0].shape == (2, 3)
    assert not hasattr(Unlabeled(X), "__len__") and not hasattr(Unlabeled(X), "shape")


def test_a_dataset_of_pairs_carries_its_labels() -> None:
    X, y = torch.arange(2 * 16.0).reshape(2, 1, 4, 4), torch.tensor([4, 7])
    array, labels = load_source(TensorDataset(X, y), "X")
    assert np.array_equal(array, X.numpy()) and labels.tolist() == [4, 7]


def test_a_dataset_without_labels() -> None:
    X = torch.arange(2 * 16.0).reshape(2, 1, 4, 4)
    for dataset in (TensorDataset(X), Bare(X)):
        array, labels = load_source(dataset, "X_unlab")
        assert np.array_equal(array, X.numpy()) and labels is None


class Bare(Dataset):
    def __init__(self, X: torch.Tensor) -> None:
        self.X = X

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.X[i]


def test_parts_and_chains_of_datasets() -> None:
    whole = TensorDataset(torch.arange(8.0).reshape(4, 2), torch.arange(4))
    array, labels = load_source(ConcatDataset([Subset(whole, [3, 0]), Subset(whole, [1])]), "X")
    assert array.tolist() == [[6, 7], [0, 1], [2, 3]] and labels.tolist() == [3, 0, 1]


def test_a_dataset_of_pil_images_and_strings_some_of_them_unlabeled() -> None:
    pixels = np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3)
    images = [Image.fromarray(image) for image in pixels]
    array, labels = load_source(Pairs(images, ["cat", float("nan"), "dog"]), "X")
    assert np.array_equal(array, pixels)
    assert labels.dtype == object and labels[0] == "cat" and labels[1] != labels[1]


def test_datasets_that_cannot_be_read() -> None:
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(torch.zeros(2, 3))

    class LongStream(Stream):
        def __len__(self) -> int:
            return 2

    for dataset in (Stream(), LongStream()):
        with pytest.raises(ValueError, match="X_unlab is an iterable torch Dataset"):
            load_source(dataset, "X_unlab")
    with pytest.raises(ValueError, match="X is empty"):
        load_source(TensorDataset(torch.zeros(0, 3)), "X")
    mixed = Pairs([np.zeros((4, 4)), np.zeros((5, 4))], [0, 1])
    with pytest.raises(ValueError, match=r"X holds images of different shapes, .*\(4, 4\)"):
        load_source(mixed, "X")


@pytest.mark.parametrize(
    ("mode", "layout", "shape"), [("L", "NHW", (1, 6, 7)), ("RGB", "NHWC", (3, 6, 7))]
)
def test_a_list_of_pil_images(mode, layout, shape) -> None:
    rng = np.random.default_rng(0)
    size = (6, 7) if mode == "L" else (6, 7, 3)
    pixels = rng.integers(0, 256, (4, *size)).astype(np.uint8)
    array, labels = load_source([Image.fromarray(image) for image in pixels], "X")
    assert labels is None and np.array_equal(array, pixels)
    images, found = check_images(array, "X", "auto")
    assert images.shape[1:] == shape and found == layout


def test_pil_images_with_a_palette_are_read_by_their_colours() -> None:
    red = Image.new("RGB", (4, 4), (250, 10, 20)).convert("P", palette=Image.Palette.ADAPTIVE)
    array, _ = load_source([red, red], "X")
    assert array.shape == (2, 4, 4, 3) and array[0, 0, 0].tolist() == [250, 10, 20]


def test_pil_images_of_mixed_sizes_are_refused_with_a_way_out() -> None:
    images = [Image.new("L", (4, 4)), Image.new("L", (5, 4))]
    with pytest.raises(ValueError, match=r"different shapes.*folder or a list of paths"):
        load_source(images, "X")


def test_lists_of_arrays_and_of_tensors() -> None:
    X = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    assert np.array_equal(load_source(list(X), "X")[0], X)
    assert np.array_equal(load_source(list(torch.from_numpy(X)), "X")[0], X)
    with pytest.raises(ValueError, match="X_unlab is empty"):
        stack_images([], "X_unlab")


# ---- files


def test_a_folder_with_classes(photos: Path) -> None:
    for folder in (photos, str(photos)):
        images, labels = load_source(folder, "X", image_size=16)
        assert images.shape == (3, 16, 16, 3) and images.dtype == np.uint8
        assert labels.tolist() == ["cat", "cat", "dog"]
        assert [int(image.mean()) // 100 for image in images] == [0, 1, 2]


def test_a_flat_folder_and_one_with_sub_folders_as_unlabeled(photos: Path) -> None:
    images, labels = load_source(photos / "cat", "X_unlab", image_size=16, labelled=False)
    assert images.shape == (2, 16, 16, 3) and labels is None
    images, labels = load_source(photos, "X_unlab", image_size=16, labelled=False)
    assert images.shape == (3, 16, 16, 3) and labels is None
    wrapped, _ = load_source(Unlabeled(photos / "cat"), "X_unlab", 16, labelled=False)
    assert np.array_equal(wrapped, images[:2])


@pytest.mark.parametrize("make", [list, tuple, np.array, lambda paths: list(map(Path, paths))])
def test_lists_of_paths_keep_their_order(photos: Path, make) -> None:
    paths = [str(photos / name) for name in ("dog/deep/2.png", "cat/0.png")]
    images, labels = load_source(make(paths), "X", image_size=(12, 16), channels=1)
    assert images.shape == (2, 12, 16, 1) and labels is None
    assert [int(image.mean()) // 100 for image in images] == [2, 0]


def test_image_size_is_found_where_none_is_given(photos: Path) -> None:
    assert load_source(photos, "X")[0].shape == (3, 16, 16, 3)  # of 20, 18 and 40


def test_files_that_cannot_be_read_are_named(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_source(tmp_path / "nowhere", "X")
    with pytest.raises(FileNotFoundError, match=r"no\.png"):
        load_source([photos / "cat/0.png", photos / "no.png"], "X")
    whole = (photos / "cat/1.jpg").read_bytes()
    (photos / "cat/1.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"1\.jpg cannot be read"):
        load_source(photos, "X")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty"):
        load_source(tmp_path / "empty", "X_unlab", labelled=False)
    with pytest.raises(ValueError, match="has no sub-folders"):
        load_source(photos / "cat", "X")


def test_what_comes_from_files() -> None:
    assert is_from_files(Path("a")) and is_from_files(Unlabeled("a"))
    assert is_from_files(np.array(["a.png"])) and is_from_files(["a.png", Path("b.png")])
    for X in ([], ["a.png", 1], np.zeros((2, 2)), np.array([["a"]]), TensorDataset(torch.ones(2))):
        assert not is_from_files(X)


# ---- value ranges


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 255], "uint8", (0, 255)),
        ([3, 64], "uint8", (0, 255)),
        ([0, 16], "uint8", (0, 16)),
        ([0, 0], "uint8", (0, 1)),
        ([0, 1], "bool", (0, 1)),
        ([0, 200], "int64", (0, 255)),
        ([0, 4095], "uint16", (0, 4095)),
        ([-1000, 3000], "int16", (-1000, 3000)),
        ([-128, 127], "int8", (-128, 127)),
        ([0, 127], "int8", (0, 127)),
        ([0.0, 1.0], "float32", (0, 1)),
        ([0.2, 0.3], "float64", (0, 1)),
        ([-1.0, 1.0], "float32", (-1, 1)),
        ([-0.5, 0.0], "float32", (-1, 1)),
        ([0.0, 255.0], "float32", (0, 255)),
        ([-2.1, 2.6], "float32", (-2.1, 2.6)),
        ([-5.0, -5.0], "float32", (-5, -4)),
    ],
)
def test_value_ranges(values, dtype, expected) -> None:
    X = np.array(values, dtype).astype(np.float64).reshape(1, 1, 1, 2)
    assert value_range(X, dtype) == pytest.approx(expected)


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1), st.booleans())
def test_a_value_range_holds_all_values_and_is_not_empty(values, whole) -> None:
    X = np.array(values, np.float32).reshape(1, 1, 1, -1)
    X = np.rint(X) if whole else X
    low, high = value_range(X, "int32" if whole else "float32")
    assert low < high and low <= X.min() and X.max() <= high


@pytest.mark.parametrize(
    ("given_range", "expected", "same"),
    [
        ((0, 255), (0, 255), True),
        ((0, 200), (0, 255), True),
        ((0, 1), (0, 255), False),
        ((0, 255), (0, 1), False),
        ((0, 255), (0, 16), False),
        ((0.0, 1.0), (-1.0, 1.0), False),
        ((-1.0, 1.0), (0.0, 1.0), False),
        ((-2.1, 2.6), (-2.0, 2.2), True),
    ],
)
def test_scales_of_images(given_range, expected, same) -> None:
    if same:
        check_same_scale(given_range, expected, "X_unlab")
        return
    with pytest.raises(ValueError, match=r"X_unlab has values in .*value_range=\(low, high\)"):
        check_same_scale(given_range, expected, "X_unlab")


def test_scales_of_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 8)) * np.geomspace(0.01, 100, 8)
    check_same_row_scale(rows[:20], rows[20:], "X_unlab")
    check_same_row_scale(3 * rows[:20], rows[20:], "X_unlab")
    for factor in (10, 0.1):
        with pytest.raises(ValueError, match=r"columns of X_unlab are .* times .*transform_input"):
            check_same_row_scale(factor * rows[:20], rows[20:], "X_unlab")


def test_too_few_rows_and_constant_columns_are_not_judged() -> None:
    rows = np.ones((50, 2))
    check_same_row_scale(100 * rows[:4], rows, "X_unlab")
    check_same_row_scale(0 * rows, rows, "X_unlab")


def test_specs_of_images_and_rows() -> None:
    assert InputSpec((3, 8, 8), "NHWC", "uint8").is_image
    assert not InputSpec((5,), "ND", "float64").is_image
