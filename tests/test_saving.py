"""`save` and `load`: the same model again, or a message that says what is wrong."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from clsgan import CLSGANClassifier
from clsgan.model_folder import DOCUMENT, TENSORS, read_model, write_model
from clsgan.saving import LAST_GOOD, keep_last_good


def same_fit(model, again, X):
    """Whether two fitted models predict and sample exactly the same."""
    assert (again.predict_loss(X) == model.predict_loss(X)).all()
    assert (again.predict(X) == model.predict(X)).all()
    assert (again.transform(X) == model.transform(X)).all()
    assert again.predict(X).dtype == model.predict(X).dtype
    if model.generator_ is not None:
        for ours, its in zip(
            model.sample(5, random_state=0), again.sample(5, random_state=0), strict=True
        ):
            assert (ours == its).all() and ours.dtype == its.dtype


@pytest.fixture(scope="module")
def fitted(tiny, digits):
    return tiny(validation_fraction=0.2).fit(digits.x_lab, digits.y_lab, digits.x_unl[:50])


@pytest.fixture
def folder(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


def change(folder, **entries):
    tensors, document = read_model(folder)
    write_model(folder, tensors, {**document, **entries}, overwrite=True)


# Round trips


def test_everything_comes_back(fitted, folder, digits):
    again = CLSGANClassifier.load(folder)
    same_fit(fitted, again, digits.x_test)
    assert json.dumps(again.get_params()) == json.dumps(fitted.get_params()), "tuples become lists"
    public = {name for name in vars(fitted) if name.endswith("_")}
    assert public == {name for name in vars(again) if name.endswith("_")}
    for name in sorted(public - {"loss_network_", "generator_", "classes_", "class_prior_"}):
        if name != "units_":
            assert getattr(again, name) == getattr(fitted, name), name
    assert (again.class_prior_ == fitted.class_prior_).all()
    assert (again.get_feature_names_out() == fitted.get_feature_names_out()).all()
    assert again.score(digits.x_test, digits.y_test) == fitted.score(digits.x_test, digits.y_test)


@pytest.mark.parametrize(
    "classes",
    [np.array([False, True]), np.array(["a", "größer"]), np.array([-5, 70000]), np.array([0.0, 1])],
    ids=["bool", "str", "int", "float"],
)
def test_classes_keep_their_type(tiny, digits, tmp_path, classes):
    rows = digits.y_lab < 2
    model = tiny(max_steps=1).fit(digits.x_lab[rows], classes[digits.y_lab[rows]])
    model.save(tmp_path / "model")
    again = CLSGANClassifier.load(tmp_path / "model")
    assert again.classes_.tolist() == model.classes_.tolist()
    assert again.classes_.dtype == model.classes_.dtype
    same_fit(model, again, digits.x_test[:20])


def test_object_classes(tiny, digits, tmp_path):
    rows = digits.y_lab < 2
    y = np.array(["zero", "one"], dtype=object)[digits.y_lab[rows]]
    y[0] = None
    model = tiny(max_steps=1).fit(digits.x_lab[rows], y)
    model.save(tmp_path / "model")
    same_fit(model, CLSGANClassifier.load(tmp_path / "model"), digits.x_test[:20])


def test_rows(tiny_rows, digits, tmp_path):
    X = digits.x_lab.reshape(100, 64) * 1000.0
    model = tiny_rows().fit(X, digits.y_lab)
    model.save(tmp_path / "model")
    again = CLSGANClassifier.load(tmp_path / "model")
    same_fit(model, again, X)
    assert again.n_features_in_ == 64
    with pytest.raises(ValueError, match="63 features"):
        again.predict(X[:, 1:])


def test_without_a_generator(tiny, digits, tmp_path):
    model = tiny(generator=None, max_steps=1).fit(digits.x_lab, digits.y_lab)
    model.save(tmp_path / "model")
    again = CLSGANClassifier.load(tmp_path / "model")
    same_fit(model, again, digits.x_test)
    assert again.generator_ is None and again.generator is None


@pytest.mark.parametrize("network", ["paper", "wide_resnet_28_2", "mlp", "timm:resnet18"])
def test_every_loss_network(tiny, digits, tmp_path, network):
    options = {"depth": 10, "widen": 1} if network == "wide_resnet_28_2" else None
    model = tiny(
        loss_network=network,
        loss_network_options=options,
        max_steps=1,
        batch_size=4,
        generated_batch_size=2,
    ).fit(digits.x_lab, digits.y_lab)
    model.save(tmp_path / "model")
    same_fit(model, CLSGANClassifier.load(tmp_path / "model"), digits.x_test[:9])


def test_parameters_of_every_kind(tiny, digits, tmp_path):
    parameters = {
        "value_range": (0, 16),
        "image_size": (8, 8),
        "random_state": np.random.RandomState(0),
        "log_dir": tmp_path / "run",
        "learning_rate": np.float32(0.1),
        "max_steps": np.int64(1),
    }
    model = tiny(**parameters).fit(digits.x_lab, digits.y_lab)
    model.save(tmp_path / "model")
    again = CLSGANClassifier.load(tmp_path / "model")
    assert again.max_steps == 1 and list(again.value_range) == [0, 16]
    assert again.random_state is None, "a random state has moved on; it is not kept"
    again.fit(digits.x_lab, digits.y_lab)


def test_a_loaded_model_can_be_trained_further(folder, fitted, digits):
    again = CLSGANClassifier.load(folder, warm_start=True, max_steps=2)
    assert again.warm_start is True and again.max_steps == 2
    again.fit(digits.x_lab, digits.y_lab, digits.x_unl[:50])
    assert (again.predict_loss(digits.x_test) != fitted.predict_loss(digits.x_test)).any()


def test_a_loaded_model_can_be_saved_again(folder, fitted, digits, tmp_path):
    CLSGANClassifier.load(folder).save(tmp_path / "copy")
    same_fit(fitted, CLSGANClassifier.load(tmp_path / "copy"), digits.x_test)
    assert (tmp_path / "copy" / DOCUMENT).read_text() == (folder / DOCUMENT).read_text()


def test_loading_in_another_process(folder, fitted, digits, tmp_path):
    np.save(tmp_path / "x.npy", digits.x_test[:9])
    program = (
        "import sys, numpy as np; from clsgan import CLSGANClassifier\n"
        "model = CLSGANClassifier.load(sys.argv[1])\n"
        "np.save(sys.argv[3], model.predict_loss(np.load(sys.argv[2])))"
    )
    arguments = [str(folder), str(tmp_path / "x.npy"), str(tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, timeout=120)
    expected = fitted.predict_loss(digits.x_test[:9])
    assert np.allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-5)


def test_loading_leaves_global_randomness_alone(folder, global_randomness_untouched):
    CLSGANClassifier.load(folder)


# Modules of the user's own


def own_network(units=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, units))


def test_a_module_of_ones_own_is_given_again(tiny, digits, tmp_path):
    model = tiny(loss_network=own_network(), loss_network_options=None)
    model.fit(digits.x_lab, digits.y_lab)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"load\(folder, loss_network=module\)"):
        CLSGANClassifier.load(tmp_path / "model")
    fresh = own_network()
    before = fresh[1].weight.clone()
    again = CLSGANClassifier.load(tmp_path / "model", loss_network=fresh)
    same_fit(model, again, digits.x_test)
    assert torch.equal(fresh[1].weight, before), "the module given is copied"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)), "saved weights do not fit"),
        (own_network(9), r"\[2, 10\]"),
        ("small", "saved weights do not fit"),
    ],
)
def test_a_module_that_does_not_fit(tiny, digits, tmp_path, module, message):
    model = tiny(loss_network=own_network(), loss_network_options=None, max_steps=1)
    model.fit(digits.x_lab, digits.y_lab).save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        CLSGANClassifier.load(tmp_path / "model", loss_network=module)


def test_unknown_parameters_to_load(folder):
    with pytest.raises(ValueError, match="did you mean 'max_steps'"):
        CLSGANClassifier.load(folder, max_step=3)


# Folders that are not right


@pytest.mark.parametrize("name", [DOCUMENT, TENSORS])
def test_missing_and_truncated_files_are_named(folder, name):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=name):
        CLSGANClassifier.load(folder)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        CLSGANClassifier.load(folder)


@pytest.mark.parametrize("entry", ["params", "classes", "spec", "fitted", "history"])
@pytest.mark.parametrize("value", ["gone", None, 3])
def test_a_document_that_is_not_whole(folder, entry, value):
    tensors, document = read_model(folder)
    if value == "gone":
        del document[entry]
    else:
        document[entry] = value
    write_model(folder, tensors, document, overwrite=True)
    with pytest.raises(ValueError, match=r"not whole|not valid|do not fit"):
        CLSGANClassifier.load(folder)


HOSTILE = {
    "a path as network": ("design", {"loss_network": "/etc/passwd"}),
    "a huge network": ("design", {"loss_network_options": {"widths": [10**13, 8, 8]}}),
    "a network larger than its weights": (
        "design",
        {"loss_network_options": {"widths": [4096] * 3}},
    ),
    "more layers than tensors": ("design", {"loss_network_options": {"widths": [8] * 100_000}}),
    "a larger generator": ("design", {"latent_dim": 10**7}),
    "class names of a gigabyte": ("classes", {"dtype": "<U250000000"}),
    "another number of classes": ("classes", {"values": [0, 1, 2]}),
    "an unknown dtype of classes": ("classes", {"dtype": "evil"}),
    "classes of another type": ("classes", {"values": "abc"}),
    "nested classes": ("classes", {"values": [[0, 1], [2, 3]]}),
    "a huge image": ("spec", {"shape": [1, 10**6, 10**6]}),
    "a negative image": ("spec", {"shape": [1, -8, 8]}),
    "no shape": ("spec", {"shape": None}),
    "an unknown dtype": ("spec", {"dtype": "__import__('os')"}),
    "an unknown layout": ("spec", {"layout": "WHN"}),
    "another field": ("spec", {"evil": 1}),
    "precision of another type": ("fitted", {"precision_": ["bf16"]}),
    "no number of features": ("fitted", {"n_features_out": "many"}),
    "a trillion features": ("fitted", {"n_features_out": 10**12}),
    "a trillion features, as a float": ("fitted", {"n_features_out": 1e12}),
    "features as a float": ("fitted", {"n_features_out": 16.0}),
    "another number of features": ("fitted", {"n_features_out": 17}),
    "another number of inputs": ("fitted", {"n_features_in_": 10**12}),
    "names of features that are not there": ("fitted", {"feature_names_in": ["a"] * 65}),
    "names of features that are numbers": ("fitted", {"feature_names_in": [1] * 64}),
    "fewer than no steps": ("fitted", {"n_steps_": -1}),
    "steps as text": ("fitted", {"n_steps_": "3"}),
    "no steps": ("fitted", {"n_steps_": None}),
    "a time as text": ("fitted", {"fit_time_": "long"}),
    "rows as text": ("fitted", {"n_unlabeled": "many"}),
    "skipped steps as text": ("fitted", {"n_skipped_steps": "1"}),
    "an error as text": ("fitted", {"validation_error": "none"}),
    "more dimensions of noise": ("design", {"latent_dim": "many"}),
    "options of another type": ("design", {"loss_network_options": [1]}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_documents(folder, case):
    entry, changes = HOSTILE[case]
    _, document = read_model(folder)
    change(folder, **{entry: document[entry] | changes})
    with pytest.raises(ValueError):
        CLSGANClassifier.load(folder)


def test_unknown_parameters_of_a_later_minor_version_are_named(folder):
    _, document = read_model(folder)
    change(folder, params=document["params"] | {"hinge_wait": 3})
    with pytest.raises(ValueError, match="hinge_wait"):
        CLSGANClassifier.load(folder)


@pytest.mark.parametrize("case", ["a network larger than its weights", "a larger generator"])
def test_no_more_is_allocated_than_the_files_say(folder, case):
    entry, changes = HOSTILE[case]
    _, document = read_model(folder)
    change(folder, **{entry: document[entry] | changes})
    with pytest.raises(ValueError, match=r"cannot be built: it wants .* are due"):
        CLSGANClassifier.load(folder)


@pytest.fixture(scope="module")
def timm_folder(tiny, digits, tmp_path_factory):
    """A model of 1 MB whose network makes large maps of large images, and that has no generator."""
    pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("timm") / "model"
    model = tiny(
        loss_network="timm:test_efficientnet",
        loss_network_options=None,
        generator=None,
        max_steps=1,
        batch_size=4,
    )
    model.fit(digits.x_lab, digits.y_lab).save(folder)
    return folder


def declared_shape(folder, to, network, shape):
    """A copy of a model that says it was made for images of another shape."""
    tensors, document = read_model(folder)
    document["design"]["loss_network"] = network
    document["spec"]["shape"] = shape
    document["fitted"]["n_features_in_"] = shape[0] * shape[1] * shape[2]
    return write_model(to, tensors, document)


def load_within(n_bytes, folder):
    """The error of a load in a process that may take a number of bytes more; None without one."""
    resource = pytest.importorskip("resource")
    if not Path("/proc/self/statm").exists() or not hasattr(os, "fork"):
        pytest.skip("the memory of a process cannot be bounded here")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + n_bytes
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            CLSGANClassifier.load(folder)
            os._exit(0)
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(1)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as file:
        return file.read() or None


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        ("timm:test_efficientnet", [1, 10**5, 10**5], "at most PIL.Image.MAX_IMAGE_PIXELS"),
        ("timm:test_vit", [1, 8000, 8000], r"cannot be built: it wants .* due"),
        ("timm:beit_base_patch16_224", [1, 8000, 8000], r"cannot be built: it wants .* due"),
        ("timm:vit_relpos_small_patch16_224", [1, 4000, 4000], r"cannot be built: it wants .* due"),
    ],
)
def test_a_huge_shape_for_a_timm_model_is_refused_with_little_memory(
    timm_folder, tmp_path, network, shape, message
):
    folder = declared_shape(timm_folder, tmp_path / "model", network, shape)
    error = load_within(2**28, folder)
    assert error is not None and error.startswith("ValueError: ") and re.search(message, error)


def test_no_pass_is_made_when_a_timm_model_is_loaded(timm_folder, tmp_path):
    """One of two such images would take gigabytes; the model is that of images as they were."""
    network, shape = "timm:test_efficientnet", [1, 4000, 4000]
    folder = declared_shape(timm_folder, tmp_path / "model", network, shape)
    assert load_within(2**28, folder) is None


def test_a_huge_shape_for_a_module_of_ones_own(tiny, digits, tmp_path):
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 10))
    model = tiny(loss_network=network, loss_network_options=None, generator=None, max_steps=1)
    model.fit(digits.x_lab, digits.y_lab).save(tmp_path / "model")
    document = read_model(tmp_path / "model")[1]
    assert CLSGANClassifier.load(tmp_path / "model", loss_network=network).generator_ is None
    omitted = document["design"]["loss_network"]
    folder = declared_shape(tmp_path / "model", tmp_path / "huge", omitted, [1, 4000, 4000])
    with pytest.raises(ValueError, match=r"two rows take 128000000 bytes where \d+ are due"):
        CLSGANClassifier.load(folder, loss_network=network)


@pytest.mark.parametrize("name", ["units.offset", "class_prior", "loss_network"])
def test_a_tensor_that_is_missing_or_of_another_shape(folder, name):
    tensors, document = read_model(folder)
    name = next(key for key in sorted(tensors) if key.startswith(name))
    rest = {key: tensor for key, tensor in tensors.items() if key != name}
    for spoilt in (rest, {**rest, name: torch.zeros(3, 5, 7)}):
        write_model(folder, spoilt, document, overwrite=True)
        with pytest.raises(ValueError):
            CLSGANClassifier.load(folder)


def test_a_last_good_model_that_cannot_be_kept(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(fitted, "checkpoint", str(tmp_path / "c"))

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    told = "labeled = nan at step 9. The last good model, of step 3, is"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        error = keep_last_good(fitted, FloatingPointError("labeled = nan at step 9"))
    assert str(error).startswith(f"{told} not kept: the model cannot be written to ")
    assert "No space left" in str(error) and str(error).endswith(f"stays in {tmp_path / 'c'}")
    error = keep_last_good(fitted, FloatingPointError("labeled = nan at step 9"))
    place = str(tmp_path / "c" / LAST_GOOD)
    assert str(error) == f"{told} kept: CLSGANClassifier.load({place!r})"
    assert CLSGANClassifier.load(place).n_steps_ == 3


def test_save_never_destroys(fitted, tiny, digits, folder, tmp_path):
    before = (folder / TENSORS).read_bytes()
    other = tiny(max_steps=1, random_state=5).fit(digits.x_lab, digits.y_lab)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        other.save(folder)
    assert (folder / TENSORS).read_bytes() == before
    other.save(folder, overwrite=True)
    same_fit(other, CLSGANClassifier.load(folder), digits.x_test)
