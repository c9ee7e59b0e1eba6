"""The benchmark of objectives: its variants, measures, jobs, tables and pictures."""

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from omegaconf import OmegaConf

from clsgan import LSGAN, CLSGANClassifier, density, estimator
from clsgan.defaults import resolve_density_settings, resolve_settings
from clsgan.inputs import InputSpec
from clsgan.run_folder import read_json, write_json

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
NEWER_TERMS = ("rotation_weight", "cutmix")  # than some results that are kept
PAGE = "before\n<!-- objectives:begin -->\n<!-- objectives:end -->\nafter\n"
NAMES = ("jobs", "images", "toys", "classifiers", "parts", "studies", "tables", "figures")
NAMES += ("missing", "settings", "targets", "variants")


@pytest.fixture(scope="module")
def parts() -> Iterator[Any]:
    """The modules of the benchmark, which import each other as scripts do."""
    sys.path.insert(0, str(BENCHMARKS))
    found = {name: importlib.import_module(f"objective_{name}") for name in NAMES}
    yield argparse.Namespace(**found, script=importlib.import_module("objectives"))
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def small(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks and measures for a moment."""
    hidden = {"hidden": [8], "norm": False}
    toy = {"loss_network_options": hidden, "generator_options": hidden, "batch_size": 8}
    images = {"loss_network_options": {"widths": [8, 8, 8], "norm": False}, "batch_size": 8}
    images["generator_options"] = {"widths": [8, 8]}
    monkeypatch.setattr(parts.studies, "TOY", parts.studies.TOY | toy)
    monkeypatch.setattr(parts.studies, "IMAGES", parts.studies.IMAGES | images)
    monkeypatch.setattr(parts.studies, "SHARE_REPEATS", 1)
    classifier = {"loss_network_options": {"widths": (8, 8, 8)}, "batch_size": 8}
    monkeypatch.setattr(
        parts.classifiers, "CLASSIFIER", parts.classifiers.CLASSIFIER | images | classifier
    )
    monkeypatch.setattr(parts.images, "WIDTHS", (8, 8, 8))
    monkeypatch.setattr(parts.images, "N_RECONSTRUCTED", 4)
    monkeypatch.setattr(parts.images, "RECONSTRUCTION", {"steps": 2, "restarts": 1})


@pytest.fixture
def work(parts: Any, tmp_path: Path) -> Any:
    """Runs a job in this process; gives its result."""

    def run(study: str, data: str, variant: str, seed: int = 0, steps: int = 6) -> Any:
        job = {"study": study, "data": data, "variant": variant, "seed": seed, "steps": steps}
        options = ["--extractors", str(tmp_path / "ex"), "--extractor-steps", "2"]
        (tmp_path / "out").mkdir(exist_ok=True)
        out = ["--out", str(tmp_path / "out")]
        assert parts.script.main(["--job", json.dumps(job), *options, *out]) == 0
        return read_json(parts.jobs.file_of(parts.jobs.Job(**job), tmp_path / "out"))

    return run


def test_every_variant_is_valid_on_every_data_and_differs_from_the_others(parts: Any) -> None:
    spec = InputSpec((1, 28, 28), "NHW", "uint8", 0.0, 255.0)
    for name, study in parts.studies.STUDIES.items():
        seen = []
        for variant, given in study.variants.items():
            data = study.toys[0] if study.toys else "digits"
            job = parts.jobs.Job(name, data, variant, 0, 10)
            if name == "classifiers":
                params = CLSGANClassifier(**study.settings(job, given)).get_params()
                resolved = resolve_settings(params, spec, 1297)
            else:
                params = LSGAN(**study.settings(job, given)).all_params()
                resolved = resolve_density_settings(params, spec)
            networks = [params[f"{part}_options"] for part in ("loss_network", "generator")]
            seen.append((resolved, networks))
            assert seen.count(seen[-1]) == 1, (name, variant)
    names = set(importlib_systems())
    variants = parts.studies.STUDIES["systems"].variants
    assert {given["objective"] for given in variants.values()} == names
    variants = parts.studies.STUDIES["classifiers"].variants
    named = {given["objective"] for given in variants.values() if "objective" in given}
    assert named == names | {"cls_gan"}
    lacking = parts.studies.VARIANTS.values()
    assert not [given for given in lacking if given in parts.studies.SYSTEMS.values()]


def importlib_systems() -> Any:
    from clsgan.objectives import SYSTEMS

    return [name for name in SYSTEMS if name != "constant_margin"]  # that of a test


def test_a_study_without_batch_norm_leaves_it_out_where_it_says(parts: Any) -> None:
    job = parts.jobs.Job("least_squares", "digits", "least_squares-none_in_g-adam", 0, 10)
    given = parts.studies.LEAST_SQUARES[job.variant]
    settings = parts.studies.settings_of(job, given)
    assert settings["generator_options"] == {"norm": False, "width": 64}
    assert settings["loss_network_options"] == {"widths": [16, 32, 64], "norm": True}


def test_modes_are_counted_as_a_loop_would(parts: Any) -> None:
    toys, rng = parts.toys, np.random.default_rng(0)
    centres = toys.MIXTURES["grid25"]
    rows = toys.mixture_rows("grid25")
    assert toys.modes(rows, centres)["modes"] == 25
    assert toys.modes(rows, centres)["good"] == pytest.approx(1 - np.exp(-4.5), abs=0.003)
    samples = np.concatenate(
        [rows[np.abs(rows - centres[3]).max(axis=1) < 1], rng.normal(size=(300, 2)) * 9]
    )
    good = 0
    near = np.zeros(25)
    for sample in samples:
        distances = [np.hypot(*(sample - centre)) for centre in centres]
        if min(distances) < 0.6:
            good, near[int(np.argmin(distances))] = good + 1, near[int(np.argmin(distances))] + 1
    counts = sum(count >= 0.1 * len(samples) / 25 for count in near)
    found = toys.modes(samples, centres)
    assert (found["modes"], found["n_modes"]) == (counts, 25)
    assert found["good"] == pytest.approx(good / len(samples))


def test_the_density_on_a_line_is_what_its_rows_are_drawn_from(parts: Any) -> None:
    toys = parts.toys
    assert toys.line_masses(np.array([-1.0, 0.0, 1.0])) == pytest.approx([1 / 3, 2 / 3])
    assert toys.line_distance(toys.line_rows(100_000)) < 0.03
    assert toys.line_distance(np.full((9, 1), 5.0)) == pytest.approx(2)
    assert toys.line_distance(-toys.line_rows(100_000)) == pytest.approx(2 / 3, abs=0.03)


@pytest.mark.usefixtures("small", "global_randomness_untouched")
def test_a_job_on_a_toy_says_all_that_a_reader_needs(work: Any) -> None:
    result = work("systems", "ring8", "gls_gan")
    assert {"commit", "versions", "machine", "date", "load_before", "config"} <= result.keys()
    assert result["config"]["objective"] == "gls_gan" and result["steps"] == 6
    assert result["config"]["toy"]["spread"] == 0.2
    assert result["measures"]["n_modes"] == 8 and len(result["samples"]) == 800
    assert {"real_mean", "real_std"} == result["measures"]["critic"].keys()


@pytest.mark.usefixtures("small")
def test_series_and_samples_are_kept_where_they_are_used(work: Any, parts: Any) -> None:
    first, second = (work("systems", "ring8", "hinge", seed=seed) for seed in (0, 1))
    assert "samples" in first and "samples" not in second
    assert "series" not in first
    critic = work("critics", "ring8", "lipschitz_gan_x", steps=60)
    assert "samples" not in critic
    assert critic["series"].keys() == {"step", "generator"}
    assert critic["series"]["step"] == [25, 50, 60] and len(critic["series"]["generator"]) == 3


def test_a_series_has_every_so_many_lines_of_those_with_its_term(parts: Any) -> None:
    history = [
        {"step": n, "critic": 1.0} | ({"generator": -n} if n % 2 else {}) for n in range(900)
    ]
    kept = parts.studies.series_of(history, "generator")
    assert kept["step"] == list(range(1, 900, 6)) and kept["generator"] == [
        -n for n in kept["step"]
    ]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("study", "data", "variant"),
    [
        ("systems", "ring8", "wgan_gp"),
        ("consistency", "line", "lambda=4"),
        ("resilience", "digits", "ls_gan_weight_decay-none-3"),
        ("classifiers", "digits", "gls_cls_gan"),
    ],
)
def test_a_result_says_what_settings_the_loop_had(
    study: str, data: str, variant: str, work: Any, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    had: list[Any] = []
    for module, name in ((density, "resolve_density_settings"), (estimator, "resolve_settings")):
        monkeypatch.setattr(module, name, spy_on(getattr(module, name), had))
    resolved = work(study, data, variant, steps=2)["config"]["resolved"]
    assert resolved == json.loads(json.dumps(parts.settings.plain(had[0])))
    assert resolved["objective"]["cost"] and resolved["penalty_weight"] == had[0].penalty_weight


def spy_on(function: Any, given: list[Any]) -> Any:
    def spy(*args: Any, **kwargs: Any) -> Any:
        given.append(function(*args, **kwargs))
        return given[-1]

    return spy


@pytest.mark.usefixtures("small")
def test_a_job_on_images_is_measured_with_one_named_extractor(
    work: Any, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used_noise: list[str] = []
    search = parts.images.minimum_reconstruction_error

    def spy(*args: Any, noise: str, **kwargs: Any) -> Any:
        used_noise.append(noise)
        return search(*args, noise=noise, **kwargs)

    monkeypatch.setattr(parts.images, "minimum_reconstruction_error", spy)
    first = work("resilience", "digits", "ls_gan-none-1", steps=2)
    folder, kept = sorted((tmp_path / "ex").iterdir(), key=lambda path: path.suffix == ".npz")
    data = parts.images.image_data("digits", None)
    found = parts.images.extractor(data, tmp_path / "ex", steps=2)
    assert np.array_equal(found.real, found.model.transform(data.x_test))
    assert kept.name == f"{folder.name}.{found.facts['sha256'][:16]}.npz"
    assert found.facts["test_error"] == 1 - found.model.score(data.x_test, data.y_test)
    monkeypatch.setitem(parts.studies.IMAGES, "noise", "uniform")
    second = work("systems", "digits", "hinge", steps=2)
    assert used_noise == ["normal", "uniform"]
    used = [result["measures"]["extractor"] for result in (first, second)]
    assert used[0] == used[1] and used[0]["name"] == folder.name and len(used[0]["sha256"]) == 64
    measures = first["measures"]
    assert measures["frechet"] > 0 and measures["mre"] > 0 and measures["n_modes"] == 10
    assert sum(measures["class_shares"]) == pytest.approx(1, abs=0.01)
    assert first["series"]["generator_gradient_norm"][-1] > 0
    pictures = parts.studies.unpacked(second["samples"])
    assert pictures.shape == (20, 8, 8) and pictures.dtype == np.uint8


@pytest.mark.usefixtures("small")
def test_studies_of_their_own_measure_what_they_ask(work: Any) -> None:
    gap = work("generalisation", "ring8", "gp")["measures"]
    assert gap["gap"] == pytest.approx(gap["train"] - gap["held_out"]) and gap["n_train"] == 300
    assert 0.3 < gap["auroc"] < 0.7  # six steps learn no row by heart
    line = work("consistency", "line", "lambda=4")["measures"]
    assert line["bound"] == 0.5 and 0 < line["distance"] <= 2
    terms = work("shares", "ring8", "hinge", steps=3)["measures"]["terms"]
    assert terms["none"]["share"] == 0 and terms["gp"]["share"] < 1 and len(terms) == 11


@pytest.mark.usefixtures("small")
def test_a_classifier_is_tested_on_rows_that_it_was_not_trained_on(
    work: Any, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    fit = CLSGANClassifier.fit

    def spy(self: Any, X: Any, y: Any, X_unlab: Any = None) -> Any:
        seen.append((np.concatenate([X, X_unlab]), y))
        return fit(self, X, y, X_unlab)

    monkeypatch.setattr(CLSGANClassifier, "fit", spy)
    results = [work("classifiers", "digits", name, steps=2) for name in ("supervised", "wgan_gp")]
    data = parts.images.image_data("digits", None)
    for (trained, y), result in zip(seen, results, strict=True):
        assert (len(y), len(trained)) == (100, len(data.x_train))
        assert sorted(map(bytes, trained)) == sorted(map(bytes, data.x_train))
        assert result["measures"]["n_test"] == len(data.x_test) == 500
        assert 0 <= result["measures"]["error"] <= 1 and result["steps"] == 2
    first, second = (result["split"] for result in results)
    assert first == second and first["n_labeled"] + first["n_unlabeled"] == len(data.x_train)
    rows = [result | {"job": parts.jobs.Job(**result["job"])} for result in results]
    text = parts.tables.whole(rows)
    line = lines_of(text)
    assert list(line) == ["supervised", "wgan_gp"] and text.count("**") == 2
    assert f"{results[1]['measures']['error']:.2%}" in line["wgan_gp"]
    rows[1]["split"] = rows[1]["split"] | {"hash": "other"}
    with pytest.raises(ValueError, match="different labeled rows"):
        parts.tables.whole(rows)


@pytest.mark.usefixtures("small")
def test_a_classifier_that_diverges_is_a_result(
    work: Any, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parts.classifiers.CLASSIFIER, "learning_rate", 1e30)
    result = work("classifiers", "digits", "hinge", steps=30)
    assert "at step" in result["diverged"] and result["measures"] == {}
    assert "| 1 | 1 |" in parts.tables.whole([result | {"job": parts.jobs.Job(**result["job"])}])


@pytest.mark.usefixtures("small")
def test_the_parts_of_a_step_make_up_the_whole_of_it(work: Any, parts: Any) -> None:
    results = [work("parts", "ring8", name, steps=10) for name in ("wgan_gp", "hinge")]
    for result in results:
        found = result["measures"]["parts"]
        assert list(found) == list(parts.parts.PARTS)
        assert sum(part["share"] for part in found.values()) == pytest.approx(1)
        for name in ("rows", "generated", "forward", "critic", "backward", "generator", "rest"):
            assert found[name]["seconds"] > 0, name
    with_penalty, without = (result["measures"]["parts"] for result in results)
    assert with_penalty["penalty"]["share"] > 10 * without["penalty"]["share"]
    rows = [result | {"job": parts.jobs.Job(**result["job"])} for result in results]
    text = parts.tables.whole(rows)
    assert "| penalty: forward and double backward |" in text and "`wgan_gp`, ms and" in text


def test_the_time_of_a_part_within_another_is_counted_once(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 1.0, 3.0, 7.0, 8.0, 10.0])
    monkeypatch.setattr(parts.parts, "perf_counter", lambda: next(now))
    clock = parts.parts.Clock()
    clock.enter("rest")  # 0
    clock.enter("generator")  # 1
    clock.enter("backward")  # 3: of the generator's step
    clock.leave()  # 7
    clock.leave()  # 8
    clock.leave()  # 10
    spent = {name: seconds for name, seconds in clock.seconds.items() if seconds}
    assert spent == {"rest": 3.0, "generator": 7.0}


def test_a_run_that_diverges_is_a_result(
    work: Any, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.studies, "TOY", parts.studies.TOY | {"learning_rate": 1e25})
    result = work("systems", "ring8", "ls_gan_weight_decay", steps=30)
    assert "at step" in result["diverged"] and result["measures"] == {}
    row = [result | {"job": parts.jobs.Job(**result["job"])}]
    assert "| no | 1 | 1 |" in parts.tables.whole(row)


def test_a_lambda_of_which_every_seed_diverged_has_its_line_and_no_point(
    work: Any, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = work("consistency", "line", "lambda=4", steps=30)
    monkeypatch.setattr(parts.studies, "TOY", parts.studies.TOY | {"learning_rate": 1e25})
    bad = work("consistency", "line", "lambda=8", steps=30)
    assert "at step" in bad["diverged"] and bad["measures"] == {}
    bad["config"] = good["config"]
    rows = [result | {"job": parts.jobs.Job(**result["job"])} for result in (good, bad)]
    text = parts.tables.whole(rows)
    assert "| λ=8 |  | 0.250 | 0 of 1 | 1 | 1 |" in text
    (draw,) = parts.tables.pictures(rows).values()
    assert draw().startswith(b"\x89PNG")


def test_the_plan_is_valid_fits_in_its_time_and_starts_with_the_toys(
    parts: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plan = BENCHMARKS / "objectives.yaml"
    arguments = ["--plan", str(plan), "--out", str(tmp_path), "--dry-run"]
    assert parts.script.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    hours = float(lines[-1].split("about ")[1].split()[0])
    assert 0 < hours <= 6 and "grid25" in lines[70]
    entries = OmegaConf.load(plan)
    assert {entry.study for entry in entries} == set(parts.studies.STUDIES)
    large = [entry.data not in {"digits", *parts.toys.TOYS} for entry in entries]
    assert large == sorted(large)
    plan = BENCHMARKS / "objectives_long.yaml"
    assert parts.script.main(["--plan", str(plan), "--out", str(tmp_path), "--dry-run"]) == 0


def test_a_job_that_is_done_is_not_run_again_unless_its_arguments_changed(
    parts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = parts.jobs.Job("systems", "ring8", "hinge", 0, 5)
    config = parts.jobs.config_of(job, parts.studies.STUDIES)
    done = {"arguments": {"objective": "hinge"}, "config": config}
    write_json(tmp_path / f"{job.name}.json", done)
    given = ["--study", "systems", "--variants", "hinge", "--steps", "5", "--out", str(tmp_path)]
    parts.script.main([*given, "--list"])
    assert capsys.readouterr().out.startswith("0 to run")
    budget = {"max_steps": 6, "random_state": 9}
    write_json(tmp_path / f"{job.name}.json", done | {"config": config | budget})
    parts.script.main([*given, "--list"])
    assert capsys.readouterr().out.startswith("0 to run")
    before = {key: value for key, value in config["resolved"].items() if key != "log_gradients"}
    terms = config["resolved"]["objective"].items()
    before["objective"] = {key: value for key, value in terms if key not in NEWER_TERMS}
    write_json(tmp_path / f"{job.name}.json", done | {"config": config | {"resolved": before}})
    parts.script.main([*given, "--list"])
    assert capsys.readouterr().out.startswith("0 to run")
    other = [{"arguments": {"objective": "wgan"}}, {"config": config | {"batch_size": 32}}]
    other += [{"config": config | {"resolved": config["resolved"] | {"average_decay": 0.9}}}]
    other += [{"config": config | {"toy": config["toy"] | {"spread": 0.1}}}]
    for changed in other:
        write_json(tmp_path / f"{job.name}.json", done | changed)
        parts.script.main([*given, "--list"])
        assert job.name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--study", "systems", "--variants", "wgan_pg", "--steps", "5"], "wgan_gp"),
        (["--study", "consistency", "--data", "ring8", "--steps", "5"], "line"),
        (["--study", "systems"], "needs either steps or seconds"),
        (["--steps", "5"], "give either --study or --plan"),
    ],
)
def test_what_cannot_be_run_is_refused(
    given: list[str], message: str, parts: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parts.script.main([*given, "--list"])
    assert message in capsys.readouterr().err


def fake(parts: Any, variant: str, seed: int, **measures: Any) -> dict[str, Any]:
    job = parts.jobs.Job("systems", "ring8", variant, seed, 5)
    return {
        "job": job, "arguments": dict(parts.studies.SYSTEMS[variant]), "measures": measures,
        "seconds": 2.0, "steps": 5, "commit": "abc", "dirty": False, "samples": [0.0, 1.0],
        "versions": {"torch": "2", "scikit-learn": "1"},
        "machine": {"processor": "a", "cores": 1, "precision": "32"},
    }  # fmt: skip


def lines_of(text: str) -> dict[str, str]:
    """Lines of tables by the name that they begin with."""
    return {row.split("`")[1]: row for row in text.splitlines() if row.startswith("| `")}


def test_the_table_marks_the_best_and_what_is_within_its_spread(parts: Any) -> None:
    good = {"ls_gan": (0.8, 0.9), "hinge": (0.96, 0.97), "wgan": (0.3, 0.3), "beyond": (0.8, 0.8)}
    results = [
        fake(parts, name, seed, modes=8 - seed * (name == "hinge"), n_modes=8, good=value)
        for name, pair in good.items()
        for seed, value in enumerate(pair)
    ]
    text = parts.tables.whole(results)
    line = lines_of(text)
    assert "**85.0% ± 7.1%** | yes | 2 |" in line["ls_gan"]
    assert "| 96.5% ± 0.7% | no | 2 |" in line["hinge"], "it leaves out a mode"
    assert "| **80.0% ± 0.0%** | yes | 2 |" in line["beyond"]
    assert "| 30.0% ± 0.0% | yes |" in line["wgan"]
    assert list(line) == ["ls_gan", "wgan", "beyond", "hinge"]
    results[0]["arguments"] = {"objective": "wgan"}
    with pytest.raises(ValueError, match="different arguments"):
        parts.tables.whole(results)


def test_targets_are_met_by_what_the_results_say(parts: Any) -> None:
    def met(good: dict[str, float], short: str = "") -> list[str]:
        rows = [
            fake(parts, name, seed, modes=8 - (name == short) * seed, n_modes=8, good=value)
            for name, value in good.items()
            for seed in (0, 1)
        ]
        text = parts.targets.targets(parts.tables.groups_of(rows))
        return [line.split(" | ")[2].removesuffix(" |") for line in text.splitlines()[2:]]

    three = {"ls_gan": 0.9, "gls_gan": 0.5, "lipschitz_gan": 0.6}
    assert met(three) == ["yes", "yes: `ls_gan`, `gls_gan`", "yes: `ls_gan`"]
    behind = three | {"hinge": 0.95}
    assert met(behind) == ["yes", "yes: `ls_gan`, `gls_gan`", "no: `hinge`"]
    assert met(behind, "hinge")[2] == "yes: `ls_gan`"
    assert met(three, "gls_gan")[:2] == ["no: not `gls_gan`", "yes: `ls_gan`"]
    assert met({"ls_gan": 0.9, "gls_gan": 0.5})[0] == "no: not `lipschitz_gan`"


def test_the_page_says_what_was_not_run_and_what_would_come_out_otherwise(parts: Any) -> None:
    studies = parts.studies.STUDIES
    jobs = [
        parts.jobs.Job("critics", "ring8", name, 7, 4000) for name in ("wgan_gp", "lipschitz_gan_x")
    ]
    rows = [
        fake(parts, "wgan_gp", 0, critic={"real_mean": 0.0, "real_std": 1.0})
        | {"job": job, "config": parts.jobs.config_of(job, studies)}
        | {"arguments": parts.jobs.arguments_of(job, studies)}
        | {"series": {"step": [1, 2, 3], "generator": [0.0, 1.0, 2.0]}}
        for job in jobs
    ]
    rows[1]["config"]["resolved"]["average_decay"] = 0.5
    text = parts.tables.whole(rows)
    lacking = ", ".join(f"`lipschitz_gan_{phi}`" for phi in ("exp", "log_sigmoid", "sqrt"))
    assert f"Not run yet: `ring8`, 4000steps ({lacking})." in text
    assert "## A density on a line as lambda grows\n\nNot run yet: `line`, 4000steps." in text
    assert "With other settings than a run would have now: `lipschitz_gan_x`." in text


def test_lines_are_dashed_by_the_norm_whatever_there_is(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    plot = Axes.plot

    def spy(self: Any, x: Any, y: Any, style: str, *, label: str, lw: int) -> Any:
        drawn.append((label, style))
        return plot(self, x, y, style, label=label, lw=lw)

    monkeypatch.setattr(Axes, "plot", spy)
    line = {"step": [1.0, 2.0], "generator_gradient_norm": [1.0, 2.0]}
    names = ("ls_gan-norm-1", "ls_gan-none-1", "ls_gan_weight_decay-none-5", "gls_gan-norm-3")
    parts.figures.series({name: [{"series": line}] for name in names}, "generator_gradient_norm")
    assert drawn == [("norm-1", "-"), ("none-1", "--"), ("none-5", "--"), ("norm-3", "-")]


def test_a_seed_that_diverged_counts_as_nothing_and_is_never_the_best(parts: Any) -> None:
    results = [
        fake(parts, name, seed, modes=8, n_modes=8, good=good)
        for name, good in (("ls_gan", 0.9), ("hinge", 0.4))
        for seed in (0, 1)
    ]
    results[1] |= {"diverged": "at step 3", "measures": {}, "steps": None, "seconds": None}
    text = parts.tables.whole(results)
    line = lines_of(text)
    assert "| 4.0 ± 5.7 | 45.0% ± 63.6% | no | 2 | 1 |" in line["ls_gan"]
    assert "**8.0 ± 0.0** | **40.0% ± 0.0%**" in line["hinge"]


def test_results_of_other_settings_are_not_mixed(parts: Any) -> None:
    def results(first: Any, second: Any, third: Any) -> Any:
        rows = [fake(parts, name, seed) for name, seed in (("wgan", 0), ("wgan", 1), ("hinge", 0))]
        configs = [{"random_state": i, **c} for i, c in enumerate((first, second, third))]
        return [row | {"config": config} for row, config in zip(rows, configs, strict=True)]

    small, large = {"batch_size": 8}, {"batch_size": 9}
    parts.tables.groups_of(results(small, small, small))
    for mixed in [(small, large, small), (small, small, large)]:
        with pytest.raises(ValueError, match="different settings"):
            parts.tables.groups_of(results(*mixed))


def test_a_coding_that_is_given_in_part_has_the_rest_of_its_system(parts: Any) -> None:
    row = fake(parts, "least_squares", 0)
    row["arguments"] = row["arguments"] | {"objective_options": {"a": -1.0, "c": 0.0}}
    assert parts.tables.remark([row]) == " (a, b, c = -1, 1, 0: χ² holds)"


@pytest.mark.usefixtures("small")
def test_the_page_and_its_pictures_are_written(work: Any, parts: Any, tmp_path: Path) -> None:
    work("systems", "ring8", "least_squares")
    for data, study, variant in [
        ("digits", "resilience", "ls_gan-norm-1"),
        ("ring8", "critics", "lipschitz_gan_x"),
        ("line", "consistency", "lambda=2"),
    ]:
        work(study, data, variant, steps=2)
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    given = ["--results", str(tmp_path / "out"), "--page", str(page)]
    assert parts.tables.main([*given, "--check"]) == 1 and page.read_text() == PAGE
    assert parts.tables.main(given) == 0
    assert parts.tables.main([*given, "--check"]) == 0
    text = page.read_text()
    assert "(a, b, c = 0, 1, 1: χ² does not hold)" in text and text.endswith("after\n")
    pictures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert len(pictures) == 4 and all(f"(figures/{name})" in text for name in pictures)
    assert all(path.stat().st_size < 100_000 for path in (tmp_path / "figures").iterdir())


def test_the_page_of_this_checkout_is_up_to_date(parts: Any) -> None:
    assert parts.tables.main(["--check"]) == 0
