"""The fast path of regressions gives what scikit-learn gives, on fewer rows than features and on more."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from focusmap.fitting.regularisation_path import basis_of, logistic_path, ridge_path

STRENGTHS = (1e-3, 1e-2, 1e-1)


def rows(n: int, n_features: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, n_features)) * rng.uniform(0.1, 10, n_features) + rng.normal(size=n_features)
    return features, features[:, :3] @ rng.normal(size=3) / features[:, :3].std()


def standardised(features: np.ndarray) -> np.ndarray:
    return (features - features.mean(axis=0)) / features.std(axis=0)


@pytest.mark.parametrize(("n", "n_features"), [(60, 200), (200, 30)])
def test_two_classes_are_scikit_learns(n: int, n_features: int) -> None:
    features, score = rows(n, n_features)
    truth = (score > np.median(score)).astype(float)
    for strength, found in zip(STRENGTHS, logistic_path(basis_of(features), truth[:, None], STRENGTHS), strict=True):
        theirs = LogisticRegression(C=strength, max_iter=10_000, tol=1e-8).fit(standardised(features), truth)
        expected = theirs.decision_function(standardised(features))
        assert np.allclose(found(features)[:, 0], expected, atol=2e-3)


@pytest.mark.parametrize(("n", "n_features"), [(60, 200), (200, 30)])
def test_several_classes_are_scikit_learns(n: int, n_features: int) -> None:
    features, score = rows(n, n_features)
    classes = np.digitize(score, np.quantile(score, [0.3, 0.6]))
    path = logistic_path(basis_of(features), np.eye(3)[classes], STRENGTHS, exclusive=True)
    for strength, found in zip(STRENGTHS, path, strict=True):
        theirs = LogisticRegression(C=strength, max_iter=10_000, tol=1e-8).fit(standardised(features), classes)
        shown = found(features)
        expected = theirs.decision_function(standardised(features))
        assert np.allclose(shown - shown.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True), atol=2e-3)


def test_labels_side_by_side_are_each_its_own_and_unknown_truth_is_left_out() -> None:
    features, score = rows(80, 40)
    truth = np.stack([score > 0, score > np.quantile(score, 0.9)], axis=1).astype(float)
    truth[:20, 0] = np.nan
    found = logistic_path(basis_of(features), truth, (1e-2,))[0](features)
    standard = standardised(features)
    for label, known in enumerate([np.arange(20, 80), np.arange(80)]):
        theirs = LogisticRegression(C=1e-2, max_iter=10_000, tol=1e-8).fit(standard[known], truth[known, label])
        assert np.allclose(found[:, label], theirs.decision_function(standard), atol=2e-3)


def test_values_are_scikit_learns_ridge() -> None:
    features, score = rows(60, 200)
    found = ridge_path(basis_of(features), score[:, None], (1e-2,))[0](features)
    theirs = Ridge(alpha=1 / (2 * 1e-2)).fit(standardised(features), score)
    assert np.allclose(found[:, 0], theirs.predict(standardised(features)), atol=1e-6)


def test_a_constant_feature_and_a_label_without_positives_do_no_harm() -> None:
    features, score = rows(40, 10)
    features[:, 4] = 7.0
    truth = np.stack([score > 0, np.zeros(40)], axis=1).astype(float)
    found = logistic_path(basis_of(features), truth, (1e-2,))[0]
    assert np.isfinite(found(features)).all()
    assert found(features)[:, 1].max() < 0
