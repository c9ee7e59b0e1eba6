"""A finished run can be tested again, and says so when its data have changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsgan.config import load_recipe
from clsgan.data import load_data
from clsgan.estimator import CLSGANClassifier
from clsgan.finished_run import class_names, evaluate_run, model_folder, sample_picture
from clsgan.recipe import run_recipe
from clsgan.run_folder import read_arrays, write_arrays

SHORT = ["estimator.max_steps=5", "estimator.time_limit=null", "estimator.batch_size=32"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    run_recipe(load_recipe("digits", [*SHORT, f"run={folder}", "baselines=[]"]), verbose=0)
    return folder


def test_the_stored_error_is_reproduced(run: Path) -> None:
    numbers = evaluate_run(run)
    assert numbers["error"] == numbers["stored_error"] and numbers["n"] == 500
    assert numbers["changed_predictions"] == 0


def test_a_run_that_is_not_there_or_not_finished(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no run folder .*nowhere"):
        model_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no model: it is no run folder"):
        model_folder(tmp_path)


def test_a_link_out_of_the_run_is_not_followed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(run / "model", target_is_directory=True)
    with pytest.raises(ValueError, match=r"run.model is a link; a run folder holds its model"):
        model_folder(tmp_path / "run")


def test_a_model_that_was_to_be_replaced_is_found(run: Path, tmp_path: Path) -> None:
    (tmp_path / ".model.saving-abc").mkdir()
    shutil.copytree(run / "model", tmp_path / ".model.saving-abc" / "old")
    with pytest.warns(UserWarning, match="was to be replaced"):
        assert CLSGANClassifier.load(model_folder(tmp_path)).n_steps_ == 5


def test_a_run_whose_data_have_changed_is_refused(run: Path) -> None:
    stored = read_arrays(run / "test_predictions.npz")
    write_arrays(run / "test_predictions.npz", **{**stored, "y": stored["y"][::-1]})
    try:
        with pytest.raises(ValueError, match="the data are not those of"):
            evaluate_run(run)
    finally:
        write_arrays(run / "test_predictions.npz", **stored)


def test_a_folder_of_images_gives_the_same_error(run: Path, tmp_path: Path) -> None:
    data = load_data("digits")
    for k, (pixels, y) in enumerate(zip(data.x_test[:60], data.y_test[:60], strict=True)):
        (tmp_path / str(y)).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / str(y) / f"{k}.png")
    numbers = evaluate_run(run, tmp_path)
    model = CLSGANClassifier.load(model_folder(run))
    assert numbers["n"] == 60 and "stored_error" not in numbers
    expected = 1 - model.score(data.x_test[:60], data.y_test[:60])
    assert numbers["error"] == pytest.approx(expected)
    (tmp_path / "ten").mkdir()
    Image.fromarray(pixels).save(tmp_path / "ten" / "a.png")
    with pytest.raises(ValueError, match="does not know: ten"):
        evaluate_run(run, tmp_path)


def test_names_of_an_earlier_run_are_those_of_its_test(run: Path) -> None:
    model = CLSGANClassifier.load(model_folder(run))
    labels = read_arrays(run / "labels.npz")
    before = class_names(run, model)
    write_arrays(run / "labels.npz", **{k: v for k, v in labels.items() if k != "class_names"})
    try:
        assert class_names(run, model) == before
    finally:
        write_arrays(run / "labels.npz", **labels)


def test_a_folder_that_save_wrote_serves_without_its_run(run: Path, tmp_path: Path) -> None:
    model = CLSGANClassifier.load(model_folder(run))
    model.save(tmp_path / "saved")
    assert model_folder(tmp_path / "saved") == tmp_path / "saved"
    assert class_names(tmp_path / "saved", model) == [str(name) for name in model.classes_]
    with pytest.raises(ValueError, match="holds a model and no test rows; give --images"):
        evaluate_run(tmp_path / "saved")


def test_samples_are_drawn_by_seed(run: Path) -> None:
    model = CLSGANClassifier.load(model_folder(run))
    names = class_names(run, model)
    assert names == [str(k) for k in range(10)]

    def pixels(seed: int) -> np.ndarray:
        (axes,) = sample_picture(model, names, per_class=2, seed=seed).axes
        return np.asarray(axes.images[0].get_array())

    assert pixels(0).shape == (2 * 8 + 1, 10 * 8 + 9, 3)
    np.testing.assert_array_equal(pixels(0), pixels(0))
    assert (pixels(0) != pixels(1)).any()


def test_what_cannot_be_drawn_is_explained(run: Path) -> None:
    rows = CLSGANClassifier(max_steps=2).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(ValueError, match="fitted on rows, not on images"):
        sample_picture(rows, ["a", "b"])
    with pytest.raises(ValueError, match="per_class must be at least 1, got 0"):
        sample_picture(CLSGANClassifier.load(model_folder(run)), ["x"] * 10, per_class=0)
