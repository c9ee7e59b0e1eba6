"""A mistake in the parameters is told before a large folder of unlabeled images is listed."""

import numpy as np
import pytest
from PIL import Image

from clsgan.defaults import MANY_ROWS
from clsgan.early_checks import check_early
from clsgan.inputs import InputSpec
from clsgan.pools import unlabeled_pool
from clsgan.pools.folder_index import FolderIndex
from clsgan.sources import Unlabeled

WRONG = [
    ({"objective": "papr"}, "papr"),
    ({"learning_rate": 0.0}, "learning_rate=0.0"),
    ({"max_steps": 0}, "max_steps=0"),
    ({"loss_network": "smal", "loss_network_options": None}, "smal"),
    ({"loss_network_options": {"width": (8, 8, 16)}}, "width"),
    ({"generator": "smal", "generator_options": None}, "smal"),
    ({"generator_options": {"hidden": (8,)}}, "hidden"),
    ({"accelerator": "gpu"}, "gpu"),
    ({"precision": "8"}, "precision"),
    ({"augment": "mild"}, "mild"),
    ({"unlabeled_augment": "mild"}, "mild"),
    ({"predict_views": "many"}, "many"),
    ({"checkpoint_every": -1}, "checkpoint_every=-1"),
    ({"resume": True}, "resume=True needs checkpoint"),
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.fromarray(np.full((8, 8), 127 * i, np.uint8)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path / "images"


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(("params", "message"), WRONG)
def test_nothing_is_listed_for_a_run_that_cannot_be(
    params, message, joined, folder, tiny, digits, tmp_path, monkeypatch
):
    monkeypatch.setattr(FolderIndex, "build", lambda *args: pytest.fail("the folder was listed"))
    model = tiny(log_dir=tmp_path / "run", **params)
    with pytest.raises(ValueError, match=message):
        more = Unlabeled(digits.x_unl, str(folder)) if joined else str(folder)
        model.fit(digits.x_lab, digits.y_lab, more)
    assert not (tmp_path / "run").exists()


def test_the_folder_of_a_run_that_can_be_is_listed(folder, tiny, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(unlabeled_pool, "IN_MEMORY_BYTES", 0)
    model = tiny(log_dir=tmp_path / "run", max_steps=1)
    assert model.fit(digits.x_lab, digits.y_lab, str(folder)).n_unlabeled_ == 3
    assert (tmp_path / "run" / "unlabeled.index").exists()


def test_what_few_rows_allow_is_let_through(tiny):
    """Generated rows must be more than the labeled ones of a batch, which grows with the rows."""
    spec = InputSpec((1, 8, 8), "NHW", "uint8", 0.0, 255.0)
    params = tiny(unlabeled_fakes="prior", batch_size=None, generated_batch_size=100).get_params()
    check_early(params, spec, 10, 100)
    with pytest.raises(ValueError, match="generated_batch_size=100 leaves none"):
        check_early(params, spec, 10, MANY_ROWS)


def test_what_few_labels_beside_many_rows_allow_is_let_through(tiny):
    """A pool may turn out large: few labels are then a quarter of the batch, in place of half."""
    spec = InputSpec((3, 32, 32), "NHWC", "uint8", 0.0, 255.0)
    given = {"unlabeled_fakes": "prior", "batch_size": 256, "generated_batch_size": 100}
    params = tiny(**given, augment="auto").get_params()
    check_early(params, spec, 10, 40)
    with pytest.raises(ValueError, match="generated_batch_size=100 leaves none"):
        check_early(params, spec, 10, 251)
