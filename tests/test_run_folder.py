"""A run folder is numbered, never overwritten, and its files are whole or absent."""

from __future__ import annotations

import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsgan.run_folder import (
    CONFIG,
    POOL_INDEX,
    claim_run_folder,
    discard_unstarted,
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
    first = Path("runs/digits-1")
    assert claim_run_folder("digits") == (first, [first, Path("runs")]) and first.is_dir()
    for name in ("digits-2", "digits-10", "digits-x", "cifar10-40-3"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert claim_run_folder("digits") == (Path("runs/digits-11"), [Path("runs/digits-11")])
    assert claim_run_folder("cifar10")[0] == Path("runs/cifar10-1")


def test_a_number_that_another_run_took_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("digits-1", "digits-2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", lambda folder: [])  # as it was a moment ago
        assert claim_run_folder("digits")[0] == Path("runs/digits-3")


def test_runs_at_once_get_a_folder_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: claim_run_folder("digits")[0], range(40)))
    assert len(set(claimed)) == 40 and all(folder.is_dir() for folder in claimed)


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    assert claim_run_folder("digits", folder) == (folder, [])  # empty: fine
    with pytest.raises(FileExistsError, match="not empty, and a run never overwrites"):
        claim_run_folder("digits", folder)  # by another run, at the same time
    (folder / CONFIG).rename(folder / "precious.txt")
    with pytest.raises(FileExistsError, match="not empty, and a run never overwrites"):
        claim_run_folder("digits", folder)
    with pytest.raises(FileExistsError, match="is a file"):
        claim_run_folder("digits", folder / "precious.txt")
    assert [path.name for path in folder.iterdir()] == ["precious.txt"]


def test_one_of_two_runs_at_once_gets_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_run_folder("digits", tmp_path)
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([]))  # as it was a moment ago
    with pytest.raises(FileExistsError, match="not empty, and a run never overwrites"):
        claim_run_folder("digits", tmp_path)


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


def test_json_keeps_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    content = {"skipped": [["caf\udce9.png", "é"]]}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content


def test_arrays_come_back_without_pickle(tmp_path: Path) -> None:
    names = np.array(["cat", "dog"], dtype=object)
    write_arrays(tmp_path / "a.npz", names=names, rows=[1, 2], split="digits.seed0@100")
    arrays = read_arrays(tmp_path / "a.npz")
    assert arrays["names"].tolist() == ["cat", "dog"] and arrays["names"].dtype.kind == "U"
    assert str(arrays["split"]) == "digits.seed0@100"


@pytest.mark.parametrize("name", ["labels.npz", "results.json"])
def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, name: str) -> None:
    write_arrays(tmp_path / "own.npz", rows=[1, 2])
    write_json(tmp_path / "own.json", {"error": 0.5})
    read = read_json if name.endswith("json") else read_arrays
    for target in (tmp_path / f"own{Path(name).suffix}", tmp_path / "nowhere"):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(ValueError, match=f"{name} is a link; a run folder holds its files"):
            read(tmp_path / name)
        (tmp_path / name).unlink()


def bomb(path: Path, header: str, n_bytes: int) -> None:
    """An .npz of one array of zeros with a header of one's own."""
    head = header.encode().ljust(117) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("a.npy", "w") as to:
        to.write(npy)
        for _ in range(n_bytes // 2**20):
            to.write(bytes(2**20))


def test_a_decompression_bomb_is_not_unpacked(tmp_path: Path) -> None:
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }"
    bomb(tmp_path / "a.npz", header % 2**26, 2**26)
    assert (tmp_path / "a.npz").stat().st_size < 2**17
    with pytest.raises(ValueError, match=r"a\.npz is trunc.*: it declares \d{8} bytes"):
        read_arrays(tmp_path / "a.npz")
    bomb(tmp_path / "b.npz", header % 2**24, 2**24)
    assert read_arrays(tmp_path / "b.npz")["a"].shape == (2**24,), "what is small may be dense"


def test_an_array_that_declares_more_than_it_holds(tmp_path: Path) -> None:
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    bomb(tmp_path / "a.npz", header, 2**20)
    with pytest.raises(ValueError, match=r"a\.npy declares more than it holds: \(1000000, "):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_arrays_are_named(tmp_path: Path, share: float) -> None:
    write_arrays(tmp_path / "a.npz", rows=np.arange(1000))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"a\.npz is truncated or corrupt"):
        read_arrays(tmp_path / "a.npz")


def test_arrays_with_a_byte_turned_are_named(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", rows=np.random.default_rng(0).random(1000))
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    for place in (30, 200, 4000):  # of the header, and of what is packed
        spoilt = bytearray(whole)
        spoilt[place] ^= 0xFF
        (tmp_path / "a.npz").write_bytes(spoilt)
        with pytest.raises(ValueError, match=r"a\.npz is truncated or corrupt"):
            read_arrays(tmp_path / "a.npz")


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"a\.npz is truncated or corrupt: Object arrays"):
        read_arrays(tmp_path / "a.npz")


def test_a_disk_that_is_full_names_the_file(tmp_path: Path, full_disk: Any) -> None:
    write_json(tmp_path / "a.json", {"error": 0.5})
    told = pytest.raises(OSError, match=r"a\.json cannot be written: .*too large")
    with full_disk(1000), told:
        write_json(tmp_path / "a.json", {"names": ["x"] * 1000})
    assert read_json(tmp_path / "a.json") == {"error": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no a\.json: it is no run folder"):
        read_json(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to write a\.json"):
        write_json(tmp_path / "nowhere" / "a.json", {})
    (tmp_path / "a.json").write_text('{"error": 0.')
    with pytest.raises(ValueError, match=r"a\.json is not JSON"):
        read_json(tmp_path / "a.json")


def test_a_run_that_has_metrics_is_not_discarded(tmp_path: Path) -> None:
    folder, made = claim_run_folder("digits", tmp_path / "a")
    (folder / METRICS_FILE).write_text('{"step": 1}\n')
    discard_unstarted(folder, made)
    assert (folder / CONFIG).exists()
    (folder / METRICS_FILE).unlink()
    (folder / "precious.txt").write_text("mine")
    discard_unstarted(folder, made)
    assert [path.name for path in folder.iterdir()] == ["precious.txt"]


def test_only_folders_made_for_the_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    discard_unstarted(*claim_run_folder("digits", tmp_path / "mine"))
    discard_unstarted(*claim_run_folder("digits", tmp_path / "mine" / "a" / "b"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert list((tmp_path / "mine").iterdir()) == []


def test_the_index_of_a_pool_goes_with_a_run_that_never_began(tmp_path: Path) -> None:
    folder, made = claim_run_folder("digits", tmp_path / "a")
    (folder / POOL_INDEX).touch()
    discard_unstarted(folder, made)
    assert list(tmp_path.iterdir()) == []
