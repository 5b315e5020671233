"""Readings to labels: majority, ties, what is known, probabilities; and the facts told about them."""

import numpy as np
import pandas as pd
import pytest

from focusmap.basics import InputError
from focusmap.consensus.reference import consensus_table, decide
from focusmap.consensus.summary import describe_consensus
from focusmap.study import ConsensusOptions, Readings, Target, Task

X = Target("x")
GRADE = Target("grade", "ordinal", ("low", "mid", "high"))
VOTES = np.array([[1, 1, 0], [0, 0, 0], [1, 0, -1], [-1, -1, -1], [0, 0, 1]])


def readings(votes=VOTES, target=X, definitive=None):
    names = tuple(f"{i}.png" for i in range(len(votes)))
    images = pd.DataFrame({"path": names, "patient_id": [f"p{i // 2}" for i in range(len(votes))]})
    known = {} if definitive is None else {target.name: np.array(definitive)}
    readers = tuple("abcdef"[: votes.shape[1]])
    return Readings(Task((target,)), images, names, "path", "patient_id", readers, {target.name: votes}, known)


def labels(held, **options):
    settings = ConsensusOptions(**options)
    return list(consensus_table(held, decide(held, settings), settings)[held.task.names[0]])


@pytest.mark.parametrize(
    ("ties", "settled"),
    [("unknown", ""), ("positive", "1"), ("negative", "0"), ("reader=a", "1"), ("reader=b", "0"), ("reader=c", "")],
)
def test_majority_with_every_tie_rule(ties, settled):
    assert labels(readings(), ties=ties) == ["1", "0", settled, "", "0"]


def test_a_reader_settles_only_what_he_or_she_tied():
    votes = np.array([[0, 0, 2, 2, 1]])  # e says mid, which is not among the tied
    assert labels(readings(votes, GRADE), ties="reader=e") == [""]
    assert labels(readings(votes, GRADE), ties="reader=c") == ["high"]


def test_what_is_known_overrides_votes():
    held = readings(definitive=[0, -1, 1, 0, -1])
    assert labels(held) == ["0", "0", "1", "0", "0"]
    (decision,) = decide(held)
    assert decision.overridden.tolist() == [True, False, False, False, False]
    assert [decision.by(i) for i in range(5)] == ["definitive", "vote", "definitive", "definitive", "vote"]


def test_soft_labels_are_shares_of_votes():
    assert labels(readings(definitive=[-1, -1, -1, -1, 1]), soft=True) == ["0.666667", "0", "0.5", "", "1"]


def test_dawid_skene_trusts_the_better_readers():
    """Three readers who all but guess outvote two good ones; the estimate finds out who errs."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 600)
    accuracy = np.array([0.97, 0.95, 0.6, 0.6, 0.6])
    votes = np.where(generator.random((600, 5)) < accuracy, truth[:, None], 1 - truth[:, None])
    by = {method: np.array(labels(readings(votes), method=method), dtype=float) for method in
          ("majority", "dawid-skene")}  # fmt: skip
    right = {method: (found == truth).mean() for method, found in by.items()}
    assert right["dawid-skene"] > right["majority"] + 0.02
    soft = np.array(labels(readings(votes), method="dawid-skene", soft=True), dtype=float)
    assert ((soft >= 0.5) == by["dawid-skene"]).all()


@pytest.mark.parametrize(
    ("held", "options", "message"),
    [
        (readings(), {"method": "majoriti"}, "Did you mean 'majority'"),
        (readings(), {"ties": "positiv"}, "Did you mean 'positive'"),
        (readings(), {"ties": "reader=z"}, "'z' is not one of a, b, c"),
        (readings(target=GRADE), {"ties": "positive"}, "grade is ordinal"),
        (readings(target=GRADE), {"soft": True}, "none here"),
        (readings(VOTES[:, :2]), {"method": "dawid-skene"}, "3 or more"),
    ],
)
def test_options_that_do_not_fit_are_named(held, options, message):
    with pytest.raises(InputError, match=message):
        labels(held, **options)


def test_facts_count_what_happened():
    held, options = readings(definitive=[0, 1, -1, -1, -1]), ConsensusOptions()
    facts = describe_consensus(held, decide(held, options), options)
    label = facts["labels"]["x"]
    counts = {key: label[f"n_{key}"] for key in ("disputed", "ties", "overridden", "definitive", "unread", "undecided")}
    assert counts == {"disputed": 3, "ties": 1, "overridden": 2, "definitive": 2, "unread": 1, "undecided": 2}
    assert label["counts"] == {"0": 2, "1": 1}
    assert [(pair["a"], pair["b"], pair["n"]) for pair in label["pairs"]] == [
        ("a", "b", 4),
        ("a", "c", 3),
        ("b", "c", 3),
    ]
    unanimous = facts["disputed"][1]
    assert (unanimous["picture"], unanimous["overridden"], unanimous["decided"]) == ("1.png", True, "1")
    assert facts["disputed"][2]["votes"] == {"a": "1", "b": "0"}
    assert facts["n_patients"] == 3


def test_ordered_classes_are_told_by_ordinal_alpha():
    held, options = readings(VOTES + (VOTES >= 0), GRADE), ConsensusOptions(method="dawid-skene")
    label = describe_consensus(held, decide(held, options), options)["labels"]["grade"]
    assert label["krippendorff_alpha"]["metric"] == "ordinal"
    assert label["dawid_skene"]["converged"]
    assert set(label["dawid_skene"]["readers"]) == {"a", "b", "c"}
