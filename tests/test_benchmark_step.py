"""The speed benchmark: what it writes, and that its bare loop does the work of `fit`."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from torch.utils.flop_counter import FlopCounterMode

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "step.py"


@pytest.fixture(scope="module")
def step() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_step", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("global_randomness_untouched")
def test_writes_every_comparison(
    step: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(step, "IMPORTS", ("import json", "import json"))
    out = tmp_path / "results" / "step.json"
    toy = ["--images", "64", "--steps", "3", "--repeats", "2", "--size", "8", "--batch-size", "16"]
    assert step.main([*toy, "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    assert {"commit", "date", "machine", "options", "results", "versions"} == written.keys()
    assert {"processor", "cores", "threads", "bf16"} <= written["machine"].keys()
    assert written["options"]["steps"] == 3
    names = {"fit", "bf16", "predict", "predict_ready", "import"}
    assert written["results"].keys() == names
    for row in written["results"].values():
        assert row["min"] <= row["ratio"] <= row["max"]
        assert len(row["pairs"]) == 2
        assert row["a"] > 0 and row["b"] > 0
    targets = {name: written["results"][name]["target"] for name in names}
    assert targets["fit"] == targets["predict"] == ">= 0.95"
    assert targets["import"] == "<= 1.2"
    assert "fit / bare loop" in capsys.readouterr().out


def test_ratios_are_those_of_neighbours_without_the_first_pair(step: ModuleType) -> None:
    a, b = iter([99.0, 1.0, 6.0, 4.0]), iter([1.0, 2.0, 2.0, 4.0])
    row = step.paired(lambda: next(a), lambda: next(b), repeats=3)
    assert row["pairs"] == [[1.0, 2.0], [6.0, 2.0], [4.0, 4.0]]
    assert (row["ratio"], row["min"], row["max"]) == (1.0, 0.5, 3.0)
    assert (row["a"], row["b"]) == (4.0, 2.0)


def test_bare_loop_multiplies_as_much_as_fit(step: ModuleType) -> None:
    """Operations of five more steps, so that what `fit` does before them cancels out."""

    def operations(train: Callable[..., object]) -> int:
        totals = []
        for steps in (5, 10):
            problem = step.Problem(n_images=64, side=8, batch=16, steps=steps)
            with FlopCounterMode(display=False) as counter:
                train(problem, "32")
            totals.append(counter.get_total_flops())
        return totals[1] - totals[0]

    # 5 steps: 3 with generated and 3 with unlabeled rows; 10 steps: 5 and 6.
    assert operations(step.fitted) == operations(step.bare_speed) > 0
