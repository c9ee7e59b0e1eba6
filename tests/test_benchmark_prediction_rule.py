"""The benchmark of prediction rules: it trains as `fit` does, and each rule is what it says."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from clsgan import CLSGANClassifier
from clsgan.config import DataConfig
from clsgan.run_data import load_run_data

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def rule() -> Iterator[Any]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("prediction_rule")
    sys.path.remove(str(BENCHMARKS))


class Norm(nn.Module):
    """Scores [B, 2] of numbers [B, 1]: below or above their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1, affine=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        score = self.norm(x)
        return torch.cat([-score, score], dim=1), score


def test_test_batches_are_their_own_measure_and_leave_no_trace(rule: Any) -> None:
    network = Norm().eval()  # running mean 0
    x = torch.tensor([[1.0], [3.0], [5.0], [7.0]])
    assert rule.by_running_statistics(network, x).tolist() == [1, 1, 1, 1]
    assert rule.by_test_batch(network, x, 4).tolist() == [0, 0, 1, 1]
    assert rule.by_test_batch(network, x, 2).tolist() == [0, 1, 0, 1]
    assert rule.by_test_batch(network, x, 3).tolist() == [0, 1, 0, 1]  # no batch of one row
    assert not network.training and not network.norm.training
    assert network.norm.running_mean.tolist() == [0.0]
    assert int(network.norm.num_batches_tracked) == 0


@pytest.mark.usefixtures("global_randomness_untouched")
def test_the_curve_is_that_of_fit(rule: Any, tmp_path: Path) -> None:
    small = {"batch_size": 16, "generated_batch_size": 16, "precision": "32", "accelerator": "cpu"}
    words = ["--steps", "12", "--test-batch", "100", "--out", str(tmp_path / "a" / "b.json")]
    words += [
        "data.name=digits",
        "data.labels=100",
        *(f"estimator.{k}={v}" for k, v in small.items()),
    ]
    assert rule.main(words) == 0
    written = json.loads((tmp_path / "a" / "b.json").read_text())
    assert {"commit", "dirty", "date", "seconds", "split", "versions", "machine"} <= written.keys()
    steps = [point["step"] for point in written["points"]]
    assert len(steps) == 10 and steps == sorted(steps) and steps[-1] == 12
    with Image.open(tmp_path / "a" / "b.png") as picture:
        assert min(picture.size) > 200

    data = load_run_data(DataConfig("digits", labels=100))
    paper = {"objective": "paper", "loss_network": "paper", "generator": "paper"}
    last = written["points"][-1]
    for decay, name in ((0.99, "averaged"), (0.0, "running")):
        model = CLSGANClassifier(
            **paper, **small, max_steps=12, average_decay=decay, random_state=0
        )
        model.fit(data.x_lab, data.y_lab, X_unlab=data.x_unlab)
        assert last[name] == pytest.approx(1 - model.score(data.x_test, data.y_test))
    x = torch.from_numpy(data.x_test[:, None] / 127.5 - 1).float()
    own = model.loss_network_.train()  # the last weights
    with torch.no_grad():
        wrong = [
            own(x[i : i + 100])[0].argmax(1).numpy() != data.y_test[i : i + 100]
            for i in range(0, 500, 100)
        ]
    assert last["test_batch"] == pytest.approx(np.mean(wrong), abs=0.003)


def test_other_networks_are_refused(rule: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        rule.main(["data.name=digits", "data.labels=100", "estimator.loss_network=small"])
    assert "Valid: ['paper']" in capsys.readouterr().err
