"""Objectives by name and their switches."""

import pytest
import torch

from clsgan.objectives import OBJECTIVES, build_objective, class_losses, open_class_losses

LOGITS = torch.tensor([[2.0, -1.0, 0.5]])


def test_paper_is_what_is_printed() -> None:
    paper = OBJECTIVES["paper"]
    assert paper.unlabeled == "margin"  # eq. 18 alone
    assert paper.label_smoothing == 0 and paper.margin_norm == 1
    assert paper.unlabeled_hinge_weight == 1  # gamma is its only weight
    assert torch.equal(paper.losses(LOGITS), open_class_losses(LOGITS))
    assert torch.equal(paper.margin_losses(LOGITS), open_class_losses(LOGITS))


@pytest.mark.parametrize(
    ("open_class", "losses", "margin_losses"),
    [
        ("all", open_class_losses, open_class_losses),
        ("margins", class_losses, open_class_losses),
        ("unlabeled", class_losses, class_losses),
    ],
)
def test_open_class_settles_where_the_one_is(open_class, losses, margin_losses) -> None:
    objective = build_objective("default", open_class=open_class)
    assert torch.equal(objective.losses(LOGITS), losses(LOGITS))
    assert torch.equal(objective.margin_losses(LOGITS), margin_losses(LOGITS))


def test_none_keeps_the_objectives_own_and_the_table_is_never_changed() -> None:
    before = OBJECTIVES["paper"]
    assert build_objective("paper", hinge_weight=None) == before
    changed = build_objective("paper", hinge_weight=0, margin_norm=2, unlabeled="none")
    assert (changed.hinge_weight, changed.margin_norm, changed.unlabeled) == (0, 2, "none")
    assert OBJECTIVES["paper"] is before and before.hinge_weight == 1


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("papers", {}, r"objective='papers'.*did you mean 'paper'.*\'default'.*'paper'"),
        ("paper", {"unlabeled": "soft_label"}, "did you mean 'soft_labels'"),
        ("paper", {"open_class": "margin"}, r"did you mean 'margins'.*'all', 'margins', 'unlab"),
        ("paper", {"unlabeled_fakes": 1}, r"unlabeled_fakes=1 .*\['prior', 'shared'\]"),
        ("paper", {"margin_norm": 3}, "margin_norm=3 is not valid; it is 1 or 2"),
        ("paper", {"label_smoothing": 1.0}, r"label_smoothing=1\.0 .* \[0, 1\)"),
        ("paper", {"label_smoothing": -0.1}, "label_smoothing=-0.1"),
    ],
)
def test_what_is_not_valid_is_named(name, changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_objective(name, **changes)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "1"])
@pytest.mark.parametrize(
    "weight", ["hinge_weight", "unlabeled_weight", "margin_scale", "unlabeled_hinge_weight"]
)
def test_weights_are_finite_numbers_not_below_0(weight, value) -> None:
    with pytest.raises(ValueError, match=f"{weight}=.*is not valid; it is a number >= 0"):
        build_objective("default", **{weight: value})
