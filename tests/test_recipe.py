"""A recipe leaves a whole run folder, or none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from clsgan.baselines import run_baseline
from clsgan.config import DataConfig, load_recipe
from clsgan.data import load_data
from clsgan.estimator import CLSGANClassifier
from clsgan.finished_run import evaluate_run
from clsgan.pools.packing import pack_folder
from clsgan.recipe import run_recipe, summary
from clsgan.run_data import RunData, load_run_data
from clsgan.run_folder import read_arrays, read_json

SHORT = ["estimator.max_steps=5", "estimator.time_limit=null", "estimator.batch_size=32"]
QUICK = [*SHORT, "estimator.max_steps=3", "estimator.generator=null"]
Run = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The digits recipe, five steps, both baselines."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    config = load_recipe("digits", [*SHORT, f"run={folder}", "data.seed=3"])
    return folder, run_recipe(config, verbose=0)


def test_the_run_folder_is_complete(run: Run) -> None:
    folder, results = run
    assert {path.name for path in folder.iterdir()} == {
        *("config.yaml", "labels.npz", "metrics.jsonl", "tensorboard", "model"),
        *("test_predictions.npz", "samples.png", "confusion.png", "results.json"),
    }
    assert list((folder / "tensorboard").iterdir()) and results["folder"] == str(folder)


def test_results_hold_the_error_the_split_and_the_machine(run: Run) -> None:
    folder, results = run
    stored = read_json(folder / "results.json")
    assert {**stored, "folder": str(folder)} == results
    assert stored["split"]["name"] == "digits.seed3@100" and stored["n_test"] == 500
    assert [row["method"] for row in stored["methods"]] == [
        *("clsgan", "supervised", "label_spreading")
    ]
    assert all(row["n_test"] == 500 and 0 <= row["error"] < 1 for row in stored["methods"])
    assert stored["methods"][0]["steps"] == stored["methods"][1]["steps"] == 5
    assert stored["versions"]["torch"] and stored["machine"]["cores"] >= 1
    assert np.sum(stored["report"]["confusion"]) == 500


def test_the_config_can_be_trained_again(run: Run) -> None:
    folder, _ = run
    text = (folder / "config.yaml").read_text()
    assert "digits.seed3@100" in text.splitlines()[0] and "torch " in text.splitlines()[1]
    config = load_recipe(folder / "config.yaml")
    assert (config.name, config.data.seed, config.estimator["max_steps"]) == ("digits", 3, 5)
    assert config.run is None


def test_labels_are_the_rows_that_were_drawn(run: Run) -> None:
    folder, results = run
    labels = read_arrays(folder / "labels.npz")
    assert np.bincount(load_data("digits").y_train[labels["rows"]]).tolist() == [10] * 10
    assert str(labels["split"]) == "digits.seed3@100"
    assert str(labels["hash"]) == results["split"]["hash"]


def test_the_config_holds_the_form_of_the_data(run: Run) -> None:
    config = load_recipe(run[0] / "config.yaml")
    assert (config.estimator["flip"], config.estimator["layout"]) == (False, "NHW")


def test_metrics_reach_the_last_step(run: Run) -> None:
    lines = [json.loads(line) for line in (run[0] / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 5


def test_the_model_predicts_what_was_reported(run: Run) -> None:
    folder, results = run
    data, model = load_data("digits"), CLSGANClassifier.load(folder / "model")
    assert model.score(data.x_test, data.y_test) == pytest.approx(1 - results["error"])


def test_pictures_are_pictures(run: Run) -> None:
    for name in ("samples.png", "confusion.png"):
        with Image.open(run[0] / name) as picture:
            assert min(picture.size) > 200


def test_the_same_seed_draws_the_same_result(run: Run, tmp_path: Path) -> None:
    overrides = [*SHORT, f"run={tmp_path}/again", "data.seed=3", "baselines=[]"]
    again = run_recipe(load_recipe("digits", overrides), verbose=0)
    assert again["report"] == run[1]["report"]


def test_a_slow_test_ends_within_the_limit(
    tmp_path: Path, slowed: Callable[[str, float], Callable[[], float]]
) -> None:
    slowed("clsgan.trainer.update_averages", 1.0)
    clock = slowed("clsgan.inference.mean_over_views", 3.0)  # 500 rows are four chunks
    overrides = ["estimator.max_steps=null", "estimator.time_limit=30", "baselines=[supervised]"]
    overrides += ["estimator.loss_network=small", "estimator.loss_network_options={widths: [8, 8]}"]
    config = load_recipe("digits", [*QUICK, *overrides, f"run={tmp_path}/a"])
    seconds = [row["seconds"] for row in run_recipe(config, verbose=0)["methods"]]
    assert all(15 < own <= 30 - 12 for own in seconds)
    assert clock() <= 2 * 30


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("estimator.loss_network=smal", "did you mean 'small'"),
        ("estimator.max_steps=-1", "max_steps"),
        ("baselines=[supervise]", "did you mean 'supervised'"),
        ("data.labels=5", "n_labels=5"),
        ("data.name=digit", "did you mean 'digits'"),
    ],
)
def test_what_is_wrong_leaves_nothing_behind(tmp_path: Path, override: str, message: str) -> None:
    config = load_recipe("digits", [*SHORT, f"run={tmp_path}/a", override])
    with pytest.raises(ValueError) as caught:
        run_recipe(config, verbose=0)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_never_overwritten(run: Run) -> None:
    before = (run[0] / "results.json").read_bytes()
    with pytest.raises(FileExistsError, match="never overwrites"):
        run_recipe(load_recipe("digits", [*SHORT, f"run={run[0]}"]), verbose=0)
    assert (run[0] / "results.json").read_bytes() == before


def test_a_folder_of_the_users_own_is_kept_when_nothing_was_trained(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    overrides = [*SHORT, f"run={tmp_path}/mine", "estimator.max_steps=-1"]
    with pytest.raises(ValueError, match="max_steps"):
        run_recipe(load_recipe("digits", overrides), verbose=0)
    assert (tmp_path / "mine").is_dir() and list((tmp_path / "mine").iterdir()) == []


def test_a_run_that_began_while_data_were_loaded_keeps_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "runs" / "digits-1"

    def load_while_another_begins(config: DataConfig) -> RunData:
        other.mkdir(parents=True)
        return load_run_data(config)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("clsgan.recipe.load_run_data", load_while_another_begins)
    results = run_recipe(load_recipe("digits", [*QUICK, "baselines=[]"]), verbose=0)
    assert Path(results["folder"]) == Path("runs/digits-2") and list(other.iterdir()) == []


@pytest.mark.parametrize(
    ("stopped", "methods"),
    [("_draw", ["clsgan"]), ("run_baseline", ["clsgan", "label_spreading"])],
)
def test_what_was_measured_before_an_interrupt_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: str, methods: list[str]
) -> None:
    def stop(*given: Any) -> dict[str, Any]:
        if given[0] == "label_spreading":
            return run_baseline(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(f"clsgan.recipe.{stopped}", stop)
    overrides = [*QUICK, f"run={tmp_path}/a", "baselines=[label_spreading,supervised]"]
    with pytest.raises(KeyboardInterrupt):
        run_recipe(load_recipe("digits", overrides), verbose=0)
    stored = read_json(tmp_path / "a" / "results.json")
    assert [row["method"] for row in stored["methods"]] == methods
    assert stored["peak_memory_mb"] is not None and stored["split"]["n_labeled"] == 100
    again = evaluate_run(tmp_path / "a")
    assert again["stored_error"] == stored["error"] and again["changed_predictions"] == 0


@pytest.mark.parametrize("kind", ["yaml", "json", "mapping"])
def test_an_albumentations_pipeline_as_a_file_or_in_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    import albumentations

    monkeypatch.chdir(tmp_path)
    pipeline = albumentations.Compose([albumentations.InvertImg(p=1.0)])
    given: Any = f"p.{kind}"
    if kind == "mapping":
        given = albumentations.to_dict(pipeline)
    else:
        albumentations.save(pipeline, given, data_format=kind)
    estimator = {"max_steps": 3, "batch_size": 32, "generator": None, "augment": given}
    recipe = {"data": {"name": "digits", "labels": 100}, "estimator": estimator}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    results = run_recipe(load_recipe("mine.yaml", ["run=a"]), verbose=0)
    plain = run_recipe(load_recipe("mine.yaml", ["run=b", "estimator.augment=none"]), verbose=0)
    assert results["report"] != plain["report"]  # it was trained on negatives
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = run_recipe(load_recipe("../a/config.yaml", ["run=c"]), verbose=0)
    assert again["report"] == results["report"]


@pytest.mark.parametrize("kind", ["npy", "folder", "shards"])
def test_further_unlabeled_images_stay_on_disk(tmp_path: Path, kind: str) -> None:
    images = (load_data("digits").x_train[:50] * 15).astype(np.uint8)
    where = {"npy": tmp_path / "x.npy", "folder": tmp_path / "more", "shards": tmp_path / "tars"}
    np.save(where["npy"], images // 15)
    (tmp_path / "more").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "more" / f"{i}.png")
    pack_folder(tmp_path / "more", tmp_path / "tars", shard_images=20)
    given = [*QUICK, f"run={tmp_path}/a", "baselines=[supervised]"]
    results = run_recipe(load_recipe("digits", [*given, f"data.unlabeled={where[kind]}"]), 0)
    plain = len(load_data("digits").x_train) - 100
    assert results["split"]["n_unlabeled"] == plain + 50
    assert load_recipe(tmp_path / "a" / "config.yaml").data.unlabeled == str(where[kind])


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [("gone", FileNotFoundError, "there is no"), ("x.csv", ValueError, "none of a folder")],
)
def test_unlabeled_images_that_are_none(
    tmp_path: Path, name: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "x.csv").touch()
    with pytest.raises(error, match=message):
        load_run_data(load_recipe("digits", [f"data.unlabeled={tmp_path / name}"]).data)


def test_without_a_generator_there_is_no_grid(tmp_path: Path) -> None:
    overrides = [*SHORT, f"run={tmp_path}/a", "estimator.generator=null", "baselines=[]"]
    results = run_recipe(load_recipe("digits", overrides), verbose=0)
    assert not (tmp_path / "a" / "samples.png").exists()
    assert "samples.png" not in summary(results) and "confusion.png" in summary(results)


def test_a_folder_of_photos(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for level, name in ((40, "dark"), (200, "light")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(8):
            pixels = rng.normal(level, 10, (20 + k, 24, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{k}.jpg")
    (tmp_path / "photos.more").mkdir()
    Image.fromarray(pixels).save(tmp_path / "photos.more" / "x.png")
    overrides = [
        *(f"data.path={tmp_path}/photos", f"data.unlabeled={tmp_path}/photos.more"),
        *(f"run={tmp_path}/a", "estimator.image_size=16", "data.labels=4", *SHORT),
    ]
    results = run_recipe(load_recipe("folder", overrides), verbose=0)
    assert results["split"]["name"] == "photos.seed0@4" and results["n_test"] == 4
    assert results["split"]["n_unlabeled"] == 16 - 4 - 4 + 1
    assert list(results["report"]["per_class_error"]) == ["dark", "light"]
    assert "held out" in summary(results)


def test_the_baseline_has_the_widths_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What "auto" takes follows the machine's threads, and a run may go on elsewhere."""
    asked: list[dict[str, Any]] = []

    def note(name: str, data: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append(arguments)
        return {"method": name, "error": 0.5, "n_test": 1, "seconds": 1.0}

    for path, value in (
        ("networks.MANY_ROWS", 100),
        ("networks.WIDE", [8, 8, 24]),
        ("networks.NARROW_FROM", dict.fromkeys(("amx", "bf16", "float32"), 0.0)),
    ):
        monkeypatch.setattr(f"clsgan.defaults.{path}", value)
    monkeypatch.setattr("clsgan.recipe.run_baseline", note)
    overrides = [*QUICK, "estimator.loss_network_options=null", "baselines=[supervised]"]
    kinds = dict.fromkeys(("amx", "bf16", "float32"), 1e9)
    monkeypatch.setattr("clsgan.defaults.networks.WIDE_FROM", kinds)
    for run, widths in (("a", [8, 8, 24]), ("b", [32, 64, 128])):
        limit = "null" if run == "a" else "30"
        given = [*overrides, f"run={tmp_path}/{run}", f"estimator.time_limit={limit}"]
        run_recipe(load_recipe("digits", given), verbose=0)
        assert asked[-1]["loss_network_options"] == {"widths": widths}
