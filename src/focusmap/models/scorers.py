"""Fitted estimators as arrays: what they say of rows of numbers, without the library that fitted them.

Arrays can be saved without a pickle, which could hold a program, and read by any later version of scikit-learn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from focusmap.basics import ModelError

BLOCK = 4096


@dataclass(frozen=True)
class Linear:
    """Scores W x + b: `weights` ``(n, K)`` and `bias` ``(n,)``."""

    weights: np.ndarray
    bias: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the scores ``(N, n)`` of rows ``(N, K)``."""
        return np.asarray(x @ self.weights.T + self.bias)


@dataclass(frozen=True)
class Radial:
    """Scores sum_s a_s exp(-g |x - v_s|^2) + b of a machine with radial basis functions.

    Parameters
    ----------
    vectors, weights, bias
        ``(S, K)``, ``(n, S)``, ``(n,)``.
    gamma
        ``(1,)``.
    """

    vectors: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    gamma: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the scores ``(N, n)`` of rows ``(N, K)``."""
        from sklearn.metrics.pairwise import rbf_kernel

        parts = [rbf_kernel(x[i : i + BLOCK], self.vectors, self.gamma[0]) for i in range(0, len(x), BLOCK)]
        kernel = np.concatenate(parts or [np.empty((0, len(self.vectors)))])
        return np.asarray(kernel @ self.weights.T + self.bias)


@dataclass(frozen=True)
class Trees:
    """Scores summed over decision trees.

    Parameters
    ----------
    feature, threshold, left, right
        ``(M,)``: of all nodes of all trees; x goes left where x[feature] <= threshold. A leaf is its own left and
        right.
    value
        ``(M, n)``: what a leaf adds.
    roots, bias
        ``(T,)`` first node of each tree, and ``(n,)``.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    roots: np.ndarray
    bias: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the scores ``(N, n)`` of rows ``(N, K)``."""
        rows = np.arange(len(x))[:, None]
        node = np.broadcast_to(self.roots, (len(x), len(self.roots)))
        while True:
            goes_left = x[rows, self.feature[node]] <= self.threshold[node]
            following = np.where(goes_left, self.left[node], self.right[node])
            if (following == node).all():
                break
            node = following
        total = np.zeros((len(x), self.value.shape[1]))
        for column in node.T:
            total += self.value[column]
        return np.asarray(total + self.bias)


@dataclass(frozen=True)
class Neighbours:
    """Scores averaged over the nearest rows of train: `points` ``(M, K)``, their `values` ``(M, n)``, `k` ``(1,)``."""

    points: np.ndarray
    values: np.ndarray
    k: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the scores ``(N, n)`` of rows ``(N, K)``."""
        from sklearn.neighbors import NearestNeighbors

        if not len(x):
            return np.empty((0, self.values.shape[1]))
        nearest = NearestNeighbors(n_neighbors=int(self.k[0])).fit(self.points)
        near = self.values[nearest.kneighbors(x, return_distance=False)]
        return np.asarray(near.mean(axis=1))


Scorer = Linear | Radial | Trees | Neighbours
FORMS: Mapping[str, type[Linear] | type[Radial] | type[Trees] | type[Neighbours]] = {
    "linear": Linear, "radial": Radial, "trees": Trees, "neighbours": Neighbours,
}  # fmt: skip


def form_of(scorer: Scorer) -> str:
    """Return the name of a scorer's form."""
    return next(name for name, form in FORMS.items() if isinstance(scorer, form))


def to_arrays(scorer: Scorer, prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays of a scorer, each named ``PREFIX.FIELD``."""
    return {f"{prefix}.{item.name}": np.ascontiguousarray(getattr(scorer, item.name)) for item in fields(scorer)}


def from_arrays(form: str, arrays: Mapping[str, np.ndarray], prefix: str) -> Scorer:
    """Read what `to_arrays` gave; `ModelError` if the form is unknown, or an array missing or out of bounds."""
    if form not in FORMS:
        raise ModelError(f"a scorer of the form {form!r} is not one of {', '.join(FORMS)}.")
    names = [item.name for item in fields(FORMS[form])]
    missing = [name for name in names if f"{prefix}.{name}" not in arrays]
    if missing:
        raise ModelError(f"{prefix} lacks {', '.join(missing)}.")
    scorer: Scorer = FORMS[form](*(arrays[f"{prefix}.{name}"] for name in names))
    if isinstance(scorer, Trees):
        _check_trees(scorer, prefix)
    return scorer


def _check_trees(trees: Trees, prefix: str) -> None:
    """Raise `ModelError` where a walk from a root would leave the nodes, or never end."""
    here = np.arange(len(trees.value))
    is_leaf = (trees.left == here) & (trees.right == here)
    onwards = is_leaf | ((trees.left > here) & (trees.right > here))
    onwards &= trees.feature >= 0
    inside = [np.all((nodes >= 0) & (nodes < len(here))) for nodes in (trees.left, trees.right, trees.roots)]
    if not onwards.all() or not all(inside):
        raise ModelError(f"{prefix}: its trees are damaged. Copy the model folder again.")
