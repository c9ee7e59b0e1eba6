"""Write the tables of the ablation into docs/ablation.md.

    python benchmarks/ablation_table.py          # between the markers ablation:begin, ablation:end
    python benchmarks/ablation_table.py --check  # fails where the page is not up to date

Everything stands in the JSON files of `ablation.py`. Results that do not belong together (another
split or other arguments under one name) are refused.
"""

import math
from collections.abc import Callable, Sequence
from statistics import mean, stdev
from typing import Any

from ablation import NOVEL, RESULTS, VARIANTS, variant_of
from jobs import ROOT
from tables import Result, Row, average, budget, check, facts, table, write_page

BEGIN, END = "<!-- ablation:begin -->", "<!-- ablation:end -->"
PAGE = ROOT / "docs" / "ablation.md"
SCORES = ("outlier_score", "largest_probability")
Group = dict[str, Row]  # the variants that were run on one problem for one budget
Measure = Callable[[Result], float]


def groups_of(results: Sequence[Result]) -> dict[tuple[Any, ...], Group]:
    """Results by protocol, labels, known classes and budget, then by variant, in table order."""
    groups: dict[tuple[Any, ...], Group] = {}
    for result in results:
        job = result["job"]
        name, known = variant_of(job.method)
        name += "".join(f", {key}={value}" for key, value in sorted(job.changes.items()))
        key = (result["protocol"], job.labels, known or 0, job.seconds or 0, job.steps or 0)
        groups.setdefault(key, {}).setdefault(name, []).append(result)
    check({(*key, name): row for key, group in groups.items() for name, row in group.items()})
    order = list(VARIANTS)

    def place(name: str) -> tuple[int, str]:
        return order.index(name.partition(",")[0]), name

    return {
        key: {n: groups[key][n] for n in sorted(groups[key], key=place)} for key in sorted(groups)
    }


def difference(row: Row, default: Row, measure: Measure, form: str) -> str:
    """Mean of a variant less that of the default, and how many standard errors that is."""
    ours, theirs = ([measure(result) for result in each] for each in (row, default))
    gap = mean(ours) - mean(theirs)
    if row is default:
        return ""
    if min(len(ours), len(theirs)) < 2:
        return f"{gap:+{form}}"
    own_error = math.sqrt(sum(stdev(each) ** 2 / len(each) for each in (ours, theirs)))
    return f"{gap:+{form}} ({abs(gap) / own_error:.1f})" if own_error else f"{gap:+{form}}"


def spread(row: Row, measure: Measure, form: str) -> str:
    values = [measure(result) for result in row]
    return f"{mean(values):{form}}" + (f" ± {stdev(values):{form}}" if len(values) > 1 else "")


def error(result: Result) -> float:
    return float(100 * result["error"])


def calibration(result: Result) -> float:
    return float(result["calibration"])


def area(kinds: Sequence[str], score: str) -> Measure:
    """Mean area under the ROC curve over kinds of outliers."""
    return lambda result: mean(result["auroc"][kind][score] for kind in kinds)


def kinds_of(group: Group) -> list[str]:
    """Kinds of outliers that every result of a group was tested on."""
    first, *rest = [result["auroc"] for row in group.values() for result in row]
    return [kind for kind in first if all(kind in areas for areas in rest)]


def main_table(group: Group) -> str:
    """One line a variant: what it is worth, and by how much that differs from the default."""
    kinds = kinds_of(group)
    own, largest = (area([NOVEL] if NOVEL in kinds else kinds, score) for score in SCORES)
    columns = ((error, ".2f"), (calibration, ".2f"), (own, ".3f"))
    lines = []
    for name, row in group.items():
        default = reference(name, group)
        cells = [name, changed(row), str(len(row))]
        for measure, form in columns:
            cells.append(spread(row, measure, form))
            cells.append(difference(row, default, measure, form) if default else "")
        cells.append(spread(row, largest, ".3f"))
        lines.append(
            [*cells, average(row, "steps", "{:,.0f}"), average(row, "images_per_second", "{:,.0f}")]
        )
    heading = ["variant", "changes", "n", "test error %", "− default", "calibration error %"]
    heading += ["− default", "AUROC, outlier score", "− default", "AUROC, largest probability"]
    return table([*heading, "steps", "images/s"], lines)


def reference(name: str, group: Group) -> Row:
    """The default of the same changes; of the default with changes, the one without."""
    variant, _, changes = name.partition(", ")
    if variant == "default" or not changes:
        return group.get("default", [])
    return group.get(f"default, {changes}", [])


def changed(row: Row) -> str:
    """The arguments that make the variant."""
    return ", ".join(f"`{key}={value}`" for key, value in row[0]["arguments"].items())


def kind_table(group: Group) -> str:
    """One line a variant, one column a kind of outlier: both areas."""
    kinds = kinds_of(group)
    lines = []
    for name, row in group.items():
        pairs = [[f"{mean(r['auroc'][k][s] for r in row):.3f}" for s in SCORES] for k in kinds]
        lines.append([name, *(" / ".join(pair) for pair in pairs)])
    return table(["variant", *kinds], lines)


def title(key: tuple[Any, ...], group: Group) -> str:
    protocol, labels, known, *_ = key
    result = next(iter(group.values()))[0]
    text = f"### `{protocol}`, {labels:,} labels, {budget(result['job'])}"
    if not known:
        return text
    names = ", ".join(result["classes"])
    about = f"Known: {names}, with {result['n_labeled']:,} labels; the pool holds all classes."
    return f"{text}: {known} classes known\n\n{about}"


def widths(group: Group) -> str:
    """Channels of the default's network: they follow the machine and the time there is."""
    found = {tuple(result.get("widths", ())) for result in group.get("default", [])}
    return "".join(f" Widths: {', '.join(map(str, each))}." for each in sorted(found) if each)


LEGEND = (
    "Mean ± standard deviation over n seeds; each draws the labeled rows and starts the training. "
    "Beside it the mean less that of\nthe default, and in parentheses how many standard errors "
    "that is, of √(s₁²/n₁ + s₂²/n₂); for rows of further arguments it is the default with the "
    "same\nones, for the default with them the one without. A budget is the time of `fit`; "
    "averaged weights at its end.\n"
    "Calibration error: expected, 15 bins. AUROC: test images against images of no known class,\n"
    "0.5 is chance; the mean over the kinds of the second table, or the test images of the classes "
    "without a label."
)
KIND_LEGEND = "AUROC by kind of outlier: outlier score / largest class probability."


def whole(results: Sequence[Result]) -> str:
    parts = []
    groups = groups_of(results)
    for key, group in groups.items():
        parts += [title(key, group), main_table(group), KIND_LEGEND, kind_table(group)]
        parts.append(f"{facts(group.values())}{widths(group)}")
    rows = [row for group in groups.values() for row in group.values()]
    notes = sorted({note for row in rows for result in row for note in result["notes"]})
    if parts:
        parts.append(" ".join([LEGEND, *(f"{note[0].upper()}{note[1:]}." for note in notes)]))
    return "\n\n".join(parts) or "No result yet."


def main(argv: Sequence[str] | None = None) -> int:
    description = __doc__.splitlines()[0]
    return write_page(argv, "ablation_table", description, RESULTS, PAGE, (BEGIN, END), whole)


if __name__ == "__main__":
    raise SystemExit(main())
