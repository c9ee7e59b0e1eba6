"""Baselines see the same labeled rows, and nothing that they should not see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.semi_supervised import LabelSpreading

from clsgan import CLSGANClassifier
from clsgan.baselines import BASELINES, check_baselines, run_baseline
from clsgan.config import DataConfig
from clsgan.defaults import training as defaults
from clsgan.run_data import RunData, load_run_data


@pytest.fixture(scope="module")
def data() -> RunData:
    return load_run_data(DataConfig(name="digits", labels=100))


def test_label_spreading_is_that_of_scikit_learn(data: RunData) -> None:
    x = np.concatenate([data.x_lab, data.x_unlab]).reshape(-1, 64) / 255
    y = np.concatenate([data.y_lab, np.full(len(data.x_unlab), -1)])
    model = LabelSpreading(kernel="knn", n_neighbors=7, max_iter=100).fit(x, y)
    expected = 1 - model.score(data.x_test.reshape(-1, 64) / 255, data.y_test)
    found = run_baseline("label_spreading", data, {})
    assert found["error"] == pytest.approx(expected, abs=0.003)  # float32 breaks ties otherwise
    assert 0.01 < found["error"] < 0.1
    assert (found["method"], found["n_test"], found["rows"]) == ("label_spreading", 500, 1297)


def test_label_spreading_takes_names_and_no_unlabeled_rows(data: RunData) -> None:
    names = np.array([f"c{k}" for k in range(10)], dtype=object)
    named = replace(data, y_lab=names[data.y_lab], y_test=names[data.y_test], x_unlab=None)
    found = run_baseline("label_spreading", named, {})
    assert found["rows"] == 100 and found["error"] < 0.4


def test_the_graph_is_bounded(data: RunData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsgan.baselines.GRAPH_ROWS", 150)
    assert run_baseline("label_spreading", data, {})["rows"] == 150
    monkeypatch.setattr("clsgan.baselines.GRAPH_ROWS", 50)
    assert run_baseline("label_spreading", data, {})["rows"] == 100  # labeled ones always


def test_supervised_trains_on_no_unlabeled_row(data: RunData) -> None:
    arguments = {
        **{"max_steps": 3, "random_state": 0, "objective": "paper", "batch_size": 16},
        "loss_network": "paper",  # no stem that is fitted to the images
    }
    one = run_baseline("supervised", data, arguments)
    other = run_baseline("supervised", replace(data, x_unlab=None), arguments)
    assert one["error"] == other["error"] and one["steps"] == 3
    assert one["seconds"] > 0 and one["images_per_second"] > 0


def test_supervised_gets_the_defaults_and_the_budget_of_the_run(
    data: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = defaults.IMAGE_BATCHES[0]
    sizes = {1200: few | {"batch_size": 40}, 0: few}  # 1,297 rows are many, 100 are few
    monkeypatch.setattr(defaults, "IMAGE_BATCHES", sizes)
    monkeypatch.setattr(defaults, "PASSES", 0.1)
    monkeypatch.setattr(defaults, "STEP_RANGE", (1, 100))
    arguments = {"random_state": 0, "augment": "none"}
    model = CLSGANClassifier(**arguments).fit(data.x_lab, data.y_lab, X_unlab=data.x_unlab)
    assert run_baseline("supervised", data, arguments)["steps"] == model.n_steps_ == 3


def test_what_cannot_be_run_is_refused_early(data: RunData) -> None:
    check_baselines(list(BASELINES), data)
    with pytest.raises(ValueError, match="did you mean 'label_spreading'"):
        check_baselines(["label_spread"], data)
    files = replace(data, x_lab=[Path("a.png")] * 100)
    check_baselines(["supervised"], files)
    with pytest.raises(ValueError, match=r"set baselines=\[supervised\]"):
        check_baselines(["label_spreading"], files)
