"""Generators: (z, y) -> x."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsgan.choices import is_within
from clsgan.networks.loss_networks import init_normal
from clsgan.networks.shapes import check_input_shape, check_widths, full_precision, image_shape


def one_hot_beside(z: Tensor, y: Tensor, n_classes: int) -> Tensor:
    """Latent vectors with the class behind them, one-hot (the paper, section 7.2).

    Parameters
    ----------
    z : Tensor [B, Z]
    y : Tensor [B], int64
        In 0..n_classes - 1.
    n_classes : int

    Returns
    -------
    Tensor [B, Z + n_classes]

    Examples
    --------
    >>> one_hot_beside(torch.zeros(2, 1), torch.tensor([0, 2]), 3)
    tensor([[0., 1., 0., 0.],
            [0., 0., 0., 1.]])
    """
    return torch.cat([z, F.one_hot(y, n_classes).to(z.dtype)], dim=1)


class SmallGenerator(nn.Module):
    """Upsampling and 3x3 convolutions, each under a norm whose scale and shift the class sets.

    A linear layer makes a map of at most 8x8, which doubles (nearest neighbour, to the exact
    size, so any height and width works); the last step is an up-convolution straight to the
    image, as in the paper's generator: of stride 1 where no side is above 15, 2 up to 64, and
    above that such that the map before it has about 32 x 32 places. Ending at half resolution
    made a training step on 32x32 images 2.5 times quicker.

    Group norms, not batch norms: an image does not depend on the others of its batch, and
    averaged weights need no statistics of their own.

    Parameters
    ----------
    input_shape : tuple of int
        (C, H, W); any size.
    n_classes : int
    latent_dim : int
    widths : sequence of int, default=(128, 64, 32)
        Channels from the smallest map on; the last is repeated as often as needed. Each is a
        multiple of 8.

    Examples
    --------
    >>> generator = SmallGenerator((1, 9, 7), 10, 16)
    >>> generator(torch.zeros(2, 16), torch.tensor([3, 4])).shape
    torch.Size([2, 1, 9, 7])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        n_classes: int,
        latent_dim: int,
        *,
        widths: Sequence[int] = (128, 64, 32),
    ) -> None:
        super().__init__()
        channels, self.height, self.width = image_shape(input_shape, "small")
        widths = check_widths("widths", widths)
        if any(width % 8 for width in widths):
            raise ValueError(f"widths={widths!r} is not valid; give multiples of 8")
        self.n_classes = n_classes
        stride = _last_stride(max(self.height, self.width))
        self.sizes = _doubling_sizes(-(-self.height // stride), -(-self.width // stride))
        widths = [widths[min(i, len(widths) - 1)] for i in range(len(self.sizes))]
        self.base_width = widths[0]
        places = self.sizes[0][0] * self.sizes[0][1]
        self.base = nn.Linear(latent_dim + n_classes, widths[0] * places)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, bias=False) for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(_ClassNorm(width, n_classes) for width in widths)
        # Kernel and padding for which the output has exactly `stride` times the size.
        kernel, padding = 2 * stride + stride % 2, (stride + stride % 2) // 2
        self.to_image = nn.ConvTranspose2d(widths[-1], channels, kernel, stride, padding)
        # First pixels with an RMS near 0.5: torch's own start is so large that the tanh saturates.
        taps = widths[-1] * (kernel / stride) ** 2
        nn.init.normal_(self.to_image.weight, std=0.5 * math.sqrt(2 / taps))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Images.

        Parameters
        ----------
        z : Tensor [B, Z]
        y : Tensor [B], int64

        Returns
        -------
        Tensor [B, C, H, W]
            In [-1, 1].
        """
        x = self.base(one_hot_beside(z, y, self.n_classes))
        x = x.view(-1, self.base_width, *self.sizes[0])
        x = F.leaky_relu(self.norms[0](x.contiguous(memory_format=torch.channels_last), y), 0.2)
        for i, convolution in enumerate(self.convolutions, start=1):
            x = convolution(F.interpolate(x, size=self.sizes[i]))
            x = F.leaky_relu(self.norms[i](x, y), 0.2)
        x = self.to_image(x)[:, :, : self.height, : self.width]
        return full_precision(x).tanh()


class _ClassNorm(nn.Module):
    """Group norm with a scale and a shift for each class."""

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels, affine=False)
        self.scale = nn.Parameter(torch.ones(n_classes, channels))
        self.shift = nn.Parameter(torch.zeros(n_classes, channels))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        normed: Tensor = self.norm(x)
        scale, shift = self.scale[y][:, :, None, None], self.shift[y][:, :, None, None]
        return normed * scale.to(normed.dtype) + shift.to(normed.dtype)


def _last_stride(side: int) -> int:
    """Stride of the up-convolution that makes the image."""
    if side < 16:
        return 1
    return 2 if side <= 64 else -(-side // 32)


def _doubling_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes of the maps, from at most 8x8 on, each half of the next, rounded up."""
    sizes = [(height, width)]
    while max(sizes[0]) > 8 or len(sizes) == 1:
        sizes.insert(0, (-(-sizes[0][0] // 2), -(-sizes[0][1] // 2)))
    return sizes


class PaperGenerator(nn.Module):
    """The generator of Table 1 of the LS-GAN paper (arXiv 1701.06264 v3), for CIFAR-10 and SVHN.

    z and the one-hot class make a 4x4 map, which 4x4 up-convolutions of stride 2 double, with
    512, 256 and 128 channels, then C; batch norm and LeakyReLU of slope 0.2; tanh. Weights start
    from N(0, 0.02). The table prints a batch norm and a LeakyReLU before the tanh as well: they
    would keep pixels from being dark, the authors' code has none there, and so has this.

    Beyond the table: as many doublings as the size needs, channels halved at each (32 at
    least), and the middle cut out where the size is not the first map's times a power of two.

    Parameters
    ----------
    input_shape : tuple of int
        (C, H, W); the table has (3, 32, 32).
    n_classes : int
    latent_dim : int
        The table has 100.
    norm : bool, default=True
        Whether there is batch norm: section 7.3 of the paper trains without.
    width : int, default=512
        Channels of the first map; less costs less.

    Examples
    --------
    >>> generator = PaperGenerator((1, 9, 7), 10, 100).eval()
    >>> generator(torch.zeros(2, 100), torch.tensor([3, 4])).shape
    torch.Size([2, 1, 9, 7])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        n_classes: int,
        latent_dim: int,
        *,
        norm: bool = True,
        width: int = 512,
    ) -> None:
        super().__init__()
        if not is_within(width, 1) or isinstance(width, bool) or width != int(width):
            raise ValueError(f"width={width!r} is not valid; give a positive integer")
        image_channels, self.height, self.width = image_shape(input_shape, "paper")
        self.n_classes = n_classes
        doublings = 1
        while max(self.height, self.width) > 4 << doublings:
            doublings += 1
        base = (-(-self.height // (1 << doublings)), -(-self.width // (1 << doublings)))
        widths = [max(int(width) >> i, min(32, int(width))) for i in range(doublings)]
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent_dim + n_classes, widths[0], base, bias=not norm)
        ]
        for i, channels in enumerate([*widths[1:], image_channels]):
            layers += [nn.BatchNorm2d(widths[i]) if norm else nn.Identity(), nn.LeakyReLU(0.2)]
            last = i == doublings - 1 or not norm
            layers.append(nn.ConvTranspose2d(widths[i], channels, 4, 2, padding=1, bias=last))
        self.layers = nn.Sequential(*layers)
        init_normal(self)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Images.

        Parameters
        ----------
        z : Tensor [B, Z]
        y : Tensor [B], int64

        Returns
        -------
        Tensor [B, C, H, W]
            In [-1, 1].
        """
        x = self.layers(one_hot_beside(z, y, self.n_classes)[:, :, None, None])
        top, left = (x.shape[2] - self.height) // 2, (x.shape[3] - self.width) // 2
        x = x[:, :, top : top + self.height, left : left + self.width]
        return full_precision(x).tanh()


class MLPGenerator(nn.Module):
    """Linear - layer norm - GELU, as often as asked, then a linear layer: rows, or small images.

    Parameters
    ----------
    input_shape : tuple of int
        (D,) for rows, which are unbounded; (C, H, W) for images, which end in a tanh.
    n_classes : int
    latent_dim : int
    hidden : sequence of int, default=(128, 128)
        Units of the hidden layers.
    norm : bool, default=True
        Whether there is layer norm.

    Examples
    --------
    >>> MLPGenerator((4,), 3, 16)(torch.zeros(2, 16), torch.tensor([0, 2])).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        n_classes: int,
        latent_dim: int,
        *,
        hidden: Sequence[int] = (128, 128),
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.input_shape = check_input_shape(input_shape)
        self.n_classes = n_classes
        units = latent_dim + n_classes
        layers: list[nn.Module] = []
        for width in check_widths("hidden", hidden):
            layers += [nn.Linear(units, width), nn.LayerNorm(width) if norm else nn.Identity()]
            layers.append(nn.GELU())
            units = width
        layers.append(nn.Linear(units, torch.Size(self.input_shape).numel()))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Rows or images.

        Parameters
        ----------
        z : Tensor [B, Z]
        y : Tensor [B], int64

        Returns
        -------
        Tensor [B, *input_shape]
        """
        x = full_precision(self.layers(one_hot_beside(z, y, self.n_classes)))
        return x.view(-1, *self.input_shape).tanh() if len(self.input_shape) == 3 else x
