"""The truth behind several readers, and each reader's errors, estimated together.

Dawid and Skene, Maximum likelihood estimation of observer error-rates using the EM algorithm, Journal of the Royal
Statistical Society C 28 (1979), 20-28.
"""

from dataclasses import dataclass

import numpy as np

from focusmap.consensus.agreement import count_votes

MAX_ITERATIONS = 1000
TOLERANCE = 1e-6  # largest change of a posterior in one step
SMALLEST = 1e-300  # in the place of 0 before a logarithm; no posterior can tell the two apart


@dataclass(frozen=True)
class DawidSkene:
    """What the estimation found.

    Parameters
    ----------
    posterior : (N, C) float
        Probability of each class of each image, from its readings alone; NaN where nobody has read it.
    prevalence : (C,) float
        Share of each class.
    errors : (R, C, C) float
        Of images of class j (rows), the share that reader r calls l (columns); NaN where no such image was read.
    n_iterations, converged
        Steps made, and whether the last one changed no posterior by more than `TOLERANCE`.
    log_likelihoods
        Of the readings after each step; they never fall.
    """

    posterior: np.ndarray
    prevalence: np.ndarray
    errors: np.ndarray
    n_iterations: int
    converged: bool
    log_likelihoods: tuple[float, ...]


def dawid_skene(votes: np.ndarray, n_classes: int, known: np.ndarray | None = None) -> DawidSkene:
    """Return the maximum-likelihood estimate by EM, started from the shares of votes.

    Starting from the votes keeps the classes' names: a start at random may end with all of them exchanged, which has
    the same likelihood.

    Parameters
    ----------
    votes : (N, R) int
        Class of each reading, -1 where there is none.
    n_classes
        Number of classes, C.
    known : (N,) int, optional
        The true class where it is known, -1 elsewhere; it teaches how the readers err.

    Examples
    --------
    >>> votes = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1]])
    >>> dawid_skene(votes, 2).posterior[:, 1].round(3)
    array([1., 0., 1., 0.])
    """
    known = np.full(len(votes), -1) if known is None else known
    is_known, fixed = known >= 0, np.eye(n_classes)[known]
    counts = count_votes(votes, n_classes)
    read = np.any(counts > 0, axis=1)
    used = read | is_known
    spelt = (votes[:, :, None] == np.arange(n_classes)).astype(np.float64)
    posterior = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    likelihoods: list[float] = []
    converged = False
    while not converged and len(likelihoods) < MAX_ITERATIONS:
        prevalence, errors = _maximise(np.where(is_known[:, None], fixed, posterior)[used], spelt[used])
        joint = _log_joint(prevalence, errors, spelt)
        total = np.logaddexp.reduce(joint, axis=1, keepdims=True)
        of_truth = np.where(is_known, joint[np.arange(len(known)), known], total[:, 0])
        likelihoods.append(float(of_truth[used].sum()))
        revised = np.exp(joint - total)
        converged = bool(np.abs(revised - posterior)[read].max(initial=0.0) < TOLERANCE)
        posterior = revised
    posterior = np.where(read[:, None], posterior, np.nan)
    return DawidSkene(posterior, prevalence, errors, len(likelihoods), converged, tuple(likelihoods))


def _maximise(posterior: np.ndarray, spelt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return p_j = sum_i T_ij / I (eq. 2.4), and pi_jl = sum_i T_ij n_il / sum_l sum_i T_ij n_il (eq. 2.3)."""
    prevalence = posterior.mean(axis=0)
    weights = np.einsum("ij,irl->rjl", posterior, spelt)
    total = weights.sum(axis=2, keepdims=True)
    errors = np.divide(weights, total, out=np.full(weights.shape, np.nan), where=total > 0)
    return prevalence, errors


def _log_joint(prevalence: np.ndarray, errors: np.ndarray, spelt: np.ndarray) -> np.ndarray:
    """Return ``(N, C)``: log p_j + sum over readings of log pi_jl, the logarithm of eq. 2.5's numerator."""
    said, prior = (np.log(np.maximum(np.nan_to_num(shares), SMALLEST)) for shares in (errors, prevalence))
    return np.asarray(prior + np.einsum("irl,rjl->ij", spelt, said))
