"""Clustered DeLong equals the sums of the paper, and agrees with the bootstrap."""

import numpy as np
import pytest
from scipy.stats import norm

from focusmap.statistics.delong import areas_and_covariance, clustered_delong, paired_delong
from focusmap.statistics.resampling import Clusters
from support.auroc_intervals import bootstrap_auroc
from support.ranking_oracles import obuchowski_variance

# Subarachnoid haemorrhage (Turck et al., Intensive Care Med 36 (2010), 107-115), the example of the R package pROC:
# the grade and a protein's rank of 72 patients with a good outcome, then of 41 with a poor one.
GRADES = """
1 1 1 1 5 1 2 2 1 2 2 1 1 1 2 1 2 1 1 3 4 1 4 1 5 5 1 1 2 4 1 1 2 2 1 2 1 2 2 1 1 1 1 2 1 2 1 1 3 2 4 2 1 4 1 1 5 4 2
2 1 1 1 3 1 2 2 4 4 1 1 1 3 2 4 5 5 5 5 2 5 2 1 2 5 4 4 2 5 5 5 2 5 2 5 2 4 5 4 4 1 4 4 2 2 5 5 2 2 5 5 5 5
"""
PROTEIN = """
9 10 6 2 27 13 6 6 2 4 2 5 7 3 13 3 7 9 13 2 12 10 21 5 30 27 12 3 25 27 7 4 5 4 2 9 6 10 11 2 2 5 2 5 4 12 5 4 20 7
17 3 6 19 3 2 15 23 6 11 4 10 6 3 2 13 11 27 13 11 30 28 9 6 12 8 26 31 29 3 20 5 3 24 22 28 31 16 31 31 31 3 31 18 1
5 14 31 16 31 4 16 9 6 7 14 31 10 31 19 31 31 26
"""


def clustered_sample(seed: int, n: int = 80, n_patients: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    patients = generator.integers(0, n_patients, n)
    truth = generator.integers(0, 2, n).astype(float)
    score = np.round(truth + generator.normal(size=n) + generator.normal(size=n_patients)[patients], 1)
    return truth, score, patients


@pytest.mark.parametrize("seed", range(4))
def test_variance_equals_the_paper(seed: int) -> None:
    truth, score, patients = clustered_sample(seed)
    _, covariance = areas_and_covariance(truth == 1, [score], Clusters.of(patients))
    assert covariance[0, 0] == pytest.approx(obuchowski_variance(truth, score, patients))


def test_without_repeated_patients_it_is_delong() -> None:
    truth, score, _ = clustered_sample(1)
    x, y = score[truth == 1], score[truth == 0]
    wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    delong = wins.mean(axis=1).var(ddof=1) / len(x) + wins.mean(axis=0).var(ddof=1) / len(y)
    _, covariance = areas_and_covariance(truth == 1, [score], Clusters.single(80))
    assert covariance[0, 0] == pytest.approx(delong)


def test_variances_and_the_paired_test_are_those_that_proc_publishes() -> None:
    """Its `var(roc)` and `roc.test(wfns, s100b)` of its data aSAH, as its own tests hold them."""
    grade, protein = (np.array(text.split(), dtype=float) for text in (GRADES, PROTEIN))
    truth, patients = np.arange(113) >= 72, np.arange(113)
    areas, covariance = areas_and_covariance(truth, [grade, protein], Clusters.of(patients))
    assert areas == pytest.approx([0.823678861788618, 0.731368563685637])
    assert np.diag(covariance) == pytest.approx([0.00146991470882363, 0.00266868245717244])
    found = paired_delong(truth.astype(float), grade, protein, patients)
    assert found.p == pytest.approx(0.0271757822291882)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.0104061769564846, 0.174214419249478))


def test_interval_agrees_with_the_bootstrap() -> None:
    truth, score, patients = clustered_sample(2, n=2000, n_patients=600)
    delong = clustered_delong(truth, score, patients)
    resampled = bootstrap_auroc(truth, score, patients, 1000)
    assert (delong.low, delong.high) == pytest.approx((resampled.low, resampled.high), abs=0.004)


def test_a_model_does_not_differ_from_itself() -> None:
    truth, score, patients = clustered_sample(3)
    found = paired_delong(truth, score, 2 * score, patients)
    assert (found.difference.value, found.difference.low, found.difference.high) == (0, 0, 0)
    assert found.p is None


def test_a_better_model_is_found_and_the_difference_changes_sign_with_the_order() -> None:
    truth, score, patients = clustered_sample(4, n=600, n_patients=300)
    noise = np.random.default_rng(0).normal(size=600)
    better, worse = paired_delong(truth, score, noise, patients), paired_delong(truth, noise, score, patients)
    assert better.difference.low > 0.1
    assert better.p is not None
    assert better.p < 1e-6
    assert better.difference.value == pytest.approx(-worse.difference.value)


def test_one_class_one_patient_and_a_perfect_score() -> None:
    score = np.arange(4.0)
    assert clustered_delong(np.ones(4), score, list("abcd")).reason == "one class only"
    lone = clustered_delong(np.array([0.0, 0, 1, 1]), score, list("abcc"))
    assert (lone.value, lone.low) == (1, None)
    perfect = clustered_delong(np.array([0.0, 0, 1, 1]), score, list("abcd"))
    assert perfect.value == 1
    assert perfect.low is not None
    assert perfect.low < 0.5


def test_intervals_cover_the_known_area_of_patients_with_four_images_and_naive_ones_do_not() -> None:
    """Scores of a patient hang together: 2,000 trials gave .93 (bootstrap), .95 (DeLong) and .86 (naive DeLong)."""
    n_trials = 400  # one standard error of the coverage is then .012
    generator, covered, area = np.random.default_rng(1), np.zeros(3), norm.cdf(0.5**0.5)
    patients = np.repeat(np.arange(60), 4)
    for trial in range(n_trials):
        truth = (generator.random(60) < 0.4)[patients] ^ (generator.random(240) < 0.15)
        shared, own = generator.normal(size=60)[patients], generator.normal(size=240)
        truth, score = truth.astype(float), truth + 0.6**0.5 * shared + 0.4**0.5 * own
        resampled = bootstrap_auroc(truth, score, patients, 200, seed=trial)
        found = (resampled, clustered_delong(truth, score, patients), clustered_delong(truth, score, np.arange(240)))
        covered += [interval.low <= area <= interval.high for interval in found]
    bootstrapped, delong, naive = covered / n_trials
    assert min(bootstrapped, delong) > 0.90
    assert naive < 0.90
