"""Answers: sets that hold at the stated error by patient and by class, and no answer where none can be given."""

import numpy as np
import pandas as pd
import pytest

from focusmap.basics import InputError
from focusmap.evaluation.answers import Standing, answered, conformal_limit, fit_limits, in_sets
from focusmap.evaluation.predictions import Predictions, from_probabilities
from focusmap.study import Flag, Target, Task

NODULE = Target("nodule")
GRADE = Target("grade", "multiclass", ("low", "mid", "high"))
VALUE = Target("CST", "continuous")


def patients_alike(
    generator: np.random.Generator, n_patients: int, n_each: int = 5, correlation: float = 0.7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities (N, 1), truth (N,) and patients (N,): scores of one patient correlate."""
    patients = np.repeat(np.arange(n_patients), n_each)
    truth = (generator.random(n_patients) < 0.5).astype(float)[patients]
    shared, own = generator.normal(size=n_patients)[patients], generator.normal(size=len(patients))
    logits = 1.5 * (truth - 0.5) + np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    return 1 / (1 + np.exp(-logits))[:, None], truth, patients


def test_sets_hold_at_the_stated_error_though_images_of_a_patient_are_alike() -> None:
    generator, covered = np.random.default_rng(0), []
    for _ in range(200):
        shown, truth, patients = patients_alike(generator, 100)
        limits = fit_limits(NODULE, shown, truth, patients)["0.1"]
        shown, truth, _ = patients_alike(generator, 100)
        sets = in_sets(NODULE, shown, limits)
        assert sets is not None
        covered.append([sets[truth == k, k].mean() for k in (0, 1)])
    by_class = np.mean(covered, axis=0)
    assert np.mean(covered) == pytest.approx(0.90, abs=0.01)
    assert by_class == pytest.approx([0.90, 0.90], abs=0.015)


def test_images_counted_as_if_they_were_patients_would_hold_less_often_than_they_say_for_small_studies() -> None:
    """What counting by patient is for: of 12 patients with unequal numbers of images."""
    generator = np.random.default_rng(1)
    by_patient, by_image = [], []
    for _ in range(400):
        counts = np.where(np.arange(12) < 3, 30, 1)
        patients = np.repeat(np.arange(12), counts)
        scores = generator.normal(size=12)[patients]
        new = generator.normal()
        for limit, kept in (
            (conformal_limit(scores, patients, 0.1), by_patient),
            (conformal_limit(scores, np.arange(len(scores)), 0.1), by_image),
        ):
            kept.append(limit is None or new <= limit)
    assert np.mean(by_patient) >= 0.88
    assert np.mean(by_image) < np.mean(by_patient) - 0.05


def test_a_limit_is_the_quantile_of_split_conformal_prediction_where_each_patient_has_one_image() -> None:
    scores = np.random.default_rng(2).normal(size=59)
    rank = int(np.ceil(0.9 * 60))
    assert conformal_limit(scores, np.arange(59), 0.1) == pytest.approx(np.sort(scores)[rank - 1])


def test_sets_are_those_of_mapie_where_each_patient_has_one_image() -> None:
    """Members of 40 sets by class, as MAPIE 1.6.0 counts them of the same numbers.

    `SplitConformalClassifier(..., conformity_score="lac", prefit=True)` of a model that returns what it is given.
    """
    generator = np.random.default_rng(21)
    shown = generator.dirichlet([1, 1, 1], size=59)
    truth = np.array([generator.choice(3, p=row) for row in shown])
    shown, new = np.round(shown, 3), np.round(generator.dirichlet([1, 1, 1], size=40), 3)
    for probabilities in (shown, new):
        probabilities[:, 2] = 1 - probabilities[:, 0] - probabilities[:, 1]
    scores = 1 - shown[np.arange(59), truth]
    for error, expected in ((0.1, [27, 28, 28]), (0.2, [23, 25, 27])):
        sets = in_sets(GRADE, new, dict.fromkeys(GRADE.classes, conformal_limit(scores, np.arange(59), error)))
        assert sets is not None
        assert sets.sum(axis=0).tolist() == expected


def predictions_of(task: Task, probabilities: np.ndarray, **more: object) -> Predictions:
    ids = pd.DataFrame({"image_id": [f"i{k}" for k in range(len(probabilities))], "path": "", "patient_id": ""})
    found = from_probabilities(task, ids, np.asarray(probabilities, dtype=float))
    return Predictions(found.task, found.ids, found.logits, found.probabilities, **more)  # type: ignore[arg-type]


def standing(verdict: str = "useful", **limits: float | None) -> Standing:
    return Standing(verdict, "", {}, {"0.1": limits})


def said(found: Predictions, position: int = 0) -> list[tuple[str, str]]:
    assert found.answers is not None
    return [(row[position].answer, "|".join(row[position].members)) for row in found.answers]


def test_yes_no_and_unsure_are_what_cannot_be_excluded() -> None:
    shown = predictions_of(Task((NODULE,)), [[0.9], [0.5], [0.1]])
    found = answered(shown, {"nodule": standing(**{"0": 0.6, "1": 0.7})}, {})
    assert said(found) == [("yes", "1"), ("unsure", "0|1"), ("no", "0")]
    table = found.to_table()
    assert table["nodule.answer"].tolist() == ["yes", "unsure", "no"]
    assert list(table).index("nodule.answer") < list(table).index("nodule.set") < list(table).index("notice")


def test_where_every_class_is_excluded_the_likelier_is_the_answer() -> None:
    shown = predictions_of(Task((NODULE,)), [[0.55], [0.45]])
    assert said(answered(shown, {"nodule": standing(**{"0": 0.2, "1": 0.2})}, {})) == [("yes", "1"), ("no", "0")]


def test_a_class_of_several_is_answered_alone_or_not_at_all() -> None:
    shown = predictions_of(Task((GRADE,)), [[0.8, 0.15, 0.05], [0.4, 0.45, 0.15]])
    found = answered(shown, {"grade": standing(low=0.7, mid=0.7, high=0.7)}, {})
    assert said(found) == [("low", "low"), ("unsure", "low|mid")]


def test_nothing_is_answered_of_an_image_unlike_train_nor_of_a_label_no_better_than_guessing() -> None:
    flags = ((Flag("unlike", "unlike train"),), ())
    shown = predictions_of(Task((NODULE, Target("mass"))), [[0.9, 0.9], [0.9, 0.9]], flags=flags)
    limits = {"0": 0.6, "1": 0.7}
    found = answered(shown, {"nodule": standing(**limits), "mass": standing("not-shown-useful", **limits)}, {})
    assert found.answers is not None
    assert [[(answer.answer, answer.why) for answer in row] for row in found.answers] == [
        [("none", "unlike"), ("none", "unlike")],
        [("yes", ""), ("none", "not-better")],
    ]


@pytest.mark.parametrize(("verdict", "why"), [("broken", "broken"), ("cannot-be-judged", "unjudged")])
def test_a_label_whose_test_is_broken_or_too_small_gets_no_answer_and_says_so(verdict: str, why: str) -> None:
    shown = predictions_of(Task((NODULE, VALUE)), [[0.9, 3.0]])
    limits = {"0": 0.2, "1": 0.9}
    found = answered(shown, {"nodule": standing(verdict, **limits), "CST": Standing(verdict, "", {}, {})}, {})
    assert found.answers is not None
    assert [(answer.answer, answer.why) for answer in found.answers[0]] == [("none", why)] * 2


def test_without_enough_tuning_patients_the_operating_point_answers_without_a_set() -> None:
    shown = predictions_of(Task((NODULE,)), [[0.4], [0.2]])
    assert said(answered(shown, {"nodule": standing(**{"0": 0.6, "1": None})}, {"nodule": 0.3})) == [
        ("yes", ""),
        ("no", ""),
    ]
    assert said(answered(shown, {}, {"nodule": 0.3})) == [("yes", ""), ("no", "")]


def test_a_value_has_an_interval() -> None:
    generator = np.random.default_rng(3)
    truth = generator.normal(300, 60, 90)
    limits = fit_limits(VALUE, (truth + generator.normal(0, 10, 90))[:, None], truth, np.arange(90))
    found = answered(predictions_of(Task((VALUE,)), [[300.0]]), {"CST": Standing("useful", "", {}, limits)}, {})
    assert found.answers is not None
    low, high = map(float, found.answers[0][0].members)
    assert 12 < (high - low) / 2 < 25, "1.64 deviations of 10"


def test_an_error_that_was_not_fitted_is_refused() -> None:
    with pytest.raises(InputError, match=r"0\.07 is not one of 0\.01, 0\.02, 0\.05, 0\.1"):
        answered(predictions_of(Task((NODULE,)), [[0.4]]), {}, {}, 0.07)
