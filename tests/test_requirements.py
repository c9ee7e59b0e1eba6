"""The dependency list: minimal, bounded from below, and good at its lower bounds."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
MODULES = {  # where the name that is imported is not that of the package
    "lightning-fabric": "lightning_fabric",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "tensorboardX": "tensorboardX",
}
CAPPED = {"albumentations": "2.0.9 and later carry another licence"}
EXTRAS = {"torch_fidelity", "datasets"}  # imported where a user has installed them
SECONDS = 3000
TRY_OUT = ROOT / "tests" / "try_out.py"
COMMANDS = (
    ("doctor",),
    ("train", "digits", "estimator.max_steps=20", "run=run"),
    ("predict", "run", "photos"),
)


def required() -> list[Requirement]:
    """`install_requires` of setup.py, read and not run."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    [found] = (
        word.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for word in node.keywords
        if word.arg == "install_requires"
    )
    return [Requirement(text) for text in ast.literal_eval(found)]


def lower_bound(requirement: Requirement) -> str:
    [bound] = (spec.version for spec in requirement.specifier if spec.operator == ">=")
    return f"{requirement.name}=={bound}"


def imported() -> set[str]:
    """Top-level modules that the package imports, inside functions too."""
    names = set()
    for path in (ROOT / "clsgan").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"clsgan"}


def test_what_is_required_is_imported_and_the_other_way_round():
    listed = {MODULES.get(requirement.name, requirement.name) for requirement in required()}
    assert listed - imported() == set(), "not needed"
    assert imported() - listed - EXTRAS == set(), "not listed"


def test_every_requirement_has_a_lower_bound_and_few_an_upper_one():
    for requirement in required():
        operators = sorted(spec.operator for spec in requirement.specifier)
        expected = ["<", ">="] if requirement.name in CAPPED else [">="]
        assert operators == expected, str(requirement)


def test_the_interpreter_that_is_asked_for_is_the_one_of_the_tools():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert 'python_requires=">=3.11"' in text
    assert 'target-version = "py311"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def call(*words: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [str(word) for word in words]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=cwd)


def try_out(python: Path, folder: Path) -> None:
    """Run what users do with an environment's package: from Python, and by the command."""
    here = folder / "tried"
    here.mkdir()
    done = call(python, TRY_OUT, cwd=here)
    assert done.returncode == 0, done.stderr[-2000:]
    for words in COMMANDS:
        told = call(python.with_name("clsgan"), *words, cwd=here)
        assert told.returncode == 0, f"{words}: {told.stderr[-2000:]}"


@pytest.mark.slow
def test_the_oldest_set_of_requirements_installs_and_works(tmp_path: Path) -> None:
    """Downloads some gigabytes."""
    assert call(sys.executable, "-m", "venv", tmp_path / "venv").returncode == 0
    python = tmp_path / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    pins = [lower_bound(requirement) for requirement in required()]
    found = call(*pip, "download", "--no-deps", "--dest", tmp_path, "tqdm")
    if found.returncode:
        pytest.skip(f"no package registry can be reached from here: {found.stderr[-300:]}")
    resolved = call(*pip, "install", "--dry-run", "--prefer-binary", *pins)
    assert resolved.returncode == 0, f"the lower bounds conflict: {resolved.stderr[-2000:]}"
    installed = call(*pip, "install", "--no-cache-dir", "--prefer-binary", *pins)
    if installed.returncode and "No space left" in installed.stderr:
        pytest.skip("the disk is too small for the oldest set of requirements")
    assert installed.returncode == 0, installed.stderr[-2000:]
    assert call(*pip, "install", "--no-deps", ROOT).returncode == 0
    try_out(python, tmp_path)


@pytest.mark.slow
def test_what_the_oldest_set_is_tried_with_works_here(tmp_path: Path) -> None:
    try_out(Path(sys.executable), tmp_path)
