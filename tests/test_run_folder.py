"""A run folder is numbered, never overwritten, and its files are whole or absent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clsgan.run_folder import (
    CONFIG,
    choose_run_folder,
    discard_unstarted,
    model_folder,
    read_arrays,
    read_json,
    write_arrays,
    write_bytes,
    write_json,
)
from clsgan.runlog import METRICS_FILE


def test_folders_are_numbered_after_the_greatest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert choose_run_folder("digits") == Path("runs/digits-1")
    assert not Path("runs").exists()
    for name in ("digits-2", "digits-10", "digits-x", "cifar10-40-3"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert choose_run_folder("digits") == Path("runs/digits-11")
    assert choose_run_folder("cifar10") == Path("runs/cifar10-1")


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    assert choose_run_folder("digits", tmp_path) == tmp_path  # empty: fine
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty, and a run never overwrites"):
        choose_run_folder("digits", tmp_path)
    with pytest.raises(FileExistsError, match="is a file"):
        choose_run_folder("digits", tmp_path / "precious.txt")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    write_json(file, {"error": 0.5})
    with pytest.raises(ValueError):
        write_json(file, {"error": float("nan")})
    with pytest.raises(TypeError):
        write_bytes(file, "no bytes")  # type: ignore[arg-type]
    assert read_json(file) == {"error": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_json_keeps_rows_of_numbers_on_one_line(tmp_path: Path) -> None:
    content = {"a": [[1, -2], [0.5, 1e-9]], "names": ["1", "[ 2, 3 ]"], "none": [], "x": [None]}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == content
    assert "[1, -2]" in text


def test_arrays_come_back_without_pickle(tmp_path: Path) -> None:
    names = np.array(["cat", "dog"], dtype=object)
    write_arrays(tmp_path / "a.npz", names=names, rows=[1, 2], split="digits.seed0@100")
    arrays = read_arrays(tmp_path / "a.npz")
    assert arrays["names"].tolist() == ["cat", "dog"] and arrays["names"].dtype.kind == "U"
    assert str(arrays["split"]) == "digits.seed0@100"


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no run folder .*nowhere"):
        model_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no model: it is no run folder"):
        model_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to write a\.json"):
        write_json(tmp_path / "nowhere" / "a.json", {})
    (tmp_path / "a.json").write_text('{"error": 0.')
    with pytest.raises(ValueError, match=r"a\.json is not JSON"):
        read_json(tmp_path / "a.json")


def test_a_run_that_has_metrics_is_not_discarded(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text("name: digits")
    (tmp_path / METRICS_FILE).write_text('{"step": 1}\n')
    discard_unstarted(tmp_path)
    assert (tmp_path / CONFIG).exists()
    (tmp_path / METRICS_FILE).unlink()
    (tmp_path / "precious.txt").write_text("mine")
    discard_unstarted(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
