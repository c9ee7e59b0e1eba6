"""Images put together of two, whose targets are put together likewise (CutMix)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from clsgan.draws import uniform_rows

MIXED_UNTIL = 0.92  # share of the budget: the last steps see whole images, as prediction does


@dataclass(frozen=True)
class Mixed:
    """Images, some with a part of another image of their batch: the one before it.

    Attributes
    ----------
    x : Tensor [B, C, H, W], channels_last in memory
    kept : Tensor [B]
        Share of its own pixels that an image has kept, 1 where it is whole.

    Examples
    --------
    See `cutmix`.
    """

    x: Tensor
    kept: Tensor

    @staticmethod
    def other(rows: Tensor) -> Tensor:
        """What stands beside the parts put in: labels, scores or weights [B, ...] in that order."""
        return rows.roll(1, 0)

    def blend(self, own: Tensor, other: Tensor) -> Tensor:
        """Losses [B] towards the own target and that of the part put in, by their pixels."""
        return self.kept * own + (1 - self.kept) * other


def cutmix(x: Tensor, generator: torch.Generator, share: float) -> Mixed:
    """Put a box of the image before it into each image with probability `share`.

    CutMix (Yun et al., arXiv 1905.04899, eq. 1 and 2): the box has the form of the image and the
    share r of its pixels, r from U(0, 1), about a centre that lies anywhere in the image; what
    reaches over an edge is cut off, and the share of pixels is counted after that. Of several
    processes each mixes its own images, with the boxes that these have in one process.

    Parameters
    ----------
    x : Tensor [B, C, H, W]
        In no particular order.
    generator : torch.Generator
        On the device of the images.
    share : float
        In [0, 1].

    Returns
    -------
    Mixed

    Examples
    --------
    >>> x = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 1, 1, 4)
    >>> mixed = cutmix(x, torch.Generator().manual_seed(1), share=1.0)
    >>> mixed.x[:, 0, 0].int().tolist()
    [[2, 2, 2, 0], [1, 0, 0, 0], [2, 1, 1, 2]]
    >>> mixed.kept.tolist(), mixed.other(torch.arange(3)).tolist()
    ([0.25, 0.25, 0.5], [2, 0, 1])
    """
    length = uniform_rows(x, generator, 0, 1).sqrt()
    length = length * (uniform_rows(x, generator, 0, 1) < share)
    inside = []
    for side in x.shape[2:]:
        centre = uniform_rows(x, generator, 0, 1)
        place = (torch.arange(side, device=x.device) + 0.5) / side
        inside.append((place - centre[:, None]).abs() < length[:, None] / 2)
    box = inside[0][:, :, None] & inside[1][:, None, :]
    kept = 1 - box.float().mean(dim=(1, 2))
    rows = torch.where(box[:, None], Mixed.other(x), x)
    return Mixed(rows.contiguous(memory_format=torch.channels_last), kept)
