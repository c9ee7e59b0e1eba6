"""Whether the results have what the benchmark of objectives set out for, target by target."""

from collections.abc import Mapping

from objective_rows import (
    COVERED,
    FRECHET,
    GOOD,
    MRE,
    Group,
    best_by,
    covers,
    measures_of,
    named,
)
from objective_toys import MIXTURES
from tables import table

COVERING = {"LS-GAN": "ls_gan", "GLS-GAN": "gls_gan", "Lipschitz GAN": "lipschitz_gan"}
LOSS_SENSITIVE = ("ls_gan", "gls_gan")  # objectives
BY = {
    COVERED: "coverage",
    GOOD: "good samples, of those that cover all modes",
    FRECHET: "Fréchet distance",
    MRE: "MRE",
}


def targets(groups: Mapping[tuple[str, str, str], Group]) -> str:
    """A line for each target on each data set and budget of the study of systems."""
    lines = []
    for (study, data, budget), group in groups.items():
        if study == "systems":
            found = {**(covering(group) if data in MIXTURES else {}), **best(group)}
            lines += [[target, f"`{data}`, {budget}", met] for target, met in found.items()]
    return table(["target", "on", "met"], lines) if lines else ""


def covering(group: Group) -> dict[str, str]:
    """Whether the systems that are to cover all modes in every seed do."""
    lacking = [name for name in COVERING.values() if name not in group or not covers(group[name])]
    met = f"no: not {named(lacking)}" if lacking else "yes"
    return {f"{', '.join(COVERING)} cover all modes in every seed": met}


def best(group: Group) -> dict[str, str]:
    """Whether a loss-sensitive system is the best or within a standard deviation of it."""
    found = {}
    for measure in (measure for measure in measures_of(group) if measure in BY):
        names = best_by(group, measure)
        of = {name: group[name][0]["arguments"]["objective"] for name in names}
        own = [name for name in group if of.get(name) in LOSS_SENSITIVE]
        others = named(name for name in group if name in names)
        target = "a loss-sensitive system is the best or within one standard deviation of it"
        found[f"{target}, by {BY[measure]}"] = f"yes: {named(own)}" if own else f"no: {others}"
    return found
