"""A first layer that is fitted to the images once, and then stays fixed."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_DIRECTIONS = 24
MAX_IMAGES = 5_000
MAX_PATCHES = 2**19
CHUNK_VALUES = 2**24


def patch_grid(
    input_shape: tuple[int, int, int],
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Stride, size and number of the patches that `WhiteningStem` sees, each down and across.

    Parameters
    ----------
    input_shape : tuple of int
        (C, H, W).

    Returns
    -------
    stride, kernel, out_size : tuple of int

    Examples
    --------
    >>> patch_grid((3, 32, 32)), patch_grid((3, 224, 224))[2]
    (((1, 1), (2, 2), (31, 31)), (37, 37))
    """
    down, across = (_along(side) for side in input_shape[1:])
    return (down[0], across[0]), (down[1], across[1]), (down[2], across[2])


def _along(side: int) -> tuple[int, int, int]:
    stride = -(-side // 40)
    kernel = min(stride + 1, side)
    return stride, kernel, (side - kernel) // stride + 1


class WhiteningStem(nn.Module):
    """Fixed filters that whiten image patches, each beside its negative, then GELU.

    The filters are the eigenvectors of the covariance of the patches over the square root of
    their eigenvalues, largest first (as in Keller Jordan's "94% on CIFAR-10 in 3.29 seconds",
    arXiv 2404.00498, section 3.1). Before `fit` they are random and orthogonal.

    Small sides are seen by 2-pixel patches at stride 1. A side of more than 40 pixels is cut
    into patches of ceil(side / 40) pixels, one more where they overlap, so that what follows
    works on about 40 x 40 at most.

    Parameters
    ----------
    input_shape : tuple of int
        (C, H, W).

    Attributes
    ----------
    out_channels : int
        Twice the number of directions kept, which is at most 24.
    out_size : tuple of int
        (H', W').

    Examples
    --------
    >>> stem = WhiteningStem((3, 32, 32))
    >>> stem(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 24, 31, 31])
    >>> WhiteningStem((3, 224, 224)).out_size
    (37, 37)
    """

    filters: Tensor
    bias: Tensor

    def __init__(self, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.stride, kernel, self.out_size = patch_grid(input_shape)
        channels = input_shape[0]
        values = channels * kernel[0] * kernel[1]
        directions = torch.empty(min(values, MAX_DIRECTIONS), values)
        nn.init.orthogonal_(directions)
        self.out_channels = 2 * len(directions)
        self.register_buffer("filters", _with_negatives(directions, (channels, *kernel)))
        # Fixed like the filters: to train it takes the gradient of the network's largest map, 5 to
        # 9 % of a step's time on CIFAR-10, for the same error.
        self.register_buffer("bias", torch.zeros(self.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Whitened patches.

        Parameters
        ----------
        x : Tensor [B, C, H, W]

        Returns
        -------
        Tensor [B, out_channels, H', W']
        """
        return F.gelu(F.conv2d(x, self.filters, self.bias, self.stride))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Set filters and bias so that the patches of these images come out white.

        Along an eigenvector with eigenvalue v the output has mean 0 and variance v / (v + eps),
        where eps is 5e-4 of the mean eigenvalue, plus 1e-5 (the square of one grey level over
        about 6), so that noise and constant pixels are not blown up.

        Parameters
        ----------
        images : Tensor [N, C, H, W]
            In [-1, 1]. Evenly spaced ones are used when there are more than are needed.

        Raises
        ------
        ValueError
            If the images have another shape than the stem was built for.
        """
        mean, covariance = self._patch_moments(images)
        values, vectors = torch.linalg.eigh(covariance)
        scale = (values.clamp(min=0.0) + 5e-4 * values.mean() + 1e-5).rsqrt()
        directions = (vectors * scale).T.flip(0)[: self.out_channels // 2]
        offset = -(directions @ mean)
        shape = (self.filters.shape[1], self.filters.shape[2], self.filters.shape[3])
        self.filters.copy_(_with_negatives(directions, shape))
        self.bias.copy_(torch.cat([offset, -offset]))

    def _patch_moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [D] and covariance [D, D] of the patches, in float64 on the CPU."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for patches in self._patches(images):
            count += len(patches)
            total = total + patches.sum(0)
            squares = squares + patches.T @ patches
        mean = total / count
        return mean, squares / count - torch.outer(mean, mean)

    def _patches(self, images: Tensor) -> Iterator[Tensor]:
        """Chunks of patches [M, D], float64."""
        if len(images) == 0 or images.shape[1:] != self.input_shape:
            raise ValueError(
                f"images of shape {tuple(images.shape)} cannot fit this stem; "
                f"give [N, {', '.join(map(str, self.input_shape))}] with N > 0"
            )
        kernel = (self.filters.shape[2], self.filters.shape[3])
        per_image = self.out_size[0] * self.out_size[1]
        wanted = min(len(images), MAX_IMAGES, max(1, MAX_PATCHES // per_image))
        rows = torch.linspace(0, len(images) - 1, wanted).round().long()
        chunk = max(1, CHUNK_VALUES // (per_image * self.filters[0].numel()))
        for part in torch.split(rows, chunk):
            x = images[part.to(images.device)].cpu().double()
            yield F.unfold(x, kernel, stride=self.stride).transpose(1, 2).flatten(0, 1)


def _with_negatives(directions: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Filters [2n, C, h, w] of directions [n, C * h * w] and of their negatives."""
    return torch.cat([directions, -directions]).view(-1, *shape)


def whiten_stem(network: nn.Module, images: Tensor) -> None:
    """Fit the fixed first layer of a network to images; do nothing where it has none.

    Parameters
    ----------
    network : nn.Module
        Changed in place. Call this before optimisers and weight averages copy anything.
    images : Tensor [N, C, H, W]
        Real images in [-1, 1], labeled or not. Up to 5,000 of them are used.

    Raises
    ------
    ValueError
        If the images have another shape than the network was built for.

    Examples
    --------
    >>> stem = WhiteningStem((1, 8, 8))
    >>> images = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> whiten_stem(nn.Sequential(stem), images)
    >>> white = F.conv2d(images, stem.filters[:4], stem.bias[:4])
    >>> [round(v, 2) for v in white.var(dim=(0, 2, 3)).tolist()]
    [1.0, 1.0, 1.0, 1.0]
    """
    for module in network.modules():
        if isinstance(module, WhiteningStem):
            module.fit(images)
