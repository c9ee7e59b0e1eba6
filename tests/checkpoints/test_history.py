"""The log in checkpoints: any length, every number as it was."""

import json
import math

import pytest
import torch

from clsgan.checkpoints.file import checkpoint_files, read_checkpoint, write_checkpoint
from clsgan.checkpoints.history import pack_history, unpack_history

RECORDS = [
    {"step": 25, "labeled": 0.1, "seconds": 1 / 3},
    {"step": 30, "validation_error": 0.25},
    {"step": 50, "labeled": math.inf, "seconds": 5e-324},
    {"step": 2**53, "labeled": -0.0, "seconds": 1e308},
    {"step": 60},
]


@pytest.mark.parametrize("records", [RECORDS, RECORDS[:1], []])
def test_records_come_back_as_they_were(records):
    again = unpack_history(*pack_history(records))
    assert [list(record.items()) for record in again] == [list(r.items()) for r in records]
    assert all(isinstance(record["step"], int) for record in again)


def test_a_nan_comes_back():
    (record,) = unpack_history(*pack_history([{"step": 1, "loss": math.nan}]))
    assert math.isnan(record["loss"])


def test_a_log_beyond_the_limit_of_a_header(tmp_path):
    names = [f"a_term_of_the_loss_{i}" for i in range(20)]
    record = dict.fromkeys(names, 1 / 3)
    records = [{"step": i, **record} for i in range(200_000)]
    assert len(json.dumps(records[0])) * len(records) > 100e6  # what safetensors takes as a header
    tensors, kinds = pack_history(records)
    write_checkpoint(tmp_path, 1, tensors, {"kinds": kinds})
    (path,) = checkpoint_files(tmp_path)
    assert path.stat().st_size < 36e6
    saved = read_checkpoint(path)
    assert torch.equal(saved.tensors["values"], tensors["values"])
    last = {"values": saved.tensors["values"][-21:], "kinds": saved.tensors["kinds"][-1:]}
    assert unpack_history(last, saved.document["kinds"]) == records[-1:]
