"""Agreement of readers: worked examples of the papers, scikit-learn, slow versions, and what cannot be said."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from focusmap.consensus.agreement import (
    cohen_kappa,
    count_votes,
    fleiss_images,
    fleiss_kappa,
    krippendorff_alpha,
    reader_agreement,
)
from focusmap.statistics import Clusters, Resampling

# Fleiss 1971, table 1: 30 patients, six psychiatrists each, five diagnoses.
FLEISS_1971 = np.array([
    [0, 0, 0, 6, 0], [0, 3, 0, 0, 3], [0, 1, 4, 0, 1], [0, 0, 0, 0, 6], [0, 3, 0, 3, 0], [2, 0, 4, 0, 0],
    [0, 0, 4, 0, 2], [2, 0, 3, 1, 0], [2, 0, 0, 4, 0], [0, 0, 0, 0, 6], [1, 0, 0, 5, 0], [1, 1, 0, 4, 0],
    [0, 3, 3, 0, 0], [1, 0, 0, 5, 0], [0, 2, 0, 3, 1], [0, 0, 5, 0, 1], [3, 0, 0, 1, 2], [5, 1, 0, 0, 0],
    [0, 2, 0, 4, 0], [1, 0, 2, 0, 3], [0, 0, 0, 0, 6], [0, 1, 0, 5, 0], [0, 2, 0, 1, 3], [2, 0, 0, 4, 0],
    [1, 0, 0, 4, 1], [0, 5, 0, 1, 0], [4, 0, 0, 0, 2], [0, 2, 0, 4, 0], [1, 0, 5, 0, 0], [0, 0, 0, 0, 6],
])  # fmt: skip

# Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), section C: 4 observers, 12 units, gaps.
KRIPPENDORFF = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
    [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
]).T - 1  # fmt: skip


def value_of(statistic, n, name):
    return float(statistic(np.ones((n, 1)))[name][0])


def random_votes(seed, n=60, n_readers=4, n_classes=3, missing=0.3):
    generator = np.random.default_rng(seed)
    votes = generator.integers(0, n_classes, (n, n_readers))
    votes[:, 1] = np.where(generator.random(n) < 0.6, votes[:, 0], votes[:, 1])
    return np.where(generator.random(votes.shape) < missing, -1, votes)


def slow_alpha(votes, distance):
    """Mean distance within images over mean distance of any two readings that could be paired, from all pairs."""
    units = [row[row >= 0] for row in votes if (row >= 0).sum() > 1]
    readings = np.concatenate(units)
    n = len(readings)
    within = sum(sum(distance(a, b) for a, b in permutations(unit.tolist(), 2)) / (len(unit) - 1) for unit in units)
    between = sum(distance(a, b) for a, b in permutations(readings.tolist(), 2)) / (n - 1)
    return 1 - within / between


@pytest.mark.parametrize("seed", range(3))
def test_cohen_equals_scikit_learn(seed):
    votes = random_votes(seed, n_readers=2)
    both = (votes >= 0).all(axis=1)
    found = value_of(cohen_kappa(votes, 3, Clusters.single(60)), 60, "kappa")
    assert found == pytest.approx(cohen_kappa_score(*votes[both].T))


def test_fleiss_1971():
    """The paper's own result on its table."""
    assert value_of(fleiss_kappa(FLEISS_1971, Clusters.single(30)), 30, "kappa") == pytest.approx(0.430, abs=5e-4)


def test_krippendorff_2011():
    """The worked example: nominal alpha .743, ordinal .815."""
    counts = count_votes(KRIPPENDORFF, 5)
    assert value_of(krippendorff_alpha(counts, Clusters.single(12)), 12, "alpha") == pytest.approx(0.743, abs=5e-4)
    ordinal = krippendorff_alpha(counts, Clusters.single(12), "ordinal")
    assert value_of(ordinal, 12, "alpha") == pytest.approx(0.815, abs=5e-4)


@pytest.mark.parametrize("seed", range(3))
def test_alpha_equals_the_mean_over_all_pairs(seed):
    votes = random_votes(seed)
    read = votes[(votes >= 0).sum(axis=1) > 1]
    n_c = np.bincount(read[read >= 0], minlength=3)

    def ordinal(c, k):
        low, high = sorted((c, k))
        return (n_c[low : high + 1].sum() - (n_c[low] + n_c[high]) / 2) ** 2

    counts = count_votes(votes, 3)
    for metric, distance in (("nominal", lambda c, k: float(c != k)), ("ordinal", ordinal)):
        found = value_of(krippendorff_alpha(counts, Clusters.single(60), metric), 60, "alpha")
        assert found == pytest.approx(slow_alpha(votes, distance)), metric


def test_a_resample_equals_its_rows_written_out():
    votes, patients = random_votes(4), Clusters.of(np.arange(60) // 3)
    (block,) = Resampling(patients, 5, seed=1).blocks()
    for drawn in block.T:
        rows = np.repeat(np.arange(60), drawn[patients.codes].astype(int))
        written = votes[rows]
        counts = count_votes(written, 3)
        whole = Clusters.single(len(rows))
        for of_all, of_rows, name in (
            (cohen_kappa(votes[:, :2], 3, patients), cohen_kappa(written[:, :2], 3, whole), "kappa"),
            (krippendorff_alpha(count_votes(votes, 3), patients), krippendorff_alpha(counts, whole), "alpha"),
        ):
            assert of_all(drawn[:, None])[name][0] == pytest.approx(value_of(of_rows, len(rows), name))


def test_fleiss_takes_the_commonest_number_of_readings():
    counts = np.array([[3, 0], [2, 1], [1, 1], [1, 0]])
    chosen, n_each = fleiss_images(counts)
    assert n_each == 3
    assert chosen.tolist() == [True, True, False, False]


def test_intervals_hold_the_value_and_widen_with_patients():
    votes = np.repeat(random_votes(5, n=40, missing=0.1), 5, axis=0)  # five equal images a patient
    by_patient = reader_agreement(votes, 3, Resampling(Clusters.of(np.arange(200) // 5), 400))
    by_image = reader_agreement(votes, 3, Resampling(Clusters.single(200), 400))
    for found in (by_patient.alpha, by_patient.fleiss, by_patient.pairs[0].kappa):
        assert found.low < found.value < found.high
    assert by_patient.alpha.high - by_patient.alpha.low > 1.5 * (by_image.alpha.high - by_image.alpha.low)


def test_what_cannot_be_said_has_a_reason():
    one_class = reader_agreement(np.zeros((6, 2), int), 2, Resampling(Clusters.single(6), 50))
    assert one_class.alpha.value is None
    assert "one class" in one_class.pairs[0].kappa.reason
    assert one_class.pairs[0].agreement.value == 1
    apart = reader_agreement(np.array([[0, -1], [-1, 1]]), 2, Resampling(Clusters.single(2), 50))
    assert "no image" in apart.fleiss.reason
    assert "in common" in apart.pairs[0].kappa.reason


def test_readers_who_never_differ_are_not_said_to_be_certain():
    alike = reader_agreement(np.array([[0, 0], [1, 1]] * 8), 2, Resampling(Clusters.single(16), 100))
    assert (alike.alpha.value, alike.alpha.low) == (1, None)
    assert 0.7 < alike.pairs[0].agreement.low < 1
