"""The level moves all scores of a row alike and never touches the classifier."""

import pytest
import torch
from torch import nn

from clsgan.networks import Level, build_loss_network, level_of
from clsgan.objectives import class_losses, outlier_probability


def random_level(num_features: int) -> Level:
    torch.manual_seed(0)
    level = Level(num_features)
    nn.init.normal_(level.output.weight)
    return level


@pytest.mark.parametrize("name", ["small", "mlp", "wide_resnet_28_2", "given", "timm:resnet10t"])
def test_class_losses_do_not_see_it_but_the_outlier_probability_does(name) -> None:
    given = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))
    network = build_loss_network(given if name == "given" else name, (3, 32, 32), 5).eval()
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    level = level_of(network)
    assert level is not None
    with torch.no_grad():
        before, features = network(x)
        level.output.weight.fill_(0.3)
        after, same = network(x)
    assert torch.equal(features, same)
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.allclose(class_losses(before), class_losses(after), atol=1e-4)
    assert torch.allclose(after - before, level(features).detach(), atol=1e-5)
    assert not torch.allclose(outlier_probability(before), outlier_probability(after), atol=1e-4)


def test_no_gradient_passes_to_the_features() -> None:
    features = torch.randn(3, 6, requires_grad=True)
    random_level(6)(features).sum().backward()
    assert features.grad is None


def test_it_is_made_of_direction_and_size_of_the_features() -> None:
    level = random_level(6)
    features = torch.randn(3, 6)
    assert not torch.allclose(level(features), level(10 * features), atol=1e-3)
    assert level(1e4 * features).abs().max() < 100, "it stays finite on what it has never seen"
    assert torch.isfinite(level(torch.zeros(2, 6))).all()


def test_the_network_of_the_paper_has_none() -> None:
    assert level_of(build_loss_network("paper", (3, 8, 8), 3)) is None
