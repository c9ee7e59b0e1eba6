"""Shards that are cut off or written over: what lies before is used, the rest is named."""

import csv
import io
import json
import tarfile

import numpy as np
import pytest

from clsgan import CLSGANClassifier
from clsgan.inputs import InputSpec
from clsgan.pools import tar_shards
from clsgan.pools.bulk import feature_shards, predict_shards
from clsgan.pools.decoding import RowDecoder
from clsgan.pools.kinds import shard_pool
from clsgan.pools.tar_shards import GIVEN_UP, count_samples, find_shards, read_shard
from clsgan.training_data import read_like

SPEC = InputSpec((1, 4, 4), "NHW", "uint8", 0.0, 255.0)
EACH = 10  # samples of a shard
MEMBERS = (".cls", ".npy", ".txt")  # of a sample
SAMPLE = 1024 + 1024 + 1024  # bytes: header and content of its members


def check(rows):
    return read_like(rows, SPEC, "X_unlab", None)[0]


def images(n=3 * EACH):
    """Images of 4x4 that hold their own number."""
    return np.repeat(np.arange(n, dtype=np.uint8), 16).reshape(n, 4, 4)


@pytest.fixture
def shards(tmp_path):
    """Three shards of ten samples, of three members each."""
    for k in range(3):
        with tarfile.open(tmp_path / f"s{k}.tar", "w") as tar:
            for i in range(EACH * k, EACH * (k + 1)):
                array = io.BytesIO()
                np.save(array, images()[i])
                for suffix in MEMBERS:
                    content = array.getvalue() if suffix == ".npy" else b"1"
                    entry = tarfile.TarInfo(f"{i:03d}{suffix}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
    return find_shards(tmp_path)


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def write_over(path, at):
    content = bytearray(path.read_bytes())
    content[at : at + 512] = b"x" * 512
    path.write_bytes(bytes(content))


# where the second shard is damaged, and how many of its samples come before
DAMAGE = {
    "in an image": (lambda path: cut(path, 4 * SAMPLE + 1024 + 512 + 60), 4),
    "behind an image": (lambda path: cut(path, 4 * SAMPLE + 2 * 1024 + 512), 5),
    "in the last member": (lambda path: cut(path, 10 * SAMPLE - 100), 10),
    "in a header": (lambda path: cut(path, 4 * SAMPLE + 100), 4),
    "header of a sample": (lambda path: write_over(path, 4 * SAMPLE), 4),
    "header of a member": (lambda path: write_over(path, 4 * SAMPLE + 2 * 1024), 5),
    "at the beginning": (lambda path: write_over(path, 0), 0),
    "empty": (lambda path: cut(path, 0), 0),
    "gone": (lambda path: path.unlink(), 0),
}


@pytest.fixture(params=DAMAGE)
def damaged(request, shards):
    damage, before = DAMAGE[request.param]
    damage(shards[1])
    return shards, before


def test_what_lies_before_the_damage_is_read(damaged):
    shards, before = damaged
    read = list(read_shard(shards[1]))
    assert [stop for _, stop in read].index(GIVEN_UP) == len(read) - 1 == before
    item, _ = read.pop()
    assert item.name == str(shards[1]) and "the rest cannot be read (" in str(item.content)
    for k, (_, stop) in enumerate(read):
        again = [(item.name, str(item.content)) for item, _ in read_shard(shards[1], stop)]
        assert again[:-1] == [(item.name, str(item.content)) for item, _ in read[k + 1 :]]
        assert again[-1] == (item.name, str(item.content))
    assert list(read_shard(shards[1], GIVEN_UP)) == []


def pool_of(shards, on_error):
    sizes = {path.name: EACH for path in shards}
    (shards[0].parent / "shards.json").write_text(json.dumps({"shards": sizes}))
    pool = shard_pool(shards, RowDecoder(SPEC, check, "X_unlab", on_error))
    pool.buffer_rows = 7
    return pool


def test_without_skip_the_error_names_the_shard(damaged):
    shards, _ = damaged
    with pytest.raises(ValueError, match=r"X_unlab: .*s1\.tar: the rest cannot be read \("):
        pool_of(shards, "raise").stream(0).take(3 * EACH + 1)


def test_with_skip_the_other_shards_go_on_and_places_hold(damaged):
    shards, before = damaged
    pool = pool_of(shards, "skip")
    stream = pool.stream(3)
    drawn = []
    for count in (1, 6, 9, 1, 1, 30, 40):
        place = json.loads(json.dumps(stream.state_dict()))
        names = [item.name for item in stream.items(count)]
        again = pool.stream(3)
        again.load_state_dict(place)
        assert [item.name for item in again.items(count)] == names
        drawn += names
    a_pass = drawn[: 2 * EACH + before + 1]
    assert len(set(a_pass)) == len(a_pass), "each comes once in a pass"
    taken = pool.stream(3).take(2 * EACH + before + 1)[:, 0, 0, 0].tolist()
    known = {*range(EACH), *range(EACH, EACH + before), *range(2 * EACH, 3 * EACH)}
    assert set(taken) == known
    ((name, reason),) = pool.skipped.items()
    assert name == str(shards[1]) and reason.startswith("the rest cannot be read (")


def test_a_first_shard_that_is_damaged_is_not_counted(shards):
    write_over(shards[0], 0)
    count, exact = count_samples(shards)
    assert abs(count - 3 * EACH) <= 1 and not exact
    with pytest.raises(ValueError, match=r"s0\.tar holds no sample: the rest cannot be read"):
        count_samples(shards[:1])


def test_a_member_that_is_too_large_is_one_sample(shards, monkeypatch):
    monkeypatch.setattr(tar_shards, "MAX_MEMBER_BYTES", 100)
    read = list(read_shard(shards[0]))
    assert len(read) == EACH and all("too many for a row" in str(i.content) for i, _ in read)


def test_fit_goes_on_past_a_damaged_shard(shards):
    cut(shards[1], 4 * SAMPLE + 1024 + 512 + 60)
    X = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
    model = CLSGANClassifier(
        max_steps=3, batch_size=32, random_state=0, on_error="skip", value_range=(0, 255)
    )
    with pytest.warns(UserWarning, match="could not be read and were left out"):
        model.fit(X, np.arange(20) % 2, shards[0].parent)
    assert [name for name, _ in model.skipped_] == [str(shards[1])]
    with pytest.raises(ValueError, match=r"s1\.tar: the rest cannot be read"):
        model.set_params(on_error="raise").fit(X, np.arange(20) % 2, shards[0].parent)


# ---- predict and features


@pytest.fixture(scope="module")
def model():
    X = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
    return CLSGANClassifier(max_steps=3, random_state=0).fit(X, np.arange(20) % 2)


def test_predict_and_features_go_on_with_arrays_too(model, shards, tmp_path):
    cut(shards[1], 4 * SAMPLE + 1024 + 512 + 60)
    known = [*range(EACH + 4), *range(2 * EACH, 3 * EACH)]
    count, skipped = predict_shards(model, ["no", "yes"], shards, tmp_path / "p.csv")
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert count == len(rows) == len(known) and [name for name, _ in skipped] == [str(shards[1])]
    expected = [["no", "yes"][k] for k in model.predict(images()[known])]
    assert [row["class"] for row in rows] == expected
    assert feature_shards(model, shards, tmp_path / "f.npy") == (count, skipped)
    features = model.transform(images()[known])
    np.testing.assert_allclose(np.load(tmp_path / "f.npy"), features, rtol=1e-5, atol=1e-6)


def test_a_file_of_blank_rows_alone_is_refused(model, shards, tmp_path):
    other = CLSGANClassifier(max_steps=1, random_state=0)
    other.fit(np.random.default_rng(0).integers(0, 256, (8, 8, 8), np.uint8), np.arange(8) % 2)
    before = {path.name for path in tmp_path.iterdir()}
    why = r"none of 30 images in the shards can be read; the first, .*s0\.tar/000\.npy: .*1x4x4"
    with pytest.raises(ValueError, match=why):
        predict_shards(other, ["no", "yes"], shards, tmp_path / "p.csv")
    with pytest.raises(ValueError, match=why):
        feature_shards(other, shards, tmp_path / "f.npy")
    for path in shards:
        cut(path, 100)
    with pytest.raises(ValueError, match=r"none of 0 .*s0\.tar: the rest cannot be read"):
        predict_shards(model, ["no", "yes"], shards, tmp_path / "p.csv")
    assert {path.name for path in tmp_path.iterdir()} == before, "nothing is left behind"


def test_arrays_on_another_scale_are_skipped(model, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, row in (("good", images()[20]), ("bad", images()[20] / np.float32(255))):
            array = io.BytesIO()
            np.save(array, row)
            entry = tarfile.TarInfo(f"{name}.npy")
            entry.size = len(array.getvalue())
            tar.addfile(entry, io.BytesIO(array.getvalue()))
    count, ((name, reason),) = predict_shards(
        model, ["no", "yes"], [tmp_path / "a.tar"], tmp_path / "p.csv"
    )
    assert count == 2 and name.endswith("bad.npy") and "put both on the same scale" in reason
