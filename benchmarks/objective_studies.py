"""The studies of the benchmark of objectives, and the work of one job."""

import argparse
import base64
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from objective_classifiers import classifier_settings, classify
from objective_images import extractor, image_data, image_measures
from objective_jobs import DRAWN_SEED, Job, Study
from objective_parts import step_parts
from objective_rows import bound_of
from objective_settings import resolved_classifier, resolved_density
from objective_toys import MIXTURES, N_KEPT, N_SAMPLES, TOYS, line_distance, modes
from objective_variants import (
    BEYOND,
    CLASSIFIERS,
    CONSISTENCY,
    CRITICS,
    GENERALISATION,
    LEAST_SQUARES,
    PARTED,
    PENALTIES,
    RESILIENCE,
    SYSTEMS,
    VARIANTS,
    WITHOUT_GENERATOR_STEP,
    Arguments,
)
from sklearn.metrics import roc_auc_score

from clsgan import LSGAN
from clsgan.data import ImageData

Array = NDArray[Any]

# The same networks and optimiser for all systems: MLPs and Adam (0.5, 0.999) whose rate falls to 0.
TOY: Arguments = {
    "loss_network_options": {"hidden": [128, 128, 128], "norm": False},
    "generator_options": {"hidden": [128, 128, 128], "norm": False},
    "latent_dim": 2,
    "batch_size": 128,
    "optimizer": "adam",
    "schedule": "linear",
    "learning_rate": 5e-3,
    "generator_learning_rate": 2e-3,
}
IMAGES: Arguments = {
    "loss_network": "small",
    "loss_network_options": {"widths": [16, 32, 64], "norm": False},
    "generator": "small",
    "generator_options": {"widths": [32, 16, 16]},
    "latent_dim": 64,
    "batch_size": 64,
    "optimizer": "adam",
    "schedule": "linear",
    "learning_rate": 1e-3,
    "generator_learning_rate": 5e-3,
}
N_PICTURES, N_SERIES = 20, 200
N_TRAINED = 300  # rows of the study of generalisation: few, so that the loss network can learn them
SHARE_REPEATS = 3


def settings_of(job: Job, arguments: Mapping[str, Any]) -> Arguments:
    """Arguments of `LSGAN`: those of the data, with those of the variant over them."""
    base = TOY if job.data in TOYS else IMAGES
    merged = {**base, **arguments}
    own, given = base["loss_network_options"], arguments.get("loss_network_options")
    if given is not None:  # the widths stay
        merged["loss_network_options"] = {**own, **given}
    budget = {"max_steps": job.steps, "time_limit": job.seconds, "random_state": job.seed}
    return {**merged, **budget, "accelerator": "cpu"}


def load(job: Job, options: argparse.Namespace) -> tuple[Array, ImageData | None]:
    """Training rows; and all that is known of images."""
    if job.data in TOYS:
        return TOYS[job.data](), None
    data = image_data(job.data, options.path[0] if options.path else None)
    return data.x_train, data


def noise_of(job: Job, arguments: Mapping[str, Any]) -> str:
    """Key of `clsgan.streams.NOISES` that the generator is trained with."""
    return str(resolved_density(job.data, settings_of(job, arguments))["noise"])


def fitted(job: Job, arguments: Mapping[str, Any], rows: Array, **changes: Any) -> LSGAN:
    return LSGAN(**{**settings_of(job, arguments), **changes}).fit(rows)


def compare(job: Job, arguments: Arguments, options: argparse.Namespace) -> dict[str, Any]:
    """Train a system; modes or Fréchet distance and MRE; a series and samples where they are used.

    A run that diverges is a result: its measures are those of nothing.
    """
    rows, data = load(job, options)
    try:
        model = fitted(job, arguments, rows)
    except FloatingPointError as error:
        return diverged(error)
    if data is None:
        samples = model.sample(N_SAMPLES, random_state=1)
        measures: dict[str, Any] = modes(samples, MIXTURES[job.data])
        kept: Any = samples[:N_KEPT].round(3).ravel().tolist()
    else:
        steps = {"steps": options.extractor_steps} if options.extractor_steps else {}
        yardstick = extractor(data, options.extractors, **steps)
        measures = image_measures(model, data, yardstick, noise_of(job, arguments))
        kept = packed(model.sample(N_PICTURES, random_state=2))
    measures["critic"] = critic_values(model, rows)
    facts, study = run_facts(model), STUDIES[job.study]
    if study.series:
        facts["series"] = series_of(model.history_, study.series)
    if study.drawn and job.seed == DRAWN_SEED:
        facts["samples"] = kept
    return facts | {"measures": measures}


def diverged(error: FloatingPointError) -> dict[str, Any]:
    """The result of a run that has none."""
    return {"diverged": str(error), "measures": {}, "seconds": None, "steps": None}


def series_of(history: Sequence[Mapping[str, float]], key: str) -> dict[str, list[float]]:
    """A term by the step, of at most `N_SERIES` lines of the log that have it."""
    lines = [record for record in history if key in record]
    kept = lines[:: max(-(-len(lines) // N_SERIES), 1)]
    return {name: [float(f"{line[name]:.5g}") for line in kept] for name in ("step", key)}


def run_facts(model: LSGAN) -> dict[str, Any]:
    """Time and steps."""
    return {
        "seconds": float(model.fit_time_),
        "steps": int(model.n_steps_),
        "images_per_second": float(model.images_per_second_),
        "precision": model.precision_,
    }


def critic_values(model: LSGAN, rows: Array) -> dict[str, float]:
    """What the critic gives for training rows at the end, high on real."""
    real = model.score_samples(rows[:1000])
    return {"real_mean": float(real.mean()), "real_std": float(real.std())}


def packed(images: Array) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(images, dtype=np.uint8).tobytes()).decode()
    return {"shape": list(images.shape), "uint8": data}


def unpacked(kept: Mapping[str, Any]) -> Array:
    return np.frombuffer(base64.b64decode(kept["uint8"]), np.uint8).reshape(kept["shape"])


def generalise(job: Job, arguments: Arguments, options: argparse.Namespace) -> dict[str, Any]:
    """How much higher the critic is on rows it was trained on than on others of the same kind.

    The gap has the units of the critic, which differ by control; `auroc` has none: how often a row
    that was trained on is above one that was not, 0.5 where the critic cannot tell them.
    """
    rows, _ = load(job, options)
    order = np.random.default_rng(job.seed).permutation(len(rows))
    train, held_out = rows[order[:N_TRAINED]], rows[order[N_TRAINED : N_TRAINED + 1000]]
    try:
        model = fitted(job, arguments, train)
    except FloatingPointError as error:
        return diverged(error)
    parts = {"train": train, "held_out": held_out, "generated": model.sample(1000, random_state=1)}
    scores = {name: model.score_samples(part) for name, part in parts.items()}
    means = {name: float(values.mean()) for name, values in scores.items()}
    trained = np.repeat([1, 0], [len(train), len(held_out)])
    auroc = roc_auc_score(trained, np.concatenate([scores["train"], scores["held_out"]]))
    measures = {**means, "gap": means["train"] - means["held_out"], "auroc": float(auroc)}
    measures |= {"n_train": len(train), "n_held_out": len(held_out)}
    return run_facts(model) | {"measures": measures}


def consist(job: Job, arguments: Arguments, options: argparse.Namespace) -> dict[str, Any]:
    """Integral of |p_data - p_G| on a line, against the bound 2 / lambda of Theorem 1."""
    try:
        model = fitted(job, arguments, load(job, options)[0])
    except FloatingPointError as error:
        return diverged(error)
    samples = model.sample(100_000, random_state=1)
    measures = {"distance": line_distance(samples), "bound": bound_of(arguments)}
    return run_facts(model) | {"measures": measures}


def share(job: Job, arguments: Arguments, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a step with each penalty against one without, in turns; medians.

    The share is that of the penalty in its step; of the generator's step, that in one with neither.
    """
    rows, _ = load(job, options)
    seconds: dict[str, list[float]] = {name: [] for name in ("none", *PENALTIES)}
    for _ in range(SHARE_REPEATS):
        for name, times in seconds.items():
            given = {**arguments, **PENALTIES.get(name, {})}
            model = fitted(job, given, rows)
            times.append(settings_of(job, given)["batch_size"] / model.images_per_second_)
    terms = {name: {"seconds": median(times)} for name, times in seconds.items()}
    none = terms["none"]["seconds"]
    for name, term in terms.items():
        less = name == WITHOUT_GENERATOR_STEP
        term["share"] = 1 - (term["seconds"] / none if less else none / term["seconds"])
    facts = {"steps": job.steps, "seconds": None}
    return facts | {"measures": {"terms": terms}, "repeats": seconds}


def part(job: Job, arguments: Arguments, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and share of each part of a step."""
    settings = settings_of(job, arguments)
    parts = step_parts(settings, load(job, options)[0], SHARE_REPEATS)
    return {"steps": job.steps, "seconds": None, "measures": {"parts": parts}}


MIXED = tuple(MIXTURES)
OF_LSGAN = (settings_of, resolved_density)
STUDIES: dict[str, Study] = {
    "systems": Study(
        "Every system, on the same networks and data",
        SYSTEMS,
        *OF_LSGAN,
        compare,
        MIXED,
        drawn=True,
    ),
    "variants": Study(
        "The other forms that the papers print", VARIANTS, *OF_LSGAN, compare, MIXED, drawn=True
    ),
    "classifiers": Study(
        "As a classifier: 100 labels, the rest of the training rows without",
        CLASSIFIERS,
        classifier_settings,
        resolved_classifier,
        classify,
    ),
    "resilience": Study(
        "Batch norm removed from the generator; 1, 3, 5 steps of the loss network for each of G",
        RESILIENCE,
        *OF_LSGAN,
        compare,
        series="generator_gradient_norm",
    ),
    "least_squares": Study(
        "Least Squares GAN without batch norm", LEAST_SQUARES, *OF_LSGAN, compare
    ),
    "beyond": Study(
        "Generator losses beyond divergence minimization",
        BEYOND,
        *OF_LSGAN,
        compare,
        MIXED,
        drawn=True,
    ),
    "critics": Study(
        "The critic's output by the objective of Lipschitz GAN",
        CRITICS,
        *OF_LSGAN,
        compare,
        MIXED,
        series="generator",
    ),
    "generalisation": Study(
        "The critic on rows it was trained on, and on others",
        GENERALISATION,
        *OF_LSGAN,
        generalise,
        MIXED,
    ),
    "consistency": Study(
        "A density on a line as lambda grows",
        CONSISTENCY,
        *OF_LSGAN,
        consist,
        ("line",),
        images=False,
    ),
    "shares": Study(
        "What penalties cost", {"hinge": {"objective": "hinge"}}, *OF_LSGAN, share, MIXED
    ),
    "parts": Study("Where the time of a step goes", PARTED, *OF_LSGAN, part, MIXED),
}
