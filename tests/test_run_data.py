"""The rows of a run: every row is used once, and the same recipe draws the same ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsgan.config import DataConfig
from clsgan.data import load_data
from clsgan.run_data import load_run_data


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of ten images of mixed sizes."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(10):
            pixels = rng.integers(0, 256, (8 + k, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{k}.png")
    return tmp_path / "photos"


def test_digits_rows_are_labeled_or_unlabeled() -> None:
    data = load_run_data(DataConfig(name="digits", labels=100, seed=3))
    whole = load_data("digits")
    assert (len(data.x_lab), len(data.x_unlab)) == (100, len(whole.x_train) - 100)
    assert np.bincount(data.y_lab).tolist() == [10] * 10
    np.testing.assert_array_equal(data.x_lab, whole.x_train[data.labeled_rows])
    together = np.concatenate([data.x_lab, data.x_unlab]).reshape(len(whole.x_train), -1)
    assert sorted(map(bytes, together)) == sorted(
        map(bytes, whole.x_train.reshape(len(together), -1))
    )
    assert (data.split, data.flip, data.layout) == ("digits.seed3@100", False, "NHW")
    assert data.named(data.y_lab[:1]).tolist() == [str(data.y_lab[0])]


def test_the_seed_decides_the_rows() -> None:
    draws = [load_run_data(DataConfig(name="digits", labels=100, seed=s)) for s in (0, 0, 1)]
    assert draws[0].split_hash == draws[1].split_hash != draws[2].split_hash


def test_all_labels_leave_no_unlabeled_rows() -> None:
    data = load_run_data(DataConfig(name="digits"))
    assert data.x_unlab is None and len(data.x_lab) == 1297
    assert data.split == "digits.seed0@1297"


def test_rows_marked_unlabeled_in_a_file_stay_unlabeled(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (30, 6, 6, 3), dtype=np.uint8)
    y = np.r_[np.arange(20) % 2, np.full(10, -1)]
    np.savez(tmp_path / "my.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    data = load_run_data(DataConfig(name="npz", path=str(tmp_path / "my.npz"), labels=8))
    assert len(data.x_lab) == 8 and set(data.y_lab) == {0, 1}
    assert len(data.x_unlab) == 22 and data.split == "my.seed0@8" and data.layout == "NHWC"
    assert len(load_run_data(DataConfig(name="npz", path=str(tmp_path / "my.npz"))).x_lab) == 20


def test_a_folder_is_held_out_by_class(photos: Path) -> None:
    data = load_run_data(DataConfig(name="folder", path=str(photos)))
    assert sorted(data.y_test.tolist()) == ["cat"] * 2 + ["dog"] * 2
    assert len(data.x_lab) == 16 and data.x_unlab is None
    assert not set(data.x_lab) & set(data.x_test)
    for paths, names in ((data.x_lab, data.y_lab), (data.x_test, data.y_test)):
        assert [path.parent.name for path in paths] == names.tolist()
    assert "4 images held out" in data.notes[0] and data.flip is None
    again = load_run_data(DataConfig(name="folder", path=str(photos)))
    assert again.x_test == data.x_test


def test_a_folder_with_few_labels_and_more_images(photos: Path) -> None:
    flat, test = photos / "cat", photos  # any folder of images will do
    config = DataConfig(
        name="folder", path=str(photos), labels=4, unlabeled=str(flat), test=str(test)
    )
    data = load_run_data(config)
    assert len(data.x_lab) == 4 and len(data.x_unlab) == 16 and len(data.x_test) == 20
    assert data.notes == () and data.pool == str(flat)
    assert data.unlabeled.data == data.x_unlab and data.unlabeled.more == (str(flat),)


def test_what_cannot_be_split_is_explained(photos: Path) -> None:
    with pytest.raises(ValueError, match=r"needs data\.path=FOLDER"):
        load_run_data(DataConfig(name="folder"))
    with pytest.raises(ValueError, match=r"data\.test belongs to data\.name=folder"):
        load_run_data(DataConfig(name="digits", test=str(photos)))
    for path in list((photos / "dog").iterdir())[1:]:
        path.unlink()
    with pytest.raises(ValueError, match=r"cannot be held out .* give data\.test=FOLDER"):
        load_run_data(DataConfig(name="folder", path=str(photos)))
