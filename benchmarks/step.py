"""Speed: `fit` against a bare torch loop of the same work, bf16 against fp32, `predict`, import.

    python benchmarks/step.py --out benchmarks/results/step.json

Two sides at a time run in one process in turns, A B A B ...; reported is the median of the ratios
of neighbours, with the least and the largest. The first pair is warm-up and not counted. A round
of `fit` or of the bare loop times `--steps` steps of fresh networks. Nothing else should run.
"""

import argparse
import copy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from timeit import timeit
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import clsgan
from clsgan import CLSGANClassifier, objectives
from clsgan.augment import build_augment
from clsgan.devices import choose_device, choose_precision, flushed_denormals
from clsgan.doctor import machine, versions
from clsgan.inference import CHUNK
from clsgan.networks import build_generator, build_loss_network, whiten_stem
from clsgan.objectives import at_label
from clsgan.run_folder import write_json

ROOT = Path(clsgan.__file__).resolve().parents[1]
CLASSES, LATENT = 10, 64
OBJECTIVE = objectives.OBJECTIVES["default"]
IMPORTS = ("from clsgan import CLSGANClassifier", "import torch; import sklearn")
UNLABELED_SHARE, UNLABELED_START, GENERATOR_INTERVAL = 0.5, 0.4, 2
LEARNING_RATE, WEIGHT_DECAY, AVERAGE_DECAY = 0.2, 5e-3, 0.99
DEFAULTS = {"images": 10_000, "steps": 40, "repeats": 5, "size": 32, "batch-size": 256}
ROWS = (  # name, what is compared, unit, target of the ratio
    ("fit", "fit / bare loop", "images/s", ">= 0.95"),
    ("bf16", "fit in bf16 / in fp32", "images/s", ""),
    ("predict", "predict / bare forward", "images/s", ">= 0.95"),
    ("predict_ready", "predict / forward of ready tensors", "images/s", ""),
    ("import", "import clsgan / torch and sklearn", "s", "<= 1.2"),
)


class Problem:
    """Random images [N, S, S, 3], uint8, and labels [N], -1 for nine in ten of them."""

    def __init__(self, n_images: int, side: int, batch: int, steps: int) -> None:
        rng, shape = np.random.default_rng(0), (n_images, side, side, 3)
        self.images = rng.integers(0, 256, shape, dtype=np.uint8)
        self.y = np.arange(n_images) % CLASSES
        self.y[max(n_images // 10, 2 * CLASSES) :] = -1
        self.batch, self.steps, self.device = batch, steps, choose_device("auto")


def paired(a: Callable[[], float], b: Callable[[], float], repeats: int) -> dict[str, Any]:
    """A B A B ..., the first pair not counted: the ratios a / b and the medians of both sides."""
    pairs = [[a(), b()] for _ in range(repeats + 1)][1:]
    ratios = [one / other for one, other in pairs]
    sides = {"a": median(one for one, _ in pairs), "b": median(other for _, other in pairs)}
    return {"ratio": median(ratios), "min": min(ratios), "max": max(ratios), "pairs": pairs} | sides


def fitted(problem: Problem, precision: str) -> CLSGANClassifier:
    model = CLSGANClassifier(
        predict_views="plain",  # one forward pass an image, as in the bare loop
        max_steps=problem.steps,
        batch_size=problem.batch,
        generated_batch_size=problem.batch // 4,
        generator_interval=GENERATOR_INTERVAL,
        learning_rate=LEARNING_RATE,
        layout="NHWC",
        accelerator=problem.device,
        precision=precision,
        random_state=0,
    )
    return model.fit(problem.images, problem.y)


# --- the bare loop


class Bare:
    """A training in plain torch: data, networks, running averages, optimisers."""

    def __init__(self, problem: Problem, precision: str) -> None:
        self.problem, self.device, known = problem, problem.device, problem.y >= 0
        bf16 = choose_precision(precision, self.device) == "bf16-mixed"
        self.autocast = torch.autocast(self.device, torch.bfloat16, enabled=bf16)
        self.labeled = torch.from_numpy(problem.images[known]).to(self.device)
        self.unlabeled = torch.from_numpy(problem.images[~known]).to(self.device)
        self.y = torch.from_numpy(problem.y[known]).to(self.device)
        shape = (3, *problem.images.shape[1:3])
        self.rng = torch.Generator(self.device).manual_seed(0)
        self.augment = partial(build_augment("medium", shape, flip=True), generator=self.rng)
        network = build_loss_network("small", shape, CLASSES)
        whiten_stem(network, gather(torch.from_numpy(problem.images[:8]), torch.arange(8)))
        generator = build_generator("small", shape, CLASSES, LATENT)
        self.build_state(network.to(self.device), generator.to(self.device))

    def build_state(self, network: nn.Module, generator: nn.Module) -> None:
        self.network = network.to(memory_format=torch.channels_last)
        self.generator = generator.to(memory_format=torch.channels_last)
        self.norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        self.teacher = copy.deepcopy(network).eval().requires_grad_(False)
        self.trained = floats(network) + floats(generator)
        self.averages = floats(self.teacher) + floats(copy.deepcopy(generator))
        weights = [p for p in network.parameters() if p.dim() >= 2]
        others = [p for p in network.parameters() if p.dim() < 2]
        decayed = {"params": weights, "weight_decay": WEIGHT_DECAY}
        sgd = torch.optim.SGD([decayed, {"params": others}], 0.1, momentum=0.9, nesterov=True)
        self.loss_optimizer, self.groups = sgd, sgd.param_groups
        self.generated_by, betas = list(generator.parameters()), (0.5, 0.999)
        self.generator_optimizer = torch.optim.Adam(self.generated_by, 1e-3, betas, fused=True)


def gather(images: Tensor, index: Tensor) -> Tensor:
    picked = images.index_select(0, index).float()
    return picked.sub_(127.5).div_(127.5).permute(0, 3, 1, 2)


def floats(network: nn.Module) -> list[Tensor]:
    held = [*network.parameters(), *network.buffers()]
    return [tensor for tensor in held if tensor.is_floating_point()]


def bare_step(bare: Bare, step: int) -> None:
    batch, progress = bare.problem.batch, step / bare.problem.steps
    for group in bare.groups:
        group["lr"] = LEARNING_RATE * min(progress / 0.1, (1 - progress) / 0.9)
    n_unl = round(batch * UNLABELED_SHARE) if progress >= UNLABELED_START else 0
    draw = partial(torch.randint, generator=bare.rng, device=bare.device)
    index = draw(len(bare.y), (batch - n_unl,))
    x, y = bare.augment(gather(bare.labeled, index)), bare.y[index]
    fake = plain = None
    if n_unl:
        plain = gather(bare.unlabeled, draw(len(bare.unlabeled), (n_unl,)))
        x = torch.cat([x, bare.augment(plain)])
    if step % GENERATOR_INTERVAL == 0:
        z = torch.randn(batch // 4, LATENT, generator=bare.rng, device=bare.device)
        with bare.autocast:
            fake = bare.generator(z, y[: batch // 4])
    bare.loss_optimizer.zero_grad()
    bare_loss(bare, x, y, plain, fake, progress).backward()
    bare.loss_optimizer.step()
    if fake is not None:
        bare_generator_step(bare, fake, y[: batch // 4])
    with torch.no_grad():
        share = 1 - min(AVERAGE_DECAY, (1 + step) / (10 + step))
        torch._foreach_lerp_(bare.averages, bare.trained, share)


def bare_loss(
    bare: Bare, x: Tensor, y: Tensor, plain: Tensor | None, fake: Tensor | None, progress: float
) -> Tensor:
    """The loss network's objective on real rows, labeled ones first, and on generated ones."""
    shown = None if fake is None else bare.augment(fake.detach())
    with bare.autocast:
        logits = bare.network(x)[0].float()
        fake_logits = None if shown is None else scores_of_generated(bare, shown)
        with torch.no_grad():
            target = None if plain is None else bare.teacher(plain)[0].float()
    lab, unl = logits[: len(y)], logits[len(y) :]
    losses, smoothing = OBJECTIVE.losses(lab), OBJECTIVE.label_smoothing
    loss = (1 - smoothing) * at_label(losses, y).mean() + smoothing * losses.mean()
    ramp = min(max((progress - UNLABELED_START) / 0.1, 0.0), 1.0) * OBJECTIVE.unlabeled_weight
    if target is not None:
        loss = loss + ramp * objectives.soft_label_loss(unl, target).mean()
    if shown is not None and fake_logits is not None:
        real = at_label(OBJECTIVE.margin_losses(lab), y)
        fakes = at_label(OBJECTIVE.margin_losses(fake_logits), y[: len(shown)])
        loss = loss + OBJECTIVE.hinge_weight * hinge(x, real, shown, fakes)
        if target is not None:
            real, fakes = objectives.unlabeled_loss(unl), objectives.unlabeled_loss(fake_logits)
            weight = OBJECTIVE.unlabeled_weight * OBJECTIVE.unlabeled_hinge_weight
            loss = loss + weight * hinge(x[len(y) :], real, shown, fakes)
    return loss


def hinge(real: Tensor, real_losses: Tensor, fake: Tensor, fake_losses: Tensor) -> Tensor:
    n, scale, norm = len(fake), OBJECTIVE.margin_scale, OBJECTIVE.margin_norm
    margin = objectives.pixel_margin(real[:n], fake, scale, norm)
    return objectives.loss_sensitive_critic(real_losses[:n], fake_losses, margin).mean()


def scores_of_generated(bare: Bare, x: Tensor) -> Tensor:
    """Scores of rows normalised by their own batch, of which no running statistic hears."""
    for norm in bare.norms:
        norm.momentum = 0.0
    logits: Tensor = bare.network(x)[0].float()
    for norm in bare.norms:
        norm.momentum = 0.1
    return logits


def bare_generator_step(bare: Bare, fake: Tensor, y: Tensor) -> None:
    shown = bare.augment(fake)
    with bare.autocast:
        logits = scores_of_generated(bare, shown)
    bare.generator_optimizer.zero_grad()
    at_label(OBJECTIVE.margin_losses(logits), y).mean().backward(inputs=bare.generated_by)
    bare.generator_optimizer.step()


def bare_speed(problem: Problem, precision: str) -> float:
    with flushed_denormals():
        bare = Bare(problem, precision)
        start = perf_counter()
        for step in range(problem.steps):
            bare_step(bare, step)
        float(bare.averages[0].sum())  # waits for the device
        return problem.steps * problem.batch / (perf_counter() - start)


def chunks(model: CLSGANClassifier, images: np.ndarray) -> Iterator[Tensor]:
    for i in range(0, len(images), CHUNK):
        x = torch.from_numpy(images[i : i + CHUNK]).to(model.device_).float()
        if len(x) < CHUNK:
            x = nn.functional.pad(x, (0, 0, 0, 0, 0, 0, 0, CHUNK - len(x)))
        yield x.sub_(127.5).div_(127.5).permute(0, 3, 1, 2)


def forward(model: CLSGANClassifier, rows: Iterable[Tensor]) -> Tensor:
    """Class indices of chunks, by the network alone."""
    bf16 = model.precision_ == "bf16-mixed"
    with torch.inference_mode(), torch.autocast(model.device_, torch.bfloat16, enabled=bf16):
        return torch.cat([model.loss_network_(x)[0].argmax(1) for x in rows]).cpu()


def import_seconds(line: str) -> float:
    """Seconds that an import takes in a new interpreter, whose own start is not counted."""
    code = f"import time; t = time.perf_counter(); {line}; print(time.perf_counter() - t)"
    return float(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True))


def measure(problem: Problem, repeats: int) -> dict[str, dict[str, Any]]:
    def fit(precision: str) -> Callable[[], float]:
        return lambda: float(fitted(problem, precision).images_per_second_)  # of the steps alone

    def timed(work: Callable[[], object]) -> Callable[[], float]:
        return lambda: len(images) / timeit(work, number=1)

    model, images = fitted(problem, "auto"), problem.images
    predict, ready = partial(model.predict, images), list(chunks(model, images))
    sides: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
        "fit": (fit("auto"), lambda: bare_speed(problem, "auto")),
        "bf16": (fit("bf16"), fit("32")),
        "predict": (timed(predict), timed(lambda: forward(model, chunks(model, images)))),
        "predict_ready": (timed(predict), timed(lambda: forward(model, ready))),
        "import": (lambda: import_seconds(IMPORTS[0]), lambda: import_seconds(IMPORTS[1])),
    }
    measured = {name: paired(a, b, repeats) for name, (a, b) in sides.items()}
    return {name: {"what": w, "unit": u, "target": t} | measured[name] for name, w, u, t in ROWS}


def commit() -> str | None:
    git = f"git -C {shlex.quote(str(ROOT))} --no-optional-locks describe --always --dirty"
    failed, answer = subprocess.getstatusoutput(f"{git} --abbrev=40 --exclude='*'")
    return None if failed else answer


def show(results: dict[str, dict[str, Any]]) -> None:
    print(f"{'a / b':38}{'a':>9}{'b':>9}  {'unit':9}{'ratio':>6}  {'min..max':14}target")
    for row in results.values():
        a, b, span = f"{row['a']:.4g}", f"{row['b']:.4g}", f"{row['min']:.3f}..{row['max']:.3f}"
        line = f"{row['what']:38}{a:>9}{b:>9}  {row['unit']:9}{row['ratio']:6.3f}  {span:14}"
        print((line + row["target"]).rstrip())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{default}, if not given")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    problem = Problem(args.images, args.size, args.batch_size, args.steps)
    results, facts = measure(problem, args.repeats), machine()
    show(results)
    print(f"{facts['threads']} threads, bf16 in hardware: {facts['bf16'] or 'no'}")
    content: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    content |= {"commit": commit(), "machine": facts, "versions": versions()}
    content["options"] = {key: value for key, value in vars(args).items() if key != "out"}
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.out, content | {"results": results})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
