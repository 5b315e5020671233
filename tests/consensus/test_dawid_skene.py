"""Dawid and Skene's estimate equals a slow version, finds planted readers, rises and ends."""

import numpy as np
import pytest

from focusmap.consensus.reference import dawid_skene


def planted(n=4000, seed=0, missing=0.2):
    """Votes of five readers of known sensitivity and specificity; truth has prevalence 0.3."""
    generator = np.random.default_rng(seed)
    truth = (generator.random(n) < 0.3).astype(int)
    sensitivity, specificity = np.array([0.95, 0.9, 0.8, 0.7, 0.6]), np.array([0.9, 0.95, 0.85, 0.8, 0.9])
    says = generator.random((n, 5)) < np.where(truth[:, None] == 1, sensitivity, 1 - specificity)
    return np.where(generator.random((n, 5)) < missing, -1, says.astype(int)), truth, sensitivity, specificity


def slow_dawid_skene(votes, n_classes, n_steps):
    """The paper's equations 2.3 to 2.5 in loops, from the shares of votes."""
    n, n_readers = votes.shape
    T = np.array([[np.mean([v == j for v in row if v >= 0]) for j in range(n_classes)] for row in votes])
    for _ in range(n_steps):
        p = [sum(T[i][j] for i in range(n)) / n for j in range(n_classes)]
        pi = np.zeros((n_readers, n_classes, n_classes))
        for k in range(n_readers):
            for j in range(n_classes):
                for i in range(n):
                    if votes[i, k] >= 0:
                        pi[k, j, votes[i, k]] += T[i, j]
                pi[k, j] /= pi[k, j].sum()
        for i in range(n):
            joint = [p[j] * np.prod([pi[k, j, v] for k, v in enumerate(votes[i]) if v >= 0]) for j in range(n_classes)]
            T[i] = np.array(joint) / sum(joint)
    return T, np.array(p), pi


def test_it_equals_the_equations_in_loops():
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 3, 40)
    votes = np.where(generator.random((40, 4)) < 0.7, truth[:, None], generator.integers(0, 3, (40, 4)))
    votes[generator.random((40, 4)) < 0.15] = -1
    votes = votes[(votes >= 0).any(axis=1)]
    found = dawid_skene(votes, 3)
    T, p, pi = slow_dawid_skene(votes, 3, found.n_iterations)
    np.testing.assert_allclose(found.posterior, T, atol=1e-9)
    np.testing.assert_allclose(found.prevalence, p, atol=1e-9)
    np.testing.assert_allclose(found.errors, pi, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_planted_readers_are_recovered(seed):
    votes, truth, sensitivity, specificity = planted(seed=seed)
    found = dawid_skene(votes, 2)
    assert found.converged
    np.testing.assert_allclose(found.errors[:, 1, 1], sensitivity, atol=0.05)
    np.testing.assert_allclose(found.errors[:, 0, 0], specificity, atol=0.05)
    assert found.prevalence[1] == pytest.approx(0.3, abs=0.03)
    read = (votes >= 0).any(axis=1)
    votes_for, n = (votes == 1).sum(axis=1), (votes >= 0).sum(axis=1)
    majority = np.abs((votes_for / np.maximum(n, 1) >= 0.5) - truth)[read].mean()
    assert np.abs((found.posterior[:, 1] >= 0.5) - truth)[read].mean() < majority


def test_the_likelihood_never_falls():
    likelihoods = np.array(dawid_skene(planted(n=300)[0], 2).log_likelihoods)
    assert (np.diff(likelihoods) >= -1e-9).all()
    assert likelihoods[-1] > likelihoods[0]


def test_known_truth_teaches_how_readers_err():
    """Where every reader is wrong more often than not, votes alone find the opposite; a known part puts it right."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 1000)
    votes = np.where(generator.random((1000, 3)) < 0.3, truth[:, None], 1 - truth[:, None])
    known = np.where(np.arange(1000) < 300, truth, -1)
    alone, taught = dawid_skene(votes, 2), dawid_skene(votes, 2, known)
    assert (alone.posterior[:, 1].round() == truth).mean() < 0.5
    assert (taught.posterior[300:, 1].round() == truth[300:]).mean() > 0.7
    np.testing.assert_allclose(taught.errors[:, 1, 1], 0.3, atol=0.08)
    assert (np.diff(taught.log_likelihoods) >= -1e-9).all()


def test_an_image_that_nobody_read_is_unknown():
    votes = np.array([[1, 1, 1], [0, 0, 0], [-1, -1, -1]])
    found = dawid_skene(votes, 2)
    assert np.isnan(found.posterior[2]).all()
    assert found.prevalence == pytest.approx([0.5, 0.5])


def test_exchanged_votes_exchange_the_classes():
    votes = planted(n=200)[0]
    swapped = np.where(votes < 0, -1, 1 - votes)
    np.testing.assert_allclose(dawid_skene(votes, 2).posterior, dawid_skene(swapped, 2).posterior[:, ::-1], atol=1e-9)
