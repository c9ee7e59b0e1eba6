"""The linear program of LS-GAN's Theorem 2: constraints, optimum, bounds, and a trained network."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from clsgan import LSGAN, bounds
from clsgan.bounds import OptimalLosses, optimal_losses
from clsgan.objectives import pixel_margin

Points = tuple[np.ndarray, np.ndarray]


def distance(a: np.ndarray, b: np.ndarray, metric: str = "l1") -> float:
    """One distance between two points, by hand."""
    gaps = [abs(float(s) - float(t)) for s, t in zip(a.ravel(), b.ravel(), strict=True)]
    if metric in ("l1", "mean_absolute"):
        total = math.fsum(gaps)
        return total if metric == "l1" else total / len(gaps)
    squares = math.fsum(gap * gap for gap in gaps)
    return math.sqrt(squares if metric == "l2" else squares / len(gaps))


def objective(
    losses: np.ndarray, real: np.ndarray, fake: np.ndarray, weight: float, scale: float = 1.0
) -> float:
    """Eq. 8 of arXiv 1701.06264 v3: all pairs of a real and a generated point."""
    l_real, l_fake = losses[: len(real)], losses[len(real) :]
    total = 0.0
    for i, x in enumerate(real):
        for j, g in enumerate(fake):
            total += max(scale * distance(x, g) + l_real[i] - l_fake[j], 0.0)
    return sum(l_real) / len(real) + weight / (len(real) * len(fake)) * total


def dense_program(
    real: np.ndarray, fake: np.ndarray, kappa: float, weight: float
) -> tuple[list[float], list[list[float]], list[float]]:
    """Cost, rows and right-hand sides of eq. 11, a hinge variable for every pair, by loops."""
    points, n, m = [*real, *fake], len(real), len(fake)
    width = n + m + n * m
    cost = [1 / n] * n + [0.0] * m + [weight / (n * m)] * (n * m)
    rows, most = [], []
    for a, b in itertools.permutations(range(n + m), 2):
        row = [0.0] * width
        row[a], row[b] = 1.0, -1.0
        rows.append(row)
        most.append(kappa * distance(points[a], points[b]))
    for i, j in itertools.product(range(n), range(m)):
        row = [0.0] * width
        row[i], row[n + j], row[n + m + i * m + j] = 1.0, -1.0, -1.0
        rows.append(row)
        most.append(-distance(real[i], fake[j]))
    return cost, rows, most


def cloud(n: int, m: int, dim: int, seed: int) -> Points:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)) * 0.7, rng.normal(size=(m, dim)) + 1.0


def all_losses(best: OptimalLosses) -> np.ndarray:
    return np.concatenate([best.real_losses, best.fake_losses])


# --- the optimum


@pytest.mark.parametrize("kappa", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_optimum_against_every_choice_of_losses(kappa: float, weight: float) -> None:
    """Whole coordinates have an optimum among the losses that are multiples of 0.5."""
    real, fake = np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]])
    points = np.concatenate([real, fake])
    pairs = [(a, b, distance(points[a], points[b])) for a, b in itertools.combinations(range(4), 2)]
    least = math.inf
    for losses in itertools.product(np.arange(0.0, 4.5, 0.5).tolist(), repeat=4):
        if all(abs(losses[a] - losses[b]) <= kappa * apart for a, b, apart in pairs):
            least = min(least, objective(np.array(losses), real, fake, weight))
    best = optimal_losses(real, fake, kappa, weight)
    assert best.objective == pytest.approx(least, abs=1e-9)
    assert objective(all_losses(best), real, fake, weight) == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize(("kappa", "weight"), [(0.4, 1.0), (1.0, 2.0), (1.7, 2.0), (5.0, 50.0)])
def test_optimum_against_a_dense_program(kappa: float, weight: float) -> None:
    real, fake = cloud(6, 5, 2, seed=0)
    cost, rows, most = dense_program(real, fake, kappa, weight)
    found = linprog(cost, A_ub=rows, b_ub=most, bounds=(0, None), method="highs-ds")
    best = optimal_losses(real, fake, kappa, weight)
    assert found.fun > 0.01
    assert best.objective == pytest.approx(found.fun, rel=1e-7)


def test_margin_of_its_own() -> None:
    """One pair: the generated loss rises by the margin, or as far as kappa lets it."""
    real, fake = np.zeros((1, 4)), np.full((1, 4), 3.0)
    best = optimal_losses(
        real, fake, 1.0, 2.0, metric="l2", margin_metric="mean_absolute", margin_scale=0.5
    )
    assert best.fake_losses[0] == pytest.approx(0.5 * 3.0)
    best = optimal_losses(real, fake, 0.1, 2.0, metric="l2", margin_metric="l1")
    assert best.fake_losses[0] == pytest.approx(0.1 * 6.0)
    assert best.objective == pytest.approx(2.0 * (12.0 - 0.6))


def test_margin_is_that_of_the_objectives() -> None:
    real, fake = cloud(1, 1, 6, seed=3)
    margin = pixel_margin(torch.from_numpy(real), torch.from_numpy(fake), scale=2.4576)
    best = optimal_losses(real, fake, 50.0, 1.0, margin_metric="mean_absolute", margin_scale=2.4576)
    assert best.fake_losses - best.real_losses == pytest.approx(margin.numpy())


# --- the constraints


@pytest.mark.parametrize("metric", ["l1", "l2", "mean_absolute", "root_mean_square"])
@pytest.mark.parametrize("kappa", [0.3, 1.0, 4.0])
def test_every_constraint_holds(metric: str, kappa: float) -> None:
    real, fake = cloud(9, 7, 3, seed=1)
    best = optimal_losses(real, fake, kappa, 3.0, metric=metric)
    losses, points = all_losses(best), np.concatenate([real, fake])
    assert best.real_losses.shape == (9,) and best.fake_losses.shape == (7,)
    assert losses.dtype == np.float64 and losses.min() >= 0 and losses.max() > 0.1
    for a, b in itertools.combinations(range(16), 2):
        reach = kappa * distance(points[a], points[b], metric)
        assert abs(losses[a] - losses[b]) <= reach + 1e-12


def test_scale_of_the_points_does_not_matter() -> None:
    real, fake = cloud(6, 5, 2, seed=2)
    best = optimal_losses(real, fake, 1.7, 2.0)
    for scale in (1e-9, 1e12):
        scaled = optimal_losses(scale * real, scale * fake, 1.7, 2.0)
        assert scaled.objective == pytest.approx(scale * best.objective, rel=1e-6)


def test_points_that_coincide() -> None:
    same = np.ones((3, 2))
    best = optimal_losses(same, same, 1.0, 2.0)
    assert best.objective == 0 and not all_losses(best).any()


# --- the bounds


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("kappa", [0.6, 1.0, 3.0])
def test_bounds_against_a_loop_and_at_the_data(metric: str, kappa: float) -> None:
    real, fake = cloud(6, 5, 2, seed=4)
    best = optimal_losses(real, fake, kappa, 2.0, metric=metric)
    losses, points = all_losses(best), np.concatenate([real, fake])
    queries = np.random.default_rng(0).normal(size=(40, 2)) * 3
    lower, upper = best.lower_bound(queries), best.upper_bound(queries)
    for q, x in enumerate(queries):
        reach = [kappa * distance(x, point, metric) for point in points]
        low = max(max(loss - r, 0.0) for loss, r in zip(losses, reach, strict=True))
        high = min(loss + r for loss, r in zip(losses, reach, strict=True))
        assert lower[q] == pytest.approx(low, abs=1e-12)
        assert upper[q] == pytest.approx(high, abs=1e-12)
    assert (lower <= upper + 1e-12).all() and (upper - lower).max() > 0.5
    np.testing.assert_allclose(best.lower_bound(points), losses, atol=1e-12)
    np.testing.assert_allclose(best.upper_bound(points), losses, atol=1e-12)


def test_mixtures_of_the_bounds_are_lipschitz() -> None:
    """Corollary 1: any convex combination of the bounds is a global minimiser."""
    real, fake = cloud(6, 5, 2, seed=5)
    best = optimal_losses(real, fake, 1.3, 2.0)
    x = np.random.default_rng(1).normal(size=(30, 2)) * 2
    mixed = 0.3 * best.lower_bound(x) + 0.7 * best.upper_bound(x)
    for a, b in itertools.combinations(range(30), 2):
        assert abs(mixed[a] - mixed[b]) <= 1.3 * distance(x[a], x[b]) + 1e-12


def test_images_and_numbers_are_points() -> None:
    images = np.random.default_rng(0).normal(size=(5, 1, 2, 2))
    best = optimal_losses(images[:3], images[3:], 1.0, 1.0)
    flat = optimal_losses(images[:3].reshape(3, 4), images[3:].reshape(2, 4), 1.0, 1.0)
    assert best.objective == flat.objective and best.points.shape == (5, 1, 2, 2)
    assert best.upper_bound(images).shape == (5,)
    line = optimal_losses([0.0, 1.0], [2.0], 1.0, 1.0)
    assert line.objective == optimal_losses([[0.0], [1.0]], [[2.0]], 1.0, 1.0).objective
    assert line.upper_bound([0.5, 0.6, 0.7]).shape == (3,)


# --- a trained network


class LipschitzNetwork(nn.Module):
    """An MLP that is kappa-Lipschitz in the L1 norm by construction.

    Entries of the first matrix are clipped to [-1, 1] (L1 to maximum norm), rows of the others to
    an L1 norm of at most 1 (maximum norm to maximum norm); sorting units stretches nothing. Such
    networks come near any Lipschitz function (Anil et al. 2019).
    """

    def __init__(self, dim: int, kappa: float, seed: int, width: int = 32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        self.kappa = kappa
        self.first, self.shift = nn.Parameter(normal(width, dim)), nn.Parameter(2 * normal(width))
        self.second = nn.Parameter(normal(width, width))
        self.last, self.bias = nn.Parameter(normal(1, width).abs()), nn.Parameter(normal(1))

    def forward(self, x: Tensor) -> Tensor:
        x = x @ self.first.clamp(-1, 1).T + self.shift
        for weight in (self.second, self.last):
            x = x.view(len(x), -1, 8).sort(dim=2).values.flatten(1)
            x = x @ (weight / weight.abs().sum(dim=1, keepdim=True).clamp(min=1)).T
        return self.kappa * (x + self.bias)


class FixedPoints(nn.Module):
    """A generator of the same points again and again, whatever the noise."""

    def __init__(self, points: np.ndarray) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.from_numpy(points).float())

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.points[torch.arange(len(z)) % len(self.points)]


def trained(
    network: nn.Module, real: np.ndarray, fake: np.ndarray, weight: float, steps: int
) -> LSGAN:
    """LS-GAN's critic on all pairs of the points, by the package's own loop.

    A batch has every point equally often, and the run ends before the generator takes a step. The
    network's absolute value keeps the losses >= 0 and stretches nothing.
    """
    options = {"pairs": "all", "output": "absolute", "hinge_weight": weight}
    model = LSGAN(
        "ls_gan",
        objective_options=options,
        margin_scale=real.shape[1],  # a sum of absolute differences
        penalty=None,
        critic_steps=steps + 1,
        loss_network=network,
        generator=FixedPoints(fake),
        latent_dim=1,
        batch_size=len(real) * len(fake),
        max_steps=steps,
        optimizer="adam",
        schedule="linear",
        learning_rate=0.03,
        average_decay=0.0,
        accelerator="cpu",
        precision="32",
        random_state=0,
    )
    return model.fit(real)


def spread_of_the_optimum(real: np.ndarray, fake: np.ndarray, kappa: float, weight: float) -> float:
    """How far any loss may differ between two optimal solutions."""
    cost, rows, most = dense_program(real, fake, kappa, weight)
    least = linprog(cost, A_ub=rows, b_ub=most, bounds=(0, None)).fun
    rows, most = [*rows, cost], [*most, least + 1e-8]
    widest = 0.0
    for k in range(len(real) + len(fake)):
        one = np.eye(len(cost))[k]
        low = linprog(one, A_ub=rows, b_ub=most, bounds=(0, None)).fun
        high = -linprog(-one, A_ub=rows, b_ub=most, bounds=(0, None)).fun
        widest = max(widest, high - low)
    return widest


@pytest.mark.parametrize(
    ("n", "m", "dim", "kappa", "seed", "steps", "tolerance"),
    [(4, 3, 1, 1.0, 1, 400, 0.01), (4, 3, 1, 0.5, 2, 400, 0.01), (2, 2, 2, 1.0, 0, 800, 0.03)],
)
def test_a_network_trained_by_ls_gan_lies_between_the_bounds(
    n: int, m: int, dim: int, kappa: float, seed: int, steps: int, tolerance: float
) -> None:
    """At 400 points, within 0.01 of losses up to 1.9 and 3.5, and 0.03 of up to 9.8 (untrained: 1).

    The theorem asks for a loss function that is kappa-Lipschitz in the program's metric, >= 0 and
    optimal; its losses at the data are the program's where that has one solution, as is common for
    kappa <= 1 only. All of it is checked here, the optimum to the same tolerance: training that
    stops in a local optimum, as it does on other toy sets, is no case for the theorem.
    """
    real, fake = cloud(n, m, dim, seed)
    # in the units of the loop, so that it leaves them as they are
    real, fake = ((part - real.mean(axis=0)) / real.std(axis=0) for part in (real, fake))
    best = optimal_losses(real, fake, kappa, hinge_weight=2.0)
    assert spread_of_the_optimum(real, fake, kappa, 2.0) < 1e-5
    x = np.random.default_rng(seed).uniform(-3, 4, size=(400, dim))
    lower, upper = best.lower_bound(x), best.upper_bound(x)
    assert (upper - lower).max() > 0.5

    def distance_outside(losses: np.ndarray) -> float:
        return float(max((lower - losses).max(), (losses - upper).max()))

    network = LipschitzNetwork(dim, kappa, seed)
    with torch.no_grad():
        assert distance_outside(network(torch.from_numpy(x).float())[:, 0].abs().numpy()) > 1
    model = trained(network, real, fake, weight=2.0, steps=steps)
    losses = -model.score_samples(x)
    reached = objective(-model.score_samples(np.concatenate([real, fake])), real, fake, weight=2.0)
    assert best.objective - 1e-4 <= reached < best.objective + tolerance
    np.testing.assert_allclose(model.generator_.points.detach().numpy(), fake, rtol=1e-5)
    gaps = np.abs(x[:, None] - x).sum(axis=2)
    assert (np.abs(losses[:, None] - losses) <= kappa * gaps + 1e-4).all() and losses.min() >= 0
    assert distance_outside(losses) < tolerance


# --- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kappa": 0.0}, "kappa=0.0 is not valid; it is a finite number above 0"),
        ({"kappa": math.nan}, "kappa=nan is not valid"),
        ({"hinge_weight": -1.0}, "hinge_weight=-1.0 is not valid; it is a finite number at least"),
        ({"hinge_weight": math.inf}, "hinge_weight=inf is not valid"),
        ({"margin_scale": -0.1}, "margin_scale=-0.1 is not valid"),
        ({"metric": "l3"}, "metric='l3' is not known"),
        ({"margin_metric": "l3"}, "margin_metric='l3' is not known"),
        ({"fake": np.ones((2, 3))}, r"alike but for rows, got \(2, 2\) and \(2, 3\)"),
        ({"real": np.ones((0, 2))}, r"real must be \[N, ...\] with at least one row"),
        ({"fake": 1.0}, "fake must be"),
        ({"real": np.full((2, 2), np.nan)}, "real holds values that are not finite"),
        ({"fake": np.full((2, 2), 1e308), "real": np.full((2, 2), -1e308)}, "overflow"),
    ],
)
def test_bad_input_is_named(changes: dict[str, object], message: str) -> None:
    given = {"real": np.zeros((2, 2)), "fake": np.ones((2, 2)), "kappa": 1.0, "hinge_weight": 1.0}
    with pytest.raises(ValueError, match=message):
        optimal_losses(**(given | changes))  # type: ignore[arg-type]


def test_queries_of_another_shape_are_named() -> None:
    best = optimal_losses(np.zeros((2, 2)), np.ones((2, 2)), 1.0, 1.0)
    with pytest.raises(ValueError, match=r"points of shape \(2,\), got \(3, 1\)"):
        best.lower_bound(np.zeros((3, 1)))
    with pytest.raises(ValueError, match="x holds values that are not finite"):
        best.upper_bound([[0.0, math.inf]])


def test_a_solver_that_gives_up_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_time(*args: object, **kwargs: object) -> object:
        return linprog(*args, **kwargs, options={"time_limit": 0.0})  # type: ignore[arg-type]

    monkeypatch.setattr(bounds, "linprog", out_of_time)
    with pytest.raises(RuntimeError, match="6 real and 5 generated points was not solved"):
        optimal_losses(*cloud(6, 5, 2, seed=0), 1.7, 2.0)


def test_inputs_are_left_as_they_were(global_randomness_untouched: None) -> None:
    real, fake = cloud(3, 3, 2, seed=0)
    before = real.copy(), fake.copy()
    best = optimal_losses(real, fake, 1.0, 1.0)
    best.lower_bound(real)
    np.testing.assert_array_equal(real, before[0])
    np.testing.assert_array_equal(fake, before[1])
