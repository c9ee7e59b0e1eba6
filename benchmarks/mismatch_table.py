"""Write the tables of pools and labels that do not match into docs/mismatch.md.

    python benchmarks/mismatch_table.py          # between mismatch:begin and mismatch:end
    python benchmarks/mismatch_table.py --check  # fails where the page is not up to date

Everything stands in the JSON files of `mismatch.py`. Results that do not belong together (another
split or other arguments under one name) are refused.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ablation_table import difference, spread
from jobs import ROOT
from mismatch import METHODS, RESULTS, scenario_of
from tables import Result, Row, average, budget, check, facts, table, write_page

BEGIN, END = "<!-- mismatch:begin -->", "<!-- mismatch:end -->"
PAGE = ROOT / "docs" / "mismatch.md"
Key = tuple[Any, ...]  # protocol, labels, kind, seconds, steps
Group = dict[tuple[int, str], Row]  # by share or factor, and method
LEGENDS = {
    "novel": (
        "Six classes are known; of the pool, whose size is always the same, the given share is of "
        "the other four. Test error on\nthe known classes, and in parentheses the standard errors "
        "of its difference; AUROC: test rows of the novel against the known\nclasses, 0.5 is "
        "chance. Kept: mean weight of the pool's rows at the end of the run."
    ),
    "imbalance": (
        "The largest class has `factor` times the labels and the unlabeled rows of the smallest. "
        "Balanced error: mean over the\nclasses of the error on their test rows."
    ),
}


def percent(name: str) -> Callable[[Result], float]:
    return lambda result: float(100 * result[name])


def area(score: str) -> Callable[[Result], float]:
    return lambda result: float(result["auroc"][score])


def groups_of(results: Sequence[Result]) -> dict[Key, Group]:
    """Results by problem and budget, then by scenario and method, in the order of the tables."""
    groups: dict[Key, Group] = {}
    for result in results:
        job = result["job"]
        name, kind, amount = scenario_of(job.method)
        name += "".join(f", {key}={value}" for key, value in sorted(job.changes.items()))
        key = (result["protocol"], job.labels, kind, job.seconds or 0, job.steps or 0)
        groups.setdefault(key, {}).setdefault((amount, name), []).append(result)
    check({(*key, name): row for key, group in groups.items() for name, row in group.items()})
    order = [scenario_of(method)[0] for method in METHODS]

    def place(cell: tuple[int, str]) -> tuple[Any, ...]:
        return cell[0], order.index(cell[1].partition(",")[0]), cell[1]

    ordered = sorted(groups, key=lambda key: (key[2] != "novel", key))
    return {
        key: {cell: groups[key][cell] for cell in sorted(groups[key], key=place)} for key in ordered
    }


def reference(group: Group, amount: int, name: str) -> Row:
    """The row that another one is held against: of the same scenario, else of any."""
    if (amount, name) in group:
        return group[amount, name]
    return next((row for (_, method), row in group.items() if method == name), [])


def novel_table(group: Group) -> str:
    """One line a share and method: error against labels alone, and the scores of novel rows."""
    lines = []
    for (share, name), row in group.items():
        alone = reference(group, share, "supervised")
        gap = difference(row, alone, percent("error"), ".2f") if alone else ""
        where = "any" if name == "supervised" else f"{share} %"
        kept = average(row, "kept_share", "{:.2f}")
        areas = [spread(row, area(s), ".3f") for s in ("outlier_score", "largest_probability")]
        error = spread(row, percent("error"), ".2f")
        lines.append([where, name, str(len(row)), error, gap, *areas, kept])
    heading = ["novel in the pool", "method", "n", "test error %", "− supervised"]
    heading += ["AUROC, outlier score", "AUROC, largest probability", "kept"]
    return table(heading, lines)


def imbalance_table(group: Group) -> str:
    """One line a factor and method: balanced error, against that without weights."""
    lines = []
    for (factor, name), row in group.items():
        plain = reference(group, factor, "supervised" if "supervised" in name else "default")
        measure = percent("balanced_error")
        gap = difference(row, plain, measure, ".2f") if plain else ""
        labels = row[0]["labels_by_class"]
        numbers = [str(len(row)), f"{max(labels)} to {min(labels)}"]
        lines.append([str(factor), name, *numbers, spread(row, measure, ".2f"), gap])
    heading = ["factor", "method", "n", "labels of a class", "balanced error %", "− unweighted"]
    return table(heading, lines)


TABLES = {"novel": novel_table, "imbalance": imbalance_table}


def whole(results: Sequence[Result]) -> str:
    parts = []
    for key, group in groups_of(results).items():
        protocol, labels, kind, *_ = key
        job = next(iter(group.values()))[0]["job"]
        parts.append(
            f"### `{protocol}`, {labels:,} labels before the choice, {budget(job)}: {kind}"
        )
        parts += [TABLES[kind](group), f"{LEGENDS[kind]}\n{facts(group.values())}"]
    return "\n\n".join(parts) or "No result yet."


def main(argv: Sequence[str] | None = None) -> int:
    description = __doc__.splitlines()[0]
    return write_page(argv, "mismatch_table", description, RESULTS, PAGE, (BEGIN, END), whole)


if __name__ == "__main__":
    raise SystemExit(main())
