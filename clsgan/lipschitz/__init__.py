"""Keeping the loss network smooth: penalties on its gradient, and limits on its weights.

Any of them goes with any objective. A penalty is a function of tensors, to be averaged, weighted
and added by the caller; what limits the weights acts on the network.
"""

from clsgan.lipschitz.penalties import (
    SteepestPoints,
    direct_penalty,
    gradient_norms,
    gradient_penalty,
    interpolates,
    max_gradient_penalty,
)
from clsgan.lipschitz.spectral import fold_spectral_norm, spectral_norm
from clsgan.lipschitz.weights import clip_weights, decay_groups

__all__ = [
    "SteepestPoints",
    "clip_weights",
    "decay_groups",
    "direct_penalty",
    "fold_spectral_norm",
    "gradient_norms",
    "gradient_penalty",
    "interpolates",
    "max_gradient_penalty",
    "spectral_norm",
]
