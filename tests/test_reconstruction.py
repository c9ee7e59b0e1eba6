"""The minimum reconstruction error against exact minima, and what it leaves untouched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from clsgan.evaluate import minimum_reconstruction_error
from clsgan.networks.generators import MLPGenerator, PaperGenerator, SmallGenerator

CLASSES = torch.arange(6) % 3


def linear_generator() -> nn.Linear:
    """z of 2 numbers to rows of 5."""
    torch_random = torch.Generator().manual_seed(0)
    layer = nn.Linear(2, 5)
    with torch.no_grad():
        layer.weight.normal_(generator=torch_random)
        layer.bias.normal_(generator=torch_random)
    return layer


def held_out_rows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)


class Identity(nn.Module):
    """Makes z itself."""

    latent_dim = 2

    def forward(self, z: Tensor) -> Tensor:
        return z


@pytest.fixture
def conditional() -> MLPGenerator:
    """A small generator of 1x4x4 images in three classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MLPGenerator((1, 4, 4), 3, 6, hidden=(32,))


# --- the minimum


def test_mean_absolute_error_against_a_linear_program() -> None:
    """min over z of |x - W z - b|_1 / 5, for each row the exact optimum of a linear program."""
    generator, x = linear_generator(), held_out_rows()
    weight = generator.weight.detach().double().numpy()
    bias = generator.bias.detach().double().numpy()
    exact = []
    for row in x.astype(np.float64):
        rows, most = [], []
        for d in range(5):
            slack = -np.eye(5)[d]
            rows += [[*weight[d], *slack], [*-weight[d], *slack]]
            most += [row[d] - bias[d], bias[d] - row[d]]
        free = [(None, None)] * 2 + [(0, None)] * 5
        exact.append(linprog([0, 0, 1, 1, 1, 1, 1], A_ub=rows, b_ub=most, bounds=free).fun / 5)
    found = minimum_reconstruction_error(generator, x, steps=300, restarts=3)
    assert found.errors.shape == (6,) and found.errors.dtype == np.float64
    np.testing.assert_allclose(found.errors, exact, atol=2e-3)
    assert (found.errors >= np.array(exact) - 1e-6).all() and min(exact) > 0.05
    assert found.mean == pytest.approx(np.mean(found.errors), rel=1e-12)


def test_mean_squared_error_against_least_squares() -> None:
    generator, x = linear_generator(), held_out_rows()
    weight, bias = generator.weight.detach().double().numpy(), generator.bias.detach().numpy()
    residuals = np.linalg.lstsq(weight, (x - bias).T.astype(np.float64), rcond=None)[1]
    found = minimum_reconstruction_error(
        generator, x, steps=300, restarts=2, distance="mean_squared"
    )
    np.testing.assert_allclose(found.errors, residuals / 5, rtol=1e-4)


def test_held_out_rows_that_the_generator_made_are_found(conditional: MLPGenerator) -> None:
    z = torch.randn(6, 6, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        x = conditional(z, CLASSES)
    right = minimum_reconstruction_error(conditional, x, steps=300, y=CLASSES)
    wrong = minimum_reconstruction_error(conditional, x, steps=300, y=(CLASSES + 1) % 3)
    assert right.mean < 0.005 < 0.02 < wrong.mean


def test_steps_and_restarts_never_do_harm(conditional: MLPGenerator) -> None:
    x = held_out_images()

    def errors(steps: int, restarts: int) -> np.ndarray:
        return minimum_reconstruction_error(conditional, x, steps, restarts, 0, y=CLASSES).errors

    drawn = errors(0, 1)
    assert (errors(20, 1) < drawn).all()
    assert (errors(0, 4) <= drawn + 1e-6).all() and (errors(0, 4) < drawn - 1e-3).any()
    assert (errors(20, 4) <= errors(20, 1) + 1e-5).all()


def held_out_images() -> Tensor:
    return torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_uniform_noise_stays_where_it_comes_from() -> None:
    x = np.array([[3.0, 0.5]])
    normal = minimum_reconstruction_error(Identity(), x, steps=300)
    uniform = minimum_reconstruction_error(Identity(), x, steps=300, noise="uniform")
    assert normal.mean < 0.01
    assert uniform.mean == pytest.approx((3 - 1) / 2, abs=0.01)


# --- seeds, batches, networks


def test_a_seed_settles_everything(
    conditional: MLPGenerator, global_randomness_untouched: None
) -> None:
    x = held_out_images()

    def errors(random_state: Any) -> list[float]:
        given = {"steps": 5, "restarts": 2, "y": CLASSES, "random_state": random_state}
        return minimum_reconstruction_error(conditional, x, **given).errors.tolist()

    assert errors(3) == errors(3) == errors(np.random.RandomState(3))
    assert errors(3) != errors(4)


def test_the_size_of_batches_does_not_matter(conditional: MLPGenerator) -> None:
    given: dict[str, Any] = {"steps": 10, "restarts": 3, "y": CLASSES}
    whole = minimum_reconstruction_error(conditional, held_out_images(), **given)
    small = minimum_reconstruction_error(conditional, held_out_images(), **given, batch_size=5)
    np.testing.assert_allclose(small.errors, whole.errors, atol=1e-4)


@pytest.mark.parametrize("kind", [MLPGenerator, SmallGenerator, PaperGenerator])
@pytest.mark.parametrize("n_classes", [1, 3])
def test_every_generator_of_the_package_works(kind: Any, n_classes: int) -> None:
    """The width of the noise is found, and one class needs no labels."""
    generator = kind((1, 8, 8), n_classes, 6)
    x = torch.zeros(3, 1, 8, 8)
    y = None if n_classes == 1 else [0, 1, 2]
    found = minimum_reconstruction_error(generator, x, steps=2, restarts=1, y=y)
    assert found.errors.shape == (3,)
    same = minimum_reconstruction_error(generator, x, 2, 1, y=y, latent_dim=6)
    np.testing.assert_array_equal(found.errors, same.errors)


# --- what stays as it was


class Counting(nn.Module):
    """Batch norm, dropout, and a buffer that every call moves, in evaluation mode too."""

    latent_dim = 3
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.ReLU())
        self.last = nn.Linear(8, 2)
        self.register_buffer("calls", torch.zeros(()))
        self.modes: set[bool] = set()

    def forward(self, z: Tensor) -> Tensor:
        self.calls += 1
        self.modes.add(self.layers[1].training)
        made: Tensor = self.last(self.layers(z))
        return made


def test_the_generator_is_left_as_it_was() -> None:
    generator = Counting().train()
    generator.layers[1].eval()  # a mode of its own
    generator.last.bias.requires_grad_(False)
    generator(torch.randn(4, 3, generator=torch.Generator())).sum().backward()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    gradients = {
        name: None if p.grad is None else p.grad.clone() for name, p in generator.named_parameters()
    }
    modes = [module.training for module in generator.modules()]
    asked = [p.requires_grad for p in generator.parameters()]
    x = torch.ones(3, 2)
    with torch.no_grad():  # as evaluation code often is
        minimum_reconstruction_error(generator, x, steps=3, restarts=2)
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())
    for name, parameter in generator.named_parameters():
        grad = gradients[name]
        assert parameter.grad is None if grad is None else torch.equal(parameter.grad, grad)
    assert [module.training for module in generator.modules()] == modes
    assert [p.requires_grad for p in generator.parameters()] == asked
    assert generator.modes == {False} and torch.equal(x, torch.ones(3, 2))


def test_running_statistics_normalise() -> None:
    """Evaluation mode: a row's error does not depend on the rows beside it."""
    generator = Counting().train()
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    together = minimum_reconstruction_error(generator, x, steps=5, restarts=1)
    alone = minimum_reconstruction_error(generator, x, steps=5, restarts=1, batch_size=1)
    np.testing.assert_allclose(together.errors, alone.errors, atol=1e-5)


# --- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": None}, "the generator makes 3 classes: give y"),
        ({"y": [0, 1]}, r"y must be 6 class indices, got torch.int64 \[2\]"),
        ({"y": [0.0] * 6}, r"y must be 6 class indices, got torch.float64"),
        ({"y": [0, 1, 2, 3, 0, 0]}, "class indices from 0 on, got 0 to 3 of 3"),
        ({"y": [-1, 1, 2, 0, 0, 0]}, "class indices from 0 on, got -1 to 2 of 3"),
        ({"steps": -1}, "steps=-1 is not valid; it is a whole number from 0 on"),
        ({"restarts": 0}, "restarts=0 is not valid; it is a whole number from 1 on"),
        ({"batch_size": 1.5}, "batch_size=1.5 is not valid"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 is not valid"),
        ({"distance": "mean_absolut"}, "did you mean 'mean_absolute'"),
        ({"noise": "cauchy"}, "noise='cauchy' is not known"),
        ({"X_test": np.zeros((6, 4, 4))}, r"makes rows of shape \(1, 4, 4\), X_test has \(4, 4\)"),
        ({"X_test": np.zeros((6, 1, 4, 4), np.uint8)}, "finite floats, in the units"),
        ({"X_test": np.full((6, 1, 4, 4), np.nan)}, "finite floats"),
        ({"X_test": np.zeros((0, 1, 4, 4))}, "at least one row"),
    ],
)
def test_bad_input_is_named(
    conditional: MLPGenerator, changes: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"X_test": held_out_images(), "y": CLASSES, "steps": 1, "restarts": 1}
    with pytest.raises(ValueError, match=message):
        minimum_reconstruction_error(conditional, **(given | changes))


class Broken(nn.Module):
    """Makes nothing finite."""

    def forward(self, z: Tensor) -> Tensor:
        return z / 0 * 0


def test_a_generator_that_cannot_be_used_is_named() -> None:
    with pytest.raises(ValueError, match="give latent_dim"):
        minimum_reconstruction_error(Broken(), np.ones((2, 3)))
    with pytest.raises(ValueError, match="makes values that are not finite"):
        minimum_reconstruction_error(Broken(), np.ones((2, 3)), steps=2, latent_dim=3)
