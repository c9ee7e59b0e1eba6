"""The estimator inside scikit-learn: its own checks, and the traps of docs/scikit_learn.md."""

import io
import pickle

import joblib
import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from clsgan import LSGAN, CLSGANClassifier, Unlabeled
from clsgan import estimator as estimator_module


@parametrize_with_checks([CLSGANClassifier()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@parametrize_with_checks([LSGAN(max_steps=5)])
def test_scikit_learn_checks_of_the_density_estimator(estimator, check):
    check(estimator)


def test_a_density_estimator_in_a_pipeline_and_a_search():
    rows = np.random.default_rng(0).normal(size=(60, 2)) * [1, 100]
    pipeline = make_pipeline(StandardScaler(), LSGAN(max_steps=3, random_state=0)).fit(rows)
    assert pipeline.score_samples(rows).shape == (60,) and np.isfinite(pipeline.score(rows))
    search = GridSearchCV(LSGAN(max_steps=3, random_state=0), {"objective": ["wgan", "hinge"]})
    assert search.fit(rows).best_estimator_.sample(4).shape == (4, 2)
    changed = clone(search.best_estimator_).set_params(objective_options={}, penalty="gp")
    assert changed.get_params()["penalty"] == "gp" and not hasattr(changed, "generator_")


@pytest.fixture
def rows(digits):
    """Digits as rows: X_lab, y_lab, as many unlabeled rows, X_test."""
    flat = [
        x.reshape(len(x), 64).astype(float) for x in (digits.x_lab, digits.x_unl, digits.x_test)
    ]
    return flat[0], digits.y_lab, flat[1][:100], flat[2]


@pytest.fixture
def seen_unlabeled(monkeypatch):
    """How many unlabeled rows every `fit` trained on."""
    seen = []
    read = estimator_module.read_training_data

    def spy(*args, **kwargs):
        data = read(*args, **kwargs)
        seen.append(len(data.unlabeled))
        return data

    monkeypatch.setattr(estimator_module, "read_training_data", spy)
    return seen


# Copies


def test_clone_has_the_parameters_and_nothing_learned(tiny, digits):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    model = tiny(loss_network=network, loss_network_options=None, max_steps=1)
    copied = clone(model.fit(digits.x_lab, digits.y_lab))
    assert not hasattr(copied, "classes_")
    ours, its = model.get_params(), copied.get_params()
    assert {k: v for k, v in ours.items() if k != "loss_network"} == {
        k: v for k, v in its.items() if k != "loss_network"
    }
    first, second = (
        one.fit(digits.x_lab, digits.y_lab).predict_loss(digits.x_test[:9])
        for one in (model, copied)
    )
    assert (first == second).all()


def dump_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


@pytest.mark.parametrize(
    "copied",
    [lambda model: pickle.loads(pickle.dumps(model)), dump_joblib],
    ids=["pickle", "joblib"],
)
def test_pickles_predict_and_sample_the_same(tiny, digits, copied):
    model = tiny().fit(digits.x_lab, digits.y_lab, digits.x_unl[:50])
    again = copied(model)
    assert (again.predict_loss(digits.x_test) == model.predict_loss(digits.x_test)).all()
    ours, its = model.sample(4, random_state=0), again.sample(4, random_state=0)
    assert (ours[0] == its[0]).all() and (ours[1] == its[1]).all()
    assert again.history_ == model.history_
    again.set_params(warm_start=True).fit(digits.x_lab, digits.y_lab)
    assert (again.predict_loss(digits.x_test) != model.predict_loss(digits.x_test)).any()


def test_pickling_does_not_move_the_networks_of_the_fitted_model(tiny, digits):
    model = tiny(max_steps=1).fit(digits.x_lab, digits.y_lab)
    network = model.loss_network_
    pickle.dumps(model)
    assert model.loss_network_ is network


# Searches, and the trap of folds


def test_grid_search_on_images(tiny, digits):
    search = GridSearchCV(tiny(), {"hinge_weight": [0.0, 0.5], "max_steps": [2, 3]}, cv=2)
    search.fit(digits.x_lab, digits.y_lab, X_unlab=Unlabeled(digits.x_unl))
    assert set(search.best_params_) == {"hinge_weight", "max_steps"}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(digits.x_test).shape == (500,)


def test_folds_cut_unlabeled_rows_that_are_as_many_as_the_labeled(tiny_rows, rows, seen_unlabeled):
    """The trap itself: if scikit-learn stops doing this, the documentation can say so."""
    X, y, X_unlab, _ = rows
    GridSearchCV(tiny_rows(), {"max_steps": [1]}, cv=2, refit=False).fit(X, y, X_unlab=X_unlab)
    assert seen_unlabeled == [50, 50]


def test_wrapped_unlabeled_rows_reach_every_fold_whole(tiny_rows, rows, seen_unlabeled):
    X, y, X_unlab, _ = rows
    search = GridSearchCV(tiny_rows(), {"max_steps": [1]}, cv=2)
    search.fit(X, y, X_unlab=Unlabeled(X_unlab))
    assert seen_unlabeled == [100, 100, 100], "two folds and the refit"


def test_wrapped_unlabeled_rows_with_metadata_routing(tiny_rows, rows, seen_unlabeled):
    X, y, X_unlab, _ = rows
    with sklearn.config_context(enable_metadata_routing=True):
        model = tiny_rows().set_fit_request(X_unlab=True)
        search = GridSearchCV(model, {"max_steps": [1]}, cv=2, refit=False)
        search.fit(X, y, X_unlab=Unlabeled(X_unlab))
    assert seen_unlabeled == [100, 100]


def test_cross_validation_with_minus_one(tiny_rows, rows):
    X, y, X_unlab, _ = rows
    X, y = np.concatenate([X, X_unlab]), np.concatenate([y, np.full(len(X_unlab), -1)])
    model = tiny_rows(max_steps=30)
    own = cross_val_score(model, X, y, cv=2, error_score="raise")
    by_name = cross_val_score(model, X, y, cv=2, scoring="accuracy", error_score="raise")
    assert np.allclose(by_name, own / 2), "half of the rows of a fold are unlabeled"


def test_score_ignores_minus_one_and_accuracy_does_not(tiny_rows, rows):
    X, y, X_unlab, _ = rows
    X, y = np.concatenate([X, X_unlab]), np.concatenate([y, np.full(len(X_unlab), -1)])
    model = tiny_rows(max_steps=30).fit(X, y)
    assert model.score(X, y) == pytest.approx(2 * accuracy_score(y, model.predict(X)))
    assert model.score(X, y) > 0.5


# Pipelines


def test_a_plain_pipeline_leaves_unlabeled_rows_unscaled_and_fit_refuses(tiny_rows, rows):
    X, y, X_unlab, _ = rows
    pipeline = make_pipeline(StandardScaler(), tiny_rows())
    with pytest.raises(ValueError, match=r"transform_input=\['X_unlab'\] and metadata routing"):
        pipeline.fit(1000 * X, y, clsganclassifier__X_unlab=1000 * X_unlab)


def test_a_pipeline_with_transform_input_scales_unlabeled_rows(tiny_rows, rows):
    X, y, X_unlab, X_test = rows
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = Pipeline(
            [
                ("scale", StandardScaler()),
                ("classify", tiny_rows().set_fit_request(X_unlab=True)),
            ],
            transform_input=["X_unlab"],
        )
        pipeline.fit(1000 * X, y, X_unlab=1000 * X_unlab)
    scaler = StandardScaler().fit(1000 * X)
    by_hand = tiny_rows().fit(scaler.transform(1000 * X), y, scaler.transform(1000 * X_unlab))
    expected = by_hand.predict_proba(scaler.transform(1000 * X_test))
    assert np.allclose(pipeline.predict_proba(1000 * X_test), expected, atol=1e-6)


def test_as_a_step_that_gives_features(tiny_rows, rows):
    X, y, _, X_test = rows
    pipeline = make_pipeline(tiny_rows(max_steps=30), LogisticRegression(max_iter=500))
    assert pipeline.fit(X, y).predict(X_test).shape == (500,)
    assert pipeline[-1].n_features_in_ == 16


# Meta-estimators on images


def test_calibration_on_images(tiny, digits):
    images, X_unlab = digits.x_lab[..., None], Unlabeled(digits.x_unl[..., None])
    calibrated = CalibratedClassifierCV(tiny(), cv=2).fit(images, digits.y_lab, X_unlab=X_unlab)
    probabilities = calibrated.predict_proba(digits.x_test[..., None])
    assert probabilities.shape == (500, 10)
    assert np.allclose(probabilities.sum(axis=1), 1)


def test_voting_on_images(tiny, digits):
    models = [("a", tiny()), ("b", tiny(random_state=1))]
    voting = VotingClassifier(models, voting="soft").fit(digits.x_lab, digits.y_lab)
    expected = np.mean([m.predict_proba(digits.x_test) for m in voting.estimators_], axis=0)
    assert (voting.predict_proba(digits.x_test) == expected).all()


def test_bad_parameters_in_a_search_speak(tiny, digits):
    search = GridSearchCV(tiny(), {"optimizer": ["adm"]}, cv=2, error_score="raise")
    with pytest.raises(ValueError, match="did you mean 'adam'"):
        search.fit(digits.x_lab, digits.y_lab)


# Output containers, and processes


def test_set_output(tiny_rows, rows):
    pandas = pytest.importorskip("pandas")
    X, y, _, X_test = rows
    model = tiny_rows().fit(X, y).set_output(transform="pandas")
    frame = model.transform(X_test)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(model.get_feature_names_out())


def test_set_output_default_keeps_arrays(tiny_rows, rows):
    X, y, _, X_test = rows
    model = tiny_rows().fit(X, y).set_output(transform="default")
    assert isinstance(model.transform(X_test), np.ndarray)


@pytest.mark.slow
def test_searches_in_parallel_processes(tiny_rows, rows):
    X, y, X_unlab, _ = rows
    grid = {"max_steps": [2, 3]}
    scores = [
        GridSearchCV(tiny_rows(), grid, cv=2, n_jobs=n, refit=False, error_score="raise")
        .fit(X, y, X_unlab=Unlabeled(X_unlab))
        .cv_results_["mean_test_score"]
        for n in (1, 2)
    ]
    assert (scores[0] == scores[1]).all()


def test_threads_do_not_disturb_each_other(tiny_rows, rows):
    X, y, _, X_test = rows
    alone = [tiny_rows(random_state=k).fit(X, y).predict_loss(X_test) for k in range(2)]
    state = torch.get_rng_state()
    together = joblib.Parallel(n_jobs=2, backend="threading")(
        joblib.delayed(tiny_rows(random_state=k).fit)(X, y) for k in range(2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    for model, expected in zip(together, alone, strict=True):
        assert np.allclose(model.predict_loss(X_test), expected, atol=1e-5)
