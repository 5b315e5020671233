"""Subgroups: their metrics are those of their images alone, and gaps are told only beyond chance."""

import numpy as np
import pandas as pd
import pytest

from focusmap.evaluation.metrics import EvaluationOptions, evaluate_predictions
from focusmap.evaluation.predictions import Predictions, of_images
from focusmap.evaluation.subgroups import named_groups, subgroups
from focusmap.study import Target, Task

OPTIONS = EvaluationOptions(n_resamples=300)


def study(n=400, seed=0, worse=0.0, names=("a", "b")):
    """Return predictions, truth and each image's group; in the last group scores tell `worse` less."""
    draw = np.random.default_rng(seed)
    group = np.repeat(draw.choice(names, size=n // 2), 2)  # of patients
    truth = (draw.random(n) < 0.4).astype(float)
    logit = draw.normal(size=n) + (1.5 - worse * (group == names[-1])) * truth - 0.5
    ids = pd.DataFrame({"image_id": [f"i{k}" for k in range(n)], "patient_id": [f"p{k // 2}" for k in range(n)]})
    task = Task((Target("mass"),))
    return Predictions(task, ids, logit[:, None], 1 / (1 + np.exp(-logit[:, None]))), truth[:, None], group


def test_a_group_has_the_metrics_of_its_images_alone():
    predictions, truth, group = study()
    rows = {(r["group"], r["metric"]): r for r in subgroups(predictions, truth, {"sex": group}, OPTIONS)}
    inside = [image for image, name in zip(predictions.ids["image_id"], group, strict=True) if name == "a"]
    alone = evaluate_predictions(of_images(predictions, inside), truth[group == "a"], OPTIONS)["targets"]["mass"]
    for metric in ("auroc", "sensitivity", "specificity"):
        assert rows["a", metric]["value"] == pytest.approx(alone[metric]["value"])
        gap = rows["a", metric]["value"] - rows["b", metric]["value"]
        assert rows["a", metric]["gap"]["value"] == pytest.approx(gap)
        assert rows["b", metric]["gap"]["value"] == pytest.approx(-gap)
        # The two groups of a column are one comparison.
        assert rows["a", metric]["p_adjusted"] == rows["b", metric]["p_adjusted"]


def test_a_group_that_is_worse_is_told():
    rows = subgroups(*study(n=1200, worse=1.5)[:2], {"sex": study(n=1200, worse=1.5)[2]}, OPTIONS)
    told = {(row["group"], row["metric"]) for row in rows if row["is_beyond_chance"]}
    assert ("b", "auroc") in told


@pytest.mark.slow
def test_of_groups_that_are_alike_few_are_told_apart():
    """Families of twelve comparisons: one in twenty may tell something; of 100, 11 would be met once in 100 times."""
    told = 0
    for seed in range(100):
        predictions, truth, group = study(n=240, seed=seed, names=("a", "b", "c", "d"))
        told += any(row["is_beyond_chance"] for row in subgroups(predictions, truth, {"site": group}, OPTIONS))
    assert told <= 10


def test_too_few_patients_are_not_judged():
    predictions, truth, _ = study(n=40)
    group = np.array(["rare" if k < 4 else "common" for k in range(40)])
    rows = subgroups(predictions, truth, {"site": group}, OPTIONS)
    assert all(row["gap"] is None and not row["is_beyond_chance"] for row in rows)
    assert {row["n_patients"] for row in rows if row["group"] == "rare"} == {2}
    assert all(row["value"] is not None or row["reason"] for row in rows)


def test_a_group_within_patients_is_judged_too():
    predictions, truth, _ = study(n=1200)
    view = np.array(["front", "side"] * 600)
    worse = np.where((view == "side") & (truth[:, 0] == 1), -1.5, 0.0)[:, None]
    changed = Predictions(predictions.task, predictions.ids, predictions.logits + worse,
                          1 / (1 + np.exp(-predictions.logits - worse)))  # fmt: skip
    rows = subgroups(changed, truth, {"view": view}, OPTIONS)
    assert ("side", "auroc") in {(row["group"], row["metric"]) for row in rows if row["is_beyond_chance"]}


def test_columns_that_are_no_groups_are_left_out():
    assert named_groups(["a"] * 5).size == 0
    assert named_groups([f"name {k}" for k in range(30)]).size == 0
    ages = named_groups([str(k) for k in range(30, 90)] + [""])
    assert ages[-1] == "(unknown)"
    assert np.unique(ages).size == 4
