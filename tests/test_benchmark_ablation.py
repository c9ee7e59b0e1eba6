"""The ablation: its variants, its outliers, the scenario of unknown classes, and its tables."""

import argparse
import functools
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import pytest

from clsgan import CLSGANClassifier
from clsgan.config import DataConfig
from clsgan.data import find_data, load_data
from clsgan.defaults import (
    choose_augment,
    choose_network_options,
    choose_unlabeled_augment,
    choose_views,
    resolve_settings,
)
from clsgan.inputs import InputSpec
from clsgan.run_data import RunData, load_run_data

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TINY = {"batch_size": 16, "generated_batch_size": 8, "loss_network_options": {"widths": [8, 8, 16]}}
PAGE = "before\n<!-- ablation:begin -->\n<!-- ablation:end -->\nafter\n"


@pytest.fixture(scope="module")
def parts() -> Iterator[Any]:
    """The modules of the benchmark, which import each other as scripts do."""
    names = ("jobs", "outlier_images", "ablation", "ablation_table")
    sys.path.insert(0, str(BENCHMARKS))
    yield argparse.Namespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def data() -> RunData:
    return load_run_data(DataConfig("digits", labels=100))


@pytest.fixture(scope="module")
def colour() -> Any:
    return np.random.default_rng(3).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)


def resolved(arguments: dict[str, Any]) -> tuple[Any, ...]:
    """All that a variant comes to on CIFAR-10."""
    params = CLSGANClassifier(**arguments).get_params(deep=False)
    spec = InputSpec((3, 32, 32), "NHWC", "uint8", 0.0, 255.0)
    own = choose_augment(params, spec)[0]
    unlabeled = choose_unlabeled_augment(params, spec, own)
    networks = params["loss_network"], choose_network_options(params, spec, 40_000)
    settings = resolve_settings(params, spec, 40_000)
    return settings, str(own), str(unlabeled), networks, choose_views(params, spec)


def test_every_variant_is_valid_and_differs_from_every_other(parts: Any) -> None:
    found = {name: resolved(given) for name, given in parts.ablation.VARIANTS.items()}
    assert found.pop("default") == resolved({})
    for name, variant in found.items():
        others = [resolved({}), *(v for other, v in found.items() if other != name)]
        assert all(variant != other for other in others), name
    assert found["no_generator"][0].generated_batch_size == 0
    assert found["paper"][3] == ("auto", {"widths": [64, 128, 256]})


@pytest.mark.usefixtures("global_randomness_untouched")
def test_outlier_images_have_the_form_of_the_test_images(
    parts: Any, colour: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.outlier_images, "load_data", functools.cache(load_data))
    for test in (colour, colour[:, :8, :8, 0], colour[:, :29, :30, :1]):
        made, notes = parts.outlier_images.outlier_images(test, count=40)
        kinds = set(parts.outlier_images.KINDS)
        assert set(made) | {note.partition(" of ")[2].partition(":")[0] for note in notes} == kinds
        assert {"uniform noise", "smooth noise", "single colours", "shuffled patches"} <= set(made)
        again = parts.outlier_images.outlier_images(test, count=40)[0]
        for kind, images in made.items():
            assert images.shape == (40, *test.shape[1:]) and images.dtype == np.uint8
            assert np.array_equal(images, again[kind]) and not np.array_equal(images[0], images[1])
    assert (
        "they are the data" in parts.outlier_images.outlier_images(colour, "fashion-mnist", 4)[1][0]
    )


def test_noise_is_rough_or_smooth_and_colours_are_flat(parts: Any, colour: Any) -> None:
    rng, kinds = np.random.default_rng(0), parts.outlier_images.KINDS
    rough, smooth, flat = (
        kinds[kind](colour, 200, rng).astype(float)
        for kind in ("uniform noise", "smooth noise", "single colours")
    )
    step = [np.abs(np.diff(images, axis=2)).mean() for images in (rough, smooth, flat)]
    assert step[0] == pytest.approx(255 / 3, rel=0.02) and 1 < step[1] < 12 and step[2] == 0
    assert smooth.std() > 40 and flat.std() > 70 and np.ptp(flat[0], axis=(0, 1)).max() == 0


def test_patches_change_places_and_nothing_else(parts: Any, colour: Any) -> None:
    shuffled = parts.outlier_images.shuffled_patches(colour[:2], 2, np.random.default_rng(0))
    moved = 0
    for before, after in zip(colour[:2], shuffled, strict=True):
        cut = [
            [
                image[8 * i : 8 * i + 8, 8 * j : 8 * j + 8].tobytes()
                for i in range(4)
                for j in range(4)
            ]
            for image in (before, after)
        ]
        assert sorted(cut[0]) == sorted(cut[1])
        moved += sum(one != other for one, other in zip(*cut, strict=True))
    assert moved > 24
    odd = colour[:1, :30, :29, 0]
    shuffled = parts.outlier_images.shuffled_patches(odd, 1, np.random.default_rng(0))
    assert np.array_equal(shuffled[:, 28:], odd[:, 28:])  # beyond whole patches of 7
    assert sorted(shuffled.ravel()) == sorted(odd.ravel())


def test_garments_stand_in_the_middle_in_every_channel(parts: Any, colour: Any) -> None:
    if find_data("fashion-mnist") is None:
        pytest.skip("Fashion-MNIST is not on this machine")
    images = parts.outlier_images.fashion_mnist(colour, 3, np.random.default_rng(0))
    assert images[:, 2:30, 2:30].any(axis=(1, 2)).all()
    images[:, 2:30, 2:30, 1:] -= images[:, 2:30, 2:30, :1]
    images[:, 2:30, 2:30, :1] = 0
    assert not images.any()


def test_labels_of_unknown_classes_join_the_pool(parts: Any, data: RunData) -> None:
    fewer, novel = parts.ablation.without_classes(data, 3, (7, 1, 4, 0, 2, 3, 5, 6, 8, 9))
    assert set(fewer.y_lab) == set(fewer.y_test) == {1, 4, 7} and len(fewer.x_lab) == 30
    assert len(fewer.x_unlab) == 1297 - 30 and len(fewer.x_test) + len(novel) == 500
    assert np.array_equal(novel, data.x_test[~np.isin(data.y_test, [1, 4, 7])])
    pool = {bytes(row) for row in fewer.x_unlab}
    assert all(bytes(row) in pool for row in data.x_lab[~np.isin(data.y_lab, [1, 4, 7])])
    assert set(parts.ablation.without_classes(data, 2)[0].y_lab) == {0, 1}
    animals = parts.ablation.FIRST_KNOWN["cifar10"]
    assert sorted(animals) == list(range(10)) and set(animals[6:]) == {0, 1, 8, 9}
    for known in (1, 10):
        with pytest.raises(ValueError, match=f"--known {known} is not valid; give 2 to 9"):
            parts.ablation.without_classes(data, known)


def test_areas_are_those_of_a_count_over_pairs(parts: Any) -> None:
    class Model:
        def predict_proba(self, x: Any) -> Any:
            return np.stack([x, 1 - x], axis=1)

        def outlier_score(self, x: Any) -> Any:
            return x

    inside, outside = np.array([0.1, 0.4, 0.6, 0.95]), np.array([0.4, 0.7, 0.9])
    areas = parts.ablation.auroc(Model(), inside, {"some": outside})["some"]

    def pairs(score: Callable[[float], float]) -> float:
        won = [
            (score(o) > score(i)) + 0.5 * (score(o) == score(i)) for i in inside for o in outside
        ]
        return sum(won) / len(won)

    assert areas["outlier_score"] == pytest.approx(pairs(lambda v: v))
    assert areas["largest_probability"] == pytest.approx(pairs(lambda v: -max(v, 1 - v)))


def test_a_job_writes_what_the_tables_need(
    parts: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(parts.outlier_images.outlier_images, "__defaults__", ("", 50))
    job = parts.jobs.Job("digits", 100, 0, "no_hinge@known6", steps=2, changes=TINY)
    assert parts.ablation.main(["--job", json.dumps(asdict(job)), "--out", str(tmp_path)]) == 0
    [path] = tmp_path.iterdir()
    assert path.name.startswith("ablation.digits@100.seed0.2steps.no_hinge@known6+")
    result = json.loads(path.read_text())
    assert result["arguments"] == {"hinge_weight": 0.0, **TINY}
    assert result["config"]["hinge_weight"] == 0 and result["config"]["batch_size"] == 16
    assert result["config"]["generator_interval"] is None and result["generator_interval"] == 8
    assert result["classes"] == list("012345") and result["n_labeled"] == 60
    assert result["n_unlabeled"] == 1297 - 60 and result["n_test"] < 320 and result["steps"] == 2
    kinds = {"uniform noise", "smooth noise", "single colours", "shuffled patches", "novel classes"}
    assert result["auroc"].keys() == kinds and "Fashion-MNIST" in result["notes"][0]
    areas = [area for areas in result["auroc"].values() for area in areas.values()]
    assert len(areas) == 10 and all(0 <= area <= 1 for area in areas)
    assert result["images_per_second"] > 0 and "expected_calibration_error" in result
    options = ["--steps", "2", "--set", "batch_size=16", "--known", "6", "--methods", "paper"]
    assert parts.ablation.main(["--data", "digits", *options, "--list"]) == 0
    assert "digits@100.seed0.2steps.paper@known6+batch_size=16" in capsys.readouterr().out


def test_the_plan_runs_every_variant_on_three_seeds(
    parts: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ["--plan", str(BENCHMARKS / "ablation.yaml"), "--dry-run", "--out", "nowhere"]
    for extra, suffix in (([], ""), (["--known", "6"], "@known6")):
        assert parts.ablation.main([*plan, *extra]) == 0
        names = capsys.readouterr().out.splitlines()[:-1]
        expected = {
            f"cifar10@4000.seed{seed}.300s.{name}{suffix}"
            for seed in range(3)
            for name in parts.ablation.VARIANTS
        }
        assert len(names) == len(expected) and set(names) == expected


@pytest.fixture
def add(parts: Any, tmp_path: Path) -> Callable[..., Any]:
    """Writes a result as the benchmark does; makes the page."""
    (tmp_path / "page.md").write_text(PAGE)
    (tmp_path / "results").mkdir()

    def write(
        method: str, seed: int, error: float, area: float, given: Any = None, **changes: Any
    ) -> None:
        job = parts.jobs.Job("digits", 100, seed, method, 30.0, changes=given or {})
        name = parts.ablation.variant_of(method)[0]
        kinds = ("uniform noise", "novel classes") if "@" in method else ("uniform noise", "b")
        both = {"outlier_score": area, "largest_probability": 0.5}
        content = {
            **{
                "kind": "ablation",
                "job": asdict(job),
                "protocol": "digits",
                "notes": ["no x: why"],
            },
            "arguments": parts.ablation.VARIANTS[name],
            "split": {"name": f"digits.seed{seed}@100", "hash": f"h{seed}"},
            **{"error": error, "n_test": 500, "seconds": 30.4, "steps": 1200, "n_labeled": 60},
            **{"images_per_second": 2500.0, "expected_calibration_error": 0.02},
            **{"peak_memory_mb": {"process": 812.3}, "commit": "c" * 40, "dirty": False},
            "machine": {"processor": "A", "cores": 2, "precision": "bf16-mixed"},
            "widths": [32, 64, 128],
            "versions": {"torch": "2.14.1", "scikit-learn": "1.9.1"},
            "auroc": {
                kind: {k: v + 0.1 * i for k, v in both.items()} for i, kind in enumerate(kinds)
            },
            "classes": ["0", "1"],
            **changes,
        }
        path = tmp_path / "results" / f"ablation.{job.name}.json"
        path.write_text(json.dumps(content))

    return write


def write_page(parts: Any, folder: Path, *words: str) -> int:
    where = ["--results", str(folder / "results"), "--page", str(folder / "page.md")]
    status: int = parts.ablation_table.main([*where, *words])
    return status


def test_tables_hold_means_deviations_and_differences(
    parts: Any, add: Callable[..., Any], tmp_path: Path
) -> None:
    for seed, error in enumerate([0.02, 0.03, 0.04]):
        add("default", seed, error, 0.7)
    for seed, error in enumerate([0.05, 0.05, 0.08]):
        add("no_hinge", seed, error, 0.6)
    add("plain_views", 0, 0.01, 0.8)
    add("default", 0, 0.5, 0.7, {"batch_size": 8})
    add("plain_views", 0, 0.4, 0.8, {"batch_size": 8})
    add("default@known6", 0, 0.01, 0.6)
    assert write_page(parts, tmp_path) == 0
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("before\n<!-- ablation:begin -->\n### `digits`, 100 labels, 30 s\n")
    assert page.endswith("<!-- ablation:end -->\nafter\n")
    lines = [line for line in page.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2][:5] == ["default", "", "3", "3.00 ± 1.00", ""]
    assert cells[2][7] == "0.750 ± 0.000" and cells[2][9] == "0.550 ± 0.000"
    own = ((stdev([2, 3, 4]) ** 2 + stdev([5, 5, 8]) ** 2) / 3) ** 0.5
    assert cells[3][:5] == ["default, batch_size=8", "", "1", "50.00", "+47.00"]
    assert cells[4][:5] == [
        *("no_hinge", "`hinge_weight=0.0`", "3", "6.00 ± 1.73", f"+3.00 ({3 / own:.1f})"),
    ]
    assert cells[4][7:9] == ["0.650 ± 0.000", "-0.100"]  # no spread: no standard error
    assert cells[5][2:5] == ["1", "1.00", "-2.00"] and cells[5][-2:] == ["1,200", "2,500"]
    assert cells[6][0] == "plain_views, batch_size=8"
    assert cells[6][4] == "-10.00"  # from the default of the same changes
    assert cells[7] == ["variant", "uniform noise", "b"]
    assert cells[9] == ["default", "0.700 / 0.500", "0.800 / 0.600"]
    known = next(i for i, row in enumerate(cells) if row[0] == "default" and i > 10)
    assert cells[known][7] == "0.700"  # the novel classes alone
    assert "6 classes known" in page and "Known: 0, 1, with 60 labels" in page
    assert page.count("Machine: A, 2 cores") == 2 and "cccccccccc" in page  # for each group
    assert "Widths: 32, 64, 128." in page and "No x: why.\n<!--" in page


def test_check_fails_until_the_page_is_written_and_mixed_results_are_refused(
    parts: Any, add: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add("default", 0, 0.02, 0.7)
    assert write_page(parts, tmp_path, "--check") == 1
    assert (tmp_path / "page.md").read_text() == PAGE
    assert write_page(parts, tmp_path) == write_page(parts, tmp_path, "--check") == 0
    add("default", 1, 0.02, 0.7, arguments={"hinge_weight": 2})
    assert write_page(parts, tmp_path) == 1
    assert "different arguments" in capsys.readouterr().err
    (tmp_path / "page.md").write_text("no marker")
    add("default", 1, 0.02, 0.7)
    assert write_page(parts, tmp_path) == 1
    assert "has no lines <!-- ablation:begin -->" in capsys.readouterr().err


def test_the_page_of_this_checkout_is_up_to_date(parts: Any) -> None:
    assert parts.ablation_table.main(["--check"]) == 0
