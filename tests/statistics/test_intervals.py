"""The bootstrap draws patients, drops and counts what is undefined, and covers what it promises."""

import numpy as np
import pytest
from scipy.stats import binomtest

from focusmap.statistics.intervals import BOOTSTRAP, Interval, bootstrap, wilson
from focusmap.statistics.resampling import BLOCK, Clusters, Resampling
from support.auroc_intervals import bootstrap_auroc


def weighted_mean(values: np.ndarray):
    return lambda weights: values @ weights / weights.sum(axis=0)


def test_every_resample_draws_as_many_clusters_as_there_are() -> None:
    blocks = list(Resampling(Clusters.of(["b", "a", "b", "c"]), BLOCK + 5, seed=2).blocks())
    assert [block.shape for block in blocks] == [(3, BLOCK), (3, 5)]
    assert all((block.sum(axis=0) == 3).all() for block in blocks)


def test_the_interval_does_not_depend_on_row_order() -> None:
    generator = np.random.default_rng(0)
    values, patients = generator.normal(size=40), generator.integers(0, 9, 40)
    order = generator.permutation(40)
    a = bootstrap(weighted_mean(values), patients, 200)
    b = bootstrap(weighted_mean(values[order]), patients[order], 200)
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


def test_auroc_intervals_equal_the_general_bootstrap() -> None:
    from focusmap.statistics.ranking import auroc

    generator = np.random.default_rng(5)
    truth, patients = generator.integers(0, 2, 80).astype(float), generator.integers(0, 30, 80)
    score = generator.normal(size=80) + truth
    slow = bootstrap(lambda w: np.array([auroc(truth, score, column) for column in w.T]), patients, 150, seed=7)
    fast = bootstrap_auroc(truth, score, patients, 150, seed=7)
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high))


def test_resamples_of_one_class_are_dropped_and_counted() -> None:
    truth, score = np.array([1.0, 0, 0, 0, 0]), np.array([0.5, 0.1, 0.2, 0.6, 0.3])
    interval = bootstrap_auroc(truth, score, list("abcde"), 500)
    assert 100 < interval.n_dropped < 250  # (4/5)^5 = .33 without the only positive patient
    assert interval.to_dict()["n_dropped"] == interval.n_dropped


def test_one_class_gives_no_value_and_a_reason() -> None:
    interval = bootstrap_auroc(np.zeros(3), np.arange(3.0), list("abc"), 50)
    assert interval == Interval(None, None, None, BOOTSTRAP, "one class only")


def test_one_patient_gives_a_value_and_no_limits() -> None:
    interval = bootstrap(weighted_mean(np.arange(4.0)), ["only"] * 4, 50)
    assert (interval.value, interval.low, interval.high) == (1.5, None, None)
    assert interval.reason == "too few patients, or too few of a class, to resample"


def test_a_perfect_auroc_is_not_said_to_be_certain() -> None:
    truth = np.repeat([0.0, 1.0], 20)
    interval = bootstrap_auroc(truth, truth, np.arange(40), 100)
    assert (interval.value, interval.high) == (1, 1)
    assert interval.low == pytest.approx(wilson(20, 20).low)
    assert interval.method.startswith("Wilson")


@pytest.mark.parametrize(("n_successes", "n"), [(0, 7), (7, 7), (3, 50), (120, 400)])
def test_wilson_equals_scipy(n_successes: int, n: int) -> None:
    peer = binomtest(n_successes, n).proportion_ci(method="wilson")
    found = wilson(n_successes, n)
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=1e-12)


def test_clustered_intervals_cover_and_naive_ones_do_not() -> None:
    """100 patients x 5 images, correlation .7: about .94 of clustered 95 % intervals hold the truth, .71 of naive."""
    generator, covered = np.random.default_rng(11), np.zeros(2)
    patients = np.repeat(np.arange(100), 5)
    for trial in range(150):
        shared, own = generator.normal(size=100)[patients], generator.normal(size=500)
        values = 0.7**0.5 * shared + 0.3**0.5 * own
        for way, clusters in enumerate((patients, np.arange(500))):
            interval = bootstrap(weighted_mean(values), clusters, 200, seed=trial)
            covered[way] += interval.low <= 0 <= interval.high
    clustered, naive = covered / 150
    assert clustered > 0.88
    assert naive < 0.80
