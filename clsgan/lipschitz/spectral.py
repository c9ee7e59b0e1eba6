"""Spectral normalisation (Miyato et al., arXiv 1802.05957)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize


def spectral_norm(network: nn.Module) -> nn.Module:
    """Divide the weight of every linear and convolution layer by its largest singular value.

    A layer sees W / sigma(W), the optimiser W (eq. 8). Sigma comes from one step of power
    iteration at each forward pass (algorithm 1), which starts from the singular vector itself, so
    that no random number is drawn. The weight of a convolution is taken as a matrix
    [out, in * height * width], as in the paper. One that starts as zeros has no sigma to be divided
    by: it is divided only once its largest singular value is above 1.

    Parameters
    ----------
    network : nn.Module
        Changed in place: `fold_spectral_norm` makes it plain again, as pickling needs. Layers whose
        weight is not trained stay as they are.

    Returns
    -------
    nn.Module
        The network.

    Raises
    ------
    ValueError
        If there is no such layer, or the network is normalised already.

    Examples
    --------
    >>> layer = spectral_norm(nn.Linear(20, 10))
    >>> round(float(torch.linalg.matrix_norm(layer.weight.detach(), 2)), 4)
    1.0
    """
    layers = [layer for layer in network.modules() if isinstance(layer, LAYERS)]
    if any(_is_normalised(layer) for layer in layers):
        raise ValueError("the network has spectral normalisation already")
    layers = [layer for layer in layers if layer.weight.requires_grad]
    if not layers:
        raise ValueError("spectral normalisation needs a linear or convolution layer to train")
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _OverSigma(layer.weight))
    return network


def fold_spectral_norm(network: nn.Module) -> nn.Module:
    """Make a normalised network plain: its weights become W / sigma(W).

    Parameters
    ----------
    network : nn.Module
        Changed in place; one without spectral normalisation stays as it is.

    Returns
    -------
    nn.Module
        The network.

    Examples
    --------
    >>> layer = fold_spectral_norm(spectral_norm(nn.Linear(20, 10)))
    >>> [name for name, _ in layer.named_parameters()]
    ['bias', 'weight']
    """
    for layer in [layer for layer in network.modules() if _is_normalised(layer)]:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return network


LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _OverSigma(nn.Module):
    """W -> W / sigma(W), or, for a W that starts as zeros, W / max(sigma(W), 1).

    The buffers are the left singular vector ``u`` [out] of sigma, and the least sigma, ``floor``.
    """

    u: Tensor
    floor: Tensor

    @torch.no_grad()
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.flatten(1).double()
        squares, vectors = torch.linalg.eigh(matrix @ matrix.T)
        self.register_buffer("u", vectors[:, -1].to(weight.dtype))
        self.register_buffer("floor", (squares[-1] <= 0).to(weight.dtype))

    def forward(self, weight: Tensor) -> Tensor:
        # In half precision sigma would be off by up to 1 %.
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            with torch.no_grad():
                v = F.normalize(matrix.T @ self.u, dim=0)
                u = F.normalize(matrix @ v, dim=0)
                if self.training:
                    self.u.copy_(torch.where(u.any(), u, self.u))
            return weight / torch.maximum(u @ matrix @ v, self.floor)


def _is_normalised(layer: nn.Module) -> bool:
    return parametrize.is_parametrized(layer, "weight") and isinstance(
        layer.get_submodule("parametrizations.weight.0"), _OverSigma
    )
