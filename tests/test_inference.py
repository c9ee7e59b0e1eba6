"""A row's result does not depend on the rows beside it, and the network comes back as it was."""

import numpy as np
import pytest
import torch
from torch import nn

from clsgan.devices import autocast_for
from clsgan.inference import (
    CHUNK,
    VIEWS,
    evaluating,
    forward_in_chunks,
    mean_over_views,
    predict_arrays,
)
from clsgan.networks import build_loss_network


def scores(network: nn.Module, rows: torch.Tensor, **options) -> np.ndarray:
    return predict_arrays(
        network, rows.__getitem__, len(rows), lambda logits, features: logits, **options
    )


@pytest.fixture(scope="module", params=["small", "mlp"])
def case(request, digits) -> tuple[nn.Module, torch.Tensor]:
    """A network and 300 digits, as it sees them."""
    images = torch.from_numpy(digits.x_unl[:300].astype(np.float32))[:, None] / 8 - 1
    rows = images if request.param == "small" else images.flatten(1)
    return build_loss_network(request.param, tuple(rows.shape[1:]), 10, seed=0), rows


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_neither_company_nor_order_changes_a_score(case, precision) -> None:
    network, rows = case
    options = {"autocast": autocast_for(precision, "cpu")}
    whole = scores(network, rows, **options)
    assert whole.shape == (300, 10) and whole.dtype == np.float32
    for count in (1, 2, CHUNK - 1, CHUNK, CHUNK + 1):
        assert np.array_equal(scores(network, rows[:count], **options), whole[:count])
        assert np.array_equal(scores(network, rows[-count:], **options), whole[-count:])
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(scores(network, rows[order], **options), whole[order.numpy()])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_precision_holds_inside_autocast_of_the_program(case, precision) -> None:
    network, rows = case
    options = {"autocast": autocast_for(precision, "cpu")}
    expected = scores(network, rows, **options)
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(scores(network, rows, **options), expected)
    plain = scores(network, rows, autocast=autocast_for("32-true", "cpu"))
    assert np.array_equal(plain, expected) == (precision == "32-true"), "the types differ at all"


def test_scores_are_those_of_one_plain_pass(case) -> None:
    network, rows = case
    with torch.no_grad():
        expected = network.eval()(rows)[0].numpy()
    np.testing.assert_allclose(scores(network, rows), expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 5, 6, 7, 12, 13])
def test_length_and_order_are_kept(count: int) -> None:
    class Echo(nn.Module):
        def forward(self, x):
            assert len(x) == 6  # every pass has the same size
            return x, 2 * x

    rows = torch.arange(float(count))[:, None]
    parts = list(forward_in_chunks(Echo(), rows.__getitem__, count, chunk=6))
    assert torch.equal(torch.cat([logits for logits, _ in parts]), rows)
    assert torch.equal(torch.cat([features for _, features in parts]), 2 * rows)


class Modes(nn.Module):
    """A part that trains, and one that is kept from training."""

    def __init__(self) -> None:
        super().__init__()
        self.trained, self.fixed = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
        self.fixed.eval()

    def forward(self, x):
        assert not self.trained.training and not self.fixed.training
        return self.fixed(self.trained(x)), x

    def modes(self) -> tuple[bool, bool, bool]:
        return self.training, self.trained.training, self.fixed.training


def test_every_module_gets_its_own_mode_back() -> None:
    network, rows = Modes(), torch.ones(3, 2)
    scores(network, rows)
    assert network.modes() == (True, True, False)
    assert torch.equal(network.trained.running_mean, torch.zeros(2))
    network.eval()
    scores(network, rows)
    assert network.modes() == (False, False, False)


def test_modes_come_back_when_a_pass_fails() -> None:
    def fail(logits, features):
        raise RuntimeError("no such column")

    network, rows = Modes(), torch.ones(3, 2)
    with pytest.raises(RuntimeError, match="no such column"):
        predict_arrays(network, rows.__getitem__, 3, fail)
    assert network.modes() == (True, True, False)
    with pytest.raises(RuntimeError):
        predict_arrays(network, torch.ones(3, 7).__getitem__, 3, fail)  # too many columns
    assert network.modes() == (True, True, False)


def test_evaluating_restores_nested_modules() -> None:
    network = nn.Sequential(nn.Sequential(nn.Dropout(), nn.Dropout()), nn.Dropout())
    network[0][1].eval()
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == [True, True, True, False, True]


def test_no_graph_is_kept() -> None:
    layer = nn.Linear(2, 2)
    seen = []

    class Pair(nn.Module):
        def forward(self, x):
            return layer(x), x

    predict_arrays(Pair(), torch.ones(3, 2).__getitem__, 3, lambda a, f: (seen.append(a), a)[1])
    assert not seen[0].requires_grad


def test_what_is_picked_may_have_any_shape() -> None:
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    rows = torch.arange(10.0).reshape(5, 2)
    best = predict_arrays(Pair(), rows.__getitem__, 5, lambda logits, f: logits.argmax(dim=1))
    assert best.tolist() == [1] * 5


def test_mirror_views_are_the_mean_of_an_image_and_its_mirror_image(digits) -> None:
    images = torch.from_numpy(digits.x_unl[:40].astype(np.float32))[:, None] / 8 - 1
    network = build_loss_network("mlp", (1, 8, 8), 10, seed=0)
    both = scores(network, images, views=VIEWS["mirror"])
    views = [torch.from_numpy(scores(network, x)) for x in (images, images.flip(3))]
    mean = (views[0] + views[1]).div(2).softmax(dim=1)
    assert np.allclose(torch.from_numpy(both).softmax(dim=1), mean, atol=1e-6)
    assert np.allclose(1 / (1 + np.exp(both).sum(axis=1)), 1 - mean.amax(dim=1), atol=1e-6)
    assert not np.allclose(both, scores(network, images), atol=1e-3)
    assert np.allclose(both, scores(network, images.flip(3), views=VIEWS["mirror"]), atol=1e-6)


def test_one_view_costs_no_copy() -> None:
    x = torch.ones(2, 3)
    assert mean_over_views(lambda rows: (rows, 2 * rows), x, VIEWS["plain"])[0] is x


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_autocast_of_the_program_changes_no_fit(tiny, digits, precision, enabled) -> None:
    def made(model):
        return model.predict_proba(digits.x_test), model.sample(5, random_state=0)[0]

    model = tiny(precision=precision, validation_fraction=0.1, max_steps=2)
    expected = made(model.fit(digits.x_lab, digits.y_lab, digits.x_unl[:100]))
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        inside = made(model)
        again = made(model.fit(digits.x_lab, digits.y_lab, digits.x_unl[:100]))
    for found in (inside, again, made(model)):
        assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
