"""Write the tables and pictures of the benchmark of objectives into docs/objective-benchmarks.md.

    python benchmarks/objective_tables.py          # between its markers, and docs/figures/*.png
    python benchmarks/objective_tables.py --check  # fails where the page is not up to date

Everything stands in the JSON files of `objectives.py`. Results that do not belong together (other
arguments under one name, another extractor on one data set) are refused.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from jobs import ROOT
from objective_figures import figures_of
from objective_jobs import RESULTS, Job, comparable
from objective_missing import not_run, outdated
from objective_parts import PARTS
from objective_rows import (
    COST,
    Group,
    Result,
    Row,
    best_by,
    best_of,
    bound_of,
    cost,
    covers,
    measures_of,
    spread,
    values,
)
from objective_studies import STUDIES
from objective_targets import targets
from tables import facts, table, write_page

from clsgan.objectives import SYSTEMS, is_chi_squared
from clsgan.run_folder import read_json

BEGIN, END = "<!-- objectives:begin -->", "<!-- objectives:end -->"
PAGE = ROOT / "docs" / "objective-benchmarks.md"
FIGURES = "figures"

Key = tuple[str, str, str]  # study, data, budget


def read_results(folder: Path) -> list[Result]:
    results = [read_json(path) for path in sorted(folder.glob("*.json"))]
    for result in results:
        result["job"] = Job(**result["job"])
    return sorted(results, key=lambda result: (result["job"].name, result["job"].seed))


def groups_of(results: Iterable[Result]) -> dict[Key, Group]:
    """Results by study, data and budget, then by variant, in the order of the studies."""
    groups: dict[Key, Group] = {}
    for result in results:
        job = result["job"]
        if job.variant in STUDIES[job.study].variants:
            group = groups.setdefault((job.study, job.data, job.budget), {})
            group.setdefault(job.variant, []).append(result)
    check(groups)
    order = list(STUDIES)
    return {
        key: {name: groups[key][name] for name in STUDIES[key[0]].variants if name in groups[key]}
        for key in sorted(groups, key=lambda key: (order.index(key[0]), key[1], key[2]))
    }


def check(groups: dict[Key, Group]) -> None:
    yardsticks: dict[str, Any] = {}
    for key, group in groups.items():
        shared: dict[str, Any] = {}  # settings that no argument of a variant has changed
        for name, row in group.items():
            if any(result["arguments"] != row[0]["arguments"] for result in row):
                raise ValueError(f"results of {key}, {name} had different arguments")
            if any(comparable(result) != comparable(row[0]) for result in row):
                raise ValueError(f"results of {key}, {name} had different settings")
            for setting, value in comparable(row[0]).items():
                changed = setting in row[0]["arguments"] or setting == "resolved"
                if not changed and shared.setdefault(setting, value) != value:
                    raise ValueError(f"results of {key} had different settings: {setting}")
            for result in row:
                used = result["measures"].get("extractor")
                if used and yardsticks.setdefault(key[1], used)["sha256"] != used["sha256"]:
                    raise ValueError(f"results on {key[1]} had different extractors")


def compared(group: Group) -> str:
    """One line a variant of a study whose runs are compared by their samples."""
    best = {measure: best_by(group, measure) for measure in measures_of(group)}
    kept = any("series" in result for row in group.values() for result in row)
    lines = []
    for name, row in group.items():
        cells = [f"`{name}`{remark(row)}"]
        for measure, names in best.items():
            text = spread(values(row, *measure.path), measure.form)
            cells.append(f"**{text}**" if name in names and text else text)
        cells.append("yes" if covers(row) else "no")
        lines.append([*cells, *(gradients(row) if kept else []), *cost(row)])
    more = GRADIENTS if kept else []
    heading = ["system", *(measure.what for measure in best), "all in every seed", *more, *COST]
    return table(heading, lines)


GRADIENTS = ["gradient of G, first tenth", "last tenth"]


def gradients(row: Row) -> list[str]:
    """Median norm of the generator's gradient at the start and at the end of the runs."""
    kept = [r["series"] for r in row if "generator_gradient_norm" in r.get("series", {})]
    norms = [series["generator_gradient_norm"] for series in kept]
    tenths = [max(len(norm) // 10, 1) for norm in norms]
    first = [median(norm[:n]) for norm, n in zip(norms, tenths, strict=True)]
    last = [median(norm[-n:]) for norm, n in zip(norms, tenths, strict=True)]
    return [spread(first, ".3g"), spread(last, ".3g")]


def remark(row: Row) -> str:
    """Whether the coding of a Least Squares GAN has the chi-squared divergence."""
    if row[0]["arguments"].get("objective") != "least_squares":
        return ""
    given = row[0]["arguments"].get("objective_options") or {}
    options = {**SYSTEMS["least_squares"].options, **given}
    holds = "holds" if is_chi_squared(**options) else "does not hold"
    return f" (a, b, c = {options['a']:g}, {options['b']:g}, {options['c']:g}: χ² {holds})"


def critics(group: Group) -> str:
    """How far the critic's output wanders: on generated rows over the run, on real ones by seed.

    Both in units of the standard deviation over real rows at the end, as objectives scale it.
    """
    lines = []
    for name, row in group.items():
        drift = [drift_of(result) for result in row if "diverged" not in result]
        last, spreads = values(row, "critic", "real_mean"), values(row, "critic", "real_std")
        between = f"{stdev(last) / mean(spreads):.2f}" if len(last) > 1 and any(spreads) else ""
        lines.append(
            [f"`{name}`", spread(drift, ".2f"), between, spread(last, ".2f"),
             spread(spreads, ".2f"), *cost(row)]
        )  # fmt: skip
    heading = ["objective", "wandering over the run", "between seeds"]
    return table([*heading, "mean on real rows", "deviation over real rows", *COST], lines)


def drift_of(result: Result) -> float:
    """Standard deviation over the second half of a run of the mean on generated rows, so scaled."""
    series = result["series"]["generator"]
    half = series[len(series) // 2 :]
    scale = result["measures"]["critic"]["real_std"]
    return stdev(half) / scale if len(half) > 1 and scale else 0.0


def generalised(group: Group) -> str:
    lines = [
        [f"`{name}`", *(spread(values(row, part), ".3f") for part in OF_ROWS), *cost(row)]
        for name, row in group.items()
    ]
    return table(["control", *(part.replace("_", " ") for part in OF_ROWS), *COST], lines)


OF_ROWS = ("train", "held_out", "generated", "gap", "auroc")


def consistent(group: Group) -> str:
    lines = [
        [name.replace("lambda", "λ"), spread(values(row, "distance"), ".3f"),
         f"{min(bound_of(row[0]['arguments']), 2):.3f}", kept_to(row), *cost(row)]
        for name, row in group.items()
    ]  # fmt: skip
    return table(["", "∫\\|p_data − p_G\\|", "bound min(2, 2/λ)", "kept", *COST], lines)


def kept_to(row: Row) -> str:
    """Seeds that kept to the bound; one that diverged did not."""
    bound = bound_of(row[0]["arguments"])
    return f"{sum(distance <= bound for distance in values(row, 'distance'))} of {len(row)}"


def shares(group: Group) -> str:
    (row,) = group.values()
    lines = [
        [name, spread([1000 * s for s in values(row, "terms", name, "seconds")], ".2f"),
         spread(values(row, "terms", name, "share"), ".0%")]
        for name in row[0]["measures"]["terms"]
    ]  # fmt: skip
    return table(["control", "ms a step", "share of the step"], lines)


def step_parts(group: Group) -> str:
    """The share of a step that each part of it takes, a system a column."""
    named = [f"`{name}`, ms and share" for name in group]
    lines = []
    for part, title in PARTS.items():
        cells = [
            (values(row, "parts", part, "seconds"), values(row, "parts", part, "share"))
            for row in group.values()
        ]
        shown = [f"{spread([1000 * s for s in ms], '.2f')}, {spread(p, '.0%')}" for ms, p in cells]
        lines.append([title, *shown])
    return table(["part", *named], lines)


def classified(group: Group) -> str:
    """One line a system: its test error as a classifier; the lowest in bold."""
    check_splits(group)
    best = best_of(group, ("error",), lower=True)
    lines = []
    for name, row in group.items():
        error = spread(values(row, "error"), ".2%")
        calibration = spread(values(row, "expected_calibration_error"), ".2%")
        lines.append(
            [f"`{name}`", f"**{error}**" if name in best else error, calibration, *cost(row)]
        )
    return table(["system", "test error", "calibration error", *COST], lines)


def check_splits(group: Group) -> None:
    """Refuse systems that had other labeled rows with the same seed."""
    hashes: dict[str, str] = {}
    for result in (result for row in group.values() for result in row):
        split = result["split"]
        if hashes.setdefault(split["name"], split["hash"]) != split["hash"]:
            raise ValueError(f"results of {split['name']} had different labeled rows")


TABLES: dict[str, Callable[[Group], str]] = {
    "classifiers": classified,
    "parts": step_parts,
    "critics": critics,
    "generalisation": generalised,
    "consistency": consistent,
    "shares": shares,
}


def whole(results: Sequence[Result]) -> str:
    """Targets, then the tables of every study, each under its question, then the pictures."""
    if not results:
        return "No result yet."
    groups = groups_of(results)
    met = targets(groups)
    parts = ["## Targets", met] if met else []
    for study, asked in STUDIES.items():
        parts.append(f"## {asked.question}")
        for key, group in groups.items():
            if key[0] == study:
                made = TABLES.get(study, compared)(group)
                parts += [f"### `{key[1]}`, {key[2]}", made, outdated(group)]
        parts.append(not_run(study, results))
    parts += [yardsticks(results), facts([results]), circumstances(results)]
    parts += [f"![{Path(path).stem}]({path})" for path in pictures(results)]
    return "\n\n".join(part for part in parts if part)


def yardsticks(results: Iterable[Result]) -> str:
    """The extractors, by what identifies them."""
    used = {
        r["measures"]["extractor"]["name"]: r["measures"]["extractor"]
        for r in results
        if "extractor" in r["measures"]
    }
    names = [
        f"`{name}` (SHA-256 {one['sha256'][:12]}, test error {one['test_error']:.1%})"
        for name, one in sorted(used.items())
    ]
    return f"Extractors: {'; '.join(names)}." if names else ""


def circumstances(results: Iterable[Result]) -> str:
    """The precision that was trained in, and what else ran where time counts."""
    used = sorted({result["precision"] for result in results if "precision" in result})
    timed = [r for r in results if r["job"].seconds or r["job"].study in TIMED]
    loads = [r["load_before"] for r in timed if "load_before" in r]
    told = [f"Trained in {', '.join(used)}."] if used else []
    if loads:
        told.append(
            f"Load before the runs in which time counts, one of which was on each core: median "
            f"{median(loads):.1f}, at most {max(loads):.1f}."
        )
    return " ".join(told)


TIMED = ("shares", "parts")


def pictures(results: Sequence[Result]) -> dict[str, Callable[[], bytes]]:
    """What draws each picture of the page, by its path from there."""
    made = figures_of(groups_of(results))
    return {f"{FIGURES}/{name}.png": draw for name, draw in made.items()}


def main(argv: Sequence[str] | None = None) -> int:
    description, markers = __doc__.splitlines()[0], (BEGIN, END)
    return write_page(
        argv, "objective_tables", description, RESULTS, PAGE, markers, whole, read_results, pictures
    )


if __name__ == "__main__":
    raise SystemExit(main())
