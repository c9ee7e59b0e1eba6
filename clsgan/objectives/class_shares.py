"""Class shares of unlabeled rows, from class probabilities of a network trained under others."""

from torch import Tensor

LEAST_WEIGHT = 1e-4  # a class of weight 0 is as good as never predicted


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


def without_weights(scores: Tensor, weight: Tensor | None) -> Tensor:
    """Scores of a network whose classes have weights, as those of one whose classes have none.

    Logit adjustment (Menon et al., arXiv 2007.07314, section 5): the cross-entropy of
    ``a_k - log w_k`` is least where ``softmax(a)`` has ``w_k p(k | x)``, normalised, as that of
    rows weighed by ``w`` is. But a network that knows its few rows of a class by heart does not
    feel how much these weigh.

    Parameters
    ----------
    scores : Tensor [B, K]
        a_k(x).
    weight : Tensor [K] or None
        Weight of each class, 1 each if None; one below 1e-4 counts as 1e-4.

    Returns
    -------
    Tensor [B, K]
        ``a_k - log w_k``.

    Examples
    --------
    >>> import torch
    >>> without_weights(torch.zeros(1, 2), torch.tensor([1.0, 4.0]))
    tensor([[ 0.0000, -1.3863]])
    """
    return scores if weight is None else scores - weight.clamp_min(LEAST_WEIGHT).log()
