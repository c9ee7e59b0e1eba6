"""How near a generator comes to rows it has not seen: the minimum reconstruction error."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from clsgan.choices import one_of
from clsgan.freezing import frozen, frozen_statistics
from clsgan.inference import evaluating
from clsgan.streams import NOISES


class Reconstruction(NamedTuple):
    """Result of `minimum_reconstruction_error`.

    Parameters
    ----------
    errors : ndarray of float64 [N]
        The least distance found for each row.
    mean : float
        Their mean, the MRE.

    Examples
    --------
    >>> Reconstruction(np.array([0.0, 1.0]), 0.5).mean
    0.5
    """

    errors: npt.NDArray[np.float64]
    mean: float


def minimum_reconstruction_error(
    generator: nn.Module,
    X_test: npt.ArrayLike | Tensor,
    steps: int = 200,
    restarts: int = 4,
    random_state: int | np.random.RandomState = 0,
    *,
    y: npt.ArrayLike | Tensor | None = None,
    latent_dim: int | None = None,
    noise: str = "normal",
    distance: str = "mean_absolute",
    learning_rate: float = 0.1,
    batch_size: int = 256,
) -> Reconstruction:
    """Distance from each row to the nearest one found that the generator can make.

    ``min_z d(x, G(z, y))``, the measure by which later versions of the LS-GAN paper (arXiv
    1701.06264) compare generators on a test set. As there, gradient descent on z looks for the
    minimum: Adam, whose rate falls to 0, from `restarts` draws of the noise for each row; the least
    distance that came up counts. It is an upper bound of the true minimum, nearer to it with more
    steps and restarts. The distance is the L1 norm over the number of entries, so that sizes of
    images compare.

    The generator runs in evaluation mode and is left as it was.

    Parameters
    ----------
    generator : nn.Module
        z [B, Z] -> x [B, ...], or (z [B, Z], y [B]) -> x [B, ...].
    X_test : array-like or Tensor [N, ...]
        Rows in the units that the generator makes: images in [-1, 1], channels first.
    steps : int
        Adam's steps, at least 0.
    restarts : int
        Starting points for each row. A larger number repeats the first ones.
    random_state : int or RandomState
        Seeds the starting points.
    y : array-like of int [N], optional
        Class index of each row, for a conditional generator. One with an `n_classes` of 1 needs
        none.
    latent_dim : int, optional
        Width Z of the noise; if not given, `generator.latent_dim`, or what the first linear or
        up-convolution layer takes besides the classes.
    noise : {"normal", "uniform"}
        What z is drawn from in training. Uniform z stay in [-1, 1], where they come from.
    distance : {"mean_absolute", "mean_squared"}
        Mean over the entries of a row.
    learning_rate : float
        Adam's at the first step, above 0.
    batch_size : int
        Starting points at a time.

    Returns
    -------
    Reconstruction
        ``errors`` [N] and their ``mean``.

    Raises
    ------
    ValueError
        Rows that are not finite floats or not of the shape that the generator makes, missing or
        wrong classes, an unknown `latent_dim`, a parameter out of its range, or a generator whose
        rows are not finite.

    Examples
    --------
    >>> from clsgan.evaluate import minimum_reconstruction_error
    >>> doubled = nn.Linear(1, 2, bias=False)  # makes the points of a line
    >>> _ = nn.init.ones_(doubled.weight)
    >>> found = minimum_reconstruction_error(doubled, [[1.0, 1.0], [0.0, 1.0]])
    >>> found.errors.round(2), round(found.mean, 2)
    (array([0. , 0.5]), 0.25)
    """
    measure = one_of("distance", distance, DISTANCES)
    draw = one_of("noise", noise, NOISES)
    _check_counts(steps=(steps, 0), restarts=(restarts, 1), batch_size=(batch_size, 1))
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate={learning_rate!r} is not valid; it is above 0")
    like = next(generator.parameters(), torch.zeros(0))
    x = _check_rows(X_test).to(like)
    codes = _class_codes(generator, y, len(x))
    shape = (len(x), latent_dim or _latent_dim(generator, codes is not None))
    randomness = torch.Generator()
    randomness.manual_seed(int(check_random_state(random_state).randint(2**31 - 1)))
    starts = torch.cat([draw(shape, randomness) for _ in range(restarts)]).to(like)
    search = _Search(generator, measure, steps, learning_rate, 1.0 if noise == "uniform" else None)
    parts = []
    with evaluating(generator), frozen(generator), frozen_statistics(generator):
        for first in range(0, len(starts), batch_size):
            part = torch.arange(first, min(first + batch_size, len(starts)), device=like.device)
            rows = part % len(x)
            parts.append(
                search.run(starts[part], x[rows], None if codes is None else codes.to(rows)[rows])
            )
    errors = torch.cat(parts).view(restarts, len(x)).amin(dim=0).cpu().numpy().astype(np.float64)
    if not np.isfinite(errors).all():
        raise ValueError("the generator makes values that are not finite")
    return Reconstruction(errors, float(errors.mean()))


class _Search(NamedTuple):
    """Gradient descent on z, the same for every batch of starting points."""

    generator: nn.Module
    measure: Callable[[Tensor, Tensor], Tensor]
    steps: int
    learning_rate: float
    limit: float | None

    def run(self, z: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        """Least distance [B] met on the way from each z [B, Z] to its x [B, ...]."""
        z = z.clone().requires_grad_()
        optimizer = torch.optim.Adam([z], lr=self.learning_rate)
        best = x.new_full((len(x),), float("inf"))
        with torch.enable_grad():
            for step in range(self.steps + 1):
                errors = self._errors(z, x, y)
                best = torch.fmin(best, errors.detach())
                if step == self.steps:
                    break
                (z.grad,) = torch.autograd.grad(errors.sum(), z)
                optimizer.param_groups[0]["lr"] = self.learning_rate * (1 - step / self.steps)
                optimizer.step()
                if self.limit is not None:
                    z.data.clamp_(-self.limit, self.limit)
        return best

    def _errors(self, z: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        made = self.generator(z) if y is None else self.generator(z, y)
        if made.shape != x.shape:
            raise ValueError(
                f"the generator makes rows of shape {tuple(made.shape[1:])}, "
                f"X_test has {tuple(x.shape[1:])}"
            )
        return self.measure(made, x)


def _check_counts(**given: tuple[int, int]) -> None:
    for name, (value, least) in given.items():
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name}={value!r} is not valid; it is a whole number from {least} on")


def _check_rows(X_test: npt.ArrayLike | Tensor) -> Tensor:
    x = torch.as_tensor(X_test if isinstance(X_test, Tensor) else np.asarray(X_test))
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(f"X_test must be [N, ...] with at least one row, got {tuple(x.shape)}")
    if not x.is_floating_point() or not torch.isfinite(x).all():
        raise ValueError("X_test must hold finite floats, in the units that the generator makes")
    return x.detach()


def _class_codes(
    generator: nn.Module, y: npt.ArrayLike | Tensor | None, n_rows: int
) -> Tensor | None:
    """Class indices [N] to hand to the generator, or None if it takes none."""
    n_classes: Any = getattr(generator, "n_classes", None)
    if y is None and n_classes == 1:
        return torch.zeros(n_rows, dtype=torch.int64)
    if y is None:
        if n_classes:
            raise ValueError(f"the generator makes {n_classes} classes: give y, one for each row")
        return None
    codes = torch.as_tensor(y if isinstance(y, Tensor) else np.asarray(y))
    if codes.shape != (n_rows,) or codes.is_floating_point() or codes.dtype == torch.bool:
        raise ValueError(f"y must be {n_rows} class indices, got {codes.dtype} {list(codes.shape)}")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or (n_classes and high >= n_classes):
        raise ValueError(f"y must hold class indices from 0 on, got {low} to {high} of {n_classes}")
    return codes.to(torch.int64)


def _latent_dim(generator: nn.Module, conditional: bool) -> int:
    known: Any = getattr(generator, "latent_dim", None)
    if known is not None:
        return int(known)
    classes: Any = getattr(generator, "n_classes", 0) if conditional else 0
    for module in generator.modules():
        if isinstance(module, nn.Linear):
            return module.in_features - int(classes)
        if isinstance(module, nn.ConvTranspose2d):
            return module.in_channels - int(classes)
    raise ValueError("the generator does not say how wide its noise is; give latent_dim")


def _mean_absolute(made: Tensor, x: Tensor) -> Tensor:
    return (made - x).abs().flatten(1).mean(dim=1)


def _mean_squared(made: Tensor, x: Tensor) -> Tensor:
    return (made - x).square().flatten(1).mean(dim=1)


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean_absolute": _mean_absolute,
    "mean_squared": _mean_squared,
}
