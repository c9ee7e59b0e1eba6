import pytest
import torch
from torch import nn

from clsgan.networks.small_maps import SmallMapConv2d, _Convolution


def both(side, in_bf16, seed=0):
    """Output and gradients of the layer and of a plain convolution with the same weights."""
    torch.manual_seed(seed)
    layer, plain = SmallMapConv2d(32, 64), nn.Conv2d(32, 64, 3, padding=1, bias=False)
    plain.load_state_dict(layer.state_dict())
    rows, up = torch.randn(8, 32, *side), torch.randn(8, 64, *side)
    results = []
    for module in (layer, plain):
        x = rows.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
            out = module(x)
        (out.float() * up).sum().backward()
        results.append((out.detach().float(), x.grad, module.weight.grad))
    return results


@pytest.mark.parametrize("side", [(3, 3), (4, 4), (1, 1), (2, 5), (7, 7)])
@pytest.mark.parametrize("in_bf16", [True, False])
def test_same_output_and_gradients_as_a_plain_convolution(side, in_bf16):
    ours, theirs = both(side, in_bf16)
    for mine, its in zip(ours, theirs, strict=True):
        error = (mine - its).norm() / its.norm()
        assert error < (0.01 if in_bf16 else 1e-6)


def test_gradients_and_second_gradients_are_right_in_float64():
    torch.manual_seed(0)
    x = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_Convolution.apply, (x, weight))
    assert torch.autograd.gradgradcheck(_Convolution.apply, (x, weight))


def test_the_own_way_is_taken_only_where_it_pays(monkeypatch):
    taken = []
    monkeypatch.setattr(
        _Convolution, "apply", lambda x, weight: taken.append(1) or torch.zeros(1, 64, 3, 3)
    )
    layer = SmallMapConv2d(32, 64)

    def run(side=3, in_bf16=True):
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
            layer(torch.zeros(1, 32, side, side))
        return bool(taken and taken.pop())

    assert run()
    assert not run(side=5)
    assert not run(in_bf16=False)
    with torch.no_grad():
        assert not run()
    layer.requires_grad_(False)
    assert not run()


def test_with_a_bias_it_is_a_plain_convolution():
    layer = SmallMapConv2d(2, 3, bias=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.zeros(1, 2, 3, 3))
    assert torch.equal(out[0, :, 0, 0], layer.bias.bfloat16())
