"""How much a row looks like any class at all: one number that moves all class scores alike."""

import torch
from torch import Tensor, nn


class Level(nn.Module):
    """Shift s(x) of all class scores, made of the features of a loss network.

    The plain softmax does not see it: class probabilities and predictions stay as they are. The
    "1+" softmax does, so ``1 / (1 + sum_k exp(a_k + s))``, the probability of none of the classes
    (section 6.1 of arXiv 1701.06264), can be learned without touching the classifier: no gradient
    passes to the features.

    The features are brought to an RMS of 1; its logarithm is one input more. It starts at 0.

    Parameters
    ----------
    num_features : int
    hidden : int, default=128

    Examples
    --------
    >>> Level(8)(torch.ones(2, 8)).tolist()
    [[0.0], [0.0]]
    """

    def __init__(self, num_features: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features + 1, hidden)
        self.output = nn.Linear(hidden, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor) -> Tensor:
        """The shift of each row.

        Parameters
        ----------
        features : Tensor [B, F]

        Returns
        -------
        Tensor [B, 1]
        """
        features = features.detach()
        size = features.square().mean(dim=1, keepdim=True).add(1e-6).sqrt()
        hidden = self.hidden(torch.cat([features / size, size.log()], dim=1))
        level: Tensor = self.output(nn.functional.gelu(hidden))
        return level


def level_of(network: nn.Module) -> Level | None:
    """The level of a loss network, or None where it has none.

    Parameters
    ----------
    network : nn.Module
        A loss network of this package.

    Returns
    -------
    Level or None

    Examples
    --------
    >>> level_of(nn.Linear(2, 2)) is None
    True
    """
    level = getattr(network, "level", None) or getattr(
        getattr(network, "head", None), "level", None
    )
    return level if isinstance(level, Level) else None


def remove_level(network: nn.Module) -> nn.Module:
    """Take the level off a loss network, for objectives in which it would hide from gradients.

    A critic is differentiated with respect to its rows, by the generator and by penalties, and no
    gradient passes a level to them.

    Parameters
    ----------
    network : nn.Module
        Changed in place.

    Returns
    -------
    nn.Module
        The network.

    Examples
    --------
    >>> level_of(remove_level(nn.Linear(2, 2))) is None
    True
    """
    for part in (network, getattr(network, "head", None)):
        if isinstance(getattr(part, "level", None), Level):
            part.level = None  # type: ignore[union-attr]
    return network
