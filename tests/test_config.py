"""Recipes parse, name only what exists, and say so when they do not."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from clsgan.baselines import BASELINES
from clsgan.config import load_recipe, packaged_recipes
from clsgan.data_sets import DATA_SETS
from clsgan.estimator import CLSGANClassifier

RECIPES = Path(__file__).parents[1] / "recipes"
ISSUED = {
    *("digits", "fashion-mnist-500", "cifar10-4000", "cifar10-250", "cifar10-40", "svhn-1000"),
    "folder",
}


def test_every_recipe_is_packaged() -> None:
    assert set(packaged_recipes()) == {path.stem for path in RECIPES.glob("*.yaml")}
    assert set(packaged_recipes()) >= ISSUED


@pytest.mark.parametrize("name", sorted(ISSUED))
def test_recipe_names_only_what_exists(name: str) -> None:
    config = load_recipe(name)
    assert config.name == name and config.description and config.run is None
    assert config.data.name in {*DATA_SETS, "folder"}
    assert set(config.estimator) <= set(inspect.signature(CLSGANClassifier).parameters)
    assert set(config.baselines) <= set(BASELINES)


@pytest.mark.parametrize("name", sorted(ISSUED))
def test_recipe_is_short_and_starts_with_its_launch_line(name: str) -> None:
    lines = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30
    assert lines[0].startswith("# ") and f"clsgan train {name}" in lines[0]


@pytest.mark.parametrize("name", sorted(ISSUED - {"folder"}))
def test_labels_are_those_of_the_name(name: str) -> None:
    number = name.rpartition("-")[2]
    assert load_recipe(name).data.labels == (int(number) if number.isdigit() else 100)


def test_overrides_are_typed() -> None:
    config = load_recipe(
        "digits",
        [
            *(
                "estimator.max_steps=300",
                "estimator.learning_rate=1e-3",
                "estimator.generator=null",
            ),
            *("estimator.warm_start=true", "estimator.image_size=[32,48]", "baselines=[]"),
            *("data.labels=null", "run=runs/a=b"),
        ],
    )
    assert config.estimator["max_steps"] == 300
    assert config.estimator["learning_rate"] == 1e-3
    assert config.estimator["generator"] is None
    assert config.estimator["warm_start"] is True
    assert config.estimator["image_size"] == [32, 48]
    assert config.baselines == [] and config.data.labels is None and config.run == "runs/a=b"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.sede=3", "'data.sede'; did you mean 'data.seed'"),
        ("estimator.max_step=3", "'estimator.max_step'; did you mean 'estimator.max_steps'"),
        ("estimatr.max_steps=3", "'estimatr'; did you mean 'estimator'"),
        ("max_steps=3", "'max_steps'; did you mean 'estimator.max_steps'"),
        ("data.time_limit=3", "'data.time_limit'; did you mean 'estimator.time_limit'"),
        ("estimator=3", "'estimator' must be a mapping"),
        ("zzz=3", "valid ones: name, description"),
        ("estimator.log_dir=x", "use run=FOLDER"),
        ("data.labels=many", "data.labels: Value 'many'"),
        ("baselines=supervised", "baselines"),
        ("estimator.max_steps", "must be key=value"),
        ("=3", "must be key=value"),
        ("data.name=", "data.name"),
    ],
)
def test_a_wrong_override_is_named(override: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        load_recipe("digits", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"cifar10-400'.*did you mean 'cifar10-4000'"):
        load_recipe("cifar10-400")


def test_a_users_own_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "data: {name: digits, labels: 50, path: sub/x.npz}\nestimator: {batch_size: 32}"
    )
    config = load_recipe(file, ["data.seed=7"])
    assert (config.name, config.data.labels, config.data.seed) == ("mine", 50, 7)
    assert config.estimator == {"batch_size": 32} and config.baselines == []
    assert Path(str(config.data.path)) == Path("sub/x.npz").resolve()


@pytest.mark.parametrize("name", ["p.yaml", "sub/p.yml", "p.json", "~/p.json"])
def test_the_path_of_a_pipeline_is_made_absolute(name: str) -> None:
    config = load_recipe("digits", [f"estimator.augment={name}"])
    assert Path(config.estimator["augment"]) == Path(name).expanduser().resolve()


def test_other_kinds_of_augment_stay_as_they_are() -> None:
    assert load_recipe("digits", ["estimator.augment=weak"]).estimator["augment"] == "weak"
    form = "{transform: {__class_fullname__: InvertImg, p: 1.0}}"
    augment = load_recipe("digits", [f"estimator.augment={form}"]).estimator["augment"]
    assert augment == {"transform": {"__class_fullname__": "InvertImg", "p": 1.0}}
    assert type(augment) is dict


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {nam: digits}", "'data.nam'; did you mean 'data.name'"),
        ("data: digits", "'data' must be a mapping of keys, got 'digits'"),
        ("- digits", "a recipe must be a mapping of keys, got ['digits']"),
        ("data: {name: digits", "is not YAML"),
        ("estimator: {max_steps: 3}", "says no data.name"),
        ("", "says no data.name"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError) as caught:
        load_recipe(tmp_path / "mine.yaml")
    assert message in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no recipe file nowhere\.yaml"):
        load_recipe("nowhere.yaml")
