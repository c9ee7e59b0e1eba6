"""What every network here needs to know of shapes: checks, and the linear head."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clsgan.networks.level import Level


def check_input_shape(input_shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of one input, checked.

    Parameters
    ----------
    input_shape : sequence of int
        (C, H, W) of an image or (D,) of a row.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If it has neither one nor three entries, or one below 1.

    Examples
    --------
    >>> check_input_shape([3, 32, 32])
    (3, 32, 32)
    """
    shape = tuple(int(n) for n in input_shape)
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise ValueError(
            f"input_shape={shape} is not valid; give (C, H, W) of an image or (D,) of a row"
        )
    return shape


def image_shape(input_shape: Sequence[int], network: str) -> tuple[int, int, int]:
    """Shape of one image, checked.

    Parameters
    ----------
    input_shape : sequence of int
    network : str
        Name of the network that asks; stands in the message.

    Returns
    -------
    tuple of int
        (C, H, W).

    Raises
    ------
    ValueError
        If the input is a row.

    Examples
    --------
    >>> image_shape((1, 28, 28), "small")
    (1, 28, 28)
    """
    shape = check_input_shape(input_shape)
    if len(shape) != 3:
        raise ValueError(
            f"the network {network!r} is for images (C, H, W), not rows of shape {shape}; "
            "use 'mlp' or 'auto'"
        )
    return shape[0], shape[1], shape[2]


def check_widths(option: str, widths: Sequence[int]) -> tuple[int, ...]:
    """Numbers of channels or units, checked.

    Parameters
    ----------
    option : str
        Name of the option; stands in the message.
    widths : sequence of int

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If it is empty or not of positive integers.

    Examples
    --------
    >>> check_widths("widths", [64, 128])
    (64, 128)
    """
    valid = isinstance(widths, Sequence) and not isinstance(widths, str) and len(widths) > 0
    if not valid or any(not isinstance(width, int) or width < 1 for width in widths):
        raise ValueError(f"{option}={widths!r} is not valid; give a list of positive integers")
    return tuple(widths)


def full_precision(values: Tensor) -> Tensor:
    """Half-precision values as float32, others as they are.

    Parameters
    ----------
    values : Tensor
        Any shape; what a network returns under autocast may be bfloat16 or float16.

    Returns
    -------
    Tensor
        Same shape.

    Examples
    --------
    >>> full_precision(torch.zeros(2, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


class LinearHead(nn.Module):
    """Logits beside the features they are made of, moved by a `Level` of the features.

    Parameters
    ----------
    num_features : int
    n_classes : int
    bias : bool, default=False
    level : bool, default=True
        Without it the logits are linear in the features.

    Examples
    --------
    >>> logits, features = LinearHead(8, 3)(torch.zeros(2, 8))
    >>> logits.shape, features.shape
    (torch.Size([2, 3]), torch.Size([2, 8]))
    """

    def __init__(
        self, num_features: int, n_classes: int, *, bias: bool = False, level: bool = True
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, n_classes, bias=bias)
        # Features leave a normalisation with an RMS near 1: logits start with an RMS near 0.3.
        nn.init.normal_(self.linear.weight, std=0.3 / math.sqrt(num_features))
        if bias:
            nn.init.zeros_(self.linear.bias)
        self.level = Level(num_features) if level else None

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features, at least float32.

        Parameters
        ----------
        features : Tensor [B, F]

        Returns
        -------
        logits : Tensor [B, K]
        features : Tensor [B, F]
        """
        logits = full_precision(self.linear(features))
        if self.level is not None:
            logits = logits + self.level(features, logits)
        return logits, full_precision(features)
