"""The sign-flip test counts what a loop over all signs counts, and draws well where there are too many."""

from itertools import product

import numpy as np
import pytest

from focusmap.statistics.sign_flip import MOST_EXACT, sign_flip_test


@pytest.mark.parametrize("n", [1, 4, 9])
def test_it_is_the_share_of_all_signs_that_lead_as_far(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.3, 1, n)
    sums = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=n)]
    expected = np.mean([value >= abs(differences.sum()) - 1e-12 for value in sums])
    found = sign_flip_test(differences)
    assert found.is_exact
    assert found.n_signs == 2**n
    assert found.p == pytest.approx(expected)


def test_eight_patients_that_all_gain_are_as_good_as_it_gets() -> None:
    assert sign_flip_test(np.linspace(0.1, 0.8, 8)).p == 2 / 2**8
    assert sign_flip_test(np.zeros(5)).p == 1
    assert sign_flip_test(-np.linspace(0.1, 0.8, 8)).p == 2 / 2**8


def test_drawn_signs_come_close_to_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(0).normal(0.4, 1, 14)
    exact = sign_flip_test(differences).p
    monkeypatch.setattr("focusmap.statistics.sign_flip.MOST_EXACT", 3)
    drawn = sign_flip_test(differences)
    assert not drawn.is_exact
    assert drawn.p == pytest.approx(exact, abs=0.015)
    assert len(differences) <= MOST_EXACT
