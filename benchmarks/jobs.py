"""Jobs of a benchmark: one data set, number of labels, seed, budget and method each; resumable.

A benchmark calls `main` with its methods and the function that runs one job. Every job runs in a
process of its own, one at a time, and leaves one JSON file, written whole or not at all. A job
whose file is there is not run again, unless the arguments of its method have changed since.
"""

import argparse
import inspect
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import clsgan
from clsgan import CLSGANClassifier
from clsgan.choices import one_of
from clsgan.config import DataConfig
from clsgan.data_sets import DATA_SETS
from clsgan.defaults import resolve_settings
from clsgan.doctor import machine, peak_memory_mb, versions
from clsgan.evaluate import report
from clsgan.run_data import RunData, load_run_data
from clsgan.run_folder import read_json, write_json

ROOT = Path(clsgan.__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "low_label"
CODE = ("clsgan", ":(glob)benchmarks/*.py")  # what decides a result, for git
SET_BY_THE_JOB = {"time_limit": "--seconds", "max_steps": "--steps", "random_state": "--seeds"}
SECONDS_AROUND = 20  # to start, load and test
SECONDS_UNBOUNDED = 120  # a guess, for methods without a budget
TAIL = 2_000  # characters of a failed job's last words


@dataclass(frozen=True)
class Job:
    """What one process does. `changes` are arguments given on top of those of the method."""

    data: str
    labels: int
    seed: int
    method: str
    seconds: float | None = None
    steps: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def budget(self) -> str:
        if self.seconds is not None:
            return f"{self.seconds:g}s"
        return "" if self.steps is None else f"{self.steps}steps"

    @property
    def name(self) -> str:
        """Unique among the jobs of one benchmark, and fit to be a file's."""
        what = self.method + "".join(f"+{k}={v}" for k, v in sorted(self.changes.items()))
        parts = [f"{self.data}@{self.labels}", f"seed{self.seed}", self.budget, what]
        return re.sub(r"[^\w.@+=-]+", "_", ".".join(filter(None, parts)))


@dataclass
class Grid:
    """Jobs of every combination; an entry of a plan. No methods: all of them."""

    data: str = "digits"
    labels: list[int] = field(default_factory=lambda: [100])
    seeds: list[int] = field(default_factory=lambda: [0])
    seconds: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """A kind of job.

    `networks` holds the methods of the engine, which take a budget, with their arguments;
    `others` names those that take none. `run` does the work of a job and returns its numbers.
    """

    kind: str
    script: Path
    networks: Mapping[str, Mapping[str, Any]]
    others: Sequence[str]
    run: Callable[[Job, RunData, argparse.Namespace], dict[str, Any]]

    def file(self, job: Job, folder: Path) -> Path:
        return folder / f"{self.kind}.{job.name}.json"

    def arguments(self, job: Job) -> dict[str, Any]:
        """Constructor arguments as JSON holds them."""
        given = {**self.networks.get(job.method, {}), **job.changes}
        return dict(json.loads(json.dumps(given)))

    def is_done(self, job: Job, folder: Path) -> bool:
        path = self.file(job, folder)
        return path.exists() and read_json(path)["arguments"] == self.arguments(job)


def jobs_of(grid: Grid, benchmark: Benchmark) -> list[Job]:
    """The jobs of a grid, the shortest budgets first; ValueError for one that cannot be run."""
    one_of("data", grid.data, {**DATA_SETS, "npz": None})
    valid = dict.fromkeys([*benchmark.networks, *benchmark.others])
    for method in grid.methods:
        one_of("method", method, valid)
    for key in grid.changes:
        one_of("argument", key, inspect.signature(CLSGANClassifier).parameters)
        if key in SET_BY_THE_JOB:
            raise ValueError(f"{key} is set by {SET_BY_THE_JOB[key]}")
    budgets: list[tuple[float | None, int | None]] = [(s, None) for s in sorted(grid.seconds)]
    budgets += [(None, n) for n in sorted(grid.steps)]
    jobs = []
    for labels, seed, method in itertools.product(grid.labels, grid.seeds, grid.methods or valid):
        job = (grid.data, labels, seed, method)
        if method not in benchmark.networks:
            jobs.append(Job(*job))
        elif not budgets:
            raise ValueError(f"method {method} needs a budget: give seconds or steps")
        else:
            jobs += [Job(*job, seconds, steps, dict(grid.changes)) for seconds, steps in budgets]
    return sorted(jobs, key=lambda job: (job.seconds or 0, job.steps or 0))  # stable


def main(benchmark: Benchmark, description: str, argv: Sequence[str] | None) -> int:
    """Run, list or plan the jobs that the command line asks for; 1 if one failed."""
    parser = argparse.ArgumentParser(description=description)
    add_arguments(parser)
    options = parser.parse_args(argv)
    if options.job:
        work(benchmark, Job(**json.loads(options.job)), options)
        return 0
    try:
        jobs = asked(benchmark, options)
        paths = paths_of(options.path, {job.data for job in jobs})
        missing = [job for job in jobs if not benchmark.is_done(job, options.out)]
    except (ValueError, OSError, OmegaConfBaseException) as error:
        parser.error(str(error))
    if options.list or options.dry_run:
        show(benchmark, missing if options.list else jobs, missing, options.out)
        return 0
    return run_all(benchmark, missing, paths, options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--plan", type=Path, help="YAML file with a list of grids, in place of the next six")
    add("--data", help=f"{', '.join(DATA_SETS)}, or npz with --path")
    add("--labels", type=int, nargs="+", default=[100])
    add("--seeds", type=int, nargs="+", default=[0])
    add("--seconds", type=float, nargs="+", default=[], help="of fit, by the clock")
    add("--steps", type=int, nargs="+", default=[])
    add("--methods", nargs="+", default=[], help="all, if not given")
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help="constructor arguments")
    add("--only", default="", metavar="REGEX", help="only the jobs whose name has this")
    add("--path", nargs="+", default=[], metavar="[DATA=]FILE", help="where a data set lies")
    add("--out", type=Path, default=RESULTS, help="folder of the JSON files")
    models = "folder in which low_label.py keeps the fitted models, and features.py finds them"
    add("--model-out", "--models", dest="models", type=Path, help=models)
    add("--log", type=Path, default=Path("runs/benchmark.log"))
    add("--list", action="store_true", help="print the jobs that are missing")
    add("--dry-run", action="store_true", help="print the plan and how long it takes")
    add("--job", help=argparse.SUPPRESS)


def asked(benchmark: Benchmark, options: argparse.Namespace) -> list[Job]:
    """Each job once, in the order of the plan."""
    if (options.plan is None) == (options.data is None):
        raise ValueError("give either --data or --plan")
    entries: list[Any] = [{}]
    if options.plan is not None:
        entries = list(OmegaConf.load(options.plan))
    else:
        names = ("data", "labels", "seeds", "seconds", "steps", "methods")
        entries = [{name: getattr(options, name) for name in names}]
    changes = OmegaConf.to_container(OmegaConf.from_dotlist(options.set))
    jobs: dict[str, Job] = {}
    for entry in entries:
        grid = OmegaConf.merge(OmegaConf.structured(Grid), entry, {"changes": changes})
        for job in jobs_of(OmegaConf.to_object(grid), benchmark):
            jobs.setdefault(job.name, job)
    return [job for job in jobs.values() if re.search(options.only, job.name)]


def paths_of(given: Sequence[str], names: set[str]) -> dict[str, str]:
    """Where data sets lie, by name; a path without a name is that of the only data set."""
    paths = {}
    for text in given:
        name, found, path = text.partition("=")
        if not found and len(names) > 1:
            raise ValueError(f"--path {text}: there are several data sets; give DATA={text}")
        paths[name if found else next(iter(names), "")] = path if found else text
    return paths


def show(benchmark: Benchmark, jobs: list[Job], missing: list[Job], folder: Path) -> None:
    for job in jobs:
        changed = benchmark.file(job, folder).exists() and job in missing
        state = "" if job in missing else "  (done)"
        print(f"{job.name}{'  (arguments changed)' if changed else state}")
    total = sum(SECONDS_AROUND + (job.seconds or SECONDS_UNBOUNDED) for job in missing)
    guessed = sum(job.seconds is None for job in missing)
    print(f"{len(missing)} to run, about {total / 3600:.1f} h; {guessed} without a time budget")


def run_all(
    benchmark: Benchmark, jobs: list[Job], paths: dict[str, str], options: argparse.Namespace
) -> int:
    """Run jobs one after the other; one that fails leaves words in the log, and no result."""
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for i, job in enumerate(jobs, 1):
        say(options.log, f"[{i}/{len(jobs)}] {job.name}")
        command = [sys.executable, str(benchmark.script), "--job", json.dumps(asdict(job))]
        command += ["--out", str(options.out)]
        command += ["--path", paths[job.data]] if job.data in paths else []
        command += ["--models", str(options.models)] if options.models else []
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not benchmark.is_done(job, options.out):
            failed.append(job.name)
            say(options.log, f"failed with {done.returncode}: {job.name}\n{done.stderr[-TAIL:]}")
        else:
            result = read_json(benchmark.file(job, options.out))
            say(options.log, f"error {result['error']:.2%} in {result['seconds']:.1f} s")
    if failed:
        say(options.log, f"{len(failed)} of {len(jobs)} failed: {', '.join(failed)}")
    return 1 if failed else 0


def say(log: Path, text: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    print(f"{now} {text}", file=sys.stderr, flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{now} {text}\n")


def work(benchmark: Benchmark, job: Job, options: argparse.Namespace) -> None:
    """Run one job in this process and write its result."""
    facts = {"kind": benchmark.kind, "job": asdict(job), "arguments": benchmark.arguments(job)}
    facts |= {"date": datetime.now(UTC).isoformat(timespec="seconds"), **commit()}
    facts |= {"versions": versions(), "machine": machine()}
    if hasattr(os, "getloadavg"):  # 0 where nothing else runs; a busy neighbour costs accuracy
        facts["load_before"] = os.getloadavg()[0]
    path = options.path[0] if options.path else None
    data = load_run_data(DataConfig(job.data, path, labels=job.labels, seed=job.seed))
    split = {"name": data.split, "hash": data.split_hash, "n_labeled": len(data.y_lab)}
    split["n_unlabeled"] = 0 if data.x_unlab is None else len(data.x_unlab)
    facts |= {"protocol": data.split.rpartition(".seed")[0], "split": split}
    write_json(benchmark.file(job, options.out), facts | benchmark.run(job, data, options))


def of_fit(model: CLSGANClassifier, data: RunData) -> dict[str, Any]:
    """What a model was made with and took, what its defaults came to among it."""
    params = model.get_params(deep=False)
    numbers = {
        "config": params,
        "seconds": float(model.fit_time_),
        "steps": int(model.n_steps_),
        "images_per_second": float(model.images_per_second_),
        "widths": list(getattr(model.loss_network_, "widths", [])),
        "peak_memory_mb": peak_memory_mb(),
    }
    if model.generator_ is None:
        return numbers
    n_rows = len(data.x_lab) + (0 if data.x_unlab is None else len(data.x_unlab))
    interval = resolve_settings(params, model.spec_, n_rows).generator_interval
    return numbers | {"generator_interval": interval}


def tested(data: RunData, classes: Any, probabilities: Any) -> dict[str, Any]:
    """Error, errors by class, calibration and confusion on the test rows."""
    table = np.asarray(probabilities, dtype=np.float64)
    table = table / table.sum(axis=1, keepdims=True)  # in float32 they do not sum to 1
    numbers = report(data.named(classes), data.named(data.y_test), table)
    return {"n_test": numbers.pop("n"), **numbers}


def commit() -> dict[str, Any]:
    """The commit of the code, and whether the code differs from it; None outside a checkout."""

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(ROOT), "--no-optional-locks", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        return None if done.returncode else done.stdout.strip()

    try:
        head, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", *CODE)
    except FileNotFoundError:  # no git here
        head = changes = None
    return {"commit": head, "dirty": None if changes is None else bool(changes)}
