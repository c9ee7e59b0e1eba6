import numpy as np
import pytest
import torch
from torch import nn

from clsgan.networks import GENERATORS, PaperGenerator, SmallGenerator, build_generator


def test_paper_generator_is_table_1():
    generator = PaperGenerator((3, 32, 32), 10, 100)
    layers = [
        (m.kernel_size[0], m.stride[0], m.in_channels, m.out_channels)
        for m in generator.layers
        if isinstance(m, nn.ConvTranspose2d)
    ]
    assert layers == [(4, 1, 110, 512), (4, 2, 512, 256), (4, 2, 256, 128), (4, 2, 128, 3)]
    kinds = [type(m) for m in generator.layers]
    assert kinds == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.LeakyReLU] * 3 + [nn.ConvTranspose2d]
    assert generator.layers(torch.zeros(2, 110, 1, 1)).shape == (2, 3, 32, 32), "nothing is cut"


@pytest.mark.parametrize(
    ("width", "widths"), [(64, [64, 32, 32]), (256, [256, 128, 64]), (8, [8, 8, 8])]
)
def test_a_thinner_paper_generator_has_half_as_many_channels_with_each_doubling(width, widths):
    generator = PaperGenerator((1, 28, 28), 1, 5, width=width)
    made = [m.out_channels for m in generator.layers if isinstance(m, nn.ConvTranspose2d)]
    assert made == [*widths, 1]
    y = torch.zeros(3, dtype=torch.int64)
    assert generator(torch.zeros(3, 5), y).shape == (3, 1, 28, 28)
    assert type(build_generator("paper", (1, 28, 28), 1, 5, {"width": np.int64(width)})) is (
        PaperGenerator
    )


@pytest.mark.parametrize("width", [0, True, 1.5, "64"])
def test_a_width_that_is_no_whole_number_above_0_is_refused(width):
    with pytest.raises(ValueError, match=r"width=.* is not valid; give a positive integer"):
        PaperGenerator((1, 8, 8), 1, 5, width=width)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((1, 8, 8), [(4, 4), (8, 8)]),
        ((1, 28, 28), [(7, 7), (14, 14)]),
        ((3, 32, 32), [(8, 8), (16, 16)]),
        ((3, 64, 48), [(8, 6), (16, 12), (32, 24)]),
        ((3, 224, 224), [(8, 8), (16, 16), (32, 32)]),
    ],
)
def test_small_generator_doubles_from_at_most_8(shape, sizes):
    assert SmallGenerator(shape, 2, 4).sizes == sizes


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 96, 96), (3, 224, 224)])
def test_the_last_up_convolution_reaches_every_pixel(shape):
    generator = SmallGenerator(shape, 2, 4)
    with torch.no_grad():
        generator.to_image.weight.fill_(1.0)
    ones = torch.ones(1, generator.to_image.in_channels, *generator.sizes[-1])
    image = generator.to_image(ones)
    assert image.shape[2] >= shape[1]
    assert image.abs().min() > 1


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 96, 96)])
def test_first_images_do_not_saturate(name, shape):
    generator = build_generator(name, shape, 2, 16)
    z = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    x = generator(z, torch.arange(8) % 2)
    assert 0.02 < x.std() < 0.7
    assert x.abs().max() < 0.9999


def test_generators_follow_a_target():
    """A few steps of regression bring each class to an image of its own."""
    generator = build_generator("small", (1, 8, 8), 2, 4, {"widths": (32, 32)})
    target = torch.stack([torch.full((1, 8, 8), -0.9), torch.eye(8)[None] * 1.8 - 0.9])
    optimizer = torch.optim.Adam(generator.parameters(), lr=2e-3)
    z, y = torch.zeros(2, 4), torch.tensor([0, 1])
    for _ in range(200):
        optimizer.zero_grad()
        loss = (generator(z, y) - target).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.02
