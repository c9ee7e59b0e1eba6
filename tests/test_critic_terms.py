"""The one critic interface, and the systems inside the classifier."""

import numpy as np
import pytest
import torch
from loop_runs import draw, loss_step, snapshot
from sklearn.base import clone

from clsgan import CLSGANClassifier
from clsgan.critic_terms import critic_scores
from clsgan.networks import level_of
from clsgan.objectives import SYSTEMS, build_objective, leaky_cost
from clsgan.settings import Settings


def test_a_critic_gives_one_number_a_row_for_every_system():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.tensor([0, 2, 1, 1, 0])
    for name, row in SYSTEMS.items():
        objective = build_objective(name)
        scores = critic_scores(Settings(objective), logits, y)
        for i, (given, k) in enumerate(zip(logits.tolist(), y.tolist(), strict=True)):
            loss = np.log(1 + np.exp(given).sum()) - given[k]
            assert float(scores[i]) == pytest.approx(given[k] if row.high_on_real else loss)
        single = critic_scores(Settings(objective, conditional=False), logits[:, :1], y)
        assert torch.equal(single, logits[:, 0])


@pytest.mark.parametrize("name", [*SYSTEMS, "cls_gan"])
def test_every_system_is_a_classifier(name, tiny, digits, tmp_path):
    own = {"generated_batch_size": None} if name == "cls_gan" else {}  # one for each real row
    model = tiny(objective=name, max_steps=5, **own).fit(digits.x_lab, digits.y_lab, digits.x_unl)
    record = model.history_[-1]
    term = "hinge" if name == "cls_gan" else "critic"
    assert {"labeled", term, "generator"} <= record.keys()
    assert all(np.isfinite(value) for value in record.values())
    losses = model.predict_loss(digits.x_test)
    assert np.array_equal(model.predict(digits.x_test), losses.argmin(axis=1))
    assert np.array_equal(model.predict_proba(digits.x_test).argmax(axis=1), losses.argmin(axis=1))
    assert name == "cls_gan" or level_of(model.loss_network_) is None
    model.save(tmp_path / "model")
    again = CLSGANClassifier.load(tmp_path / "model")
    assert np.array_equal(again.predict_loss(digits.x_test), losses)


@pytest.mark.parametrize("name", ["ls_gan", "gls_gan", "wgan_gp", "lipschitz_gan", "hinge"])
def test_a_system_classifies_digits(name, tiny, digits):
    options = {"batch_size": 64, "loss_network_options": {"widths": (16, 32, 32)}}
    model = tiny(objective=name, max_steps=200, learning_rate=3e-3, **options).fit(*digits[:3])
    assert model.score(digits.x_test, digits.y_test) > 0.5


@pytest.mark.parametrize("objective", ["default", "paper"])
@pytest.mark.parametrize("penalty", ["direct", "gp", "max"])
def test_lipschitz_control_goes_with_the_margins_too(objective, penalty, tiny, digits):
    changes = {"generated_batch_size": None} if objective == "paper" else {}
    model = tiny(objective=objective, penalty=penalty, **changes)
    model.fit(digits.x_lab, digits.y_lab, digits.x_unl)
    assert np.isfinite(model.history_[-1]["penalty"])


def test_a_cost_changes_what_the_margins_train(tiny, digits):
    options = {"cost": "leaky", "slope": -1.0}
    hinges = []
    for given in (None, options):
        changes = {"generated_batch_size": None, "margin_scale": 0.01}
        model = tiny(objective="cls_gan", objective_options=given, **changes)
        hinges.append(model.fit(digits.x_lab, digits.y_lab).history_[-1]["hinge"])
    assert hinges[0] != hinges[1]
    assert build_objective("cls_gan", options).cost(torch.tensor(-2.0)) == leaky_cost(-1.0)(
        torch.tensor(-2.0)
    )


def test_statistics_of_prediction_see_no_penalty(make_run, digits):
    after = []
    for penalty in (None, "gp"):
        weight = None if penalty is None else 0.0
        run = make_run(objective="hinge", penalty=penalty, penalty_weight=weight)
        batch, generated = draw(run)
        loss_step(run, batch, generated)
        after.append(snapshot(run.state.loss_network.module))
    names = [name for name in after[0] if "running" in name]
    assert names and all(torch.equal(after[0][name], after[1][name]) for name in names)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"objective": "wgan_gp", "generator": None}, "neither a system nor a penalty"),
        ({"penalty": "gp", "generator": None}, "neither a system nor a penalty"),
        ({"objective_options": {"slope": 1}}, "'default' takes no objective_options"),
        ({"objective": "cls_gan", "objective_options": {"slop": 1}}, "did you mean 'slope'"),
        ({"objective": "cls_gan", "objective_options": {"slope": 0.5}}, "is of cost='leaky'"),
        ({"objective": "ls_gan", "objective_options": {"pairs": "all"}}, "pairs='all' is of LSGAN"),
        ({"steepest_buffer": 3}, "steepest_buffer=3 is of penalty='max'"),
        ({"objective": "ls_gan", "objective_options": {"output": "relu"}}, "output is of LSGAN"),
        ({"objective": "ls_gan", "objective_options": {"hinge_weight": 1.0}}, "is of LSGAN"),
        ({"objective": "wgan", "outlier_weight": 1.0}, "'wgan' has no use for outlier_weight"),
        ({"objective": "wgan", "margins_train": "level"}, "has no use for margins_train"),
        ({"objective": "wgan", "margin_norm": 2}, "'wgan' has no use for margin_norm"),
        ({"objective": "hinge", "unlabeled": "margin"}, "does not have; choose another"),
    ],
)
def test_what_cannot_be_is_refused(params, message, tiny, digits):
    with pytest.raises(ValueError, match=message):
        tiny(**params).fit(digits.x_lab, digits.y_lab)


def test_clones_keep_the_new_parameters():
    model = CLSGANClassifier("lipschitz_gan", objective_options={"phi": "x"}, clip=None)
    assert clone(model).get_params()["objective_options"] == {"phi": "x"}
