"""Planted eyes whose targets need images and table: the joint model betters each alone, unless the link is cut."""

from dataclasses import replace

import pandas as pd
import pytest
from eyes_phantom import RECIPE, differences

from focusmap import explain
from support.phantom_eyes import EyeOptions

EYES = EyeOptions()


@pytest.mark.slow
def test_images_and_table_together_better_each_alone(tmp_path):
    found = differences(tmp_path, EYES, RECIPE, ("image", "table"))
    assert found["image"]["mean"]["low"] > 0
    assert found["table"]["mean"]["low"] > 0
    assert found["table"]["CST"]["low"] > 0


@pytest.mark.slow
def test_the_evidence_is_on_the_views_that_the_targets_follow(tmp_path):
    small = replace(RECIPE, model="small-residual", size=32, epochs=24)
    differences(tmp_path, EyeOptions(n_patients=120, size=32), small, ())
    explain(tmp_path / "joint")
    index = pd.read_csv(tmp_path / "joint/focus/index.csv")
    predicted = index[index["predicted"]]
    strongest = predicted.loc[predicted.groupby(["case_id", "target"])["evidence"].idxmax()].set_index("target")["view"]
    for target, view in (("CST", "post"), ("continue_injection", "post"), ("loss", "pre")):
        assert (strongest[target] == f"{view} right-half").mean() > 0.9, target


@pytest.mark.slow
@pytest.mark.parametrize(("cut", "other"), [("images_tell", "table"), ("table_tells", "image")])
def test_what_tells_nothing_adds_nothing(tmp_path, cut, other):
    found = differences(tmp_path, replace(EYES, **{cut: False}), RECIPE, (other,))
    assert found[other]["mean"]["low"] <= 0
    assert found[other]["CST"]["low"] <= 0
