"""Wasserstein GAN (Arjovsky, Chintala and Bottou, arXiv 1701.07875).

A loss is *low* on real data in this module: it is minus the critic of that paper. The critic has to
be kept Lipschitz, see `clsgan.lipschitz`.

Shapes: ``[B]`` examples.
"""

from torch import Tensor


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """What the loss network minimises: real losses against generated ones.

    Algorithm 1, sign turned. It is the GLS-GAN loss of slope 1 without its margin, which is
    constant in the network.

    Parameters
    ----------
    real, fake : Tensor [B]
        Losses of the real and of the generated rows.

    Returns
    -------
    Tensor [B]
        ``real - fake``.

    Examples
    --------
    >>> import torch
    >>> wasserstein_critic(torch.tensor([1.0]), torch.tensor([3.0]))
    tensor([-2.])
    """
    return real - fake


def wasserstein_generator(fake: Tensor) -> Tensor:
    """What the generator minimises: the loss of its own rows (algorithm 1, sign turned).

    Parameters
    ----------
    fake : Tensor [B]
        Losses of the generated rows.

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> import torch
    >>> wasserstein_generator(torch.tensor([3.0]))
    tensor([3.])
    """
    return fake
