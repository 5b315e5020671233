"""The one-sort areas equal the definitions and scikit-learn, ties and multiplicities included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from focusmap.statistics.ranking import auroc, average_precision, rank
from focusmap.statistics.resampling import Clusters, Resampling
from support.ranking_oracles import bootstrap_by_rows, pairwise_auroc, stepwise_average_precision

rows = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=30).filter(
    lambda pairs: len({positive for positive, _ in pairs}) == 2
)


def arrays(pairs: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p for p, _ in pairs], dtype=float), np.array([s for _, s in pairs], dtype=float)


@given(rows)
def test_areas_equal_the_definitions(pairs: list[tuple[bool, int]]) -> None:
    truth, score = arrays(pairs)
    assert auroc(truth, score) == pytest.approx(pairwise_auroc(truth, score))
    assert average_precision(truth, score) == pytest.approx(stepwise_average_precision(truth, score))


@given(rows, st.randoms(use_true_random=False))
def test_areas_ignore_row_order_monotone_transforms_and_duplication(pairs, random) -> None:
    truth, score = arrays(pairs)
    order = list(range(len(pairs)))
    random.shuffle(order)
    for metric in (auroc, average_precision):
        value = metric(truth, score)
        assert metric(truth[order], score[order]) == pytest.approx(value)
        assert metric(truth, np.exp(score)) == pytest.approx(value)
        assert metric(np.tile(truth, 3), np.tile(score, 3)) == pytest.approx(value)


@pytest.mark.parametrize("decimals", [1, 2, 12])
def test_weighted_areas_equal_scikit_learn(decimals: int) -> None:
    generator = np.random.default_rng(decimals)
    truth = generator.integers(0, 2, 500).astype(float)
    score = np.round(generator.normal(size=500) + truth, decimals)
    weights = generator.integers(0, 4, 500).astype(float)
    assert auroc(truth, score, weights) == pytest.approx(roc_auc_score(truth, score, sample_weight=weights), abs=1e-12)
    peer = average_precision_score(truth, score, sample_weight=weights)
    assert average_precision(truth, score, weights) == pytest.approx(peer, abs=1e-12)


def test_resampled_areas_equal_those_of_resamples_written_out_as_rows() -> None:
    generator = np.random.default_rng(3)
    codes = generator.integers(0, 12, 60)
    truth, score = generator.integers(0, 2, 60), np.round(generator.random(60), 1)
    clusters = Clusters(codes, 12)
    drawn = next(Resampling(clusters, 25, seed=1).blocks())
    found = rank(truth == 1, score, clusters).areas(drawn)
    for name, oracle in [("auroc", pairwise_auroc), ("average_precision", stepwise_average_precision)]:
        slow = bootstrap_by_rows(lambda rows, oracle=oracle: oracle(truth[rows], score[rows]), codes, drawn)
        np.testing.assert_allclose(found[name], slow, atol=1e-12)


def test_areas_of_a_perfect_a_reversed_and_a_constant_score() -> None:
    truth = np.array([0.0, 0, 1, 1])
    assert auroc(truth, truth) == 1
    assert auroc(truth, -truth) == 0
    assert auroc(truth, np.zeros(4)) == 0.5
    assert average_precision(truth, truth) == 1
    assert average_precision(truth, np.zeros(4)) == 0.5


def test_one_class_is_undefined_and_unknown_truth_is_left_out() -> None:
    assert np.isnan(auroc(np.ones(3), np.arange(3.0)))
    assert np.isnan(auroc(np.zeros(3), np.arange(3.0)))
    assert np.isnan(average_precision(np.zeros(3), np.arange(3.0)))
    assert auroc(np.array([np.nan, 0, 1]), np.array([9.0, 1, 2])) == 1
