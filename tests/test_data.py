"""Data sets: digits for real, Fashion-MNIST and CIFAR-10 where they are, formats for all."""

import gzip
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from sklearn.datasets import load_digits

from clsgan.data import DEBIAN_FASHION_MNIST, ImageData, find_data, load_data, prepare
from clsgan.data_sets import DATA_SETS
from clsgan.splits import split_hash, split_labels, split_name

PINNED = json.loads((Path(__file__).parents[1] / "data/splits.json").read_text())

needs_fashion_mnist = pytest.mark.skipif(
    not DEBIAN_FASHION_MNIST.is_dir(),
    reason="Debian's package dataset-fashion-mnist is not installed",
)
needs_cifar10 = pytest.mark.skipif(
    not os.environ.get("CLSGAN_CIFAR10_NPZ"),
    reason="the environment variable CLSGAN_CIFAR10_NPZ does not name a .npz file of CIFAR-10",
)


def check_pins(data: ImageData) -> None:
    """Every pinned split of this data set is drawn as pinned, and there is one at least."""
    pins = {name: value for name, value in PINNED.items() if name.startswith(f"{data.name}.seed")}
    assert pins
    for name, value in pins.items():
        seed, n_labels = map(int, name.split(".seed")[1].split("@"))
        assert split_name(data.name, seed, n_labels) == name
        assert split_hash(split_labels(data.y_train, n_labels, seed)) == value, name


def npz(path: Path, **changes) -> Path:
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (20, 6, 5, 3)).astype(np.uint8),
        "y_train": np.arange(20) % 4,
        "x_test": rng.integers(0, 256, (8, 6, 5, 3)).astype(np.uint8),
        "y_test": np.arange(8) % 4,
    }
    arrays.update(changes)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_digits(global_randomness_untouched):
    data = load_data("digits")
    assert data.name == "digits" and not data.flip and data.class_names == tuple("0123456789")
    assert data.x_train.shape == (1297, 8, 8) and data.x_test.shape == (500, 8, 8)
    assert data.x_train.dtype == np.uint8 and data.y_train.dtype == np.int64
    bunch = load_digits()
    both = np.concatenate([data.x_train, data.x_test]).reshape(1797, 64)
    expected = np.rint(bunch.data * 255 / 16).astype(np.uint8)
    order, expected_order = np.lexsort(both.T), np.lexsort(expected.T)
    assert np.array_equal(both[order], expected[expected_order])  # every digit once
    labels = np.concatenate([data.y_train, data.y_test])[order]
    assert np.array_equal(labels, bunch.target[expected_order])
    share = np.bincount(data.y_test) / np.bincount(bunch.target)
    assert np.abs(share - 500 / 1797).max() < 0.01  # stratified
    check_pins(data)


def test_digits_test_rows_are_pinned():
    x = load_digits().images
    test = np.rint(x * 255 / 16).astype(np.uint8).reshape(1797, 64)
    rows = {row.tobytes(): i for i, row in enumerate(test)}
    assert len(rows) == 1797  # no image twice, so that the rows can be told from the images
    found = [rows[row.tobytes()] for row in load_data("digits").x_test.reshape(500, 64)]
    assert split_hash(found) == PINNED["digits test rows"]


@needs_fashion_mnist
def test_fashion_mnist_from_the_debian_package(tmp_path):
    data = load_data("fashion-mnist", root=tmp_path)
    assert data.name == "fashion-mnist" and data.flip
    assert data.x_train.shape == (60_000, 28, 28) and data.x_test.shape == (10_000, 28, 28)
    assert np.array_equal(np.bincount(data.y_train), [6000] * 10)
    assert data.class_names[data.y_train[0]] == "Ankle boot"
    assert data.x_train.mean() == pytest.approx(72.94, abs=0.01)  # known: 0.2860 of 255
    check_pins(data)


@needs_fashion_mnist
def test_official_files_are_checked_by_md5(tmp_path):
    raw = tmp_path / "FashionMNIST/raw"
    shutil.copytree(DEBIAN_FASHION_MNIST, raw)
    assert prepare("fashion-mnist", tmp_path) == tmp_path  # all there: no network is asked
    labels = raw / "train-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(labels.read_bytes()))
    content[100] ^= 1  # one label
    labels.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte\.gz is corrupt .* MD5"):
        load_data("fashion-mnist", root=tmp_path)


@needs_cifar10
def test_cifar10_from_npz():
    data = load_data("cifar10", path=os.environ["CLSGAN_CIFAR10_NPZ"])
    assert data.name == {40_000: "cifar10-40k", 50_000: "cifar10"}[len(data.x_train)]
    assert data.x_train.shape[1:] == (32, 32, 3) and data.flip
    assert data.class_names[data.y_train[0]] == "frog"  # the first official image
    check_pins(data)


def write_idx(folder: Path, part: str, x: np.ndarray, y: np.ndarray, packed: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for what, array in (("images-idx3", x), ("labels-idx1", y)):
        sizes = b"".join(side.to_bytes(4, "big") for side in array.shape)
        body = bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()
        path = folder / f"{part}-{what}-ubyte"
        if packed:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(body))
        else:
            path.write_bytes(body)


@pytest.fixture
def small_mnist():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (30, 28, 28)).astype(np.uint8)
    return x[:20], np.arange(20) % 10, x[20:], np.arange(10)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("by_path", [True, False])
def test_idx_files(tmp_path, small_mnist, packed, by_path):
    raw = tmp_path / "MNIST/raw"
    write_idx(raw, "train", *small_mnist[:2], packed)
    write_idx(raw, "t10k", *small_mnist[2:], packed)
    if packed and not by_path:
        with pytest.raises(ValueError, match="MD5 sum is not that of the official file"):
            load_data("mnist", root=tmp_path)
        return
    data = load_data("mnist", path=raw) if by_path else load_data("mnist", root=tmp_path)
    assert data.name == "mnist-20" and not data.flip  # never taken for the whole of MNIST
    for got, expected in zip(
        (data.x_train, data.y_train, data.x_test, data.y_test), small_mnist, strict=True
    ):
        assert np.array_equal(got, expected)


def test_damaged_idx_files_are_named(tmp_path, small_mnist):
    write_idx(tmp_path, "train", *small_mnist[:2], packed=False)
    write_idx(tmp_path, "t10k", *small_mnist[2:], packed=False)
    images = tmp_path / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    for damaged in (whole[:-5], b"", b"\0\0\x08\x09" + whole[4:], b"\0\0\x0d\x03" + whole[4:]):
        images.write_bytes(damaged)
        with pytest.raises(ValueError, match="train-images-idx3-ubyte is corrupt"):
            load_data("mnist", path=tmp_path)
    images.unlink()
    Path(f"{images}.gz").write_bytes(gzip.compress(whole)[:-50])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is corrupt"):
        load_data("mnist", path=tmp_path)


@pytest.fixture
def small_svhn(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 30), ("test", 10)):
        x = rng.integers(0, 256, (32, 32, 3, n)).astype(np.uint8)
        y = (np.arange(n) % 10 + 1)[:, None].astype(np.uint8)  # 1..10, 10 for digit 0
        scipy.io.savemat(tmp_path / f"{part}_32x32.mat", {"X": x, "y": y})
        arrays[part] = x, y
    return tmp_path, arrays


def test_svhn(small_svhn):
    folder, arrays = small_svhn
    data = load_data("svhn", path=folder)
    assert data.name == "svhn-30" and not data.flip
    for x, y, part in ((data.x_train, data.y_train, "train"), (data.x_test, data.y_test, "test")):
        assert x.shape[1:] == (32, 32, 3) and x.flags.c_contiguous
        for i in range(len(x)):
            assert np.array_equal(x[i], arrays[part][0][..., i])
            assert y[i] == arrays[part][1][i, 0] % 10


def test_svhn_under_the_root_must_be_official(small_svhn, monkeypatch):
    from torchvision.datasets import SVHN
    from torchvision.datasets.utils import calculate_md5

    folder, _ = small_svhn
    with pytest.raises(ValueError, match=r"train_32x32\.mat is corrupt .* MD5"):
        load_data("svhn", root=folder)
    sums = {
        part: ["", f"{part}_32x32.mat", calculate_md5(folder / f"{part}_32x32.mat")]
        for part in ("train", "test")
    }
    monkeypatch.setattr(SVHN, "split_list", sums)
    assert load_data("svhn", root=folder).x_train.shape == (30, 32, 32, 3)


def test_damaged_mat_files_are_named(small_svhn):
    folder, arrays = small_svhn
    file = folder / "train_32x32.mat"
    for damaged in (file.read_bytes()[:5000], b"", b"no mat file" * 50):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"train_32x32\.mat is corrupt"):
            load_data("svhn", path=folder)
    scipy.io.savemat(file, {"X": arrays["train"][0]})
    with pytest.raises(ValueError, match="no 'y' in it"):
        load_data("svhn", path=folder)
    scipy.io.savemat(file, {"X": arrays["train"][0], "y": np.ones((7, 1))})
    with pytest.raises(ValueError, match="30\\) and 7 labels"):
        load_data("svhn", path=folder)


def test_cifar10_in_the_official_layout(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import calculate_md5

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for i, name in enumerate(names):
        planes = x[2 * i : 2 * i + 2].transpose(0, 3, 1, 2).reshape(2, 3072)
        with open(folder / name, "wb") as file:
            pickle.dump({"data": planes, "labels": [i, 9 - i]}, file)
    with open(folder / "batches.meta", "wb") as file:
        pickle.dump({"label_names": ["a"] * 10}, file)
    with pytest.raises(ValueError, match="a file is not the official one"):
        load_data("cifar10", root=tmp_path)
    sums = [[name, calculate_md5(folder / name)] for name in names]
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
    meta = {**CIFAR10.meta, "md5": calculate_md5(folder / "batches.meta")}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    data = load_data("cifar10", root=tmp_path)
    assert np.array_equal(np.concatenate([data.x_train, data.x_test]), x)
    assert data.y_train.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert data.y_test.tolist() == [5, 4] and data.name == "cifar10-10"


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "svhn"])
def test_absent_data_say_where_they_were_sought_and_what_to_do(name, tmp_path, monkeypatch):
    monkeypatch.setattr("clsgan.data.DEBIAN_FASHION_MNIST", tmp_path / "none")
    monkeypatch.setenv("CLSGAN_DATA", str(tmp_path / "data"))
    with pytest.raises(FileNotFoundError) as caught:
        load_data(name)
    message = str(caught.value)
    assert f"clsgan prepare {name}" in message.splitlines()
    assert str(tmp_path / "data" / DATA_SETS[name].folder) in message
    assert "data.path=FILE.npz" in message
    assert not (tmp_path / "data").exists()


def test_absent_data_under_a_root_are_prepared_into_it(tmp_path):
    root = tmp_path / "my data"
    with pytest.raises(FileNotFoundError) as caught:
        load_data("svhn", root=root)
    assert f"clsgan prepare svhn --root '{root}'" in str(caught.value).splitlines()


def test_data_are_found_where_they_lie(small_svhn, monkeypatch):
    folder, _ = small_svhn
    assert find_data("svhn", folder) == folder
    monkeypatch.setenv("CLSGAN_DATA", str(folder))
    assert find_data("svhn") == folder and find_data("mnist") is None
    (folder / "test_32x32.mat").unlink()
    assert find_data("svhn") is None
    assert find_data("digits", "anywhere") == Path("anywhere")
    with pytest.raises(ValueError, match="did you mean 'svhn'"):
        find_data("svnh")


def test_npz(tmp_path):
    path = npz(tmp_path / "birds.npz", y_train=np.array([-1, 0, 1, 2, 3] * 4, dtype=np.int8))
    data = load_data("npz", path=path)
    assert data.name == "birds" and data.flip and data.class_names == ("0", "1", "2", "3")
    with np.load(path) as content:
        assert np.array_equal(data.x_train, content["x_train"])
        assert np.array_equal(data.y_train, content["y_train"])
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    named = npz(tmp_path / "named.npz", class_names=np.array(["a", "b", "c", "d", "e"]))
    assert load_data("npz", path=str(named)).class_names == ("a", "b", "c", "d", "e")
    grey = np.zeros((20, 6, 5), np.uint8)
    assert not load_data("npz", path=npz(tmp_path / "g.npz", x_train=grey, x_test=grey[:8])).flip


def test_npz_of_rows(tmp_path):
    rows = np.random.default_rng(0).normal(size=(20, 7)).astype(np.float32)
    data = load_data("npz", path=npz(tmp_path / "rows.npz", x_train=rows, x_test=rows[:8]))
    assert np.array_equal(data.x_train, rows) and data.x_train.dtype == np.float32
    assert not data.flip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, r"it lacks \['y_test'\] of .*has \['x_train', 'y_train', 'x_test'\]"),
        ({"x_train": np.zeros((20, 6, 5, 3))}, "x_train of .* must be uint8 .* got float64"),
        ({"x_train": np.zeros((20, 90), np.uint8)}, r"or rows .* uint8 of shape \(20, 90\)"),
        ({"x_train": np.zeros((20, 90))}, r"differ in shape: \(90,\) for training"),
        ({"x_test": np.zeros((0, 6, 5, 3), np.uint8)}, r"x_test .* of shape \(0, 6, 5, 3\)"),
        ({"x_train": np.zeros((20, 3, 32, 32), np.uint8)}, "channels stand first"),
        ({"x_test": np.zeros((8, 7, 5, 3), np.uint8)}, "differ in shape"),
        ({"y_train": np.arange(19)}, "y_train of .* must be 20 integers"),
        ({"y_train": np.arange(20) / 2}, "y_train of .* got float64"),
        ({"y_train": np.arange(20) - 2}, r"y_train .* must be in -1\.\.17 .* got -2\.\.17"),
        ({"y_test": np.arange(8) - 1}, r"y_test .* must be in 0\.\.6"),
        ({"y_train": np.arange(20) * 1000}, r"go up to 19000 with 20 training rows"),
        ({"y_train": np.array([{}] * 20)}, "cannot be read as a data set: Object arrays"),
        ({"class_names": np.array(["a", "b"])}, r"must be in -1\.\.1 .* got 0\.\.3"),
    ],
)
def test_files_that_cannot_serve_say_why(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load_data("npz", path=npz(tmp_path / "bad.npz", **changes))


def test_paths_that_cannot_serve_say_why(tmp_path):
    with pytest.raises(ValueError, match=r"needs the file: data\.path=FILE\.npz"):
        load_data("npz")
    with pytest.raises(FileNotFoundError, match=r"data\.path=.*nowhere\.npz"):
        load_data("cifar10", path=tmp_path / "nowhere.npz")
    for content in (b"", b"text", npz(tmp_path / "whole.npz").read_bytes()[:900]):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.npz cannot be read as a data set"):
            load_data("npz", path=tmp_path / "bad.npz")
    np.save(tmp_path / "bare.npy", np.zeros(3))
    with pytest.raises(ValueError, match="one bare array"):
        load_data("npz", path=tmp_path / "bare.npy")
    with pytest.raises(ValueError, match=r"is read from a \.npz file"):
        load_data("cifar10", path=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"train_32x32\.mat, test_32x32\.mat not found in"):
        load_data("svhn", path=tmp_path)
    with pytest.raises(ValueError, match=r"shape \(28, 28\), got \(6, 5, 3\)"):
        load_data("mnist", path=npz(tmp_path / "birds.npz"))


@pytest.mark.parametrize(("n", "name"), [(40_000, "cifar10-40k"), (50_000, "cifar10")])
def test_the_number_of_training_rows_is_part_of_the_name(tmp_path, n, name):
    x, y = np.zeros((n, 32, 32, 3), np.uint8), np.arange(n) % 10
    path = npz(tmp_path / "any.npz", x_train=x, y_train=y, x_test=x[:10], y_test=y[:10])
    assert load_data("cifar10", path=path).name == name


def test_unknown_names_give_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'fashion-mnist'"):
        load_data("fashion_mnist")
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        prepare("cifar-10")
    with pytest.raises(ValueError, match="'npz' is not known"):
        prepare("npz")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a web server of this folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_prepare_downloads_what_load_data_reads(small_svhn, tmp_path, monkeypatch):
    from torchvision.datasets import SVHN
    from torchvision.datasets.utils import calculate_md5

    source, _ = small_svhn
    root = tmp_path / "root"
    with serving(source) as address:
        urls = {
            part: [f"{address}/{part}_32x32.mat", f"{part}_32x32.mat", calculate_md5(file)]
            for part in ("train", "test")
            for file in [source / f"{part}_32x32.mat"]
        }
        monkeypatch.setattr(SVHN, "split_list", urls)
        assert prepare("svhn", root) == root
    assert load_data("svhn", root=root).x_train.shape == (30, 32, 32, 3)
    assert not (root / "extra_32x32.mat").exists()


def test_prepare_refuses_corrupt_files_that_are_there(small_svhn):
    folder, _ = small_svhn  # not the official ones
    with pytest.raises(ValueError, match=r"train_32x32\.mat is corrupt .* MD5"):
        prepare("svhn", folder)


def test_prepare_without_a_network_says_what_to_bring_where(tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", [(tmp_path / "unplugged").as_uri() + "/"])
    with pytest.raises(ConnectionError) as caught:
        prepare("mnist", tmp_path / "root")
    message = str(caught.value)
    assert "downloading mnist failed" in message and "train-images-idx3-ubyte" in message
    assert str(tmp_path / "root/MNIST/raw") in message


def test_prepare_digits_needs_nothing(tmp_path):
    assert prepare("digits", tmp_path / "root") == tmp_path / "root"
    assert not (tmp_path / "root").exists()


def test_import_is_light():
    code = "import sys, clsgan.data, clsgan.photos; print('torchvision' in sys.modules)"
    code += "; print('PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
