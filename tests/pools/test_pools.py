"""Pools that stay where they are: every row once a pass, the same from a saved place on."""

import io
import json
import struct
import tarfile
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from clsgan import CLSGANClassifier
from clsgan.inputs import InputSpec
from clsgan.pools import unlabeled_pool as unlabeled_pool_module
from clsgan.pools.decoding import RowDecoder, read_npy
from clsgan.pools.joined import JoinedPool, join_rows
from clsgan.pools.kinds import ENDLESS, IndexedPool, StreamedPool, shard_pool
from clsgan.pools.readers import IterableReader
from clsgan.pools.samples import Item
from clsgan.pools.store import PoolStore
from clsgan.pools.tar_shards import GIVEN_UP, count_samples, find_shards, read_shard
from clsgan.pools.unlabeled_pool import open_pool
from clsgan.sources import Skipped, Unlabeled
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
    """A stream of the `datasets` library: what `skip` returns keeps the order of epoch 0."""

    column_names = ("image", "label")

    def __init__(self, skipped=0):
        self.skipped, self.epoch = skipped, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def skip(self, n):
        return HubStream(n)

    def __iter__(self):
        order = np.random.default_rng(0 if self.skipped else self.epoch).permutation(N)
        for image in images()[order[self.skipped :]]:
            yield {"label": 0, "image": {"bytes": encoded(image), "path": None}}


class HubTable:
    """A map-style dataset of the `datasets` library, of pictures of unequal sizes."""

    column_names = ("image", "label")

    def __len__(self):
        return N

    def __getitem__(self, i):
        size = (4 + i % 3, 4 + i % 5)
        return {"label": 0, "image": Image.fromarray(images()[i]).resize(size)}


class Dicts(HubTable, torch.utils.data.Dataset):
    """The same as a Dataset of torch."""


class Pictures(Dicts):
    """And without the dicts."""

    def __getitem__(self, i):
        return super().__getitem__(i)["image"]


class Damaged(Pictures):
    """Some samples cannot be had, some cannot be decoded."""

    def __getitem__(self, i):
        if i == 7:
            raise KeyError("no such member")
        return {"image": {"bytes": b"no image"}} if i == 9 else super().__getitem__(i)


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
    for count in (1, 16, 30, 40, 50):
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
    alone = pool.stream(1)
    expected = [alone.take(N), alone.take(20)]
    assert np.array_equal(stream.take(N), expected[0])
    pool.some(10)
    assert np.array_equal(stream.take(20), expected[1])


class Counted:
    """A stream that counts what is read of it."""

    def __init__(self):
        self.read = 0

    def __len__(self):
        return N

    def __iter__(self):
        for image in images():
            self.read += 1
            yield image


def test_looking_reads_no_more_than_it_shows():
    counted = Counted()
    pool = open_pool(counted, SPEC, check)
    assert len(pool.some(10)) == 10 and counted.read == 10
    blended = join_rows([images()[:, None], pool])
    counted.read = 0
    assert len(blended.some(20)) == 20 and 0 < counted.read <= 20


def test_going_back_within_a_block_reads_nothing_again():
    counted = Counted()
    stream = open_pool(counted, SPEC, check).stream(1)
    stream.take(4)
    place, expected, read = stream.state_dict(), stream.take(7), counted.read
    stream.load_state_dict(place)
    assert np.array_equal(stream.take(7), expected) and counted.read == read


PICTURE = Image.new("RGB", (64, 64))


@pytest.mark.parametrize(
    "sample",
    [
        PICTURE,
        (PICTURE, 3),
        {"image": PICTURE, "label": 3},
        {"image": {"bytes": bytes(3 * 64 * 64), "path": None}},
        {"label": 3, "x": [np.zeros((64, 64, 3), np.uint8)]},
        {"x": [0.5] * 400},
    ],
    ids=["picture", "pair", "dict", "bytes", "array", "numbers"],
)
def test_a_block_holds_no_more_bytes_than_it_may(sample):
    decoder = RowDecoder(SPEC, check, "X_unlab")
    samples = [sample] * 100
    pool = StreamedPool(100, lambda seed: IterableReader(samples), decoder, buffer_bytes=50_000)
    stream = pool.stream(0)
    stream.items(1)
    assert 4 <= len(stream.block) <= 5


def test_lengths(pool, request):
    kind = request.node.callspec.params["pool"]
    if kind in ("iterable", "hub"):
        assert len(pool) == ENDLESS
    elif kind == "shards":
        assert N / 3 < len(pool) < 3 * N  # told from the first shard
    else:
        assert len(pool) == N


def test_small_sources_are_held_in_memory(tmp_path):
    for kind in ("folder", "paths"):
        assert open_pool(KINDS[kind](tmp_path), SPEC, check) is None
    assert open_pool(images(), SPEC, check) is None and open_pool([[1.0]], SPEC, check) is None


SMALL_AND_LARGE = pytest.mark.parametrize("most", [2**26, 0], ids=["small", "large"])


@SMALL_AND_LARGE
@pytest.mark.parametrize("make", [Pairs, HubTable, Dicts, Pictures])
def test_small_and_large_datasets_are_read_alike(make, most, monkeypatch):
    monkeypatch.setattr(unlabeled_pool_module, "IN_MEMORY_BYTES", most)
    rows = open_pool(make(), SPEC, check)
    assert isinstance(rows, np.ndarray) == (most > 0)
    rows = rows if most else rows.rows(np.arange(N))
    assert rows.dtype == np.uint8 and numbers(rows) == list(range(N))


@SMALL_AND_LARGE
def test_samples_that_a_dataset_does_not_give(most, monkeypatch):
    monkeypatch.setattr(unlabeled_pool_module, "IN_MEMORY_BYTES", most)
    with pytest.raises(ValueError, match="X_unlab: row 7: the dataset raised KeyError: 'no such"):
        rows = open_pool(Damaged(), SPEC, check)
        rows.rows(np.arange(N))
    skipped = Skipped()
    rows = open_pool(Damaged(), SPEC, check, "skip", skipped=skipped)
    drawn = numbers(rows if most else rows.stream(0).take(N))
    assert set(drawn) == set(range(N)) - {7, 9} and len(drawn) == (N - 2 if most else N)
    reasons = skipped.reasons if most else rows.skipped
    assert sorted(reasons) == ["row 7", "row 9"] and "no such member" in reasons["row 7"]


def test_datasets_of_which_nothing_is_left():
    subset = torch.utils.data.Subset(Damaged(), [7, 9])
    with pytest.raises(ValueError, match=r"none of 2 samples of X_unlab can be read; .*KeyError"):
        open_pool(subset, SPEC, check, "skip")
    with pytest.raises(ValueError, match="X_unlab is empty"):
        open_pool(torch.utils.data.Subset(Pairs(), []), SPEC, check)


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
    huge, rest = (str(item.content) for item, _ in read_shard(path))
    assert "too many for a row" in huge and "unexpected end of data" in rest
    longname, pax = tarfile.TarInfo("././@LongLink"), tarfile.TarInfo("x")
    longname.type, pax.type, longname.size, pax.size = b"L", b"x", 2**62, 2**70
    monsters = [entry.tobuf(tarfile.GNU_FORMAT) for entry in (longname, pax)]
    for content in (b"not a tar" * 200, whole[:1536], b"\x1f\x8b" + bytes(2000), *monsters):
        path.write_bytes(content)
        *_, (item, stop) = read_shard(path)
        assert stop == GIVEN_UP and item.name == str(path)
        assert "it is no uncompressed .tar file, or is damaged" in str(item.content)


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


def broken_png():
    """A picture whose second part is not one, which Pillow finds out when it decodes it."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    content = encoded(noise)
    second = content.index(b"IDAT", content.index(b"IDAT") + 4)
    return Image.open(io.BytesIO(content[:second] + b"\x00\x01\x02\x03" + content[second + 4 :]))


class Failing(Image.Image):
    error = struct.error("unpack requires a buffer of 4 bytes")

    def load(self):
        raise self.error


class Bomb(Failing):
    error = Image.DecompressionBombError("too many pixels")


@pytest.mark.parametrize("make", [broken_png, Failing, Bomb])
def test_pictures_that_fail_while_they_are_decoded(make):
    items = [Item("good", Image.fromarray(images()[3])), Item("bad", make())]
    decoder = RowDecoder(SPEC, check, "X_unlab", on_error="skip")
    assert numbers(decoder.rows(items)) == [3, 3] and list(decoder.skipped) == ["bad"]
    with pytest.raises(ValueError, match="X_unlab: bad: it cannot be read as an image"):
        RowDecoder(SPEC, check, "X_unlab").rows(items)


def test_arrays_are_checked_together_unless_one_does_not_fit():
    calls = []
    decoder = RowDecoder(SPEC, lambda rows: calls.append(len(rows)) or check(rows), "X_unlab")
    items = [Item(str(i), (torch.from_numpy(image), 0)) for i, image in enumerate(images(9))]
    assert numbers(decoder.rows(items)) == list(range(9)) and calls == [9]
    with pytest.raises(ValueError, match=r"X_unlab: wide: .* holds images of 1x4x5"):
        decoder.rows([*items, Item("wide", np.zeros((4, 5), np.uint8))])


def test_values_and_shapes_of_pictures():
    spec = InputSpec((3, 4, 4), "NHWC", "float32", -1.0, 1.0)
    decoder = RowDecoder(spec, np.asarray, "X_unlab")
    row = decoder.rows([Item("a", Image.new("RGB", (8, 6), (255, 0, 0)))])
    assert row.shape == (1, 3, 4, 4) and row.dtype == np.float32
    assert row[0, :, 1, 1].tolist() == [1, -1, -1]


DEEP = np.arange(16).reshape(4, 4) * 200


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        (InputSpec((1, 4, 4), "NHW", "uint8", 0.0, 16.0), np.full((4, 4), 9, np.uint8)),
        (InputSpec((1, 4, 4), "NHW", "uint16", 0.0, 4095.0), DEEP.astype(np.uint16)),
        (InputSpec((1, 4, 4), "NHW", "int32", 0.0, 4095.0), DEEP.astype(np.int32)),
        (InputSpec((1, 4, 4), "NHW", "float32", 0.0, 4.0), DEEP.astype(np.float32) / 1000),
        (InputSpec((4, 4, 4), "NHWC", "uint8", 0.0, 255.0), np.full((4, 4, 4), 77, np.uint8)),
    ],
    ids=["dark", "I;16", "I", "F", "RGBA"],
)
def test_opened_pictures_keep_the_values_that_training_images_have(spec, values):
    decoder = RowDecoder(spec, lambda rows: read_like(rows, spec, "X_unlab", None)[0], "X_unlab")
    (row,) = decoder.rows([Item("a", Image.fromarray(values))])
    assert np.array_equal(row, values.reshape(4, 4, -1).transpose(2, 0, 1))


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


def test_fit_leaves_out_rows_that_are_not_finite(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3))
    X[[4, 7], 1] = np.nan, np.inf
    np.save(tmp_path / "x.npy", X)
    model = CLSGANClassifier(max_steps=3, batch_size=16, random_state=0)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X[10:20], np.arange(10) % 2, tmp_path / "x.npy")
    with pytest.warns(UserWarning, match="could not be read and were left out"):
        model.set_params(on_error="skip").fit(X[10:20], np.arange(10) % 2, tmp_path / "x.npy")
    assert sorted(name for name, _ in model.skipped_) == ["row 4", "row 7"]


def test_fit_on_a_small_dataset_with_gaps(labeled):
    model = CLSGANClassifier(max_steps=3, batch_size=16, random_state=0, on_error="skip")
    with pytest.warns(UserWarning, match="could not be read and were left out"):
        model.fit(*labeled, Damaged())
    assert sorted(name for name, _ in model.skipped_) == ["row 7", "row 9"]
    assert model.n_unlabeled_ == N - 2


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
