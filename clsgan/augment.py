"""Augmentation: named families on tensors, and any albumentations pipeline.

The named families change whole batches on the device and pass gradients. Pipelines work image by
image on the CPU and pass none.
"""

import copy
import functools
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsgan.choices import one_of
from clsgan.draws import own_rows
from clsgan.transforms import affine, cutout, jitter, shift

Augment = Callable[[Tensor, torch.Generator], Tensor]


def build_augment(name: str, input_shape: tuple[int, ...], flip: bool) -> Augment:
    """Build a family of augmentations by name, fitted to the size of the images.

    - ``none``: the images as they are.
    - ``weak``: mirrored (if `flip`) and moved by up to 1/8 of the shorter side (1 pixel of 8,
      4 of 32).
    - ``medium``: weak, then brightness and contrast by up to 0.2 and a cut-out square of 3/8 of the
      shorter side (12 pixels of 32). No interpolation, so the images stay sharp: for
      training by labels within minutes.
    - ``strong``: mirrored and moved as far as in weak, rotated by up to 15 degrees, scaled and
      sheared by up to 0.15, all in one interpolation; brightness, contrast and, with 3 channels,
      saturation by up to 0.4; cut out as in medium. For the second view of consistency methods
      and for long runs.

    Parameters
    ----------
    name : {"none", "weak", "medium", "strong"}
    input_shape : tuple of int
        (C, H, W). Rows (D,) have no augmentation but ``none``.
    flip : bool
        Whether a mirrored image is still of its class: not so for digits.

    Returns
    -------
    callable
        (x [B, C, H, W] in [-1, 1], torch.Generator) -> Tensor [B, C, H, W]. Call it twice for two
        views of the same images.

    Raises
    ------
    ValueError
        If the name is unknown, or rows are to be augmented.

    Examples
    --------
    >>> augment = build_augment("weak", (3, 32, 32), flip=True)
    >>> augment(torch.zeros(2, 3, 32, 32), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 32, 32])
    """
    apply = one_of("augment", name, AUGMENTS)
    if len(input_shape) != 3 and name != "none":
        raise ValueError(
            f"augment={name!r} is for images (C, H, W); for rows of shape {input_shape} "
            "the only choice is augment='none'"
        )
    return functools.partial(_checked, apply=apply, input_shape=tuple(input_shape), mirror=flip)


def _checked(
    x: Tensor,
    generator: torch.Generator,
    apply: Callable[[Tensor, torch.Generator, bool], Tensor],
    input_shape: tuple[int, ...],
    mirror: bool,
) -> Tensor:
    if tuple(x.shape[1:]) != input_shape:
        raise ValueError(f"images of shape {input_shape} are expected, got {tuple(x.shape[1:])}")
    return apply(x, generator, mirror)


def _none(x: Tensor, generator: torch.Generator, mirror: bool) -> Tensor:
    return x


def _weak(x: Tensor, generator: torch.Generator, mirror: bool) -> Tensor:
    return shift(x, generator, min(x.shape[2:]) // 8, mirror=mirror)


def _medium(x: Tensor, generator: torch.Generator, mirror: bool) -> Tensor:
    x = jitter(_weak(x, generator, mirror), generator, brightness=0.2, contrast=0.2)
    return cutout(x, generator, 3 * min(x.shape[2:]) // 8)


def _strong(x: Tensor, generator: torch.Generator, mirror: bool) -> Tensor:
    side = min(x.shape[2:])
    x = affine(x, generator, degrees=15, scale=0.15, shear=0.15, pixels=side // 8, mirror=mirror)
    saturation = 0.4 if x.shape[1] == 3 else 0.0
    x = jitter(x, generator, brightness=0.4, contrast=0.4, saturation=saturation)
    return cutout(x, generator, 3 * side // 8)


def albumentations_augment(pipeline: Any, dtype: Literal["uint8", "float32"] = "uint8") -> Augment:
    """Wrap an albumentations pipeline, seeded from the generator, image by image on the CPU.

    Parameters
    ----------
    pipeline : albumentations transform, mapping, str or Path
        ``A.Compose([...])`` or a single transform; or its dict form (``A.to_dict``); or the path of
        a .json, .yaml or .yml file with that form. A copy is used: the object is not touched.
    dtype : {"uint8", "float32"}
        What the transforms get: uint8 in 0..255, or float32 in 0..1 for those that need it.

    Returns
    -------
    callable
        (x [B, C, H, W] in [-1, 1], torch.Generator) -> Tensor [B, C, H, W] of the dtype and on the
        device of x. It passes no gradient and raises ValueError where x asks for one, or where the
        pipeline fails or changes the shape or type of an image.

    Raises
    ------
    TypeError
        If `pipeline` is none of the above.
    FileNotFoundError
        If the file is not there.
    ValueError
        If the dict form or file is not one of albumentations, or `dtype` is unknown.

    Examples
    --------
    >>> form = {"transform": {"__class_fullname__": "HorizontalFlip", "p": 1.0}}
    >>> x = torch.tensor([[-1.0, 1.0]]).reshape(1, 1, 1, 2)
    >>> albumentations_augment(form)(x, torch.Generator()).flatten().tolist()
    [1.0, -1.0]
    """
    scale, numpy_dtype = one_of("dtype", dtype, _PIXELS)
    transform = _build_pipeline(pipeline)

    def augment(x: Tensor, generator: torch.Generator) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                "an albumentations pipeline passes no gradient to the images; "
                "use augment='none', 'weak', 'medium' or 'strong' for generated ones"
            )
        seeds = own_rows(
            generator,
            len(x),
            lambda n: torch.randint(2**62, (n,), generator=generator, device=x.device),
        ).tolist()
        pixels = ((x.detach().float() + 1) * (scale / 2)).clamp(0, scale)
        if numpy_dtype == np.uint8:
            pixels = pixels.round()
        images = pixels.permute(0, 2, 3, 1).cpu().numpy().astype(numpy_dtype)
        for image, seed in zip(images, seeds, strict=True):
            image[...] = _apply_pipeline(transform, image, seed)
        changed = torch.from_numpy(images).to(x.device).permute(0, 3, 1, 2)
        return (changed.float() * (2 / scale) - 1).to(x.dtype)

    return augment


def _apply_pipeline(transform: Any, image: NDArray[Any], seed: int) -> NDArray[Any]:
    # Not set_random_seed: it gives every transform of the pipeline a generator of its own with the
    # same seed, so that all of them draw the same numbers (flipped if and only if darkened).
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    try:
        changed: NDArray[Any] = transform(image=image)["image"]
    except Exception as error:  # whatever the user's transforms may raise
        raise ValueError(
            f"the albumentations pipeline fails on a {image.dtype} image of shape {image.shape} "
            f"(height, width, channels): {error}"
        ) from error
    if not isinstance(changed, np.ndarray) or changed.shape != image.shape:
        raise ValueError(
            f"the albumentations pipeline turns an image of shape {image.shape} (height, width, "
            f"channels) into {getattr(changed, 'shape', type(changed))}; it must keep the shape"
        )
    if changed.dtype != image.dtype:
        raise ValueError(
            f"the albumentations pipeline turns {image.dtype} into {changed.dtype}; leave out "
            "Normalize, ToFloat and the like"
        )
    return changed


def _build_pipeline(pipeline: Any) -> Any:
    """A pipeline of our own, seedable, from any of the forms that a user may give."""
    albumentations = _import_albumentations()
    if isinstance(pipeline, Mapping | str | Path):
        pipeline = _parse_pipeline(albumentations, pipeline)
    if isinstance(pipeline, albumentations.BasicTransform):
        pipeline = albumentations.Compose([pipeline])
    if not isinstance(pipeline, albumentations.BaseCompose):
        raise TypeError(
            "an albumentations transform, its dict form or the path of a .json or .yaml file is "
            f"expected, got {type(pipeline).__name__}"
        )
    return copy.deepcopy(pipeline)


def _parse_pipeline(albumentations: Any, form: Mapping[str, Any] | str | Path) -> Any:
    source = "the mapping" if isinstance(form, Mapping) else str(form)
    try:
        if isinstance(form, Mapping):
            return albumentations.from_dict(dict(form))
        kind = "json" if Path(form).suffix == ".json" else "yaml"
        return albumentations.load(form, data_format=kind)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no albumentations pipeline at {source}") from error
    except Exception as error:  # of the parser, the registry or any transform's own checks
        raise ValueError(
            f"{source} is not the dict form of an albumentations pipeline (see A.to_dict): "
            f"{error!r}"
        ) from error


def photo_pipeline(height: int, width: int, flip: bool) -> Any:
    """Build the pipeline for photos: crop and resize, mirror, change of colours, cut out a part.

    The crops are kept large, so that objects have about the size that they have at prediction.

    Parameters
    ----------
    height, width : int
        Size of the images, in pixels; kept.
    flip : bool
        Whether a mirrored image is still of its class.

    Returns
    -------
    albumentations.Compose
        For images with 1 or 3 channels.

    Examples
    --------
    >>> image = np.zeros((24, 32, 3), dtype=np.uint8)
    >>> photo_pipeline(24, 32, flip=True)(image=image)["image"].shape
    (24, 32, 3)
    """
    albumentations = _import_albumentations()
    return albumentations.Compose(
        [
            albumentations.RandomResizedCrop(
                size=(height, width), scale=(0.7, 1.0), ratio=(0.9, 1.1)
            ),
            albumentations.HorizontalFlip(p=0.5 if flip else 0.0),
            albumentations.ColorJitter(
                brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02, p=0.5
            ),
            albumentations.CoarseDropout(
                num_holes_range=(1, 1),
                hole_height_range=(0.3, 0.375),
                hole_width_range=(0.3, 0.375),
                fill=127.5,
                p=1.0,
            ),
        ]
    )


def _import_albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for updates
    import albumentations

    return albumentations


_PIXELS: dict[str, tuple[float, type[np.generic]]] = {
    "uint8": (255.0, np.uint8),
    "float32": (1.0, np.float32),
}

AUGMENTS: dict[str, Callable[[Tensor, torch.Generator, bool], Tensor]] = {
    "none": _none,
    "weak": _weak,
    "medium": _medium,
    "strong": _strong,
}
