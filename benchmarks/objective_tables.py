"""Write the tables and pictures of the benchmark of objectives into docs/objective-benchmarks.md.

    python benchmarks/objective_tables.py          # between its markers, and docs/figures/*.png
    python benchmarks/objective_tables.py --check  # fails where the page is not up to date

Everything stands in the JSON files of `objectives.py`. Results that do not belong together (other
arguments under one name, another extractor on one data set) are refused.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from jobs import ROOT
from objective_figures import figures_of
from objective_jobs import RESULTS, Job, comparable
from objective_studies import STUDIES
from tables import facts, placed, table

from clsgan.objectives import SYSTEMS, is_chi_squared
from clsgan.run_folder import read_json, write_bytes

BEGIN, END = "<!-- objectives:begin -->", "<!-- objectives:end -->"
PAGE = ROOT / "docs" / "objective-benchmarks.md"
FIGURES = "figures"

Result = dict[str, Any]
Row = list[Result]  # the seeds of one line
Group = dict[str, Row]  # the variants of a study on one data set for one budget
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
                changed = setting in row[0]["arguments"]
                if not changed and shared.setdefault(setting, value) != value:
                    raise ValueError(f"results of {key} had different settings: {setting}")
            for result in row:
                used = result["measures"].get("extractor")
                if used and yardsticks.setdefault(key[1], used)["sha256"] != used["sha256"]:
                    raise ValueError(f"results on {key[1]} had different extractors")


NOTHING = ("modes", "good")  # measures that are 0 of a run that diverged


def values(row: Row, *path: str) -> list[float]:
    """A measure of every seed that has it: one that diverged covers nothing, and has no other."""
    nothing = dict.fromkeys(NOTHING, 0.0)
    found: list[Any] = [nothing if "diverged" in result else result["measures"] for result in row]
    for key in path:
        found = [part[key] for part in found if part and part.get(key) is not None]
    return [float(value) for value in found]


def spread(numbers: Sequence[float], form: str) -> str:
    if not numbers:
        return ""
    return f"{mean(numbers):{form}}" + (f" ± {stdev(numbers):{form}}" if len(numbers) > 1 else "")


def cost(row: Row) -> list[str]:
    """Seeds, those that diverged, steps and seconds."""
    ran = [result for result in row if "diverged" not in result]
    steps, seconds = ([r[key] for r in ran if r[key] is not None] for key in ("steps", "seconds"))
    times = [f"{mean(part):,.0f}" if part else "" for part in (steps, seconds)]
    return [str(len(row)), str(len(row) - len(ran) or ""), *times]


COST = ["seeds", "diverged", "steps", "fit, s"]


def best_of(group: Group, path: Sequence[str], lower: bool) -> set[str]:
    """The variant of the best mean, and those within one standard deviation of it.

    One of which a seed diverged is not among them.
    """
    stable = {n: row for n, row in group.items() if not any("diverged" in r for r in row)}
    found = {name: values(row, *path) for name, row in stable.items()}
    found = {name: numbers for name, numbers in found.items() if numbers}
    if not found:
        return set()
    sign = 1 if lower else -1
    best = min(found, key=lambda name: sign * mean(found[name]))
    reach = stdev(found[best]) if len(found[best]) > 1 else 0.0
    limit = sign * mean(found[best]) + reach
    return {name for name, numbers in found.items() if sign * mean(numbers) <= limit}


def compared(group: Group) -> str:
    """One line a variant of a study whose runs are compared by their samples."""
    columns: list[tuple[str, tuple[str, ...], bool, str]] = [("covered", ("modes",), False, ".1f")]
    if any("good" in result["measures"] for row in group.values() for result in row):
        columns.append(("good samples", ("good",), False, ".1%"))
    if any(values(row, "frechet") for row in group.values()):
        columns += [("Fréchet distance", ("frechet",), True, ".2f"), ("MRE", ("mre",), True, ".4f")]
    best = [best_of(group, path, lower) for _, path, lower, _ in columns]
    lines = []
    for name, row in group.items():
        cells = [f"`{name}`{remark(row)}"]
        for (_, path, _, form), names in zip(columns, best, strict=True):
            text = spread(values(row, *path), form)
            cells.append(f"**{text}**" if name in names and text else text)
        cells.append(every(row))
        lines.append([*cells, *cost(row)])
    heading = ["system", *(title for title, *_ in columns), "all in every seed", *COST]
    return table(heading, lines)


def every(row: Row) -> str:
    """Whether every seed covered everything; a run that diverged did not."""
    measures = [result["measures"] for result in row]
    return "yes" if all(m and m["modes"] == m["n_modes"] for m in measures) else "no"


def remark(row: Row) -> str:
    """Whether the coding of a Least Squares GAN has the chi-squared divergence."""
    if row[0]["arguments"].get("objective") != "least_squares":
        return ""
    given = row[0]["arguments"].get("objective_options") or {}
    options = {**SYSTEMS["least_squares"].options, **given}
    holds = "holds" if is_chi_squared(**options) else "does not hold"
    return f" (a, b, c = {options['a']:g}, {options['b']:g}, {options['c']:g}: χ² {holds})"


def critics(group: Group) -> str:
    """How far the critic's output wanders: on generated rows over the run, on real ones by seed."""
    lines = []
    for name, row in group.items():
        drift = [drift_of(result) for result in row if "diverged" not in result]
        last = values(row, "critic", "real_mean")
        between = f"{stdev(last):.3f}" if len(last) > 1 else ""
        lines.append(
            [f"`{name}`", spread(drift, ".3f"), spread(last, ".3f"), between,
             spread(values(row, "critic", "real_std"), ".3f"), *cost(row)]
        )  # fmt: skip
    heading = ["objective", "wandering over the run", "mean on real rows at the end"]
    return table([*heading, "between seeds", "over real rows", *COST], lines)


def drift_of(result: Result) -> float:
    """Standard deviation over the second half of a run of the critic's mean on generated rows."""
    series = [record["generator"] for record in result["series"] if "generator" in record]
    half = series[len(series) // 2 :]
    return stdev(half) if len(half) > 1 else 0.0


def generalised(group: Group) -> str:
    lines = [
        [f"`{name}`", *(spread(values(row, part), ".3f") for part in PARTS), *cost(row)]
        for name, row in group.items()
    ]
    return table(["control", *(part.replace("_", " ") for part in PARTS), *COST], lines)


PARTS = ("train", "held_out", "generated", "gap", "relative_gap")


def consistent(group: Group) -> str:
    lines = [
        [name.replace("lambda", "λ"), spread(values(row, "distance"), ".3f"),
         f"{min(values(row, 'bound')[0], 2):.3f}", kept_to(row), *cost(row)]
        for name, row in group.items()
    ]  # fmt: skip
    return table(["", "∫\\|p_data − p_G\\|", "bound min(2, 2/λ)", "kept", *COST], lines)


def kept_to(row: Row) -> str:
    kept = [d <= b for d, b in zip(values(row, "distance"), values(row, "bound"), strict=True)]
    return f"{sum(kept)} of {len(kept)}"


def shares(group: Group) -> str:
    (row,) = group.values()
    lines = [
        [name, spread([1000 * s for s in values(row, "terms", name, "seconds")], ".2f"),
         spread(values(row, "terms", name, "share"), ".0%")]
        for name in row[0]["measures"]["terms"]
    ]  # fmt: skip
    return table(["control", "ms a step", "share of the step"], lines)


TABLES: dict[str, Callable[[Group], str]] = {
    "critics": critics,
    "generalisation": generalised,
    "consistency": consistent,
    "shares": shares,
}


def whole(results: Sequence[Result], figures: Iterable[str] = ()) -> str:
    """The tables of every study, each under its question, then the pictures."""
    parts, study = [], ""
    for key, group in groups_of(results).items():
        if key[0] != study:
            study = key[0]
            parts.append(f"## {STUDIES[study].question}")
        parts += [f"### `{key[1]}`, {key[2]}", TABLES.get(study, compared)(group)]
    if parts:
        parts += [yardsticks(results), facts([results])]
        parts += [f"![{name}]({FIGURES}/{name}.png)" for name in figures]
    return "\n\n".join(part for part in parts if part) or "No result yet."


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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if not current")
    options = parser.parse_args(argv)
    try:
        results = read_results(options.results)
        made = figures_of(groups_of(results))
        page = placed(options.page, whole(results, made), BEGIN, END)
        stale = page != options.page.read_text(encoding="utf-8")
        if stale and not options.check:
            (options.page.parent / FIGURES).mkdir(exist_ok=True)
            for name, draw in made.items():
                write_bytes(options.page.parent / FIGURES / f"{name}.png", draw())
            write_bytes(options.page, page.encode())
    except (ValueError, OSError) as problem:
        print(f"objective_tables: {problem}", file=sys.stderr)
        return 1
    if stale:
        done = "is not up to date" if options.check else "written"
        print(f"{options.page} {done}", file=sys.stderr)
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
