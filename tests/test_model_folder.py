"""Two files that run nothing: whole, readable, and never in the way of what is there."""

import json
import os
import pickle
import shutil
import signal
import warnings
from pathlib import Path

import pytest
import torch

from clsgan import model_folder, replaced_folder
from clsgan.folder_lock import FolderLock
from clsgan.model_folder import DOCUMENT, FORMAT, TENSORS, read_model, write_model

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2]), "c": torch.tensor(True)}


@pytest.fixture
def folder(tmp_path):
    return write_model(tmp_path / "model", WEIGHTS, {"kind": "test", "names": ["ä"]})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_round_trip(folder):
    tensors, document = read_model(folder)
    assert document == {"format": FORMAT, "kind": "test", "names": ["ä"]}
    assert set(tensors) == set(WEIGHTS)
    for name, tensor in WEIGHTS.items():
        assert torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype


def test_tensors_that_share_memory_or_have_gaps(tmp_path):
    base = torch.arange(12.0).view(3, 4)
    given = {"one": base, "same": base, "column": base[:, 1], "turned": base.T}
    tensors, _ = read_model(write_model(tmp_path / "model", given, {}))
    assert all(torch.equal(tensors[name], tensor) for name, tensor in given.items())


def test_only_two_files_in_a_folder_others_may_read(folder):
    assert sorted(path.name for path in folder.iterdir()) == [DOCUMENT, TENSORS]
    assert folder.stat().st_mode & 0o755 == 0o755
    assert [path.name for path in folder.parent.iterdir()] == ["model"], "nothing is left aside"


def test_parents_are_made(tmp_path):
    assert read_model(write_model(tmp_path / "a" / "b", WEIGHTS, {}))


def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model("model", WEIGHTS, {})
    assert read_model("model")[1] == {"format": FORMAT}


# Reading what is not right


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model folder at .*nowhere"):
        read_model(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [DOCUMENT, TENSORS])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        read_model(folder)


@pytest.mark.parametrize("name", [DOCUMENT, TENSORS])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_named(folder, name, share):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(share * (len(whole) - 2))])
    with pytest.raises(ValueError, match=f"{name} is truncated or corrupt"):
        read_model(folder)


@pytest.mark.parametrize("name", [DOCUMENT, TENSORS])
def test_a_pickle_is_not_opened(folder, name):
    class Evil:
        def __reduce__(self):
            return (Path(folder / "ran").touch, ())

    (folder / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=f"{name} is truncated or corrupt"):
        read_model(folder)
    assert not (folder / "ran").exists()


def test_a_newer_format(folder):
    (folder / DOCUMENT).write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(ValueError, match=f"has format {FORMAT + 1}.*reads up to {FORMAT}; update"):
        read_model(folder)


@pytest.mark.parametrize(
    "text",
    ["[]", "3", "null", "{}", '{"format": "1"}', '{"format": null}', '{"format": 1.5}'],
)
def test_json_that_is_no_model(folder, text):
    (folder / DOCUMENT).write_text(text)
    with pytest.raises(ValueError, match="is not a clsgan model file"):
        read_model(folder)


@pytest.mark.parametrize("text", ['{"format": true}', '{"format": 0}', '{"format": -3}'])
def test_formats_that_never_were(folder, text):
    (folder / DOCUMENT).write_text(text)
    with pytest.raises(ValueError, match="is not a clsgan model file"):
        read_model(folder)


def test_deeply_nested_json(folder):
    (folder / DOCUMENT).write_text('{"format": 1, "a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(ValueError, match="is truncated or corrupt"):
        read_model(folder)


@pytest.mark.parametrize("name", [DOCUMENT, TENSORS])
def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path, name):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=f"{name} is a link"):
        read_model(folder)


def test_a_number_of_a_million_digits(folder):
    (folder / DOCUMENT).write_text('{"format": ' + "9" * 10**6 + "}")
    with pytest.raises(ValueError, match=f"{DOCUMENT} is truncated or corrupt"):
        read_model(folder)


def test_tensors_that_declare_more_than_they_hold(folder):
    header = b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    (folder / TENSORS).write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match=f"{TENSORS} is truncated or corrupt"):
        read_model(folder)


def test_a_document_of_absurd_size(folder):
    with (folder / DOCUMENT).open("ab") as file:
        file.truncate(model_folder.MAX_DOCUMENT_BYTES + 1)
    with pytest.raises(ValueError, match="larger than"):
        read_model(folder)


# Writing never destroys


def test_a_document_too_large_to_be_loaded_is_not_written(folder, monkeypatch):
    before = contents(folder)
    document = {"kind": "test", "history": [{"step": k} for k in range(300)]}
    n_bytes = len(json.dumps({"format": FORMAT, **document}, separators=(",", ":")))
    monkeypatch.setattr(model_folder, "MAX_DOCUMENT_BYTES", n_bytes - 1)
    with pytest.raises(ValueError, match=rf"has {n_bytes} bytes, of which 3\d{{3}} are its 'hist"):
        write_model(folder, {}, document, overwrite=True)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"], "nothing is left aside"
    monkeypatch.setattr(model_folder, "MAX_DOCUMENT_BYTES", n_bytes)
    write_model(folder, {}, document, overwrite=True)
    assert read_model(folder)[1] == {"format": FORMAT, **document}


def test_the_document_is_compact(folder):
    text = (folder / DOCUMENT).read_text()
    assert "\n" not in text and ", " not in text and ": " not in text


def test_an_existing_model_is_kept_unless_told(folder):
    before = contents(folder)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_model(folder, {}, {"new": 1})
    assert contents(folder) == before
    write_model(folder, {}, {"new": 1}, overwrite=True)
    assert read_model(folder) == ({}, {"format": FORMAT, "new": 1})
    assert [path.name for path in folder.parent.iterdir()] == ["model"], "the old one is gone"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_never_replaced(tmp_path, overwrite):
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="give another folder"):
        write_model(target, WEIGHTS, {}, overwrite=overwrite)
    assert contents(target) == {"chapter.txt": b"years of work"}


def test_a_model_folder_with_something_added_is_not_replaced(folder):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        write_model(folder, {}, {}, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_file_is_not_replaced(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file; give a folder"):
        write_model(tmp_path / "file", WEIGHTS, {}, overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "model").mkdir()
    write_model(tmp_path / "model", WEIGHTS, {"kind": "test"})
    assert read_model(tmp_path / "model")[1]["kind"] == "test"


@pytest.mark.parametrize("step", ["weights", "document", "rename"])
def test_a_failure_on_the_way_leaves_the_old_model_whole(folder, monkeypatch, step):
    before = contents(folder)

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    if step == "weights":
        monkeypatch.setattr("safetensors.torch.save_file", fail)
    elif step == "document":
        monkeypatch.setattr(Path, "write_text", fail)
    else:
        rename = Path.rename
        monkeypatch.setattr(
            Path,
            "rename",
            lambda self, target: (
                fail()
                if (self / "model.json").exists() and "new" in (self / DOCUMENT).read_text()
                else rename(self, target)
            ),
        )
    with pytest.raises(OSError, match="no space left"):
        write_model(folder, {}, {"new": 1}, overwrite=True)
    monkeypatch.undo()
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"], "nothing is left aside"


@pytest.mark.parametrize("n_bytes", [100, 2_000, 12_000])
def test_a_disk_that_is_full(folder, n_bytes, full_disk):
    """Whichever file it is: safetensors has an error of its own, which is no OSError."""
    before = contents(folder)
    weights = {"a": torch.zeros(2_500 if n_bytes < 12_000 else 1)}
    document = {"new": "x" * 20_000}
    with full_disk(n_bytes):
        with pytest.raises(OSError, match=r"cannot be written to .*model: .*there stays") as caught:
            write_model(folder, weights, document, overwrite=True)
        with pytest.raises(OSError, match=r"other: .*[Ff]ile too large") as fresh:
            write_model(folder.parent / "other", weights, document)
    assert TENSORS in str(caught.value) or n_bytes == 12_000
    assert "stays" not in str(fresh.value)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"], "nothing is left aside"
    assert read_model(folder)[1]["kind"] == "test"


# A process that is killed while it replaces a model


def killed_behind_rename(number: int, folder: Path) -> None:
    """Replace a model in a process of its own, which is killed behind a rename."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    child = os.fork()
    if child:
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        return
    try:
        rename, done = Path.rename, []

        def rename_then_die(self, target):
            rename(self, target)
            done.append(self)
            if len(done) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        Path.rename = rename_then_die
        write_model(folder, {}, {"new": 1}, overwrite=True)
    finally:
        os._exit(1)


@pytest.fixture
def cut_off(folder):
    """The folder of a model that was moved away by a process which was killed then."""
    killed_behind_rename(1, folder)
    assert not folder.exists()
    return folder


def quietly(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_model(folder)[1]


def test_a_model_that_was_moved_away_is_read(cut_off):
    names = sorted(path.name for path in cut_off.parent.iterdir())
    for _ in range(2):
        with pytest.warns(UserWarning, match="was to be replaced, and that did not end") as caught:
            assert read_model(cut_off)[1]["kind"] == "test"
        assert str(cut_off.parent / names[0]) in str(caught[0].message)
    assert sorted(path.name for path in cut_off.parent.iterdir()) == names, "reading moves nothing"


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_next_save_puts_it_back_first(cut_off, overwrite):
    if overwrite:
        write_model(cut_off, {}, {"newer": 1}, overwrite=True)
        assert quietly(cut_off) == {"format": FORMAT, "newer": 1}
    else:
        with pytest.raises(FileExistsError, match="overwrite=True"):
            write_model(cut_off, {}, {"newer": 1})
        assert quietly(cut_off)["kind"] == "test"
    assert [path.name for path in cut_off.parent.iterdir()] == ["model"], "nothing is left aside"


def test_remains_of_a_save_that_came_to_its_end_are_removed(folder):
    killed_behind_rename(2, folder)
    assert quietly(folder) == {"format": FORMAT, "new": 1}
    assert len(list(folder.parent.iterdir())) == 2, "with the old one"
    write_model(folder, {}, {"newer": 1}, overwrite=True)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_what_other_saves_are_at_is_left_alone(folder, tmp_path):
    work = tmp_path / f"{replaced_folder._prefix(folder)}abc"
    others = [tmp_path / ".model-2.saving-abc", tmp_path / ".model.saving-a.b"]
    for path in (work, *others):
        (path / replaced_folder.NEW).mkdir(parents=True)
    with FolderLock(work):  # of a process that is alive
        write_model(folder, {}, {"new": 1}, overwrite=True)
        assert (work / replaced_folder.NEW).exists()
    write_model(folder, {}, {"newer": 1}, overwrite=True)
    assert not work.exists() and all(path.exists() for path in others)


def test_a_save_that_is_under_way_is_no_remain(folder):
    with replaced_folder.written_aside(folder) as aside:
        replaced_folder.put_back(folder)
        (aside / "file").touch()
    assert contents(folder) == {"file": b""}


def test_an_interrupt_between_the_renames(folder, monkeypatch):
    before, rename = contents(folder), Path.rename

    def interrupted(self, target):
        if target == folder and self.name == replaced_folder.NEW:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_model(folder, {}, {"new": 1}, overwrite=True)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"], "nothing is left aside"


def test_a_model_that_cannot_come_back_is_not_removed(folder, monkeypatch):
    rename = Path.rename

    def away_only(self, target):
        if target == folder:
            raise OSError("the disk went away")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", away_only)
        with pytest.raises(OSError, match="the disk went away"):
            write_model(folder, {}, {"new": 1}, overwrite=True)
    with pytest.warns(UserWarning, match="was to be replaced"):
        assert read_model(folder)[1]["kind"] == "test"


def test_a_link_is_no_model_that_was_moved_away(cut_off, tmp_path):
    (work,) = cut_off.parent.iterdir()
    (work / replaced_folder.OLD).rename(tmp_path / "elsewhere")
    (work / replaced_folder.OLD).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="no model folder at"):
        read_model(cut_off)


def test_the_disk_has_files_and_folders_before_the_old_model_goes(folder, monkeypatch):
    synced, fsync = [], os.fsync

    def watched(handle):
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        return fsync(handle)

    if not Path("/proc/self/fd").exists():
        pytest.skip("nothing tells what a handle is of")
    monkeypatch.setattr(os, "fsync", watched)
    monkeypatch.setattr(
        replaced_folder.shutil, "rmtree", lambda path, **options: synced.append("removed")
    )
    write_model(folder, {}, {"new": 1}, overwrite=True)
    names = [Path(path).name for path in synced]
    assert names == [TENSORS, DOCUMENT, replaced_folder.NEW, folder.parent.name, "removed"]


def test_what_json_cannot_hold_is_not_half_written(folder):
    before = contents(folder)
    for document in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises((ValueError, TypeError)):
            write_model(folder, {}, document, overwrite=True)
    assert contents(folder) == before


def test_a_model_that_was_replaced_does_not_come_back_where_the_new_one_is_deleted(
    folder, monkeypatch
):
    with monkeypatch.context() as patch:  # killed before it could clear up
        patch.setattr(replaced_folder.shutil, "rmtree", lambda *args, **kwargs: None)
        write_model(folder, {}, {"new": 1}, overwrite=True)
    assert len(list(folder.parent.iterdir())) == 2, "with what is left"
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        read_model(folder)
    write_model(folder, {}, {"newer": 1})
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
