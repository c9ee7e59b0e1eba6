"""The level moves all scores of a row alike and never touches the classifier."""

import pytest
import torch
from torch import nn

from clsgan.networks import Level, build_loss_network, level_of
from clsgan.networks.level import log_odds_of_largest
from clsgan.objectives import class_losses, open_class_losses, outlier_probability


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
    assert torch.allclose(after - before, level.learned(features).detach(), atol=1e-5)
    assert not torch.allclose(outlier_probability(before), outlier_probability(after), atol=1e-4)


def test_at_the_start_the_outlier_probability_is_that_of_all_classes_but_the_first() -> None:
    torch.manual_seed(0)
    features, logits = torch.randn(64, 6), 3 * torch.randn(64, 5)
    others = 1 - logits.softmax(dim=1).amax(dim=1)
    untrained, trained = Level(6), random_level(6)
    none = outlier_probability(logits + untrained(features, logits))
    assert torch.allclose(none, others, atol=1e-6)
    none = outlier_probability(logits + trained(features, logits))
    assert not torch.allclose(none, others, atol=1e-2)


def test_without_its_anchor_it_starts_at_one_half_and_is_a_function_of_the_features() -> None:
    torch.manual_seed(0)
    features, logits = torch.randn(64, 6), 3 * torch.randn(64, 5)
    level = Level(6)
    level.anchor.zero_()
    none = outlier_probability(logits + level(features, logits))
    assert torch.allclose(none, torch.full((64,), 0.5), atol=1e-6)
    level = random_level(6)
    level.anchor.zero_()
    none, other = (outlier_probability(a + level(features, a)) for a in (logits, -logits))
    assert torch.allclose(none, other, atol=1e-6)
    assert none.std() > 0.01


def test_what_the_scores_were_shifted_by_before_does_not_matter() -> None:
    level, features, logits = random_level(6), torch.randn(3, 6), torch.randn(3, 4)
    moved = logits + level(features, logits)
    shifted = logits + torch.tensor([[100.0], [-5.0], [0.3]])
    assert torch.allclose(shifted + level(features, shifted), moved, atol=1e-4)


def test_the_log_odds_are_those_of_the_largest_probability() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [40.0, -40.0, 0.0]], dtype=torch.float64)
    p = logits.softmax(dim=1).amax(dim=1)
    odds = log_odds_of_largest(logits)[:, 0]
    assert odds[0].item() == pytest.approx((p[0] / (1 - p[0])).log().item())
    assert odds[1].item() == pytest.approx(40.0), "1 - p is 0 in float64; its logarithm is not"
    assert log_odds_of_largest(torch.ones(2, 1)).tolist() == [[0.0], [0.0]]


def test_no_gradient_passes_to_the_features_and_classes_learn_as_without_it() -> None:
    features = torch.randn(3, 6, requires_grad=True)
    logits = torch.randn(3, 4, requires_grad=True)
    level, y = random_level(6), torch.tensor([0, 1, 3])
    nn.functional.cross_entropy(logits, y).backward()
    expected, logits.grad = logits.grad, None
    open_class = open_class_losses(logits + level(features, logits))
    open_class.gather(1, y[:, None]).mean().backward()
    assert features.grad is None
    assert torch.allclose(logits.grad, expected, atol=1e-6)


def test_frozen_the_loss_of_a_row_is_differentiated_but_for_what_was_learned() -> None:
    level = random_level(6).requires_grad_(False).double()
    features, logits = (torch.randn(3, n, dtype=torch.float64, requires_grad=True) for n in (6, 4))

    def none(logits: torch.Tensor) -> torch.Tensor:
        return outlier_probability(logits + level(features, logits))

    assert torch.autograd.gradcheck(none, logits)
    none(logits).sum().backward()
    assert features.grad is None


def test_views_that_are_sure_of_different_classes_are_sure_of_none() -> None:
    level = Level(6)
    features = torch.zeros(1, 6)
    views = [torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.1, 0.9]]).log()]
    moved = [view + level(features, view) for view in views]
    mean = level.over_views(moved)
    assert torch.allclose(mean.softmax(dim=1), torch.tensor([[0.5, 0.5]]))
    assert outlier_probability(mean).item() == pytest.approx(0.5)
    assert outlier_probability((moved[0] + moved[1]) / 2).item() < 0.2, "a plain mean is not it"


def test_one_view_twice_is_that_view() -> None:
    level, features, logits = random_level(6), torch.randn(5, 6), torch.randn(5, 4)
    moved = logits + level(features, logits)
    assert torch.allclose(level.over_views([moved, moved]), moved, atol=1e-5)


def test_it_is_made_of_direction_and_size_of_the_features() -> None:
    level = random_level(6)
    features = torch.randn(3, 6)
    assert not torch.allclose(level.learned(features), level.learned(10 * features), atol=1e-3)
    assert level.learned(1e4 * features).abs().max() < 100, "it stays finite on the unseen"
    assert torch.isfinite(level.learned(torch.zeros(2, 6))).all()


def test_the_network_of_the_paper_has_none() -> None:
    assert level_of(build_loss_network("paper", (3, 8, 8), 3)) is None
