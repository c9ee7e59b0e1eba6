"""Pictures show the images where they belong, and leave matplotlib's global state alone."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from clsgan.pictures import confusion_picture, png_bytes, sample_grid


def drawn(figure: object) -> np.ndarray:
    """The pixels [H, W, 3] that a figure's only image was given."""
    (axes,) = figure.axes  # type: ignore[attr-defined]
    (image,) = axes.images
    return np.asarray(image.get_array())


def digits_by_class(n_rows: int) -> np.ndarray:
    """Real digits, uint8 [10, n_rows, 8, 8]."""
    x, y = load_digits(return_X_y=True)
    pixels = (x.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    return np.stack([pixels[y == k][:n_rows] for k in range(10)])


def test_each_class_stands_in_its_column() -> None:
    images = digits_by_class(3)
    canvas = drawn(sample_grid(images, [str(k) for k in range(10)], (1, 8, 8)))
    gap = 1
    assert canvas.shape == (3 * 8 + 2 * gap, 10 * 8 + 9 * gap, 3)
    for row, column in ((0, 0), (2, 7), (1, 9)):
        top, left = row * 9, column * 9
        cell = canvas[top : top + 8, left : left + 8]
        np.testing.assert_allclose(cell, images[column, row, :, :, None] / 255 * np.ones(3))


@pytest.mark.parametrize("layout", ["H,W,C", "C,H,W"])
@pytest.mark.parametrize("channels", [3, 5])
def test_colour_layouts_show_the_same(layout: str, channels: int) -> None:
    last = np.random.default_rng(0).integers(0, 256, (2, 2, 6, 9, channels), dtype=np.uint8)
    given = last if layout == "H,W,C" else np.moveaxis(last, -1, 2)
    canvas = drawn(sample_grid(given, ["a", "b"], (channels, 6, 9)))
    np.testing.assert_allclose(canvas[:6, :9], last[0, 0, ..., :3] / 255)


def test_floats_are_shown_over_their_own_range() -> None:
    images = digits_by_class(1).astype(np.float32) / 128 - 1
    canvas = drawn(sample_grid(images, [str(k) for k in range(10)], (1, 8, 8)))
    assert canvas[:, :8].min() == 0.0 and canvas.max() == 1.0
    assert np.isfinite(drawn(sample_grid(np.zeros((1, 1, 4, 4)), ["only"], (1, 4, 4)))).all()


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"\[8, 8\] do not fit .* \(3, 8, 8\)"):
        sample_grid(digits_by_class(1), [str(k) for k in range(10)], (3, 8, 8))
    with pytest.raises(ValueError, match="2 names"):
        sample_grid(digits_by_class(1), ["a", "b"], (1, 8, 8))
    with pytest.raises(ValueError, match=r"\[2, 3\] and 2 names"):
        confusion_picture([[1, 0, 0], [0, 1, 0]], ["a", "b"])


def test_confusion_writes_names_counts_and_title() -> None:
    figure = confusion_picture([[98, 2], [0, 50]], ["cat", "dog"], "test error 1.3 %")
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["cat", "dog"]
    assert [text.get_text() for text in axes.texts] == ["98", "2", "·", "50"]
    assert axes.get_title() == "test error 1.3 %"
    np.testing.assert_allclose(drawn(figure), [[0.98, 0.02], [0.0, 1.0]])


def test_png_opens_and_many_classes_draw() -> None:
    for names in (["one"], [f"class number {k}" for k in range(100)]):
        counts = np.diag(np.arange(len(names)) + 1)
        with Image.open(io.BytesIO(png_bytes(confusion_picture(counts, names)))) as picture:
            picture.load()
            assert picture.width > 100


def test_pyplot_is_never_touched() -> None:
    code = (
        "import sys, numpy as np; from clsgan.pictures import *; "
        "assert 'matplotlib' not in sys.modules; "
        "png_bytes(sample_grid(np.zeros((1, 1, 4, 4)), ['a'], (1, 4, 4))); "
        "png_bytes(confusion_picture([[1]], ['a'])); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
