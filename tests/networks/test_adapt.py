import copy
import pickle

import pytest
import torch
from torch import nn

from clsgan.networks import build_generator, build_loss_network
from clsgan.objectives import class_losses


class Pair(nn.Module):
    """Logits and features, as a user may write it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6), nn.Dropout())
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        features = self.body(x)
        return self.head(features), features


class Returns(nn.Module):
    def __init__(self, value) -> None:
        super().__init__()
        self.value = value

    def forward(self, *inputs):
        return self.value


class Painter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 12)

    def forward(self, z, y):
        return (self.linear(z) + y[:, None]).view(-1, 3, 2, 2).tanh()


def test_logits_alone_are_the_features_too():
    given = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    network = build_loss_network(given, (3, 2, 2), 3)
    x = torch.rand(5, 3, 2, 2)
    logits, features = network(x)
    assert torch.allclose(class_losses(logits), class_losses(given(x)), atol=1e-6)
    assert torch.equal(features, given(x))
    assert network.num_features == 3


def test_logits_and_features():
    given = Pair().eval()
    network = build_loss_network(given, (3, 2, 2), 3)
    x = torch.rand(5, 3, 2, 2)
    logits, features = network(x)
    assert features.shape == (5, network.num_features) == (5, 6)
    assert torch.allclose(class_losses(logits), class_losses(given(x)[0]), atol=1e-6)


def test_the_given_module_is_copied_and_never_changed(global_randomness_untouched):
    given = _pair()
    given.body[2].eval()
    before = copy.deepcopy(given.state_dict())
    network = build_loss_network(given, (3, 2, 2), 3)
    assert given.training
    assert not given.body[2].training, "the mode of each part is kept"
    assert network.module.training
    assert not network.module.body[2].training
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())


def _pair() -> Pair:
    with torch.random.fork_rng(devices=[]):
        return Pair()


def test_adapted_networks_can_be_pickled():
    network = build_loss_network(nn.Linear(4, 3), (4,), 3)
    x = torch.rand(2, 4)
    assert torch.equal(pickle.loads(pickle.dumps(network))(x)[0], network(x)[0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (nn.Linear(4, 3), r"must return logits of shape \[2, 2\].*shape \[2, 3\]"),
        (nn.Linear(5, 2), r"an input of shape \[2, 4\] fails: RuntimeError"),
        (Returns(torch.zeros(2, 2, 1)), r"\[2, 2\]"),
        (Returns({"logits": 1}), "not dict"),
        (Returns((torch.zeros(2, 2),) * 3), "not tuple"),
        (Returns((torch.zeros(2, 2), torch.zeros(2, 5, 1))), r"\[2, F\].*\[2, 5, 1\]"),
        (Returns((torch.zeros(2, 2), None)), "a NoneType"),
    ],
)
def test_loss_networks_that_do_not_fit(given, message):
    with pytest.raises(ValueError, match=message):
        build_loss_network(given, (4,), 2)


def test_modes_are_restored_when_the_check_fails():
    given = nn.Sequential(nn.Dropout(), nn.Linear(5, 2))
    with pytest.raises(ValueError, match="fails"):
        build_loss_network(given, (4,), 2)
    assert given.training
    assert given[0].training


def test_a_given_generator():
    given = Painter()
    generator = build_generator(given, (3, 2, 2), 3, 4)
    z, y = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    assert torch.equal(generator(z, y), given(z, y))
    assert generator is not given


@pytest.mark.parametrize(
    ("given", "shape", "message"),
    [
        (Painter(), (3, 2, 3), r"must return \[2, 3, 2, 3\].*\[2, 3, 2, 2\]"),
        (nn.Linear(4, 12), (3, 2, 2), "fails: TypeError"),
        (Returns(torch.full((2, 3, 2, 2), 7.0)), (3, 2, 2), r"in \[-1, 1\].*from 7 to 7"),
        (Returns(None), (5,), r"must return \[2, 5\].*a NoneType"),
    ],
)
def test_generators_that_do_not_fit(given, shape, message):
    with pytest.raises(ValueError, match=message):
        build_generator(given, shape, 3, 4)
