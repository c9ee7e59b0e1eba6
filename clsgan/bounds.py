"""The best losses that a Lipschitz loss network can reach on given points, solved exactly.

Theorem 2 of arXiv 1701.06264 v3 (Theorem 4 of later versions): LS-GAN's objective over all
non-negative Lipschitz functions is a linear program in their values at the data, and these values
bound every such function everywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, eye, hstack, vstack
from scipy.spatial.distance import cdist

from clsgan.choices import one_of

Array = npt.NDArray[np.float64]
Distance = Callable[[Array, Array], Array]


@dataclass(frozen=True, eq=False)
class OptimalLosses:
    """Optimal losses at given points, and what they say of all others.

    Attributes
    ----------
    real_losses : ndarray of float64 [n]
        l*_i of the real points, each >= 0.
    fake_losses : ndarray of float64 [m]
        l*_j of the generated points, each >= 0.
    objective : float
        The least value of eq. 6 on these points, all pairs of a real and a generated one.
    points : ndarray of float64 [n + m, ...]
        The real points, then the generated ones.
    kappa : float
        Lipschitz constant, loss per unit of the metric.
    metric : str
        Key of `METRICS`.

    Examples
    --------
    >>> best = optimal_losses(np.array([0.0]), np.array([2.0]), kappa=1.0, hinge_weight=1.0)
    >>> best.lower_bound(np.array([0.0, 1.0, 5.0])), best.upper_bound(np.array([0.0, 1.0, 5.0]))
    (array([0., 1., 0.]), array([0., 1., 5.]))
    """

    real_losses: Array
    fake_losses: Array
    objective: float
    points: Array
    kappa: float
    metric: str

    def lower_bound(self, x: npt.ArrayLike) -> Array:
        """The least loss possible at each x: ``max_i (l*_i - kappa d(x, x_i))_+`` (Theorem 2).

        Parameters
        ----------
        x : array-like [Q, ...]
            Points of the shape of the data; Q (n + m) distances are held in memory.

        Returns
        -------
        ndarray of float64 [Q]

        Raises
        ------
        ValueError
            Points of another shape, or values that are not finite.

        Examples
        --------
        >>> best = optimal_losses(np.array([0.0]), np.array([2.0]), kappa=1.0, hinge_weight=1.0)
        >>> best.lower_bound(np.array([1.5, 2.5]))
        array([1.5, 1.5])
        """
        return np.asarray(np.maximum((self._losses() - self._reach(x)).max(axis=1), 0.0))

    def upper_bound(self, x: npt.ArrayLike) -> Array:
        """The largest loss possible at each x: ``min_i l*_i + kappa d(x, x_i)`` (Theorem 2).

        Parameters
        ----------
        x : array-like [Q, ...]
            Points of the shape of the data; Q (n + m) distances are held in memory.

        Returns
        -------
        ndarray of float64 [Q]

        Raises
        ------
        ValueError
            Points of another shape, or values that are not finite.

        Examples
        --------
        >>> best = optimal_losses(np.array([0.0]), np.array([2.0]), kappa=1.0, hinge_weight=1.0)
        >>> best.upper_bound(np.array([1.5, 2.5]))
        array([1.5, 2.5])
        """
        return np.asarray((self._losses() + self._reach(x)).min(axis=1))

    def _losses(self) -> Array:
        return np.concatenate([self.real_losses, self.fake_losses])

    def _reach(self, x: npt.ArrayLike) -> Array:
        """How much a loss may change from each point to each x, [Q, n + m]."""
        queries = _check_points("x", x)
        if queries.shape[1:] != self.points.shape[1:]:
            raise ValueError(
                f"x must be [Q, ...] of points of shape {self.points.shape[1:]}, "
                f"got {queries.shape}"
            )
        distance = one_of("metric", self.metric, METRICS)
        return self.kappa * distance(_rows(queries), _rows(self.points))


def optimal_losses(
    real: npt.ArrayLike,
    fake: npt.ArrayLike,
    kappa: float,
    hinge_weight: float,
    *,
    metric: str = "l1",
    margin_metric: str | None = None,
    margin_scale: float = 1.0,
) -> OptimalLosses:
    """Minimise LS-GAN's objective over all non-negative kappa-Lipschitz losses, exactly.

    The linear program of arXiv 1701.06264 v3, eq. 11, in the losses l_i of the real points x_i and
    l_j of the generated points g_j::

        minimise    mean_i l_i + hinge_weight * mean_ij (margin(x_i, g_j) + l_i - l_j)_+
        subject to  l >= 0 and |l_a - l_b| <= kappa d(a, b) for every two of the n + m points

    The paper uses one distance Delta for d and for the margin, and so does this by default: the
    sum of absolute differences (its pixel-wise L1 norm). A network whose gradient is bounded in
    the Euclidean norm needs ``metric="l2"``; ``margin_metric="mean_absolute"`` with
    ``margin_scale`` is `clsgan.objectives.pixel_margin`. Only d has to be a metric.

    A loss function is sure to lie between the two bounds if it is kappa-Lipschitz in d and has
    these losses at the points. An optimal one has them where the program has one solution; where
    it has several, as when a generated point is better than asked, this is one of them.

    Cost: with N = n + m points, the program has N (N - 1) sparse rows for the constraint, and a row
    and a variable for each pair that kappa allows to be further apart in loss than its margin:
    none for kappa <= 1 with one distance, nearly n m for a large kappa. Time grows faster than the
    rows: on one core, 100 + 100 points took 0.2 s with kappa = 1 and 0.6 s with kappa = 3, and
    150 + 150 points 0.6 s and 5 s. A few hundred points are the limit.

    Parameters
    ----------
    real : array-like [n, ...]
        Real points; of one dimension, n numbers.
    fake : array-like [m, ...]
        Generated points of the same shape.
    kappa : float
        Lipschitz constant, above 0: loss per unit of the metric.
    hinge_weight : float
        Weight lambda of the hinge, at least 0. From about 1e6 on, the first term is lost in the
        solver's tolerance of 1e-7.
    metric : str
        Distance d of the Lipschitz constraint, key of `METRICS`.
    margin_metric : str, optional
        Distance of the margin, key of `METRICS`; that of the constraint if not given.
    margin_scale : float
        Factor tau of the margin, at least 0.

    Returns
    -------
    OptimalLosses
        The losses satisfy the constraints to rounding, and the objective is the least one to the
        solver's tolerance (1e-7 of the largest margin or kappa d).

    Raises
    ------
    ValueError
        Shapes that differ, no point, values that are not finite, a parameter out of its range or
        an unknown metric.
    RuntimeError
        The solver gave up.

    Examples
    --------
    A generated point 2 away costs 2 more than the real one, as the margin asks:

    >>> best = optimal_losses(np.array([[0.0]]), np.array([[2.0]]), kappa=1.0, hinge_weight=1.0)
    >>> best.real_losses, best.fake_losses, best.objective
    (array([0.]), array([2.]), 0.0)
    """
    x, g = _check_points("real", real), _check_points("fake", fake)
    if x.shape[1:] != g.shape[1:]:
        raise ValueError(f"real and fake must be alike but for rows, got {x.shape} and {g.shape}")
    _check_number("kappa", kappa, kappa > 0, "above 0")
    _check_number("hinge_weight", hinge_weight, hinge_weight >= 0, "at least 0")
    _check_number("margin_scale", margin_scale, margin_scale >= 0, "at least 0")
    distance = one_of("metric", metric, METRICS)
    margin_distance = one_of("margin_metric", margin_metric or metric, METRICS)
    points = np.concatenate([x, g])
    reach = kappa * distance(_rows(points), _rows(points))
    margin = margin_scale * margin_distance(_rows(x), _rows(g))
    if not (np.isfinite(reach).all() and np.isfinite(margin).all()):
        raise ValueError("the distances between the points overflow; scale the points down")
    losses = _made_feasible(_solve(margin, reach, hinge_weight), reach)
    real_losses, fake_losses = losses[: len(x)], losses[len(x) :]
    hinge = np.maximum(margin + real_losses[:, None] - fake_losses, 0.0)
    objective = float(real_losses.mean() + hinge_weight * hinge.mean())
    return OptimalLosses(real_losses, fake_losses, objective, points, float(kappa), metric)


def _solve(margin: Array, reach: Array, hinge_weight: float) -> Array:
    """Losses [n + m] that solve eq. 11; its hinges are variables of their own, behind the losses.

    A hinge between points that can never be as far apart in loss as asked is linear, and needs no
    variable. Losses are measured in units of the largest bound and the weights add up to 1, since
    the solver's tolerances are absolute.
    """
    n, m = margin.shape
    unit = max(float(margin.max()), float(reach.max())) or 1.0
    bent = reach[:n, n:] > margin
    share = hinge_weight / (n * m)
    linear = np.concatenate([1 / n + share * (~bent).sum(axis=1), -share * (~bent).sum(axis=0)])
    i, j = np.nonzero(bent)
    first, second = np.triu_indices(n + m, k=1)
    apart, hinges = _differences(first, second, n + m), _differences(i, n + j, n + m)
    none = csr_matrix((len(first), len(i)))
    rows = vstack([hstack([apart, none]), hstack([-apart, none]), hstack([hinges, -eye(len(i))])])
    most = np.concatenate([reach[first, second], reach[first, second], -margin[i, j]]) / unit
    cost = np.concatenate([linear, np.full(len(i), share)]) / (1 + hinge_weight)
    found = linprog(cost, A_ub=rows.tocsr(), b_ub=most, bounds=(0, None), method="highs")
    if not found.success:
        raise RuntimeError(
            f"the linear program of {n} real and {m} generated points was not solved "
            f"(status {found.status}): {found.message}"
        )
    return unit * np.asarray(found.x[: n + m], dtype=np.float64)


def _differences(first: npt.NDArray[Any], second: npt.NDArray[Any], n_columns: int) -> csr_matrix:
    """Matrix whose row k times l is ``l[first[k]] - l[second[k]]``."""
    k = np.arange(len(first))
    ones = np.ones(len(first))
    places = (np.concatenate([k, k]), np.concatenate([first, second]))
    return csr_matrix((np.concatenate([ones, -ones]), places), shape=(len(first), n_columns))


def _made_feasible(losses: Array, reach: Array) -> Array:
    """The solver's losses, lowered within its tolerance so that no constraint is broken."""
    return np.asarray((np.maximum(losses, 0.0) + reach).min(axis=1))


def _check_points(name: str, points: npt.ArrayLike) -> Array:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name} must be [N, ...] with at least one row, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite")
    return array


def _check_number(name: str, value: float, in_range: bool, valid: str) -> None:
    if not (math.isfinite(value) and in_range):
        raise ValueError(f"{name}={value!r} is not valid; it is a finite number {valid}")


def _rows(points: Array) -> Array:
    return points.reshape(len(points), -1)


def _l1(a: Array, b: Array) -> Array:
    return np.asarray(cdist(a, b, "cityblock"))


def _l2(a: Array, b: Array) -> Array:
    return np.asarray(cdist(a, b, "euclidean"))


METRICS: dict[str, Distance] = {
    "l1": _l1,
    "l2": _l2,
    "mean_absolute": lambda a, b: _l1(a, b) / a.shape[1],
    "root_mean_square": lambda a, b: _l2(a, b) / math.sqrt(a.shape[1]),
}
