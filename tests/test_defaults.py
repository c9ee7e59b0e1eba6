"""What None and "auto" come to."""

from pathlib import Path

import pytest
import torch
from torch import nn

from clsgan import CLSGANClassifier
from clsgan.augment import build_augment
from clsgan.defaults import (
    choose_augment,
    choose_network_options,
    choose_unlabeled_augment,
    choose_views,
    default_steps,
    flips,
    has_few_labels,
    resolve_settings,
)
from clsgan.defaults.resolve import OBJECTIVE_FIELDS, TRAINING_FIELDS
from clsgan.inputs import InputSpec
from clsgan.settings import Settings

COLOUR = InputSpec((3, 32, 32), "NHWC", "uint8", 0.0, 255.0)
GREY = InputSpec((1, 28, 28), "NHW", "uint8", 0.0, 255.0)
ROWS = InputSpec((4,), "ND", "float64")


def settings(spec: InputSpec = COLOUR, n_rows: int = 40_000, **params) -> Settings:
    return resolve_settings(CLSGANClassifier(**params).get_params(), spec, n_rows)


def test_paper_trains_as_section_7_says() -> None:
    paper = settings(objective="paper")
    sizes = paper.sizes(0.0, has_unlabeled=True, world_size=1)
    assert (sizes.labeled, sizes.unlabeled, sizes.generated) == (64, 64, 128)
    assert (paper.optimizer, paper.learning_rate, paper.schedule) == ("adam", 1e-3, "step_decay")
    assert paper.objective.unlabeled == "margin" and paper.objective.open_class == "all"
    assert paper == settings(ROWS, objective="paper")


def test_rows_and_images_have_defaults_of_their_own() -> None:
    assert settings().optimizer == "sgd" and settings(ROWS).optimizer == "adamw"
    assert settings(loss_network="small") == settings()
    for network in ("timm:resnet18", nn.Linear(2, 2)):
        assert settings(loss_network=network).optimizer == "adamw"


def test_the_table_of_the_documentation_is_true() -> None:
    text = (Path(__file__).parent.parent / "docs" / "estimator.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("| `")]
    rows = {cells[1].strip(" `"): [c.strip() for c in cells[2:-1]] for cells in map(split, table)}
    columns = [
        settings(n_rows=20_000),
        settings(n_rows=5_000),
        settings(n_rows=100),
        settings(ROWS),
        settings(objective="paper"),
    ]
    for name in TRAINING_FIELDS:
        assert rows[name] == [str(getattr(column, name)) for column in columns], name


def split(line: str) -> list[str]:
    return line.split("|")


def test_few_rows_take_smaller_batches() -> None:
    batches = [settings(n_rows=n).batch_size for n in (100, 5_000, 20_000)]
    assert batches == [64, 128, 256]
    rates = [settings(n_rows=n).learning_rate for n in (100, 5_000, 20_000)]
    assert rates == sorted(rates)


def test_rows_are_generated_half_as_often_where_many_teach_the_level_alone() -> None:
    assert [settings(n_rows=n).generator_interval for n in (19_999, 20_000)] == [8, 16]
    assert settings(ROWS).generator_interval == 8
    assert settings(margins_train="network").generator_interval == 8
    assert settings(loss_network="paper").generator_interval == 8, "it has no level"


@pytest.mark.parametrize("spec", [COLOUR, ROWS])
@pytest.mark.parametrize("objective", ["default", "paper"])
def test_every_parameter_that_is_given_goes_through(objective, spec) -> None:
    given = {
        "batch_size": 10,
        "unlabeled_share": 0.3,
        "unlabeled_start": 0.2,
        "generated_batch_size": 9,
        "generator_interval": 3,
        "optimizer": "adam",
        "schedule": "constant",
        "learning_rate": 0.01,
        "generator_learning_rate": 0.02,
        "weight_decay": 0.0,
        "average_decay": 0.5,
        "generator_weight_decay": 0.1,
        "latent_dim": 5,
        "noise": "uniform",
    }
    assert set(given) == set(TRAINING_FIELDS)
    found = settings(spec, objective=objective, **given)
    assert {name: getattr(found, name) for name in given} == given
    changes = {
        "hinge_weight": 0.0,
        "unlabeled_weight": 0.4,
        "margin_scale": 0.0,
        "margin_norm": 2,
        "open_class": "unlabeled",
        "unlabeled_fakes": "shared",
        "unlabeled_hinge_weight": 0.6,
        "label_smoothing": 0.0,
        "class_alignment": 0.5,
        "margins_train": "level",
        "outlier_weight": 0.3,
        "unlabeled_outlier_weight": 0.1,
        "unlabeled_filter": "open-class",
        "rotation_weight": 0.7 if spec.is_image else 0.0,
        "cutmix": 0.4 if spec.is_image else 0.0,
    }
    assert set(changes) == set(OBJECTIVE_FIELDS)
    found = settings(spec, objective=objective, unlabeled="fixmatch", **changes)
    assert {name: getattr(found.objective, name) for name in changes} == changes
    assert found.objective.unlabeled == "fixmatch"
    assert settings(spec, margins_train="network").objective.margins_train == "network"


def few(spec: InputSpec = COLOUR, few_labels: bool = True, **params) -> Settings:
    return resolve_settings(CLSGANClassifier(**params).get_params(), spec, 40_000, few_labels)


def test_with_very_few_labels_of_a_class_quarter_turns_are_told() -> None:
    assert few().objective.rotation_weight == 1.0
    assert (few().unlabeled_share, few().unlabeled_start) == (0.75, 0.4)
    sizes = few().sizes(0.0, has_unlabeled=True, world_size=1)
    assert (sizes.labeled, sizes.unlabeled) == (64, 192)
    assert few(unlabeled="soft_labels") == few(loss_network="wide_resnet_28_2") == few()
    assert few(rotation_weight=0) == few(few_labels=False) == settings()
    assert few(rotation_weight=0.3).objective.rotation_weight == 0.3
    assert few(unlabeled_start=0.1).unlabeled_start == 0.1


@pytest.mark.parametrize(
    ("counts", "are_few"),
    [
        ((40, 40_000, 10), True),
        ((250, 20_000, 10), True),
        ((251, 20_000, 10), False),
        ((40, 19_999, 10), False),
        ((24_000, 500, 4_000), False),
        ((40, 0, 10), False),
    ],
)
def test_few_labels_are_25_of_a_class_at_most_beside_many_rows(counts, are_few) -> None:
    assert has_few_labels(*counts) == are_few


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": ROWS},
        {"spec": GREY},
        {"spec": GREY, "flip": False},
        {"spec": InputSpec((3, 32, 24), "NHWC", "uint8", 0.0, 255.0)},
        {"unlabeled": "fixmatch"},
        {"unlabeled": "none"},
        {"objective": "paper"},
        {"objective": "hinge"},
        {"unlabeled_filter": "open-class"},
        {"loss_network": "mlp"},
        {"loss_network": "timm:resnet18"},
        {"loss_network": nn.Linear(2, 2)},
        {"augment": "weak"},
        {"unlabeled_augment": "weak"},
    ],
)
def test_it_is_left_to_the_default_on_square_images_in_colour_or_mirrored(changes) -> None:
    assert few(**changes) == few(few_labels=False, **changes)
    assert few(**changes).objective.rotation_weight == 0


def test_quarter_turns_are_told_of_mirrored_grey_images_and_of_colour_ones_that_are_not() -> None:
    assert few(spec=GREY, flip=True).objective.rotation_weight == 1.0
    assert few(spec=GREY, flip=True).unlabeled_share == 0.75
    assert few(spec=COLOUR, flip=False).objective.rotation_weight == 1.0


@pytest.mark.parametrize("spec", [ROWS, InputSpec((3, 32, 24), "NHWC", "uint8", 0.0, 255.0)])
def test_what_is_not_square_cannot_be_turned(spec) -> None:
    with pytest.raises(ValueError, match=r"rotation_weight=0\.5 .* needs square ones; .* shape \("):
        settings(spec, rotation_weight=0.5)


def test_without_a_generator_nothing_is_generated() -> None:
    assert settings(generator=None).generated_batch_size == 0
    assert settings(generator=None, objective="paper").generated_batch_size == 0


@pytest.mark.parametrize(
    "params",
    [
        {"objective": "paper", "batch_size": 512},
        {"objective": "paper", "unlabeled_share": 0.25},
        {"unlabeled_fakes": "prior"},
        {"unlabeled_fakes": "prior", "batch_size": 40},
    ],
)
def test_fakes_of_the_prior_are_left_for_every_unlabeled_row(params) -> None:
    sizes = settings(**params).sizes(1.0, has_unlabeled=True, world_size=1)
    assert sizes.unlabeled > 0
    assert sizes.generated - sizes.labeled == sizes.unlabeled  # eq. 18 pairs them by index


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"optimizer": "sdg"}, "optimizer='sdg' is not known; did you mean 'sgd'"),
        ({"schedule": "cosine"}, "schedule='cosine' is not known"),
        ({"objective": "papper"}, "objective='papper' .* did you mean 'paper'"),
        ({"unlabeled": "softlabels"}, "unlabeled='softlabels' .* did you mean 'soft_labels'"),
        ({"batch_size": 0}, "batch_size=0 is not valid; it is a whole number >= 2"),
        ({"batch_size": 32.5}, r"batch_size=32\.5"),
        ({"batch_size": "32"}, "batch_size='32'"),
        ({"generator_interval": 0}, "generator_interval=0"),
        (
            {"margins_train": "network", "outlier_weight": 1.0},
            r"outlier_weight=1\.0 is of a term that trains the level",
        ),
        ({"generated_batch_size": -1}, "generated_batch_size=-1 .* >= 0"),
        ({"learning_rate": 0.0}, r"learning_rate=0\.0 is not valid; it is a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"generator_learning_rate": float("inf")}, "generator_learning_rate=inf"),
        ({"weight_decay": -1e-9}, "weight_decay=-1e-09"),
        ({"unlabeled_share": 1.1}, r"unlabeled_share=1\.1 is not valid; it is in \[0, 1\]"),
        ({"unlabeled_start": -0.1}, "unlabeled_start=-0.1"),
        ({"average_decay": None, "unlabeled_share": "0.5"}, "unlabeled_share='0.5'"),
        ({"average_decay": 2}, "average_decay=2"),
        ({"rotation_weight": -1}, "rotation_weight=-1 is not valid; it is a number >= 0"),
        ({"cutmix": 1.5}, r"cutmix=1\.5 is not valid; it is in \[0, 1\]"),
        ({"class_alignment": 1.5}, r"class_alignment=1\.5 is not valid; it is in \[0, 1\]"),
    ],
)
def test_what_is_not_valid_is_named(params, message) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**params)


def test_resolving_changes_no_table() -> None:
    before = settings(), settings(objective="paper"), settings(ROWS)
    settings(batch_size=3, generator=None, learning_rate=9.0)
    settings(objective="paper", generator=None)
    assert before == (settings(), settings(objective="paper"), settings(ROWS))


def test_steps_by_the_number_of_rows() -> None:
    assert default_steps(10, 256) == 200
    assert default_steps(60_000, 256) == int(20 * 60_000 / 256)
    assert default_steps(10**7, 64) == 10_000


@pytest.mark.parametrize(
    ("spec", "params", "views"),
    [
        (COLOUR, {}, "mirror"),
        (COLOUR, {"flip": False}, "plain"),
        (COLOUR, {"augment": "none"}, "plain"),
        (COLOUR, {"objective": "paper"}, "plain"),
        (COLOUR, {"objective": "paper", "augment": "weak"}, "mirror"),
        (COLOUR, {"flip": False, "predict_views": "mirror"}, "mirror"),
        (InputSpec((1, 8, 8), "NHW", "float64"), {}, "plain"),
        (ROWS, {}, "plain"),
    ],
)
def test_predictions_look_at_the_mirror_image_where_training_did(spec, params, views) -> None:
    assert choose_views(CLSGANClassifier(**params).get_params(), spec) == views


@pytest.mark.parametrize(
    ("spec", "params", "has_unlabeled", "family"),
    [
        (COLOUR, {}, True, "weak"),
        (COLOUR, {}, False, "medium"),
        (COLOUR, {"flip": False}, True, "weak"),
        (GREY, {}, True, "strong"),
        (GREY, {}, False, "strong"),
        (GREY, {"flip": True}, True, "weak"),
        (GREY, {"flip": True}, False, "medium"),
        (GREY, {"augment": "medium"}, True, "medium"),
        (GREY, {"objective": "paper"}, True, "none"),
    ],
)
def test_labeled_rows_are_augmented_as_their_kind_can_bear(
    spec, params, has_unlabeled, family
) -> None:
    params = CLSGANClassifier(**params).get_params()
    augment, generated = choose_augment(params, spec, has_unlabeled)
    x = torch.rand(4, *spec.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = build_augment(family, spec.shape, flips(params["flip"], spec))
    made, wanted = (apply(x, torch.Generator().manual_seed(1)) for apply in (augment, expected))
    assert torch.equal(made, wanted) and generated is augment


@pytest.mark.parametrize(
    ("spec", "flip", "unlabeled", "family"),
    [
        (COLOUR, "auto", "auto", "strong"),
        (GREY, "auto", "auto", "strong"),
        (GREY, True, "auto", "medium"),
        (GREY, True, "fixmatch", "strong"),
    ],
)
def test_unlabeled_rows_are_augmented_harder_where_labeled_ones_are_not_given(
    spec, flip, unlabeled, family
) -> None:
    params = CLSGANClassifier(flip=flip, unlabeled=unlabeled).get_params()
    augment, _ = choose_augment(params, spec, has_unlabeled=True)
    unlabeled = choose_unlabeled_augment(params, spec, augment)
    x = torch.rand(4, *spec.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = build_augment(family, spec.shape, flips(flip, spec))
    made, wanted = (apply(x, torch.Generator().manual_seed(1)) for apply in (unlabeled, expected))
    assert torch.equal(made, wanted)


def test_views_that_are_not_valid_are_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'mirror'"):
        choose_views({"predict_views": "miror"}, COLOUR)
    with pytest.raises(ValueError, match="for rows it is 'plain'"):
        choose_views({"predict_views": "mirror"}, ROWS)


SLIM, NARROW, WIDE = [16, 32, 64], [32, 64, 128], [64, 128, 256]


def has_cpu(monkeypatch, *features) -> None:
    there = dict.fromkeys(features, True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: there, raising=False)


def widths(params, spec=COLOUR, n_rows=40_000, n_processes=1) -> list[int]:
    given = {"precision": "32", "accelerator": "cpu", **params}
    options = choose_network_options(
        CLSGANClassifier(**given).get_params(), spec, n_rows, n_processes
    )
    return options["widths"]


@pytest.mark.parametrize(
    ("params", "threads", "many", "few"),
    [
        ({"time_limit": 45}, 2, SLIM, SLIM),
        ({"time_limit": 180}, 2, SLIM, NARROW),
        ({"time_limit": 180, "batch_size": 64, "objective": "paper"}, 2, SLIM, NARROW),
        ({"time_limit": 300}, 2, NARROW, NARROW),
        ({"time_limit": 1_800}, 2, WIDE, NARROW),
        ({"time_limit": 300}, 16, WIDE, NARROW),
        ({"time_limit": 300, "precision": "bf16"}, 2, WIDE, NARROW),
        ({"time_limit": 60, "precision": "bf16"}, 2, NARROW, NARROW),
        ({"time_limit": 40, "precision": "bf16"}, 2, SLIM, NARROW),
        ({"time_limit": 5, "precision": "bf16"}, 2, SLIM, SLIM),
        ({"max_steps": 10}, 2, WIDE, NARROW),
        ({}, 2, WIDE, NARROW),
    ],
)
def test_networks_are_as_wide_as_there_is_time_for(params, threads, many, few, monkeypatch) -> None:
    has_cpu(monkeypatch, "amx_bf16", "avx512_bf16")
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    assert widths(params) == many
    assert widths(params, n_rows=3_000) == few


def test_the_time_that_is_needed_follows_the_work_and_the_processes(monkeypatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    limit = {"time_limit": 1_100}
    assert widths(limit) == widths(limit, GREY) == WIDE
    photos = InputSpec((3, 96, 96), "NHWC", "uint8", 0.0, 255.0)  # seen by larger patches
    assert widths(limit, photos) == NARROW and widths({"time_limit": 1_250}, photos) == WIDE
    assert widths(limit, photos, n_processes=2) == WIDE
    digits = InputSpec((1, 8, 8), "NHW", "uint8", 0.0, 255.0)
    assert widths({"time_limit": 30}, digits, 1_297) == NARROW
    assert widths({"time_limit": 20}, digits, 1_297) == SLIM
    params = CLSGANClassifier(time_limit=1).get_params()
    assert choose_network_options(params, ROWS, 40_000) is None


@pytest.mark.parametrize(
    ("limit", "amx", "avx512", "neither"),
    [
        (40, SLIM, SLIM, SLIM),
        (60, NARROW, NARROW, SLIM),
        (180, WIDE, NARROW, SLIM),
        (300, WIDE, NARROW, NARROW),
        (600, WIDE, WIDE, NARROW),
        (1_100, WIDE, WIDE, WIDE),
    ],
)
def test_networks_follow_what_the_cpu_has_for_bf16(
    limit, amx, avx512, neither, monkeypatch
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    params = {"time_limit": limit, "precision": "bf16"}
    for expected, features in (
        (amx, ("amx_bf16", "avx512_bf16")),
        (avx512, ("avx512_bf16",)),
        (neither, ("avx2",)),
    ):
        has_cpu(monkeypatch, *features)
        assert widths(params) == expected, features


def test_a_gpu_has_the_time(monkeypatch) -> None:
    monkeypatch.setattr("clsgan.defaults.networks.choose_device", lambda accelerator: "cuda")
    assert widths({"time_limit": 5, "precision": "auto", "accelerator": "auto"}) == WIDE
