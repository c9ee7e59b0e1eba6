"""Two processes that are killed or told to stop together: they go on as if left alone."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clsgan.checkpoints.file import checkpoint_files, read_newest

STEPS = 8
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
PROGRAM = """
import json, os, signal, sys
import numpy as np
import clsgan.trainer
from clsgan import CLSGANClassifier
given = json.loads(sys.argv[1])
check, steps = clsgan.trainer.update_averages, []
def spy(*args):
    steps.append(1)
    if len(steps) == given["at"] and os.environ["RANK"] in given["ranks"]:
        os.kill(os.getpid(), given["signal"])
    return check(*args)
clsgan.trainer.update_averages = spy
X, y = np.load(given["X"]), np.load(given["y"])
if os.environ["RANK"] in given["backwards"]:
    X = X[::-1].copy()
if os.environ["RANK"] in given["fewer"]:
    X, y = X[:-1], y[:-1]
model = CLSGANClassifier(**given["params"]).fit(X, y, given["U"])
if os.environ["RANK"] == "0" and not model.interrupted_:
    model.save(given["out"])
print(f"rank {os.environ['RANK']} ended after {model.n_steps_} steps {model.interrupted_}")
"""


def launch(folder, params, out="model", at=0, ranks=(), number=0, backwards=(), fewer=()):
    """Train in two processes, of which some get a signal in a step, or other rows than before."""
    (folder / "program.py").write_text(PROGRAM)
    given = {"params": params, "out": str(folder / out), "at": at, "ranks": list(ranks)}
    given |= {"backwards": list(backwards), "fewer": list(fewer)}
    given |= {"signal": int(number), "X": str(folder / "X.npy"), "y": str(folder / "y.npy")}
    text = json.dumps({**given, "U": str(folder / "U.npy")})
    command = [*LAUNCH, str(folder / "program.py"), text]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_two_processes_go_on_bit_for_bit(tiny, digits, tmp_path):
    for name, rows in (("X", digits.x_lab), ("y", digits.y_lab), ("U", digits.x_unl[:200])):
        np.save(tmp_path / f"{name}.npy", rows)
    changes = {"max_steps": STEPS, "augment": "strong", "unlabeled_start": 0.0}
    model = tiny(**changes, validation_fraction=0.2)  # with batch norm: statistics differ
    params = model.get_params()
    kept = {"checkpoint": str(tmp_path / "c"), "checkpoint_every": 0, "resume": True}
    whole = launch(tmp_path, params, "whole")
    assert whole.returncode == 0, whole.stderr[-3000:]

    killed = launch(tmp_path, params | kept, at=4, ranks="01", number=signal.SIGKILL)
    assert killed.returncode != 0 and "ended" not in killed.stdout
    assert checkpoint_files(tmp_path / "c")[-1].name == f"step-{3:012d}.safetensors"
    saved = read_newest(tmp_path / "c")
    own = {name for name in saved.tensors if name.startswith("process.1.")}
    assert any("running_mean" in name for name in own)
    weights = dict(model.fit(digits.x_lab, digits.y_lab).loss_network_.named_parameters())
    assert own and not any(f"process.1.loss_network.{name}" in own for name in weights)

    with pytest.raises(ValueError, match=r"checkpoint of 2 processes, and there is 1"):
        model.set_params(**kept).fit(digits.x_lab, digits.y_lab, str(tmp_path / "U.npy"))

    fewer = launch(tmp_path, params, fewer="1")
    assert fewer.returncode != 0
    assert "process 1 was given other data than process 0: labeled rows 99" in fewer.stderr

    other = launch(tmp_path, params | kept, backwards="1")
    assert other.returncode != 0
    assert "holds a checkpoint of another run: in process 1, X hash was" in other.stderr

    stopped = launch(tmp_path, params | kept, at=2, ranks="1", number=signal.SIGTERM)
    assert stopped.returncode == 0, stopped.stderr[-3000:]
    for rank in range(2):  # only one was told, both stop after the same step
        assert f"rank {rank} ended after 5 steps True" in stopped.stdout

    resumed = launch(tmp_path, params | kept, "resumed")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    before, after = (
        load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed")
    )
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert not list((tmp_path / "c").glob(".*"))
