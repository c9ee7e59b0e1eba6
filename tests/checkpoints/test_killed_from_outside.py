"""Runs that another process kills at a moment they know nothing of, and that go on bit for bit.

Run as a program, this file trains: that is what is killed.
"""

import json
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from clsgan import CLSGANClassifier
from clsgan.checkpoints.file import checkpoint_files
from clsgan.pools import unlabeled_pool

STEPS = 40
MOST = 9  # steps from a start to the signal
PATIENCE = 200  # seconds


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, path):
        self.path = path

    def __iter__(self):
        return iter(np.load(self.path))


def save_npy(folder, images):
    np.save(folder / "pool.npy", images)
    return folder / "pool.npy"


def save_shards(folder, images):
    for shard in range(3):
        with tarfile.open(folder / f"s{shard}.tar", "w") as tar:
            for i in range(shard, len(images), 3):
                np.save(folder / "image.npy", images[i])
                tar.add(folder / "image.npy", f"{i:05d}.npy")
    (folder / "image.npy").unlink()
    return folder


def save_images(folder, images):
    for i, image in enumerate(images):
        Image.fromarray(15 * image).save(folder / f"{i:05d}.png")
    return folder


class Kind(NamedTuple):
    save: object
    open: object = str


KINDS = {
    "memory": Kind(save_npy, np.load),
    "memmap": Kind(save_npy, lambda path: np.load(path, mmap_mode="r")),
    "shards": Kind(save_shards),
    "folder": Kind(save_images),
    "stream": Kind(save_npy, Stream),
}


def fit(given, **params):
    """Train on what lies in files, with a folder of images read as one that memory cannot hold."""
    unlabeled_pool.IN_MEMORY_BYTES = 0
    unlabeled = KINDS[given["kind"]].open(given["U"])
    model = CLSGANClassifier(**{**given["params"], **params})
    return model.fit(np.load(given["X"]), np.load(given["y"]), unlabeled)


@pytest.fixture
def given(tiny, digits, tmp_path, monkeypatch):
    """Makes what a run needs: its rows in files, and its parameters, for a kind of pool."""
    monkeypatch.setattr(unlabeled_pool, "IN_MEMORY_BYTES", 0)  # and put back

    def make(kind, **changes):
        (tmp_path / "pool").mkdir()
        np.save(tmp_path / "X.npy", digits.x_lab), np.save(tmp_path / "y.npy", digits.y_lab)
        pool = KINDS[kind].save(tmp_path / "pool", digits.x_unl[:200])
        changes = {"max_steps": STEPS, "augment": "medium", "unlabeled_start": 0.0} | changes
        params = tiny(**changes)
        files = {"X": tmp_path / "X.npy", "y": tmp_path / "y.npy", "U": pool}
        texts = {name: str(path) for name, path in files.items()}
        return {"kind": kind, "params": params.get_params(), **texts}

    return make


def last_step(folder):
    files = checkpoint_files(folder)
    return int(files[-1].name[5:17]) if files else 0


def killed_after(given, kept, steps, pause):
    """Start the run, and kill it so many steps later and a part of one; how it ended."""
    text = json.dumps({**given, "params": given["params"] | kept})
    run = subprocess.Popen([sys.executable, __file__, text], stderr=subprocess.PIPE, text=True)
    folder = Path(kept["checkpoint"])
    begun, deadline = last_step(folder), time.monotonic() + PATIENCE
    while run.poll() is None and last_step(folder) < begun + steps:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(pause)
    run.kill()
    errors = run.communicate()[1]
    assert run.returncode in (0, -signal.SIGKILL), errors[-3000:]
    return run.returncode


def kill_and_compare(given, times, seed, folder):
    """Kill a run some times, let it end, and compare it with one that was left alone."""
    rng = np.random.default_rng(seed)
    kept = {"checkpoint": str(folder), "checkpoint_every": 0, "resume": True}
    moments = [(int(rng.integers(1, MOST)), float(rng.uniform(0, 0.05))) for _ in range(times)]
    ended = [killed_after(given, kept, *moment) for moment in moments]
    assert ended[0] == -signal.SIGKILL
    resumed, whole = fit(given, **kept), fit(given)
    assert resumed.n_steps_ == whole.n_steps_ == given["params"]["max_steps"]
    networks = ("loss_network_", "generator_") if whole.generator_ else ("loss_network_",)
    for name in networks:
        before, after = (getattr(model, name).state_dict() for model in (whole, resumed))
        assert before.keys() == after.keys()
        assert [key for key in before if not torch.equal(before[key], after[key])] == [], name
    assert not list(folder.glob(".*"))  # neither a lock nor half a checkpoint


def test_a_run_that_is_killed_from_outside_goes_on(given, tmp_path):
    kill_and_compare(
        given("memory", max_steps=14, generator=None), times=1, seed=0, folder=tmp_path / "c"
    )


def test_half_a_checkpoint_of_a_killed_run_is_removed(tiny, digits, tmp_path):
    half = tmp_path / ".step-000000000003.99.partial"
    half.mkdir()
    (half / ".tmpqX3vK1").write_bytes(b"begun by safetensors")
    tiny(checkpoint=tmp_path, generator=None).fit(digits.x_lab, digits.y_lab)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_again_and_again(kind, given, tmp_path):
    kill_and_compare(given(kind), times=3, seed=len(kind), folder=tmp_path / "c")


@pytest.mark.slow
def test_killed_again_and_again_in_bf16(given, tmp_path):
    """What "auto" takes on CPUs that have it in hardware; others compute it as well."""
    run = given("memory", precision="bf16")
    kill_and_compare(run, times=3, seed=16, folder=tmp_path / "c")


if __name__ == "__main__":
    torch.set_num_threads(1)
    fit(json.loads(sys.argv[1]))
