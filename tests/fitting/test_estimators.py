"""Estimators kept as arrays answer as scikit-learn does; unknown truths, rare classes and constants are met."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.svm import SVC, LinearSVC

from focusmap.basics import InputError, ModelError
from focusmap.fitting.estimators import BOOSTING, FITS, N_TREES
from focusmap.fitting.fit_targets import Rows, fit_target, screened
from focusmap.models.scorers import form_of, from_arrays, to_arrays
from focusmap.models.target_model import target_model_from
from focusmap.study import Target, parse_model
from focusmap.study.recipe_parts import ESTIMATORS

rng = np.random.default_rng(0)
X = rng.normal(size=(160, 5)).astype(np.float32)
TWO = (X[:, 0] + 0.5 * rng.normal(size=160) > 0).astype(np.int64)
THREE = np.digitize(X[:, 0] + 0.3 * rng.normal(size=160), (-0.5, 0.5))
VALUES = 3 * X[:, 0] - X[:, 1] ** 2 + 100
PATIENTS = np.array([f"p{i // 2}" for i in range(160)])
CLASSES = Target("grade", "multiclass", ("a", "b", "c"))


def test_every_estimator_that_has_a_name_can_be_fitted():
    assert set(FITS) == set(ESTIMATORS)


@pytest.mark.parametrize("y", [TWO, THREE])
@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("logistic", LogisticRegression(max_iter=2000, random_state=0)),
        ("svm", LinearSVC(max_iter=20_000, random_state=0)),
        ("gradient-boosting", HistGradientBoostingClassifier(**BOOSTING, random_state=0)),
    ],
)
def test_scores_are_those_of_scikit_learns_decision_function(name, peer, y):
    found = FITS[name].classify(X, y, 0)(X)
    np.testing.assert_allclose(found.squeeze(), peer.fit(X, y).decision_function(X), atol=1e-5)


@pytest.mark.parametrize("y", [TWO, THREE])
@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("forest", RandomForestClassifier(N_TREES, min_samples_leaf=2, random_state=0)),
        ("nearest", KNeighborsClassifier(5)),
    ],
)
def test_shares_are_scikit_learns_probabilities(name, peer, y):
    shares = peer.fit(X, y).predict_proba(X)
    found = FITS[name].classify(X, y, 0)(X)
    np.testing.assert_allclose(found, shares if y.max() > 1 else shares[:, 1:], atol=1e-6)


def test_the_radial_machine_is_scikit_learns_class_against_the_rest():
    found = FITS["rbf-svm"].classify(X, THREE, 0)(X)
    for label in range(3):
        expected = SVC(gamma="scale").fit(X, label == THREE).decision_function(X)
        np.testing.assert_allclose(found[:, label], expected, atol=1e-4)


def test_the_nearest_centre_is_scikit_learns():
    found = FITS["centroid"].classify(X, THREE, 0)(X).argmax(axis=1)
    np.testing.assert_array_equal(found, NearestCentroid().fit(X, THREE).predict(X))


def test_naive_bayes_is_scikit_learns():
    counts = rng.poisson(3, size=(160, 8)) + THREE[:, None] * np.arange(8)
    found = FITS["naive-bayes"].classify(counts, THREE, 0)(counts)
    expected = MultinomialNB().fit(counts, THREE).predict_joint_log_proba(counts)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("logistic", Ridge(alpha=1.0)),
        ("forest", RandomForestRegressor(N_TREES, min_samples_leaf=2, random_state=0)),
        ("gradient-boosting", HistGradientBoostingRegressor(**BOOSTING, random_state=0)),
    ],
)
def test_values_are_scikit_learns(name, peer):
    regress = FITS[name].regress
    np.testing.assert_allclose(regress(X, VALUES, 0)(X)[:, 0], peer.fit(X, VALUES).predict(X), rtol=1e-5)


# scikit-learn says something else than its trees as they are read, or has another name for them.
MISREAD = """
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier as Boosting
from focusmap.fitting.estimators import FITS

assert False, "asserts are on"
fit = Boosting.fit

def changed(self, x, y):
    fitted = fit(self, x, y)
    {change}
    return fitted

Boosting.fit = changed
x = np.random.default_rng(0).normal(size=(80, 3))
FITS["gradient-boosting"].classify(x, (x[:, 0] > 0).astype(np.int64), 0)
"""
CHANGES = ("fitted.decision_function = lambda x: x[:, 0]", "del fitted._predictors")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.slow
def test_trees_that_are_read_wrongly_are_refused_without_asserts_too(change):
    program = [sys.executable, "-O", "-c", MISREAD.format(change=change)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "keeps its boosted trees in a way that this version of focusmap cannot read" in done.stderr


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "naive-bayes"])
def test_each_learns_and_comes_back_from_its_arrays(name):
    model = fit_target(CLASSES, name, Rows(X, THREE.astype(float), PATIENTS), "all", 0)
    logits = model(X)
    assert (logits.argmax(axis=1) == THREE).mean() > 0.6
    again = target_model_from("0", form_of(model.scorer), model.to_arrays("0"))
    np.testing.assert_array_equal(again(X), logits)


@pytest.mark.parametrize("name", ["svm", "rbf-svm", "forest", "nearest", "centroid"])
def test_scores_that_are_no_log_odds_are_calibrated_on_rows_that_were_held_out(name):
    """A label that is noise: the fit on train is good, yet the mean probability is the share, and none is sure."""
    noise = np.random.default_rng(1).integers(0, 2, 160)
    logits = fit_target(Target("a"), name, Rows(X, noise.astype(float), PATIENTS), "all", 0)(X)
    fresh = fit_target(Target("a"), name, Rows(X, noise.astype(float), PATIENTS), "all", 0)(rng.normal(size=(500, 5)))
    assert np.isfinite(logits).all()
    assert abs((1 / (1 + np.exp(-fresh))).mean() - noise.mean()) < 0.15
    assert np.abs(fresh).mean() < 1.0


@pytest.mark.parametrize("sampling", ["over", "under", "weighted"])
def test_uneven_sampling_leaves_the_probabilities_as_they_are_on_train(sampling):
    rare = (X[:, 0] > 1.2).astype(float)
    logits = fit_target(Target("a"), "logistic", Rows(X, rare, PATIENTS), sampling, 0)(X)
    assert abs((1 / (1 + np.exp(-logits))).mean() - rare.mean()) < 0.05


@pytest.mark.parametrize("name", ["logistic", "forest"])
def test_screening_leaves_out_negatives_that_are_told_easily_and_not_the_probabilities(name):
    """Negatives far off are not shown; those beside the positives are, at least as many as there are positives."""
    rare = (X[:, 0] + np.random.default_rng(1).normal(0, 0.5, len(X)) > 1.0).astype(float)
    rows = Rows(X, rare, PATIENTS)
    found = screened(rows, name, 0.95, 0)
    shown, negative = found.shown, rare == 0
    assert shown[rare == 1].all()
    assert rare.sum() <= shown[negative].sum() < negative.sum()
    assert X[negative & shown, 0].mean() > X[negative & ~shown, 0].mean() + 0.5
    answer = fit_target(Target("a"), name, found, "all", 0)(X)[:, 0]
    assert abs((1 / (1 + np.exp(-answer))).mean() - rare.mean()) < 0.05
    assert (answer[rare == 1].mean() - answer[negative].mean()) > 1.5


def test_screening_needs_both_classes_and_patients_to_hold_out():
    one_class, few = Rows(X, np.zeros(len(X)), PATIENTS), np.zeros(len(X))
    few[:1] = 1
    assert screened(one_class, "logistic", 0.5, 0) is one_class
    assert screened(Rows(X, few, PATIENTS), "logistic", 0.5, 0).shown is None


def test_screening_never_leaves_fewer_negatives_than_positives():
    even = (X[:, 0] > 0).astype(float)
    found = screened(Rows(X, even, PATIENTS), "logistic", 0.01, 0)
    assert found.shown[even == 0].sum() == min(even.sum(), (even == 0).sum())


def test_a_class_that_train_lacks_is_never_likely():
    two_of_three = np.where(THREE == 2, 0, THREE).astype(float)
    logits = fit_target(CLASSES, "logistic", Rows(X, two_of_three, PATIENTS), "all", 0)(X)
    assert logits.shape == (160, 3)
    assert (logits[:, 2] < logits[:, :2].min(axis=1) - 10).all()
    binary = fit_target(Target("a"), "logistic", Rows(X, two_of_three, PATIENTS), "all", 0)(X)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], binary[:, 0])


@pytest.mark.parametrize("target", [Target("a"), CLASSES, Target("v", "continuous")])
@pytest.mark.parametrize("n", [0, 1, 9])
def test_where_train_has_one_value_it_is_the_answer(target, n):
    answer = fit_target(target, "forest", Rows(X[:n], np.ones(n), PATIENTS[:n]), "all", 0)(X[:3])
    assert answer.shape == (3, target.n_logits)
    assert np.isfinite(answer).all()
    if n and target.kind == "continuous":
        np.testing.assert_array_equal(answer, 1.0)
    if n and target.kind == "binary":
        assert (answer > 0).all()


def test_damaged_trees_are_refused_before_anyone_walks_them():
    arrays = to_arrays(FITS["forest"].classify(X, TWO, 0), "0")
    circle = {**arrays, "0.left": np.zeros_like(arrays["0.left"])}
    with pytest.raises(ModelError, match="its trees are damaged"):
        from_arrays("trees", circle, "0")
    with pytest.raises(ModelError, match="lacks value"):
        from_arrays("trees", {key: value for key, value in arrays.items() if key != "0.value"}, "0")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hogg+svm", "feature 'hogg' is not one of .* Did you mean 'hog'"),
        ("hog+svn", "estimator 'svn' is not one of"),
        ("hog+naive-bayes", "naive-bayes takes counts: histogram"),
        ("naive-bayes", "naive-bayes takes counts"),
    ],
)
def test_an_unknown_part_of_a_name_is_said(name, message):
    with pytest.raises(InputError, match=message):
        parse_model(name)


@pytest.mark.parametrize("name", ["forest", "svm", "rbf-svm", "nearest", "centroid"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_calibration_never_turns_a_model_upside_down(name, seed):
    """Of random labels held-out scores tell the opposite; the model itself must not."""
    from sklearn.metrics import roc_auc_score

    from focusmap.fitting.fit_targets import Rows, fit_target

    rng = np.random.default_rng(seed)
    values, truth = rng.normal(size=(120, 8)), rng.integers(0, 2, 120).astype(float)
    model = fit_target(Target("a"), name, Rows(values, truth, np.arange(120)), "all", seed)
    assert model.readout.weights.min() > 0
    assert roc_auc_score(truth, model(values)[:, 0]) > 0.5
