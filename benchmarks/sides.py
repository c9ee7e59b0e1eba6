"""What the speed benchmark compares: a problem, `fit` on it, and two sides timed in turns."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import numpy as np

from clsgan import CLSGANClassifier
from clsgan.devices import choose_device

CLASSES = 10
# The estimator's settings for 20,000 images and more, of whatever number the problem has. The
# learning rate is left to each side: it changes no work.
WIDTHS = (64, 128, 256)
GENERATED_SHARE, GENERATOR_INTERVAL = 1 / 8, 16


class Problem:
    """Random images [N, S, S, 3], uint8, and labels [N], -1 for nine in ten of them."""

    def __init__(
        self,
        n_images: int,
        side: int,
        batch: int,
        steps: int,
        network: str = "small",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        rng, shape = np.random.default_rng(0), (n_images, side, side, 3)
        self.images = rng.integers(0, 256, shape, dtype=np.uint8)
        self.y = np.arange(n_images) % CLASSES
        self.y[max(n_images // 10, 2 * CLASSES) :] = -1
        self.batch, self.generated = batch, max(round(batch * GENERATED_SHARE), 1)
        self.steps, self.device = steps, choose_device("auto")
        self.network = network
        default = {"widths": WIDTHS} if network == "small" else {}
        self.options = dict(default if options is None else options)


def fitted(problem: Problem, precision: str) -> CLSGANClassifier:
    model = CLSGANClassifier(
        loss_network=problem.network,
        loss_network_options=problem.options,
        predict_views="plain",  # one forward pass an image, as in the bare loop
        max_steps=problem.steps,
        batch_size=problem.batch,
        generated_batch_size=problem.generated,
        generator_interval=GENERATOR_INTERVAL,
        layout="NHWC",
        accelerator=problem.device,
        precision=precision,
        random_state=0,
    )
    return model.fit(problem.images, problem.y)


def paired(a: Callable[[], float], b: Callable[[], float], repeats: int) -> dict[str, Any]:
    """A B A B ..., the first pair not counted: the ratios a / b and the medians of both sides."""
    return ratios([[a(), b()] for _ in range(repeats + 1)][1:])


def ratios(pairs: list[list[float]]) -> dict[str, Any]:
    """Median, least and largest of the ratios a / b, and the medians of both sides."""
    quotients = [a / b for a, b in pairs]
    sides = {"a": median(a for a, _ in pairs), "b": median(b for _, b in pairs)}
    spread = {"ratio": median(quotients), "min": min(quotients), "max": max(quotients)}
    return {**spread, "pairs": pairs, **sides}
