"""What the tests share: scikit-learn's digits, and a watch on the global random states."""

import pkgutil
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from loop_runs import prepare_run
from sklearn.datasets import load_digits, load_sample_images

from clsgan import CLSGANClassifier

# Networks of tests are tiny: threads that wait for each other only cost, most of all beside a
# busy program.
torch.set_num_threads(1)


class DigitsSplit(NamedTuple):
    """Scikit-learn's digits, 8x8 grey, uint8 in 0..16: few labeled, many not, some held out."""

    x_lab: np.ndarray  # [100, 8, 8], ten of each class
    y_lab: np.ndarray  # [100]
    x_unl: np.ndarray  # [1197, 8, 8]
    x_test: np.ndarray  # [500, 8, 8]
    y_test: np.ndarray  # [500]


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """Python ignores Ctrl-C where a shell has started it in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def digits() -> DigitsSplit:
    """The same split in every test; the arrays are read-only."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    x, y = bunch.images.astype(np.uint8)[order], bunch.target[order]
    x_test, y_test, x, y = x[:500], y[:500], x[500:], y[500:]
    labeled = np.concatenate([np.flatnonzero(y == k)[:10] for k in range(10)])
    arrays = (x[labeled], y[labeled], np.delete(x, labeled, axis=0), x_test, y_test)
    for array in arrays:
        array.setflags(write=False)
    return DigitsSplit(*arrays)


@pytest.fixture
def global_randomness_untouched() -> Iterator[None]:
    """Fail the test that uses this if it moves a global random state of Python, NumPy or torch."""
    before = (random.getstate(), np.random.get_state()[1:3], torch.get_rng_state())
    yield
    assert random.getstate() == before[0], "Python's random state moved"
    keys, position = np.random.get_state()[1:3]
    assert np.array_equal(keys, before[1][0]), "NumPy's random state moved"
    assert position == before[1][1], "NumPy's random state moved"
    assert torch.equal(torch.get_rng_state(), before[2]), "torch's random state moved"


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Within a block, files longer than a number of bytes cannot be written, as on a full disk."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(n_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
        try:
            yield
        finally:  # before pytest writes to its own log
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture(scope="session")
def photos() -> Callable[[int, int], tuple[np.ndarray, np.ndarray]]:
    """Pieces [N, side, side, 3] of scikit-learn's two photographs, and which one each is of."""
    pictures = load_sample_images().images

    def cut(side: int, each: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        pieces = []
        for picture in pictures:
            tops = rng.integers(0, picture.shape[0] - side, each)
            lefts = rng.integers(0, picture.shape[1] - side, each)
            pieces += [
                picture[top : top + side, left : left + side]
                for top, left in zip(tops, lefts, strict=True)
            ]
        return np.stack(pieces), np.repeat([0, 1], each)

    return cut


@pytest.fixture(scope="session")
def tiny() -> Callable[..., CLSGANClassifier]:
    """Makes a classifier of images that trains in a moment: small networks, 3 steps, float32."""
    defaults: dict[str, Any] = {
        "loss_network_options": {"widths": (8, 8, 16)},
        "generator_options": {"widths": (16, 8, 8)},
        "latent_dim": 8,
        "batch_size": 32,
        "generated_batch_size": 8,
        "max_steps": 3,
        "augment": "none",
        "accelerator": "cpu",
        "precision": "32",
        "random_state": 0,
    }
    return lambda **changes: CLSGANClassifier(**(defaults | changes))


@pytest.fixture(scope="session")
def tiny_rows() -> Callable[..., CLSGANClassifier]:
    """Makes a classifier of rows that trains in a moment."""
    defaults: dict[str, Any] = {
        "loss_network_options": {"hidden": (16,)},
        "generator_options": {"hidden": (16,)},
        "latent_dim": 4,
        "batch_size": 16,
        "generated_batch_size": 8,
        "max_steps": 3,
        "accelerator": "cpu",
        "random_state": 0,
    }
    return lambda **changes: CLSGANClassifier(**(defaults | changes))


class Clock:
    """A time that stands still but for the work that is told to take some."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def slowed(self, work: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        """The same work, which takes so many seconds."""

        def slow(*args: Any, **kwargs: Any) -> Any:
            self.now += seconds
            return work(*args, **kwargs)

        return slow


@pytest.fixture
def slowed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, float], Clock]:
    """Makes a function, by its dotted name, take seconds of a clock that nothing else moves."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)

    def slow(name: str, seconds: float) -> Clock:
        monkeypatch.setattr(name, clock.slowed(pkgutil.resolve_name(name), seconds))
        return clock

    return slow


@pytest.fixture
def make_run(tiny, digits):
    """Everything that a step of the loop takes; arguments as those of the estimator."""

    def make(**changes):
        return prepare_run(tiny(**{"generated_batch_size": 32, **changes}), digits)

    return make
