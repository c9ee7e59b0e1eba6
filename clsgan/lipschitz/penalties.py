"""Penalties on the gradient of a loss or score with respect to its input.

``network`` is any callable from rows to one number a row. A network of this package gives
(logits [B, K], features): choose the number, as in
``lambda x: at_label(class_losses(network(x)[0]), y)``; with one class it can be given as it is. It
should be the plain module, in float32: a double backward needs precision, and fails through some
wrappers. A penalty costs one forward and a double backward.

The norms are those of single rows only where rows do not mix, as they do in the batch norm of a
network in training mode.

Shapes: ``[B]`` examples.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from clsgan.draws import own_rows


def gradient_norms(network: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    """Norm of the gradient of each row's loss or score with respect to the row.

    The result can be differentiated with respect to the parameters (not to `x`); under
    ``torch.no_grad()`` it is numbers only, which costs less.

    Parameters
    ----------
    network : callable
        Rows [B, ...] -> [B] or [B, 1], or a tuple of which that is the first part.
    x : Tensor [B, ...]

    Returns
    -------
    Tensor [B]
        Euclidean norms over all inputs of a row.

    Raises
    ------
    ValueError
        If the network gives more or less than one number a row.

    Examples
    --------
    >>> gradient_norms(lambda x: 3 * x[:, 0] + 4 * x[:, 1], torch.zeros(2, 2))
    tensor([5., 5.])
    """
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        given = network(x)
        scores = given[0] if isinstance(given, tuple) else given
        if scores.shape not in ((len(x),), (len(x), 1)):
            raise ValueError(
                f"a gradient norm needs one number a row, [{len(x)}]; the network gives "
                f"{list(scores.shape)}: choose one, such as the loss of each row's class"
            )
        (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=differentiable)
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return norms


def direct_penalty(network: Callable[[Tensor], Any], x: Tensor, *, squared: bool = False) -> Tensor:
    """Gradient norm at real rows, with target 0: the penalty of LS-GAN (arXiv 1701.06264).

    Version 1, chapter 5, minimises the norm; the code of its authors does so without a square, at
    real rows alone. (It takes a norm for each pixel over the channels; here it is that of a row.)

    Parameters
    ----------
    network : callable
        See `gradient_norms`.
    x : Tensor [B, ...]
        Real rows.
    squared : bool, default=False
        Whether to take the squares of the norms.

    Returns
    -------
    Tensor [B]

    Examples
    --------
    >>> direct_penalty(lambda x: 3 * x[:, 0], torch.zeros(2, 1), squared=True)
    tensor([9., 9.])
    """
    norms = gradient_norms(network, x)
    return norms.square() if squared else norms


def interpolates(real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
    """Random points between matched rows, one share a pair, without gradient.

    Parameters
    ----------
    real, fake : Tensor [B, ...]
    generator : torch.Generator
        Of any device.

    Returns
    -------
    Tensor [B, ...]
        ``a * real + (1 - a) * fake``, a uniform in [0, 1).

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> real, fake = torch.ones(2, 3), torch.zeros(2, 3)
    >>> interpolates(real, fake, torch.Generator().manual_seed(0))
    tensor([[0.4963, 0.4963, 0.4963],
            [0.7682, 0.7682, 0.7682]])
    """
    if real.shape != fake.shape:
        raise ValueError(
            f"interpolates need matched rows; real are {list(real.shape)}, fake {list(fake.shape)}"
        )
    drawn = own_rows(
        generator,
        len(real),
        lambda n: torch.rand(n, generator=generator, device=generator.device, dtype=real.dtype),
    )
    share = drawn.to(real.device).reshape(-1, *[1] * (real.dim() - 1))
    return share * real.detach() + (1 - share) * fake.detach()


def gradient_penalty(
    network: Callable[[Tensor], Any],
    real: Tensor,
    fake: Tensor,
    generator: torch.Generator,
    *,
    one_sided: bool = False,
    target: float = 1.0,
) -> Tensor:
    """Squared distance of the gradient norms at interpolates to a target: WGAN-GP.

    Gulrajani et al., arXiv 1704.00028, eq. 3; one-sided: section 4 there.

    Parameters
    ----------
    network : callable
        See `gradient_norms`.
    real, fake : Tensor [B, ...]
        Matched rows.
    generator : torch.Generator
        Draws the interpolates.
    one_sided : bool, default=False
        Whether norms below the target are free.
    target : float, default=1.0

    Returns
    -------
    Tensor [B]
        ``(norm - target)^2``, or ``max(0, norm - target)^2``.

    Raises
    ------
    ValueError
        If the shapes differ, or the network gives more than one number a row.

    Examples
    --------
    >>> rows, random = torch.zeros(2, 1), torch.Generator()
    >>> gradient_penalty(lambda x: 3 * x[:, 0], rows, rows, random)
    tensor([4., 4.])
    """
    excess = gradient_norms(network, interpolates(real, fake, generator)) - target
    return (excess.relu() if one_sided else excess).square()


class SteepestPoints:
    """The points at which the last step found the steepest gradients, to be looked at again.

    The buffer of Lipschitz GAN's MaxGP (arXiv 1902.05687, published code; off there by default, a
    quarter of a batch where it is on).

    Parameters
    ----------
    size : int
        How many points are kept.

    Attributes
    ----------
    x : Tensor [size, ...] or None
        The points, steepest first; None before the first step.
    y : Tensor [size] or None
        Their labels, where the network takes any.

    Raises
    ------
    ValueError
        If the size is below 1.

    Examples
    --------
    >>> steepest = SteepestPoints(1)
    >>> steepest.keep(torch.tensor([[1.0], [2.0]]), None, torch.tensor([0.1, 0.3]))
    >>> steepest.extend(torch.tensor([[5.0]]), None)[0].tolist()
    [[5.0], [2.0]]
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"size={size!r} is not valid; a buffer keeps at least 1 point")
        self.size = size
        self.x: Tensor | None = None
        self.y: Tensor | None = None

    def extend(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Points [B + size, ...] and their labels: the given ones, then those kept."""
        if self.x is None:
            return x, y
        labels = None if y is None or self.y is None else torch.cat([y, self.y])
        return torch.cat([x, self.x]), labels

    def keep(self, x: Tensor, y: Tensor | None, norms: Tensor) -> None:
        """Keep the steepest of points x [B, ...] with labels y [B] and gradient norms [B]."""
        steepest = norms.detach().topk(min(self.size, len(norms))).indices
        self.x = x.detach()[steepest]
        self.y = None if y is None else y[steepest]


def max_gradient_penalty(
    network: Callable[..., Any],
    real: Tensor,
    fake: Tensor,
    generator: torch.Generator,
    *,
    buffer: SteepestPoints | None = None,
    y: Tensor | None = None,
) -> Tensor:
    """Square of the largest gradient norm at interpolates: MaxGP of Lipschitz GAN.

    Zhou et al., arXiv 1902.05687, as in the published code: target 0, largest of the batch.

    Parameters
    ----------
    network : callable
        See `gradient_norms`. With `y` it is called as ``network(x, y)``.
    real, fake : Tensor [B, ...]
        Matched rows.
    generator : torch.Generator
        Draws the interpolates.
    buffer : SteepestPoints, optional
        Points of the last step that are looked at again; it then keeps the steepest of this one.
    y : Tensor [B], optional
        Labels that the network needs: points of the buffer come with their own.

    Returns
    -------
    Tensor
        A scalar.

    Raises
    ------
    ValueError
        If the shapes differ, or the network gives more than one number a row.

    Examples
    --------
    >>> real, fake = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [2.0]])
    >>> max_gradient_penalty(lambda x: x[:, 0] ** 2, real, fake, torch.Generator())
    tensor(16., ...)
    """
    x = interpolates(real, fake, generator)
    if buffer is not None:
        x, y = buffer.extend(x, y)
    norms = gradient_norms(network if y is None else lambda x: network(x, y), x)
    if buffer is not None:
        buffer.keep(x, y, norms)
    return norms.square().max()
