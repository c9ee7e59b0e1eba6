"""What the methods of `CLSGANClassifier` promise."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from torch import nn

from clsgan import CLSGANClassifier
from clsgan.splits import split_validation


@pytest.fixture(scope="module")
def fitted(tiny, digits):
    model = tiny(max_steps=80, batch_size=64)
    return model.fit(digits.x_lab, digits.y_lab, digits.x_unl)


@pytest.fixture(scope="module")
def scores(fitted, digits):
    """Class scores a_k(x) [20, K] in float64, straight from the network."""
    images = torch.from_numpy(digits.x_test[:20, None] / 8.0 - 1.0).float()
    with torch.inference_mode():
        return fitted.loss_network_.eval()(images)[0].double().tolist()


def losses_of(model, X):
    return model.predict_loss(X)


# The constructor, and what fit may change


def test_constructor_only_stores():
    given = {name: object() for name in CLSGANClassifier().get_params()}
    model = CLSGANClassifier(**given)
    assert vars(model) == given


def test_fit_returns_self_and_keeps_parameters_and_input(tiny, digits):
    x, y, x_unl = digits.x_lab.copy(), digits.y_lab.copy(), digits.x_unl.copy()
    model = tiny(max_steps=1)
    before = model.get_params()
    assert model.fit(x, y, x_unl) is model
    assert all(model.get_params()[name] is value for name, value in before.items())
    assert (x == digits.x_lab).all() and (y == digits.y_lab).all() and (x_unl == digits.x_unl).all()


def test_fit_twice_starts_from_scratch(tiny, digits):
    model = tiny().fit(digits.x_lab, digits.y_lab)
    once = losses_of(model, digits.x_test[:20])
    assert (losses_of(model.fit(digits.x_lab, digits.y_lab), digits.x_test[:20]) == once).all()


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("grey 8x8", (1, 8, 8)),
        ("grey 28x28", (1, 28, 28)),
        ("colour 32x32", (3, 32, 32)),
        ("colour 96x96", (3, 96, 96)),
        ("rows", (50,)),
    ],
)
def test_defaults_serve_every_kind_of_input(photos, kind, shape):
    if kind == "rows":
        X, y = photos(8, 8)
        X = X.reshape(len(X), -1)[:, :50] / 255
    else:
        X, y = photos(shape[-1], 8)
        X = X.mean(axis=3).astype(np.uint8) if shape[0] == 1 else X
    model = CLSGANClassifier(max_steps=2, batch_size=16, generated_batch_size=8, random_state=0)
    model.fit(X, y, X)
    assert model.spec_.shape == shape
    assert model.image_shape_ == (None if kind == "rows" else shape)
    assert model.n_features_in_ == math.prod(shape)
    assert model.predict(X).shape == (16,)
    assert model.sample(2)[0].shape == (2, *X.shape[1:])


# Labels


def test_both_ways_to_mark_unlabeled_rows_agree(tiny, digits):
    apart = tiny().fit(digits.x_lab, digits.y_lab, digits.x_unl[:60])
    X = np.concatenate([digits.x_lab, digits.x_unl[:60]])
    y = np.concatenate([digits.y_lab, np.full(60, -1)])
    marked = tiny().fit(X, y)
    both = tiny().fit(X[:130], y[:130], digits.x_unl[30:60])
    expected = losses_of(apart, digits.x_test[:20])
    assert (losses_of(marked, digits.x_test[:20]) == expected).all()
    assert (losses_of(both, digits.x_test[:20]) == expected).all()
    assert marked.classes_.tolist() == list(range(10))


def test_unlabeled_rows_change_what_is_learned(tiny, digits):
    options = {"unlabeled_start": 0.0, "max_steps": 5}
    without = tiny(**options).fit(digits.x_lab, digits.y_lab)
    with_them = tiny(**options).fit(digits.x_lab, digits.y_lab, digits.x_unl)
    ignored = tiny(**options, unlabeled="none").fit(digits.x_lab, digits.y_lab, digits.x_unl)
    assert {"unlabeled"} <= set(with_them.history_[-1]) - set(ignored.history_[-1])
    test = digits.x_test[:20]
    assert (losses_of(without, test) != losses_of(with_them, test)).any()


def test_minus_one_beside_one_other_label_is_a_class(tiny, digits):
    rows = digits.y_lab < 2
    X, y = digits.x_lab[rows], np.where(digits.y_lab[rows] == 0, -1, 1)
    model = tiny().fit(X, y)
    assert model.classes_.tolist() == [-1, 1]
    assert set(model.predict(X)) <= {-1, 1}
    assert model.score(X, y) == np.mean(model.predict(X) == y), "-1 is a class, so it is scored"


def test_minus_one_is_settled_by_a_parameter(tiny, digits):
    rows = digits.y_lab < 3
    X, y = digits.x_lab[rows], digits.y_lab[rows].astype(int) - 1
    assert tiny().fit(X, y).classes_.tolist() == [0, 1]
    assert tiny(minus_one="class").fit(X, y).classes_.tolist() == [-1, 0, 1]
    with pytest.raises(ValueError, match="one class only"):
        tiny(minus_one="unlabeled").fit(X, np.where(y == 1, 1, -1))


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_string_classes_with_missing_labels(tiny, digits, missing):
    names = np.array(["zero", "one", "two"], dtype=object)
    rows = digits.y_lab < 3
    X, y = digits.x_lab[rows], names[digits.y_lab[rows]]
    y[::3] = missing
    model = tiny(max_steps=30).fit(X, y)
    assert model.classes_.tolist() == ["one", "two", "zero"]
    known = np.array([isinstance(label, str) for label in y])
    assert model.score(X, y) == np.mean(model.predict(X[known]) == y[known])


@pytest.mark.parametrize(
    "classes", [np.array([False, True]), np.array([7, 40]), np.array(["a", "bcd"])]
)
def test_predictions_are_entries_of_classes(tiny, digits, classes):
    rows = digits.y_lab < 2
    model = tiny().fit(digits.x_lab[rows], classes[digits.y_lab[rows]])
    predicted = model.predict(digits.x_lab[rows])
    assert predicted.dtype == classes.dtype and model.classes_.dtype == classes.dtype
    assert set(predicted.tolist()) <= set(classes.tolist())
    assert set(model.sample(5, random_state=0)[1].tolist()) <= set(classes.tolist())


# Prediction


def test_predict_loss_is_eq_17(fitted, scores, digits):
    expected = [[-math.log(math.exp(a) / sum(map(math.exp, row))) for a in row] for row in scores]
    assert np.allclose(fitted.predict_loss(digits.x_test[:20]), expected, atol=1e-4)


def test_predict_loss_of_the_paper_has_the_open_class(tiny, digits):
    model = tiny(objective="paper", max_steps=5, generated_batch_size=None).fit(
        digits.x_lab, digits.y_lab, digits.x_unl
    )
    images = torch.from_numpy(digits.x_test[:20, None] / 8.0 - 1.0).float()
    with torch.inference_mode():
        rows = model.loss_network_(images)[0].double().tolist()
    expected = [
        [-math.log(math.exp(a) / (1 + sum(map(math.exp, row)))) for a in row] for row in rows
    ]
    assert np.allclose(model.predict_loss(digits.x_test[:20]), expected, atol=1e-4)


def test_predict_is_the_class_of_the_smallest_loss(fitted, digits):
    losses = fitted.predict_loss(digits.x_test)
    assert (fitted.predict(digits.x_test) == fitted.classes_[losses.argmin(axis=1)]).all()
    assert losses.shape == (500, 10) and losses.min() >= 0


def test_predict_proba_is_the_softmax_of_the_scores(fitted, scores, digits):
    probabilities = fitted.predict_proba(digits.x_test[:20])
    expected = [[math.exp(a) / sum(map(math.exp, row)) for a in row] for row in scores]
    assert np.allclose(probabilities, expected, atol=1e-5)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-12)


def test_outlier_score_is_the_probability_of_no_class(fitted, scores, digits):
    expected = [1 / (1 + sum(map(math.exp, row))) for row in scores]
    assert np.allclose(fitted.outlier_score(digits.x_test[:20]), expected, atol=1e-5)


def test_transform_gives_the_features_under_their_names(fitted, digits):
    features = fitted.transform(digits.x_test[:20])
    assert features.shape == (20, fitted.loss_network_.num_features)
    names = fitted.get_feature_names_out()
    assert len(names) == features.shape[1] and names[0] == "clsganclassifier0"
    expected = torch.softmax(fitted.loss_network_.head(torch.from_numpy(features))[0], dim=1)
    expected = expected.detach().numpy()
    assert np.allclose(fitted.predict_proba(digits.x_test[:20]), expected, atol=1e-5)


def test_a_row_is_judged_alone_and_order_is_kept(fitted, digits):
    whole = fitted.predict_loss(digits.x_test)
    assert (fitted.predict_loss(digits.x_test[::-1])[::-1] == whole).all()
    assert (fitted.predict_loss(digits.x_test[137:138]) == whole[137:138]).all()
    assert (fitted.predict_loss(digits.x_test[100:301]) == whole[100:301]).all()


def test_prediction_changes_nothing(fitted, digits, global_randomness_untouched):
    state = {key: value.clone() for key, value in fitted.loss_network_.state_dict().items()}
    fitted.predict(digits.x_test), fitted.transform(digits.x_test)
    fitted.sample(3, random_state=0), fitted.outlier_score(digits.x_test)
    for key, value in fitted.loss_network_.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_learning_beats_chance_by_far(fitted, digits):
    assert fitted.score(digits.x_test, digits.y_test) > 0.4


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_loss", "transform", "outlier_score", "score"]
)
def test_before_fit(method, digits):
    arguments = (digits.x_test, digits.y_test) if method == "score" else (digits.x_test,)
    with pytest.raises(NotFittedError):
        getattr(CLSGANClassifier(), method)(*arguments)


def test_sample_and_save_before_fit(tmp_path):
    with pytest.raises(NotFittedError):
        CLSGANClassifier().sample(1)
    with pytest.raises(NotFittedError):
        CLSGANClassifier().save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


# Scores


def test_score_leaves_unlabeled_rows_out(fitted, digits):
    y = digits.y_test.copy()
    y[::2] = -1
    kept = y != -1
    expected = np.mean(fitted.predict(digits.x_test)[kept] == y[kept])
    assert fitted.score(digits.x_test, y) == expected


def test_score_with_one_class_and_unlabeled_rows(fitted, digits):
    rows = digits.y_test == 3
    y = np.where(rows, 3, -1)
    assert fitted.score(digits.x_test, y) == np.mean(fitted.predict(digits.x_test)[rows] == 3)


def test_score_weighs_rows(fitted, digits):
    right = fitted.predict(digits.x_test) == digits.y_test
    y = digits.y_test.copy()
    y[0] = -1
    assert fitted.score(digits.x_test, y, sample_weight=right.astype(float)) == 1.0
    assert fitted.score(digits.x_test, y, sample_weight=1.0 - right) == 0.0


def test_score_without_a_labeled_row(fitted, digits):
    with pytest.raises(ValueError, match="no labeled row"):
        fitted.score(digits.x_test[:3], [-1, -1, -1])


def test_score_of_labels_of_another_length(fitted, digits):
    with pytest.raises(ValueError, match="X has 5 rows, but y has 4 labels"):
        fitted.score(digits.x_test[:5], digits.y_test[:4])


# Samples


def test_sample_follows_its_random_state_alone(fitted):
    first, again, other = (fitted.sample(4, random_state=seed) for seed in (0, 0, 1))
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all()
    assert (first[0] != other[0]).any()


def test_sample_of_given_classes(fitted):
    X, y = fitted.sample(3, y=7)
    assert X.shape == (3, 8, 8) and y.tolist() == [7, 7, 7]
    assert fitted.sample(3, y=[2, 0, 9])[1].tolist() == [2, 0, 9]


def test_the_class_decides_what_is_made(fitted):
    zeros, ones = (fitted.sample(4, y=k, random_state=0)[0] for k in (0, 1))
    assert (zeros != ones).any()


def test_sample_draws_classes_by_their_share(tiny, digits):
    rows = np.flatnonzero(digits.y_lab < 2)
    y = (np.arange(len(rows)) >= 3).astype(int)
    model = tiny(max_steps=1).fit(digits.x_lab[rows], y)
    drawn = model.sample(2000, random_state=0)[1]
    assert abs(drawn.mean() - 17 / 20) < 4 * math.sqrt(0.85 * 0.15 / 2000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 0}, "n_samples=0 is not valid; it is at least 1"),
        ({"n_samples": 2, "y": 11}, r"y holds \['11'\], not among classes_=\[0, 1"),
        ({"n_samples": 2, "y": [1, 2, 3]}, r"y has shape \(3,\); it is one label or \[2\] labels"),
    ],
)
def test_sample_refuses(fitted, arguments, message):
    with pytest.raises(ValueError, match=message):
        fitted.sample(**arguments)


def test_without_a_generator(tiny, digits):
    model = tiny(generator=None, max_steps=5).fit(digits.x_lab, digits.y_lab, digits.x_unl)
    assert model.generator_ is None
    assert not {"hinge", "unlabeled_hinge", "generator"} & set(model.history_[-1])
    with pytest.raises(ValueError, match="generator=None"):
        model.sample(1)


# How training is reported and bounded


def test_history_is_what_the_log_folder_holds(tiny, digits, tmp_path):
    model = tiny(max_steps=30, log_dir=tmp_path / "run", validation_fraction=0.2)
    model.fit(digits.x_lab, digits.y_lab, digits.x_unl)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == model.history_
    named = set().union(*model.history_)
    assert {"labeled", "unlabeled", "hinge", "generator"} <= named
    assert [record["step"] for record in model.history_ if "labeled" in record] == [25, 30]
    assert list((tmp_path / "run").rglob("events.*")), "TensorBoard events"


def test_nothing_is_written_without_a_log_folder(tiny, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny().fit(digits.x_lab, digits.y_lab)
    assert not list(tmp_path.iterdir())


def test_counts_and_times(tiny, digits):
    model = tiny(max_steps=4, batch_size=40).fit(digits.x_lab, digits.y_lab)
    assert model.n_steps_ == 4
    assert model.fit_time_ > 0
    assert model.images_per_second_ >= 4 * 40 / model.fit_time_


def test_time_limit_is_kept(tiny, digits):
    model = tiny(max_steps=None, time_limit=2.0).fit(digits.x_lab, digits.y_lab, digits.x_unl)
    assert 1.0 < model.fit_time_ < 3.0
    assert model.n_steps_ > 10


def test_the_smaller_of_both_budgets_ends_the_run(tiny, digits):
    assert tiny(max_steps=2, time_limit=60.0).fit(digits.x_lab, digits.y_lab).n_steps_ == 2


def test_warm_start_goes_on_from_the_last_networks(tiny, digits):
    model = tiny(max_steps=10).fit(digits.x_lab, digits.y_lab)
    before = losses_of(model, digits.x_test[:50])
    model.set_params(warm_start=True, learning_rate=1e-9, generator_learning_rate=1e-9, max_steps=1)
    goes_on = losses_of(model.fit(digits.x_lab, digits.y_lab), digits.x_test[:50])
    afresh = losses_of(
        model.set_params(warm_start=False).fit(digits.x_lab, digits.y_lab), digits.x_test[:50]
    )
    assert np.abs(goes_on - before).max() < 0.5 * np.abs(afresh - before).max()


def test_warm_start_gets_better(tiny, digits):
    model = tiny(max_steps=15, warm_start=True).fit(digits.x_lab, digits.y_lab)
    first = model.score(digits.x_lab, digits.y_lab)
    for _ in range(2):
        model.fit(digits.x_lab, digits.y_lab)
    assert model.score(digits.x_lab, digits.y_lab) > first + 0.05


def test_warm_start_cannot_put_back_a_level_that_was_taken_off(tiny, digits):
    model = tiny(warm_start=True, margins_train="network").fit(digits.x_lab, digits.y_lab)
    model.fit(digits.x_lab, digits.y_lab)
    with pytest.raises(ValueError, match="whose level was taken off"):
        model.set_params(margins_train="level").fit(digits.x_lab, digits.y_lab)


def test_warm_start_needs_the_same_classes_and_shape(tiny, digits):
    model = tiny(warm_start=True).fit(digits.x_lab, digits.y_lab)
    with pytest.raises(ValueError, match="warm_start=True needs the classes and shape"):
        model.fit(digits.x_lab, digits.y_lab + 1)
    with pytest.raises(ValueError, match="warm_start=True needs the classes and shape"):
        model.fit(digits.x_lab[:, :6], digits.y_lab)
    assert model.predict(digits.x_test).shape == (500,), "the fitted model is as it was"


def test_validation_rows_take_no_part_in_training(tiny, digits):
    held = tiny(validation_fraction=0.3).fit(digits.x_lab, digits.y_lab, digits.x_unl)
    seed = int(check_random_state(0).randint(2**31 - 8))
    train, validation = split_validation(digits.y_lab, 0.3, seed)
    assert len(validation) == 30
    alone = tiny().fit(digits.x_lab[train], digits.y_lab[train], digits.x_unl)
    test = digits.x_test[:50]
    assert (losses_of(held, test) == losses_of(alone, test)).all()
    error = 1 - held.score(digits.x_lab[validation], digits.y_lab[validation])
    assert held.validation_error_ == pytest.approx(error)
    assert alone.validation_error_ is None
    assert any("validation_error" in record for record in held.history_)


# Networks of the user's own


class Pictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(18, 64)

    def forward(self, z, y):
        code = torch.cat([z, nn.functional.one_hot(y, 10).to(z.dtype)], dim=1)
        return torch.tanh(self.linear(code)).view(-1, 1, 8, 8)


def test_given_modules_are_copied_and_trained(tiny, digits):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    generator = Pictures()
    before = [p.clone() for module in (network, generator) for p in module.parameters()]
    options = {"loss_network_options": None, "generator_options": None}
    options |= {"max_steps": 30, "learning_rate": 0.03}
    model = tiny(loss_network=network, generator=generator, **options)
    model.fit(digits.x_lab, digits.y_lab)
    after = [p for module in (network, generator) for p in module.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(p.grad is None for p in after)
    assert model.score(digits.x_lab, digits.y_lab) > 0.5
    assert model.transform(digits.x_test).shape == (500, 10), "logits stand in for features"
    trained = next(model.generator_.parameters())
    assert not torch.equal(trained, generator.linear.weight)


@pytest.mark.parametrize("unlabeled", ["margin", "pseudo_label", "mean_teacher", "fixmatch"])
def test_every_unlabeled_objective_trains(tiny, digits, unlabeled):
    model = tiny(unlabeled=unlabeled, unlabeled_start=0.0, max_steps=4)
    model.fit(digits.x_lab, digits.y_lab, digits.x_unl)
    names = set(model.history_[-1])
    assert ("unlabeled" in names) == (unlabeled != "margin")
    assert "unlabeled_hinge" in names


def test_bf16_predicts_float32(tiny, digits):
    model = tiny(precision="bf16").fit(digits.x_lab, digits.y_lab)
    assert model.precision_ == "bf16-mixed"
    losses = model.predict_loss(digits.x_test)
    assert losses.dtype == np.float32 and np.isfinite(losses).all()
    assert next(model.loss_network_.head.parameters()).dtype == torch.float32


# What a fitted model rests on


def test_later_changes_of_parameters_do_not_touch_a_fitted_model(tiny, digits, tmp_path):
    model = tiny().fit(digits.x_lab, digits.y_lab)
    losses = losses_of(model, digits.x_test[:20])
    samples, _ = model.sample(5, y=3, random_state=0)
    model.set_params(latent_dim=99, objective="paper", noise="uniform", loss_network="paper")
    assert (losses_of(model, digits.x_test[:20]) == losses).all()
    assert (model.sample(5, y=3, random_state=0)[0] == samples).all()
    model.save(tmp_path / "model")
    again = CLSGANClassifier.load(tmp_path / "model")
    assert again.get_params()["latent_dim"] == 99
    assert (losses_of(again, digits.x_test[:20]) == losses).all()
    assert (again.sample(5, y=3, random_state=0)[0] == samples).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"generator": None},
        {"latent_dim": 9},
        {"loss_network_options": {"widths": (8, 8, 8)}},
        {"loss_network": "paper", "loss_network_options": None},
    ],
)
def test_warm_start_refuses_other_networks(tiny, digits, changes):
    model = tiny(warm_start=True).fit(digits.x_lab, digits.y_lab)
    losses = losses_of(model, digits.x_test[:20])
    with pytest.raises(ValueError, match=f"{next(iter(changes))}="):
        model.set_params(**changes).fit(digits.x_lab, digits.y_lab)
    assert (losses_of(model, digits.x_test[:20]) == losses).all()


def test_a_failed_fit_of_rows_keeps_the_model(tiny_rows):
    model = tiny_rows().fit([[0.0, 1.0], [1.0, 0.0]], [0, 1])
    with pytest.raises(ValueError, match="one class only"):
        model.fit([[0.0, 1.0, 2.0], [1.0, 0.0, 2.0]], [1, 1])
    assert model.n_features_in_ == 2
    assert model.predict([[0.0, 1.0]]).shape == (1,)


def test_the_last_record_of_a_long_history_is_saved(tiny_rows, tmp_path):
    model = tiny_rows().fit([[0.0], [1.0]], [0, 1])
    model.history_ = [{"step": i, "labeled": 0.5} for i in range(60_000)]
    model.save(tmp_path / "model")
    history = CLSGANClassifier.load(tmp_path / "model").history_
    assert len(history) == 2000
    assert (history[0]["step"], history[-1]["step"]) == (0, 59_999)


def test_what_is_said_goes_to_standard_error(tiny, digits, capsys):
    tiny(verbose=1, max_steps=1).fit(digits.x_lab, digits.y_lab, digits.x_unl)
    out, err = capsys.readouterr()
    assert out == ""
    assert "100 labeled and 1197 unlabeled images of 8x8 pixels" in err
    assert "layout NHW (assumed from the shape), values 0..16" in err
    tiny(layout="NHW").fit(digits.x_lab, digits.y_lab)
    assert capsys.readouterr() == ("", ""), "verbose=0 is silent"


def test_warm_start_keeps_its_network_when_fewer_rows_come(tiny, digits, monkeypatch) -> None:
    """From some number of rows on the network is wider; one that is there stays as it is."""
    monkeypatch.setattr("clsgan.defaults.networks.MANY_ROWS", len(digits.x_lab) + 50)
    monkeypatch.setattr("clsgan.defaults.networks.WIDE", [8, 8, 24])
    model = tiny(loss_network_options=None, warm_start=True, generator=None)
    model.fit(digits.x_lab, digits.y_lab, digits.x_unl)
    assert model.transform(digits.x_test[:1]).shape == (1, 24)
    model.fit(digits.x_lab, digits.y_lab)
    assert model.transform(digits.x_test[:1]).shape == (1, 24)


def test_a_short_time_gets_the_narrow_network(tiny, digits, monkeypatch, tmp_path) -> None:
    """And what is saved, loaded and trained on is that network."""
    monkeypatch.setattr("clsgan.defaults.networks.MANY_ROWS", 100)
    monkeypatch.setattr("clsgan.defaults.networks.WIDE", [8, 8, 24])
    monkeypatch.setattr("clsgan.defaults.networks.NARROW_FROM", {"float32": 0.0})
    monkeypatch.setattr("clsgan.defaults.networks.WIDE_FROM", {"float32": 1e8})
    options = {"loss_network_options": None, "max_steps": 2, "warm_start": True}
    model = tiny(**options, time_limit=20).fit(digits.x_lab, digits.y_lab)
    features = model.transform(digits.x_test[:5])
    assert features.shape == (5, 128)
    model.save(tmp_path / "model")
    again = CLSGANClassifier.load(tmp_path / "model").transform(digits.x_test[:5])
    np.testing.assert_array_equal(again, features)
    model.set_params(time_limit=None).fit(digits.x_lab, digits.y_lab)
    assert model.transform(digits.x_test[:1]).shape == (1, 128)
    longer = tiny(**options, time_limit=1e9).fit(digits.x_lab, digits.y_lab)
    assert longer.transform(digits.x_test[:1]).shape == (1, 24)


def test_a_model_that_does_not_say_how_wide_it_is_goes_on(tiny, digits) -> None:
    """As those saved before the widths of every image network were kept."""
    options = {"loss_network_options": None, "max_steps": 1, "warm_start": True, "generator": None}
    model = tiny(**options).fit(digits.x_lab, digits.y_lab)
    model._design["loss_network_options"] = None
    model.set_params(time_limit=1e-3).fit(digits.x_lab, digits.y_lab)
    assert model.transform(digits.x_test[:1]).shape == (1, 128)
    afresh = tiny(**options, time_limit=1e-3).fit(digits.x_lab, digits.y_lab)
    assert afresh.transform(digits.x_test[:1]).shape == (1, 64)
