"""Telling rows of the known classes from others with labeled rows and a pool that has both.

Learning from positive and unlabeled examples: labeled rows are positive, the pool is a mixture in
which a share of the rows is of the known classes. Functions of scores, high on known rows; in the
open-class form of section 6.1 of arXiv 1701.06264 the score is ``log sum_k exp a_k(x)``, and
``sigmoid(score)`` is the probability that a row is of a known class.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

CONFIDENCE = 0.1  # probability with which a share of the estimate may lie outside its band


def non_negative_risk(labeled: Tensor, pool: Tensor, known_share: float | Tensor) -> Tensor:
    """Cross-entropy of "known" against "novel" on the pool, of which no row is labeled so.

    The non-negative risk of Kiryo et al. (arXiv 1703.00593, eq. 6) with the logistic loss:
    ``share E_lab[-log p] + max(0, E_pool[-log(1 - p)] - share E_lab[-log(1 - p)])`` with
    ``p = sigmoid(score)``. The second part is what the pool's novel rows contribute: its known
    rows, which labeled rows stand for, are taken off, so that they are not pushed out.

    Parameters
    ----------
    labeled, pool : Tensor [B], [U]
        Scores.
    known_share : float or Tensor
        Share of the pool that is of the known classes, 0 to 1.

    Returns
    -------
    Tensor
        A scalar: it has a mean inside.

    Examples
    --------
    >>> scores = torch.zeros(3)
    >>> non_negative_risk(scores, scores, 0.5)  # log 2 for either half
    tensor(0.6931)
    """
    novel = F.softplus(pool).mean() - known_share * F.softplus(labeled).mean()
    return known_share * F.softplus(-labeled).mean() + novel.clamp_min(0)


def known_share_of_pool(labeled: Tensor, pool: Tensor) -> float:
    """Estimate which share of a pool is of the known classes, from scores of both.

    If the pool's share above a score is ``q_pool`` and that of rows of the known classes ``q_lab``,
    then ``q_pool >= share q_lab``: the smallest ratio over all scores bounds the share from above,
    and meets it where only known rows have the highest scores. Best bin estimation of Garg et al.
    (arXiv 2111.00980, section 4): the score is taken at which the ratio and its uncertainty are
    least together.

    Parameters
    ----------
    labeled, pool : Tensor [N], [M]
        Scores. Those of labeled rows that a network was trained on are too high, which makes the
        estimate too small.

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
    >>> known, novel = torch.linspace(2, 4, 500), torch.linspace(-4, -2, 300)
    >>> round(known_share_of_pool(known, torch.cat([known[::5], novel])), 2)
    0.25
    """
    levels = labeled.sort(descending=True).values
    q_lab = torch.arange(1, len(levels) + 1, device=levels.device) / len(levels)
    above = len(pool) - torch.searchsorted(pool.sort().values, levels)
    ratio = above / len(pool) / q_lab
    spread = sum(math.sqrt(math.log(4 / CONFIDENCE) / (2 * n)) for n in (len(labeled), len(pool)))
    best = (ratio + spread / q_lab).argmin()
    return min(float(ratio[best]), 1.0)
