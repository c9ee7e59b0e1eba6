"""Runs that are killed, stopped or fail: they go on as if nothing had happened, or say why not."""

import errno
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import warnings

import numpy as np
import pytest
import torch
from loop_runs import changed, snapshot

from clsgan import LSGAN, CLSGANClassifier, folder_lock, trainer
from clsgan.checkpoints import file as checkpoint_file
from clsgan.checkpoints import run
from clsgan.checkpoints.file import checkpoint_files
from clsgan.folder_lock import LOCK, FolderLock

STEPS = 12
UNTIMED = ("images_per_second", "seconds")


class Killed(Exception):
    """In place of a signal, where one process is enough."""


def stop_at(monkeypatch, step, stop):
    """Call `stop` in the middle of a step, behind the optimisers and before the averages."""
    update, count = trainer.update_averages, []

    def spy(state):
        count.append(1)
        if len(count) == step:
            stop()
        update(state)

    monkeypatch.setattr(trainer, "update_averages", spy)


def kill():
    raise Killed


def assert_same(first, second):
    for name in ("loss_network_", "generator_"):
        if getattr(first, name) is not None:
            before, after = (getattr(model, name).state_dict() for model in (first, second))
            assert before.keys() == after.keys()
            assert all(torch.equal(before[key], after[key]) for key in before), name


def untimed(history):
    return [{k: v for k, v in record.items() if k not in UNTIMED} for record in history]


DROPOUT = torch.nn.Sequential(
    torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 10)
)
VARIANTS = {
    "default": {"augment": "strong", "unlabeled_start": 0.0},
    "paper": {"objective": "paper", "generated_batch_size": 32, "generator_interval": 2},
    "steepest": {"objective": "lipschitz_gan", "steepest_buffer": 4, "critic_steps": 2},
    "spectral": {"objective": "hinge", "spectral_norm": True, "unlabeled": "mean_teacher"},
    "dropout": {"loss_network": DROPOUT, "loss_network_options": None, "generator": None},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_goes_on_bit_for_bit(variant, tiny, digits, tmp_path, monkeypatch):
    params = {"max_steps": STEPS, "validation_fraction": 0.2, **VARIANTS[variant]}
    data = digits.x_lab, digits.y_lab, digits.x_unl
    whole = tiny(**params).fit(*data)
    kept = {"checkpoint": tmp_path / "c", "checkpoint_every": 0, "resume": True}
    for stopped in (5, 4):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            stop_at(patch, stopped, kill)
            tiny(**params, **kept).fit(*data)
        at = 4 if stopped == 5 else 7
        assert checkpoint_files(tmp_path / "c")[-1].name == f"step-{at:012d}.safetensors"
    resumed = tiny(**params, **kept).fit(*data)
    assert_same(whole, resumed)
    assert untimed(whole.history_) == untimed(resumed.history_)
    assert (resumed.n_steps_, resumed.validation_error_) == (STEPS, whole.validation_error_)
    again = tiny(**params, **kept).fit(*data)  # it is finished: nothing is trained
    assert_same(whole, again)


def test_the_density_estimator_goes_on_too(tmp_path, monkeypatch):
    X = np.random.default_rng(0).normal(size=(60, 2))
    params = {"max_steps": 8, "random_state": 0, "batch_size": 16, "accelerator": "cpu"}
    whole = LSGAN("wgan_gp", **params).fit(X)
    kept = {"checkpoint": tmp_path / "c", "checkpoint_every": 0, "resume": True}
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, 4, kill)
        LSGAN("wgan_gp", **params, **kept).fit(X)
    assert_same(whole, LSGAN("wgan_gp", **params, **kept).fit(X))


def test_a_run_without_a_seed_goes_on_with_its_own(tiny_rows, tmp_path, monkeypatch):
    X, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    kept = {"random_state": None, "checkpoint": tmp_path / "c", "resume": True}
    stopped = tiny_rows(max_steps=9, checkpoint_every=0, **kept)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, 5, kill)
        stopped.fit(X, y)
    seed = checkpoint_file.read_newest(tmp_path / "c").document["seed"]
    stopped.fit(X, y)
    assert checkpoint_file.read_newest(tmp_path / "c").document["seed"] == seed


def test_metrics_have_every_line_once(tiny, digits, tmp_path, monkeypatch):
    params = {"max_steps": 60, "batch_size": 16, "generator": None, "log_dir": tmp_path / "log"}
    kept = {"checkpoint": tmp_path / "c", "checkpoint_every": 1e9, "resume": True}
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, 55, kill)
        tiny(**params, **kept).fit(digits.x_lab, digits.y_lab)
    model = tiny(**params, **kept).fit(digits.x_lab, digits.y_lab)
    lines = (tmp_path / "log" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [25, 50, 60]
    assert [record["step"] for record in model.history_] == [25, 50, 60]


# Killed processes

PROGRAM = """
import json, os, signal, sys
import torch
torch.set_num_threads(1)
from clsgan import CLSGANClassifier
import clsgan.checkpoints.file, clsgan.trainer
given = json.loads(sys.argv[1])
import numpy as np
X, y = np.load(given["X"]), np.load(given["y"])
def die_at(module, name, count):
    call, calls = getattr(module, name), []
    def spy(*args, **kwargs):
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    setattr(module, name, spy)
modules = {"check_step": clsgan.trainer, "fsync": os,
           "_remove_others": clsgan.checkpoints.file}
die_at(modules[given["place"]], given["place"], given["count"])
unlabeled = np.load(given["U"]) if given["kind"] == "memory" else given["U"]
CLSGANClassifier(**given["params"]).fit(X, y, unlabeled)
print("finished")
"""


def write_pool(kind, images, folder):
    if kind == "shards":
        for shard in range(3):
            with tarfile.open(folder / f"s{shard}.tar", "w") as tar:
                for i in range(shard, len(images), 3):
                    np.save(folder / "image.npy", images[i])
                    tar.add(folder / "image.npy", f"{i:05d}.npy")
        (folder / "image.npy").unlink()
        return folder
    np.save(folder / "pool.npy", images)
    return folder / "pool.npy"


def run_killed(kind, moments, tiny, digits, tmp_path):
    """Die at each of the moments, go on after each, and compare with a run that was left alone."""
    (tmp_path / "pool").mkdir()
    pool = write_pool(kind, digits.x_unl[:200], tmp_path / "pool")
    np.save(tmp_path / "X.npy", digits.x_lab), np.save(tmp_path / "y.npy", digits.y_lab)
    model = tiny(max_steps=STEPS, augment="medium", unlabeled_start=0.0)
    kept = {"checkpoint": str(tmp_path / "c"), "checkpoint_every": 0, "resume": True}
    given = {"X": str(tmp_path / "X.npy"), "y": str(tmp_path / "y.npy"), "U": str(pool)}
    given |= {"kind": kind, "params": {**model.get_params(), **kept}}
    killed = 0
    for place, count in moments:
        text = json.dumps({**given, "place": place, "count": count})
        command = [sys.executable, "-c", PROGRAM, text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == -signal.SIGKILL or "finished" in done.stdout, done.stderr[-3000:]
        killed += done.returncode == -signal.SIGKILL
    assert killed
    unlabeled = digits.x_unl[:200] if kind == "memory" else pool
    whole = model.fit(digits.x_lab, digits.y_lab, unlabeled)
    resumed = tiny(**given["params"]).fit(digits.x_lab, digits.y_lab, unlabeled)
    assert resumed.n_steps_ == STEPS
    assert_same(whole, resumed)


def test_a_killed_process_is_taken_up(tiny, digits, tmp_path):
    run_killed("shards", [("fsync", 10)], tiny, digits, tmp_path)
    assert not list((tmp_path / "c").glob(".*"))  # neither a lock nor half a checkpoint is left


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["memory", "memmap", "shards"])
def test_killed_at_random_moments(kind, seed, tiny, digits, tmp_path):
    rng = np.random.default_rng(seed)
    places = {"check_step": 9, "fsync": 9, "_remove_others": 5}
    chosen = rng.choice(list(places), size=4)
    moments = [(str(place), int(rng.integers(1, places[place]))) for place in chosen]
    run_killed(kind, moments, tiny, digits, tmp_path)


# One process at a time


def test_a_second_run_on_the_folder_is_refused(tiny, digits, tmp_path):
    model = tiny(checkpoint=tmp_path / "c", resume=True)
    with FolderLock(tmp_path / "c"), pytest.raises(BlockingIOError) as caught:
        model.fit(digits.x_lab, digits.y_lab)
    assert f"is in use by process {os.getpid()} on" in str(caught.value)
    model.fit(digits.x_lab, digits.y_lab)


def test_the_lock_of_a_dead_process_does_not_hold(tmp_path):
    text = (
        "import os, pathlib, runpy, sys; names = runpy.run_path(sys.argv[1]); "
        "names['FolderLock'](pathlib.Path(sys.argv[2])).__enter__(); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", text, folder_lock.__file__, str(tmp_path)]
    done = subprocess.run(command, check=False)
    assert done.returncode == -signal.SIGKILL and (tmp_path / LOCK).exists()
    with FolderLock(tmp_path):
        pass


def test_checkpoints_are_not_overwritten_unasked(tiny, digits, tmp_path):
    tiny(checkpoint=tmp_path / "c").fit(digits.x_lab, digits.y_lab)
    with pytest.raises(FileExistsError, match=r"step-000000000003.*resume=True"):
        tiny(checkpoint=tmp_path / "c").fit(digits.x_lab, digits.y_lab)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"resume": True}, "resume=True needs checkpoint=FOLDER"),
        ({"checkpoint": "c", "checkpoint_every": -1}, "checkpoint_every=-1 is not valid"),
    ],
)
def test_parameters_that_cannot_be(params, message, tiny, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        tiny(**params).fit(digits.x_lab, digits.y_lab)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_run_that_cannot_start(tiny, digits, tmp_path):
    with pytest.raises(ValueError, match="smal"):
        tiny(checkpoint=tmp_path / "c", loss_network="smal").fit(digits.x_lab, digits.y_lab)
    assert list(tmp_path.iterdir()) == []


# Ctrl-C


def press(number=signal.SIGINT):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_with_a_model_and_a_checkpoint(number, tiny, digits, tmp_path, monkeypatch):
    params = {"max_steps": STEPS, "checkpoint": tmp_path / "c", "resume": True}
    data = digits.x_lab, digits.y_lab, digits.x_unl
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="Ctrl-C after step 5"):
        stop_at(patch, 5, lambda: press(number))
        stopped = tiny(**params).fit(*data)
    assert stopped.interrupted_ and stopped.n_steps_ == 5
    assert stopped.predict(digits.x_test).shape == (500,)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    resumed = tiny(**params).fit(*data)
    assert not resumed.interrupted_
    assert_same(tiny(max_steps=STEPS).fit(*data), resumed)


def test_ctrl_c_twice_stops_at_once(tiny, digits, tmp_path, monkeypatch):
    stop_at(monkeypatch, 5, lambda: (press(), press()))
    model = tiny(max_steps=STEPS, checkpoint=tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        model.fit(digits.x_lab, digits.y_lab)
    assert not hasattr(model, "classes_") and checkpoint_files(tmp_path / "c")


def test_ctrl_c_without_a_checkpoint_is_as_ever(tiny, digits, monkeypatch):
    stop_at(monkeypatch, 2, press)
    with pytest.raises(KeyboardInterrupt):
        tiny().fit(digits.x_lab, digits.y_lab)


def test_an_interrupt_amid_a_step_goes_back_to_the_last_checkpoint(
    tiny, digits, tmp_path, monkeypatch
):
    def interrupt():
        raise KeyboardInterrupt

    stop_at(monkeypatch, 5, interrupt)
    with pytest.warns(UserWarning, match="Ctrl-C after step 4"):
        model = tiny(max_steps=STEPS, checkpoint=tmp_path / "c", checkpoint_every=0)
        model.fit(digits.x_lab, digits.y_lab)
    assert_same(
        tiny(max_steps=STEPS, checkpoint=tmp_path / "c", resume=True).fit(
            digits.x_lab, digits.y_lab
        ),
        tiny(max_steps=STEPS).fit(digits.x_lab, digits.y_lab),
    )


# Disks, and what lies on them


@pytest.fixture
def begun(tiny, digits, tmp_path, monkeypatch):
    """A run of 12 steps that was killed in its sixth, and how to go on with it."""
    params = {"max_steps": STEPS, "checkpoint": tmp_path / "c", "checkpoint_every": 0}

    def fit(**changes):
        return tiny(**{**params, "resume": True, **changes}).fit(digits.x_lab, digits.y_lab)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(patch, 6, kill)
        fit()
    return fit


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_passed_over(damage, begun, tiny, digits, tmp_path):
    newest = checkpoint_files(tmp_path / "c")[-1]
    good = newest.read_bytes()
    flipped = good[:-100] + bytes([good[-100] ^ 1]) + good[-99:]
    newest.write_bytes({"truncated": good[:-1000], "flipped": flipped, "empty": b""}[damage])
    with pytest.warns(UserWarning, match=r"step-0*5\..*damaged.*the one before.*step-0*4\."):
        resumed = begun()
    assert_same(tiny(max_steps=STEPS).fit(digits.x_lab, digits.y_lab), resumed)


def test_a_damaged_checkpoint_does_not_drive_out_the_good_one(begun, tmp_path):
    checkpoint_files(tmp_path / "c")[-1].write_bytes(b"")
    with pytest.warns(UserWarning, match=r"the one before.*step-0*4\."):
        begun(checkpoint_every=1000)
    left = checkpoint_files(tmp_path / "c")
    assert [checkpoint_file.read_checkpoint(path).document["step"] for path in left] == [4, STEPS]


def test_when_all_are_damaged_nothing_is_overwritten(begun, tmp_path):
    for path in checkpoint_files(tmp_path / "c"):
        path.write_bytes(path.read_bytes()[:500])
    before = contents(tmp_path / "c")
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read: .*step-0*5"):
        begun()
    assert contents(tmp_path / "c") == before


def test_a_link_is_not_followed(begun, tmp_path):
    for path in checkpoint_files(tmp_path / "c"):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    with pytest.raises(ValueError, match="is a link"):
        begun()


@pytest.mark.parametrize(("read", "advice"), [(2, "update clsgan"), (4, "start the run anew")])
def test_another_format_is_refused(read, advice, begun, tmp_path, monkeypatch):
    before = contents(tmp_path / "c")
    monkeypatch.setattr(checkpoint_file, "FORMAT", read)
    with pytest.raises(ValueError, match=rf"format 3, .* clsgan reads {read}; {advice}"):
        begun()
    assert contents(tmp_path / "c") == before


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk(call, begun, tiny, digits, tmp_path, monkeypatch):
    before = contents(tmp_path / "c")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match=r"step 6 cannot be written to .*No space left.*still"):
            begun()
    assert contents(tmp_path / "c") == before
    assert_same(tiny(max_steps=STEPS).fit(digits.x_lab, digits.y_lab), begun())


def test_a_disk_that_takes_half_of_a_file(begun, tmp_path, full_disk):
    before = contents(tmp_path / "c")
    with full_disk(20_000), pytest.raises(OSError, match="step 6 cannot be written"):
        begun()
    assert contents(tmp_path / "c") == before


def test_a_folder_that_cannot_be_written_is_named_before_training(tiny, digits, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"file.c cannot be written to"):
        tiny(checkpoint=tmp_path / "file" / "c").fit(digits.x_lab, digits.y_lab)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_read_only_folder(tiny, digits, tmp_path):
    (tmp_path / "c").mkdir(mode=0o500)
    with pytest.raises(OSError, match="cannot be written to"):
        tiny(checkpoint=tmp_path / "c").fit(digits.x_lab, digits.y_lab)


@pytest.mark.parametrize("holds", ["nothing", "a checkpoint"])
def test_a_disk_that_is_read_only(holds, begun, tiny, digits, tmp_path, monkeypatch):
    folder = tmp_path / ("c" if holds == "a checkpoint" else "new")
    before, make, open_file = contents(tmp_path / "c"), os.mkdir, os.open

    def make_none(path, *args):
        if not os.path.isdir(path):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        make(path, *args)

    def open_to_read(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return open_file(path, flags, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", make_none)
        patch.setattr(os, "open", open_to_read)
        stop_at(patch, 1, kill)
        with pytest.raises(OSError, match=rf"{folder.name} cannot be written to: .*Read-only"):
            begun(checkpoint=folder)
    assert contents(tmp_path / "c") == before and not (tmp_path / "new").exists()
    assert_same(tiny(max_steps=STEPS).fit(digits.x_lab, digits.y_lab), begun())


def test_other_parameters_are_named(begun, tmp_path):
    before = contents(tmp_path / "c")
    with pytest.raises(ValueError, match=r"of another run: batch_size was 32 and is 16"):
        begun(batch_size=16)
    with pytest.raises(ValueError, match=r"objective was 'default' and is 'paper'"):
        begun(objective="paper", generated_batch_size=32)
    assert contents(tmp_path / "c") == before


def test_other_data_are_named(begun, tiny, digits, tmp_path):
    model = tiny(max_steps=STEPS, checkpoint=tmp_path / "c", resume=True)
    with pytest.raises(ValueError, match="X rows was 100 and is 99"):
        model.fit(digits.x_lab[1:], digits.y_lab[1:])
    other = digits.x_lab.copy()
    other[50, 4, 4] ^= 1
    with pytest.raises(ValueError, match=r"another run: X hash was '\w+' and is '\w+'$"):
        model.fit(other, digits.y_lab)
    with pytest.raises(ValueError, match="another run: y hash"):
        model.fit(digits.x_lab, digits.y_lab[::-1])
    with pytest.raises(ValueError, match="X_unlab rows was 0 and is 1197"):
        model.fit(digits.x_lab, digits.y_lab, digits.x_unl)


# Divergence


def test_the_last_good_model_of_a_diverged_run_is_kept(tiny, digits, tmp_path, monkeypatch):
    term, count = trainer.labeled_term, []

    def nan_after_six(*args):
        count.append(1)
        return term(*args) * (float("nan") if len(count) > 6 else 1.0)

    monkeypatch.setattr(trainer, "labeled_term", nan_after_six)
    params = {"generator": None, "checkpoint": tmp_path / "c", "checkpoint_every": 0}
    model = tiny(max_steps=40, **params)
    with pytest.raises(FloatingPointError) as caught:
        model.fit(digits.x_lab, digits.y_lab)
    text = str(caught.value)
    assert "labeled = nan at step 7" in text and "10 were skipped" in text
    assert not hasattr(model, "classes_")
    folder = text.split("load('")[1].split("')")[0]
    good = CLSGANClassifier.load(folder)
    assert np.isfinite(good.predict_proba(digits.x_test)).all()


def test_a_model_that_was_fitted_before_stays(tiny, digits, tmp_path):
    model = tiny().fit(digits.x_lab, digits.y_lab)
    before = snapshot(model.loss_network_)
    model.set_params(learning_rate=1e25, max_steps=40, checkpoint=tmp_path / "c")
    with pytest.raises(FloatingPointError, match="last good model, of step 0"):
        model.fit(digits.x_lab, digits.y_lab)
    assert not changed(before, model.loss_network_) and model.n_steps_ == 3


# Time


def test_a_time_limit_holds_with_validation_and_saving(tiny, digits, tmp_path):
    started = time.perf_counter()
    model = tiny(
        max_steps=None, time_limit=3.0, validation_fraction=0.2, checkpoint=tmp_path / "c"
    ).fit(digits.x_lab, digits.y_lab, digits.x_unl)
    took = time.perf_counter() - started
    assert took <= 3.0 + 2.0 and model.fit_time_ <= took
    assert checkpoint_files(tmp_path / "c")[-1].name == f"step-{model.n_steps_:012d}.safetensors"


def test_the_limit_holds_though_the_last_checkpoint_is_larger(
    tiny, digits, tmp_path, slowed, monkeypatch
):
    clock, write, sizes = slowed("clsgan.trainer.update_averages", 0.5), run.write_checkpoint, []

    def by_size(folder, step, tensors, document):
        sizes.append(sum(tensor.nbytes for tensor in tensors.values()))
        clock.now += 10 * sizes[-1] / sizes[0]
        write(folder, step, tensors, document)

    monkeypatch.setattr(run, "write_checkpoint", by_size)
    params = {"max_steps": None, "time_limit": 60.0, "optimizer": "adamw"}
    tiny(**params, checkpoint=tmp_path / "c").fit(digits.x_lab, digits.y_lab)
    assert sizes[-1] > 1.5 * sizes[0] and 45 < clock() <= 60


def test_the_time_limit_is_that_of_all_sittings(tiny, digits, tmp_path, monkeypatch):
    params = {"max_steps": None, "time_limit": 1.0, "checkpoint": tmp_path / "c"}
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stop_at(patch, 3, lambda: (time.sleep(1.0), press()))
        first = tiny(**params).fit(digits.x_lab, digits.y_lab)
    before = checkpoint_file.read_newest(tmp_path / "c").document["budget"]["elapsed"]
    started = time.perf_counter()
    model = tiny(**params, resume=True).fit(digits.x_lab, digits.y_lab)
    took = time.perf_counter() - started
    assert model.n_steps_ == first.n_steps_  # the time was spent
    assert model.fit_time_ == pytest.approx(before + took, abs=0.5)


def test_a_default_that_followed_the_labels_otherwise_then_is_named(tmp_path, monkeypatch):
    """Quarter turns are told by the number of labels, not by a parameter that is compared."""
    images = np.random.default_rng(0).integers(0, 256, (44, 8, 8, 3), dtype=np.uint8)
    options = {"max_steps": 2, "batch_size": 16, "random_state": 0, "accelerator": "cpu"}
    options |= {"checkpoint": tmp_path / "run", "resume": True}
    rows = images[:4], [0, 1, 0, 1]
    CLSGANClassifier(**options).fit(*rows, X_unlab=images[4:])
    CLSGANClassifier(**options).fit(*rows, X_unlab=images[4:])  # the same run is fine
    monkeypatch.setattr("clsgan.defaults.few_labels.MANY_ROWS", 30)
    with pytest.raises(ValueError, match=r"rotation was None and is 1\.0"):
        CLSGANClassifier(**options).fit(*rows, X_unlab=images[4:])


def test_a_run_goes_on_with_the_network_it_began_with_on_a_quicker_machine(
    tiny, digits, tmp_path, monkeypatch
):
    """How wide it is follows the threads of the machine, which a run may leave for another."""
    monkeypatch.setattr("clsgan.defaults.networks.MANY_ROWS", 100)
    monkeypatch.setattr("clsgan.defaults.networks.WIDE", [8, 8, 24])
    monkeypatch.setattr("clsgan.defaults.networks.NARROW_FROM", {"float32": 0.0})
    monkeypatch.setattr("clsgan.defaults.networks.WIDE_FROM", {"float32": 1e9})
    options = {"loss_network_options": None, "generator": None, "max_steps": 4, "time_limit": 20}
    options |= {"checkpoint": tmp_path / "run", "checkpoint_every": 0}
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stop_at(patch, 2, press)
        first = tiny(**options).fit(digits.x_lab, digits.y_lab)
    assert first.interrupted_ and first.transform(digits.x_test[:1]).shape == (1, 128)
    monkeypatch.setattr("clsgan.defaults.networks.WIDE_FROM", {"float32": 0.0})
    second = tiny(**options, resume=True).fit(digits.x_lab, digits.y_lab)
    assert second.n_steps_ == 4 and second.transform(digits.x_test[:1]).shape == (1, 128)
    fresh = tiny(**{**options, "checkpoint": None, "checkpoint_every": None})
    assert fresh.fit(digits.x_lab, digits.y_lab).transform(digits.x_test[:1]).shape == (1, 24)


def test_a_warm_start_that_was_stopped_goes_on_narrow_in_another_process(
    tiny, digits, tmp_path, monkeypatch
):
    monkeypatch.setattr("clsgan.defaults.networks.MANY_ROWS", 100)
    monkeypatch.setattr("clsgan.defaults.networks.WIDE", [8, 8, 24])
    monkeypatch.setattr("clsgan.defaults.networks.NARROW_FROM", {"float32": 0.0})
    monkeypatch.setattr("clsgan.defaults.networks.WIDE_FROM", {"float32": 1e9})
    options = {"loss_network_options": None, "generator": None, "max_steps": 3, "time_limit": 20}
    model = tiny(**options, warm_start=True).fit(digits.x_lab, digits.y_lab)
    monkeypatch.setattr("clsgan.defaults.networks.WIDE_FROM", {"float32": 0.0})
    kept = {"checkpoint": tmp_path / "run", "checkpoint_every": 0, "resume": True}
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stop_at(patch, 2, press)
        model.set_params(**kept).fit(digits.x_lab, digits.y_lab)
    assert model.interrupted_
    other = tiny(**options, **kept, warm_start=True).fit(digits.x_lab, digits.y_lab)
    assert other.n_steps_ == 3 and other.transform(digits.x_test[:1]).shape == (1, 128)
