"""The speed benchmark: what it writes, and that its bare loop does the work of `fit`."""

import argparse
import copy
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from clsgan import CLSGANClassifier
from clsgan.defaults import choose_network_options, resolve_settings
from clsgan.devices import make_fabric
from clsgan.inputs import InputSpec
from clsgan.streams import Batch
from clsgan.train_state import (
    prepare_state,
    set_learning_rates,
    update_averages,
    update_generator_averages,
)
from clsgan.trainer import update_generator, update_loss_network

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TINY = {"widths": (8, 8, 16)}


@pytest.fixture(scope="module")
def parts() -> Iterator[Any]:
    """The modules of the benchmark, which import each other as scripts do."""
    names = ("sides", "bare_loop", "shares", "step")
    sys.path.insert(0, str(BENCHMARKS))
    yield argparse.Namespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(str(BENCHMARKS))


@pytest.mark.usefixtures("global_randomness_untouched")
def test_writes_every_comparison(
    parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parts.step, "IMPORTS", ("import json", "import json"))
    monkeypatch.setattr(parts.sides, "WIDTHS", TINY["widths"])
    monkeypatch.setattr(parts.shares, "NETWORKS", {"tiny": ("small", TINY, 2, ">= 0.40")})
    out = tmp_path / "results" / "step.json"
    toy = ["--images", "64", "--steps", "3", "--repeats", "2", "--size", "8", "--batch-size", "16"]
    assert parts.step.main([*toy, "--matmul-size", "32", "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    facts = {"commit", "date", "machine", "options", "versions"}
    assert facts | {"results", "networks", "terms"} == written.keys()
    assert {"processor", "cores", "threads", "bf16"} <= written["machine"].keys()
    assert written["options"]["steps"] == 3
    names = {"fit", "bf16", "predict", "predict_ready", "import"}
    assert written["results"].keys() == names
    for row in (row for key in ("results", "networks", "terms") for row in written[key].values()):
        assert row["min"] <= row["ratio"] <= row["max"]
        assert len(row["pairs"]) == 2
        assert row["a"] > 0 and row["b"] > 0
    targets = {name: written["results"][name]["target"] for name in names}
    assert targets["fit"] == targets["predict"] == ">= 0.95"
    assert targets["import"] == "<= 1.2"
    tiny = written["networks"]["tiny"]
    assert (tiny["options"], tiny["batch_size"]) == ({"widths": [8, 8, 16]}, 8)
    assert tiny["images_per_second"] * tiny["flop_per_image"] == pytest.approx(1e12 * tiny["a"])
    shown = capsys.readouterr().out
    assert "fit / bare loop" in shown and "tiny / matmul" in shown and "teacher pass" in shown


def test_measures_only_what_is_asked(
    parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    for name in ("results", "networks", "terms"):
        measure = lambda problem, side, repeats, name=name: calls.append((name, side)) or {}  # noqa: E731
        monkeypatch.setitem(parts.step.PARTS, name, measure)
    out = tmp_path / "step.json"
    assert parts.step.main(["--images", "20", "--only", "terms", "--out", str(out)]) == 0
    assert calls == [("terms", 4096)]
    written = json.loads(out.read_text())
    assert "terms" in written and "results" not in written and "networks" not in written


def test_ratios_are_those_of_neighbours_without_the_first_pair(parts: Any) -> None:
    a, b = iter([99.0, 1.0, 6.0, 4.0]), iter([1.0, 2.0, 2.0, 4.0])
    row = parts.sides.paired(lambda: next(a), lambda: next(b), repeats=3)
    assert row["pairs"] == [[1.0, 2.0], [6.0, 2.0], [4.0, 4.0]]
    assert (row["ratio"], row["min"], row["max"]) == (1.0, 0.5, 3.0)
    assert (row["a"], row["b"]) == (4.0, 2.0)


# The bare loop against `fit`


def test_settings_are_the_defaults_for_many_rows(parts: Any) -> None:
    params, spec = CLSGANClassifier().get_params(), InputSpec((3, 32, 32), "NHWC", "uint8")
    settings = resolve_settings(params, spec, n_rows=20_000)
    problem, bare = parts.sides.Problem(20, 8, settings.batch_size, 1), parts.bare_loop
    assert choose_network_options(params, spec, 20_000) == {"widths": list(parts.sides.WIDTHS)}
    assert (problem.batch, problem.generated) == (256, settings.generated_batch_size)
    assert settings.generator_interval == parts.sides.GENERATOR_INTERVAL
    assert (settings.optimizer, settings.schedule, settings.noise) == ("sgd", "linear", "normal")
    assert settings.unlabeled_share == bare.UNLABELED_SHARE
    assert settings.unlabeled_start == bare.UNLABELED_START
    assert settings.learning_rate == bare.LEARNING_RATE
    assert settings.generator_learning_rate == bare.GENERATOR_LEARNING_RATE
    assert settings.weight_decay == bare.WEIGHT_DECAY
    assert settings.generator_weight_decay == 0
    assert settings.average_decay == bare.AVERAGE_DECAY
    assert settings.latent_dim == bare.LATENT


SHORT_INTERVAL = 4  # of generated rows, for runs of five steps
# The first network has a level, on 64 of 80 rows; margins train the whole of the second.
CASES = [("small", TINY, 8, 160), ("small", TINY, 8, 16), ("paper", {}, 4, 8)]


@pytest.mark.parametrize(("network", "options", "side", "batch"), CASES)
def test_bare_loop_multiplies_as_much_as_fit(
    parts: Any, network: str, options: dict[str, Any], side: int, batch: int
) -> None:
    """Operations of five more steps, so that what `fit` does before them cancels out."""

    def operations(train: Callable[..., object]) -> dict[Any, int]:
        totals = []
        for steps in (15, 20):
            problem = parts.sides.Problem(200, side, batch, steps, network, options)
            with FlopCounterMode(display=False) as counter:
                train(problem, "32")
            totals.append(counter.get_flop_counts()["Global"])
        return {kind: count - totals[0].get(kind, 0) for kind, count in totals[1].items()}

    # 15 steps: 1 with generated and 12 with unlabeled rows; 20 steps: 2 and 16.
    of_fit = operations(parts.sides.fitted)
    assert of_fit == operations(parts.bare_loop.bare_speed)
    assert sum(of_fit.values()) > 0


def test_bare_loop_comes_to_the_weights_of_the_trainer(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same rows: five steps, of which two have generated and four unlabeled rows."""
    monkeypatch.setattr(parts.bare_loop, "GENERATOR_INTERVAL", SHORT_INTERVAL)
    problem = parts.sides.Problem(200, 8, 160, 5, options=TINY)
    bare, batches = parts.bare_loop.Bare(problem, "32"), []
    start = copy.deepcopy((bare.network, bare.generator))
    bare.augment = keep  # of generated rows
    for step in range(5):
        rows = parts.bare_loop.draw(bare, step)
        batches.append(rows)
        parts.bare_loop.train_on(bare, rows, step)
    state = trained(start, batches, bare.prior)
    assert_same(bare.network, state.loss_network.module)
    assert_same(bare.generator, state.generator.module)
    assert_same(bare.teacher, state.average_loss_network.module)
    assert bare.level.output.weight.abs().max() > 0, "it starts at 0"
    assert torch.allclose(bare.teacher_classes, state.teacher_classes)


def keep(x: torch.Tensor, generator: object = None) -> torch.Tensor:
    return x


def trained(start: Any, batches: list[Any], prior: torch.Tensor) -> Any:
    """What the trainer's own steps on these rows lead to."""
    params = CLSGANClassifier(generator_interval=SHORT_INTERVAL).get_params()
    settings = resolve_settings(params, InputSpec((3, 8, 8), "NHWC", "uint8"), n_rows=20_000)
    fabric = make_fabric("cpu", "32-true")
    state = prepare_state(fabric, *start, settings)
    streams: Any = argparse.Namespace(generated_augment=keep, generator=None)
    for step, rows in enumerate(batches):
        set_learning_rates(state, settings, step / len(batches), 20_000)
        y_gen = rows.y[: len(rows.z)]
        batch = Batch(
            *(rows.x_lab, rows.y, rows.x_unl, rows.plain, rows.z, y_gen, prior),
            x_lab_plain=rows.plain_lab,
        )
        made = None if step % settings.generator_interval else state.generator(rows.z, y_gen)
        given = (fabric, state, streams, batch, made, settings)
        update_loss_network(*given, progress=step / len(batches))
        if made is not None:
            update_generator(*given)
        update_averages(state)
        update_generator_averages(state)
        state.step += 1
    return state


def assert_same(bare: torch.nn.Module, trainer: torch.nn.Module) -> None:
    expected = trainer.state_dict()
    for name, value in bare.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(
                value, expected[name], msg=lambda text, n=name: f"{n}: {text}"
            )


# Where a step's time goes


def test_operations_of_the_parts_of_a_step(parts: Any) -> None:
    problem = parts.sides.Problem(200, 8, 160, 17, options=TINY)
    operations, whole = parts.shares.step_operations(problem)
    assert operations.keys() == parts.shares.TERMS.keys()
    assert sum(operations.values()) == whole > 0, "every product is in one of the parts"
    assert operations["optimiser"] == 0
    # Of each row: one forward pass of the teacher; forward and backward, of about twice that.
    per_teacher_row = operations["teacher"] / (13 * 80)
    assert 2 < operations["real"] / (17 * 160) / per_teacher_row < 3.1
    # Level: the averaged network's forward pass of 64 labeled and 20 generated rows, then of 64
    # unlabeled rows too, and little beside it.
    rows = (64 + 20) + (64 + 64 + 20)
    assert 1 <= operations["level"] / rows / per_teacher_row < 1.1


def test_seconds_of_the_parts_make_up_a_step(parts: Any) -> None:
    problem = parts.sides.Problem(200, 8, 16, 5, options=TINY)
    seconds, whole = parts.shares.steps_read(problem, time.process_time)  # not of neighbours
    assert all(value > 0 for value in seconds.values())
    assert 0.5 * whole < sum(seconds.values()) <= whole


def test_shares_of_terms_and_networks(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of 5 s with 3 GFLOP on real rows in 4 s, on a machine that does 1.5 GFLOP/s."""
    shares, none = parts.shares, dict.fromkeys(parts.shares.TERMS, 0.0)
    monkeypatch.setattr(shares, "step_operations", lambda problem: (none | {"real": 6e9}, 8e9))
    monkeypatch.setattr(shares, "step_seconds", lambda problem: (none | {"real": 8.0}, 10.0))
    monkeypatch.setattr(shares, "matmul_rate", lambda side, device: 1.5e9)
    problem = parts.sides.Problem(20, 8, 16, 2)
    rows = shares.term_rows(problem, 32, repeats=1)
    real, teacher = rows["real"], rows["teacher"]
    assert (real["ratio"], real["a"], real["b"]) == (0.8, 4.0, 5.0)
    assert (real["flop_per_step"], real["matmul_share"]) == (3e9, 0.5)
    assert (teacher["ratio"], teacher["matmul_share"]) == (0, 0)
    fit = argparse.Namespace(images_per_second_=6.0)  # of 8e9 / (2 * 16) operations each
    monkeypatch.setattr(shares, "fitted", lambda problem, precision: fit)
    row = shares.network_row("small", problem, 32, repeats=1)
    assert row["ratio"] == pytest.approx(1.0)
    assert row["images_per_second"] == pytest.approx(6.0)


def test_matmul_rate_counts_multiplications_and_additions(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([1.0, 3.0])
    monkeypatch.setattr(parts.shares, "clock", lambda device: next(seconds))
    with FlopCounterMode(display=False) as counter:
        rate = parts.shares.matmul_rate(16, "cpu")
    counted = counter.get_total_flops() * parts.shares.PRODUCTS / (parts.shares.PRODUCTS + 1)
    assert rate == pytest.approx(counted / 2)


@pytest.mark.parametrize("name", ["small_32_64_128", "wide_resnet_28_2", "paper"])
def test_networks_can_be_built(parts: Any, name: str) -> None:
    network, options, divisor, _ = parts.shares.NETWORKS[name]
    problem = parts.sides.Problem(20, 8, 256 // divisor, 1, network, options)
    bare = parts.bare_loop.Bare(problem, "32")
    assert (bare.level is None) == (name == "paper")
    assert problem.generated == 32 // divisor
