"""Smoothness through the weights: decay and clipping."""

from typing import Any

import torch
from torch import nn


def decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: weights decay, biases and norm parameters do not.

    Parameters
    ----------
    module : nn.Module
    weight_decay : float
        Coefficient for the parameters of two and more dimensions.

    Returns
    -------
    list of dict
        Groups of the parameters that require a gradient; empty groups are left out.

    Examples
    --------
    >>> groups = decay_groups(nn.Linear(2, 3), weight_decay=0.1)
    >>> [(group["weight_decay"], len(group["params"])) for group in groups]
    [(0.1, 1), (0.0, 1)]
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


@torch.no_grad()
def clip_weights(network: nn.Module, bound: float) -> None:
    """Clamp every trained parameter to [-bound, bound], in place, after each step of the critic.

    Wasserstein GAN (arXiv 1701.07875, algorithm 1) has 0.01, the published code of GLS-GAN 0.08.
    As there, biases and norm parameters are clamped too.

    Parameters
    ----------
    network : nn.Module
        Parameters that require no gradient, and buffers, stay as they are.
    bound : float
        Above 0.

    Raises
    ------
    ValueError
        If the bound is not above 0.

    Examples
    --------
    >>> layer = nn.Linear(100, 100)
    >>> clip_weights(layer, 0.01)
    >>> float(layer.weight.detach().abs().max()) <= 0.01
    True
    """
    if not bound > 0:
        raise ValueError(f"bound={bound!r} is not valid; it is a number above 0")
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.clamp_(-bound, bound)
