"""Pictures of the benchmark of objectives, drawn from its JSON files."""

from collections.abc import Callable, Mapping
from functools import partial
from statistics import mean
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from objective_rows import bound_of, values
from objective_studies import STUDIES, unpacked
from objective_toys import MIXTURES

from clsgan.pictures import png_bytes, sample_grid

Group = Mapping[str, list[dict[str, Any]]]
COLUMNS, IMAGES_EACH, REACH = 5, 8, 5.5
DASHES = {"norm": "-", "none": "--"}  # by the batch norm of the generator


def figures_of(groups: Mapping[tuple[str, str, str], Group]) -> dict[str, Callable[[], bytes]]:
    """The pictures that results allow, by the name of their file; each is drawn when called."""
    found: dict[str, Callable[[], bytes]] = {}
    for (study, data, budget), group in groups.items():
        shown = {name: row[0] for name, row in group.items() if "samples" in row[0]}
        kind = f"{study}_{data}_{budget}".replace(".", "_")
        if shown and STUDIES[study].drawn:
            draw = toy_samples if data in MIXTURES else image_samples
            found[f"samples_{kind}"] = partial(draw, shown, data)
        if STUDIES[study].series:
            found[f"series_{kind}"] = partial(series, group, STUDIES[study].series)
        if study == "consistency":
            found[f"distance_{kind}"] = partial(distances, group)
    return found


SERIES = {
    "generator_gradient_norm": "norm of the generator's gradient",
    "generator": "generator's objective",
}


def toy_samples(shown: Mapping[str, dict[str, Any]], data: str) -> bytes:
    """Points of the lowest seed, the centres of the modes under them."""
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(2 * COLUMNS, 2.2 * rows), dpi=70)
    centres = MIXTURES[data]
    for i, (name, result) in enumerate(shown.items()):
        axes = figure.add_subplot(rows, COLUMNS, i + 1)
        points = np.reshape(result["samples"], (-1, 2))
        axes.scatter(*centres.T, s=40, color="#e0b060", linewidths=0)
        axes.scatter(*points.T, s=2, color="#20409a", linewidths=0)
        reach = REACH * np.abs(centres).max() / 4
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
        axes.set_title(name, fontsize=8)
    figure.tight_layout()
    return png_bytes(figure)


def image_samples(shown: Mapping[str, dict[str, Any]], data: str) -> bytes:
    """Images of the lowest seed, a system a column."""
    images = np.stack([unpacked(result["samples"])[:IMAGES_EACH] for result in shown.values()])
    shape = (1, *images.shape[2:4]) if images.ndim == 4 else (3, *images.shape[2:4])
    return png_bytes(sample_grid(images, list(shown), shape))


def series(group: Group, key: str) -> bytes:
    """A term of the log over the steps, the mean over the seeds; one panel a system."""
    systems = list(dict.fromkeys(name.partition("-")[0] for name in group))
    figure = Figure(figsize=(3.2 * len(systems), 3), dpi=80)
    for i, system in enumerate(systems):
        axes = figure.add_subplot(1, len(systems), i + 1)
        for name, row in group.items():
            lines = [r["series"] for r in row if "series" in r and name.partition("-")[0] == system]
            if lines:
                label = name.partition("-")[2]
                style = DASHES.get(label.partition("-")[0], "-")
                axes.plot(*mean_line(lines, key), style, label=label, lw=1)
        axes.set_title(system, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        if key.endswith("norm"):
            axes.set_yscale("log")
            axes.legend(fontsize=6)
    figure.axes[0].set_ylabel(SERIES[key], fontsize=8)
    figure.tight_layout()
    return png_bytes(figure)


def mean_line(lines: list[dict[str, list[float]]], key: str) -> tuple[list[float], list[float]]:
    """Steps that every seed has, and the mean there."""
    found = [dict(zip(line["step"], line[key], strict=True)) for line in lines]
    steps = [step for step in found[0] if all(step in line for line in found)]
    return steps, [mean(line[step] for line in found) for step in steps]


def distances(group: Group) -> bytes:
    """The distance of densities against the bound, by lambda."""
    figure = Figure(figsize=(4, 3), dpi=80)
    axes = figure.add_subplot()
    weights = [2 / bound_of(row[0]["arguments"]) for row in group.values()]
    for weight, row in zip(weights, group.values(), strict=True):
        found = values(row, "distance")
        axes.plot([weight] * len(found), found, "o", color="C0")
    axes.plot(weights, [min(2.0, 2 / weight) for weight in weights], "k--", label="bound 2/λ")
    axes.set(xscale="log", yscale="log", xlabel="λ", ylabel="∫|p_data − p_G|")
    axes.legend(fontsize=8)
    figure.tight_layout()
    return png_bytes(figure)
