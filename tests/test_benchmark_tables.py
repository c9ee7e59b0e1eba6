"""The tables of the low-label benchmark: their figures, and that pages are kept up to date."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = "before\n<!-- low-label:begin -->\n<!-- low-label:end -->\nafter\n"


@pytest.fixture(scope="module")
def tables() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("tables")
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def add(tables: Any, tmp_path: Path) -> Callable[..., Any]:
    """Writes a result as the benchmarks do; makes the pages around it."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").mkdir()
    for name in ("README.md", "docs/benchmarks.md"):
        (tmp_path / name).write_text(PAGE)

    def write(
        method: str, seed: int, error: float, job: dict[str, Any] | None = None, **changes: Any
    ) -> None:
        kind = changes.get("kind", "low_label")
        job = tables.Job("digits", 100, seed, method, **{"seconds": 30.0, **(job or {})})
        content = {
            **{"kind": "low_label", "job": asdict(job), "arguments": {}, "protocol": "digits"},
            "split": {"name": f"digits.seed{seed}@100", "hash": f"h{seed}"},
            **{"error": error, "n_test": 500, "seconds": 30.4, "steps": 1200 + seed},
            **{"images_per_second": 2500.0, "expected_calibration_error": 0.0123},
            **{"peak_memory_mb": {"process": 812.3}, "commit": "c" * 40, "dirty": False},
            "machine": {"processor": "A", "cores": 2, "precision": "bf16-mixed"},
            "versions": {"torch": "2.14.1", "scikit-learn": "1.9.1"},
            **changes,
        }
        path = tmp_path / "results" / f"{kind}.{job.name}.json"
        path.write_text(json.dumps(content))

    return write


def run(tables: Any, folder: Path, *words: str) -> int:
    where = ["--results", str(folder / "results"), "--root", str(folder)]
    status: int = tables.main([*where, *words])
    return status


def test_means_deviations_and_seeds(tables: Any, add: Callable[..., Any], tmp_path: Path) -> None:
    for seed, error in enumerate([0.02, 0.03, 0.04]):
        add("default", seed, error)
    add("fixmatch", 0, 0.05)
    free = {"seconds": None}
    add("label_spreading", 0, 0.044, free, seconds=95.0, steps=None, images_per_second=None)
    add("default", 0, 0.5, {"changes": {"batch_size": 8}})
    add("pca", 0, 0.126, free, kind="features", n_features=64)
    assert run(tables, tmp_path) == 0

    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("before\n<!-- low-label:begin -->\n| data | labels | budget |")
    assert readme.endswith("<!-- low-label:end -->\nafter\n")
    cells = "3.00 ± 1.00 (3) |  |  |  | 5.00 (1) |  | 4.40 (1) in 95 s |"
    assert f"| `digits` | 100 | 30 s | 500 | {cells}" in readme
    assert "50.00" not in readme and "A, 2 cores, bf16-mixed" in readme and "cccccccccc" in readme

    docs = (tmp_path / "docs" / "benchmarks.md").read_text()
    lines = [line for line in docs.splitlines() if line.startswith("|")]
    assert lines[2] == "|  | LabelSpreading | 4.40 (1) | 95 |  |  | 1.23 | 812 |"
    assert lines[3] == "| 30 s | ours | 3.00 ± 1.00 (3) | 30 | 1,201 | 2,500 | 1.23 | 812 |"
    assert lines[4].startswith("| 30 s | ours, batch_size=8 | 50.00 (1) |")
    assert lines[5].startswith("| 30 s | FixMatch | 5.00 (1) |")
    assert lines[-1] == "| `digits` | 100 |  | PCA | 64 | 12.60 (1) |"


def test_check_writes_nothing_and_fails_until_the_pages_are_written(
    tables: Any, add: Callable[..., Any], tmp_path: Path
) -> None:
    add("default", 0, 0.02)
    assert run(tables, tmp_path, "--check") == 1
    assert (tmp_path / "README.md").read_text() == PAGE
    assert run(tables, tmp_path) == 0
    assert run(tables, tmp_path, "--check") == 0
    add("default", 1, 0.03)
    assert run(tables, tmp_path, "--check") == 1


def test_results_that_do_not_belong_together_are_refused(
    tables: Any, add: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add("default", 0, 0.02)
    add("default", 1, 0.02, arguments={"hinge_weight": 2})
    assert run(tables, tmp_path) == 1
    assert "different arguments" in capsys.readouterr().err
    add("default", 1, 0.02)
    add("fixmatch", 1, 0.02, split={"name": "digits.seed1@100", "hash": "another"})
    assert run(tables, tmp_path) == 1
    assert "different labeled rows" in capsys.readouterr().err
    add("fixmatch", 1, 0.02, widths=[32, 64, 128])
    add("fixmatch", 2, 0.02, widths=[64, 128, 256])
    assert run(tables, tmp_path) == 1
    assert "different widths" in capsys.readouterr().err
    add("fixmatch", 2, 0.02, widths=[32, 64, 128], generator_interval=8)  # as those before it
    assert run(tables, tmp_path) == 0
    add("fixmatch", 2, 0.02, widths=[32, 64, 128], generator_interval=16)
    assert run(tables, tmp_path) == 1
    assert "generated rows in other steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "every"),
    [({}, 8), ({"objective": "paper"}, 1), ({"generator_interval": 16}, 16)],
)
def test_results_from_before_the_interval_was_named(
    tables: Any, add: Callable[..., Any], tmp_path: Path, arguments: dict[str, Any], every: int
) -> None:
    add("default", 0, 0.02, arguments=arguments)
    add("default", 1, 0.02, arguments=arguments, generator_interval=every)
    assert run(tables, tmp_path) == 0
    add("default", 1, 0.02, arguments=arguments, generator_interval=every + 1)
    assert run(tables, tmp_path) == 1


def test_a_page_without_markers_is_named(
    tables: Any, add: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add("default", 0, 0.02)
    (tmp_path / "docs" / "benchmarks.md").write_text("no marker")
    assert run(tables, tmp_path) == 1
    assert "benchmarks.md has no lines <!-- low-label:begin -->" in capsys.readouterr().err


def test_pages_of_this_checkout_are_up_to_date(tables: Any) -> None:
    if tables.BEGIN not in (ROOT / "README.md").read_text():
        pytest.skip("README.md has no table of the low-label benchmark yet")
    assert tables.main(["--check"]) == 0


def test_each_machine_is_named_with_its_data(
    tables: Any, add: Callable[..., Any], tmp_path: Path
) -> None:
    """A budget is time, so figures of two machines are not to be held against each other."""
    has = {"bf16": "amx_bf16, avx512_bf16"}
    other = {"processor": "B", "cores": 1, "precision": "32-true", **has}
    add("default", 0, 0.02)
    add("default", 0, 0.2, {"seconds": 60.0}, protocol="mnist", machine=other)
    assert run(tables, tmp_path) == 0
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    machines = "A, 2 cores, bf16-mixed (`digits`); B with AMX, 1 core, 32-true (`mnist`)"
    assert f"Machine: {machines}. V" in page
