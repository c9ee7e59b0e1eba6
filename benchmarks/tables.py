"""Write the tables of the low-label benchmark into README.md and docs/benchmarks.md.

    python benchmarks/tables.py          # between the markers low-label:begin and low-label:end
    python benchmarks/tables.py --check  # fails where a page is not up to date

Everything stands in the JSON files of `low_label.py` and `features.py`. Results that do not
belong together (another split or other arguments under one name) are refused.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from features import SIMPLE as SIMPLE_FEATURES
from jobs import RESULTS, ROOT, Job
from low_label import METHODS, SIMPLE

from clsgan.run_folder import read_json, write_bytes

BEGIN, END = "<!-- low-label:begin -->", "<!-- low-label:end -->"
README_SECONDS = {"digits": 30, "mnist": 180, "fashion-mnist": 180, "cifar10": 300}
BF16_HARDWARE = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16"}  # quickest first
NAMES = {
    **{"default": "ours", "pseudo_label": "pseudo-label", "mean_teacher": "Mean Teacher"},
    **{
        "fixmatch": "FixMatch",
        "self_training": "SelfTraining",
        "label_spreading": "LabelSpreading",
    },
    **{"pca": "PCA", "patches": "whitened patches"},
}
METHOD_ORDER = [*METHODS, *SIMPLE, *SIMPLE_FEATURES]
COLUMNS = (  # heading, key, format
    ("fit, s", "seconds", "{:,.0f}"),
    ("steps", "steps", "{:,.0f}"),
    ("images/s", "images_per_second", "{:,.0f}"),
    ("calibration error %", "calibration", "{:.2f}"),
    ("memory, MB", "memory", "{:,.0f}"),
)

Result = dict[str, Any]
Row = list[Result]  # the seeds of one cell of a table


def read_results(folder: Path) -> list[Result]:
    """All results, with what the tables show beside the rest; the order is that of the files."""
    results = [read_json(path) for path in sorted(folder.glob("*.json"))]
    for result in results:
        result["job"] = Job(**result["job"])
        result["calibration"] = 100 * result["expected_calibration_error"]
        result["memory"] = result["peak_memory_mb"].get("process")
    return results


def rows_of(results: Iterable[Result], kind: str) -> dict[tuple[Any, ...], Row]:
    """Results by protocol, labels, budget and method, in the order of the tables."""
    rows: dict[tuple[Any, ...], Row] = {}
    for result in results:
        job = result["job"]
        if result["kind"] == kind:
            key = (result["protocol"], job.labels, job.seconds, job.steps, label(job), job.method)
            rows.setdefault(key, []).append(result)
    check(rows)

    def place(key: tuple[Any, ...]) -> tuple[Any, ...]:
        protocol, labels, seconds, steps, name, method = key
        return protocol, labels, seconds or 0, steps or 0, METHOD_ORDER.index(method), name

    return {key: rows[key] for key in sorted(rows, key=place)}


def check(rows: dict[tuple[Any, ...], Row]) -> None:
    """Refuse a mean over different arguments or networks, and other labeled rows for a method."""
    splits: dict[str, str] = {}
    for key, row in rows.items():
        if any(result["arguments"] != row[0]["arguments"] for result in row):
            raise ValueError(f"results of {key} had different arguments; run the benchmark again")
        if len({tuple(result["widths"]) for result in row if result.get("widths")}) > 1:
            raise ValueError(f"results of {key} had networks of different widths")
        if len({interval(result) for result in row}) > 1:
            raise ValueError(f"results of {key} had generated rows in other steps of one another")
        for split in (result["split"] for result in row):
            if splits.setdefault(split["name"], split["hash"]) != split["hash"]:
                raise ValueError(f"results of {split['name']} had different labeled rows")


def interval(result: Result) -> int:
    """Of generated rows; in results from before they named it 8, where nothing else was asked."""
    arguments = result["arguments"]
    before = 8 if arguments.get("objective", "default") == "default" else 1
    return int(result.get("generator_interval", arguments.get("generator_interval", before)))


def label(job: Job) -> str:
    changes = "".join(f", {key}={value}" for key, value in sorted(job.changes.items()))
    return NAMES.get(job.method, job.method) + changes


def error(row: Row) -> str:
    """Mean and standard deviation in per cent, and the number of seeds."""
    errors = [100 * result["error"] for result in row]
    spread = f" ± {stdev(errors):.2f}" if len(errors) > 1 else ""
    return f"{mean(errors):.2f}{spread} ({len(errors)})"


def average(row: Row, key: str, form: str) -> str:
    values = [result.get(key) for result in row]
    return "" if None in values else form.format(mean(v for v in values if v is not None))


def budget(job: Job) -> str:
    if job.seconds is None:
        return "" if job.steps is None else f"{job.steps:,} steps"
    return f"{job.seconds:,g} s"


def table(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [heading, ["---"] * len(heading), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def short(results: list[Result]) -> str:
    """One line for each data set and number of labels: ours and its baselines at one budget."""
    rows = rows_of((r for r in results if not r["job"].changes), "low_label")
    methods = [*METHODS, *SIMPLE]
    lines, used = [], []
    for protocol, labels in dict.fromkeys(key[:2] for key in rows):
        at = [row for key, row in rows.items() if key[:2] == (protocol, labels)]
        limit = README_SECONDS.get(at[0][0]["job"].data)
        cells = {row[0]["job"].method: row for row in at if row[0]["job"].seconds in (limit, None)}
        if limit is None or "default" not in cells:
            continue
        shown = [cell(cells[m], limit) if m in cells else "" for m in methods]
        n_test = cells["default"][0]["n_test"]
        used += cells.values()
        lines.append([f"`{protocol}`", f"{labels:,}", f"{limit} s", f"{n_test:,}", *shown])
    if not lines:
        return "No result yet."
    heading = ["data", "labels", "budget", "test rows", *(NAMES.get(m, m) for m in methods)]
    return f"{table(heading, lines)}\n\n{LEGEND}\n{facts(used)}"


def cell(row: Row, limit: float) -> str:
    """The error; with the time it took where that was clearly more than the budget."""
    seconds = mean(result["seconds"] for result in row)
    return error(row) if seconds < 1.1 * limit else f"{error(row)} in {seconds:,.0f} s"


LEGEND = (
    "Test error in per cent, mean ± standard deviation (number of seeds); a budget is the time of "
    "`fit`. The seed draws the\nlabeled rows and starts the training; averaged weights at the end "
    "of the budget, no checkpoint chosen. SelfTraining and\nLabelSpreading are scikit-learn's, on "
    "the better of two features that need no label, chosen on labeled rows, and take the time they "
    "need;\nthe other methods are arguments of `CLSGANClassifier`."
)


def whole(results: list[Result]) -> str:
    """A table for each data set and number of labels; then that of the features."""
    rows, probes = rows_of(results, "low_label"), rows_of(results, "features")
    parts = []
    for protocol, labels in dict.fromkeys(key[:2] for key in rows):
        at = [row for key, row in rows.items() if key[:2] == (protocol, labels)]
        parts.append(f"### `{protocol}`, {labels:,} labels, {at[0][0]['n_test']:,} test rows")
        heading = ["budget", "method", "test error %", *(name for name, *_ in COLUMNS)]
        parts.append(table(heading, map(full_line, at)))
    if rows:
        parts.append(f"{LEGEND}\n{facts(rows.values())}")
    if probes:
        parts += ["### Features", probe_table(probes), PROBE_LEGEND]
        parts[-1] += f"\n{facts(probes.values())}"
    return "\n\n".join(parts) or "No result yet."


def full_line(row: Row) -> list[str]:
    job = row[0]["job"]
    return [budget(job), label(job), error(row), *(average(row, k, f) for _, k, f in COLUMNS)]


PROBE_LEGEND = (
    "Logistic regression on the same labeled rows, C by cross-validation on them; ours and "
    "supervised are `transform` of a model fitted\nwithin the budget, the others need no label. "
    "Test error in per cent, mean ± standard deviation (number of seeds)."
)


def probe_table(rows: dict[tuple[Any, ...], Row]) -> str:
    lines = []
    for row in rows.values():
        job, size = row[0]["job"], average(row, "n_features", "{:,.0f}")
        where = [f"`{row[0]['protocol']}`", f"{job.labels:,}", budget(job), label(job), size]
        lines.append([*where, error(row)])
    return table(["data", "labels", "budget", "features", "number", "test error %"], lines)


def facts(rows: Iterable[Row]) -> str:
    """Machines, versions and commits of the results."""
    results = list(chain.from_iterable(rows))

    def listed(name: Callable[[Result], str]) -> str:
        return "; ".join(sorted({name(result) for result in results}))

    versions = listed(lambda r: f"torch {r['versions']['torch']}")
    learn = listed(lambda r: f"scikit-learn {r['versions']['scikit-learn']}")
    commits = listed(lambda r: (r["commit"] or "unknown")[:10] + " (changed)" * bool(r["dirty"]))
    return f"Machine: {machines(results)}. Versions: {versions}, {learn}. Commit: {commits}."


def machines(results: Iterable[Result]) -> str:
    """The machines, each with its data sets where there are several and results name them."""
    found: dict[str, set[str]] = {}
    for result in results:
        name = machine_name(result["machine"])
        data = found.setdefault(name, set())
        if "protocol" in result:
            data.add(f"`{result['protocol']}`")
    parts = []
    for name in sorted(found):
        data = found[name] if len(found) > 1 else set()
        parts.append(f"{name} ({', '.join(sorted(data))})" if data else name)
    return "; ".join(parts)


def machine_name(facts: Mapping[str, Any]) -> str:
    """Processor, the quickest bf16 it has in hardware, cores and precision of a run."""
    has = facts.get("bf16", "")
    fast = next((f" with {words}" for flag, words in BF16_HARDWARE.items() if flag in has), "")
    cores = f"{facts['cores']} core{'s' * (facts['cores'] != 1)}"
    return f"{facts['processor']}{fast}, {cores}, {facts['precision']}"


def placed(page: Path, text: str, begin: str = BEGIN, end: str = END) -> str:
    """The page with `text` between its markers."""
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no lines {begin} and {end}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def write_page(
    argv: Sequence[str] | None,
    name: str,
    description: str,
    folder: Path,
    page: Path,
    markers: tuple[str, str],
    make: Callable[[list[Result]], str],
    read: Callable[[Path], list[Result]] = read_results,
    pictures: Callable[[list[Result]], Mapping[str, Callable[[], bytes]]] = lambda results: {},
) -> int:
    """The command of a script that writes one page.

    `pictures` gives those of the page, by their path from it; they are drawn when it is written.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--results", type=Path, default=folder)
    parser.add_argument("--page", type=Path, default=page)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if not current")
    options = parser.parse_args(argv)
    try:
        results = read(options.results)
        text = placed(options.page, make(results), *markers)
        stale = text != options.page.read_text(encoding="utf-8")
        if stale and not options.check:
            for name, draw in pictures(results).items():
                path = options.page.parent / name
                path.parent.mkdir(exist_ok=True)
                write_bytes(path, draw())
            write_bytes(options.page, text.encode())
    except (ValueError, OSError) as problem:
        print(f"{name}: {problem}", file=sys.stderr)
        return 1
    if stale:
        done = "is not up to date" if options.check else "written"
        print(f"{options.page} {done}", file=sys.stderr)
    return 1 if stale and options.check else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--root", type=Path, default=ROOT, help="where README.md and docs/ lie")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if not current")
    options = parser.parse_args(argv)
    root, stale = options.root, 0
    try:
        results = read_results(options.results)
        made = {"README.md": short(results), "docs/benchmarks.md": whole(results)}
        pages = {root / name: placed(root / name, text) for name, text in made.items()}
        for path, text in pages.items():
            if text == path.read_text(encoding="utf-8"):
                continue
            stale += 1
            print(f"{path} {'is not up to date' if options.check else 'written'}", file=sys.stderr)
            if not options.check:
                write_bytes(path, text.encode())
    except (ValueError, OSError) as problem:
        print(f"tables: {problem}", file=sys.stderr)
        return 1
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
