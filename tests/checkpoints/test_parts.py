"""One checkpoint of several processes: what is shared once, what differs for each."""

import pytest
import torch

from clsgan.checkpoints.file import Checkpoint
from clsgan.checkpoints.parts import (
    check_count,
    gather_parts,
    join_parts,
    marks_of,
    own_part,
    part_beside,
)

WEIGHT = torch.arange(12.0).reshape(3, 4)
STATES = [
    Checkpoint(
        {"weight": WEIGHT, "mean": torch.zeros(2), "last": torch.ones(1), "history.values": WEIGHT},
        {"step": 4, "unreadable": [], "budget": {"elapsed": 1.0}},
    ),
    Checkpoint(  # one number is another, one tensor is not there, a clock and a log are its own
        {
            "weight": WEIGHT.clone(),
            "mean": torch.tensor([0.0, 1e-45]),
            "history.values": 2 * WEIGHT,
        },
        {"step": 4, "unreadable": [{"a.png": "truncated"}], "budget": {"elapsed": 2.0}},
    ),
    Checkpoint(  # of another shape and type, and one more
        {
            "weight": WEIGHT,
            "mean": torch.zeros(2, dtype=torch.bfloat16),
            "last": torch.ones(1, 1),
            "history.values": WEIGHT,
            "more": torch.zeros(0),
        },
        {"step": 4, "unreadable": [], "budget": {"elapsed": 1.0}},
    ),
]


def joined():
    marks = marks_of(*STATES[0])
    return join_parts(*STATES[0], [part_beside(marks, *state) for state in STATES[1:]])


@pytest.mark.parametrize("rank", range(3))
def test_every_process_gets_its_own_state_back(rank):
    tensors, document = own_part(joined(), rank)
    wanted = {**STATES[rank].tensors, "history.values": WEIGHT}  # the log is the first one's
    assert tensors.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor), name
    assert document == {**STATES[rank].document, "budget": {"elapsed": 1.0}, "processes": 3}


def test_what_is_shared_lies_there_once():
    kept = set(joined().tensors) - set(STATES[0].tensors)
    assert kept == {"process.1.mean", *(f"process.2.{name}" for name in ("mean", "last", "more"))}


def test_a_part_of_a_large_tensor_is_sent_alone():
    large = torch.zeros(1_000_000)
    (sent,) = part_beside({}, {"queue": large[:3]}, {}).tensors.values()
    assert sent.untyped_storage().nbytes() == 12


def test_a_process_alone_saves_what_it_has():
    saved = gather_parts(*STATES[0])
    assert saved.tensors.keys() == STATES[0].tensors.keys()
    assert own_part(saved, 0).document == {**STATES[0].document, "processes": 1}
    check_count(saved, "c")


@pytest.mark.parametrize(("before", "text"), [(2, "of 2 processes, and there is 1"), (1, None)])
def test_another_number_of_processes_is_refused(before, text):
    saved = Checkpoint({}, {"processes": before})
    if text is None:
        return check_count(saved, "c")
    with pytest.raises(ValueError, match=text):
        check_count(saved, "c")
