"""What the tables of the benchmark of objectives take from the seeds of one line."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

Result = dict[str, Any]
Row = list[Result]  # the seeds of one line
Group = dict[str, Row]  # the variants of a study on one data set for one budget

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
