"""The doctor tells what is there, and what is not with the line that installs it."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import pytest
import torch

from clsgan import doctor as module
from clsgan.doctor import doctor, machine, peak_memory_mb, versions


def findings(text: str) -> dict[str, str]:
    return {
        name.strip(): finding.strip()
        for name, finding in (line.split(":", 1) for line in text.splitlines())
    }


def test_versions_are_the_installed_ones() -> None:
    found = findings(doctor())
    assert found["torch"] == metadata.version("torch") == versions()["torch"]
    assert found["lightning-fabric"] == metadata.version("lightning-fabric")
    assert found["python"].startswith(platform.python_version())


def test_device_and_precision_are_those_the_estimator_would_choose() -> None:
    found = findings(doctor())
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert found["device auto"] == "cpu"
    has_bf16 = found["bf16 hardware"] != "none"
    assert ("bf16" in found["precision auto"]) == has_bf16


def test_data_sets_are_found_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = findings(doctor(tmp_path))
    assert found["data digits"] == "comes with scikit-learn"
    assert found["data svhn"] == f"not here: clsgan prepare svhn --root {tmp_path}"
    for name in ("train_32x32.mat", "test_32x32.mat"):
        (tmp_path / name).touch()
    assert findings(doctor(tmp_path))["data svhn"] == str(tmp_path)
    monkeypatch.setenv("CLSGAN_DATA", str(tmp_path / "none"))
    assert findings(doctor())["data svhn"] == "not here: clsgan prepare svhn"


def test_missing_packages_come_with_their_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["torch>=2", "torch-fidelity>=0.4; extra == 'metrics'", "timm>=1.0", "a[b]", "c<2,>=1"]
    there = {"clsgan": "0.1.0", "torch": "2.14"}
    monkeypatch.setattr(module.metadata, "requires", lambda name: needs)
    monkeypatch.setattr(module, "_version", there.get)
    found = findings(doctor())
    fidelity = "torch-fidelity: pip install 'torch-fidelity>=0.4'"
    assert found["missing for [metrics]"] == fidelity
    assert found["MISSING"] == "timm, a, c: pip install 'timm>=1.0' 'a[b]' 'c<2,>=1'"
    assert "pip install clsgan" not in doctor() and "clsgan[" not in doctor()
    assert found["timm"] == "MISSING"


def test_facts_are_numbers() -> None:
    facts = machine()
    assert facts["cores"] >= 1 and facts["threads"] == torch.get_num_threads()
    assert facts["processor"] and facts["precision"]
    before = peak_memory_mb().get("process")
    if before is not None:
        held = bytearray(300_000_000)
        assert peak_memory_mb()["process"] >= before > 50
        del held
