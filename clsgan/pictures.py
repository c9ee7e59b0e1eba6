"""Pictures of what was learnt: a grid of generated images by class, and the confusion matrix."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GROUND = "#1f2430", "#ffffff"
COUNTS_UP_TO = 20  # classes: above, numbers in the cells of a confusion matrix are too small


def sample_grid(
    images: npt.ArrayLike, names: Sequence[str], image_shape: tuple[int, int, int]
) -> Figure:
    """Grid of images, one class a column, under the name of the class.

    Parameters
    ----------
    images : array-like [K, R, ...]
        R images of each of K classes, each H,W / H,W,C / C,H,W. uint8 is shown from 0 to 255,
        other types from the least to the greatest value of the whole grid.
    names : sequence of str [K]
        Class names.
    image_shape : tuple (C, H, W)
        Channels, height, width. With 1 or 2 channels the first is shown in grey, with 3 or more
        the first three in colour.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The images do not have that shape, or there is not one name for each class.

    Examples
    --------
    >>> import numpy as np
    >>> from clsgan.pictures import png_bytes, sample_grid
    >>> images = np.zeros((2, 3, 8, 8), dtype=np.uint8)  # two classes, three images of each
    >>> png_bytes(sample_grid(images, ["cat", "dog"], image_shape=(1, 8, 8)))[1:4]
    b'PNG'
    """
    array = np.asarray(images)
    if array.ndim < 2 or 0 in array.shape or array.shape[0] != len(names):
        raise ValueError(
            f"images must be [K, R, ...] with one name for each of the K classes, got "
            f"{list(array.shape)} and {len(names)} names"
        )
    n_classes, n_rows = array.shape[:2]
    shown = _to_unit_range(_channels_last(array, image_shape))
    height, width, gap = image_shape[1], image_shape[2], max(1, image_shape[2] // 16)
    canvas = np.ones((n_rows * (height + gap) - gap, n_classes * (width + gap) - gap, 3))
    for row in range(n_rows):
        for column in range(n_classes):
            top, left = row * (height + gap), column * (width + gap)
            canvas[top : top + height, left : left + width] = shown[column, row]
    centres = [column * (width + gap) + (width - 1) / 2 for column in range(n_classes)]
    return _draw_grid(canvas, names, centres, n_rows * height / (n_classes * width))


def _draw_grid(
    canvas: npt.NDArray[Any], names: Sequence[str], centres: Sequence[float], tallness: float
) -> Figure:
    from matplotlib.figure import Figure

    width = float(np.clip(0.8 * len(names), 3.0, 24.0))
    turned = max(map(len, names)) > 6
    figure = Figure(figsize=(width, width * tallness + (1.0 if turned else 0.5)), dpi=150)
    figure.set_facecolor(GROUND)
    axes = figure.add_subplot()
    axes.imshow(canvas, interpolation="nearest")
    axes.xaxis.tick_top()
    axes.set_yticks([])
    angle, anchor = (35, "left") if turned else (0, "center")
    axes.set_xticks(centres, names, rotation=angle, ha=anchor, color=INK, fontsize=10)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def confusion_picture(counts: npt.ArrayLike, names: Sequence[str], title: str = "") -> Figure:
    """Confusion matrix: true classes in rows, predicted ones in columns, shaded by the row's share.

    Parameters
    ----------
    counts : array-like of int [K, K]
        As from :func:`clsgan.metrics.confusion`.
    names : sequence of str [K]
        Class names.
    title : str, default=""
        A line above, such as the test error.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        ``counts`` is not square, or there is not one name for each class.

    Examples
    --------
    >>> from clsgan.pictures import confusion_picture, png_bytes
    >>> png_bytes(confusion_picture([[9, 1], [0, 10]], ["cat", "dog"], "5 % wrong"))[1:4]
    b'PNG'
    """
    table = np.asarray(counts, dtype=np.int64)
    if table.ndim != 2 or table.shape != (len(names), len(names)):
        raise ValueError(
            f"counts must be [K, K] with one name for each class, got {list(table.shape)} and "
            f"{len(names)} names"
        )
    from matplotlib.figure import Figure

    size = float(np.clip(0.55 * len(names) + 2.0, 3.5, 20.0))
    figure = Figure(figsize=(size, size), dpi=150, layout="constrained")
    figure.set_facecolor(GROUND)
    axes = figure.add_subplot()
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    axes.tick_params(length=0)
    if len(names) <= COUNTS_UP_TO:
        for (row, column), count in np.ndenumerate(table):
            ink = GROUND if shares[row, column] > 0.5 else INK
            text = str(count) if count else "·"
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """Render a figure as PNG, whatever backend pyplot is set to.

    Parameters
    ----------
    figure : matplotlib.figure.Figure

    Returns
    -------
    bytes

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from clsgan.pictures import png_bytes
    >>> png_bytes(Figure(figsize=(1, 1)))[1:4]
    b'PNG'
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", bbox_inches="tight")
    return buffer.getvalue()


def _channels_last(array: npt.NDArray[Any], image_shape: tuple[int, int, int]) -> npt.NDArray[Any]:
    """Bring [K, R, ...] to [K, R, H, W, 3] of the same type."""
    channels, height, width = image_shape
    shape = array.shape[2:]
    if shape == (height, width) and channels == 1:
        array = array[..., np.newaxis]
    elif shape == (channels, height, width) and shape != (height, width, channels):
        array = np.moveaxis(array, 2, -1)
    elif shape != (height, width, channels):
        raise ValueError(
            f"images of shape {list(shape)} do not fit image_shape (C, H, W) = {image_shape}"
        )
    return array[..., :3] if channels >= 3 else np.repeat(array[..., :1], 3, axis=-1)


def _to_unit_range(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    values = array.astype(np.float64)
    if array.dtype == np.uint8:
        return values / 255.0
    least, greatest = float(values.min()), float(values.max())
    return (values - least) / (greatest - least if greatest > least else 1.0)
