"""Pictures of the benchmark of objectives, drawn from its JSON files."""

from collections.abc import Callable, Mapping
from functools import partial
from statistics import mean
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from objective_studies import unpacked
from objective_toys import MIXTURES

from clsgan.pictures import png_bytes, sample_grid

Group = Mapping[str, list[dict[str, Any]]]
COLUMNS, IMAGES_EACH, REACH = 5, 8, 5.5
DASHES = ("-", "--", ":")


def figures_of(groups: Mapping[tuple[str, str, str], Group]) -> dict[str, Callable[[], bytes]]:
    """The pictures that results allow, by the name of their file; each is drawn when called."""
    found: dict[str, Callable[[], bytes]] = {}
    for (study, data, budget), group in groups.items():
        shown = {name: row[0] for name, row in group.items() if "samples" in row[0]}
        kind = f"{study}_{data}_{budget}".replace(".", "_")
        if shown and study in ("systems", "variants", "beyond"):
            draw = toy_samples if data in MIXTURES else image_samples
            found[f"samples_{kind}"] = partial(draw, shown, data)
        if study in SERIES:
            key, title = SERIES[study]
            found[f"series_{kind}"] = partial(series, group, key, title)
        if study == "consistency":
            found[f"distance_{kind}"] = partial(distances, group)
    return found


SERIES = {
    "resilience": ("generator_gradient_norm", "norm of the generator's gradient"),
    "critics": ("generator", "generator's objective"),
}


def toy_samples(shown: Mapping[str, dict[str, Any]], data: str) -> bytes:
    """Points of the lowest seed, the centres of the modes under them."""
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(2 * COLUMNS, 2.2 * rows), dpi=70)
    centres = MIXTURES[data]
    for i, (name, result) in enumerate(shown.items()):
        axes, points = figure.add_subplot(rows, COLUMNS, i + 1), np.array(result["samples"])
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


def series(group: Group, key: str, title: str) -> bytes:
    """A term of the log over the steps, the mean over the seeds; one panel a system."""
    systems = list(dict.fromkeys(name.partition("-")[0] for name in group))
    figure = Figure(figsize=(3.2 * len(systems), 3), dpi=80)
    for i, system in enumerate(systems):
        axes = figure.add_subplot(1, len(systems), i + 1)
        for name, row in group.items():
            lines = [r["series"] for r in row if "series" in r and name.partition("-")[0] == system]
            if lines:
                style = DASHES[list(group).index(name) // 3 % len(DASHES)]
                axes.plot(*mean_line(lines, key), style, label=name.partition("-")[2], lw=1)
        axes.set_title(system, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        if key.endswith("norm"):
            axes.set_yscale("log")
            axes.legend(fontsize=6)
    figure.axes[0].set_ylabel(title, fontsize=8)
    figure.tight_layout()
    return png_bytes(figure)


def mean_line(lines: list[list[dict[str, float]]], key: str) -> tuple[list[float], list[float]]:
    """Steps that every seed has, and the mean there."""
    values = [{r["step"]: r[key] for r in line if key in r} for line in lines]
    steps = [step for step in values[0] if all(step in line for line in values)]
    return [float(step) for step in steps], [mean(v[step] for v in values) for step in steps]


def distances(group: Group) -> bytes:
    """The distance of densities against the bound, by lambda."""
    figure = Figure(figsize=(4, 3), dpi=80)
    axes = figure.add_subplot()
    weights = [2 / row[0]["measures"]["bound"] for row in group.values()]
    for weight, row in zip(weights, group.values(), strict=True):
        axes.plot([weight] * len(row), [r["measures"]["distance"] for r in row], "o", color="C0")
    axes.plot(weights, [min(2.0, 2 / weight) for weight in weights], "k--", label="bound 2/λ")
    axes.set(xscale="log", yscale="log", xlabel="λ", ylabel="∫|p_data − p_G|")
    axes.legend(fontsize=8)
    figure.tight_layout()
    return png_bytes(figure)
