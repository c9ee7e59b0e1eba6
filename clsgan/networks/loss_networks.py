"""Loss networks: x -> (logits a_k(x), features)."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from clsgan.choices import one_of
from clsgan.networks.shapes import LinearHead, check_input_shape, check_widths, image_shape
from clsgan.networks.small_maps import SmallMapConv2d
from clsgan.networks.whitening import MAX_DIRECTIONS, WhiteningStem, patch_grid


class SmallLossNetwork(nn.Module):
    """Six convolutions behind a whitening stem: quick on a CPU, in bf16 and channels_last.

    Each stage: conv 3x3 - max-pool - batch norm - GELU - conv 3x3 - batch norm - GELU. A side is
    halved in stage i (from 0) only while it is longer than max(20 / 2^i, 3), so small images keep
    their resolution. The features are the maxima over the last map.

    Pooling before the first norm was 1.4 times quicker in total than pooling behind the first
    activation. In supervised CIFAR-10 runs of equal time (240 steps of 256; one seed each; 5,000
    held-out training rows; widths 64, 128, 256) the error was 21.0 %; with the default widths
    17.8, with 4x4 patches at stride 2 as the stem 24.5, stride-2 convolutions for the pools 24.8,
    mean-pools 25.9, a mean for the last maximum 24.1.

    Parameters
    ----------
    input_shape : tuple of int
        (C, H, W); any size.
    n_classes : int
    widths : sequence of int, default=(32, 64, 128)
        Channels of the stages. Multiples of 32 suit the hardware.
    norm : bool or {"batch", "group", "none"}, default=True
        True is "batch", False is "none": critics under a penalty do without. A group norm has at
        most 8 groups; a row's scores then depend on no other row, in training too.

    Attributes
    ----------
    num_features : int
    widths : list of int

    Examples
    --------
    >>> network = SmallLossNetwork((1, 8, 8), 10, widths=(32, 64, 64))
    >>> logits, features = network(torch.zeros(2, 1, 8, 8))
    >>> logits.shape, features.shape
    (torch.Size([2, 10]), torch.Size([2, 64]))
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        n_classes: int,
        *,
        widths: Sequence[int] = (32, 64, 128),
        norm: bool | str = True,
    ) -> None:
        super().__init__()
        self.widths = widths = check_widths("widths", widths)
        if isinstance(norm, bool):
            norm = "batch" if norm else "none"
        make_norm = one_of("norm", norm, NORMS)
        self.stem = WhiteningStem(image_shape(input_shape, "small"))
        channels, stages = self.stem.out_channels, []
        for width, pool, _ in _small_stages(self.stem.out_size, widths):
            stages.append(_small_stage(channels, width, pool, make_norm))
            channels = width
        self.stages = nn.Sequential(*stages)
        self.num_features = channels
        self.head = LinearHead(channels, n_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features.

        Parameters
        ----------
        x : Tensor [B, C, H, W]
            In [-1, 1].

        Returns
        -------
        logits : Tensor [B, K]
        features : Tensor [B, F]
        """
        logits, features = self.head(self.stages(self.stem(x)).amax(dim=(2, 3)))
        return logits, features


def small_operations(input_shape: Sequence[int], widths: Sequence[int]) -> int:
    """Multiplications that one image takes in the convolutions of `SmallLossNetwork`'s stages.

    Parameters
    ----------
    input_shape : tuple of int
        (C, H, W).
    widths : sequence of int

    Returns
    -------
    int
        Of a forward pass; the stem is fixed and not counted.

    Examples
    --------
    >>> wide, narrow = (64, 128, 256), (32, 64, 128)
    >>> round(small_operations((3, 32, 32), wide) / small_operations((3, 32, 32), narrow), 1)
    3.3
    """
    shape = image_shape(input_shape, "small")
    _, kernel, size = patch_grid(shape)
    channels, operations = 2 * min(shape[0] * kernel[0] * kernel[1], MAX_DIRECTIONS), 0
    for width, _, pooled in _small_stages(size, widths):
        operations += 9 * width * (channels * math.prod(size) + width * math.prod(pooled))
        channels, size = width, pooled
    return operations


def _small_stages(
    size: tuple[int, int], widths: Sequence[int]
) -> Iterator[tuple[int, tuple[int, int], tuple[int, int]]]:
    """Width of each stage, how it pools, and the size of its map behind that."""
    for i, width in enumerate(widths):
        longest = max(20 >> i, 3)
        pool = (1 + (size[0] > longest), 1 + (size[1] > longest))
        size = (size[0] // pool[0], size[1] // pool[1])
        yield width, pool, size


def _small_stage(
    channels: int, width: int, pool: tuple[int, int], make_norm: Callable[[int], nn.Module]
) -> nn.Sequential:
    pooling = [nn.MaxPool2d(pool)] if max(pool) > 1 else []
    bias = make_norm is _no_norm
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=bias),
        *pooling,
        make_norm(width),
        nn.GELU(),
        SmallMapConv2d(width, width, bias=bias),
        make_norm(width),
        nn.GELU(),
    )


def _group_norm(width: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(8, width), width)


def _no_norm(width: int) -> nn.Module:
    return nn.Identity()


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": _group_norm,
    "none": _no_norm,
}


# (kernel, stride, channels) of each convolution in Table 1 of the paper.
PAPER_CONVOLUTIONS = (
    *((3, 1, 96), (3, 1, 96), (4, 2, 96)),
    *((3, 1, 192), (3, 1, 192), (4, 2, 192)),
    *((3, 1, 192), (3, 1, 192), (1, 1, 192)),
)


class PaperLossNetwork(nn.Module):
    """The loss network of Table 1 of the LS-GAN paper (arXiv 1701.06264 v3), for CIFAR-10 and SVHN.

    Nine convolutions, each with batch norm and LeakyReLU of slope 0.2, and a global mean-pool.
    Weights start from N(0, 0.02). Where the table is odd in print:

    - 192 pooled channels cannot be the outputs of ten classes: a linear layer 192 -> K, which the
      table does not list, follows the pool.
    - "Output 32x32x10" is read as K logits.

    Beyond the table: a stride-2 convolution is left out where a side is below 4 pixels, so any
    size of image works. The first convolutions run at full resolution, which is costly above
    about 64 pixels.

    Parameters
    ----------
    input_shape : tuple of int
        (C, H, W); the table has (3, 32, 32).
    n_classes : int
    norm : bool, default=True
        Whether there is batch norm.

    Attributes
    ----------
    num_features : int
        192.

    Examples
    --------
    >>> logits, features = PaperLossNetwork((3, 8, 8), 10)(torch.zeros(2, 3, 8, 8))
    >>> logits.shape, features.shape
    (torch.Size([2, 10]), torch.Size([2, 192]))
    """

    def __init__(self, input_shape: Sequence[int], n_classes: int, *, norm: bool = True) -> None:
        super().__init__()
        channels, *size = image_shape(input_shape, "paper")
        layers: list[nn.Module] = []
        for kernel, stride, width in PAPER_CONVOLUTIONS:
            if stride == 2 and min(size) < 4:
                continue
            size = [side // stride for side in size]
            padding = 0 if kernel == 1 else 1
            layers.append(nn.Conv2d(channels, width, kernel, stride, padding, bias=not norm))
            layers += [nn.BatchNorm2d(width) if norm else nn.Identity(), nn.LeakyReLU(0.2)]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.num_features = channels
        self.head = LinearHead(channels, n_classes, bias=True, level=False)
        init_normal(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features.

        Parameters
        ----------
        x : Tensor [B, C, H, W]
            In [-1, 1].

        Returns
        -------
        logits : Tensor [B, K]
        features : Tensor [B, 192]
        """
        logits, features = self.head(self.layers(x).mean(dim=(2, 3)))
        return logits, features


@torch.no_grad()
def init_normal(network: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers from N(0, 0.02) (the paper, section 7.1).

    Parameters
    ----------
    network : nn.Module
        Changed in place; biases become 0, normalisations are left alone.

    Examples
    --------
    >>> layer = nn.Linear(100, 100)
    >>> init_normal(layer)
    >>> 0.019 < float(layer.weight.detach().std()) < 0.021
    True
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class MLPLossNetwork(nn.Module):
    """Linear - layer norm - GELU, as often as asked: for rows; images are flattened.

    Nothing in it mixes the rows of a batch, in training or after.

    Parameters
    ----------
    input_shape : tuple of int
        (D,) or (C, H, W).
    n_classes : int
    hidden : sequence of int, default=(128, 128)
        Units of the hidden layers.
    norm : bool, default=True
        Whether there is layer norm.

    Attributes
    ----------
    num_features : int

    Examples
    --------
    >>> logits, features = MLPLossNetwork((4,), 3)(torch.zeros(2, 4))
    >>> logits.shape, features.shape
    (torch.Size([2, 3]), torch.Size([2, 128]))
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        n_classes: int,
        *,
        hidden: Sequence[int] = (128, 128),
        norm: bool = True,
    ) -> None:
        super().__init__()
        units = int(torch.Size(check_input_shape(input_shape)).numel())
        layers: list[nn.Module] = [nn.Flatten()]
        for width in check_widths("hidden", hidden):
            layers += [nn.Linear(units, width), nn.LayerNorm(width) if norm else nn.Identity()]
            layers.append(nn.GELU())
            units = width
        self.layers = nn.Sequential(*layers)
        self.num_features = units
        self.head = LinearHead(units, n_classes, bias=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features.

        Parameters
        ----------
        x : Tensor [B, *input_shape]

        Returns
        -------
        logits : Tensor [B, K]
        features : Tensor [B, F]
        """
        logits, features = self.head(self.layers(x))
        return logits, features
