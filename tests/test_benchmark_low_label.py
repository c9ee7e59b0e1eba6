"""The low-label benchmark: its jobs, what a result holds, and simple features."""

import argparse
import importlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from clsgan import CLSGANClassifier
from clsgan.config import DataConfig
from clsgan.run_data import RunData, load_run_data
from clsgan.splits import split_hash

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TINY = {"batch_size": 16, "loss_network_options": {"widths": [8, 8, 16]}}


@pytest.fixture(scope="module")
def parts() -> Iterator[Any]:
    """The modules of the benchmark, which import each other as scripts do."""
    names = ("jobs", "simple_features", "low_label", "features")
    sys.path.insert(0, str(BENCHMARKS))
    yield argparse.Namespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def data() -> RunData:
    return load_run_data(DataConfig("digits", labels=100))


def asked(parts: Any, *words: str) -> list[Any]:
    parser = argparse.ArgumentParser()
    parts.jobs.add_arguments(parser)
    jobs: list[Any] = parts.jobs.asked(parts.low_label.BENCHMARK, parser.parse_args(words))
    return jobs


def test_jobs_run_in_processes_of_their_own_and_one_that_fails_leaves_no_result(
    parts: Any, data: RunData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, log, models = tmp_path / "results", tmp_path / "a.log", tmp_path / "models"
    words = ["--data", "digits", "--labels", "5000", "100", "--steps", "2", "--methods"]
    words += ["supervised", "--set", "batch_size=16", "--out", str(out), "--log", str(log)]
    assert parts.low_label.main([*words, "--models", str(models)]) == 1
    assert "n_labels=5000 is more than" in log.read_text()
    [path] = out.iterdir()
    assert path.name == "low_label.digits@100.seed0.2steps.supervised+batch_size=16.json"
    result = json.loads(path.read_text())
    assert (result["steps"], result["n_test"], result["protocol"]) == (2, 500, "digits")
    assert 0 < result["error"] < 1 and 0 <= result["expected_calibration_error"] <= 1
    assert result["error"] == pytest.approx(1 - np.trace(result["confusion"]) / 500)
    assert len(result["per_class_error"]) == 10
    assert result["seconds"] > 0 and result["images_per_second"] > 0
    assert result["split"]["name"] == "digits.seed0@100"
    assert result["split"]["hash"] == split_hash(data.labeled_rows)
    assert result["config"].keys() == CLSGANClassifier().get_params().keys()
    given = {"batch_size": 16, "max_steps": 2, "random_state": 0, "flip": False, "layout": "NHW"}
    given |= {"unlabeled": "none", "generator": None}
    assert {name: result["config"][name] for name in given} == given
    assert {"commit", "dirty", "versions", "machine", "date", "peak_memory_mb"} <= result.keys()
    assert str(tmp_path) not in path.read_text()
    model = CLSGANClassifier.load(models / "digits@100.seed0.2steps.supervised+batch_size=16")
    assert 1 - model.score(data.x_test, data.y_test) == result["error"]

    capsys.readouterr()
    assert parts.low_label.main([*words, "--list"]) == 0
    missing = capsys.readouterr().out.splitlines()
    assert missing[0] == "digits@5000.seed0.2steps.supervised+batch_size=16"
    assert len(missing) == 2 and missing[1].startswith("1 to run")


def test_a_result_with_other_arguments_than_the_method_has_now_is_run_again(
    parts: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    benchmark = parts.low_label.BENCHMARK
    words = ["--data", "digits", "--steps", "2", "--methods", "fixmatch"]
    [job] = asked(parts, *words)
    content = {"arguments": benchmark.arguments(job)}
    benchmark.file(job, tmp_path).write_text(json.dumps(content))
    assert parts.low_label.main([*words, "--out", str(tmp_path)]) == 0  # nothing to do
    assert len(list(tmp_path.iterdir())) == 1
    tuned = {"unlabeled": "fixmatch", "generator": None, "unlabeled_weight": 2.0}
    monkeypatch.setitem(parts.low_label.METHODS, "fixmatch", tuned)
    assert parts.low_label.main([*words, "--out", str(tmp_path), "--dry-run"]) == 0
    assert f"{job.name}  (arguments changed)" in capsys.readouterr().out


def test_the_plan_has_the_short_budgets_first_and_each_job_once(
    parts: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plan = str(BENCHMARKS / "low_label.yaml")
    names = [job.name for job in asked(parts, "--plan", plan)]
    assert len(names) == len(set(names))
    at_4000 = [name for name in names if name.startswith("cifar10@4000.seed0.")]
    methods = [*parts.low_label.METHODS, *parts.low_label.SIMPLE]
    for method in methods:
        assert sum(name.endswith(f".{method}") for name in at_4000) >= 1
    seconds = [int(name.split(".")[2].rstrip("s")) for name in at_4000 if "s." in name[20:]]
    assert seconds == sorted(seconds) and set(seconds) == {180, 300, 1800, 5400}
    assert names[0].startswith("digits@100.seed0.self_training")
    assert sum("cifar10@40." in name for name in names) == 10
    words = ["--plan", plan, "--only", "5400s", "--dry-run", "--out", str(tmp_path)]
    assert parts.low_label.main(words) == 0
    assert "1 to run, about 1.5 h" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give either --data or --plan"),
        (("--data", "digts", "--steps", "1"), "did you mean 'digits'"),
        (("--data", "digits"), "needs a budget"),
        (("--data", "digits", "--steps", "1", "--methods", "fixmach"), "did you mean 'fixmatch'"),
        (("--data", "digits", "--steps", "1", "--set", "hinge_wight=1"), "mean 'hinge_weight'"),
        (("--data", "digits", "--steps", "1", "--set", "time_limit=1"), "set by --seconds"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_job(
    parts: Any, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parts.low_label.main(words)
    assert message in capsys.readouterr().err


def test_paths_belong_to_data_sets(parts: Any) -> None:
    paths_of = parts.jobs.paths_of
    assert paths_of(["a.npz"], {"mnist"}) == {"mnist": "a.npz"}
    assert paths_of(["mnist=a", "svhn=b"], {"mnist", "svhn"}) == {"mnist": "a", "svhn": "b"}
    with pytest.raises(ValueError, match="give DATA=a"):
        paths_of(["a"], {"mnist", "svhn"})


@pytest.mark.parametrize("method", ["self_training", "label_spreading"])
def test_methods_of_scikit_learn_learn_from_the_features(
    parts: Any, data: RunData, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_two = parts.low_label.SIMPLE[method]()[-2:]
    monkeypatch.setitem(parts.low_label.SIMPLE, method, lambda: last_two)
    monkeypatch.setattr(parts.low_label, "SELECTION_ROWS", 200)
    job = parts.jobs.Job("digits", 100, 0, method)
    numbers = parts.low_label.run(job, data, argparse.Namespace(models=None))
    assert 0 < numbers["error"] < 0.09 and numbers["n_test"] == 500
    assert numbers["config"]["features"] == "patches" and numbers["seconds"] > 0


def test_features_and_model_are_those_with_the_least_error_on_labels_held_out(parts: Any) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 20)
    told = np.concatenate([y, rng.integers(0, 2, 20)])[:, None].astype(np.float32)
    rows = {"noise": rng.standard_normal((60, 3)).astype(np.float32), "told": told}
    models = [DummyClassifier(), LogisticRegression()]
    # to these two models -1 is a third class
    name, model = parts.low_label.choose(models, rows, y, seed=0)
    assert (name, model) == ("told", models[1])
    assert parts.low_label.choose(models, rows, np.arange(40), seed=0)[1] is models[0]


def test_patches_are_normalised_as_by_a_plain_loop(parts: Any) -> None:
    x = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = parts.simple_features.patches(x, 3, 2)
    assert found.shape == (2, 2 * 3, 27)
    for i, (top, left) in enumerate((top, left) for top in (0, 2) for left in (0, 2, 4)):
        values = x[1, :, top : top + 3, left : left + 3].flatten().tolist()
        mean = sum(values) / 27
        deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 27 + 10 / 255**2)
        assert found[1, i].tolist() == pytest.approx([(v - mean) / deviation for v in values])


@pytest.mark.parametrize("shape", [(60, 8, 8), (60, 20, 16, 3)])
@pytest.mark.parametrize("kind", ["pixel_features", "patch_features"])
@pytest.mark.usefixtures("global_randomness_untouched")
def test_features_are_seeded_and_row_by_row(
    parts: Any, kind: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.simple_features, "FILTERS", 20)
    pool = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    build = getattr(parts.simple_features, kind)
    features = build(pool, 0)
    found = features(pool)
    assert found.dtype == np.float32 and found.shape[0] == 60 and np.isfinite(found).all()
    assert found[:, 0].var(ddof=1) == pytest.approx(1, rel=0.01)
    assert np.allclose(features(pool[7:9]), found[7:9], atol=1e-4)
    assert np.allclose(build(pool, 0)(pool), found, atol=1e-4)
    flat = np.full((1, *shape[1:]), 9, np.uint8)  # a patch without contrast
    assert np.isfinite(features(flat)).all()


def test_probe_is_logistic_regression_on_scaled_features(parts: Any, data: RunData) -> None:
    job = parts.jobs.Job("digits", 100, 0, "pixels")
    numbers = parts.features.run(job, data, argparse.Namespace(models=None))
    x, x_test = (rows.reshape(len(rows), 64) / 255 for rows in (data.x_lab, data.x_test))
    model = LogisticRegression(C=numbers["C"], max_iter=200)
    model.fit((x - x.mean(0)) / x.std(), data.y_lab)
    expected = 1 - model.score((x_test - x.mean(0)) / x.std(), data.y_test)
    assert numbers["error"] == pytest.approx(expected, abs=0.004)
    assert numbers["n_features"] == 64 and numbers["C"] in parts.features.STRENGTHS


def test_probe_takes_a_model_that_was_kept_if_its_arguments_are_those_of_now(
    parts: Any, data: RunData, tmp_path: Path
) -> None:
    job = parts.jobs.Job("digits", 100, 0, "supervised", steps=2, changes=TINY)
    parts.low_label.run(job, data, argparse.Namespace(models=tmp_path))
    kept = parts.features.kept(job, tmp_path)
    features = parts.features.features_of(job, data, tmp_path)
    assert kept.n_steps_ == 2 and features(data.x_test).shape == (500, 16)
    assert np.array_equal(features(data.x_test), kept.transform(data.x_test))
    params = {**TINY, "batch_size": 32}
    (tmp_path / job.name).rename(tmp_path / "other")
    assert parts.features.kept(job, tmp_path) is None
    changed = parts.jobs.Job("digits", 100, 0, "supervised", steps=2, changes=params)
    (tmp_path / "other").rename(tmp_path / changed.name)
    assert parts.features.kept(changed, tmp_path) is None
