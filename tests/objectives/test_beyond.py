"""Beyond divergence minimization against loops written from the code of arXiv 1809.02145."""

import math

import pytest
import torch
from torch import Tensor

from clsgan.objectives import (
    BEYOND_CRITICS,
    BEYOND_KINDS,
    DISTANCES,
    beyond_critic,
    beyond_generator,
    check_beyond,
    least_squares_generator,
    non_saturating_generator,
    wasserstein_critic,
)

BETWEEN = {
    "l2": lambda u, v: (u - v) ** 2,
    "l1": lambda u, v: abs(u - v),
    "pseudo_huber": lambda u, v: math.sqrt((u - v) ** 2 + 1) - 1,
    "log_l2": lambda u, v: (u - v) ** 2,
    "log_l1": lambda u, v: abs(u - v),
}
KINDS = [
    "expected_distance",
    "expected_distance_to_label",
    "distance_of_expectations",
    "distance_of_expectations_to_label",
]


def scores(rows: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    real, fake = 2 * torch.randn(2, rows, generator=generator, dtype=torch.float64)
    return real, fake


def by_loop(real: Tensor, fake: Tensor, kind: str, distance: str, target: float) -> Tensor:
    """D of real and generated rows to the generator's loss, number by number."""
    read = math.log if distance.startswith("log") else float
    x, g, wanted = [read(v) for v in real.tolist()], [read(v) for v in fake.tolist()], read(target)
    means = sum(x) / len(x), sum(g) / len(g)
    d = BETWEEN[distance]
    values = {
        "expected_distance": [d(a, b) for a, b in zip(x, g, strict=True)],
        "expected_distance_to_label": [d(b, wanted) for b in g],
        "distance_of_expectations": d(means[1], means[0]),
        "distance_of_expectations_to_label": d(means[1], wanted),
    }
    return torch.tensor(values[kind], dtype=torch.float64)


def test_what_is_offered() -> None:
    assert set(DISTANCES) == set(BETWEEN) and set(BEYOND_KINDS) == set(KINDS)
    assert set(BEYOND_CRITICS) == {"bce", "least_squares", "wasserstein", "hinge"}


@pytest.mark.parametrize("target", [1.0, 0.6])
@pytest.mark.parametrize("distance", BETWEEN)
@pytest.mark.parametrize("kind", KINDS)
def test_each_of_the_twenty_losses(kind: str, distance: str, target: float) -> None:
    real, fake = (rows.sigmoid() for rows in scores())
    given = beyond_generator(real, fake, kind, distance, target)
    torch.testing.assert_close(given, by_loop(real, fake, kind, distance, target))


@pytest.mark.parametrize("distance", BETWEEN)
@pytest.mark.parametrize("kind", KINDS)
def test_scores_stand_for_their_sigmoid(kind: str, distance: str) -> None:
    real, fake = scores()
    given = beyond_generator(real, fake, kind, distance, 0.9, sigmoid=True)
    expected = beyond_generator(real.sigmoid(), fake.sigmoid(), kind, distance, 0.9)
    torch.testing.assert_close(given, expected)


def test_loss_18_is_non_saturating() -> None:
    real, fake = scores()
    kind, distance = "expected_distance_to_label", "log_l1"
    expected = non_saturating_generator(fake)
    by_probability = beyond_generator(real.sigmoid(), fake.sigmoid(), kind, distance)
    torch.testing.assert_close(by_probability, expected)
    by_score = beyond_generator(real, fake, kind, distance, sigmoid=True)
    torch.testing.assert_close(by_score, expected)


def test_loss_2_is_twice_least_squares_with_c_1() -> None:
    real, fake = scores()
    given = beyond_generator(real, fake, "expected_distance_to_label", "l2")
    torch.testing.assert_close(given, 2 * least_squares_generator(fake, c=1))


def test_loss_7_is_the_absolute_wasserstein_difference() -> None:
    real, fake = scores()
    given = beyond_generator(real, fake, "distance_of_expectations", "l1")
    assert given.shape == ()
    torch.testing.assert_close(given, wasserstein_critic(real, fake).mean().abs())


@pytest.mark.parametrize(
    ("critic", "of_pair"),
    [
        ("bce", lambda r, f: math.log(1 + math.exp(-r)) + math.log(1 + math.exp(f))),
        ("least_squares", lambda r, f: (r - 1) ** 2 + f**2),
        ("wasserstein", lambda r, f: f - r),
        ("hinge", lambda r, f: max(0.0, 1 - r) + max(0.0, 1 + f)),
    ],
)
def test_critics(critic: str, of_pair) -> None:
    real, fake = scores()
    expected = [of_pair(r, f) for r, f in zip(real.tolist(), fake.tolist(), strict=True)]
    given = beyond_critic(real, fake, critic)
    torch.testing.assert_close(given, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("critic", ["bce", "least_squares", "wasserstein", "hinge"])
@pytest.mark.parametrize("distance", BETWEEN)
@pytest.mark.parametrize("kind", KINDS)
def test_only_logarithms_of_unbounded_scores_are_refused(kind, distance, critic) -> None:
    if distance.startswith("log") and critic != "bce":
        reason = f"distance='{distance}' with critic='{critic}'.*unbounded.*critic='bce'.*'l1', 'l2"
        with pytest.raises(ValueError, match=reason):
            check_beyond(critic, kind, distance)
    else:
        check_beyond(critic, kind, distance)


@pytest.mark.parametrize("target", [0.0, -1.0])
def test_targets_without_a_logarithm_are_refused(target: float) -> None:
    one = torch.ones(1)
    kind = "expected_distance_to_label"
    for refuse in (
        lambda: check_beyond("bce", kind, "log_l2", target),
        lambda: beyond_generator(one, one, kind, "log_l2", target),
    ):
        with pytest.raises(ValueError, match=r"target=.*has no logarithm.*'log_l2'"):
            refuse()
    check_beyond("bce", kind, "l2", 0.0)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("bse", "expected_distance", "l1"), "critic='bse'.*'bce'"),
        (("bce", "expected_distances", "l1"), "kind=.*did you mean 'expected_distance'"),
        (("bce", "expected_distance", "huber"), "distance='huber'.*'pseudo_huber'"),
    ],
)
def test_unknown_names_are_refused(names, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_beyond(*names)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("distance", BETWEEN)
@pytest.mark.parametrize("kind", KINDS)
def test_extreme_scores_stay_finite(kind, distance, sigmoid, dtype) -> None:
    logs = distance.startswith("log")
    real = torch.tensor([1e4, -1e4, 1e4], dtype=dtype)
    fake = torch.tensor([-1e4, 1e4, 1e4], dtype=dtype, requires_grad=True)
    # D itself, of a sigmoid that rounded to 0 and 1, where it has to be in (0, 1)
    as_given = (lambda t: t.sigmoid()) if logs and not sigmoid else (lambda t: t)
    loss = beyond_generator(as_given(real), as_given(fake), kind, distance, sigmoid=sigmoid)
    loss.sum().backward()
    assert loss.dtype == dtype and loss.isfinite().all() and fake.grad.isfinite().all()


def test_the_gradient_of_a_score_outlives_its_sigmoid() -> None:
    fake = torch.tensor([-200.0], requires_grad=True)  # the sigmoid is 0 in float32
    kind = "expected_distance_to_label"
    beyond_generator(fake, fake, kind, "log_l1", sigmoid=True).sum().backward()
    assert fake.grad.tolist() == [-1.0]


def test_pseudo_huber_keeps_its_digits_near_0() -> None:
    fake = torch.tensor([1.0 + 2**-20], requires_grad=True)
    loss = beyond_generator(fake, fake, "expected_distance_to_label", "pseudo_huber")
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(2**-41) and float(fake.grad) == 2**-20
