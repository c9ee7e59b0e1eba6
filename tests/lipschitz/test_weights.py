"""Which parameters decay, and which are clipped."""

import pytest
import torch
from torch import nn

from clsgan.lipschitz import clip_weights, decay_groups


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


@pytest.mark.parametrize("bound", [0.0, -0.1, float("nan")])
def test_bounds_of_clipping_are_above_0(bound) -> None:
    with pytest.raises(ValueError, match=r"bound=.*is not valid"):
        clip_weights(nn.Linear(2, 2), bound)


def test_clipping_clamps_what_is_trained_and_nothing_else() -> None:
    network = nn.Sequential(nn.Linear(20, 20), nn.BatchNorm1d(20), nn.Linear(20, 20))
    network[2].weight.requires_grad_(False)
    network[1].running_var.fill_(3.0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    clip_weights(network, 0.05)
    for name, value in network.state_dict().items():
        fixed = "running" in name or "num_batches" in name or name == "2.weight"
        assert torch.equal(value, before[name] if fixed else before[name].clamp(-0.05, 0.05)), name
    assert network[1].weight.tolist() == [pytest.approx(0.05)] * 20
    assert network[0].weight.requires_grad and network[0].weight.is_leaf
