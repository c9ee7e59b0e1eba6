"""One image file: its header, its pixels in the size wanted, and what can be wrong with it."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Only these are opened, whatever the name of a file says: others run programs (EPS) or are rare.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP")


def read_header(path: Path) -> tuple[int, bool]:
    """Read the size and kind of an image file, but none of its pixels.

    Parameters
    ----------
    path : Path

    Returns
    -------
    shorter_side : int
        In pixels.
    grey : bool

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If it is not an image, or larger than ``PIL.Image.MAX_IMAGE_PIXELS``.

    Examples
    --------
    >>> read_header(Path("nowhere.png"))
    Traceback (most recent call last):
    FileNotFoundError: no image at nowhere.png
    """
    with _opened(path) as image:
        return min(image.size), image.mode in _GREY_MODES or image.mode.startswith("I;16")


def read_pixels(
    path: Path | str, shape: tuple[int, ...], content: bytes | None = None
) -> NDArray[np.uint8]:
    """Read an image file upright, cut to its middle part and resized.

    Parameters
    ----------
    path : Path or str
        With `content`, only a name for messages.
    shape : tuple of int
        (height, width, channels) wanted, with 1 or 3 channels.
    content : bytes, optional
        The file itself, where it does not lie at `path`.

    Returns
    -------
    ndarray [H, W, C], uint8

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If it is not an image, is corrupt, too large, or of more than 16 bits.

    Examples
    --------
    >>> read_pixels(Path("nowhere.png"), (8, 8, 3))
    Traceback (most recent call last):
    FileNotFoundError: no image at nowhere.png
    """
    from PIL import ImageOps

    with _opened(path, content) as image:
        enough = 2 * max(shape[:2])  # a JPEG is decoded at 1/2, 1/4 or 1/8 where that will do
        image.draft(None, (enough, enough))
        ImageOps.exif_transpose(image, in_place=True)
        return _fitted(image, shape)


def fit_pixels(image: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Turn an opened image upright, cut it to its middle part and resize it.

    Parameters
    ----------
    image : PIL.Image.Image
    shape : tuple of int
        (height, width, channels) wanted, with 1 or 3 channels.

    Returns
    -------
    ndarray [H, W, C], uint8

    Raises
    ------
    ValueError
        If it is corrupt, too large, or has more than 16 bits a channel.

    Examples
    --------
    >>> from PIL import Image
    >>> fit_pixels(Image.new("L", (30, 10), 7), (4, 4, 1))[0, 0]
    array([7], dtype=uint8)
    """
    from PIL import ImageOps

    try:
        return _fitted(ImageOps.exif_transpose(image), shape)
    except _decoder_errors() as error:
        raise ValueError(f"it cannot be read as an image: {error}") from error


def pixel_values(image: Any) -> NDArray[Any]:
    """The numbers of an opened image, as they are.

    Parameters
    ----------
    image : PIL.Image.Image

    Returns
    -------
    ndarray [H, W] or [H, W, C]

    Raises
    ------
    ValueError
        If it is corrupt or too large.

    Examples
    --------
    >>> from PIL import Image
    >>> pixel_values(Image.new("F", (2, 1), 0.5)).tolist()
    [[0.5, 0.5]]
    """
    try:
        return np.asarray(image)
    except _decoder_errors() as error:
        raise ValueError(f"it cannot be read as an image: {error}") from error


def _fitted(image: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    from PIL import Image

    height, width, channels = shape
    flat = _to_8_bits(image).convert("L" if channels == 1 else "RGB")
    # Cut and resized in one step, so that a long strip never grows to its whole length.
    zoom = min(flat.width / width, flat.height / height)
    left, top = (flat.width - zoom * width) / 2, (flat.height - zoom * height) / 2
    box = (left, top, flat.width - left, flat.height - top)
    small = flat.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    return np.asarray(small).reshape(shape)


def _to_8_bits(image: Any) -> Any:
    """16-bit grey to 8 bits, transparency over white."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("it has floating-point pixels; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("it has pixels of more than 16 bits; save it with 8 or 16 bits")
        return Image.fromarray((values // 256).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white


@contextmanager
def _opened(path: Path | str, content: bytes | None = None) -> Iterator[Any]:
    """The image, its size checked, its pixels not read yet; every failure names the path."""
    from PIL import Image, UnidentifiedImageError

    if content is None and not Path(path).is_file():
        raise FileNotFoundError(f"no image at {path}")
    source = path if content is None else io.BytesIO(content)
    try:
        with Image.open(source, formats=FORMATS) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise ValueError(
                    f"its {image.width} x {image.height} pixels are more than "
                    f"PIL.Image.MAX_IMAGE_PIXELS = {limit}"
                )
            yield image
    except UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        raise ValueError(f"{path} is not an image, or not one of {kinds}") from error
    except _decoder_errors() as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _decoder_errors() -> tuple[type[Exception], ...]:
    """What Pillow raises on damaged or huge files."""
    from PIL import Image

    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    return (*_DECODER_ERRORS, *bombs)


_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F"})
_DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error),
    *(ArithmeticError, AttributeError, RuntimeError, MemoryError),
)
