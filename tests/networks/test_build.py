import pytest
import torch
from torch import nn

from clsgan.networks import (
    GENERATORS,
    LOSS_NETWORKS,
    MLPGenerator,
    MLPLossNetwork,
    SmallGenerator,
    SmallLossNetwork,
    build_generator,
    build_loss_network,
)

QUICK = {
    "small": {"widths": (32, 32, 64)},
    "paper": {},
    "wide_resnet_28_2": {"depth": 10, "widen": 1},
    "mlp": {"hidden": (32,)},
}
SHAPES = [(1, 4, 4), (1, 8, 8), (2, 5, 9), (13, 28, 17), (3, 32, 32), (1, 1, 30)]
LARGE = [(3, 96, 96), (3, 224, 224), (4, 20, 161)]


def check_loss_network(name, shape):
    network = build_loss_network(name, shape, 5, QUICK[name])
    logits, features = network(torch.rand(2, *shape) * 2 - 1)
    assert logits.shape == (2, 5)
    assert features.shape == (2, network.num_features)
    assert torch.isfinite(logits).all()
    assert logits.dtype == features.dtype == torch.float32


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LOSS_NETWORKS)
def test_loss_networks_take_any_image(name, shape):
    check_loss_network(name, shape)


@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("name", ["small", "mlp"])
def test_loss_networks_take_large_images(name, shape):
    check_loss_network(name, shape)


@pytest.mark.parametrize("name", ["paper", "wide_resnet_28_2"])
def test_full_resolution_networks_take_96_pixels(name):
    check_loss_network(name, (3, 96, 96))


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("shape", [*SHAPES, (3, 31, 16), (3, 64, 64), *LARGE])
def test_generators_make_any_image(name, shape):
    generator = build_generator(name, shape, 3, latent_dim=7)
    z = 100 * torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    x = generator(z, torch.tensor([0, 2]))
    assert x.shape == (2, *shape)
    assert x.dtype == torch.float32
    assert x.abs().max() <= 1


@pytest.mark.parametrize("columns", [1, 2, 64])
def test_rows(columns):
    network = build_loss_network("auto", (columns,), 2)
    logits, features = network(torch.rand(3, columns))
    assert logits.shape == (3, 2)
    assert features.shape == (3, network.num_features)
    generator = build_generator("auto", (columns,), 2, latent_dim=4)
    x = generator(1e4 * torch.ones(1, 4), torch.tensor([1]))
    assert x.shape == (1, columns)
    with torch.no_grad():
        generator.layers[-1].bias += 5
    assert generator(torch.ones(1, 4), torch.tensor([1])).abs().max() > 1, "rows are unbounded"


def test_auto_goes_by_shape():
    assert isinstance(build_loss_network("auto", (4,), 2), MLPLossNetwork)
    assert isinstance(build_loss_network("auto", (1, 8, 8), 2), SmallLossNetwork)
    assert isinstance(build_generator("auto", (4,), 2, 3), MLPGenerator)
    assert isinstance(build_generator("auto", (1, 8, 8), 2, 3), SmallGenerator)


@pytest.mark.parametrize("name", LOSS_NETWORKS)
def test_loss_network_state_dict_round_trip(name):
    shape = (2, 12, 12)
    first, second = (build_loss_network(name, shape, 3, QUICK[name], seed=s) for s in (0, 1))
    x = torch.rand(4, *shape)
    first(x)  # moves the running statistics, which belong to the state
    second.load_state_dict(first.state_dict())
    expected, got = first.eval()(x), second.eval()(x)
    assert torch.equal(expected[0], got[0])
    assert torch.equal(expected[1], got[1])


@pytest.mark.parametrize("name", GENERATORS)
def test_generator_state_dict_round_trip(name):
    first, second = (build_generator(name, (2, 12, 12), 3, 5, seed=s) for s in (0, 1))
    z, y = torch.rand(4, 5), torch.tensor([0, 1, 2, 0])
    assert not torch.equal(first(z, y), second(z, y)), "seeds differ"
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()(z, y), second.eval()(z, y))


@pytest.mark.parametrize("name", LOSS_NETWORKS)
def test_gradients_reach_every_weight_of_loss_networks(name):
    network = build_loss_network(name, (3, 16, 16), 4, QUICK[name])
    logits, _ = network(torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    logits[:, 0].sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        if "level.hidden" not in parameter_name:  # behind a layer that starts at zero
            assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", GENERATORS)
def test_gradients_reach_every_weight_of_generators(name):
    generator = build_generator(name, (3, 20, 20), 3, 6)
    z = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    x = generator(z, torch.arange(6) % 3)
    x.pow(3).sum().backward()
    for parameter_name, parameter in generator.named_parameters():
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", ["small", "paper", "mlp", "wide_resnet_28_2"])
def test_double_backward_matches_finite_differences(name):
    network = build_loss_network(name, (1, 6, 6), 3, QUICK[name]).double()
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4, 1, 6, 6, generator=draw, dtype=torch.float64)
    weight = next(p for n, p in network.named_parameters() if n.endswith("head.linear.weight"))
    earlier = next(p for p in network.parameters() if p.ndim > 1)

    def squared_gradient_norm() -> torch.Tensor:
        inputs = x.clone().requires_grad_()
        loss = network(inputs)[0].logsumexp(1).sum()
        (gradient,) = torch.autograd.grad(loss, inputs, create_graph=True)
        return gradient.square().sum()

    for parameter in (weight, earlier):
        direction = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
        (slope,) = torch.autograd.grad(squared_gradient_norm(), parameter)
        values = []
        for step in (1e-8, -2e-8):
            with torch.no_grad():
                parameter += step * direction
            values.append(squared_gradient_norm().item())
        with torch.no_grad():
            parameter += 1e-8 * direction
        expected = (values[0] - values[1]) / 2e-8
        assert (slope * direction).sum().item() == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", LOSS_NETWORKS)
def test_evaluation_does_not_depend_on_the_batch(name):
    network = build_loss_network(name, (1, 9, 9), 3, QUICK[name])
    x = torch.randn(6, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    network(x)
    network.eval()
    together, alone = network(x)[0], torch.cat([network(row[None])[0] for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["small", "mlp"])
def test_an_image_does_not_depend_on_the_others_even_in_training(name):
    generator = build_generator(name, (1, 9, 9), 3, 4)
    z, y = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])
    torch.testing.assert_close(generator(z, y)[:1], generator(z[:1], y[:1]))


@pytest.mark.parametrize("name", GENERATORS)
def test_the_class_changes_the_image(name):
    generator = build_generator(name, (1, 9, 9), 3, 4).eval()
    z = torch.ones(1, 4)
    first, second = (generator(z, torch.tensor([k])) for k in (0, 1))
    assert not torch.allclose(first, second)


def test_mlp_keeps_rows_apart_in_training():
    network = build_loss_network("mlp", (3,), 2)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(x)[0][:1], network(x[:1])[0])


def test_mlp_learns_a_tiny_table_in_300_steps():
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(30) % 3
    x = torch.randn(30, 2, generator=draw) * 0.3 + torch.tensor([[-1.0, 0], [1, 0], [0, 1]])[y]
    network = build_loss_network("mlp", (2,), 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x)[0], y).backward()
        optimizer.step()
    assert (network(x)[0].argmax(1) == y).float().mean() > 0.96


def test_bf16_autocast_returns_float32():
    network = build_loss_network("small", (3, 16, 16), 4, QUICK["small"])
    generator = build_generator("small", (3, 16, 16), 4, 6)
    network, generator = (m.to(memory_format=torch.channels_last) for m in (network, generator))
    with torch.autocast("cpu", torch.bfloat16):
        x = generator(torch.zeros(4, 6), torch.arange(4))
        logits, features = network(x)
    assert x.dtype == logits.dtype == features.dtype == torch.float32
    logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in generator.parameters())


def test_the_seed_decides_and_the_global_state_stays(global_randomness_untouched):
    one, same = (build_loss_network("mlp", (4,), 3, seed=1) for _ in range(2))
    other = build_loss_network("mlp", (4,), 3, seed=2)
    build_generator("small", (1, 8, 8), 3, 4, seed=1)
    weights = [network.layers[1].weight for network in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: build_loss_network("smal", (1, 8, 8), 2), "did you mean 'small'.*'timm:<model>'"),
        (lambda: build_generator("papr", (1, 8, 8), 2, 4), "did you mean 'paper'.*'auto'"),
        (lambda: build_loss_network("small", (5,), 2), "'small' is for images.*'mlp'"),
        (lambda: build_generator("paper", (5,), 2, 4), "'paper' is for images"),
        (lambda: build_loss_network("mlp", (8, 8), 2), r"\(8, 8\) is not valid"),
        (lambda: build_loss_network("mlp", (3, 0, 8), 2), r"\(3, 0, 8\) is not valid"),
        (lambda: build_loss_network("mlp", (5,), 0), "n_classes=0"),
        (lambda: build_generator("mlp", (5,), 2, 0), "latent_dim=0"),
        (lambda: build_loss_network("small", (1, 8, 8), 2, {"width": (32,)}), "'widths'"),
        (lambda: build_loss_network("paper", (1, 8, 8), 2, {"widths": (32,)}), "option of paper"),
        (lambda: build_loss_network("small", (1, 8, 8), 2, {"widths": ()}), "positive integers"),
        (lambda: build_loss_network("mlp", (5,), 2, {"hidden": 32}), "positive integers"),
        (lambda: build_generator("small", (1, 8, 8), 2, 4, {"widths": (12,)}), "multiples of 8"),
        (lambda: build_loss_network("wide_resnet_28_2", (1, 8, 8), 2, {"depth": 27}), "depth=27"),
        (lambda: build_loss_network(nn.Linear(5, 2), (5,), 2, {"widths": 3}), "given module"),
    ],
)
def test_bad_requests_say_what_is_valid(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("name", [None, 3, nn.Linear])
def test_neither_name_nor_module(name):
    with pytest.raises(TypeError, match="a name or a torch"):
        build_loss_network(name, (5,), 2)
