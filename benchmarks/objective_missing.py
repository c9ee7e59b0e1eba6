"""What the plans ask for and has no result yet, and results that would come out otherwise now."""

from collections.abc import Sequence
from pathlib import Path

from objective_jobs import is_current, planned
from objective_rows import Group, Result, named
from objective_studies import STUDIES
from omegaconf import OmegaConf

PLANS = [Path(__file__).with_name(name) for name in ("objectives.yaml", "objectives_long.yaml")]


def not_run(study: str, results: Sequence[Result]) -> str:
    """Data, budgets and variants of a study in the plans that no seed was run of."""
    there = {(r["job"].data, r["job"].budget, r["job"].variant) for r in results}
    wanted: dict[tuple[str, str], list[str]] = {}
    for plan in PLANS:
        for job in planned(OmegaConf.load(plan), STUDIES):
            if job.study == study:
                wanted.setdefault((job.data, job.budget), []).append(job.variant)
    parts = []
    for where, variants in wanted.items():
        lacking = list(dict.fromkeys(v for v in variants if (*where, v) not in there))
        if lacking:
            some = "" if len(lacking) == len(set(variants)) else f" ({named(lacking)})"
            parts.append(f"`{where[0]}`, {where[1]}{some}")
    return f"Not run yet: {'; '.join(parts)}." if parts else ""


def outdated(group: Group) -> str:
    """Variants of which a result has other settings than a run would have now."""
    old = [n for n, row in group.items() if not all(is_current(r, r["job"], STUDIES) for r in row)]
    return f"With other settings than a run would have now: {named(old)}." if old else ""
