"""scikit-learn's estimators, each fitted to one target and kept as arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from focusmap.basics import InputError, MissingPartError
from focusmap.models.scorers import Linear, Neighbours, Radial, Scorer, Trees
from focusmap.study import Sampling

N_TREES = 200
N_NEIGHBOURS = 5
BOOSTING: Mapping[str, float | int | bool] = {
    "max_iter": 150, "learning_rate": 0.05, "max_leaf_nodes": 15, "min_samples_leaf": 20, "early_stopping": False,
}  # fmt: skip


@dataclass(frozen=True)
class Estimator:
    """How one kind of estimator is fitted.

    Parameters
    ----------
    classify
        From ``(N, K)`` rows, ``(N,) int`` classes 0 to m - 1, all present, and a seed to a scorer: ``(N, 1)`` of the
        second of two classes, else ``(N, m)``.
    regress
        From rows, values and seed to a scorer ``(N, 1)``; None where the estimator knows classes only.
    is_scaled
        Whether rows are standardised first; otherwise scale does not matter to it, or must stay.
    gives_logits
        Whether its scores are log-odds already.
    gives_shares
        Whether its scores are shares between 0 and 1.
    """

    classify: Callable[[np.ndarray, np.ndarray, int], Scorer]
    regress: Callable[[np.ndarray, np.ndarray, int], Scorer] | None
    is_scaled: bool = True
    gives_logits: bool = False
    gives_shares: bool = False


def _logistic(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1.0, max_iter=2000, random_state=seed).fit(x, y)
    return Linear(fitted.coef_, fitted.intercept_)


def _ridge(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    from sklearn.linear_model import Ridge

    fitted = Ridge(alpha=1.0, random_state=seed).fit(x, y)
    return Linear(fitted.coef_[None], np.atleast_1d(fitted.intercept_))


def _svm(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    # One class against the rest, where there are several.
    from sklearn.svm import LinearSVC

    fitted = LinearSVC(C=1.0, max_iter=20_000, random_state=seed).fit(x, y)
    return Linear(fitted.coef_, fitted.intercept_)


def _svm_of_values(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    from sklearn.svm import LinearSVR

    centre, spread = float(y.mean()), float(y.std()) or 1.0
    fitted = LinearSVR(C=1.0, max_iter=20_000, random_state=seed).fit(x, (y - centre) / spread)
    return Linear(fitted.coef_[None] * spread, np.atleast_1d(fitted.intercept_) * spread + centre)


def _radial(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    from sklearn.svm import SVC

    gamma = _gamma(x)
    sides = [y == label for label in range(y.max() + 1)] if y.max() > 1 else [y == 1]
    machines = [SVC(C=1.0, gamma=gamma, random_state=seed).fit(x, side) for side in sides]
    return _radial_scorer(x, machines, gamma)


def _radial_of_values(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    from sklearn.svm import SVR

    del seed
    centre, spread, gamma = float(y.mean()), float(y.std()) or 1.0, _gamma(x)
    standardised = _radial_scorer(x, [SVR(C=1.0, gamma=gamma).fit(x, (y - centre) / spread)], gamma)
    return Radial(
        standardised.vectors, standardised.weights * spread, standardised.bias * spread + centre, standardised.gamma
    )


def _gamma(x: np.ndarray) -> float:
    # scikit-learn's "scale".
    return 1.0 / (float(x.shape[1]) * (float(x.var()) or 1.0))


def _radial_scorer(x: np.ndarray, machines: Sequence["SupportVectors"], gamma: float) -> Radial:
    weights = np.zeros((len(machines), len(x)))
    for row, machine in zip(weights, machines, strict=True):
        row[machine.support_] = machine.dual_coef_[0]
    used = weights.any(axis=0)
    bias = np.array([machine.intercept_[0] for machine in machines])
    return Radial(x[used], weights[:, used], bias, np.array([gamma]))


class SupportVectors:
    """What is read of scikit-learn's SVC and SVR."""

    support_: np.ndarray
    dual_coef_: np.ndarray
    intercept_: np.ndarray


def _forest(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    from sklearn.ensemble import RandomForestClassifier

    fitted = RandomForestClassifier(N_TREES, min_samples_leaf=2, random_state=seed).fit(x, y)
    shares = [tree.tree_.value[:, 0] / tree.tree_.value[:, 0].sum(axis=1, keepdims=True) for tree in fitted.estimators_]
    wanted = slice(1, 2) if y.max() == 1 else slice(None)
    return _forest_trees([tree.tree_ for tree in fitted.estimators_], [share[:, wanted] for share in shares])


def _forest_of_values(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    from sklearn.ensemble import RandomForestRegressor

    fitted = RandomForestRegressor(N_TREES, min_samples_leaf=2, random_state=seed).fit(x, y)
    return _forest_trees(
        [tree.tree_ for tree in fitted.estimators_], [tree.tree_.value[:, 0] for tree in fitted.estimators_]
    )


class Grown:
    """What is read of scikit-learn's trees."""

    children_left: np.ndarray
    children_right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray


def _forest_trees(trees: Sequence[Grown], values: Sequence[np.ndarray]) -> Trees:
    parts = [(t.children_left < 0, t.feature, t.threshold, t.children_left, t.children_right) for t in trees]
    return _stacked_trees(parts, [value / len(trees) for value in values], np.zeros(values[0].shape[1]))


Nodes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Of one tree: whether a node is a leaf, its feature and threshold, and the nodes to its left and right."""


def _stacked_trees(trees: Sequence[Nodes], values: Sequence[np.ndarray], bias: np.ndarray) -> Trees:
    roots = np.cumsum([0, *(len(tree[0]) for tree in trees[:-1])])
    columns: list[list[np.ndarray]] = [[], [], [], []]
    for root, (is_leaf, feature, threshold, left, right) in zip(roots, trees, strict=True):
        here = root + np.arange(len(is_leaf))
        columns[0].append(np.where(is_leaf, 0, feature).astype(np.int32))
        columns[1].append(np.where(is_leaf, 0.0, threshold))
        columns[2].append(np.where(is_leaf, here, root + left.astype(np.int64)).astype(np.int32))
        columns[3].append(np.where(is_leaf, here, root + right.astype(np.int64)).astype(np.int32))
    feature, threshold, left, right = (np.concatenate(column) for column in columns)
    return Trees(feature, threshold, left, right, np.concatenate(values), roots.astype(np.int32), bias)


def _boosting(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    from sklearn.ensemble import HistGradientBoostingClassifier

    fitted = HistGradientBoostingClassifier(**BOOSTING, random_state=seed).fit(x, y)
    return _checked_trees(fitted, x[:64], fitted.decision_function)


def _boosting_of_values(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    from sklearn.ensemble import HistGradientBoostingRegressor

    fitted = HistGradientBoostingRegressor(**BOOSTING, random_state=seed).fit(x, y)
    return _checked_trees(fitted, x[:64], fitted.predict)


class Boosted:
    """What is read of scikit-learn's histogram gradient boosting; it has no public name for its trees."""

    _predictors: Sequence[Sequence["Boosted"]]
    _baseline_prediction: np.ndarray
    nodes: np.ndarray


def _boosted(fitted: Boosted) -> Trees:
    bias = np.asarray(fitted._baseline_prediction, dtype=np.float64).reshape(-1)
    trees, values = [], []
    for of_classes in fitted._predictors:
        for position, tree in enumerate(of_classes):
            nodes = tree.nodes
            is_leaf = nodes["is_leaf"].astype(bool)
            trees.append((is_leaf, nodes["feature_idx"], nodes["num_threshold"], nodes["left"], nodes["right"]))
            value = np.zeros((len(nodes), len(bias)))
            value[is_leaf, position] = nodes["value"][is_leaf]
            values.append(value)
    return _stacked_trees(trees, values, bias)


def _checked_trees(fitted: Boosted, rows: np.ndarray, peer: Callable[[np.ndarray], np.ndarray]) -> Trees:
    """Return the trees, held to what scikit-learn itself says of a few rows: no name read here is promised to stay."""
    try:
        trees, expected = _boosted(fitted), peer(rows)
        is_same = np.allclose(trees(rows).reshape(expected.shape), expected, atol=1e-6)
    except (AttributeError, LookupError, TypeError, ValueError):
        is_same = False
    if not is_same:
        raise MissingPartError(
            f"scikit-learn {version('scikit-learn')} keeps its boosted trees in a way that this version of focusmap "
            "cannot read. Install another scikit-learn, or choose another estimator, such as forest."
        )
    return trees


def _nearest(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    del seed
    one_hot = (y[:, None] == np.arange(y.max() + 1)).astype(np.float32)
    return Neighbours(x, one_hot[:, 1:] if y.max() == 1 else one_hot, np.array([min(N_NEIGHBOURS, len(x))]))


def _nearest_of_values(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    del seed
    return Neighbours(x, y[:, None], np.array([min(N_NEIGHBOURS, len(x))]))


def _centroid(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    """Return -|x - c|^2 / 2, half the squared distance to each class's mean, less |x|^2 / 2, which all share."""
    from sklearn.neighbors import NearestCentroid

    del seed
    centres = NearestCentroid().fit(x, y).centroids_
    return _difference_of_two(Linear(centres, -0.5 * np.square(centres).sum(axis=1)))


def _naive_bayes(x: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    from sklearn.naive_bayes import MultinomialNB

    del seed
    fitted = MultinomialNB().fit(x, y)
    return _difference_of_two(Linear(fitted.feature_log_prob_, fitted.class_log_prior_))


def _difference_of_two(scores: Linear) -> Linear:
    """Return the second class's score less the first's where there are two."""
    if len(scores.bias) > 2:
        return scores
    return Linear(scores.weights[1:] - scores.weights[:1], scores.bias[1:] - scores.bias[:1])


FITS: Mapping[str, Estimator] = {
    "logistic": Estimator(_logistic, _ridge, gives_logits=True),
    "svm": Estimator(_svm, _svm_of_values),
    "rbf-svm": Estimator(_radial, _radial_of_values),
    "forest": Estimator(_forest, _forest_of_values, is_scaled=False, gives_shares=True),
    "gradient-boosting": Estimator(_boosting, _boosting_of_values, is_scaled=False, gives_logits=True),
    "nearest": Estimator(_nearest, _nearest_of_values, gives_shares=True),
    "centroid": Estimator(_centroid, None),
    "naive-bayes": Estimator(_naive_bayes, None, is_scaled=False),
}


def resampled(classes: np.ndarray, sampling: Sampling, seed: int) -> np.ndarray:
    """Return positions of rows of which all classes have as many: the rare repeated, the common left out, or both.

    >>> classes = np.array([0, 0, 0, 0, 1, 1])
    >>> [np.bincount(classes[resampled(classes, how, 0)]).tolist() for how in ("all", "over", "under", "weighted")]
    [[4, 2], [4, 4], [2, 2], [3, 3]]
    """
    if sampling == "all":
        return np.arange(len(classes))
    generator, counts = np.random.default_rng(seed), np.bincount(classes)
    counts = counts[counts > 0]
    wanted = {"over": counts.max(), "under": counts.min(), "weighted": round(counts.mean())}[sampling]
    drawn = []
    for label in np.unique(classes):
        members = generator.permutation(np.flatnonzero(classes == label))
        drawn.append(np.resize(members, wanted))
    return np.sort(np.concatenate(drawn))


def check_kinds(estimator: str, continuous: Sequence[str]) -> None:
    """Raise `InputError` if an estimator that knows classes only is asked for values."""
    if continuous and FITS[estimator].regress is None:
        raise InputError(f"{estimator} tells classes apart; {', '.join(continuous)} is continuous. Try forest.")
