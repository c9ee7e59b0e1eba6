"""Least Squares GAN (Mao et al., arXiv 1611.04076).

Scores D are *high* on real data in this module as long as ``b > a``.

Shapes: ``[B]`` examples.
"""

import math

from torch import Tensor


def least_squares_critic(real: Tensor, fake: Tensor, a: float, b: float) -> Tensor:
    """Squared distances of the scores to their labels (eq. 2).

    For fixed densities the best score is ``(b p_real + a p_fake) / (p_real + p_fake)`` (eq. 5).

    Parameters
    ----------
    real, fake : Tensor [B]
        Scores D of the real and of the generated rows.
    a, b : float
        Labels of generated and of real rows; the paper has (-1, 1) and (0, 1).

    Returns
    -------
    Tensor [B]
        ``(D(x) - b)^2 / 2 + (D(G(z)) - a)^2 / 2``.

    Examples
    --------
    >>> import torch
    >>> least_squares_critic(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), a=0, b=1)
    tensor([0.0000, 2.5000])
    """
    return 0.5 * (real - b).square() + 0.5 * (fake - a).square()


def least_squares_generator(fake: Tensor, c: float) -> Tensor:
    """Squared distance of a generated row's score to the one that the generator wants (eq. 2).

    Parameters
    ----------
    fake : Tensor [B]
        Scores D of the generated rows.
    c : float
        The score wanted; 0 beside labels (-1, 1), 1 beside (0, 1) in the paper.

    Returns
    -------
    Tensor [B]
        ``(D(G(z)) - c)^2 / 2``.

    Examples
    --------
    >>> import torch
    >>> least_squares_generator(torch.tensor([1.0, 3.0]), c=1)
    tensor([0., 2.])
    """
    return 0.5 * (fake - c).square()


def is_chi_squared(a: float, b: float, c: float) -> bool:
    """Whether the generator minimises a Pearson chi-squared divergence.

    With ``b - c = 1`` and ``b - a = 2``, and the best critic, twice the generator's objective
    (with the term of eq. 4 that is constant in it) is ``chi^2(p_real + p_fake || 2 p_fake)``
    (eq. 7).

    Parameters
    ----------
    a, b, c : float
        The coding: labels of generated and of real rows, and the score that the generator wants.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_chi_squared(a=-1, b=1, c=0), is_chi_squared(a=0, b=1, c=1)
    (True, False)
    """
    return math.isclose(b - c, 1) and math.isclose(b - a, 2)
