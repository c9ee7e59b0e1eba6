"""`LSGAN` on eight Gaussians and on digits, by every system."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from clsgan import LSGAN, CLSGANClassifier
from clsgan.defaults import resolve_density_settings
from clsgan.inputs import InputSpec
from clsgan.lipschitz import gradient_norms, gradient_penalty
from clsgan.objectives import (
    BEYOND_KINDS,
    DISTANCES,
    SYSTEMS,
    SystemRow,
    build_system,
    loss_sensitive_rows,
    pixel_margin,
)

CENTRES = 2 * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], 1)
OPTIONS = [
    ("ls_gan", {"margin": "features"}),
    ("ls_gan", {"pairs": "all"}),
    ("ls_gan", {"cost": "elu", "output": "softplus", "hinge_weight": 2.0}),
    ("ls_gan", {"output": "relu"}),
    ("gls_gan", {"slope": -1.0}),
    ("gls_gan", {"cost": "elu", "alpha": 0.5}),
    ("gls_gan", {"cost": torch.abs}),
    ("least_squares", {"a": -1.0, "b": 1.0, "c": 0.0}),
    *[("lipschitz_gan", {"phi": phi, "psi": phi}) for phi in ("x", "log_sigmoid", "sqrt")],
    *[("relativistic", {"kind": kind}) for kind in ("rsgan", "ralsgan", "rahinge")],
    *[
        ("beyond", {"critic": critic, "kind": kind, "distance": distance})
        for critic, kind, distance in [
            ("bce", "distance_of_expectations", "log_l1"),
            ("least_squares", "expected_distance_to_label", "l1"),
            ("wasserstein", "distance_of_expectations_to_label", "l2"),
            ("hinge", "expected_distance", "pseudo_huber"),
        ]
    ],
]
SMALL = {"max_steps": 6, "random_state": 0, "accelerator": "cpu", "precision": "32"}


@pytest.fixture(scope="module")
def gaussians():
    rng = np.random.default_rng(0)
    return CENTRES[rng.integers(0, 8, 2000)] + rng.normal(size=(2000, 2)) * 0.05


def modes_covered(samples):
    """Centres with at least 2 % of the samples within 0.4, and the share of samples there."""
    distances = np.linalg.norm(samples[:, None] - CENTRES, axis=2)
    near, good = distances.argmin(axis=1), distances.min(axis=1) < 0.4
    counts = np.bincount(near[good], minlength=8)
    return int((counts >= 0.02 * len(samples)).sum()), float(good.mean())


def is_finite(model):
    networks = (model.loss_network_, model.generator_)
    return all(torch.isfinite(p).all() for n in networks for p in n.parameters()) and all(
        np.isfinite(value) for record in model.history_ for value in record.values()
    )


@pytest.mark.parametrize(("name", "options"), [(name, None) for name in SYSTEMS] + OPTIONS)
def test_every_system_moves_both_networks_on_rows(name, options, gaussians):
    models = [
        LSGAN(name, objective_options=options, **SMALL | {"max_steps": steps}).fit(gaussians)
        for steps in (1, 11)
    ]
    assert all(is_finite(model) for model in models)
    assert {"critic", "generator"} <= models[1].history_[-1].keys()
    assert not np.array_equal(*[model.sample(20, random_state=0) for model in models])
    assert not np.array_equal(*[model.score_samples(gaussians[:20]) for model in models])


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_trains_on_images(name, digits):
    options = {"loss_network_options": {"widths": (8, 8, 16), "norm": False}}
    options["generator_options"] = {"widths": (16, 8, 8)}
    model = LSGAN(name, batch_size=16, **SMALL, **options).fit(digits.x_unl)
    assert is_finite(model)
    samples = model.sample(3, random_state=0)
    assert samples.shape == (3, 8, 8) and samples.dtype == np.uint8


@pytest.mark.parametrize("name", ["ls_gan", "wgan_gp", "least_squares", "lipschitz_gan", "hinge"])
def test_real_rows_score_higher_than_far_ones(name, gaussians):
    # what the generator makes at first lies around 0 with an RMS near 0.5
    model = LSGAN(name, **SMALL | {"max_steps": 100, "generator_learning_rate": 1e-6})
    model.fit(gaussians)
    centre = np.random.default_rng(1).normal(size=(200, 2)) * 0.2
    assert model.score_samples(gaussians[:200]).mean() > model.score_samples(centre).mean()
    assert model.score(gaussians[:200]) == pytest.approx(
        model.score_samples(gaussians[:200]).mean()
    )


@pytest.mark.parametrize(
    "name",
    ["ls_gan", *(pytest.param(n, marks=pytest.mark.slow) for n in ("gls_gan", "lipschitz_gan"))],
)
def test_loss_sensitive_systems_cover_eight_gaussians(name, gaussians):
    model = LSGAN(name, **SMALL | {"max_steps": 1500}).fit(gaussians)
    covered, good = modes_covered(model.sample(1000, random_state=0))
    sheet = np.random.default_rng(0).uniform(-2.4, 2.4, (10_000, 2))  # covers all of them too
    assert covered == 8 and good > 2 * modes_covered(sheet)[1]


def settings(**params):
    return resolve_density_settings(LSGAN(**params).all_params(), InputSpec((2,), "ND", "float64"))


@pytest.mark.parametrize("name", ["ls_gan", "gls_gan"])
def test_loss_sensitive_systems_come_with_control_that_can_be_left_out(name):
    own = settings(objective=name)
    steepest = 2.4576 / 2**0.5  # of the margin, on two columns
    assert (own.penalty, own.one_sided) == ("gp", True)
    assert (own.penalty_target, own.penalty_weight) == (4 * steepest, 1 / steepest**2)
    assert own.critic_steps == 5 and own.clip is None
    published = {"weight_decay": 5e-5, "generator_weight_decay": 5e-5}
    plain = settings(objective=name, penalty=None, critic_steps=1, **published)
    assert (plain.penalty, plain.one_sided, plain.critic_steps) == (None, False, 1)
    assert plain.weight_decay == plain.generator_weight_decay == 5e-5
    clipped = settings(objective=name, penalty=None, clip=0.08)
    assert (clipped.penalty, clipped.clip) == (None, 0.08)
    largest = settings(objective=name, penalty="max", steepest_buffer=16)
    assert (largest.penalty_weight, largest.one_sided) == (0.1, False)
    two_sided = settings(objective=name, one_sided=False)  # as WGAN-GP has it
    assert (two_sided.penalty_target, two_sided.penalty_weight) == (1, 10)
    assert not two_sided.one_sided
    assert not settings(objective="wgan_gp").one_sided


def test_the_target_of_the_penalty_is_that_of_the_system_or_one():
    for given in ({"objective": "wgan_gp"}, {"objective": "hinge", "penalty": "gp"}):
        assert settings(**given).penalty_target == 1
    for options in ({"margin": "features"}, {"margin_scale": 0.0}):  # no slope to measure by
        own = settings(objective_options=options)
        assert (own.penalty_target, own.penalty_weight) == (1, 1)
    assert settings(margin_scale=3.0).penalty_target == pytest.approx(12 / 2**0.5)
    given = settings(penalty_target=3)
    assert (given.penalty_target, given.penalty_weight) == (3, pytest.approx(2 / 2.4576**2))
    heavy = settings(objective_options={"hinge_weight": 8.0, "output": "absolute"}, margin_scale=3)
    assert heavy.penalty_weight == pytest.approx(8 * 3 / 2.4576 * 2 / 3**2)


@pytest.mark.parametrize("n", [1, 7])
def test_the_penalty_of_a_loss_sensitive_system_is_the_same_for_rows_of_any_size(n):
    """Slopes count by the steepest of the margin, which falls with the number of inputs."""
    images = InputSpec((3, n, n), "NCHW", "float32")
    own = resolve_density_settings(LSGAN("gls_gan").all_params(), images)
    x, unit = torch.randn(5, 3, n, n, dtype=torch.float64), torch.ones(1, 3, n, n).double()
    unit = unit / unit.norm()
    (margin,) = pixel_margin(unit, 0 * unit, 2.4576)  # grows so much in a step of length 1
    for slope in (4.0, 6.0):  # in units of the margin
        penalty = gradient_penalty(
            lambda x, s=slope: s * margin * (x * unit).flatten(1).sum(1),
            x, x, torch.Generator(), one_sided=own.one_sided, target=own.penalty_target,
        )  # fmt: skip
        expected = torch.full((5,), (slope - 4) ** 2, dtype=torch.float64)
        torch.testing.assert_close(own.penalty_weight * penalty, expected)


def test_more_pairs_keep_the_margin_where_losses_may_be_steeper_than_it(gaussians, monkeypatch):
    """With slopes of up to 1 free, no loss can follow a margin that grows by 1.2 to 1.7 a unit."""
    shares = []

    def spy(a):
        shares.append(float((a > 0).float().mean()))
        return torch.relu(a)

    monkeypatch.setattr(loss_sensitive_rows, "hinge_cost", spy)
    for target in (1.0, None):
        LSGAN(penalty_target=target, penalty_weight=1.0, **SMALL | {"max_steps": 300}).fit(
            gaussians
        )
    unit, steep = np.mean(shares[100:300]), np.mean(shares[-200:])
    assert 0.1 < steep < 0.97 < unit


@pytest.mark.parametrize("norm", [1, 2])
def test_a_margin_is_at_most_its_scale_over_the_root_of_the_inputs_steep(norm):
    rows = torch.randn(500, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows[0] = 0.7  # all differences alike
    margins = pixel_margin(rows, torch.zeros_like(rows), 2.4576, norm)
    found, most = margins / rows.flatten(1).norm(dim=1), 2.4576 / 12**0.5
    assert float(found.max()) == pytest.approx(most) == float(found[0])
    assert (float(found.min()) < 0.9 * most) == (norm == 1)


@pytest.mark.parametrize("critic", ["bce", "least_squares", "wasserstein", "hinge"])
def test_every_possible_pair_beyond_divergence_trains(critic, gaussians):
    trained = 0
    small = SMALL | {"max_steps": 1, "batch_size": 8, "critic_steps": 1}
    for kind in BEYOND_KINDS:
        for distance in DISTANCES:
            options = {"critic": critic, "kind": kind, "distance": distance}
            model = LSGAN("beyond", objective_options=options, **small)
            if distance.startswith("log") and critic != "bce":
                with pytest.raises(ValueError, match="takes the logarithm of D"):
                    model.fit(gaussians[:50])
                continue
            assert is_finite(model.fit(gaussians[:50]))
            trained += 1
    assert trained == (20 if critic == "bce" else 12)


def test_rmsprop_takes_its_own_steps(gaussians):
    models = [
        LSGAN("hinge", optimizer=name, **SMALL).fit(gaussians) for name in ("adam", "rmsprop")
    ]
    assert all(is_finite(model) for model in models)
    assert not np.array_equal(*[model.sample(9, random_state=0) for model in models])


@pytest.mark.parametrize(
    ("name", "of_critic", "of_generator"),
    [
        ("rmsprop", "RMSprop", "RMSprop"),
        ("adam", "Adam", "Adam"),
        ("sgd", "SGD", "Adam"),
        ("adamw", "AdamW", "Adam"),
    ],
)
def test_rmsprop_trains_both_networks(name, of_critic, of_generator, gaussians, monkeypatch):
    from clsgan import trainer

    states = []
    original = trainer.update_averages

    def spy(state):
        states.append(state)
        return original(state)

    monkeypatch.setattr(trainer, "update_averages", spy)
    LSGAN("hinge", optimizer=name, **SMALL | {"max_steps": 1}).fit(gaussians)
    assert type(states[0].loss_optimizer.optimizer).__name__ == of_critic
    assert type(states[0].generator_optimizer.optimizer).__name__ == of_generator


def test_the_norm_of_the_generators_gradient_is_logged_on_demand(gaussians):
    plain, logged = (
        LSGAN("hinge", log_gradients=on, **SMALL).fit(gaussians) for on in (False, True)
    )
    assert "generator_gradient_norm" not in plain.history_[-1]
    assert 0 < logged.history_[-1]["generator_gradient_norm"] < 100
    assert np.array_equal(*[model.sample(9, random_state=0) for model in (plain, logged)])


def test_a_nonnegative_loss_is_never_below_zero(gaussians):
    for output in ("relu", "softplus", "absolute"):
        model = LSGAN(objective_options={"output": output}, **SMALL).fit(gaussians)
        assert (model.score_samples(gaussians) <= 0).all()


@pytest.mark.parametrize(
    "penalty",
    [
        {"penalty": "direct"},
        {"penalty": "direct_squared"},
        {"penalty": "gp", "one_sided": True},
        {"penalty": "max", "steepest_buffer": 4},
    ],
)
def test_a_heavy_penalty_makes_the_critic_flat(penalty, gaussians):
    def slope(**changes):
        model = LSGAN("hinge", **SMALL | {"max_steps": 120} | changes).fit(gaussians)
        x = torch.from_numpy(model.units_.standardise(gaussians[:200])).requires_grad_()
        scores = model.loss_network_(x)[0].sum()
        (gradient,) = torch.autograd.grad(scores, x)
        return float(gradient.norm(dim=1).max()), model

    free, _ = slope()
    held, model = slope(penalty_weight=100.0, **penalty)
    assert held < 0.75 * free or (penalty["penalty"] == "gp" and held < 1.3)
    assert "penalty" in model.history_[-1]


@pytest.mark.parametrize("target", [0.3, 1.5])
def test_gradients_are_brought_to_the_target_of_the_penalty(target, gaussians):
    control = {"penalty": "gp", "penalty_target": target, "penalty_weight": 100.0}
    model = LSGAN("hinge", **SMALL | {"max_steps": 120, "average_decay": 0.0} | control)
    x = torch.from_numpy(model.fit(gaussians).units_.standardise(gaussians[:200]))
    norms = gradient_norms(model.loss_network_, x)
    assert float(norms.detach().mean()) == pytest.approx(target, rel=0.2)


def test_clipping_and_spectral_norm_bound_the_weights(gaussians):
    clipped = LSGAN("wgan", clip=0.02, average_decay=0.0, **SMALL).fit(gaussians)
    assert (
        max(float(p.detach().abs().max()) for p in clipped.loss_network_.parameters())
        <= 0.02 + 1e-6
    )
    normed = LSGAN("hinge", spectral_norm=True, average_decay=0.0, **SMALL).fit(gaussians)
    for name, weight in normed.loss_network_.named_parameters():
        assert "original" not in name
        if weight.dim() == 2:
            assert float(torch.linalg.matrix_norm(weight.detach(), 2)) < 1.2
    assert pickle.loads(pickle.dumps(normed)).n_steps_ == 6


def test_the_loss_network_takes_critic_steps_for_each_of_the_generator(gaussians, monkeypatch):
    from clsgan import trainer

    calls = []
    for name in ("update_loss_network", "update_generator"):
        original = getattr(trainer, name)

        def spy(*args, name=name, original=original, **kwargs):
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(trainer, name, spy)
    LSGAN(critic_steps=3, **SMALL).fit(gaussians)
    assert calls == 2 * (3 * ["update_loss_network"] + ["update_generator"])


def test_the_same_seed_gives_the_same_model(gaussians, global_randomness_untouched):
    models = [LSGAN("wgan_gp", **SMALL).fit(gaussians) for _ in range(2)]
    assert np.array_equal(*[model.sample(50, random_state=1) for model in models])


@pytest.mark.parametrize("name", ["ls_gan", "relativistic"])
def test_a_model_comes_back_from_its_folder(name, gaussians, tmp_path):
    model = LSGAN(name, **SMALL).fit(gaussians)
    model.save(tmp_path / "model")
    again = LSGAN.load(tmp_path / "model")
    assert np.array_equal(model.score_samples(gaussians), again.score_samples(gaussians))
    assert np.array_equal(model.sample(9, random_state=0), again.sample(9, random_state=0))
    assert not hasattr(again, "classes_")
    with pytest.raises(ValueError, match="holds a model of LSGAN"):
        CLSGANClassifier.load(tmp_path / "model")


def test_norms_can_be_left_out(digits):
    for norm in (True, False):
        model = LSGAN(
            generator="paper",
            generator_options={"norm": norm},
            batch_size=8,
            loss_network_options={"widths": (8, 8, 8), "norm": norm},
            **SMALL | {"max_steps": 1},
        ).fit(digits.x_lab)
        modules = [*model.generator_.modules(), *model.loss_network_.modules()]
        assert any(isinstance(m, torch.nn.BatchNorm2d) for m in modules) == norm


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"objective": "wgan_pg"}, "did you mean 'wgan_gp'"),
        ({"objective": "default"}, "objective='default' is not known"),
        ({"objective_options": {"slop": 1}}, "did you mean 'slope'"),
        ({"objective_options": {"cost": torch.nn.functional.softplus}}, "the cost breaks"),
        ({"objective_options": {"cost": "leaky", "slope": 2.0}}, "breaks"),
        ({"objective_options": {"hinge_weight": 1.0}}, "no minimum over unbounded losses"),
        ({"objective": "beyond", "objective_options": {"critic": "hinge", "distance": "log_l1"}},
         "takes the logarithm of D"),
        ({"objective": "least_squares", "objective_options": {"a": 1.0}}, "asks the same of real"),
        ({"objective": "least_squares", "objective_options": {"a": 2.0}}, "a=-2.0, b=-1.0, c=-1.0"),
        ({"objective": "least_squares", "objective_options": {"c": np.nan}}, "c=nan is not valid"),
        ({"objective": "least_squares", "objective_options": {"c": "x"}}, "c='x' is not valid"),
        ({"objective": "beyond", "objective_options": {"target": None}}, "target=None is not"),
        ({"objective": "beyond", "objective_options": {"target": 0.3}}, "end in '_to_label'"),
        ({"objective_options": {"margin_scale": np.inf}}, "margin_scale=inf is not valid"),
        ({"objective_options": {"margin_scale": 1e-200}}, "it is 0 or at least"),
        ({"objective_options": {"margin_scale": "x"}}, "margin_scale='x' is not valid"),
        ({"objective_options": {"hinge_weight": np.inf, "output": "absolute"}}, "hinge_weight=inf"),
        ({"objective_options": {"cost": "leaky", "slope": "a"}}, "slope='a' is not valid"),
        ({"objective_options": {"cost": "elu", "alpha": None}}, "alpha=None is not valid"),
        ({"objective_options": "elu"}, "objective_options='elu' is not valid; it is a dict"),
        ({"one_sided": "no"}, "one_sided='no' is not valid; it is True or False"),
        ({"spectral_norm": "yes"}, "spectral_norm='yes' is not valid; it is True or False"),
        ({"penalty": "max", "steepest_buffer": True}, "steepest_buffer=True is not valid"),
        ({"generator": "paper", "generator_options": {"width": 0}}, "width=0 is not valid"),
        ({"penalty": "pg"}, "penalty='pg' is not known"),
        ({"penalty": "max", "one_sided": True}, "one_sided=True is of penalty='gp'"),
        ({"penalty": "max", "penalty_target": 2.0}, "penalty_target=2.0 is of penalty='gp'"),
        ({"objective": "hinge", "penalty_target": 2.0}, "is of penalty='gp'; got None"),
        ({"penalty_target": -1.0}, "penalty_target=-1.0 is not valid; it is None or >= 0"),
        ({"objective": "wgan", "margin_scale": 2.0}, "has no use for margin_scale"),
        ({"clip": -1.0}, "clip=-1.0 is not valid"),
        ({"critic_steps": 1.5}, "critic_steps=1.5 is not valid"),
        ({"critic_steps": 0}, "critic_steps=0 is not valid"),
        ({"penalty": None, "penalty_weight": 3.0}, "penalty_weight=3.0 is of a penalty"),
        ({"objective": "hinge", "penalty_weight": 3.0}, "as the objective has none"),
        ({"objective_options": {"slope": 0.5}}, "slope=0.5 is of cost='leaky'; got cost='hinge'"),
        ({"objective_options": {"alpha": 0.5}}, "alpha=0.5 is of cost='elu'; got cost='hinge'"),
        ({"objective": "gls_gan", "objective_options": {"alpha": 0.5}}, "got cost='leaky'"),
        ({"margin_scale": 7.0, "objective_options": {"margin_scale": 1.0}},
         "margin_scale is given twice"),
        ({"generator": None}, "every system needs a generator"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_reason(params, message, gaussians):
    with pytest.raises(ValueError, match=message):
        LSGAN(**SMALL | params).fit(gaussians)


def test_divergence_names_the_step_and_the_term(gaussians):
    model = LSGAN(**SMALL).fit(gaussians)
    before = model.score_samples(gaussians)
    model.set_params(learning_rate=1e25, critic_steps=1, max_steps=30)
    with pytest.raises(FloatingPointError, match=r"(critic|generator) = .*nan.* at step [12]"):
        model.fit(gaussians)
    assert np.array_equal(model.score_samples(gaussians), before)


def test_a_fit_that_fails_leaves_the_fitted_model_whole(gaussians):
    model = LSGAN(**SMALL).fit(gaussians)
    before = model.score_samples(gaussians[:9])
    model.set_params(learning_rate=-1.0)
    with pytest.raises(ValueError, match="learning_rate=-1"):
        model.fit(np.ones((9, 3)))
    assert model.n_features_in_ == 2
    assert np.array_equal(model.score_samples(gaussians[:9]), before)


def test_weights_that_the_last_step_ruined_are_not_kept(gaussians, monkeypatch):
    from clsgan import trainer

    def ruin(state):
        with torch.no_grad():
            next(state.average_generator.module.parameters()).fill_(float("nan"))

    monkeypatch.setattr(trainer, "update_averages", ruin)
    model = LSGAN(**SMALL)
    with pytest.raises(FloatingPointError, match="of the generator is not finite after step 6"):
        model.fit(gaussians)
    assert not hasattr(model, "generator_")


def test_the_system_of_the_documentation_trains(monkeypatch):
    text = (Path(__file__).parent.parent / "docs" / "objectives.md").read_text()
    (code,) = [part.split("```")[0] for part in text.split("```python")[1:]]
    assert len(code.strip().splitlines()) < 15
    monkeypatch.setitem(SYSTEMS, "constant_margin", SYSTEMS["hinge"])  # taken back afterwards
    names = {}
    exec(code, names)
    assert names["model"].history_[-1]["critic"] > 0


def test_a_system_is_one_pair_of_functions_and_one_row(gaussians, monkeypatch):
    row = SystemRow(
        lambda pairs, options: torch.relu(options["gap"] + pairs.real - pairs.fake),
        lambda pairs, options: pairs.fake,
        options={"gap": 1.0},
    )
    monkeypatch.setitem(SYSTEMS, "constant_margin", row)
    model = LSGAN("constant_margin", objective_options={"gap": 2.0}, **SMALL).fit(gaussians)
    assert 1.5 < model.history_[-1]["critic"] < 2.5
    assert build_system("constant_margin").options["gap"] == 1.0
