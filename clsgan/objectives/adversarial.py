"""The baselines: non-saturating GAN and hinge GAN.

Scores are *high* on real data in this module.

Shapes: ``[B]`` examples.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def non_saturating_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Binary cross-entropy of real against generated (Goodfellow et al., arXiv 1406.2661, eq. 1).

    With ``D = sigmoid(score)`` it is ``-log D(x) - log(1 - D(G(z)))``.

    Parameters
    ----------
    real, fake : Tensor [B]
        Scores of the real and of the generated rows, before the sigmoid.

    Returns
    -------
    Tensor [B]
        In nats, each > 0.

    Examples
    --------
    >>> non_saturating_critic(torch.zeros(1), torch.zeros(1)).exp()
    tensor([4.])
    """
    return F.softplus(-real) + F.softplus(fake)


def non_saturating_generator(fake: Tensor) -> Tensor:
    """What the generator minimises, ``-log D(G(z))`` (arXiv 1406.2661, section 3).

    Parameters
    ----------
    fake : Tensor [B]
        Scores of the generated rows, before the sigmoid.

    Returns
    -------
    Tensor [B]
        In nats, each > 0.

    Examples
    --------
    >>> non_saturating_generator(torch.zeros(1)).exp()
    tensor([2.])
    """
    return F.softplus(-fake)


def hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """How far scores are from 1 on real and from -1 on generated rows.

    Lim and Ye, arXiv 1705.02894; Miyato et al., arXiv 1802.05957, eq. 16.

    Parameters
    ----------
    real, fake : Tensor [B]
        Scores of the real and of the generated rows.

    Returns
    -------
    Tensor [B]
        ``max(0, 1 - score(x)) + max(0, 1 + score(G(z)))``.

    Examples
    --------
    >>> hinge_critic(torch.tensor([2.0, 0.0]), torch.tensor([-2.0, 1.0]))
    tensor([0., 3.])
    """
    return torch.relu(1 - real) + torch.relu(1 + fake)


def hinge_generator(fake: Tensor) -> Tensor:
    """What the generator minimises: minus the score of its own rows (arXiv 1802.05957, eq. 17).

    Parameters
    ----------
    fake : Tensor [B]
        Scores of the generated rows.

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> hinge_generator(torch.tensor([3.0]))
    tensor([-3.])
    """
    return -fake
