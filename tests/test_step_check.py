"""Steps with a NaN or an infinity: left out without a trace, counted, and not for ever."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loop_runs import changed, draw, loss_step, snapshot

from clsgan import trainer
from clsgan.runlog import RunLog
from clsgan.schedules import Budget
from clsgan.skipped_steps import MOST_IN_A_ROW, SkippedSteps
from clsgan.step_check import PENALTY_LIMIT, NotFinite, check_step
from clsgan.trainer import train, update_generator


def fabric_with(scaler=None):
    strategy = SimpleNamespace(precision=SimpleNamespace(scaler=scaler))
    return SimpleNamespace(strategy=strategy, world_size=1, device=torch.device("cpu"))


def layer_with(gradient):
    layer = torch.nn.Linear(2, 2)
    layer.weight.grad, layer.bias.grad = torch.zeros(2, 2), torch.tensor([1.0, gradient])
    return torch.optim.SGD(layer.parameters(), 0.1)


@pytest.mark.parametrize(
    ("loss", "gradient", "message"),
    [
        (float("nan"), 0.0, "critic = nan"),
        (float("-inf"), 0.0, "critic = -inf"),
        (1.0, float("inf"), "a gradient of the critic network that is not finite"),
        (1.0, float("nan"), "a gradient of the critic network that is not finite"),
    ],
)
def test_what_is_not_finite_is_named(loss, gradient, message):
    with pytest.raises(NotFinite, match=message):
        value = torch.tensor(loss)
        check_step(fabric_with(), "critic network", {"critic": value}, value, layer_with(gradient))


def test_large_gradients_are_finite():
    optimizer = layer_with(3e38)
    optimizer.param_groups[0]["params"][0].grad.fill_(3e38)  # their sum is not
    check_step(fabric_with(), "network", {}, torch.tensor(1.0), optimizer)


def test_a_scaler_looks_after_gradients_itself():
    one = torch.tensor(1.0)
    check_step(fabric_with(scaler=object()), "network", {}, one, layer_with(float("inf")))
    with pytest.raises(NotFinite):
        check_step(fabric_with(scaler=object()), "network", {}, one / 0, layer_with(0.0))


def test_an_exploding_penalty_is_no_step():
    for value, bad in ((PENALTY_LIMIT, False), (2 * PENALTY_LIMIT, True)):
        terms = {"critic": torch.tensor(1.0), "penalty": torch.tensor(value)}
        arguments = fabric_with(), "network", terms, torch.tensor(1.0), layer_with(0.0)
        if bad:
            with pytest.raises(NotFinite, match=r"penalty = 2e\+08"):
                check_step(*arguments)
        else:
            check_step(*arguments)


def poisoned_at(monkeypatch, poison, steps):
    """Change batches of some steps; what was in place before each of these."""
    update, count, before = trainer.update_loss_network, [], []

    def spy(fabric, state, streams, batch, generated, *rest):
        count.append(1)
        if len(count) in steps:
            before.append({name: snapshot(part) for name, part in parts(state).items()})
            before[-1] |= {"classes": state.teacher_classes, "optimizer": momenta(state)}
            poison(state, batch)
        return update(fabric, state, streams, batch, generated, *rest)

    monkeypatch.setattr(trainer, "update_loss_network", spy)
    return before


def parts(state):
    names = ("average_loss_network", "average_generator")
    found = {name: getattr(state, name) for name in names} | {"network": state.loss_network.module}
    return {name: network for name, network in found.items() if network is not None}


def momenta(state):
    return [
        value.clone()
        for kept in state.loss_optimizer.state.values()
        for value in kept.values()
        if isinstance(value, torch.Tensor)
    ]


def nan_rows(state, batch):
    for rows in (batch.x_lab, batch.x_teacher):
        if rows.is_floating_point():
            rows.fill_(float("nan"))


def nan_gradient(state, batch):
    parameter = next(p for p in state.loss_network.module.parameters() if p.requires_grad)
    handle = parameter.register_hook(lambda g: (handle.remove(), g * float("nan"))[1])


@pytest.mark.parametrize("poison", [nan_rows, nan_gradient])
@pytest.mark.parametrize("objective", ["default", "paper"])
def test_a_step_that_is_not_finite_leaves_no_trace(make_run, monkeypatch, poison, objective):
    run = make_run(unlabeled_start=0.0, objective=objective)
    before = poisoned_at(monkeypatch, poison, {6})
    with RunLog() as log:
        budget = Budget(6)
        train(run.fabric, run.state, run.streams, run.settings, budget, log)
    (then,) = before
    assert not changed(then["average_loss_network"], run.state.average_loss_network)
    assert not changed(then["average_generator"], run.state.average_generator)
    weights = {name for name, _ in run.state.loss_network.module.named_parameters()}
    assert not weights & changed(then["network"], run.state.loss_network.module)
    assert all(bool(t.isfinite().all()) for t in run.state.loss_network.module.buffers())
    assert all(map(torch.equal, then["optimizer"], momenta(run.state)))
    assert run.state.teacher_classes is then["classes"]
    assert run.state.skipped.total == 1 and run.state.step == 6
    assert log.records[-1]["skipped_steps"] == 1 and np.isfinite(log.records[-1]["labeled"])


@pytest.mark.parametrize("at", [1, 6])
@pytest.mark.parametrize("objective", ["default", "paper", "hinge"])
def test_a_generator_that_is_not_finite_takes_the_whole_step_back(
    make_run, monkeypatch, at, objective
):
    changes = {"unlabeled_start": 0.0, "objective": objective, "generator_interval": 1}
    run = make_run(**changes, critic_steps=1)
    update, count, before = trainer.update_generator, [], []
    seen = poisoned_at(monkeypatch, lambda state, batch: None, {at})

    def poisoned(fabric, state, streams, batch, generated, settings):
        count.append(1)
        if len(count) == at:
            before.append(snapshot(state.generator.module))
            assert changed(seen[0]["network"], state.loss_network.module)  # it has stepped
            generated = generated * float("nan")
        return update(fabric, state, streams, batch, generated, settings)

    monkeypatch.setattr(trainer, "update_generator", poisoned)
    alone = pytest.raises(FloatingPointError, match="generator = nan at step 1")  # no step is left
    with RunLog() as log, alone if at == 1 else nullcontext():
        train(run.fabric, run.state, run.streams, run.settings, Budget(at), log)
    state, (then,) = run.state, seen
    for name in ("average_loss_network", "average_generator"):
        assert not changed(then[name], getattr(state, name))
    weights = dict(state.loss_network.module.named_parameters())
    assert not weights.keys() & changed(then["network"], state.loss_network.module)
    moments = momenta(state)
    assert len(moments) == len(then["optimizer"])
    assert all(map(torch.equal, then["optimizer"], moments))
    weights = dict(state.generator.module.named_parameters())
    assert not weights.keys() & changed(before[0], state.generator.module)
    assert state.skipped.total == 1 and state.step == at


def test_a_run_goes_on_after_skipped_steps(make_run, monkeypatch):
    run = make_run(unlabeled_start=0.0)
    poisoned_at(monkeypatch, nan_rows, {3, 4, 8})
    with RunLog() as log:
        train(run.fabric, run.state, run.streams, run.settings, Budget(12), log)
    assert run.state.skipped.total == 3 and run.state.skipped.in_a_row == {}
    for network in parts(run.state).values():
        assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


def test_skipped_steps_are_reported(tiny, digits, monkeypatch):
    plain = tiny(max_steps=6).fit(digits.x_lab, digits.y_lab)
    assert plain.n_skipped_steps_ == 0 and "skipped_steps" not in plain.history_[-1]
    poisoned_at(monkeypatch, nan_rows, {2})
    model = tiny(max_steps=6).fit(digits.x_lab, digits.y_lab)
    assert model.n_skipped_steps_ == 1 and model.history_[-1]["skipped_steps"] == 1
    assert np.isfinite(model.predict_loss(digits.x_test)).all()


def test_the_generator_takes_no_step_that_is_not_finite(make_run):
    run = make_run(objective="paper")
    batch, generated = draw(run)
    before = snapshot(run.state.generator.module)
    with pytest.raises(NotFinite, match="generator = nan"):
        bad = generated * float("nan")
        update_generator(run.fabric, run.state, run.streams, batch, bad, run.settings)
    assert not changed(before, run.state.generator.module)


def test_a_step_alone_says_why_it_was_not_taken(make_run):
    run = make_run()
    batch, generated = draw(run)
    batch.x_lab.fill_(float("inf"))
    with pytest.raises(NotFinite, match="labeled = nan"):
        loss_step(run, batch, generated)


# Too many


def test_ten_in_a_row_end_the_run(make_run, monkeypatch):
    run = make_run(generator=None)
    poisoned_at(monkeypatch, nan_rows, set(range(5, 99)))
    with RunLog() as log, pytest.raises(FloatingPointError) as caught:
        train(run.fabric, run.state, run.streams, run.settings, Budget(99), log)
    assert "labeled = nan" in str(caught.value) and "at step 5" in str(caught.value)
    assert run.state.step == 4 + MOST_IN_A_ROW - 1


def test_each_kind_of_step_has_its_own_row():
    skipped = SkippedSteps()
    with pytest.raises(FloatingPointError, match=r"generator = nan at step 4.*10 were skipped"):
        for step in range(1, 200):
            if step % 4:
                skipped.take("plain")
            else:
                skipped.skip("generator", step, "generator = nan")
    assert skipped.total == 10 and step == 40


def test_a_run_that_ends_amid_a_row_is_refused_if_half_of_it_was_skipped():
    for taken, refused in ((3, True), (4, False)):
        skipped = SkippedSteps()
        for _ in range(taken):
            skipped.take("plain")
        for step in range(3):
            skipped.skip("plain", taken + step + 1, "labeled = nan")
        again = SkippedSteps()
        again.load_state_dict(skipped.state_dict())
        if refused:
            with pytest.raises(FloatingPointError, match="at step 4"):
                again.finish()
        else:
            again.finish()
