"""What is asked of unlabeled rows, against loops over single numbers."""

import math

import pytest
import torch
from torch import Tensor

from clsgan.objectives import (
    UNLABELED,
    align_classes,
    hard_label_loss,
    probability_distance,
    rotation_loss,
    soft_label_loss,
)
from clsgan.objectives.unlabeled import unlabeled_weight_ramp

LOSSES = {name: asked.loss for name, asked in UNLABELED.items() if asked is not None}


def pair(rows: int = 9, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = 2 * torch.randn(2, rows, classes, generator=generator, dtype=torch.float64)
    return student, teacher


def softmax(a: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp(a_k / temperature) for a_k in a]
    return [power / sum(powers) for power in powers]


def rows_of(student: Tensor, teacher: Tensor) -> list[tuple[list[float], list[float]]]:
    return list(zip(student.tolist(), teacher.tolist(), strict=True))


@pytest.mark.parametrize(("temperature", "power"), [(0.5, 1.0), (1.0, 0.0), (0.25, 2.0)])
def test_soft_label_loss(temperature: float, power: float) -> None:
    student, teacher = pair()
    expected = []
    for a, t in rows_of(student, teacher):
        target, probability = softmax(t, temperature), softmax(a)
        entropy = -sum(q * math.log(p) for q, p in zip(target, probability, strict=True))
        expected.append(max(softmax(t)) ** power * entropy)
    given = soft_label_loss(student, teacher, temperature, power)
    torch.testing.assert_close(given, torch.tensor(expected, dtype=torch.float64))


def test_hard_label_loss_is_equation_4_of_fixmatch() -> None:
    student, teacher = pair()
    threshold = 0.7
    expected = []
    for a, t in rows_of(student, teacher):
        confidence = softmax(t)
        best = confidence.index(max(confidence))
        expected.append(-math.log(softmax(a)[best]) if confidence[best] >= threshold else 0.0)
    assert 0 < expected.count(0.0) < len(expected)
    given = hard_label_loss(student, teacher, threshold)
    torch.testing.assert_close(given, torch.tensor(expected, dtype=torch.float64))


def test_probability_distance_is_a_sum_of_squares() -> None:
    student, teacher = pair()
    expected = [
        sum((p - q) ** 2 for p, q in zip(softmax(a), softmax(t), strict=True))
        for a, t in rows_of(student, teacher)
    ]
    given = probability_distance(student, teacher)
    torch.testing.assert_close(given, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("name", LOSSES)
def test_no_gradient_reaches_the_teacher(name: str) -> None:
    student, teacher = pair()
    student.requires_grad_()
    teacher = (4 * teacher).requires_grad_()  # sure of itself, so that thresholds are passed
    LOSSES[name](student, teacher).sum().backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_extreme_scores_stay_finite(name: str, dtype: torch.dtype) -> None:
    student = torch.tensor([[1e4, -1e4], [1e4, -1e4]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], dtype=dtype)
    loss = LOSSES[name](student, teacher)
    loss.sum().backward()
    assert loss.dtype == dtype and loss.isfinite().all() and student.grad.isfinite().all()
    assert loss[0] == 0 < loss[1]


@pytest.mark.parametrize("name", LOSSES)
def test_one_value_a_row_that_is_smallest_where_both_agree(name: str) -> None:
    teacher = torch.tensor([[6.0, 0.0, 0.0]], dtype=torch.float64)
    agrees = LOSSES[name](teacher, teacher)
    assert agrees.shape == (1,)
    assert agrees < LOSSES[name](-teacher, teacher)


def test_an_unsure_teacher_counts_less() -> None:
    student = torch.zeros(1, 2, dtype=torch.float64)  # log 2 for every target
    unsure, sure = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[9.0, 0.0]]).double()
    ratio = soft_label_loss(student, unsure) / soft_label_loss(student, sure)
    assert float(ratio) == pytest.approx(0.5, abs=1e-3)


def test_rotation_loss_is_a_plain_loop_over_signed_sums() -> None:
    draws = torch.Generator().manual_seed(0)
    features = torch.randn(6, 11, generator=draws, dtype=torch.float64)
    turns = torch.tensor([0, 1, 2, 3, 3, 0])
    for row, turn, loss in zip(
        features.tolist(), turns, rotation_loss(features, turns), strict=True
    ):
        scores = []
        for k in (1, 2, 3, 4):
            signs = [(-1) ** bin(k & place).count("1") for place in range(11)]
            scores.append(sum(s * f for s, f in zip(signs, row, strict=True)) / math.sqrt(11))
        assert float(loss) == pytest.approx(-math.log(softmax(scores)[int(turn)]), rel=1e-12)


def test_features_of_one_size_say_nothing_of_turns_and_any_turn_can_be_learned() -> None:
    same = rotation_loss(torch.ones(4, 16), torch.arange(4))
    assert same.tolist() == pytest.approx([math.log(4)] * 4)
    features = torch.rand(4, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for _ in range(50):
        (gradient,) = torch.autograd.grad(rotation_loss(features, torch.arange(4)).sum(), features)
        features = (features - gradient).clamp(min=0).detach().requires_grad_()  # as after GELU
    assert float(rotation_loss(features, torch.arange(4)).detach().max()) < 0.1


def test_the_table_names_what_the_estimator_offers() -> None:
    offered = {"soft_labels", "pseudo_label", "mean_teacher", "fixmatch", "margin", "none"}
    assert set(UNLABELED) == offered
    assert UNLABELED["margin"] is None and UNLABELED["none"] is None
    assert UNLABELED["fixmatch"].teacher_view == "weak"


def test_ramp_grows_linearly_after_the_start() -> None:
    weights = [unlabeled_weight_ramp(p, 0.2, 0.4) for p in (0.0, 0.2, 0.3, 0.6, 1.0)]
    assert weights == pytest.approx([0.0, 0.0, 0.25, 1.0, 1.0])


def test_classes_are_aligned_as_in_a_plain_loop():
    draws = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(5, 4, generator=draws, dtype=torch.float64)
    predicted = torch.tensor([0.7, 0.1, 0.15, 0.05], dtype=torch.float64)
    expected = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    for strength in (0.0, 0.5, 1.0):
        aligned = align_classes(logits, predicted, expected, strength).softmax(dim=1).tolist()
        for row, after in zip(logits.softmax(dim=1).tolist(), aligned, strict=True):
            changed = [
                p * (float(e) / float(q)) ** strength
                for p, q, e in zip(row, predicted, expected, strict=True)
            ]
            assert after == pytest.approx([value / sum(changed) for value in changed], abs=1e-12)


def test_a_class_that_is_never_predicted_gets_a_finite_boost():
    predicted, expected = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])
    aligned = align_classes(torch.tensor([[9.0, -9.0]]), predicted, expected)
    assert torch.isfinite(aligned).all() and aligned.argmax() == 0
