"""Spectral normalisation against singular values, and through what a run does to a network."""

import pickle
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from clsgan.freezing import frozen_statistics
from clsgan.lipschitz import (
    clip_weights,
    decay_groups,
    fold_spectral_norm,
    gradient_penalty,
    spectral_norm,
)
from clsgan.networks import build_loss_network
from clsgan.networks.loss_networks import SmallLossNetwork


def network() -> nn.Sequential:
    layers = nn.Sequential(
        *(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 3)),
    )
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
    return layers


def images(n: int = 5) -> Tensor:
    return torch.randn(n, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def largest(weight: Tensor) -> float:
    return float(torch.linalg.svdvals(weight.detach().double().flatten(1))[0])


def test_weights_are_divided_by_their_largest_singular_value() -> None:
    plain = network()
    normalised = spectral_norm(deepcopy(plain))
    for index in (0, 3, 5):
        weight = plain[index].weight
        torch.testing.assert_close(
            normalised[index].weight, weight / largest(weight), rtol=1e-4, atol=1e-5
        )
        assert torch.equal(normalised[index].bias, plain[index].bias)
    assert torch.equal(normalised[1].weight, plain[1].weight)


def test_no_random_number_is_drawn(request) -> None:
    layers = network()
    request.getfixturevalue("global_randomness_untouched")
    fold_spectral_norm(spectral_norm(layers))


def test_sigma_follows_the_weights_as_they_are_trained() -> None:
    layers = spectral_norm(network())
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        # two forward passes and one backward through both, as real and generated rows have
        (layers(images()).square().mean() - layers(images(3)).mean()).backward()
        optimizer.step()
    for index in (0, 3, 5):
        assert largest(layers[index].weight) == pytest.approx(1, abs=0.02)


def test_the_gradient_is_that_of_the_quotient() -> None:
    layer = nn.Linear(4, 3, bias=False).double()
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight)
    spectral_norm(layer)
    x = torch.ones(1, 4, dtype=torch.float64)
    (given,) = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    weight.requires_grad_()
    quotient = weight / torch.linalg.matrix_norm(weight, 2)
    (expected,) = torch.autograd.grad((x @ quotient.T).square().sum(), weight)
    torch.testing.assert_close(given, expected)


def test_a_linear_network_is_1_lipschitz_and_takes_a_gradient_penalty() -> None:
    layers = spectral_norm(nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(), nn.Linear(8, 1)))
    x, y = torch.randn(2, 50, 6, generator=torch.Generator().manual_seed(2))
    slopes = (layers(x) - layers(y)).abs().squeeze(1) / (x - y).norm(dim=1)
    assert slopes.max() <= 1 + 1e-5
    gradient_penalty(layers, x, y, torch.Generator().manual_seed(0)).mean().backward()
    assert all(p.grad is not None for p in layers.parameters() if p.dim() == 2)


def test_evaluation_is_constant_and_frozen_statistics_hold_sigma() -> None:
    layers = spectral_norm(network())
    clip_weights(layers, 0.5)  # moves the weights, so that power iteration has work to do
    before = {name: value.clone() for name, value in layers.state_dict().items()}
    with frozen_statistics(layers):
        layers(images())
    layers.eval()
    assert torch.equal(layers(images()), layers(images()))
    for name, value in layers.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_it_goes_with_what_a_run_does_to_a_network() -> None:
    layers = spectral_norm(network()).to(memory_format=torch.channels_last)
    decayed, _ = decay_groups(layers, 0.1)
    assert len(decayed["params"]) == 3
    average = AveragedModel(layers, use_buffers=True)
    layers(images())
    average.update_parameters(layers)
    resumed = spectral_norm(network()).to(memory_format=torch.channels_last)
    resumed.load_state_dict(layers.state_dict())
    for copy in (average.module, resumed):
        assert torch.equal(copy.eval()(images()), layers.eval()(images()))


def test_a_folded_network_is_plain_gives_the_same_and_pickles() -> None:
    layers = spectral_norm(network()).eval()
    expected = layers(images())
    assert fold_spectral_norm(layers) is layers
    assert type(layers[0]) is nn.Conv2d
    assert set(layers.state_dict()) == set(network().state_dict())
    assert torch.equal(layers(images()), expected)
    assert torch.equal(pickle.loads(pickle.dumps(layers))(images()), expected)
    assert all(parameter.requires_grad for parameter in layers.parameters())
    fold_spectral_norm(layers)  # nothing is left to fold
    assert torch.equal(layers(images()), expected)


def test_sigma_is_full_precision_under_autocast() -> None:
    layer = spectral_norm(nn.Linear(64, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight = layer.weight
    assert weight.dtype == torch.float32
    assert largest(weight) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["small", "paper"])
def test_networks_of_the_package(name: str) -> None:
    loss_network = spectral_norm(build_loss_network(name, (3, 16, 16), 4))
    logits, _ = loss_network(torch.rand(2, 3, 16, 16))
    logits.sum().backward()
    assert logits.shape == (2, 4)
    if isinstance(loss_network, SmallLossNetwork):  # the stem holds no trained filters
        assert "stem.filters" in loss_network.state_dict()


def test_fixed_layers_stay_as_they_are() -> None:
    layers = network()
    layers[0].weight.requires_grad_(False)
    spectral_norm(layers)
    assert largest(layers[0].weight) > 2 and largest(layers[3].weight) == pytest.approx(1, abs=1e-4)


def test_what_cannot_be_normalised_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a linear or convolution layer"):
        spectral_norm(nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match="has spectral normalisation already"):
        spectral_norm(spectral_norm(nn.Linear(2, 2)))


def test_a_layer_that_starts_as_zeros_is_trained_and_kept_below_1() -> None:
    layer = nn.Linear(5, 3, bias=False)
    nn.init.zeros_(layer.weight)
    spectral_norm(layer)
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    assert layer(x).tolist() == [[0.0] * 3] * 20
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    sizes = []
    for _ in range(60):
        optimizer.zero_grad()
        (layer(x) - 3 * x[:, :1]).square().mean().backward()
        optimizer.step()
        sizes.append(largest(layer.weight))
    assert 0 < sizes[0] < sizes[5] < 1  # not divided yet
    assert sizes[-1] == pytest.approx(1, abs=0.02) and max(sizes) < 1.02
