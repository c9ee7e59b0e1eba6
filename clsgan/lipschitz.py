"""Keeping the loss network smooth: weight decay, as in section 5.1 of arXiv 1701.06264."""

from typing import Any

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
