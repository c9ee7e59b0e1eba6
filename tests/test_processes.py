"""Several processes: they train the model of one, gather whole, and end together."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clsgan.draws import SharedGenerator, own_rows
from clsgan.processes import from_first, gathered, place
from clsgan.run_folder import read_arrays, read_json
from clsgan.schedules import Budget
from clsgan.settings import Settings

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SMALL = [
    "estimator.loss_network=small",
    "estimator.loss_network_options={widths: [8, 8, 16], norm: group}",
    "estimator.generator_options={widths: [16, 8, 8]}",
    *("estimator.latent_dim=8", "estimator.batch_size=32", "estimator.generated_batch_size=32"),
    *("estimator.accelerator=cpu", "estimator.precision='32'", "estimator.unlabeled_start=0.0"),
    *("estimator.hinge_weight=1", "estimator.generator_learning_rate=0.001"),
]
# Few steps: a maximum over a map that rounding gives to another place is a finite change, and so is
# a step of Adam along a gradient that is nothing but rounding (the generator has Adam).
SHORT = [*SMALL, "estimator.max_steps=4", "estimator.time_limit=null"]


def train(launch: list[str], *given: str) -> subprocess.CompletedProcess[str]:
    command = [*launch, "-m", "clsgan", "train", "digits", *given]
    return subprocess.run(command, timeout=300, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_two_processes_train_the_model_of_one(tmp_path: Path) -> None:
    given = [*SHORT, "baselines=[supervised]"]
    runs = {}
    for name, launch in (("one", [sys.executable]), ("two", LAUNCH)):
        runs[name] = train(launch, *given, f"run={tmp_path}/{name}")
        assert runs[name].returncode == 0, runs[name].stderr[-3000:]
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in runs]
    assert weights[0].keys() == weights[1].keys()
    for key, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][key], tensor, rtol=0, atol=1e-5, msg=key)
    results = [read_json(tmp_path / name / "results.json") for name in runs]
    assert [r["processes"] for r in results] == [1, 2]
    for key in ("steps", "n_test"):
        assert results[0]["methods"][0][key] == results[1]["methods"][0][key]
    assert [row["method"] for row in results[1]["methods"]] == ["clsgan", "supervised"]
    tests = [read_arrays(tmp_path / name / "test_predictions.npz") for name in runs]
    assert np.array_equal(tests[0]["y"], tests[1]["y"])
    np.testing.assert_allclose(*(t["probabilities"] for t in tests), atol=1e-4)
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in runs]
    assert len(lines[0]) == len(lines[1]) == 1
    terms = [json.loads(line[0])["labeled"] for line in lines]
    assert terms[0] == pytest.approx(terms[1], abs=1e-5)
    assert runs["two"].stdout.count("test error %") == 1


@pytest.mark.slow
def test_two_processes_learn_the_level_of_one(tmp_path: Path) -> None:
    """In a run of steps so small that rounding stays rounding; the level takes 300 of its own."""
    still = ["estimator.learning_rate=1e-7", "estimator.generator_learning_rate=1e-7"]
    given = [*SMALL, *still, "estimator.max_steps=64", "estimator.time_limit=null", "baselines=[]"]
    weights = []
    for name, launch in (("one", [sys.executable]), ("two", LAUNCH)):
        done = train(launch, *given, f"run={tmp_path}/{name}")
        assert done.returncode == 0, done.stderr[-3000:]
        weights.append(load_file(tmp_path / name / "model" / "model.safetensors"))
    levels = [key for key in weights[0] if "level.output" in key]
    assert levels and all(weights[0][key].abs().max() > 1e-3 for key in levels)
    for key, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][key], tensor, rtol=0, atol=1e-4, msg=key)


@pytest.mark.slow
def test_a_limit_of_seconds_holds_for_all(tmp_path: Path) -> None:
    given = [*SMALL, "estimator.max_steps=null", "estimator.time_limit=3", "baselines=[]"]
    given += ["estimator.loss_network_options={widths: [8, 8, 16]}"]  # batch norm
    done = train(LAUNCH, *given, f"run={tmp_path}/a")
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_json(tmp_path / "a" / "results.json")["methods"][0]["seconds"] < 5


COUNTING = """
import json, sys
import numpy as np
from sklearn.datasets import load_digits
from clsgan import CLSGANClassifier
from clsgan.processes import gathered, place, sent_to_first
from clsgan.streams import Streams
seen, take = [], Streams.next
def counting(self, sizes):
    batch = take(self, sizes)
    seen.append(len(batch.x_lab) + len(batch.x_unl))
    return batch
Streams.next = counting
X, y = load_digits().images.astype("uint8"), load_digits().target
model = CLSGANClassifier(
    loss_network="small", max_steps=4, batch_size=32, unlabeled_start=0.0, random_state=0,
    loss_network_options={"widths": [8, 8, 16], "norm": "group"},
    generator=None, accelerator="cpu", precision="32",
)
model.fit(X[:100], y[:100], X[100:400])
rows, mine = X[1000:1361], []
whole = gathered(lambda part: mine.append(len(part)) or model.predict_loss(part), rows)
told = sent_to_first([place()[1], seen, mine[0], bool((whole == model.predict_loss(rows)).all())])
if place()[0] == 0:
    np.save(sys.argv[1] + ".npy", whole)
    with open(sys.argv[1], "w") as file:
        json.dump(told, file)
"""


def fabric_run() -> list[str]:
    """Fabric's own launcher, with options that `fit` has to itself."""
    pytest.importorskip("click")
    command = Path(sys.executable).with_name("fabric")
    if not command.exists():
        pytest.skip("lightning-fabric has installed no command")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = ["--devices", "2", "--accelerator", "cpu", "--precision", "bf16-mixed"]
    return [str(command), "run", *given, "--main-port", str(port)]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "fabric run"])
def test_a_script_sees_as_many_images_and_gathers_an_odd_number(
    launcher: str, tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(COUNTING)
    launch = LAUNCH if launcher == "torchrun" else fabric_run()
    told = {}
    for name, command in (("one", [sys.executable]), ("two", launch)):
        words = [*command, str(tmp_path / "script.py"), str(tmp_path / name)]
        done = subprocess.run(words, timeout=300, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        told[name] = json.loads((tmp_path / name).read_text())
    assert told["one"] == [[1, [32] * 4, 361, True]]
    assert told["two"] == [[2, [16] * 4, 180, True], [2, [16] * 4, 181, True]]
    losses = [np.load(tmp_path / f"{name}.npy") for name in told]
    np.testing.assert_allclose(*losses, atol=1e-4)


FAILING = """
import os, pathlib, sys, time
from clsgan import trainer
from clsgan.cli import main
steps, update = [], trainer.update_averages
def failing(state):
    steps.append(1)
    if os.environ["RANK"] == "1" and len(steps) == 3:
        pathlib.Path(__file__).with_name("failed").write_text(str(time.time()))
        raise ValueError("rank one broke")
    update(state)
trainer.update_averages = failing
sys.exit(main(sys.argv[1:]))
"""


AT_MOST = 15  # seconds from a failure to the end of all


def end(launched: subprocess.Popen[str]) -> tuple[float, str]:
    """When a launcher ends, which waits for its processes, and what it printed."""
    output = launched.communicate(timeout=200)[0]
    return time.time(), output


def launched(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
    )


@pytest.mark.slow
def test_one_that_fails_ends_the_other_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(FAILING)
    forever = [*SMALL, "estimator.max_steps=1000000", "estimator.time_limit=null"]
    command = [*LAUNCH, str(tmp_path / "program.py"), "train", "digits", *forever]
    ended, output = end(launched([*command, f"run={tmp_path}/a"]))
    assert "clsgan: error (process 1 of 2): rank one broke" in output
    assert ended - float((tmp_path / "failed").read_text()) < AT_MOST, output


KILLED = """
import os, signal, sys
from clsgan import trainer
from clsgan.cli import main
steps, update = [], trainer.update_averages
def killed(state):
    steps.append(1)
    if len(steps) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    update(state)
trainer.update_averages = killed
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_recipe_of_two_that_were_killed_goes_on(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(KILLED)
    given = ["train", "digits", *SHORT, "baselines=[]", "estimator.checkpoint_every=0"]
    command = [*LAUNCH, str(tmp_path / "program.py"), *given, f"run={tmp_path}/a"]
    done = subprocess.run(command, timeout=300, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert (tmp_path / "a" / "checkpoint" / f"step-{2:012d}.safetensors").exists()
    for name in "ab":
        again = train(LAUNCH, *given[2:], f"run={tmp_path}/{name}", "resume=true")
        assert again.returncode == 0, again.stderr[-3000:]
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in "ab"]
    assert all(torch.equal(tensor, weights[1][key]) for key, tensor in weights[0].items())
    lines = (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [4]
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        p.name for p in (tmp_path / "b").iterdir()
    }


@pytest.mark.slow
def test_one_that_is_killed_ends_the_other(tmp_path: Path) -> None:
    forever = [*SMALL, "estimator.max_steps=1000000", "estimator.time_limit=null"]
    launch = launched([*LAUNCH, "-m", "clsgan", "train", "digits", *forever, f"run={tmp_path}/a"])
    metrics = tmp_path / "a" / "metrics.jsonl"
    deadline = time.monotonic() + 150
    while not metrics.exists() and time.monotonic() < deadline and launch.poll() is None:
        time.sleep(0.2)
    children = Path(f"/proc/{launch.pid}/task/{launch.pid}/children").read_text().split()
    second = next(pid for pid in children if rank_of(pid) == "1")
    os.kill(int(second), signal.SIGKILL)
    killed = time.time()
    ended, output = end(launch)
    assert launch.returncode != 0 and ended - killed < AT_MOST, output
    assert f"pid: {second}" in output or "process is gone" in output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_launcher_that_is_stopped_leaves_a_model(number: int, tmp_path: Path) -> None:
    forever = [*SMALL, "estimator.max_steps=1000000", "estimator.time_limit=null"]
    launch = launched([*LAUNCH, "-m", "clsgan", "train", "digits", *forever, f"run={tmp_path}/a"])
    metrics = tmp_path / "a" / "metrics.jsonl"
    deadline = time.monotonic() + 150
    while not metrics.exists() and time.monotonic() < deadline and launch.poll() is None:
        time.sleep(0.2)
    launch.send_signal(number)
    told = time.time()
    ended, output = end(launch)
    assert launch.returncode != 0 and ended - told < 30, output
    assert (tmp_path / "a" / "model" / "model.safetensors").exists(), output
    last = sorted((tmp_path / "a" / "checkpoint").glob("step-*"))[-1].name
    assert output.count(f"Ctrl-C after step {int(last[5:17])};") == 2


def rank_of(pid: str) -> str | None:
    found = re.search(rb"(?:^|\0)RANK=(\d+)\0", Path(f"/proc/{pid}/environ").read_bytes())
    return None if found is None else found[1].decode()


def test_alone_everything_is_as_it_is() -> None:
    assert place() == (0, 1) and from_first(lambda: [1]) == [1]
    rows = np.arange(6).reshape(3, 2)
    assert gathered(lambda x: x + 1, rows).tolist() == (rows + 1).tolist()


@pytest.mark.parametrize("world_size", [2, 3])
def test_draws_are_those_of_one_process(world_size: int) -> None:
    alone = torch.Generator().manual_seed(5)
    shared = [SharedGenerator(torch.device("cpu"), r, world_size) for r in range(world_size)]
    for generator in shared:
        generator.manual_seed(5)
    for count in (4, 1, 7):
        whole = torch.randn((count * world_size, 2), generator=alone)
        for rank, generator in enumerate(shared):
            mine = own_rows(
                generator, count, lambda n, g=generator: torch.randn((n, 2), generator=g)
            )
            assert torch.equal(mine, whole[rank::world_size])
    states: list[Any] = [generator.get_state() for generator in shared]
    assert all(torch.equal(state, alone.get_state()) for state in states)


def test_a_budget_goes_by_the_seconds_that_are_agreed() -> None:
    told = iter([0.0, 3.0, 0.0, 3.5, 0.0, 5.0, 0.0])  # elapsed, and what is kept back
    budget = Budget(time_limit=4.0, agree=lambda own: next(told))
    assert not budget.is_spent(0) and not budget.is_spent(10)
    assert budget.progress(10) == budget.progress(10) == 0.75
    assert not budget.is_spent(20) and budget.is_spent(21)


def test_batches_that_cannot_be_shared_are_refused() -> None:
    from clsgan.objectives import OBJECTIVES

    settings = Settings(OBJECTIVES["default"], batch_size=64, generated_batch_size=33)
    settings.check_shares(1)
    with pytest.raises(ValueError, match=r"generated_batch_size=33 .* by 2 processes"):
        settings.check_shares(2)
    settings = Settings(OBJECTIVES["default"], batch_size=12, generated_batch_size=0)
    settings.check_shares(2)
    with pytest.raises(ValueError, match="3 labeled and 9 unlabeled rows"):
        settings.check_shares(2, has_unlabeled=True)
    settings.check_shares(3, has_unlabeled=True)
    sizes = settings.sizes(1.0, has_unlabeled=True, world_size=3)
    assert (sizes.labeled, sizes.unlabeled, sizes.generated) == (1, 3, 0)
