import pytest
import torch
from torch import nn

from clsgan.networks import PaperLossNetwork, SmallLossNetwork, WideResNet, small_operations


def convolutions(network: nn.Module) -> list[tuple[int, int, int, int]]:
    """(kernel, stride, channels in, channels out) of each convolution, in order."""
    return [
        (m.kernel_size[0], m.stride[0], m.in_channels, m.out_channels)
        for m in network.modules()
        if isinstance(m, nn.Conv2d)
    ]


def test_paper_network_is_table_1():
    network = PaperLossNetwork((3, 32, 32), 10)
    assert convolutions(network) == [
        (3, 1, 3, 96),
        (3, 1, 96, 96),
        (4, 2, 96, 96),
        (3, 1, 96, 192),
        (3, 1, 192, 192),
        (4, 2, 192, 192),
        (3, 1, 192, 192),
        (3, 1, 192, 192),
        (1, 1, 192, 192),
    ]
    kinds = [type(m) for m in network.layers]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] * 9
    assert {m.negative_slope for m in network.layers if isinstance(m, nn.LeakyReLU)} == {0.2}
    assert network.layers(torch.zeros(1, 3, 32, 32)).shape == (1, 192, 8, 8)
    assert network.head.linear.weight.shape == (10, 192)


def test_paper_network_starts_from_a_normal_of_002():
    network = PaperLossNetwork((3, 32, 32), 10)
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    drawn = torch.cat([w.detach().flatten() for w in weights])
    assert drawn.std().item() == pytest.approx(0.02, rel=0.01)
    assert drawn.mean().item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("side", "strided"), [(2, 0), (4, 1), (7, 1), (8, 2)])
def test_paper_network_leaves_out_strides_that_do_not_fit(side, strided):
    network = PaperLossNetwork((1, side, side), 3)
    assert sum(stride == 2 for _, stride, _, _ in convolutions(network)) == strided


@pytest.mark.parametrize(
    ("side", "sizes"),
    [(4, [3, 3, 3]), (8, [7, 7, 3]), (28, [13, 6, 3]), (32, [15, 7, 3]), (224, [18, 9, 4])],
)
def test_small_network_halves_while_there_is_something_to_halve(side, sizes):
    network = SmallLossNetwork((1, side, side), 3, widths=(32, 32, 32)).eval()
    x, seen = network.stem(torch.zeros(1, 1, side, side)), []
    for stage in network.stages:
        x = stage(x)
        seen.append(x.shape[2])
    assert seen == sizes


def test_small_network_takes_more_stages_than_it_can_halve():
    network = SmallLossNetwork((3, 32, 32), 3, widths=(32,) * 6)
    assert network(torch.rand(2, 3, 32, 32))[1].shape == (2, 32)


def test_first_logits_are_small():
    network = SmallLossNetwork((3, 32, 32), 10, widths=(32, 64, 128))
    logits, _ = network(torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert 0.05 < logits.std() < 1.5


def test_wide_resnet_28_2_has_the_usual_size():
    network = WideResNet((3, 32, 32), 10)
    level = sum(p.numel() for p in network.head.level.parameters())
    assert sum(p.numel() for p in network.parameters()) - level == 1_467_610  # "1.5 M"
    layers = convolutions(network)
    assert sum(kernel == 3 for kernel, _, _, _ in layers) == 25
    assert [channels for kernel, _, _, channels in layers if kernel == 1] == [32, 64, 128]


def test_a_group_norm_keeps_rows_apart_in_training() -> None:
    network = SmallLossNetwork((1, 8, 8), 10, widths=(8, 12, 16), norm="group").train()
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    whole, part = network(x)[0], network(x[:2])[0]
    torch.testing.assert_close(whole[:2], part)
    assert not any("running" in name for name, _ in network.named_buffers())
    with pytest.raises(ValueError, match="norm='grup' is not known; did you mean 'group'"):
        SmallLossNetwork((1, 8, 8), 10, norm="grup")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 20), (3, 96, 130), (1, 3, 3)])
def test_operations_are_those_of_the_convolutions(shape):
    network, counted = SmallLossNetwork(shape, 3, widths=(8, 12, 16)), [0]

    def count(module, inputs, output):
        counted[0] += module.weight.numel() * output.shape[2] * output.shape[3]

    for module in network.stages.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network.eval()(torch.zeros(1, *shape))
    assert small_operations(shape, (8, 12, 16)) == counted[0] > 0
