"""Images of no class, to test outlier scores on; made here or found, never downloaded.

Each function takes test images [N, H, W] or [N, H, W, C], uint8, and a number, and returns as many
images of the same form.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from clsgan.data import load_data

Images = NDArray[np.uint8]
COUNT, SEED = 2_000, 0  # the same images in every job
COARSE, PATCHES = 4, 4  # a side of smooth noise before it is enlarged; patches along a side


def uniform_noise(test: Images, count: int, rng: np.random.Generator) -> Images:
    """Every value drawn for itself."""
    return rng.integers(0, 256, (count, *test.shape[1:]), dtype=np.uint8)


def smooth_noise(test: Images, count: int, rng: np.random.Generator) -> Images:
    """Uniform noise of 4x4 pixels, enlarged with bicubic interpolation: blurs of colours."""
    height, width, *channels = test.shape[1:]
    coarse = torch.from_numpy(rng.random((count, *(channels or [1]), COARSE, COARSE)))
    size = (height, width)
    fine = torch.nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=True)
    pixels = (fine.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return np.ascontiguousarray(pixels).reshape(count, *test.shape[1:])


def single_colours(test: Images, count: int, rng: np.random.Generator) -> Images:
    """One colour an image."""
    colours = rng.integers(0, 256, (count, 1, 1, *test.shape[3:]), dtype=np.uint8)
    return np.broadcast_to(colours, (count, *test.shape[1:])).copy()


def shuffled_patches(test: Images, count: int, rng: np.random.Generator) -> Images:
    """Test images cut into 4x4 patches (8x8 pixels each of 32x32) that change places."""
    images = test[np.arange(count) % len(test)].copy()
    height, width = (max(side // PATCHES, 1) for side in images.shape[1:3])
    down, across = images.shape[1] // height, images.shape[2] // width
    whole = images[:, : down * height, : across * width]  # what is beyond whole patches stays
    patches = whole.reshape(count, down, height, across, width, -1).swapaxes(2, 3)
    patches = patches.reshape(count, down * across, height, width, -1)
    order = rng.random((count, down * across)).argsort(axis=1)
    patches = np.take_along_axis(patches, order[:, :, None, None, None], axis=1)
    patches = patches.reshape(count, down, across, height, width, -1).swapaxes(2, 3)
    images[:, : down * height, : across * width] = patches.reshape(whole.shape)
    return images


def fashion_mnist(test: Images, count: int, rng: np.random.Generator) -> Images:
    """Garments of Fashion-MNIST's test set on a black ground, grey in every channel.

    FileNotFoundError where the data set is not on this machine, ValueError where the images are
    smaller than its own.
    """
    garments = load_data("fashion-mnist").x_test
    above, left = ((side - own) // 2 for side, own in zip(test.shape[1:3], (28, 28), strict=True))
    if min(above, left) < 0:
        raise ValueError(f"images of {test.shape[1]}x{test.shape[2]} are smaller than 28x28")
    drawn = garments[rng.choice(len(garments), count, replace=count > len(garments))]
    images = np.zeros((count, *test.shape[1:]), np.uint8)
    place = images[:, above : above + 28, left : left + 28]
    place[:] = drawn.reshape(count, 28, 28, *(1 for _ in test.shape[3:]))
    return images


KINDS: dict[str, Callable[[Images, int, np.random.Generator], Images]] = {
    "uniform noise": uniform_noise,
    "smooth noise": smooth_noise,
    "single colours": single_colours,
    "shuffled patches": shuffled_patches,
    "Fashion-MNIST": fashion_mnist,
}


def outlier_images(
    test: Images, skip: str = "", count: int = COUNT
) -> tuple[dict[str, Images], list[str]]:
    """Images of every kind, and a note for each kind that cannot be had.

    The kind named `skip` is the data set that was trained on.
    """
    made, notes = {}, []
    for place, (kind, make) in enumerate(KINDS.items()):
        if kind.casefold() == skip.casefold():
            notes.append(f"no outliers of {kind}: they are the data")
            continue
        try:
            made[kind] = make(test, count, np.random.default_rng([SEED, place]))
        except (FileNotFoundError, ValueError) as error:
            notes.append(f"no outliers of {kind}: {str(error).splitlines()[0]}")
    return made, notes
