"""RunLog: what is written while training can be read back, and only the first process writes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from clsgan import runlog
from clsgan.runlog import METRICS_FILE, TENSORBOARD_FOLDER, RunLog


def read_lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]


def records(raw: bytes) -> Iterator[bytes]:
    """Of a file of TensorBoard: length [8], its checksum [4], the record, its checksum [4]."""
    at = 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 8], "little")
        yield raw[at + 12 : at + 12 + size]
        at += 12 + size + 4


def test_records_and_json_lines_say_the_same(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.write(1, loss=0.5, lr=torch.tensor(0.25))
        log.write(2, loss=0.25)
    assert log.records == [{"step": 1, "loss": 0.5, "lr": 0.25}, {"step": 2, "loss": 0.25}]
    assert read_lines(tmp_path) == log.records


def test_lines_are_readable_before_the_log_is_closed(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "made" / "for me")
    log.write(7, loss=1.0)
    assert read_lines(tmp_path / "made" / "for me") == [{"step": 7, "loss": 1.0}]
    log.close()


def test_a_second_run_in_the_same_folder_appends(tmp_path: Path) -> None:
    for step in (1, 2):
        with RunLog(tmp_path) as log:
            log.write(step, loss=1.0)
    assert [line["step"] for line in read_lines(tmp_path)] == [1, 2]


def test_going_on_cuts_off_lines_of_its_own_folder_alone(tmp_path: Path) -> None:
    saved: dict[str, object] = {}
    for name in ("a", "b"):
        with RunLog(tmp_path / name) as log:
            log.write(1, loss=1.0)
            saved = saved or log.state_dict()
            log.write(2, loss=1.0)
            log.write(3, loss=1.0)
    for name, steps in (("b", [1, 2, 3, 2]), ("a", [1, 2])):
        with RunLog(tmp_path / "b" / ".." / name) as log:
            log.load_state_dict(saved, step=1)
            log.write(2, loss=1.0)
        assert log.records == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 1.0}]
        assert [line["step"] for line in read_lines(tmp_path / name)] == steps


def test_values_that_are_not_finite_stay_valid_json(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.write(1, loss=float("nan"), margin=float("-inf"))

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is not JSON")

    line = json.loads((tmp_path / METRICS_FILE).read_text(), parse_constant=refuse)
    assert math.isnan(float(line["loss"])) and float(line["margin"]) == -math.inf


def test_tensorboard_events_hold_the_values(tmp_path: Path) -> None:
    from tensorboardX.proto import event_pb2

    with RunLog(tmp_path) as log:
        log.write(3, loss=0.5)
    (events,) = (tmp_path / TENSORBOARD_FOLDER).glob("events.out.tfevents.*")
    found: dict[str, tuple[int, float]] = {}
    for record in records(events.read_bytes()):
        event = event_pb2.Event.FromString(record)
        found |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
    assert found == {"loss": (3, 0.5)}


def test_events_after_a_purge_take_the_place_of_older_ones(tmp_path: Path) -> None:
    from tensorboardX.proto import event_pb2

    with RunLog(tmp_path) as log:
        state = log.state_dict()
    with RunLog(tmp_path) as log:
        log.load_state_dict(state, step=4)
        log.write(5, loss=0.5)
    (events,) = (tmp_path / TENSORBOARD_FOLDER).glob("events.out.tfevents.*")
    found = [event_pb2.Event.FromString(raw) for raw in records(events.read_bytes())]
    assert found[0].file_version == "brain.Event:2"
    assert found[1].step == 5 and found[1].session_log.status == event_pb2.SessionLog.START
    assert found[2].step == 5 and found[2].summary.value[0].tag == "loss"


def test_a_full_disk_names_the_file_and_leaves_whole_lines(tmp_path: Path, full_disk: Any) -> None:
    log = RunLog(tmp_path)
    log.write(1, loss=1.0)
    told = pytest.raises(OSError, match=r"metrics\.jsonl cannot be written at step 2: .*too large")
    with full_disk(200), told:
        log.write(2, **{f"a_long_name_{k}": 1.0 for k in range(20)})
    log.close()
    assert read_lines(tmp_path) == [{"step": 1, "loss": 1.0}]


def test_a_disk_that_has_no_room_for_events_is_told_and_not_waited_for(
    tmp_path: Path, full_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runlog, "FLUSH_SECONDS", 0.0)
    told = pytest.raises(OSError, match=r"tensorboard cannot be written at step \d+: .*large")
    with RunLog(tmp_path) as log, full_disk(500), told:
        for step in range(100):
            log.write(step, loss=1.0)
    assert read_lines(tmp_path) == log.records


def test_events_that_cannot_be_written_at_the_end_are_told(tmp_path: Path, full_disk: Any) -> None:
    log = RunLog(tmp_path)
    log.write(1, loss=1.0)
    told = pytest.raises(OSError, match=r"tensorboard cannot be written to its end: .*large")
    with full_disk(20), told:
        log.close()
    log.close()
    assert read_lines(tmp_path) == [{"step": 1, "loss": 1.0}]


def test_checkpoints_stay_good_where_the_log_cannot_be_written(
    tiny: Any, digits: Any, tmp_path: Path
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    alone = tiny().fit(digits.x_lab, digits.y_lab)
    model = tiny(checkpoint=tmp_path / "c", checkpoint_every=0, log_dir=tmp_path / "log")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / METRICS_FILE).symlink_to(full)
    with pytest.raises(OSError, match=r"metrics\.jsonl cannot be written at step \d: .*No space"):
        model.fit(digits.x_lab, digits.y_lab)
    (tmp_path / "log" / METRICS_FILE).unlink()
    model.set_params(resume=True).fit(digits.x_lab, digits.y_lab)
    assert (model.predict_loss(digits.x_test) == alone.predict_loss(digits.x_test)).all()
    assert [line["step"] for line in read_lines(tmp_path / "log")][-1] == model.n_steps_ == 3


def test_other_processes_write_and_show_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunLog(tmp_path / "run", verbose=1, is_global_zero=False) as log:
        log.write(1, loss=0.5)
        log.update(0.5, "half")
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().err == ""
    assert log.records == [{"step": 1, "loss": 0.5}]


def test_bar_shows_percent_and_text_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(verbose=1, total_seconds=20) as log:
        log.update(0.5, "loss 0.42 · 850 images/s")
        log.update(0.25)  # never backwards
        log.update(7.0)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "20 s" in captured.err
    assert "100%" in captured.err and "loss 0.42 · 850 images/s" in captured.err


def test_no_bar_and_no_file_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog() as log:
        log.write(1, loss=1.0)
        log.update(0.5, "half")
    assert capsys.readouterr().err == ""


def test_bar_is_closed_when_training_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), RunLog(verbose=1, total_steps=10) as log:
        raise RuntimeError("training failed")
    log.update(1.0, "after the end")
    assert "after the end" not in capsys.readouterr().err
