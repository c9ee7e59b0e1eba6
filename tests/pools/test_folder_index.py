"""A folder's images in a file: the same order as sorted paths, whatever the folder."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsgan.inputs import InputSpec
from clsgan.photos import find_images, read_images
from clsgan.pools import unlabeled_pool
from clsgan.pools.folder_index import FolderIndex, walk_images
from clsgan.pools.packing import pack_folder
from clsgan.pools.tar_shards import find_shards
from clsgan.pools.unlabeled_pool import open_pool


@pytest.fixture
def tree(tmp_path):
    names = ("b.JPG", "a/z.png", "a/c.jpeg", ".hidden.png", ".cache/x.png", "a.png", "a-b/1.png")
    for name in (*names, "notes.txt", "a/ü\n.png"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).touch()
    (tmp_path / "tree" / "folder.png").mkdir()
    return tmp_path / "tree"


@pytest.mark.parametrize("run", [1, 2, 100])  # 1 and 2 names in memory: sorted through files
def test_the_order_is_that_of_sorted_parts(tree, run):
    found = [path for path in tree.rglob("*") if path.is_file() and path.suffix != ".txt"]
    relative = [path.relative_to(tree) for path in found]
    shown = [path for path in relative if not any(part.startswith(".") for part in path.parts)]
    expected = [str(path) for path in sorted(shown, key=lambda path: path.parts)]
    assert list(walk_images(tree, run)) == expected and len(expected) == 6


def test_what_was_written_comes_back(tree, tmp_path):
    index = FolderIndex.build(tree, tmp_path / "index")
    assert [index.name(i) for i in range(len(index))] == list(walk_images(tree))
    again = FolderIndex(tmp_path / "index")
    assert again.path(5) == tree / "b.JPG" and again.folder == str(tree)
    assert (tmp_path / "index").stat().st_size < 400


def test_names_that_are_no_text(tmp_path):
    (tmp_path / "tree").mkdir()
    raw = os.fsencode(tmp_path / "tree") + b"/\xff\xfe.png"
    Path(os.fsdecode(raw)).touch()
    assert os.fsencode(FolderIndex.build(tmp_path / "tree", tmp_path / "index").path(0)) == raw


def test_a_link_back_does_not_go_round(tree):
    (tree / "a" / "back").symlink_to(tree)
    assert len(list(walk_images(tree))) == 6


def test_a_link_elsewhere_is_followed(tree, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "1.png").touch()
    (tree / "linked").symlink_to(tmp_path / "other")
    assert "linked/1.png" in list(walk_images(tree))


@pytest.fixture
def walled(tmp_path, monkeypatch):
    """Three images, a link to itself, and a folder that may not be listed."""
    folder = tmp_path / "walled"
    for name in ("a.png", "b/1.png", "c.png", "locked/2.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 100).save(folder / name)
    (folder / "b" / "loop").symlink_to("loop")
    scandir = os.scandir

    def refuse(path):  # file modes do not hold back the superuser
        if isinstance(path, str) and path.endswith("/locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return folder


def test_what_cannot_be_walked_comes_like_a_file(walled):
    names = ["a.png", "b/1.png", "b/loop", "c.png", "locked"]
    assert list(walk_images(walled)) == list(walk_images(walled, run=1)) == names
    with pytest.raises(PermissionError, match="locked"):
        list(walk_images(walled / "locked"))


def test_what_cannot_be_walked_is_named_or_skipped(walled, monkeypatch):
    bad = {str(walled / "b" / "loop"), str(walled / "locked")}
    with pytest.raises(FileNotFoundError, match=r"no image at .*walled/b/loop"):
        read_images(find_images(walled))
    images, _, skipped = read_images(find_images(walled), on_error="skip")
    assert len(images) == 3 and {str(path) for path, _ in skipped} == bad
    monkeypatch.setattr(unlabeled_pool, "IN_MEMORY_BYTES", 0)
    spec = InputSpec((1, 8, 8), "NHW", "uint8", 0.0, 255.0)
    pool = open_pool(walled, spec, np.asarray, "skip")
    assert len(pool.stream(0).take(5)) == 5 and set(pool.skipped) == bad
    with pytest.raises(ValueError, match=r"X_unlab: .*walled/(b/loop|locked)"):
        open_pool(walled, spec, np.asarray).stream(0).take(5)


def test_what_cannot_be_walked_is_not_packed(walled, tmp_path):
    packed = pack_folder(walled, tmp_path / "shards")
    assert packed.n_samples == 3
    assert {path for path, _ in packed.skipped} == {f"{walled}/b/loop", f"{walled}/locked"}
    assert any("symbolic links" in reason for _, reason in packed.skipped)


def test_shards_beside_images_are_refused(walled):
    (walled / "c.tar").touch()
    with pytest.raises(ValueError, match=r"holds both shards \(c\.tar\) and images \(a\.png\)"):
        find_shards(walled)
    for name in ("a.png", "c.png"):
        (walled / name).unlink()
    with pytest.raises(ValueError, match=r"images \(b/1\.png\); give .*walled/\*\.tar for"):
        find_shards(str(walled))
    assert find_shards(f"{walled}/*.tar") == [walled / "c.tar"]
    (walled / "b" / "1.png").unlink()
    assert find_shards(walled) == [walled / "c.tar"], "what cannot be walked is no image"


def test_no_images(tmp_path):
    with pytest.raises(ValueError, match="no image in"):
        FolderIndex.build(tmp_path, tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_index_is_refused(tree, tmp_path, share):
    file = tmp_path / "index"
    FolderIndex.build(tree, file)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(ValueError, match="no index of a folder, or is truncated"):
        FolderIndex(file)
