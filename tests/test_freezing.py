"""Parts of a network kept as they are."""

import pytest
import torch
from torch import Tensor, nn

from clsgan.freezing import frozen, frozen_statistics


class Counted(nn.Module):
    """A user's own running mean, updated by every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.5 * self.mean + 0.5 * x.mean((0, 2, 3)).detach()
        return x - self.mean[:, None, None]


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, momentum=None),
        nn.InstanceNorm2d(3, track_running_stats=True),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)),
    ],
)
@pytest.mark.parametrize("value", [5.0, float("nan")])
def test_no_buffer_moves_and_gradients_pass(norm, value) -> None:
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    real, fake = torch.randn(4, 3, 2, 2), torch.full((4, 3, 2, 2), value, requires_grad=True)
    loss = norm(real).sum()
    after_real = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    with frozen_statistics(norm):
        loss = loss + norm(fake).sum()
    for name, buffer in norm.named_buffers():
        assert torch.equal(buffer, after_real[name]), name
    assert any(not torch.equal(before[name], after_real[name]) for name in before)
    loss.backward()
    assert fake.grad is not None


def test_a_buffer_that_is_replaced_is_put_back() -> None:
    module = Counted()
    with frozen_statistics(module):
        module(torch.ones(2, 3, 2, 2))
    assert torch.equal(module.mean, torch.zeros(3))


def test_frozen_gives_back_what_was_trained() -> None:
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    with pytest.raises(KeyError), frozen(layer):
        assert not layer.weight.requires_grad
        raise KeyError
    assert layer.weight.requires_grad and not layer.bias.requires_grad
