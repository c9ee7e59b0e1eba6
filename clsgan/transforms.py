"""Random changes of a batch of images, per sample: mirror, shift, jitter, cutout, affine.

Every function draws its own numbers for each image from the generator passed in (which must live on
the device of the images), and is differentiable in the images. ``clsgan.augment`` combines them.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clsgan.choices import one_of
from clsgan.draws import own_rows, uniform_rows


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2.

    Parameters
    ----------
    x : Tensor [B, C, H, W]
    generator : torch.Generator

    Returns
    -------
    Tensor [B, C, H, W]

    Examples
    --------
    >>> x = torch.tensor([0.0, 1.0]).expand(3, 1, 1, 2)
    >>> flip(x, torch.Generator().manual_seed(0)).reshape(3, 2).tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    mirrored = uniform_rows(x, generator, 0, 1) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


def shift(
    x: Tensor,
    generator: torch.Generator,
    pixels: int,
    padding: Literal["reflect", "edge"] = "reflect",
    mirror: bool = False,
) -> Tensor:
    """Move each image by whole pixels, up to `pixels` along each axis.

    Parameters
    ----------
    x : Tensor [B, C, H, W]
    generator : torch.Generator
    pixels : int
        Largest move in pixels, at most min(H, W) - 1.
    padding : {"reflect", "edge"}
        What moves in from outside: the image mirrored at its outermost pixel, or that pixel
        repeated.
    mirror : bool
        Also mirror each image left to right with probability 1/2, in the same pass over the pixels.

    Returns
    -------
    Tensor [B, C, H, W], channels_last in memory

    Raises
    ------
    ValueError
        If `pixels` is negative or not below min(H, W), or `padding` is unknown.

    Examples
    --------
    >>> x = torch.arange(4.0).expand(3, 1, 2, 4)
    >>> shift(x, torch.Generator().manual_seed(1), pixels=1)[:, 0, 0].tolist()
    [[1.0, 2.0, 3.0, 2.0], [0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]]
    """
    b, c, h, w = x.shape
    if not 0 <= pixels < min(h, w):
        raise ValueError(f"pixels must be in 0..{min(h, w) - 1} for {h}x{w} images, got {pixels}")
    pad = one_of("padding", padding, _PADDINGS)
    rows = pad(torch.arange(h, device=x.device) + _whole_steps(x, generator, pixels), h)
    columns = pad(torch.arange(w, device=x.device) + _whole_steps(x, generator, pixels), w)
    if mirror:
        mirrored = uniform_rows(x, generator, 0, 1) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    # One pass over the pixels: rows of C values picked out of the flat list of all pixels.
    start = torch.arange(b, device=x.device)[:, None, None] * (h * w)
    index = (start + rows[:, :, None] * w + columns[:, None, :]).reshape(-1)
    pixels_first = x.permute(0, 2, 3, 1).reshape(b * h * w, c)
    return pixels_first.index_select(0, index).view(b, h, w, c).permute(0, 3, 1, 2)


def jitter(
    x: Tensor,
    generator: torch.Generator,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
) -> Tensor:
    """Change saturation, contrast and brightness of each image, in this order.

    With draws s, c from U(1 - a, 1 + a) and b from U(-a, a), a being the argument of that name:
    x <- grey + s (x - grey), where grey is the mean over the channels; x <- mean + c (x - mean),
    where mean is that of the whole image; x <- x + b. As in differentiable augmentation for GANs
    (arXiv:2006.10738), nothing is clipped: clipping would stop gradients.

    Parameters
    ----------
    x : Tensor [B, C, H, W]
    generator : torch.Generator
    brightness : float
        In units of x, where black is -1 and white 1.
    contrast, saturation : float
        Largest relative change.

    Returns
    -------
    Tensor [B, C, H, W]
        May leave [-1, 1] by `brightness` and the gain in contrast.

    Examples
    --------
    >>> x = torch.zeros(2, 1, 1, 1)
    >>> out = jitter(x, torch.Generator().manual_seed(0), brightness=0.5)
    >>> [round(value, 3) for value in out.flatten().tolist()]
    [-0.412, -0.368]
    """
    exact = _at_least_float32(x)
    gain = uniform_rows(x, generator, 1 - contrast, 1 + contrast)
    level = uniform_rows(x, generator, -brightness, brightness)
    if contrast > 0:
        level = level + (1 - gain) * x.mean(dim=(1, 2, 3), dtype=exact)
    offset = level[:, None, None, None].to(x.dtype)
    if saturation > 0:
        s = uniform_rows(x, generator, 1 - saturation, 1 + saturation)
        grey = x.mean(dim=1, keepdim=True)
        offset = offset + (gain * (1 - s))[:, None, None, None].to(x.dtype) * grey
        gain = gain * s
    return torch.addcmul(offset, x, gain[:, None, None, None].to(x.dtype))


def cutout(x: Tensor, generator: torch.Generator, size: int) -> Tensor:
    """Set a square of each image to 0, which is mid-grey.

    The centre lies anywhere in the image, so that the square may reach over an edge (Cutout,
    arXiv:1708.04552).

    Parameters
    ----------
    x : Tensor [B, C, H, W]
    generator : torch.Generator
    size : int
        Side of the square in pixels.

    Returns
    -------
    Tensor [B, C, H, W]

    Examples
    --------
    >>> out = cutout(torch.ones(2, 1, 1, 6), torch.Generator().manual_seed(0), size=3)
    >>> out[:, 0, 0].int().tolist()
    [[0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]
    """
    inside = []
    for side in x.shape[2:]:
        centre = torch.floor(uniform_rows(x, generator, 0, side)).clamp(max=side - 1)
        offset = torch.arange(side, device=x.device) - (centre[:, None] - size // 2)
        inside.append((offset >= 0) & (offset < size))
    keep = ~(inside[0][:, :, None] & inside[1][:, None, :])
    return x * keep[:, None].to(x.dtype)


def affine(
    x: Tensor,
    generator: torch.Generator,
    degrees: float,
    scale: float,
    shear: float,
    pixels: float = 0.0,
    mirror: bool = False,
) -> Tensor:
    """Rotate, scale, shear and move each image about its centre, by bilinear interpolation.

    Output pixel p = (x, y), counted from the centre, shows the image at R(a) S p / s + t. R(a)
    turns by a from U(-degrees, degrees), S = [[1, k], [0, 1]] with k from U(-shear, shear), s from
    U(1 - scale, 1 + scale) and both entries of t from U(-pixels, pixels). Outside lies the image
    reflected.

    Parameters
    ----------
    x : Tensor [B, C, H, W]
    generator : torch.Generator
    degrees : float
        Largest angle.
    scale : float
        Largest relative change of size, below 1.
    shear : float
        Largest shear, in pixels along x per pixel along y.
    pixels : float
        Largest move along each axis, in pixels; not rounded to whole ones.
    mirror : bool
        Also mirror each image left to right with probability 1/2, in the same pass over the pixels.

    Returns
    -------
    Tensor [B, C, H, W]

    Raises
    ------
    ValueError
        If `scale` is not in [0, 1).

    Examples
    --------
    >>> x = torch.rand(2, 3, 8, 8)
    >>> out = affine(x, torch.Generator().manual_seed(0), degrees=0, scale=0, shear=0)
    >>> torch.allclose(out, x, atol=1e-6)
    True
    """
    if not 0 <= scale < 1:
        raise ValueError(f"scale must be in [0, 1), got {scale}")
    b, c, h, w = x.shape
    angle = uniform_rows(x, generator, -degrees, degrees) * (math.pi / 180)
    zoom = 1 / uniform_rows(x, generator, 1 - scale, 1 + scale)
    k = uniform_rows(x, generator, -shear, shear)
    across, down = (uniform_rows(x, generator, -pixels, pixels) for _ in range(2))
    side = torch.ones_like(zoom)
    if mirror:
        side = torch.where(uniform_rows(x, generator, 0, 1) < 0.5, -side, side)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    # Rows of the matrix in units of half an image side, as affine_grid takes them.
    theta = torch.stack(
        [
            *(cos * side, (cos * k - sin) * (h / w), across * (2 / w)),
            *(sin * side * (w / h), sin * k + cos, down * (2 / h)),
        ],
        dim=1,
    ).view(b, 2, 3)
    exact = _at_least_float32(x)  # bf16 is too coarse for a grid
    grid = F.affine_grid(theta.to(exact), [b, c, h, w], align_corners=False)
    return F.grid_sample(
        x.to(exact), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    ).to(x.dtype)


def _whole_steps(x: Tensor, generator: torch.Generator, most: int) -> Tensor:
    """One whole number a sample from -most..most: int64 [B, 1] on the device of x."""
    return own_rows(
        generator,
        len(x),
        lambda n: torch.randint(-most, most + 1, (n, 1), generator=generator, device=x.device),
    )


def _at_least_float32(x: Tensor) -> torch.dtype:
    return x.dtype if x.dtype == torch.float64 else torch.float32


def _reflect(index: Tensor, side: int) -> Tensor:
    return (side - 1) - ((side - 1) - index.abs()).abs()


def _edge(index: Tensor, side: int) -> Tensor:
    return index.clamp(0, side - 1)


_PADDINGS: dict[str, Callable[[Tensor, int], Tensor]] = {"reflect": _reflect, "edge": _edge}
