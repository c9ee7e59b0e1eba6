"""The benchmark of pools and labels that do not match: its scenarios, its jobs and its tables."""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsgan.config import DataConfig
from clsgan.data import load_data
from clsgan.run_data import RunData, load_run_data

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TINY = {"batch_size": 16, "generated_batch_size": 8, "loss_network_options": {"widths": [8, 8, 16]}}
PAGE = "before\n<!-- mismatch:begin -->\n<!-- mismatch:end -->\nafter\n"


@pytest.fixture(scope="module")
def parts() -> Iterator[Any]:
    """The modules of the benchmark, which import each other as scripts do."""
    names = ("jobs", "mismatch", "mismatch_table")
    sys.path.insert(0, str(BENCHMARKS))
    yield argparse.Namespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def data() -> RunData:
    return load_run_data(DataConfig("digits", labels=100))


@pytest.fixture(scope="module")
def y_pool(data: RunData) -> Any:
    return np.delete(load_data("digits").y_train, data.labeled_rows)


@pytest.mark.parametrize("share", [0, 25, 50, 75, 100])
def test_pools_have_the_share_of_novel_rows_and_one_size(
    parts: Any, data: RunData, y_pool: Any, share: int
) -> None:
    fewer, y, novel = parts.mismatch.with_novel(data, y_pool, share, None, seed=0)
    size = min((y_pool < 6).sum(), (y_pool >= 6).sum())
    assert len(fewer.x_unlab) == len(y) == size
    assert (y >= 6).sum() == round(size * share / 100)
    assert set(fewer.y_lab) == set(fewer.y_test) == set(range(6)) and len(fewer.x_lab) == 60
    assert np.array_equal(novel, data.x_test[data.y_test >= 6])
    truth = {bytes(x): label for x, label in zip(data.x_unlab, y_pool, strict=True)}
    assert [truth[bytes(x)] for x in fewer.x_unlab] == y.tolist()


@pytest.mark.parametrize("factor", [10, 100])
def test_classes_fall_from_the_largest_to_the_smallest(
    parts: Any, data: RunData, y_pool: Any, factor: int
) -> None:
    fewer, y = parts.mismatch.with_imbalance(data, y_pool, factor, seed=0)
    counts = np.bincount(y)
    assert counts[0] == np.bincount(y_pool).min() and (np.diff(counts) <= 0).all()
    assert counts[0] / counts[-1] == pytest.approx(factor, rel=0.3)
    labels = np.bincount(fewer.y_lab)
    assert labels[0] == 10 and labels[-1] == 1 and len(fewer.x_lab) == labels.sum()
    assert len(fewer.x_unlab) == len(y)
    again, _ = parts.mismatch.with_imbalance(data, y_pool, factor, seed=0)
    assert np.array_equal(again.x_lab, fewer.x_lab)


def run_job(parts: Any, folder: Path, method: str) -> dict[str, Any]:
    job = parts.jobs.Job("digits", 100, 0, method, steps=2, changes=TINY)
    assert parts.mismatch.main(["--job", json.dumps(asdict(job)), "--out", str(folder)]) == 0
    [path] = folder.glob(f"*{method}*")
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def test_a_job_with_novel_rows_writes_what_the_tables_need(parts: Any, tmp_path: Path) -> None:
    result = run_job(parts, tmp_path, "filtered@novel50")
    assert result["arguments"] == {"unlabeled_filter": "open-class", **TINY}
    assert result["classes"] == list("012345") and result["n_labeled"] == 60
    assert 2 * result["n_novel"] == pytest.approx(result["n_unlabeled"], abs=1)
    assert set(result["auroc"]) == {"outlier_score", "largest_probability"}
    assert 0 < result["kept_share"] <= 1 and result["n_test"] < 320


def test_a_job_with_unequal_classes_writes_what_the_tables_need(parts: Any, tmp_path: Path) -> None:
    result = run_job(parts, tmp_path, "balanced@imbalance10")
    assert result["arguments"]["class_weight"] == "balanced" and result["auroc"] == {}
    assert result["labels_by_class"][0] == 10 and result["kept_share"] is None
    wrong = [result["balanced_error"], result["error"]]
    assert all(0 <= value <= 1 for value in wrong) and result["n_test"] == 500


def test_the_plan_has_every_pool_every_factor_and_three_seeds(
    parts: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ["--plan", str(BENCHMARKS / "mismatch.yaml"), "--dry-run", "--out", "nowhere"]
    assert parts.mismatch.main(plan) == 0
    names = capsys.readouterr().out.splitlines()[:-1]
    for seed in range(3):
        start = f"cifar10@4000.seed{seed}."
        for share in parts.mismatch.SHARES:
            assert f"{start}300s.filtered@novel{share}" in names
        assert f"{start}600s.filtered@novel50" in names
        for factor in parts.mismatch.FACTORS:
            assert f"{start}180s.balanced@imbalance{factor}" in names


@pytest.fixture
def add(parts: Any, tmp_path: Path) -> Callable[..., None]:
    """Writes a result as the benchmark does; makes the page."""
    (tmp_path / "page.md").write_text(PAGE)
    (tmp_path / "results").mkdir()

    def write(method: str, seed: int, error: float, **changes: Any) -> None:
        job = parts.jobs.Job("digits", 100, seed, method, 30.0)
        content = {
            **{"kind": "mismatch", "job": asdict(job), "protocol": "digits"},
            "arguments": parts.mismatch.METHODS[method],
            "split": {"name": f"digits.seed{seed}@100", "hash": f"h{seed}"},
            **{"error": error, "balanced_error": error, "seconds": 30.4, "steps": 1200},
            **{"kept_share": 0.5 if "filtered" in method else None, "labels_by_class": [10, 1]},
            **{"images_per_second": 2500.0, "expected_calibration_error": 0.02},
            **{"peak_memory_mb": {"process": 812.3}, "commit": "c" * 40, "dirty": False},
            "machine": {"processor": "A", "cores": 2, "precision": "bf16-mixed"},
            "versions": {"torch": "2.14.1", "scikit-learn": "1.9.1"},
            "auroc": {"outlier_score": 0.8, "largest_probability": 0.6},
            **changes,
        }
        path = tmp_path / "results" / f"mismatch.{job.name}.json"
        path.write_text(json.dumps(content))

    return write


def write_page(parts: Any, folder: Path, *words: str) -> int:
    where = ["--results", str(folder / "results"), "--page", str(folder / "page.md")]
    status: int = parts.mismatch_table.main([*where, *words])
    return status


def test_tables_hold_errors_against_labels_alone_and_without_weights(
    parts: Any, add: Callable[..., None], tmp_path: Path
) -> None:
    for seed, error in enumerate([0.10, 0.12]):
        add("supervised@novel50", seed, error)
        add("filtered@novel75", seed, error - 0.02)
    add("default@imbalance10", 0, 0.30)
    add("balanced@imbalance10", 0, 0.25)
    assert write_page(parts, tmp_path) == 0
    lines = [line for line in (tmp_path / "page.md").read_text().splitlines() if line[:1] == "|"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2][:5] == ["any", "supervised", "2", "11.00 ± 1.41", ""]
    assert cells[3][:5] == ["75 %", "filtered", "2", "9.00 ± 1.41", "-2.00 (1.4)"]
    assert cells[3][5:] == ["0.800 ± 0.000", "0.600 ± 0.000", "0.50"]
    assert cells[6] == ["10", "default", "1", "10 to 1", "30.00", ""]
    assert cells[7][-2:] == ["25.00", "-5.00"]


def test_check_fails_until_the_page_is_written_and_mixed_results_are_refused(
    parts: Any, add: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add("default@novel50", 0, 0.02)
    assert write_page(parts, tmp_path, "--check") == 1
    assert (tmp_path / "page.md").read_text() == PAGE
    assert write_page(parts, tmp_path) == write_page(parts, tmp_path, "--check") == 0
    add("default@novel50", 1, 0.02, arguments={"hinge_weight": 2})
    assert write_page(parts, tmp_path) == 1
    assert "different arguments" in capsys.readouterr().err


def test_the_page_of_this_checkout_is_up_to_date(parts: Any) -> None:
    assert parts.mismatch_table.main(["--check"]) == 0
