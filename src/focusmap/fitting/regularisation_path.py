"""Logistic and ridge regressions of few rows with many features, over a path of penalties at the cost of about one fit.

The features are standardised and turned into the basis of their principal axes, in which they are uncorrelated. There
the Hessian of the loss is nearly diagonal, so that L-BFGS with that diagonal as preconditioner needs some dozen steps
where it needs hundreds on the features themselves; each penalty starts where the one before it ended. The answers are
those of scikit-learn's ``LogisticRegression`` and ``Ridge``, to which the tests hold them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from focusmap.models.scorers import Linear

MAX_STEPS = 200
# Of the eigenvalues of the rows' products, those that are rounding errors beside the largest.
LEAST_EIGENVALUE = 1e-9
# Of a probability, so that a class without a row has a finite bias.
LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class Basis:
    """Standardised features in their principal axes.

    Parameters
    ----------
    scores : (N, K)
        The rows; columns are uncorrelated.
    lengths : (K,)
        Of the columns.
    axes : (D, K)
        From standardised features to scores.
    centre, spread : (D,)
        What features were standardised by.
    """

    scores: np.ndarray
    lengths: np.ndarray
    axes: np.ndarray
    centre: np.ndarray
    spread: np.ndarray

    def back(self, weights: np.ndarray, bias: np.ndarray) -> Linear:
        """Return what weights ``(K, L)`` of the scores are of the features themselves."""
        raw = (self.axes @ weights) / self.spread[:, None]
        return Linear(raw.T, bias - self.centre @ raw)


def basis_of(features: np.ndarray) -> Basis:
    """Return features ``(N, D)`` standardised, in their principal axes; constant features are left at 0."""
    from threadpoolctl import threadpool_limits

    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-6, spread, 1.0)
    rows = ((features - centre) / spread).astype(np.float64)
    # Beside other programs on the same cores, threads that wait for each other cost many times what they gain.
    with threadpool_limits(1):
        if rows.shape[1] > len(rows):
            values, vectors = np.linalg.eigh(rows @ rows.T)
            is_large = values > values[-1] * LEAST_EIGENVALUE
            lengths = np.sqrt(values[is_large])
            return Basis(
                vectors[:, is_large] * lengths, lengths, rows.T @ (vectors[:, is_large] / lengths), centre, spread
            )
        values, vectors = np.linalg.eigh(rows.T @ rows)
        is_large = values > values[-1] * LEAST_EIGENVALUE
        return Basis(rows @ vectors[:, is_large], np.sqrt(values[is_large]), vectors[:, is_large], centre, spread)


def logistic_path(
    basis: Basis, truth: np.ndarray, strengths: Sequence[float], *, exclusive: bool = False
) -> list[Linear]:
    """Return a classifier for each strength C, that minimises ``sum of log losses + |W|^2 / (2 C)``.

    Parameters
    ----------
    basis
        Of N rows.
    truth : (N, L)
        Shares between 0 and 1; NaN: unknown, left out.
    exclusive
        True: the L classes exclude each other (softmax), and every row is known. False: each label for itself.
    strengths
        C of scikit-learn, rising: the start of each is the end of the one before.
    """
    problem = _Problem(basis, truth, exclusive)
    path, start = [], problem.start()
    for strength in strengths:
        start = problem.solve(strength, start)
        path.append(basis.back(*start))
    return path


def ridge_path(basis: Basis, truth: np.ndarray, strengths: Sequence[float]) -> list[Linear]:
    """Return for each strength C what minimises ``sum of squares + |w|^2 / (2 C)``; ``(N, 1)`` values, NaN left out."""
    known = ~np.isnan(truth[:, 0])
    scores, values = basis.scores[known], truth[known, 0]
    mean, centre = values.mean(), scores.mean(axis=0)
    moved = scores - centre
    products, target = moved.T @ moved, moved.T @ (values - mean)
    path = []
    for strength in strengths:
        weights = np.linalg.solve(products + np.eye(len(products)) / (2 * strength), target)[:, None]
        path.append(basis.back(weights, np.array([mean]) - centre @ weights))
    return path


class _Problem:
    """The loss of one truth on one basis, in coordinates in which its Hessian is nearly the unit matrix."""

    def __init__(self, basis: Basis, truth: np.ndarray, exclusive: bool) -> None:
        self.basis, self.exclusive = basis, exclusive
        self.known = ~np.isnan(truth)
        self.truth = np.nan_to_num(truth)
        n_known = np.maximum(self.known.sum(axis=0), 1)
        share = np.clip(self.truth.sum(axis=0) / n_known, LEAST_SHARE, 1 - LEAST_SHARE)
        self.prior = np.log(share) if exclusive else np.log(share / (1 - share))
        self.curvature = share * (1 - share)
        self.bias_scale = np.sqrt(n_known * self.curvature)

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Return no weights, and the bias that gives each label its share."""
        return np.zeros((self.basis.scores.shape[1], len(self.prior))), self.prior

    def solve(self, strength: float, start: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return weights ``(K, L)`` and bias ``(L,)`` at the minimum."""
        from scipy.optimize import minimize
        from threadpoolctl import threadpool_limits

        scale = np.sqrt(self.basis.lengths[:, None] ** 2 * self.curvature + 1 / strength)
        first = np.vstack([start[0] * scale, (start[1] - self.prior) * self.bias_scale])
        with threadpool_limits(1):
            minimum = minimize(
                self._objective(scale, strength), first.ravel(), jac=True, method="L-BFGS-B",
                options={"maxiter": MAX_STEPS, "maxcor": 15, "ftol": 1e-9, "gtol": 1e-5},
            )  # fmt: skip
        last = np.asarray(minimum.x).reshape(first.shape)
        return last[:-1] / scale, self.prior + last[-1] / self.bias_scale

    def _objective(self, scale: np.ndarray, strength: float) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
            point = flat.reshape(-1, scale.shape[1])
            weights, bias = point[:-1] / scale, self.prior + point[-1] / self.bias_scale
            loss, slope = self._loss(self.basis.scores @ weights + bias)
            gradient = (self.basis.scores.T @ slope + weights / strength) / scale
            of_bias = slope.sum(axis=0) / self.bias_scale
            return loss + float((weights**2).sum()) / (2 * strength), np.vstack([gradient, of_bias]).ravel()

        return value

    def _loss(self, logits: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the sum of the log losses and its slope ``(N, L)`` by the logits."""
        if self.exclusive:
            shifted = logits - logits.max(axis=1, keepdims=True)
            log_shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            return -float((self.truth * log_shares).sum()), np.exp(log_shares) - self.truth
        losses = np.logaddexp(0, logits) - self.truth * logits
        slope = (1 / (1 + np.exp(-logits)) - self.truth) * self.known
        return float((losses * self.known).sum()), slope
