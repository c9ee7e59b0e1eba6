"""Recipes that are stopped: `resume=true` goes on with their run folder, and with no other."""

import json
import os
import shutil
import signal
import time

import pytest
from PIL import Image

from clsgan import CLSGANClassifier, trainer
from clsgan.cli import main
from clsgan.config import load_recipe
from clsgan.data import load_data
from clsgan.folder_lock import FolderLock
from clsgan.recipe import run_recipe
from clsgan.resumed_run import forget_unstarted, open_run_folder

SHORT = ["estimator.max_steps=6", "estimator.time_limit=null", "estimator.batch_size=32"]
SHORT += ["estimator.generator=null", "baselines=[]", "estimator.checkpoint_every=0"]


def config(folder, *overrides):
    return load_recipe("digits", [*SHORT, f"run={folder}", *overrides])


def stop_at(monkeypatch, step, stop):
    update, count = trainer.update_averages, []

    def spy(state):
        count.append(1)
        if len(count) == step:
            stop()
        update(state)

    monkeypatch.setattr(trainer, "update_averages", spy)


def fail():
    raise RuntimeError("as if it was killed")


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """The folder of a run that was cut off in its fourth step."""
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        stop_at(patch, 4, fail)
        run_recipe(config(tmp_path / "a", "resume=true"), verbose=0)
    return tmp_path / "a"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_recipe_goes_on(stopped, tmp_path):
    assert "checkpoint/step-000000000003.safetensors" in files(stopped)
    resumed = run_recipe(config(stopped, "resume=true"), verbose=0)
    whole = run_recipe(config(tmp_path / "b"), verbose=0)
    assert resumed["report"] == whole["report"]
    assert {path.name for path in stopped.iterdir()} == {
        path.name for path in (tmp_path / "b").iterdir()
    }
    lines = (stopped / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [6]


def test_a_finished_run_is_only_completed(stopped, monkeypatch):
    first = run_recipe(config(stopped, "resume=true"), verbose=0)
    (stopped / "confusion.png").unlink()
    (stopped / "checkpoint").mkdir()  # as if it was killed before that was removed
    monkeypatch.setattr(CLSGANClassifier, "fit", None)  # it is not called again
    again = run_recipe(config(stopped, "resume=true"), verbose=0)
    assert again == first and (stopped / "confusion.png").exists()
    assert not (stopped / "checkpoint").exists()


def test_a_run_of_another_recipe_is_refused(stopped):
    before = files(stopped)
    with pytest.raises(ValueError, match="run of another recipe: data seed was 0 and is 1"):
        run_recipe(config(stopped, "resume=true", "data.seed=1"), verbose=0)
    with pytest.raises(ValueError, match="estimator max_steps was 6 and is 9"):
        run_recipe(config(stopped, "resume=true", "estimator.max_steps=9"), verbose=0)
    with pytest.raises(FileExistsError, match="never overwrites"):
        run_recipe(config(stopped), verbose=0)
    assert files(stopped) == before


def test_a_second_process_is_refused(stopped):
    before = files(stopped)
    with FolderLock(stopped), pytest.raises(BlockingIOError, match=f"process {os.getpid()}"):
        run_recipe(config(stopped, "resume=true"), verbose=0)
    assert files(stopped) == before


def test_where_nothing_was_saved_it_starts(tmp_path, stopped):
    shutil.rmtree(stopped / "checkpoint")
    (stopped / "metrics.jsonl").write_text('{"step": 4}\n')
    (tmp_path / "claimed").mkdir()
    (tmp_path / "claimed" / "config.yaml").touch()  # it was killed at once
    for folder in (stopped, tmp_path / "claimed"):
        assert run_recipe(config(folder, "resume=true"), verbose=0)["methods"][0]["steps"] == 6
    lines = (stopped / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [6]


def test_the_last_good_model_is_kept_though_nothing_else_was_saved(tmp_path):
    folder, made = open_run_folder(config(tmp_path / "a", "resume=true"))
    good = folder / "checkpoint" / "last_good_model"
    good.mkdir(parents=True)
    forget_unstarted(folder, made)
    assert good.exists() and (folder / "config.yaml").exists()


def test_a_folder_of_something_else_stays(tmp_path):
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="never overwrites"):
        run_recipe(config(tmp_path, "resume=true"), verbose=0)
    assert files(tmp_path) == ["letters.txt"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("estimator.checkpoint=c", "estimator.checkpoint is set by the run; use run=FOLDER"),
        ("estimator.resume=true", "estimator.resume is set by the run; use resume=true"),
    ],
)
def test_keys_that_the_run_sets(override, message):
    with pytest.raises(ValueError, match=message):
        load_recipe("digits", [override])


def test_resume_needs_a_folder():
    with pytest.raises(ValueError, match="resume=true needs run=FOLDER"):
        run_recipe(load_recipe("digits", [*SHORT, "resume=true"]), verbose=0)


def test_ctrl_c_leaves_a_model_and_a_run_to_go_on_with(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "a"
    command = ["train", "digits", "--quiet", *SHORT, f"run={folder}"]
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match=r"resume=True goes on"):
        stop_at(patch, 3, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert main(command) == 130
    assert "clsgan: interrupted" in capsys.readouterr().err
    model = CLSGANClassifier.load(folder / "model")
    assert model.n_steps_ == 3 and model.interrupted_
    image = tmp_path / "one.png"
    Image.fromarray(load_data("digits").x_test[0]).save(image)
    assert main(["predict", str(folder), str(image)]) == 0
    label = capsys.readouterr().out.splitlines()[1].split("\t")[1]
    assert label == str(model.predict([str(image)])[0])
    assert main(["evaluate", str(folder)]) == 2
    assert f"stopped before its test: clsgan train RECIPE run={folder}" in capsys.readouterr().err
    assert main([*command, "resume=true"]) == 0
    assert CLSGANClassifier.load(folder / "model").n_steps_ == 6


def test_the_time_limit_of_a_recipe_holds(tmp_path):
    overrides = ["estimator.max_steps=null", "estimator.time_limit=3"]
    started = time.perf_counter()
    results = run_recipe(config(tmp_path / "a", *overrides), verbose=0)
    took = time.perf_counter() - started
    assert results["methods"][0]["seconds"] <= 3 + 2 and took < 60
