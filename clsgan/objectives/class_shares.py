"""Class shares of unlabeled rows, from class probabilities of a network trained under others."""

from torch import Tensor


def shifted_shares(probabilities: Tensor, trained: Tensor, believed: Tensor) -> Tensor:
    """One step of expectation maximisation for the class shares of unlabeled rows.

    Saerens, Latinne and Decaestecker (2002, eq. 2.10): probabilities of a network that was trained
    under one set of class shares are corrected to those believed, ``p_k believed_k / trained_k``,
    normalised; their mean over the rows is the next belief. Repeated, it does not lower the
    likelihood of the rows.

    Parameters
    ----------
    probabilities : Tensor [B, K]
        Class probabilities; each row sums to 1.
    trained, believed : Tensor [K]
        Class shares.

    Returns
    -------
    Tensor [K]
        Class shares; they sum to 1.

    Examples
    --------
    >>> import torch
    >>> certain, half = torch.eye(2)[[0, 0, 0, 1]], torch.full((2,), 0.5)
    >>> shifted_shares(certain, trained=half, believed=half)
    tensor([0.7500, 0.2500])
    """
    tiny = 1e-4  # a class without a row in training would get an infinite factor
    corrected = probabilities * (believed.clamp_min(tiny) / trained.clamp_min(tiny))
    return (corrected / corrected.sum(dim=1, keepdim=True)).mean(dim=0)


def balanced_shares(trained: Tensor, weight: Tensor | None) -> Tensor:
    """Class shares that labeled rows have for a network that weighs them by class.

    Parameters
    ----------
    trained : Tensor [K]
        Shares of the labels.
    weight : Tensor [K] or None
        Weight of each class.

    Returns
    -------
    Tensor [K]
        They sum to 1.

    Examples
    --------
    >>> import torch
    >>> balanced_shares(torch.tensor([0.2, 0.8]), torch.tensor([4.0, 1.0]))
    tensor([0.5000, 0.5000])
    """
    weighed = trained if weight is None else trained * weight
    return weighed / weighed.sum()
