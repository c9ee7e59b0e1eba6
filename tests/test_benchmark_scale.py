"""The benchmark of pools on disk: it makes what it says, measures in processes, and cleans up."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsgan.pools.tar_shards import find_shards, read_shard

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def scale() -> Iterator[Any]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("scale")
    sys.path.remove(str(BENCHMARKS))


def test_pools_have_the_size_asked_for(
    scale: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "DISTINCT", 30)
    monkeypatch.setattr(scale, "SHARD_IMAGES", 40)
    mapped = np.load(scale.make_memmap(tmp_path, 70), mmap_mode="r")
    assert mapped.shape == (70, 16, 16) and mapped[30:60].tolist() == mapped[:30].tolist()
    assert mapped[69].any()
    shards = find_shards(scale.make_shards(tmp_path, 70))
    assert [sum(1 for _ in read_shard(shard)) for shard in shards] == [40, 30]


@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is Linux's")
def test_anonymous_memory_counts_what_is_held_not_what_is_mapped(
    scale: Any, tmp_path: Path
) -> None:
    mapped = np.load(scale.make_memmap(tmp_path, 100_000), mmap_mode="r")
    with scale.watched() as seen:
        assert mapped.sum() > 0
    before = scale.anonymous_mb()
    held = np.ones(300_000_000, np.uint8)  # more than what earlier blocks may have left
    assert 200 < scale.anonymous_mb() - before < 330 and held[-1]
    assert max(seen) - seen[0] < 20  # the file has 25.6 MB


@pytest.mark.slow
def test_a_round_is_measured_and_leaves_nothing(scale: Any, tmp_path: Path) -> None:
    (tmp_path / "pools").mkdir()
    given = ["--sizes", "300", "600", "--steps", "2", "--repeats", "1"]
    out = tmp_path / "a.json"
    assert scale.main([*given, "--folder", str(tmp_path / "pools"), "--out", str(out)]) == 0
    rows = json.loads(out.read_text())["results"]
    assert [(row["kind"], row["size"]) for row in rows] == [
        *(("memmap", 300), ("memmap", 600)),
        *(("shards", 300), ("shards", 600)),
    ]
    assert all(row["runs"][0]["images_per_second"] > 0 for row in rows)
    assert rows[0]["anonymous_mb_ratio"] == 1.0 and list((tmp_path / "pools").iterdir()) == []
