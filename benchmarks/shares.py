"""How much of the machine a step uses, per loss network, and where a step's time goes.

The measure is the rate of a product of two large square matrices, timed in turns with the steps on
the same threads, in bf16 where the device has it in hardware, else in float32. Operations are those
of convolutions and matrix products, as `torch.utils.flop_counter` counts them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any

import torch
from bare_loop import Bare, bare_step
from sides import Problem, fitted, paired, ratios
from torch.utils.flop_counter import FlopCounterMode

from clsgan.devices import choose_precision, flushed_denormals

PRODUCTS, TERA = 16, 1e12
NETWORKS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    # a name: loss network, its options, what divides the batch size, target of the share
    "small_32_64_128": ("small", {"widths": (32, 64, 128)}, 1, ">= 0.40"),
    "small_64_128_256": ("small", {"widths": (64, 128, 256)}, 1, ">= 0.40"),
    "wide_resnet_28_2": ("wide_resnet_28_2", {}, 4, ""),
    "paper": ("paper", {}, 4, ""),
}
TERMS = {  # the parts of a step of the bare loop
    "real": "real rows, forward and backward",
    "teacher": "teacher pass",
    "level": "level: margins and outliers",
    "generator": "generator, forward and backward",
    "augmentation": "rows picked and augmented",
    "optimiser": "optimisers and averages",
}


class Meter:
    """What `read` has counted, by the part of a step."""

    def __init__(self, read: Callable[[], float]) -> None:
        self.read, self.totals = read, dict.fromkeys(TERMS, 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        before = self.read()
        yield
        self.totals[name] += self.read() - before


def steps_read(problem: Problem, read: Callable[[], float]) -> tuple[dict[str, float], float]:
    """What `read` counts in each part of all steps of the bare loop, and in the whole of them."""
    with flushed_denormals():
        bare, meter = Bare(problem, "auto"), Meter(read)
        bare.part = meter.part
        start = read()
        for step in range(problem.steps):
            bare_step(bare, step)
        return meter.totals, read() - start


def step_seconds(problem: Problem) -> tuple[dict[str, float], float]:
    return steps_read(problem, lambda: clock(problem.device))


def step_operations(problem: Problem) -> tuple[dict[str, float], float]:
    with FlopCounterMode(display=False) as counter:
        return steps_read(problem, lambda: float(counter.get_total_flops()))


def clock(device: str) -> float:
    """Seconds, once the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
    return perf_counter()


def matmul_type(device: str) -> torch.dtype:
    bf16 = choose_precision("auto", device) == "bf16-mixed"
    return torch.bfloat16 if bf16 else torch.float32


def matmul_rate(side: int, device: str) -> float:
    """Operations a second of products of square matrices, on the threads that torch now uses."""
    rng = torch.Generator(device).manual_seed(0)
    draw = torch.randn(2, side, side, generator=rng, device=device)
    a, b = draw.to(matmul_type(device))
    out = a @ b  # warm-up
    start = clock(device)
    for _ in range(PRODUCTS):
        torch.mm(a, b, out=out)
    return PRODUCTS * 2 * side**3 / (clock(device) - start)


def network_rows(problem: Problem, side: int, repeats: int) -> dict[str, dict[str, Any]]:
    """For each loss network: operations a second of `fit`, against those of the product."""
    rows = {}
    for name, (network, options, divisor, target) in NETWORKS.items():
        n_images, size = problem.images.shape[:2]
        batch = problem.batch // divisor
        here = Problem(n_images, size, batch, problem.steps, network, options)
        rows[name] = network_row(name, here, side, repeats) | {"target": target}
    return rows


def network_row(name: str, problem: Problem, side: int, repeats: int) -> dict[str, Any]:
    per_image = step_operations(problem)[1] / (problem.steps * problem.batch)

    def step() -> float:
        return float(fitted(problem, "auto").images_per_second_) * per_image / TERA

    row = paired(step, lambda: matmul_rate(side, problem.device) / TERA, repeats)
    facts = {"network": problem.network, "options": problem.options, "batch_size": problem.batch}
    facts |= {"images_per_second": row["a"] * TERA / per_image, "flop_per_image": per_image}
    facts["matmul_dtype"] = str(matmul_type(problem.device)).removeprefix("torch.")
    return {"what": f"{name} / matmul", "unit": "TFLOP/s"} | facts | row


def term_rows(problem: Problem, side: int, repeats: int) -> dict[str, dict[str, Any]]:
    """For each part of a step: its seconds against those of the step, operations, and their rate.

    Means over all steps, those in which a part does not occur included.
    """
    operations, _ = step_operations(problem)
    runs = []
    for _ in range(repeats + 1):
        seconds, whole = step_seconds(problem)
        runs.append((seconds, whole, matmul_rate(side, problem.device)))
    runs = runs[1:]
    rows = {}
    for name, what in TERMS.items():
        pairs = [[parts[name] / problem.steps, all_ / problem.steps] for parts, all_, _ in runs]
        shares = [operations[name] / parts[name] / rate for parts, _, rate in runs if parts[name]]
        facts = {"flop_per_step": operations[name] / problem.steps}
        facts["matmul_share"] = median(shares) if shares else 0.0
        rows[name] = {"what": what, "unit": "s", "target": ""} | facts | ratios(pairs)
    return rows
