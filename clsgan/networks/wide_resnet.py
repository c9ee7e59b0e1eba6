"""Wide residual networks, the usual backbone of semi-supervised benchmarks."""

from collections.abc import Sequence

from torch import Tensor, nn

from clsgan.networks.shapes import LinearHead, image_shape


class WideResNet(nn.Module):
    """Pre-activation wide residual network (Zagoruyko and Komodakis, arXiv 1605.07146).

    LeakyReLU of slope 0.1, as in the semi-supervised benchmarks that use WRN-28-2.

    Parameters
    ----------
    input_shape : tuple of int
        (C, H, W); any size.
    n_classes : int
    depth : int, default=28
        Number of convolutions along the longest path, plus the linear layer: 6 n + 4.
    widen : int, default=2
        The three groups have 16, 32 and 64 times as many channels.

    Attributes
    ----------
    num_features : int

    Raises
    ------
    ValueError
        If depth is not 6 n + 4 for an n of at least 1, or widen is below 1.

    Examples
    --------
    >>> import torch
    >>> network = WideResNet((3, 8, 8), 10, depth=10)
    >>> logits, features = network(torch.zeros(2, 3, 8, 8))
    >>> logits.shape, features.shape
    (torch.Size([2, 10]), torch.Size([2, 128]))
    """

    def __init__(
        self, input_shape: Sequence[int], n_classes: int, *, depth: int = 28, widen: int = 2
    ) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4 or widen < 1:
            raise ValueError(
                f"depth={depth}, widen={widen} is not valid; depth is 10, 16, 22, 28 and so on, "
                "widen at least 1"
            )
        layers: list[nn.Module] = [
            nn.Conv2d(image_shape(input_shape, "wide_resnet")[0], 16, 3, padding=1, bias=False)
        ]
        channels = 16
        for group, width in enumerate((16 * widen, 32 * widen, 64 * widen)):
            for block in range((depth - 4) // 6):
                layers.append(_Block(channels, width, 2 if group > 0 and block == 0 else 1))
                channels = width
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.LeakyReLU(0.1))
        self.num_features = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.1, mode="fan_out")
        self.head = LinearHead(channels, n_classes, bias=True)

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
        logits, features = self.head(self.layers(x).mean(dim=(2, 3)))
        return logits, features


class _Block(nn.Module):
    """Two convolutions, each behind norm and activation, around a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(channels), nn.LeakyReLU(0.1))
        self.residual = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        self.shortcut: nn.Module | None = None
        if stride > 1 or channels != width:
            self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = self.before(x)
        # A shortcut that changes the shape starts behind the activation, as in the original code.
        skip = x if self.shortcut is None else self.shortcut(active)
        total: Tensor = skip + self.residual(active)
        return total
