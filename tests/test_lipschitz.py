"""Which parameters decay."""

import torch
from torch import nn

from clsgan.lipschitz import decay_groups


def test_weights_decay_and_biases_and_norms_do_not() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    decayed, plain = decay_groups(network, 0.1)
    assert decayed["weight_decay"] == 0.1 and plain["weight_decay"] == 0.0
    assert {id(p) for p in decayed["params"]} == {id(network[0].weight), id(network[3].weight)}
    together = {id(p) for group in (decayed, plain) for p in group["params"]}
    assert together == {id(p) for p in network.parameters()}


def test_fixed_parameters_and_empty_groups_are_left_out() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    network[0].weight.requires_grad_(False)
    (group,) = decay_groups(network, 0.1)
    assert [id(p) for p in group["params"]] == [id(network[1].weight)]


def test_a_step_without_gradient_shrinks_weights_only() -> None:
    layer = nn.Linear(3, 2)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    optimizer = torch.optim.SGD(decay_groups(layer, 0.5), lr=0.1)
    (0 * layer(torch.ones(1, 3)).sum()).backward()
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), (1 - 0.1 * 0.5) * weight)
    assert torch.equal(layer.bias.detach(), bias)
