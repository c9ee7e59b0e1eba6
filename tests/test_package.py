"""The package from outside: what an import costs, what comes along, what the pages promise."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from types import FunctionType
from typing import Any, Protocol

import pytest
from numpydoc.validate import validate
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import clsgan
from clsgan.objectives import OBJECTIVES

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
USED_LATE = [
    "albumentations",
    "lightning_fabric",
    "matplotlib",
    "PIL",
    "tensorboardX",
    "timm",
    "torchvision",
]


# --- import


def test_import_leaves_heavy_packages_alone() -> None:
    code = (
        "import json, sys; from clsgan import CLSGANClassifier; print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert "torch" in loaded
    assert [name for name in USED_LATE if name in loaded] == []


def test_version_is_the_installed_one() -> None:
    assert clsgan.__version__ == metadata.version("clsgan")


# --- what comes along


def required_by(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Names of every distribution that `name` needs on this machine, itself included."""
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [(canonicalize_name(name), extras)]
    while todo:
        if (node := todo.pop()) in seen:
            continue
        seen.add(node)
        for needed in map(Requirement, metadata.requires(node[0]) or []):
            marker = needed.marker
            if not marker or any(marker.evaluate({"extra": e}) for e in {"", *node[1]}):
                todo.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return {distribution for distribution, _ in seen}


def test_at_most_60_packages_beyond_those_of_torch() -> None:
    ours = required_by("clsgan") - required_by("torch")
    assert {"clsgan", "timm", "aiohttp"} <= ours  # aiohttp comes through an extra of an extra
    assert len(ours) <= 60, sorted(ours)


def test_recipes_are_packaged() -> None:
    names = {path.name for path in files("clsgan.recipes").iterdir()}
    assert {path.name for path in (ROOT / "recipes").glob("*.yaml")} <= names
    assert "digits.yaml" in names


# --- docstrings


def public_modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(clsgan.__path__, "clsgan."):
        if not any(part.startswith("_") for part in module.name.split(".")):
            yield module.name


def public_objects() -> dict[str, Any]:
    """Public functions and classes written in the package, by dotted name; protocols do nothing."""
    found: dict[str, Any] = {}
    for module_name in public_modules():
        for name, thing in vars(importlib.import_module(module_name)).items():
            written_here = getattr(thing, "__module__", None) == module_name
            if (
                name.startswith("_")
                or not written_here
                or Protocol in getattr(thing, "__bases__", ())
            ):
                continue
            if isinstance(thing, type | FunctionType):
                found[f"{module_name}.{name}"] = thing
    return found


def methods_of_the_public_classes() -> list[str]:
    """Methods written in the classes of `clsgan.__all__`: what most users call."""
    classes = [thing for thing in map(vars(clsgan).get, clsgan.__all__) if isinstance(thing, type)]
    return [
        f"{thing.__module__}.{thing.__qualname__}.{name}"
        for thing in classes
        for name, value in vars(thing).items()
        if not name.startswith("_") and isinstance(value, FunctionType | classmethod)
    ]


@pytest.mark.parametrize("name", sorted(public_objects()))
def test_public_docstring_has_an_example(name: str) -> None:
    doc = inspect.getdoc(public_objects()[name]) or ""
    examples = re.split(r"^Examples\n-{8}\n", doc, flags=re.M)
    assert len(examples) == 2, f"{name}: no Examples section"
    assert re.search(r">>> |^See `", examples[1], re.M), f"{name}: nothing to run"


@pytest.mark.parametrize("name", sorted([*public_objects(), *methods_of_the_public_classes()]))
def test_public_docstring_names_the_parameters(name: str) -> None:
    wanted = {"GL08", "PR01", "PR02", "PR03", "RT01"}  # none at all; parameters; no Returns
    if dataclasses.is_dataclass(public_objects().get(name)):
        wanted.remove("PR01")  # fields are documented under Attributes
    assert [text for code, text in validate(name)["errors"] if code in wanted] == []


# --- pages


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one namespace, in an empty folder, each budget cut to a few steps."""
    blocks = code_blocks(page, "python")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        short = re.sub(r"\b(time_limit|max_steps)=\d+", "max_steps=3", block)
        exec(compile(short, page.name, "exec"), namespace)


def test_makefile_has_the_commands_of_the_readme() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shell = "\n".join(code_blocks(ROOT / "README.md", "sh"))
    targets = re.findall(r"^make ([\w-]+)", shell, re.M)
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_objectives_page_shows_the_values_in_the_code() -> None:
    page = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\w.]+) \| ([\w.]+) \|$", page, re.M)
    paper, default = OBJECTIVES["paper"], OBJECTIVES["default"]
    fields = {k: v for k, v in vars(paper).items() if k not in ("cost", "system")}
    assert rows == [(k, str(v), str(getattr(default, k))) for k, v in fields.items()]
