"""Clustered DeLong equals the sums of the paper, and agrees with the bootstrap."""

import numpy as np
import pytest
from scipy.stats import norm

from focusmap.statistics.delong import _areas, clustered_delong, paired_delong
from focusmap.statistics.intervals import bootstrap_auroc
from focusmap.statistics.resampling import Clusters
from support.ranking_oracles import obuchowski_variance


def clustered_sample(seed: int, n: int = 80, n_patients: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    patients = generator.integers(0, n_patients, n)
    truth = generator.integers(0, 2, n).astype(float)
    score = np.round(truth + generator.normal(size=n) + generator.normal(size=n_patients)[patients], 1)
    return truth, score, patients


@pytest.mark.parametrize("seed", range(4))
def test_variance_equals_the_paper(seed: int) -> None:
    truth, score, patients = clustered_sample(seed)
    _, covariance = _areas(truth == 1, [score], Clusters.of(patients))
    assert covariance[0, 0] == pytest.approx(obuchowski_variance(truth, score, patients))


def test_without_repeated_patients_it_is_delong() -> None:
    truth, score, _ = clustered_sample(1)
    x, y = score[truth == 1], score[truth == 0]
    wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    delong = wins.mean(axis=1).var(ddof=1) / len(x) + wins.mean(axis=0).var(ddof=1) / len(y)
    _, covariance = _areas(truth == 1, [score], Clusters.single(80))
    # Obuchowski's cross term does not vanish for single images; it is of lower order.
    assert covariance[0, 0] == pytest.approx(delong, rel=0.02)


def test_interval_agrees_with_the_bootstrap() -> None:
    truth, score, patients = clustered_sample(2, n=2000, n_patients=600)
    delong = clustered_delong(truth, score, patients)
    (resampled,) = bootstrap_auroc(truth[:, None], score[:, None], patients, 1000)
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
        (resampled,) = bootstrap_auroc(truth[:, None], score[:, None], patients, 200, seed=trial)
        found = (resampled, clustered_delong(truth, score, patients), clustered_delong(truth, score, np.arange(240)))
        covered += [interval.low <= area <= interval.high for interval in found]
    bootstrapped, delong, naive = covered / n_trials
    assert min(bootstrapped, delong) > 0.90
    assert naive < 0.90
