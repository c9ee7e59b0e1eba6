"""The default training written out in plain torch, without any code of the trainer.

It does the work of `fit`: the same networks, precision, batches, augmentation, teacher pass, level,
generated rows and averages. Tests compare its weights after some steps, and what it multiplies.
"""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from sides import CLASSES, GENERATOR_INTERVAL, Problem
from torch import Tensor, nn

from clsgan import objectives
from clsgan.augment import build_augment
from clsgan.devices import choose_precision, flushed_denormals
from clsgan.networks import build_generator, build_loss_network, level_of, whiten_stem
from clsgan.objectives import at_label

OBJECTIVE = objectives.OBJECTIVES["default"]
LATENT, LEVEL_ROWS, FOLLOWING = 64, 64, 0.02
UNLABELED_SHARE, UNLABELED_START, RAMP, WARM_UP = 0.5, 0.2, 0.1, 0.1
LEARNING_RATE, GENERATOR_LEARNING_RATE = 0.2, 1e-3
WEIGHT_DECAY, AVERAGE_DECAY = 5e-3, 0.99
LEVEL_GRADIENT, LEVEL_DECAY = 0.3, 0.1


@dataclass(frozen=True)
class Rows:
    """What one step trains on: labeled and unlabeled rows, augmented and plain."""

    x_lab: Tensor
    y: Tensor
    x_unl: Tensor
    plain_lab: Tensor
    plain: Tensor
    z: Tensor


class Bare:
    """A training in plain torch: data, networks, running averages, optimisers.

    `part` makes what is entered around each part of a step, by the part's name.
    """

    def __init__(self, problem: Problem, precision: str) -> None:
        self.problem, self.device, known = problem, problem.device, problem.y >= 0
        bf16 = choose_precision(precision, self.device) == "bf16-mixed"
        self.autocast = torch.autocast(self.device, torch.bfloat16, enabled=bf16)
        self.labeled = torch.from_numpy(problem.images[known]).to(self.device)
        self.unlabeled = torch.from_numpy(problem.images[~known]).to(self.device)
        self.y = torch.from_numpy(problem.y[known]).to(self.device)
        self.prior = torch.bincount(self.y, minlength=CLASSES) / len(self.y)
        shape = (3, *problem.images.shape[1:3])
        self.rng = torch.Generator(self.device).manual_seed(0)
        self.augment = partial(build_augment("weak", shape, flip=True), generator=self.rng)
        self.augment_more = partial(build_augment("strong", shape, flip=True), generator=self.rng)
        network = build_loss_network(problem.network, shape, CLASSES, problem.options)
        whiten_stem(network, gather(torch.from_numpy(problem.images[:8]), torch.arange(8)))
        generator = build_generator("small", shape, CLASSES, LATENT)
        self.part: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext()
        self.build_state(network.to(self.device), generator.to(self.device))

    def build_state(self, network: nn.Module, generator: nn.Module) -> None:
        self.network = network.to(memory_format=torch.channels_last)
        self.generator = generator.to(memory_format=torch.channels_last)
        self.norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        self.teacher = copy.deepcopy(network).eval().requires_grad_(False)
        self.teacher_classes: Tensor | None = None
        self.level = level_of(network)
        self.trained = floats(network) + floats(generator)
        self.averages = floats(self.teacher) + floats(copy.deepcopy(generator))
        level = [] if self.level is None else [p for p in self.level.parameters() if p.dim() >= 2]
        own = {id(p) for p in level}
        weights = [p for p in network.parameters() if p.dim() >= 2 and id(p) not in own]
        others = [p for p in network.parameters() if p.dim() < 2]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": WEIGHT_DECAY},
            {"params": level, "weight_decay": LEVEL_DECAY},
            {"params": others},
        ]
        sgd = torch.optim.SGD(groups, 0.1, momentum=0.9, nesterov=True)
        self.generated_by, betas = list(generator.parameters()), (0.5, 0.999)
        adam = torch.optim.Adam(self.generated_by, 1e-3, betas, fused=True)
        self.loss_optimizer, self.generator_optimizer = sgd, adam


def gather(images: Tensor, index: Tensor) -> Tensor:
    picked = images.index_select(0, index).float()
    return picked.sub_(127.5).div_(127.5).permute(0, 3, 1, 2)


def floats(network: nn.Module) -> list[Tensor]:
    held = [*network.parameters(), *network.buffers()]
    return [tensor for tensor in held if tensor.is_floating_point()]


def draw(bare: Bare, step: int) -> Rows:
    batch = bare.problem.batch
    on = step / bare.problem.steps >= UNLABELED_START
    n_unl = round(batch * UNLABELED_SHARE) if on else 0
    pick = partial(torch.randint, generator=bare.rng, device=bare.device)
    index = pick(len(bare.y), (batch - n_unl,))
    plain_lab = gather(bare.labeled, index)
    x_lab = bare.augment(plain_lab)
    x_unl = plain = x_lab[:0]
    if n_unl:
        plain = gather(bare.unlabeled, pick(len(bare.unlabeled), (n_unl,)))
        x_unl = bare.augment_more(plain)
    z = torch.randn(bare.problem.generated, LATENT, generator=bare.rng, device=bare.device)
    return Rows(x_lab, bare.y[index], x_unl, plain_lab, plain, z)


def bare_step(bare: Bare, step: int) -> None:
    with bare.part("augmentation"):
        rows = draw(bare, step)
    train_on(bare, rows, step)


def train_on(bare: Bare, rows: Rows, step: int) -> None:
    progress = step / bare.problem.steps
    set_learning_rates(bare, progress)
    fake = shown = None
    if step % GENERATOR_INTERVAL == 0:
        with bare.part("generator"), bare.autocast:
            fake = bare.generator(rows.z, rows.y[: len(rows.z)])
        with bare.part("augmentation"):
            shown = shown_to(bare, fake.detach())
    update_loss_network(bare, rows, shown, progress)
    if fake is not None:
        update_generator(bare, fake, rows.y[: len(fake)])
    with bare.part("optimiser"), torch.no_grad():
        share = 1 - min(AVERAGE_DECAY, (1 + step) / (10 + step)) if step else 1.0
        torch._foreach_lerp_(bare.averages, bare.trained, share)


def set_learning_rates(bare: Bare, progress: float) -> None:
    factor = (1 - progress) / (1 - WARM_UP)
    if progress < WARM_UP:
        factor = 0.02 + 0.98 * progress / WARM_UP
    for group in bare.loss_optimizer.param_groups:
        group["lr"] = LEARNING_RATE * factor
    for group in bare.generator_optimizer.param_groups:
        group["lr"] = GENERATOR_LEARNING_RATE * factor


def update_loss_network(bare: Bare, rows: Rows, shown: Tensor | None, progress: float) -> None:
    target = None
    if len(rows.plain):
        with bare.part("teacher"):
            target = targets(bare, rows.plain)
    with bare.part("optimiser"):
        bare.loss_optimizer.zero_grad()
    with bare.part("real"):
        with bare.autocast:
            real = torch.cat([rows.x_lab, rows.x_unl]) if target is not None else rows.x_lab
            logits = bare.network(real)[0].float()
        loss = loss_of_real(logits, rows.y, target, progress)
        if shown is not None and bare.level is None:  # the margins train the whole network
            with bare.autocast:
                fake_logits = scores_of_generated(bare, shown)
            n = len(rows.x_lab)
            loss = loss + margins(rows, shown, logits[:n], logits[n:], fake_logits)
        loss.backward()
    if shown is not None and bare.level is not None:
        with bare.part("level"):
            loss_of_level(bare, rows, shown).backward()
    with bare.part("optimiser"):
        if bare.level is not None and shown is None:
            bare.level.zero_grad()
        elif bare.level is not None:
            nn.utils.clip_grad_norm_(bare.level.parameters(), LEVEL_GRADIENT)
        bare.loss_optimizer.step()


@torch.no_grad()
def targets(bare: Bare, plain: Tensor) -> Tensor:
    """The teacher's scores, moved until the classes are as frequent as among the labels."""
    with bare.autocast:
        target: Tensor = bare.teacher(plain)[0].float()
    mean = target.softmax(dim=1).mean(dim=0)
    before = mean if bare.teacher_classes is None else bare.teacher_classes
    bare.teacher_classes = torch.lerp(before, mean, FOLLOWING)
    strength = OBJECTIVE.class_alignment
    return objectives.align_classes(target, bare.teacher_classes, bare.prior, strength)


def loss_of_real(logits: Tensor, y: Tensor, target: Tensor | None, progress: float) -> Tensor:
    """The labeled term, and that of the soft labels; labeled rows come first."""
    losses, smoothing = OBJECTIVE.losses(logits[: len(y)]), OBJECTIVE.label_smoothing
    loss = (1 - smoothing) * at_label(losses, y).mean() + smoothing * losses.mean()
    if target is None:
        return loss
    ramp = min(max((progress - UNLABELED_START) / RAMP, 0.0), 1.0)
    unlabeled = objectives.soft_label_loss(logits[len(y) :], target).mean()
    return loss + OBJECTIVE.unlabeled_weight * ramp * unlabeled


def loss_of_level(bare: Bare, rows: Rows, shown: Tensor) -> Tensor:
    """Margins and outliers, on features of the averaged network: only the level gets a gradient."""
    x_lab, x_unl = rows.plain_lab[:LEVEL_ROWS], rows.plain[:LEVEL_ROWS]
    with torch.no_grad(), bare.autocast:
        logits, features = bare.teacher(torch.cat([x_lab, x_unl, shown]))
    logits = logits + bare.level(features, logits)
    lab, unl, fake = logits.split([len(x_lab), len(x_unl), len(shown)])
    total = margins(rows, shown, lab, unl, fake)
    return total + OBJECTIVE.outlier_weight * outliers(lab, unl, fake)


def outliers(lab: Tensor, unl: Tensor, fake: Tensor) -> Tensor:
    """Minus log of the probability of "one of the classes", and of "none", as rows should have.

    A generated row counts by how far the classifier is from sure of it.
    """
    total = F.softplus(-torch.logsumexp(lab, dim=1)).mean()
    unsure = 1 - fake.detach().softmax(dim=1).amax(dim=1)
    total = total + (unsure * F.softplus(torch.logsumexp(fake, dim=1))).mean()
    if not len(unl):
        return total
    share = OBJECTIVE.unlabeled_outlier_weight
    return total + share * F.softplus(torch.logsumexp(unl, dim=1)).mean()


def margins(rows: Rows, shown: Tensor, lab: Tensor, unl: Tensor, fake: Tensor) -> Tensor:
    """Hinges of eq. 15 and 18 from the scores of labeled, unlabeled and generated rows."""
    real_losses = at_label(OBJECTIVE.margin_losses(lab), rows.y[: len(lab)])
    fake_losses = at_label(OBJECTIVE.margin_losses(fake), rows.y[: len(fake)])
    total = OBJECTIVE.hinge_weight * hinge(rows.plain_lab, real_losses, shown, fake_losses)
    if not len(unl):
        return total
    weight = OBJECTIVE.unlabeled_weight * OBJECTIVE.unlabeled_hinge_weight
    real_losses, fake_losses = objectives.unlabeled_loss(unl), objectives.unlabeled_loss(fake)
    return total + weight * hinge(rows.plain, real_losses, shown, fake_losses)


def hinge(real: Tensor, real_losses: Tensor, fake: Tensor, fake_losses: Tensor) -> Tensor:
    n = min(len(real_losses), len(fake_losses))
    margin = objectives.pixel_margin(
        real[:n], fake[:n], OBJECTIVE.margin_scale, OBJECTIVE.margin_norm
    )
    return objectives.loss_sensitive_critic(real_losses[:n], fake_losses[:n], margin).mean()


def scores_of_generated(bare: Bare, x: Tensor) -> Tensor:
    """Scores of rows normalised by their own batch, of which no running statistic hears."""
    for norm in bare.norms:
        norm.momentum = 0.0
    logits: Tensor = bare.network(x)[0].float()
    for norm in bare.norms:
        norm.momentum = 0.1
    return logits


def shown_to(bare: Bare, fake: Tensor) -> Tensor:
    """Generated rows as they are seen: the level sees all rows without augmentation."""
    shown: Tensor = fake if bare.level is not None else bare.augment(fake)
    return shown


def update_generator(bare: Bare, fake: Tensor, y: Tensor) -> None:
    with bare.part("augmentation"):
        shown = shown_to(bare, fake)
    with bare.part("generator"):
        with bare.autocast:
            if bare.level is None:
                logits = scores_of_generated(bare, shown)
            else:
                logits = bare.teacher(shown)[0].float()
        bare.generator_optimizer.zero_grad()
        at_label(OBJECTIVE.margin_losses(logits), y).mean().backward(inputs=bare.generated_by)
    with bare.part("optimiser"):
        bare.generator_optimizer.step()


def bare_speed(problem: Problem, precision: str) -> float:
    """Images a second of the steps alone."""
    with flushed_denormals():
        bare = Bare(problem, precision)
        start = perf_counter()
        for step in range(problem.steps):
            bare_step(bare, step)
        float(bare.averages[0].sum())  # waits for the device
        return problem.steps * problem.batch / (perf_counter() - start)
