"""Recipes as typed configuration: packaged ones by name, own ones by path, `key=value` on top."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clsgan.choices import unknown_name
from clsgan.defaults import PIPELINE_FILES
from clsgan.estimator import CLSGANClassifier

RECIPE_SUFFIXES = (".yaml", ".yml")
# Constructor arguments with another key in a recipe.
SET_BY_THE_RUN = {"log_dir": "run=FOLDER", "checkpoint": "run=FOLDER", "resume": "resume=true"}


@dataclass
class DataConfig:
    """Where the rows come from and how many of them keep their label.

    Attributes
    ----------
    name : str
        ``folder``, or what :func:`clsgan.data.load_data` takes.
    path : str or None
        The folder of class sub-folders, the .npz, or the folder of official files.
    root : str or None
        The folder of all data sets.
    labels : int or None
        Rows that keep their label; None: all.
    seed : int
        Seed of the draw of those rows, and of the estimator unless it has its own.
    unlabeled, test : str or None
        Further unlabeled images (a folder, .tar shards or an .npy file), which stay on disk; for
        ``folder``, class sub-folders of test images.

    Examples
    --------
    >>> from clsgan.config import DataConfig
    >>> DataConfig(name="digits", labels=100).seed
    0
    """

    name: str = ""
    path: str | None = None
    root: str | None = None
    labels: int | None = None
    seed: int = 0
    unlabeled: str | None = None
    test: str | None = None


@dataclass
class RecipeConfig:
    """One run.

    Attributes
    ----------
    name : str
        That of the recipe's file, unless the recipe says another.
    description : str
        One line for people.
    data : DataConfig
    estimator : dict
        Constructor arguments of `CLSGANClassifier`.
    baselines : list of str
        Names that :func:`clsgan.baselines.run_baseline` takes.
    run : str or None
        The folder to write; None: the next free ``runs/<name>-<number>``.
    resume : bool
        Whether to go on with the run in that folder; where there is none, it starts.

    Examples
    --------
    >>> from clsgan.config import RecipeConfig
    >>> RecipeConfig(name="mine").data.labels is None
    True
    """

    name: str = ""
    description: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    estimator: dict[str, Any] = field(default_factory=dict)
    baselines: list[str] = field(default_factory=list)
    run: str | None = None
    resume: bool = False


def packaged_recipes() -> dict[str, str]:
    """Text of every recipe that comes with the package, by name.

    Returns
    -------
    dict of str

    Examples
    --------
    >>> from clsgan.config import packaged_recipes
    >>> "digits" in packaged_recipes()
    True
    """
    try:
        folder = resources.files("clsgan.recipes")
    except ModuleNotFoundError:  # a checkout that is used without being installed
        folder = Path(__file__).parent.parent / "recipes"
    found = (file for file in folder.iterdir() if file.name.endswith(".yaml"))
    return {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
        for file in sorted(found, key=lambda file: file.name)
    }


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> RecipeConfig:
    """Read a recipe and lay `key=value` overrides over it.

    Parameters
    ----------
    recipe : str or Path
        The name of a packaged recipe, or the path of a file that ends in .yaml or .yml.
    overrides : sequence of str, default=()
        Such as ``"estimator.max_steps=300"``, ``"data.seed=3"``, ``"run=FOLDER"``. Values are read
        as YAML: ``null``, ``true``, ``0.1`` and ``[a, b]`` are not strings.

    Returns
    -------
    RecipeConfig
        With ``name`` filled from the recipe's own, and paths made absolute.

    Raises
    ------
    ValueError
        The recipe, a key or a value is not valid; the message has the nearest valid name.
    FileNotFoundError
        There is no such file.

    Examples
    --------
    >>> from clsgan.config import load_recipe
    >>> config = load_recipe("digits", ["data.seed=3", "estimator.max_steps=20"])
    >>> config.name, config.data.seed, config.estimator["max_steps"]
    ('digits', 3, 20)
    >>> load_recipe("digits", ["data.sede=3"])
    Traceback (most recent call last):
    ValueError: unknown key 'data.sede'; did you mean 'data.seed'?
    """
    import yaml

    name, text = _find(recipe)
    try:
        layers = [OmegaConf.create(text), OmegaConf.from_dotlist(_check_overrides(overrides))]
        _check_mapping("a recipe", layers[0])
        plain = OmegaConf.to_container(OmegaConf.merge(*layers), resolve=True)
        _check_keys(plain)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RecipeConfig), plain))
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if error.full_key else ""
        raise ValueError(f"recipe {name}: {key}{str(error).splitlines()[0]}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"recipe {name} is not YAML: {' '.join(str(error).split())}") from error
    return _complete(cast(RecipeConfig, config), name)


def _find(recipe: str | Path) -> tuple[str, str]:
    """Name and text of a recipe."""
    path = Path(recipe)
    if path.suffix in RECIPE_SUFFIXES:
        if not path.is_file():
            raise FileNotFoundError(f"there is no recipe file {path}")
        return path.stem, path.read_text(encoding="utf-8")
    packaged = packaged_recipes()
    if str(recipe) not in packaged:
        raise ValueError(unknown_name("recipe", str(recipe), packaged) + ", or a path to a .yaml")
    return str(recipe), packaged[str(recipe)]


def _check_overrides(overrides: Sequence[str]) -> list[str]:
    for override in overrides:
        if "=" not in override or override.startswith("="):
            raise ValueError(f"override {override!r} must be key=value, as in data.seed=3")
    return list(overrides)


def _check_keys(given: Any) -> None:
    estimator = [name for name in inspect.signature(CLSGANClassifier).parameters if name != "self"]
    valid = {
        "": [part.name for part in fields(RecipeConfig)],
        "data.": [part.name for part in fields(DataConfig)],
        "estimator.": estimator,
    }
    every = [prefix + name for prefix, names in valid.items() for name in names]
    for prefix, names in valid.items():
        section = given if prefix == "" else given.get(prefix.rstrip("."))
        if section is not None:
            _check_mapping(repr(prefix.rstrip(".")), section)
        for key in section or ():
            if key not in names:
                raise ValueError(_unknown_key(prefix + str(key), every))
            if prefix == "estimator." and key in SET_BY_THE_RUN:
                raise ValueError(f"estimator.{key} is set by the run; use {SET_BY_THE_RUN[key]}")


def _check_mapping(what: str, given: object) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} must be a mapping of keys, got {given!r}")


def _unknown_key(key: str, valid: Iterable[str]) -> str:
    keys = list(valid)
    tails = [other for other in keys if other.rpartition(".")[2] == key.rpartition(".")[2]]
    near = tails or get_close_matches(key, keys, n=1)
    if near:
        return f"unknown key {key!r}; did you mean {near[0]!r}?"
    return f"unknown key {key!r}; valid ones: {', '.join(keys)}"


def _complete(config: RecipeConfig, name: str) -> RecipeConfig:
    config.name = config.name or name
    for key in ("path", "root", "unlabeled", "test"):  # found from any working directory later
        value = getattr(config.data, key)
        if value is not None:
            setattr(config.data, key, _absolute(value))
    augment = config.estimator.get("augment")
    if isinstance(augment, str) and augment.endswith(PIPELINE_FILES):
        config.estimator["augment"] = _absolute(augment)
    if not config.data.name:
        raise ValueError(f"recipe {name} says no data.name; give the name of a data set")
    return config


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())
