"""A folder's images in a file: the same order as sorted paths, whatever the folder."""

import os
from pathlib import Path

import pytest

from clsgan.pools.folder_index import FolderIndex, walk_images


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
