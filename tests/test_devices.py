"""Devices, precisions, and global state that is left as it was found."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clsgan.devices import (
    autocast_for,
    choose_device,
    choose_precision,
    flushed_denormals,
    has_hardware_bf16,
    make_fabric,
    matmul_kind,
    seeded,
)
from clsgan.threads import share_rounding

DENORMAL = 1e-39


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="reads /proc/cpuinfo of x86"
)
@pytest.mark.skipif(not hasattr(torch.cpu, "get_capabilities"), reason="needs a newer torch")
def test_bf16_of_the_cpu_agrees_with_the_kernel() -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith("flags")).split()
    assert has_hardware_bf16("cpu") == bool({"amx_bf16", "avx512_bf16"} & set(flags))


@pytest.mark.parametrize(
    ("capabilities", "kind"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_tile": True}, "float32"),
        ({"avx512_bf16": True}, "bf16"),
        ({"avx512_bf16": True, "amx_bf16": True}, "amx"),
        ({"amx_bf16": True}, "amx"),
        ({"neon": True, "bf16": True}, "bf16"),
        ({}, "float32"),
    ],
)
def test_bf16_of_other_cpus(monkeypatch, capabilities, kind) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    expected = kind != "float32"
    assert has_hardware_bf16("cpu") is expected
    assert matmul_kind(in_bf16=True) == kind and matmul_kind(in_bf16=False) == "float32"
    assert choose_precision("auto", "cpu") == ("bf16-mixed" if expected else "32-true")


def test_bf16_is_not_claimed_where_torch_does_not_tell(monkeypatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert has_hardware_bf16("cpu") is False


def test_precision_of_rows_and_by_name() -> None:
    assert choose_precision("auto", "cpu", is_image=False) == "32-true"
    assert choose_precision("32", "cpu") == choose_precision("auto", "mps") == "32-true"
    assert choose_precision("bf16", "cpu", is_image=False) == "bf16-mixed"
    assert choose_precision("16", "cuda") == "16-mixed"


def test_precision_16_on_a_cpu_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="precision='16' needs a GPU; on a CPU choose 'auto'"):
        choose_precision("16", "cpu")


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"precision='bf1' .*did you mean 'bf16'.*'auto'"):
        choose_precision("bf1", "cpu")
    with pytest.raises(ValueError, match=r"precision=32 is not known"):
        choose_precision(32, "cpu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"accelerator='cudda'.*did you mean 'cuda'"):
        choose_device("cudda")


def test_devices_that_are_not_there(monkeypatch) -> None:
    assert choose_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    for name in ("cuda", "mps"):
        with pytest.raises(ValueError, match=rf"{name}'?: no such device; found \['cpu'\]"):
            choose_device(name)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"


def test_seeded_repeats_and_leaves_no_trace(global_randomness_untouched) -> None:
    draws = []
    for seed in (0, 0, 1):
        with seeded(seed):
            draws.append(torch.rand(4))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_seeded_leaves_no_trace_when_the_block_fails(global_randomness_untouched) -> None:
    with pytest.raises(KeyError), seeded(0):
        torch.rand(1)
        raise KeyError


@pytest.mark.parametrize("device_type", ["cuda", "mps"])
def test_seeded_covers_the_device(monkeypatch, device_type) -> None:
    device, calls = getattr(torch, device_type), []
    monkeypatch.setattr(device, "get_rng_state", lambda: "found")
    monkeypatch.setattr(device, "manual_seed", calls.append)
    monkeypatch.setattr(device, "set_rng_state", calls.append)
    with seeded(7, device_type):
        assert calls == [7]
    assert calls == [7, "found"]


@pytest.fixture
def denormals() -> bool:
    """Whether this thread keeps denormals; set so, and back afterwards."""
    was_on = float(torch.tensor(DENORMAL) * 1) == 0
    if not torch.set_flush_denormal(False):
        pytest.skip("this CPU cannot flush denormals")
    yield
    torch.set_flush_denormal(was_on)


def test_denormals_are_flushed_inside_only(denormals) -> None:
    small = torch.tensor(DENORMAL)
    assert float(small * 1) > 0
    with flushed_denormals():
        assert float(small * 1) == 0
    assert float(small * 1) > 0
    with pytest.raises(KeyError), flushed_denormals():
        raise KeyError
    assert float(small * 1) > 0


@pytest.fixture
def two_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    if not share_rounding():
        pytest.skip("this torch has another OpenMP than GNU's")
    yield
    torch.set_num_threads(before)


def kept_by_part(small: torch.Tensor) -> list[bool]:
    """Whether denormals are kept in each eighth of a tensor that two threads multiply."""
    bits = (small * 1).view(torch.int32)  # a thread that flushes sees zeros
    return [bool((part != 0).all()) for part in bits.chunk(8)]


def test_denormals_are_flushed_in_worker_threads_and_inside_only(denormals, two_threads) -> None:
    small = torch.full((2**18,), DENORMAL)
    assert kept_by_part(small) == [True] * 8  # workers are there now, and keep them
    with flushed_denormals():
        assert kept_by_part(small) == [False] * 8
        torch.set_num_threads(4)  # those of the ThreadTuner, started inside
        assert kept_by_part(small) == [False] * 8
        torch.set_num_threads(2)
    assert kept_by_part(small) == [True] * 8
    with pytest.raises(KeyError), flushed_denormals():
        raise KeyError
    assert kept_by_part(small) == [True] * 8


FORKED = """
import os, torch
from clsgan.devices import flushed_denormals
torch.set_num_threads(2)
with flushed_denormals():
    torch.ones(2**20) * 2
child = os.fork()
with flushed_denormals():
    done = float(torch.tensor(1e-39) * 1) == 0
if child == 0:
    os._exit(0 if done else 1)
print("child ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_waits_for_no_workers_of_its_parent() -> None:
    command = [sys.executable, "-c", FORKED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "child ended with 0\n"


def test_flushing_that_was_on_stays_on(denormals) -> None:
    small = torch.tensor(DENORMAL)
    torch.set_flush_denormal(True)
    with flushed_denormals():
        pass
    assert float(small * 1) == 0


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", None), ("bf16-mixed", "bfloat16")])
def test_predictions_run_as_training_did(precision, dtype) -> None:
    make = autocast_for(precision, "cpu")
    for _ in range(2):  # a new context each time
        with make():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == getattr(torch, dtype or "float32")


def test_fabric_runs_in_this_process(global_randomness_untouched) -> None:
    fabric = make_fabric("cpu", "bf16-mixed")
    assert (fabric.world_size, fabric.global_rank, fabric.device.type) == (1, 0, "cpu")
    with fabric.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
