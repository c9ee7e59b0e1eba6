"""`clsgan pack`, and `predict` and `features` on shards: whole, in several sittings."""

import copy
import csv
import io
import json
import os
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from clsgan.cli import main
from clsgan.estimator import CLSGANClassifier
from clsgan.pools import bulk, packing
from clsgan.pools.bulk import feature_shards, predict_shards
from clsgan.pools.packing import pack_folder
from clsgan.pools.tar_shards import count_samples, find_shards, read_shard
from clsgan.run_folder import write_arrays

N, PER_SHARD = 23, 5


@pytest.fixture
def photos(tmp_path):
    """23 files in a tree; two of one stem, one with dots in its name, two that cannot be read."""
    names = [f"{'ab'[i % 2]}/{i}.png" for i in range(N - 4)]
    names += ["a/x.y.png", "same.png", "same.gif"]
    for k, name in enumerate(names):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 10 * k, np.uint8)).save(path)
    (tmp_path / "photos" / "a" / "1text.png").write_text("no image")
    whole = (tmp_path / "photos" / "b" / "1.png").read_bytes()
    (tmp_path / "photos" / "b" / "short.png").write_bytes(whole[:45])
    return tmp_path / "photos"


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_readable_file_is_packed_as_it_is(photos, tmp_path):
    packed = pack_folder(photos, tmp_path / "out", PER_SHARD)
    assert packed.n_samples == N - 1 and list(packed.shards.values()) == [5, 5, 5, 5, 2]
    assert sorted(path.rsplit("/")[-1] for path, _ in packed.skipped) == ["1text.png", "short.png"]
    shards = find_shards(tmp_path / "out")
    stored = [item for shard in shards for item, _ in read_shard(shard)]
    files = [p for p in photos.rglob("*.*") if p.name not in ("1text.png", "short.png")]
    assert sorted(item.content for item in stored) == sorted(path.read_bytes() for path in files)
    assert any(item.name.endswith("a/x_y.png") for item in stored)
    assert count_samples(shards) == (N - 1, True)
    first = [item.name for item, _ in read_shard(shards[0])]
    assert first != sorted(first), "the order is shuffled"
    assert not list((tmp_path / "out").glob(".*")), "nothing is left aside"


def test_images_can_be_packed_small(photos, tmp_path):
    pack_folder(photos, tmp_path / "out", image_size=4)
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        sizes = {Image.open(tar.extractfile(member)).size for member in tar}
    assert sizes == {(4, 4)}


@pytest.mark.parametrize("stop", [1, 7, 11, 22])
def test_a_call_that_was_stopped_goes_on(photos, tmp_path, monkeypatch, stop):
    pack_folder(photos, tmp_path / "whole", PER_SHARD)
    read, calls = packing.read_pixels, []

    def fail(*args):
        calls.append(args)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return read(*args)

    monkeypatch.setattr(packing, "read_pixels", fail)
    with pytest.raises(KeyboardInterrupt):
        pack_folder(photos, tmp_path / "out", PER_SHARD)
    before, whole = len(calls), len(find_shards(tmp_path / "out"))
    assert pack_folder(photos, tmp_path / "out", PER_SHARD).n_samples == N - 1
    assert len(calls) - before <= 24 - PER_SHARD * whole
    one, other = contents(tmp_path / "out"), contents(tmp_path / "whole")
    assert {name: b for name, b in one.items() if name.endswith(".tar")} == {
        name: b for name, b in other.items() if name.endswith(".tar")
    }


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_call_that_was_killed_before_it_noted_a_shard_goes_on(
    photos, tmp_path, monkeypatch, stop
):
    pack_folder(photos, tmp_path / "whole", PER_SHARD)
    write, calls = packing.write_json, []

    def fail(*args):
        calls.append(args)
        if len(calls) == stop:
            raise KeyboardInterrupt
        write(*args)

    monkeypatch.setattr(packing, "write_json", fail)
    with pytest.raises(KeyboardInterrupt):
        pack_folder(photos, tmp_path / "out", PER_SHARD)
    assert len(find_shards(tmp_path / "out")) == stop - 1
    assert pack_folder(photos, tmp_path / "out", PER_SHARD).n_samples == N - 1
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_other_settings_begin_anew_where_no_shard_was_noted(photos, tmp_path):
    pack_folder(photos, tmp_path / "whole")
    pack_folder(photos, tmp_path / "out", 7)
    state = json.loads((tmp_path / "out" / "shards.json").read_text())
    for path in find_shards(tmp_path / "out")[1:]:
        path.unlink()
    state |= {"shards": {}, "skipped": [], "done": 0, "finished": False}
    (tmp_path / "out" / "shards.json").write_text(json.dumps(state))
    assert pack_folder(photos, tmp_path / "out").n_samples == N - 1
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_finished_folder_is_not_packed_again(photos, tmp_path):
    pack_folder(photos, tmp_path / "out")
    before = contents(tmp_path / "out")
    assert pack_folder(photos, tmp_path / "out").n_samples == N - 1
    assert contents(tmp_path / "out") == before
    with pytest.raises(FileExistsError, match="shards of other settings"):
        pack_folder(photos, tmp_path / "out", seed=1)


def test_what_cannot_be_packed(photos, tmp_path):
    with pytest.raises(FileExistsError, match="holds"):
        pack_folder(photos / "a", photos.parent)
    with pytest.raises(ValueError, match="beside the images"):
        pack_folder(photos, photos / "out")
    with pytest.raises(ValueError, match="shard_images=0"):
        pack_folder(photos, tmp_path / "out", 0)
    with pytest.raises(NotADirectoryError):
        pack_folder(photos / "same.png", tmp_path / "out")


# ---- predict and features


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    X = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    fitted = CLSGANClassifier(max_steps=3, random_state=0).fit(X, np.arange(20) % 2)
    return fitted


@pytest.fixture
def shards(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "ROWS", 4)
    pack_folder(photos, tmp_path / "out", PER_SHARD)
    bad = tmp_path / "out" / "shard-9.tar"
    with tarfile.open(bad, "w") as tar:
        tar.add(photos / "a" / "1text.png", "bad.png")
        tar.add(photos / "same.png", "good.png")
    return find_shards(tmp_path / "out")


def expected(model, shards):
    items = [item for shard in shards for item, _ in read_shard(shard)]
    with_images = [item for item in items if not item.name.endswith("bad.png")]
    X = np.stack([np.asarray(Image.open(io.BytesIO(i.content)).convert("L")) for i in with_images])
    return items, X


def test_predict(model, shards, tmp_path):
    count, skipped = predict_shards(model, ["no", "yes"], shards, tmp_path / "p.csv")
    items, X = expected(model, shards)
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert count == len(items) == len(rows) and len(skipped) == 1
    assert [row["path"] for row in rows] == [item.name for item in items]
    good = [row for row in rows if row["class"]]
    assert [row["class"] for row in good] == [["no", "yes"][k] for k in model.predict(X)]
    best = model.predict_proba(X).max(axis=1)
    np.testing.assert_allclose([float(row["probability"]) for row in good], best, atol=6e-5)
    bad = next(row for row in rows if row["path"].endswith("bad.png"))
    assert set(bad.values()) == {bad["path"], ""}


def test_features(model, shards, tmp_path):
    count, _ = feature_shards(model, shards, tmp_path / "f.npy")
    items, X = expected(model, shards)
    features = np.load(tmp_path / "f.npy", mmap_mode="r")
    names = (tmp_path / "f.npy.names.txt").read_text().splitlines()
    assert names == [item.name for item in items] and count == len(names) == len(features)
    bad = np.array([name.endswith("bad.png") for name in names])
    assert np.isnan(features[bad]).all()
    np.testing.assert_allclose(features[~bad], model.transform(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["predict", "features"])
@pytest.mark.parametrize("torn", [0, 3])
def test_stopped_and_made_again(model, shards, tmp_path, monkeypatch, kind, torn):
    def call(out):
        if kind == "predict":
            return predict_shards(model, ["no", "yes"], shards, out)
        return feature_shards(model, shards, out)

    call(tmp_path / "whole")
    read, calls = bulk.RowDecoder.read, []

    def fail(self, items):
        calls.append(len(items))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return read(self, items)

    monkeypatch.setattr(bulk.RowDecoder, "read", fail)
    with pytest.raises(KeyboardInterrupt):
        call(tmp_path / "out.x")
    partial = tmp_path / "out.x.partial"
    assert partial.exists() and not (tmp_path / "out.x").exists()
    partial.write_bytes(partial.read_bytes()[: partial.stat().st_size - torn])
    call(tmp_path / "out.x")
    assert sum(calls[4:]) < 24 and calls[4:], "what was written is not computed again"
    assert (tmp_path / "out.x").read_bytes() == (tmp_path / "whole").read_bytes()
    left = {p.name for p in tmp_path.iterdir() if "out.x" in p.name}
    assert left == {"out.x"} | ({"out.x.names.txt"} if kind == "features" else set())


def test_an_earlier_result_stays_until_the_next_is_whole(model, shards, tmp_path, monkeypatch):
    feature_shards(model, shards, tmp_path / "f.npy")
    before = {path: path.read_bytes() for path in tmp_path.glob("f.npy*")}

    def fail(self, items):
        raise KeyboardInterrupt

    monkeypatch.setattr(bulk.RowDecoder, "read", fail)
    with pytest.raises(KeyboardInterrupt):
        feature_shards(model, shards[:2], tmp_path / "f.npy")
    assert len(before) == 2 and all(path.read_bytes() == old for path, old in before.items())


def stopped(call, monkeypatch):
    """Make a call that is stopped at its third batch."""
    read, calls = bulk.RowDecoder.read, []

    def fail(self, items):
        calls.append(len(items))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(self, items)

    with monkeypatch.context() as patch:
        patch.setattr(bulk.RowDecoder, "read", fail)
        with pytest.raises(KeyboardInterrupt):
            call()


def test_all_that_decides_a_row_must_be_the_same(model, shards, tmp_path, monkeypatch):
    out = tmp_path / "p.csv"
    stopped(lambda: predict_shards(model, ["no", "yes"], shards, out), monkeypatch)
    before = contents(tmp_path / "out"), (tmp_path / "p.csv.partial").read_bytes()
    buffered, reordered, mirrored = (copy.deepcopy(model) for _ in range(3))
    next(iter(buffered.loss_network_.buffers())).add_(1)
    weight = next(p for p in reordered.loss_network_.parameters() if p.dim() > 1)
    weight.data = weight.data.flip(0)  # the sum stays
    mirrored._design["views"] = "mirror"
    for other in (buffered, reordered, mirrored):
        with pytest.raises(FileExistsError, match="begun with another model"):
            predict_shards(other, ["no", "yes"], shards, out)
    with pytest.raises(FileExistsError, match="begun with another model"):
        predict_shards(model, ["yes", "no"], shards, out)
    with pytest.raises(FileExistsError, match="begun with another model"):
        feature_shards(model, shards, out)
    assert before == (contents(tmp_path / "out"), (tmp_path / "p.csv.partial").read_bytes())
    model.save(tmp_path / "saved")
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        again = CLSGANClassifier.load(tmp_path / "saved")
        assert predict_shards(again, ["no", "yes"], shards, out)[0] == N + 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", ["predict", "features"])
def test_two_calls_do_not_write_one_file(model, shards, tmp_path, monkeypatch, kind):
    def call():
        if kind == "predict":
            return predict_shards(model, ["no", "yes"], shards, tmp_path / "out.x")
        return feature_shards(model, shards, tmp_path / "out.x")

    read, refused = bulk.RowDecoder.read, []

    def amid(self, items):
        with pytest.raises(BlockingIOError, match=f"being written by .* process {os.getpid()} "):
            call()
        refused.append(len(items))
        return read(self, items)

    with monkeypatch.context() as patch:
        patch.setattr(bulk.RowDecoder, "read", amid)
        assert call()[0] == sum(refused) == N + 1
    assert call()[0] == N + 1, "the lock is given back"
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob(".*"))


def test_another_model_does_not_go_on(model, shards, tmp_path):
    (tmp_path / "p.csv.partial").write_text("path\n")
    (tmp_path / "p.csv.begun").write_text(json.dumps({"model": [1.0], "shards": []}))
    with pytest.raises(FileExistsError, match="begun with another model"):
        predict_shards(model, ["no", "yes"], shards, tmp_path / "p.csv")


def test_a_saved_model_serves_as_a_run_does(model, photos, tmp_path, capsys):
    model.save(tmp_path / "model")
    pack_folder(photos, tmp_path / "shards")
    for out in ("p.csv", "f.npy"):
        kind = "predict" if out == "p.csv" else "features"
        line = [kind, str(tmp_path / "model"), str(tmp_path / "shards"), "--out"]
        assert main([*line, str(tmp_path / out)]) == 0
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert {row["class"] for row in rows} <= {"0", "1"} and len(rows) == N - 1
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "model"), str(photos / "same.png")]) == 0
    assert capsys.readouterr().out.splitlines()[1].split("\t")[1] in ("0", "1")


def test_nothing_that_can_be_read_ends_with_an_error(model, photos, tmp_path, capsys):
    model.save(tmp_path / "model")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(photos / "a" / "1text.png", "bad.png")
    for kind, out in (("predict", "p.csv"), ("features", "f.npy")):
        line = [kind, str(tmp_path / "model"), str(tmp_path / "a.tar"), "--out"]
        assert main([*line, str(tmp_path / out)]) == 2
        assert "none of 1 images in the shards can be read" in capsys.readouterr().err
        assert not (tmp_path / out).exists()


def test_command_line(model, photos, tmp_path, capsys):
    model.save(tmp_path / "run" / "model")
    write_arrays(tmp_path / "run" / "labels.npz", class_names=["no", "yes"])
    out = str(tmp_path / "shards")
    assert main(["pack", str(photos), "--out", out, "--shard-images", "10"]) == 0
    printed = capsys.readouterr()
    assert f"{N - 1} images in 3 shards" in printed.out and "skipped" in printed.err
    table = tmp_path / "p.csv"
    assert main(["predict", str(tmp_path / "run"), out, "--out", str(table)]) == 0
    assert len(table.read_text().splitlines()) == N
    features = tmp_path / "f.npy"
    assert main(["features", str(tmp_path / "run"), out, "--out", str(features)]) == 0
    assert len(np.load(features)) == N - 1
    assert main(["predict", str(tmp_path / "run"), out]) == 2
    assert "give --out" in capsys.readouterr().err
    assert main(["features", str(tmp_path / "run"), out, str(photos), "--out", "x.npy"]) == 2
