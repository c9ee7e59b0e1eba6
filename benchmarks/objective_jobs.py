"""Jobs of the benchmark of objectives: one study, data set, variant, seed and budget each.

As in `jobs.py` every job runs in a process of its own, one at a time, and leaves one JSON file,
written whole or not at all; one whose file is there is not run again, unless its arguments, what
these come to or its toy have changed since. Here a plan says beforehand how long each of its jobs
takes.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs import ROOT, SECONDS_AROUND, TAIL, commit, paths_of, say
from objective_settings import plain
from objective_toys import TOYS, constants
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clsgan.choices import one_of
from clsgan.data_sets import DATA_SETS
from clsgan.doctor import machine, versions
from clsgan.objectives import OBJECTIVES
from clsgan.run_folder import read_json, write_json
from clsgan.settings import Settings

RESULTS = ROOT / "benchmarks" / "results" / "objectives"
EXTRACTORS = ROOT / "runs" / "extractors"
SECONDS_GUESSED = 60.0
OF_THE_JOB = ("random_state", "max_steps", "time_limit")
DRAWN_SEED = 0
# A result from before a setting was there had what the setting is by default in `Settings`.
DEFAULTS = plain(Settings(OBJECTIVES["paper"]))


@dataclass(frozen=True)
class Job:
    """What one process does; the budget is steps of the loss network or seconds of `fit`."""

    study: str
    data: str
    variant: str
    seed: int
    steps: int | None = None
    seconds: float | None = None

    @property
    def budget(self) -> str:
        return f"{self.steps}steps" if self.seconds is None else f"{self.seconds:g}s"

    @property
    def name(self) -> str:
        """Unique, and fit to be a file's."""
        parts = [self.study, self.data, self.variant, self.budget, f"seed{self.seed}"]
        return re.sub(r"[^\w.=-]+", "_", ".".join(parts))


@dataclass
class Entry:
    """Jobs of every combination; an entry of a plan. No variants: all of the study.

    `estimate` is the seconds that a job takes; without it the budget's, or a guess.
    """

    study: str = "systems"
    data: str = "ring8"
    variants: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    steps: int | None = None
    seconds: float | None = None
    estimate: float | None = None


@dataclass(frozen=True)
class Study:
    """A question: what is asked, the arguments of each variant's estimator, and one job's work.

    `settings` gives all arguments of a job's estimator, with those of its data; `resolved` takes
    the data and these, and gives what they come to. `run` takes the job, the arguments of its
    variant and the command line's options, and returns numbers for JSON. `toys` are the data sets
    that need no file. `series` is the term of the log that a result keeps; one of `DRAWN_SEED`
    keeps samples too where these are `drawn`.
    """

    question: str
    variants: Mapping[str, Mapping[str, Any]]
    settings: Callable[[Job, dict[str, Any]], dict[str, Any]]
    resolved: Callable[[str, Mapping[str, Any]], dict[str, Any]]
    run: Callable[[Job, dict[str, Any], argparse.Namespace], dict[str, Any]]
    toys: tuple[str, ...] = ()
    images: bool = True
    series: str = ""
    drawn: bool = False


Studies = Mapping[str, Study]


def file_of(job: Job, folder: Path) -> Path:
    return folder / f"{job.name}.json"


def arguments_of(job: Job, studies: Studies) -> dict[str, Any]:
    """Arguments of the variant as JSON holds them."""
    return dict(json.loads(json.dumps(studies[job.study].variants[job.variant])))


def is_done(job: Job, studies: Studies, folder: Path) -> bool:
    """Whether its result is there, of the arguments and the settings that it would have now."""
    path = file_of(job, folder)
    return path.exists() and is_current(read_json(path), job, studies)


def is_current(result: Mapping[str, Any], job: Job, studies: Studies) -> bool:
    """Whether a job that was run now would have the arguments and the settings of a result."""
    arguments = arguments_of(job, studies)
    now = {"config": config_of(job, studies)}
    return bool(result["arguments"] == arguments and comparable(result) == comparable(now))


def config_of(job: Job, studies: Studies) -> dict[str, Any]:
    """All that decides a result, as JSON holds it.

    Arguments of the estimator, "resolved" what they come to, "toy" the constants of a toy.
    """
    study = studies[job.study]
    settings = study.settings(job, arguments_of(job, studies))
    config = {**settings, "resolved": study.resolved(job.data, settings)}
    if job.data in TOYS:
        config["toy"] = constants(job.data)
    return dict(json.loads(json.dumps(config)))


def comparable(result: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a result but for its seed and its budget."""
    config = result.get("config", {})
    kept = {key: value for key, value in config.items() if key not in OF_THE_JOB}
    if "resolved" not in config:
        return kept
    resolved = DEFAULTS | config["resolved"]
    objective = DEFAULTS["objective"] | resolved["objective"]
    return kept | {"resolved": resolved | {"objective": objective}}


def jobs_of(entry: Entry, studies: Studies) -> list[tuple[Job, float]]:
    """The jobs of an entry with the seconds each takes; ValueError for one that cannot be run."""
    study = one_of("study", entry.study, dict(studies))
    images = [name for name in DATA_SETS if study.images]
    one_of("data", entry.data, dict.fromkeys([*study.toys, *images]))
    for variant in entry.variants:
        one_of("variant", variant, dict(study.variants))
    if (entry.steps is None) == (entry.seconds is None):
        raise ValueError(f"an entry of {entry.study} needs either steps or seconds")
    budgeted = SECONDS_GUESSED if entry.seconds is None else entry.seconds + SECONDS_AROUND
    takes = entry.estimate or budgeted
    return [
        (Job(entry.study, entry.data, variant, seed, entry.steps, entry.seconds), takes)
        for seed in entry.seeds
        for variant in entry.variants or study.variants
    ]


def add_arguments(parser: argparse.ArgumentParser, studies: Studies) -> None:
    add = parser.add_argument
    add("--plan", type=Path, help="YAML file with a list of entries, in place of the next six")
    add("--study", choices=list(studies))
    add("--data", default="ring8")
    add("--variants", nargs="+", default=[], help="all, if not given")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--steps", type=int, help="of the loss network")
    add("--seconds", type=float, help="of fit, by the clock")
    add("--only", default="", metavar="REGEX", help="only the jobs whose name has this")
    add("--path", nargs="+", default=[], metavar="[DATA=]FILE", help="where a data set lies")
    add("--out", type=Path, default=RESULTS, help="folder of the JSON files")
    add("--extractors", type=Path, default=EXTRACTORS, help="folder of the trained extractors")
    add("--extractor-steps", type=int, help="for a try-out; its name has them")
    add("--log", type=Path, default=ROOT / "runs" / "objectives.log")
    add("--list", action="store_true", help="print the jobs that are missing")
    add("--dry-run", action="store_true", help="print the plan and how long it takes")
    add("--job", help=argparse.SUPPRESS)


def asked(studies: Studies, options: argparse.Namespace) -> dict[Job, float]:
    """Each job once, in the order of the plan, with its seconds."""
    if (options.plan is None) == (options.study is None):
        raise ValueError("give either --study or --plan")
    names = ("study", "data", "variants", "seeds", "steps", "seconds")
    entries: Iterable[Any] = [{name: getattr(options, name) for name in names}]
    if options.plan is not None:
        entries = OmegaConf.load(options.plan)
    found = planned(entries, studies)
    return {job: takes for job, takes in found.items() if re.search(options.only, job.name)}


def planned(entries: Iterable[Any], studies: Studies) -> dict[Job, float]:
    """Each job of the entries of a plan once, with its seconds."""
    found: dict[Job, float] = {}
    for entry in entries:
        given = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Entry), entry))
        for job, takes in jobs_of(given, studies):
            found.setdefault(job, takes)
    return found


def main(script: Path, studies: Studies, description: str, argv: Sequence[str] | None) -> int:
    """Run, list or plan the jobs that the command line asks for; 1 if one failed."""
    parser = argparse.ArgumentParser(description=description)
    add_arguments(parser, studies)
    options = parser.parse_args(argv)
    if options.job:
        work(Job(**json.loads(options.job)), studies, options)
        return 0
    try:
        jobs = asked(studies, options)
        paths = paths_of(options.path, {job.data for job in jobs if job.data in DATA_SETS})
        missing = {job: s for job, s in jobs.items() if not is_done(job, studies, options.out)}
    except (ValueError, OSError, OmegaConfBaseException) as error:
        parser.error(str(error))
    if options.list or options.dry_run:
        show(missing if options.list else jobs, missing)
        return 0
    return run_all(script, studies, list(missing), paths, options)


def show(jobs: Mapping[Job, float], missing: Mapping[Job, float]) -> None:
    for job, takes in jobs.items():
        print(f"{job.name}  about {takes:.0f} s" if job in missing else f"{job.name}  (done)")
    for study in dict.fromkeys(job.study for job in missing):
        seconds = [takes for job, takes in missing.items() if job.study == study]
        print(f"{study}: {len(seconds)} to run, about {sum(seconds) / 60:.0f} min")
    print(f"{len(missing)} to run, about {sum(missing.values()) / 3600:.1f} h")


def run_all(
    script: Path,
    studies: Studies,
    jobs: list[Job],
    paths: Mapping[str, str],
    options: argparse.Namespace,
) -> int:
    """Run jobs one after the other; one that fails leaves words in the log, and no result."""
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for i, job in enumerate(jobs, 1):
        say(options.log, f"[{i}/{len(jobs)}] {job.name}")
        command = [sys.executable, str(script), "--job", json.dumps(asdict(job))]
        command += ["--out", str(options.out), "--extractors", str(options.extractors)]
        command += ["--path", paths[job.data]] if job.data in paths else []
        if options.extractor_steps:
            command += ["--extractor-steps", str(options.extractor_steps)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not is_done(job, studies, options.out):
            failed.append(job.name)
            say(options.log, f"failed with {done.returncode}: {job.name}\n{done.stderr[-TAIL:]}")
    if failed:
        say(options.log, f"{len(failed)} of {len(jobs)} failed: {', '.join(failed)}")
    return 1 if failed else 0


def work(job: Job, studies: Studies, options: argparse.Namespace) -> None:
    """Run one job in this process and write its result."""
    arguments = arguments_of(job, studies)
    facts = {"kind": "objectives", "job": asdict(job), "arguments": arguments}
    facts["config"] = config_of(job, studies)
    facts |= {"date": datetime.now(UTC).isoformat(timespec="seconds"), **commit()}
    facts |= {"versions": versions(), "machine": machine()}
    if hasattr(os, "getloadavg"):  # 0 where nothing else runs; a busy neighbour costs accuracy
        facts["load_before"] = os.getloadavg()[0]
    write_json(file_of(job, options.out), facts | studies[job.study].run(job, arguments, options))
