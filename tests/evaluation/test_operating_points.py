"""Each rule's threshold is the best of all cuts, tried one after the other."""

import numpy as np
import pytest
from sklearn import metrics as peer

from focusmap.basics import InputError
from focusmap.evaluation.calibration import choose_thresholds
from focusmap.study import Target, Task

TASK = Task((Target("effusion"),))


def sample(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, n).astype(float)
    return truth, np.round(np.clip(0.3 * truth + generator.random(n) * 0.7, 0, 1), 2)


def best_by_trial(truth: np.ndarray, p: np.ndarray, score) -> float:
    return max(score(truth == 1, p >= cut) for cut in [*np.unique(p), 1.01])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("rule", "score"),
    [
        ("accuracy", peer.accuracy_score),
        ("youden", peer.balanced_accuracy_score),
        ("f1", lambda truth, called: peer.f1_score(truth, called, zero_division=0)),
    ],
)
def test_plain_rules_reach_the_highest_value(rule: str, score, seed: int) -> None:
    truth, p = sample(seed)
    threshold = choose_thresholds(TASK, p[:, None], truth[:, None], rule)["effusion"]
    assert score(truth == 1, p >= threshold) == pytest.approx(best_by_trial(truth, p, score))


@pytest.mark.parametrize("seed", range(3))
def test_held_rules_hold_what_they_say_and_maximise_the_rest(seed: int) -> None:
    truth, p = sample(seed)
    for rule, held, other in [("sensitivity=0.9", 1, 0), ("specificity=0.9", 0, 1)]:
        threshold = choose_thresholds(TASK, p[:, None], truth[:, None], rule)["effusion"]

        def rates(cut: float, held: int = held, other: int = other) -> tuple[float, float]:
            right = (p >= cut) == (truth == 1)
            return float(right[truth == held].mean()), float(right[truth == other].mean())

        reached = [rates(cut)[1] for cut in [*np.unique(p), 1.01] if rates(cut)[0] >= 0.9]
        assert rates(threshold)[0] >= 0.9
        assert rates(threshold)[1] == pytest.approx(max(reached))


def test_of_equally_good_cuts_the_nearest_to_one_half_is_taken() -> None:
    p, truth = np.array([[0.1], [0.9]]), np.array([[0.0], [1.0]])
    assert choose_thresholds(TASK, p, truth, "youden") == {"effusion": 0.5}


def test_thresholds_between_neighbouring_floats_still_divide_them() -> None:
    low = 0.3
    p = np.array([[low], [np.nextafter(low, 1)]])
    threshold = choose_thresholds(TASK, p, np.array([[0.0], [1.0]]), "accuracy")["effusion"]
    assert ((p >= threshold) == [[False], [True]]).all()


def test_one_class_gives_one_half() -> None:
    assert choose_thresholds(TASK, np.array([[0.9], [0.8]]), np.array([[1.0], [np.nan]]), "f1") == {"effusion": 0.5}


@pytest.mark.parametrize("rule", ["yuden", "sensitivity", "sensitivity=2", "specificity=much", "accuracy=0.9"])
def test_unknown_rules_are_refused_with_the_known_ones(rule: str) -> None:
    with pytest.raises(InputError, match="threshold rule"):
        choose_thresholds(TASK, np.array([[0.9]]), np.array([[1.0]]), rule)
