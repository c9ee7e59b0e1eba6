"""What the tables of the benchmark of objectives take from the seeds of one line."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

Result = dict[str, Any]
Row = list[Result]  # the seeds of one line
Group = dict[str, Row]  # the variants of a study on one data set for one budget


@dataclass(frozen=True)
class Measure:
    """What systems are compared by: its heading, where it stands, and how it is shown."""

    what: str
    path: tuple[str, ...]
    lower: bool
    form: str


COVERED = Measure("covered", ("modes",), False, ".1f")
GOOD = Measure("good samples", ("good",), False, ".1%")
FRECHET = Measure("Fréchet distance", ("frechet",), True, ".2f")
MRE = Measure("MRE", ("mre",), True, ".4f")
NOTHING = ("modes", "good")  # measures that are 0 of a run that diverged


def values(row: Row, *path: str) -> list[float]:
    """A measure of every seed that has it: one that diverged covers nothing, and has no other."""
    nothing = dict.fromkeys(NOTHING, 0.0)
    found: list[Any] = [nothing if "diverged" in result else result["measures"] for result in row]
    for key in path:
        found = [part[key] for part in found if part and part.get(key) is not None]
    return [float(value) for value in found]


def bound_of(arguments: Mapping[str, Any]) -> float:
    """2 / lambda of Theorem 1 for a variant of the study of consistency."""
    return float(2 / arguments["objective_options"]["hinge_weight"])


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


def covers(row: Row) -> bool:
    """Whether every seed covered everything; a run that diverged did not."""
    measures = [result["measures"] for result in row]
    return all(m and m["modes"] == m["n_modes"] for m in measures)


def measures_of(group: Group) -> list[Measure]:
    """Those that the results of a study have."""
    found = [COVERED]
    if any("good" in result["measures"] for row in group.values() for result in row):
        found.append(GOOD)
    return found + [m for m in (FRECHET, MRE) if any(values(r, *m.path) for r in group.values())]


def best_by(group: Group, measure: Measure) -> set[str]:
    """As `best_of`; by good samples only of those that cover everything, which is the hard part."""
    pool = {n: row for n, row in group.items() if covers(row)} if measure is GOOD else group
    return best_of(pool, measure.path, measure.lower)


def named(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
