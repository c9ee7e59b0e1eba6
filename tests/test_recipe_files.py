"""Every recipe file: short, valid, launched as its first line says; the newer ones also run."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from clsgan.baselines import BASELINES
from clsgan.config import load_recipe, packaged_recipes
from clsgan.data_sets import DATA_SETS
from clsgan.defaults import resolve_settings
from clsgan.estimator import CLSGANClassifier
from clsgan.inputs import InputSpec
from clsgan.recipe import run_recipe

ROOT = Path(__file__).resolve().parents[1]
ROWS = {"cifar10-4000-paper": 50_000, "svhn-1000-paper": 73_257}
TINY = [
    *("data.labels=20", "estimator.batch_size=8", "estimator.generated_batch_size=8"),
    *("estimator.max_steps=2", "estimator.time_limit=null", "estimator.accelerator=cpu"),
    "baselines=[]",
]


@pytest.fixture(scope="module")
def embeddings() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / "embeddings.py"))


@pytest.fixture(scope="module")
def colour_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of ten classes in the form of CIFAR-10 and SVHN."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), np.arange(40) % 10
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x[:10], y_test=y[:10])
    return path


@pytest.mark.parametrize("name", sorted(packaged_recipes()))
def test_recipe_is_short_and_names_only_what_exists(name: str) -> None:
    lines = (ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30 and max(map(len, lines)) <= 120
    assert lines[0].startswith("# ") and f"clsgan train {name}" in lines[0]
    config = load_recipe(name)
    assert config.name == name and config.description and config.run is None
    assert config.data.name in {*DATA_SETS, "folder", "npz"}
    assert set(config.estimator) <= set(inspect.signature(CLSGANClassifier).parameters)
    assert set(config.baselines) <= set(BASELINES)


@pytest.mark.parametrize(("name", "n_rows"), ROWS.items())
def test_paper_recipes_train_as_printed_for_200_epochs(name: str, n_rows: int) -> None:
    config = load_recipe(name)
    params = CLSGANClassifier(**config.estimator).get_params()
    settings = resolve_settings(params, InputSpec((3, 32, 32), "NHWC", "uint8"), n_rows)
    sizes = settings.sizes(0.0, has_unlabeled=True, world_size=1)
    assert (sizes.labeled, sizes.unlabeled, settings.optimizer) == (64, 64, "adam")
    assert settings.objective.unlabeled == "margin" and settings.average_decay == 0
    assert params["loss_network"] == params["generator"] == "paper" and params["augment"] == "none"
    assert abs(config.estimator["max_steps"] - 200 * n_rows / 128) < 1
    assert f"-{config.data.labels}-" in name


@pytest.mark.parametrize("name", [*ROWS, "cifar10-4000-timm"])
def test_recipe_runs(name: str, colour_file: Path, tmp_path: Path) -> None:
    overrides = [*TINY, f"data.path={colour_file}", f"run={tmp_path}/a"]
    results = run_recipe(load_recipe(name, overrides), verbose=0)
    assert results["methods"][0]["steps"] == 2 and results["n_test"] == 10
    assert (tmp_path / "a" / "samples.png").exists()


def test_published_weights_are_one_override_away() -> None:
    override = "estimator.loss_network_options.pretrained=true"
    config = load_recipe("cifar10-4000-timm", [override])
    assert config.estimator["loss_network_options"] == {"pretrained": True}
    header = (ROOT / "recipes" / "cifar10-4000-timm.yaml").read_text().partition("description")[0]
    assert override in header


@pytest.mark.usefixtures("global_randomness_untouched")
def test_embeddings_of_a_network_are_classified(embeddings: Any, tmp_path: Path) -> None:
    path = embeddings["main"](["--steps", "60", "--out", str(tmp_path / "e.npz")])
    with np.load(path) as content:
        assert content["x_train"].shape == (1297, 128)
        assert content["x_test"].dtype == np.float32
    steps = ["estimator.time_limit=null", "estimator.max_steps=60", "baselines=[label_spreading]"]
    overrides = [*steps, f"data.path={path}", f"run={tmp_path}/a"]
    results = run_recipe(load_recipe("embeddings", overrides), verbose=0)
    assert results["split"]["n_labeled"] == 100 and results["split"]["name"] == "e.seed0@100"
    assert all(row["error"] < 0.45 for row in results["methods"])


def test_features_of_a_backbone_are_those_of_scaled_enlarged_images(embeddings: Any) -> None:
    features = embeddings["timm_features"]("resnet10t", pretrained=False, size=32)
    images = np.random.default_rng(0).integers(0, 256, (70, 8, 8), dtype=np.uint8)
    found = features(images)
    assert found.shape == (70, 512) and found.dtype == np.float32
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = timm.create_model("resnet10t", num_classes=0).eval()
    x = torch.from_numpy(images[69:]).float()[None].expand(1, 3, 8, 8) / 255
    x = torch.nn.functional.interpolate(x, (32, 32), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = model((x - mean[:, None, None]) / std[:, None, None])
    assert np.allclose(found[69:], expected, atol=1e-4)
    assert not np.allclose(found[0], found[69], atol=1e-4)
