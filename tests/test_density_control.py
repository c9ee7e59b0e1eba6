"""`LSGAN`: every Lipschitz control with every system; what is left of a run that diverges."""

import re

import numpy as np
import pytest
import torch

from clsgan import LSGAN
from clsgan.objectives import SYSTEMS

SMALL = {"max_steps": 6, "batch_size": 16, "random_state": 0, "accelerator": "cpu"}
SMALL |= {"precision": "32", "critic_steps": 1, "average_decay": 0.0}
CONTROLS = {
    "weight decay": {"weight_decay": 0.1},
    "clipping": {"clip": 0.05},
    "direct": {"penalty": "direct"},
    "direct, squared": {"penalty": "direct_squared"},
    "gp": {"penalty": "gp", "one_sided": False},
    "gp, one-sided": {"penalty": "gp", "one_sided": True, "penalty_target": 0.01},
    "max": {"penalty": "max"},
    "max, buffer": {"penalty": "max", "steepest_buffer": 4},
    "spectral norm": {"spectral_norm": True},
    "all at once": {"weight_decay": 0.1, "clip": 0.05, "penalty": "max", "spectral_norm": True},
}
NONE = {"penalty": None, "clip": None, "spectral_norm": False, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal((2.0, 0.0), size=(200, 2))


@pytest.fixture(scope="module")
def uncontrolled(rows):
    """The scores of every system without any control."""
    return {name: LSGAN(name, **SMALL | NONE).fit(rows).score_samples(rows) for name in SYSTEMS}


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_control_goes_with_every_system_and_changes_it(name, control, rows, uncontrolled):
    given = CONTROLS[control]
    model = LSGAN(name, **SMALL | NONE | given).fit(rows)
    assert ("penalty" in model.history_[-1]) == ("penalty" in given)
    if "penalty" in given:
        assert model.history_[-1]["penalty"] > 0
    weights = torch.cat([p.detach().flatten() for p in model.loss_network_.parameters()])
    assert torch.isfinite(weights).all()
    if "clip" in given and "spectral_norm" not in given:
        assert weights.abs().max() <= 0.05
    if given.get("spectral_norm") and "clip" not in given:
        linear = [m for m in model.loss_network_.modules() if isinstance(m, torch.nn.Linear)]
        found = [float(torch.linalg.matrix_norm(m.weight.detach(), 2)) for m in linear]
        assert max(found) < 1.3  # one power iteration a step: near 1, not at it
    assert not np.allclose(model.score_samples(rows), uncontrolled[name], rtol=1e-6)


def test_a_run_that_diverges_names_its_last_good_model_and_leaves_the_fitted_one(rows, tmp_path):
    model = LSGAN("hinge", **SMALL).fit(rows)
    before = model.sample(5, random_state=0)
    wild = {"learning_rate": 1e30, "checkpoint": tmp_path / "run", "checkpoint_every": 0}
    model.set_params(max_steps=200, **wild)
    with pytest.raises(FloatingPointError, match=r"at step \d+.*last good model") as error:
        model.fit(rows)
    assert np.array_equal(model.sample(5, random_state=0), before)
    kept = LSGAN.load(re.search(r"kept: LSGAN\.load\('(.+)'\)", str(error.value))[1])
    assert np.isfinite(kept.score_samples(rows)).all() and kept.sample(3).shape == (3, 2)
    networks = (kept.loss_network_, kept.generator_)
    assert all(torch.isfinite(p).all() for network in networks for p in network.parameters())


def test_a_generator_that_will_not_be_trained_is_said(rows):
    with pytest.warns(UserWarning, match="max_steps=4 is below critic_steps=5: the generator"):
        LSGAN(max_steps=4, accelerator="cpu").fit(rows)


def test_a_cost_of_ones_own_is_told_from_another_and_given_anew_after_loading(rows, tmp_path):
    def leaky(bend):
        return LSGAN(
            objective_options={"cost": lambda a: torch.maximum(a, bend * a), "pairs": "all"},
            **SMALL | {"checkpoint": tmp_path / "run"},
        )

    model = leaky(0.1).fit(rows)
    other = model.get_params()["objective_options"] | {"cost": lambda a: a.relu() + 0 * a}
    for changed in (leaky(0.2), leaky(0.1).set_params(objective_options=other)):
        with pytest.raises(ValueError, match="another run: objective_options cost was"):
            changed.set_params(resume=True).fit(rows)
    again = leaky(0.1).set_params(resume=True).fit(rows)
    assert np.array_equal(again.score_samples(rows), model.score_samples(rows))
    model.set_params(checkpoint=None).save(tmp_path / "model")
    loaded = LSGAN.load(tmp_path / "model")
    assert np.array_equal(loaded.score_samples(rows), model.score_samples(rows))
    with pytest.raises(ValueError, match="'cost' was a function, which a saved model does not"):
        loaded.fit(rows)
    given = loaded.objective_options | {"cost": "hinge"}
    assert loaded.set_params(objective_options=given).fit(rows).n_steps_ == 6
