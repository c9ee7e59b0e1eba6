"""The loss-sensitive family: LS-GAN, GLS-GAN and CLS-GAN (Qi, arXiv 1701.06264).

Functions of tensors only; every function returns one value per example, so that the caller decides
how to average. A loss is *low* on real data throughout this module.

Shapes: ``[B]`` examples, ``[B, K]`` one column per class.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from clsgan.objectives.costs import Cost, hinge_cost


def class_losses(logits: Tensor) -> Tensor:
    """Losses L(x, y) of every class under the plain softmax (eq. 17).

    ``L(x, y = l) = -log(exp(a_l) / sum_k exp(a_k))``.

    Parameters
    ----------
    logits : Tensor [B, K]
        Class scores a_k(x).

    Returns
    -------
    Tensor [B, K]
        Losses in nats, each >= 0.

    Examples
    --------
    >>> class_losses(torch.zeros(1, 4)).exp()
    tensor([[4., 4., 4., 4.]])
    """
    return -F.log_softmax(logits, dim=-1)


def open_class_losses(logits: Tensor) -> Tensor:
    """Losses of every class when a row may belong to none of them (section 6.1, the "1+" form).

    ``L(x, y = l) = -log(exp(a_l) / (1 + sum_k exp(a_k)))``, unbounded above, so that the loss of a
    generated row is not capped at log K.

    Parameters
    ----------
    logits : Tensor [B, K]
        Class scores a_k(x).

    Returns
    -------
    Tensor [B, K]
        Losses in nats, each > 0.

    Examples
    --------
    >>> open_class_losses(torch.zeros(1, 3)).exp()
    tensor([[4., 4., 4.]])
    """
    return _open_partition(logits).unsqueeze(-1) - logits


def at_label(losses: Tensor, y: Tensor) -> Tensor:
    """Pick L(x, y) out of the losses of every class.

    Parameters
    ----------
    losses : Tensor [B, K]
    y : Tensor [B], int64
        Class indices in 0..K-1.

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> at_label(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 0]))
    tensor([2., 3.])
    """
    return losses.gather(-1, y.unsqueeze(-1)).squeeze(-1)


def unlabeled_loss(logits: Tensor) -> Tensor:
    """Loss of a row whose class is unknown, ``min_l L(x, l)`` in the "1+" form (section 6.1).

    Parameters
    ----------
    logits : Tensor [B, K]
        Class scores a_k(x).

    Returns
    -------
    Tensor [B]
        ``log(1 + sum_k exp a_k) - max_k a_k``.

    Examples
    --------
    >>> unlabeled_loss(torch.tensor([[9.0, 0.0]])) < unlabeled_loss(torch.tensor([[0.0, 0.0]]))
    tensor([True])
    """
    return _open_partition(logits) - logits.amax(dim=-1)


def outlier_probability(logits: Tensor) -> Tensor:
    """Probability that a row belongs to no known class (section 6.1).

    Parameters
    ----------
    logits : Tensor [B, K]
        Class scores a_k(x).

    Returns
    -------
    Tensor [B]
        ``1 / (1 + sum_k exp a_k)``, between 0 and 1.

    Examples
    --------
    >>> outlier_probability(torch.zeros(1, 3))
    tensor([0.2500])
    """
    return torch.sigmoid(-torch.logsumexp(logits, dim=-1))


def pixel_margin(real: Tensor, fake: Tensor, scale: float, p: float = 1) -> Tensor:
    """Data-dependent margin Delta(x, G(z)), without gradient.

    The paper's margin is the pixel-wise L1 distance (section 7.2). Its mean over pixels is taken
    here, so that one scale serves every resolution: the published code's 0.0008 per summed pixel of
    32x32x3, and its 0.0002 for 64x64x3, both equal 2.4576 times the mean.

    Of features in place of pixels it is the feature margin, which the paper found worse: features
    of the loss network collapsed to a point, and the margin to 0.

    Parameters
    ----------
    real, fake : Tensor [B, ...]
        Matched pairs of images, rows or features; shapes that broadcast give one margin for each
        leading index. For every pair of two batches see `pair_margins`.
    scale : float
        ``margin_scale`` (tau).
    p : float
        1 for the mean absolute difference, 2 for the root of the mean square.

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> pixel_margin(torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2), scale=2.0)
    tensor([2., 2.])
    """
    difference = (real.detach() - fake.detach()).abs().flatten(1)
    if p == 1:
        return scale * difference.mean(dim=1)
    return scale * difference.pow(p).mean(dim=1).pow(1.0 / p)


def pair_margins(real: Tensor, fake: Tensor, scale: float, p: float = 1) -> Tensor:
    """Margins Delta(x, G(z)) of every real with every generated row, without gradient (eq. 8, v3).

    Parameters
    ----------
    real, fake : Tensor [N, ...], [M, ...]
        Images, rows or features.
    scale : float
        ``margin_scale`` (tau).
    p : float
        As in `pixel_margin`.

    Returns
    -------
    Tensor [N, M]

    Examples
    --------
    >>> pair_margins(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0]]), scale=2.0)
    tensor([[6.],
            [4.]])
    """
    dtype = torch.promote_types(torch.promote_types(real.dtype, fake.dtype), torch.float32)
    x, generated = (rows.detach().flatten(1).to(dtype) for rows in (real, fake))
    exact = "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(x, generated, p=p, compute_mode=exact)
    margins: Tensor = scale * distances / x.shape[1] ** (1.0 / p)
    return margins


def loss_sensitive_critic(
    real: Tensor, fake: Tensor, margin: Tensor, cost: Cost = hinge_cost
) -> Tensor:
    """How far a real pair is from being better than a generated one by the margin.

    ``C(margin + L(real) - L(fake))``: the second term of eq. 6 and 15, the whole of eq. 18. The
    first term of eq. 15, E[L(x, y)], is added by the trainer.

    Parameters
    ----------
    real, fake : Tensor [B]
        Losses of the real and of the generated rows, paired by index.
    margin : Tensor [B]
        Delta(x, G(z)), see `pixel_margin`.
    cost : callable
        `hinge_cost`, a `leaky_cost`, an `elu_cost`, or one that `check_cost` lets pass.

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> one = torch.ones(1)
    >>> loss_sensitive_critic(real=one, fake=3 * one, margin=0.5 * one)
    tensor([0.])
    >>> loss_sensitive_critic(real=one, fake=one, margin=0.5 * one)
    tensor([0.5000])
    """
    return cost(margin + real - fake)


def all_pairs_critic(
    real: Tensor, fake: Tensor, margins: Tensor, cost: Cost = hinge_cost
) -> Tensor:
    """How far a real row is from being better than each generated one, on average.

    Row i has the mean over j of ``C(margin_ij + L(real_i) - L(fake_j))``: the mean over rows is
    the second term of eq. 8 of version 3, which later versions and `loss_sensitive_critic` take
    over matched pairs alone.

    Parameters
    ----------
    real, fake : Tensor [N], [M]
        Losses of the real and of the generated rows.
    margins : Tensor [N, M]
        Delta(x_i, G(z_j)), see `pair_margins`.
    cost : callable
        As in `loss_sensitive_critic`.

    Returns
    -------
    Tensor [N]

    Examples
    --------
    >>> all_pairs_critic(torch.ones(1), torch.tensor([1.0, 3.0]), torch.ones(1, 2))
    tensor([0.5000])
    """
    return loss_sensitive_critic(real[:, None], fake, margins, cost).mean(dim=1)


def loss_sensitive_generator(fake: Tensor) -> Tensor:
    """What the generator minimises: the loss of its own rows (eq. 7 and 16).

    Parameters
    ----------
    fake : Tensor [B]
        L(G(z, y), y).

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> loss_sensitive_generator(torch.tensor([0.5]))
    tensor([0.5000])
    """
    return fake


def _open_partition(logits: Tensor) -> Tensor:
    """log(1 + sum_k exp a_k) [B], computed without overflow."""
    return torch.logsumexp(F.pad(logits, (0, 1)), dim=-1)
