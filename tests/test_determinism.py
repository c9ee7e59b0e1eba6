"""The same seed gives the same result, whatever ran before; and what a run found it leaves."""

import os
import random
import subprocess
import sys
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch

FITS = {
    "default": {},
    "paper": {"objective": "paper", "generated_batch_size": 32},
    "augmented": {"augment": "strong", "flip": True},
    "filtered": {"unlabeled_filter": "open-class", "class_prior": "estimate"},
    "fixmatch": {"unlabeled": "fixmatch", "class_weight": "balanced"},
}


def trained(tiny, digits, **changes):
    """Losses of a fitted model on test digits, and what it samples."""
    model = tiny(unlabeled_start=0.0, **changes).fit(*digits[:3])
    return model.predict_loss(digits.x_test[:64]), model.sample(3, random_state=0)[0]


def spoil_seeds():
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)


@contextmanager
def float64_everywhere():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", FITS)
def test_the_same_seed_gives_the_same_whatever_the_global_seeds(tiny, digits, name):
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    first = trained(tiny, digits, **FITS[name])
    spoil_seeds()
    again = trained(tiny, digits, **FITS[name])
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    other = trained(tiny, digits, **FITS[name], random_state=1)
    assert not np.array_equal(first[0], other[0])


def test_a_fit_before_changes_nothing(tiny, digits):
    first = trained(tiny, digits)
    trained(tiny, digits, objective="wgan_gp", loss_network_options={"widths": (4, 4, 4)})
    model = tiny(unlabeled_start=0.0)
    model.fit(digits.x_lab[:50], digits.y_lab[:50])
    again = model.fit(*digits[:3]).predict_loss(digits.x_test[:64])
    assert np.array_equal(first[0], again)


def test_the_default_type_of_torch_changes_nothing(tiny, digits):
    first = trained(tiny, digits)
    with float64_everywhere():
        again = trained(tiny, digits)
        assert torch.get_default_dtype() == torch.float64
    assert again[0].dtype == np.float32
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_gradients_turned_off_around_fit_change_nothing(tiny, digits):
    first = trained(tiny, digits)
    with torch.no_grad():
        again = trained(tiny, digits)
        assert not torch.is_grad_enabled()
    assert np.array_equal(first[0], again[0])


def test_the_number_of_threads_changes_rounding_alone(tiny, digits):
    """Sums of more threads are added in another order; networks of use differ by rounding."""
    before = torch.get_num_threads()
    losses = []
    for count in (1, 2):
        torch.set_num_threads(count)
        losses.append(trained(tiny, digits)[0])
        assert torch.get_num_threads() == count
    torch.set_num_threads(before)
    assert np.allclose(*losses, atol=1e-3)


TWO_THREADS = """
import hashlib, sys
import torch
from sklearn.datasets import load_digits
from clsgan import CLSGANClassifier
assert torch.get_num_threads() == 2
if sys.argv[1] == "late":  # torch's workers are started before `fit`
    torch.ones(2**20) * 2, torch.ones(900, 900) @ torch.ones(900, 900)
class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 10)
    def forward(self, x):  # by way of denormal numbers
        return self.layer((x * 1e-30 * 1e-9 * 1e20 * 1e19).flatten(1))
X, y = load_digits().images.astype("uint8"), load_digits().target
torch.manual_seed(0)
tiny = {"loss_network_options": {"widths": (8, 8, 16)}, "augment": "strong"}
tiny |= {"generator_options": {"widths": (16, 8, 8)}, "generated_batch_size": 64}
denormal = {"loss_network": Small(), "augment": "none", "generator": None, "batch_size": 1024}
for params in (tiny, denormal):
    model = CLSGANClassifier(max_steps=4, random_state=0, precision="32", accelerator="cpu",
                             unlabeled_start=0.0, **params)
    model.fit(X[:1000], y[:1000], X[1000:])
    weights = b"".join(t.numpy().tobytes() for t in model.loss_network_.state_dict().values())
    print(hashlib.sha256(weights).hexdigest())
"""


@pytest.mark.slow
def test_two_threads_repeat_whatever_ran_before():
    """In the threads that torch has started before `fit`, too; two of them need no two cores."""
    told = []
    for when in ("fresh", "late"):
        command = [sys.executable, "-c", TWO_THREADS, when]
        environment = {**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        told.append(done.stdout.split())
    assert len(told[0]) == 2 and told[0] == told[1]


def surroundings():
    """What a program may have set, and a library must leave."""
    keys, position = np.random.get_state()[1:3]
    return {
        "Python's random state": random.getstate(),
        "NumPy's random state": (keys.tolist(), position),
        "torch's random state": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "threads between operations": torch.get_num_interop_threads(),
        "default type": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "deterministic warnings": torch.is_deterministic_algorithms_warn_only_enabled(),
        "precision of products": torch.get_float32_matmul_precision(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "denormals": float(torch.tensor(1e-39) * 1) == 0.0,
        "NumPy's errors": np.geterr(),
        "warnings": list(warnings.filters),
    }


SETTINGS = {
    "as they are": (lambda: None, lambda: None),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
        lambda: torch.use_deterministic_algorithms(False),
    ),
    "flushing": (
        lambda: torch.set_flush_denormal(True),
        lambda: torch.set_flush_denormal(False),
    ),
    "without gradients": (
        lambda: torch.set_grad_enabled(False),
        lambda: torch.set_grad_enabled(True),
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_fit_and_predict_leave_what_they_found(tiny, digits, name, tmp_path):
    change, undo = SETTINGS[name]
    change()
    try:
        before = surroundings()
        model = tiny(unlabeled_start=0.0, validation_fraction=0.1, log_dir=tmp_path / name)
        model.fit(*digits[:3])
        after_fit = surroundings()
        for use in (model.predict, model.predict_proba, model.transform, model.outlier_score):
            use(digits.x_test[:20])
        model.sample(2, random_state=0)
        model.save(tmp_path / "model")
        type(model).load(tmp_path / "model").predict(digits.x_test[:20])
        after = surroundings()
    finally:
        undo()
    for key, value in before.items():
        assert after_fit[key] == value, f"fit changed {key}"
        assert after[key] == value, f"predict changed {key}"


def test_a_fit_that_fails_leaves_what_it_found(tiny, digits):
    before = surroundings()
    with pytest.raises(ValueError):
        tiny().fit(digits.x_lab, digits.y_lab[:9])
    with pytest.raises(FloatingPointError):
        tiny(learning_rate=1e30, max_steps=30).fit(*digits[:3])
    after = surroundings()
    assert {key for key in before if before[key] != after[key]} == set()


@pytest.mark.parametrize("views", ["plain", "mirror"])
def test_a_prediction_depends_on_its_row_alone(tiny, digits, views):
    """Rows go through the network in batches of one size, padded: losses and features are the
    same bit for bit. What is computed of them for each row apart, in vectors of the CPU's width,
    may differ in the last digit.
    """
    model = tiny(unlabeled_start=0.0, predict_views=views).fit(*digits[:3])
    order = np.random.default_rng(0).permutation(500)
    bound = {model.predict_loss: 0, model.transform: 0}
    bound |= {model.outlier_score: 1e-6, model.predict_proba: 1e-12}
    for method, atol in bound.items():
        whole = method(digits.x_test)

        def same(rows, expected, method=method, atol=atol):
            return np.allclose(method(rows), expected, rtol=0, atol=atol)

        assert same(digits.x_test[order], whole[order]), "order"
        for part in (slice(0, 1), slice(3, 10), slice(250, 500)):
            assert same(digits.x_test[part], whole[part]), "company"
        assert same(np.concatenate([digits.x_test] * 2), np.r_[whole, whole]), "number"


def test_a_prediction_is_the_same_in_float64_programs_and_after_loading(tiny, digits, tmp_path):
    model = tiny().fit(*digits[:3])
    model.save(tmp_path / "model")
    expected = model.predict_loss(digits.x_test)
    with float64_everywhere(), torch.inference_mode():
        again = type(model).load(tmp_path / "model")
        assert np.array_equal(model.predict_loss(digits.x_test), expected)
        assert np.array_equal(again.predict_loss(digits.x_test), expected)
