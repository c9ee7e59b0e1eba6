"""Pools that stay where they are: every row once a pass, the same from a saved place on."""

import io
import json
import tarfile
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from clsgan import CLSGANClassifier
from clsgan.inputs import InputSpec
from clsgan.pools import unlabeled_pool as unlabeled_pool_module
from clsgan.pools.decoding import Item, RowDecoder, read_npy
from clsgan.pools.joined import JoinedPool, join_rows
from clsgan.pools.kinds import ENDLESS, IndexedPool, StreamedPool, shard_pool
from clsgan.pools.readers import IterableReader
from clsgan.pools.store import PoolStore
from clsgan.pools.tar_shards import count_samples, find_shards, read_shard
from clsgan.pools.unlabeled_pool import open_pool
from clsgan.sources import Unlabeled
from clsgan.training_data import read_like
from clsgan.units import Units

SPEC = InputSpec((1, 4, 4), "NHW", "uint8", 0.0, 255.0)
N = 60


def check(rows):
    return read_like(rows, SPEC, "X_unlab", None)[0]


def images(n=N):
    """Images that hold their own number."""
    return np.repeat(np.arange(n, dtype=np.uint8), 16).reshape(n, 4, 4)


def numbers(rows):
    return rows[:, 0, 0, 0].tolist()


def encoded(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


BOUNDS = [0, 5, 20, 21, 33, 34, 50, N]
SIZES = {f"s{k}.tar": stop - start for k, (start, stop) in enumerate(pairwise(BOUNDS))}


@pytest.fixture
def shards(tmp_path):
    """Seven shards of unequal length; half of the samples are PNG, half are .npy."""
    for k, (start, stop) in enumerate(pairwise(BOUNDS)):
        members = []
        for i in range(start, stop):
            array = io.BytesIO()
            np.save(array, images()[i])
            image = (".png", encoded(images()[i])) if i % 2 else (".npy", array.getvalue())
            members += [(f"d/{i:03d}.cls", b"1"), (f"d/{i:03d}{image[0]}", image[1])]
        write_tar(tmp_path / f"s{k}.tar", members)
    return tmp_path


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return ((Image.fromarray(image), 3) for image in images())


class HubStream:
    """The few methods of a stream of the `datasets` library."""

    column_names = ("image", "label")

    def __init__(self, skipped=0):
        self.skipped, self.epochs = skipped, []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def skip(self, n):
        return HubStream(n)

    def __iter__(self):
        for image in images()[self.skipped :]:
            yield {"label": 0, "image": {"bytes": encoded(image), "path": None}}


class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return N

    def __getitem__(self, i):
        return torch.from_numpy(images()[i]), 0


def save_npy(folder):
    np.save(folder / "pool.npy", images())
    return folder / "pool.npy"


def save_folder(folder):
    for i, image in enumerate(images()):
        (folder / "files" / str(i % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "files" / str(i % 3) / f"{i}.png")
    return folder / "files"


KINDS = {
    "npy": save_npy,
    "memmap": lambda folder: np.load(save_npy(folder), mmap_mode="r"),
    "folder": save_folder,
    "paths": lambda folder: sorted(save_folder(folder).rglob("*.png")),
    "dataset": lambda folder: Pairs(),
    "iterable": lambda folder: Stream(),
    "hub": lambda folder: HubStream(),
}


def pool_of(kind, tmp_path, shards, monkeypatch):
    monkeypatch.setattr(unlabeled_pool_module, "IN_MEMORY_BYTES", 0)
    X = shards if kind == "shards" else KINDS[kind](tmp_path)
    pool = open_pool(X, SPEC, check)
    if isinstance(pool, StreamedPool):
        pool.buffer_rows = 17
    return pool


@pytest.fixture(params=[*KINDS, "shards"])
def pool(request, tmp_path, shards, monkeypatch):
    return pool_of(request.param, tmp_path, shards, monkeypatch)


def test_every_row_comes_once_a_pass_in_a_new_order(pool):
    stream = pool.stream(seed=0)
    first, second = (numbers(stream.take(N)) for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(N))
    assert first != second and first != sorted(first)


def test_from_a_saved_place_the_same_rows_come(pool):
    whole, stream = pool.stream(seed=3), pool.stream(seed=3)
    for count in (1, 16, 30, 40):
        before = json.loads(json.dumps(stream.state_dict()))
        assert len(json.dumps(before)) < 300
        expected = whole.take(count)
        assert np.array_equal(stream.take(count), expected)
        again = pool.stream(seed=3)
        again.load_state_dict(before)
        assert np.array_equal(again.take(count), expected)


def test_reading_ahead_changes_neither_rows_nor_places(pool):
    units = Units(np.array(127.5), np.array(127.5))
    plain, ahead = (PoolStore(pool, units, torch.device("cpu"), 3, ahead=a) for a in (False, True))
    for count in (8, 8, 8, 5, 5, 20):
        assert plain.state_dict() == ahead.state_dict()
        place = json.loads(json.dumps(ahead.state_dict()))
        expected = plain.take(count)
        assert torch.equal(ahead.take(count), expected)
    ahead.load_state_dict(place)
    assert torch.equal(ahead.take(20), expected)


def test_processes_share_the_rows_of_one(pool):
    alone, pair = pool.stream(5), [pool.stream(5, rank, 2) for rank in range(2)]
    for _ in range(3):
        parts = [numbers(stream.take(8)) for stream in pair]
        assert np.stack(parts, axis=1).ravel().tolist() == numbers(alone.take(16))


def test_looking_does_not_move_the_place(pool):
    stream = pool.stream(1)
    seen = pool.some(10)
    assert len(seen) == 10
    assert np.array_equal(stream.take(20), pool.stream(1).take(20))


def test_lengths(pool, request):
    kind = request.node.callspec.params["pool"]
    if kind in ("iterable", "hub"):
        assert len(pool) == ENDLESS
    elif kind == "shards":
        assert N / 3 < len(pool) < 3 * N  # told from the first shard
    else:
        assert len(pool) == N


def test_small_sources_are_held_in_memory(tmp_path):
    for kind in ("folder", "paths", "dataset"):
        assert open_pool(KINDS[kind](tmp_path), SPEC, check) is None
    assert open_pool(images(), SPEC, check) is None and open_pool([[1.0]], SPEC, check) is None


def test_the_index_of_a_folder_lies_beside_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(unlabeled_pool_module, "IN_MEMORY_BYTES", 0)
    open_pool(save_folder(tmp_path), SPEC, check, folder=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["unlabeled.index"]


def test_a_sample_is_decoded_once_a_use(shards, monkeypatch):
    calls = []
    monkeypatch.setattr(RowDecoder, "_try", lambda self, item: calls.append(item) or images()[:1])
    stream = shard_pool(find_shards(shards), RowDecoder(SPEC, check, "X_unlab")).stream(0)
    stream.take(10)
    assert len(calls) == 10


def test_joined_rows(tmp_path):
    tail = open_pool(save_npy(tmp_path), SPEC, check)
    pool = JoinedPool([np.full((5, 1, 4, 4), 200, np.uint8), tail])
    drawn = numbers(pool.stream(0).take(N + 5))
    assert sorted(drawn) == [*range(N), *[200] * 5]


def blended(tmp_path, shards):
    """Five rows in memory, sixty in a file and as many, numbered alike, in shards."""
    (shards / "shards.json").write_text(json.dumps({"shards": SIZES}))
    held = np.full((5, 1, 4, 4), 200, np.uint8)
    behind = [open_pool(X, SPEC, check) for X in (save_npy(tmp_path), shards)]
    behind[1].buffer_rows = 17
    return join_rows([held, join_rows(behind)])


def test_rows_in_memory_in_a_file_and_in_shards_are_one_pool(tmp_path, shards):
    pool = blended(tmp_path, shards)
    stream = pool.stream(0)
    assert len(pool) == 2 * N + 5
    for _ in range(2):
        assert sorted(numbers(stream.take(2 * N + 5))) == sorted([*range(N), *range(N), *[200] * 5])
    alone, pair = pool.stream(5), [pool.stream(5, rank, 2) for rank in range(2)]
    for _ in range(3):
        parts = [numbers(stream.take(8)) for stream in pair]
        assert np.stack(parts, axis=1).ravel().tolist() == numbers(alone.take(16))
    place = json.loads(json.dumps(alone.state_dict()))
    again = pool.stream(5)
    again.load_state_dict(place)
    assert numbers(again.take(40)) == numbers(alone.take(40))


def test_streams_that_cannot_be_joined_are_refused(shards):
    held, stream = images()[:, None], open_pool(Stream(), SPEC, check)
    with pytest.raises(ValueError, match="does not tell its length"):
        join_rows([held, stream])
    with pytest.raises(ValueError, match="two streams"):
        join_rows([open_pool(shards, SPEC, check)] * 2)
    assert join_rows([held[:0], stream]) is stream


def test_a_generator_is_refused():
    with pytest.raises(ValueError, match="read once only"):
        IterableReader(iter([1, 2]))
    empty = StreamedPool(1, lambda seed: IterableReader([]), RowDecoder(SPEC, check, "X_unlab"))
    with pytest.raises(ValueError, match="has no samples"):
        empty.stream(0).take(1)


def test_a_place_in_another_pool_is_refused(tmp_path):
    pool = open_pool(save_npy(tmp_path), SPEC, check)
    place = pool.stream(0).state_dict()
    other = IndexedPool(N - 1, pool.get, pool.decoder).stream(0)
    with pytest.raises(ValueError, match=f"has {N - 1} rows"):
        other.load_state_dict(place)


# ---- shards


def test_find_shards(shards, tmp_path):
    all_of_them = sorted(shards.glob("*.tar"))
    assert find_shards(shards) == find_shards(str(shards / "*.tar")) == all_of_them
    assert find_shards([str(p) for p in all_of_them]) == all_of_them
    with pytest.raises(FileNotFoundError, match=r"no shard at .*x\.tar"):
        find_shards(tmp_path / "x.tar")


def test_samples_can_be_read_from_the_byte_they_begin_at(shards):
    path = find_shards(shards)[1]
    samples = list(read_shard(path))
    for k, (_, stop) in enumerate(samples):
        assert [item for item, _ in read_shard(path, stop)] == [i for i, _ in samples[k + 1 :]]


def test_counts_are_told_from_the_index_where_there_is_one(shards):
    assert count_samples(find_shards(shards))[1] is False
    (shards / "shards.json").write_text(json.dumps({"shards": {f"s{k}.tar": 3 for k in range(7)}}))
    assert count_samples(find_shards(shards)) == (21, True)


def test_hostile_shards(tmp_path):
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("a.png", tarfile.SYMTYPE), ("b.png", tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/hostname"
            tar.addfile(entry)
        entry = tarfile.TarInfo("../../up.png")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    assert [item.content for item, _ in read_shard(path)] == [b"abc"]
    assert [p.name for p in tmp_path.iterdir()] == ["bad.tar"], "nothing is extracted"
    whole = path.read_bytes()
    entry.size = 2**40
    path.write_bytes(entry.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(ValueError, match="too many for a row"):
        list(read_shard(path))
    longname, pax = tarfile.TarInfo("././@LongLink"), tarfile.TarInfo("x")
    longname.type, pax.type, longname.size, pax.size = b"L", b"x", 2**62, 2**70
    monsters = [entry.tobuf(tarfile.GNU_FORMAT) for entry in (longname, pax)]
    for content in (b"not a tar" * 200, whole[:1536], b"\x1f\x8b" + bytes(2000), *monsters):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.tar is no uncompressed .tar file"):
            list(read_shard(path))


def test_npy_bytes_that_declare_more_than_they_hold():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 3), np.float32))
    good = buffer.getvalue()
    assert read_npy(good).shape == (2, 3)
    nasty = [good[:10] + b"(" * (len(good) - 10), good[:10] + b"{'a': (1," + b"\n" * 110]
    nasty += [good.replace(b"(2, 3)", b"[2, 3]"), good.replace(b"'<f4'", b"[1,2]"), good[:8]]
    huge = good.replace(b"(2, 3)", b"(2, 3" + b"0" * 12 + b")").replace(b" " * 12, b"", 1)
    for bad in (huge, good[:-1], good + b"x", good.replace(b"<f4", b"|O8"), *nasty):
        with pytest.raises(ValueError):
            read_npy(bad)


# ---- what cannot be read


def bad_pool(tmp_path, on_error):
    members = [(f"{i}.png", encoded(images()[i])) for i in range(20)]
    members[3] = ("3.png", b"no image")
    members[7] = ("7.png", members[7][1][:45])
    members[9] = ("9.json", b"{}")
    return open_pool(write_tar(tmp_path / "a.tar", members), SPEC, check, on_error)


def test_a_sample_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"X_unlab: .*a\.tar/(3\.png|7\.png|9)"):
        bad_pool(tmp_path, "raise").stream(0).take(20)


def test_skipping_counts_and_lists(tmp_path):
    pool = bad_pool(tmp_path, "skip")
    drawn = numbers(pool.stream(0).take(20))
    assert len(drawn) == 20 and set(drawn) == set(range(20)) - {3, 7, 9}
    assert sorted(name.rsplit("/")[-1] for name in pool.skipped) == ["3.png", "7.png", "9"]


def test_nothing_that_can_be_read(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("1.png", b"x"), ("2.png", b"y")])
    with pytest.raises(ValueError, match="none of 2 samples of X_unlab can be read"):
        open_pool(path, SPEC, check, "skip").stream(0).take(2)


def test_values_and_shapes_of_pictures():
    spec = InputSpec((3, 4, 4), "NHWC", "float32", -1.0, 1.0)
    decoder = RowDecoder(spec, np.asarray, "X_unlab")
    row = decoder.rows([Item("a", Image.new("RGB", (8, 6), (255, 0, 0)))])
    assert row.shape == (1, 3, 4, 4) and row.dtype == np.float32
    assert row[0, :, 1, 1].tolist() == [1, -1, -1]


# ---- through fit


@pytest.fixture(scope="module")
def labeled():
    rng = np.random.default_rng(0)
    y = np.arange(20) % 2
    return np.clip(rng.normal(60 + 120 * y, 10, (4, 4, 20)), 0, 255).astype(np.uint8).T, y


@pytest.mark.parametrize("kind", ["npy", "shards", "hub"])
def test_fit(kind, labeled, tmp_path, shards, monkeypatch):
    X, y = labeled
    make = KINDS.get(kind, lambda folder: shards)
    models = [
        CLSGANClassifier(max_steps=3, batch_size=16, random_state=0).fit(X, y, make(tmp_path))
        for _ in range(2)
    ]
    losses = [model.predict_loss(X) for model in models]
    assert np.array_equal(*losses) and np.isfinite(losses[0]).all()
    assert models[0].skipped_ == []


def test_fit_of_rows_on_a_mapped_pool(tmp_path):
    X = np.random.default_rng(0).normal(size=(200, 3))
    np.save(tmp_path / "x.npy", X)
    model = CLSGANClassifier(max_steps=3, random_state=0)
    assert model.fit(X[:10], np.arange(10) % 2, tmp_path / "x.npy").predict(X).shape == (200,)
    with pytest.raises(ValueError, match="X_unlab"):
        np.save(tmp_path / "x.npy", X[:, :2])
        model.fit(X[:10], np.arange(10) % 2, tmp_path / "x.npy")


def test_fit_warns_of_what_it_left_out(labeled, tmp_path):
    bad_pool(tmp_path, "raise")
    model = CLSGANClassifier(max_steps=3, batch_size=32, random_state=0, on_error="skip")
    with pytest.warns(UserWarning, match="could not be read and were left out"):
        model.fit(*labeled, tmp_path / "a.tar")
    assert len(model.skipped_) == 3


def test_fit_leaves_out_labeled_files(tmp_path):
    for i in range(12):
        (tmp_path / "x" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 20 * i, np.uint8)).save(
            tmp_path / "x" / "ab"[i % 2] / f"{i}.png"
        )
    paths = sorted((tmp_path / "x").rglob("*.png"))
    paths[4].write_bytes(b"no image")
    model = CLSGANClassifier(max_steps=2, image_size=8, random_state=0, on_error="skip")
    for X, y in ((tmp_path / "x", None), (paths, ["a"] * 6 + ["b"] * 6)):
        with pytest.warns(UserWarning, match="1 images could not be read"):
            model.fit(X, y)
        assert [name for name, _ in model.skipped_] == [str(paths[4])]
        assert model.class_prior_.tolist() == [5 / 11, 6 / 11]
    with pytest.raises(ValueError, match="image"):
        model.set_params(on_error="raise").fit(paths, ["a"] * 6 + ["b"] * 6)


def test_shards_and_unlabeled_rows_in_x(labeled, shards):
    X, y = labeled
    y = np.where(np.arange(20) < 10, y, -1)
    model = CLSGANClassifier(max_steps=2, batch_size=32, random_state=0).fit(X, y, shards)
    assert model.n_unlabeled_ == 10 + count_samples(find_shards(shards))[0]
    both = model.fit(X[:10], y[:10], Unlabeled(X[10:], shards)).n_unlabeled_
    assert both == model.n_unlabeled_
    with pytest.raises(ValueError, match="does not tell its length"):
        model.fit(X, y, Stream())
