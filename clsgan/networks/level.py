"""How much a row looks like any class at all: one number that moves all class scores alike."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Level(nn.Module):
    """Shift s(x) of all class scores, made of them and of the features of a loss network.

    The plain softmax does not see it: class probabilities and predictions stay as they are. The
    "1+" softmax does, so ``1 / (1 + sum_k exp(a_k + s))``, the probability of none of the classes
    (section 6.1 of arXiv 1701.06264), can be learned without touching the classifier::

        s(x) = m(x) + anchor log(p_max / (1 - p_max)) - log sum_k exp(a_k(x))

    with p_max the largest class probability and m a network of one hidden layer on the features.
    m starts at 0. With an anchor of 1 the probability of none is ``1 - p_max`` then: what is
    learned is a correction of how sure the classifier is. With an anchor of 0 it starts at 1/2 and
    is learned altogether.

    No gradient passes the features, and none p_max while the weights of m are trained: the
    classifier learns as without it. Where they are frozen, as in the generator's step, p_max is
    differentiated too, and the "1+" loss of a row is what it is but for m.

    The features are brought to an RMS of 1; its logarithm is one input more.

    Parameters
    ----------
    num_features : int
    hidden : int, default=128

    Examples
    --------
    >>> logits = torch.tensor([[0.0, 1.0]])
    >>> moved = logits + Level(8)(torch.ones(1, 8), logits)
    >>> largest = logits.softmax(dim=1).amax()
    >>> bool(torch.isclose(1 / (1 + moved.exp().sum()), 1 - largest))
    True
    """

    anchor: Tensor

    def __init__(self, num_features: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features + 1, hidden)
        self.output = nn.Linear(hidden, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.register_buffer("anchor", torch.ones(()))

    @torch.no_grad()
    def forget(self, generator: torch.Generator) -> None:
        """Draw m anew, as it starts: 0 for every row, whatever was learned.

        Parameters
        ----------
        generator : torch.Generator
            Of the CPU, so that the draws are the same on every device.
        """
        bound = self.hidden.in_features**-0.5
        for parameter in self.hidden.parameters():
            drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
            parameter.copy_(drawn)
        for parameter in self.output.parameters():
            parameter.zero_()

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """The shift of each row, at least float32.

        Parameters
        ----------
        features : Tensor [B, F]
        logits : Tensor [B, K]
            The same however much they were shifted before.

        Returns
        -------
        Tensor [B, 1]
        """
        judged = logits.detach() if self.output.weight.requires_grad else logits
        known = self.learned(features.detach()) + self.anchor * log_odds_of_largest(judged)
        return known - logits.logsumexp(dim=1, keepdim=True)

    def over_views(self, logits: Sequence[Tensor]) -> Tensor:
        """Scores of a row from those of several views of it, all of them moved by this level.

        Parameters
        ----------
        logits : sequence of Tensor [B, K]

        Returns
        -------
        Tensor [B, K]
            The class probabilities are those of the mean; m is the mean over the views, and p_max
            that of the mean: where two views are each sure of another class, none is sure.
        """
        views = torch.stack([view.float() for view in logits])
        own = torch.stack([self.anchor * log_odds_of_largest(view) for view in views])
        learned = (views.logsumexp(dim=2, keepdim=True) - own).mean(dim=0)
        mean = views.mean(dim=0).log_softmax(dim=1)
        return mean + learned + self.anchor * log_odds_of_largest(mean)

    def learned(self, features: Tensor) -> Tensor:
        """The learned part m(x) [B, 1], from features [B, F]."""
        size = features.square().mean(dim=1, keepdim=True).add(1e-6).sqrt()
        hidden = self.hidden(torch.cat([features / size, size.log()], dim=1))
        correction: Tensor = self.output(nn.functional.gelu(hidden))
        return correction.to(torch.promote_types(correction.dtype, torch.float32))


def log_odds_of_largest(logits: Tensor) -> Tensor:
    """``log(p / (1 - p))`` of the largest class probability p.

    Parameters
    ----------
    logits : Tensor [B, K]

    Returns
    -------
    Tensor [B, 1]
        0 where there is a single class.

    Examples
    --------
    >>> log_odds_of_largest(torch.tensor([[3.0, 1.0], [0.0, 0.0]]))
    tensor([[2.],
            [0.]])
    """
    if logits.shape[1] == 1:
        return torch.zeros_like(logits)
    largest, place = logits.max(dim=1, keepdim=True)
    others = logits.scatter(1, place, float("-inf")).logsumexp(dim=1, keepdim=True)
    return largest - others


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
