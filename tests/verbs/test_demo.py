"""Planted truth: the demo finds what was planted, and nothing where labels are shuffled."""

import json

import pytest

import focusmap as verbs

AUROC_WANTED = 0.90
HITS_WANTED = 0.85


def outcome(run):
    """Return the AUROC of each finding and the CAM's hit rate on true positives."""
    metrics = json.loads((run.evaluation / "metrics.json").read_text())
    scores = run.focus / "scores.json"
    methods = json.loads(scores.read_text())["methods"] if scores.is_file() else {}
    hits = methods.get("cam", {}).get("pointing_hit", {}).get("value")
    return [values["auroc"]["value"] for values in metrics["targets"].values()], hits or 0.0


@pytest.mark.slow
def test_the_demo_finds_what_was_planted(tmp_path):
    aurocs, hits = outcome(verbs.demo(tmp_path / "demo"))
    assert len(aurocs) == 3
    assert min(aurocs) >= AUROC_WANTED
    assert hits >= HITS_WANTED


@pytest.mark.slow
def test_on_shuffled_labels_it_finds_nothing(tmp_path):
    aurocs, hits = outcome(verbs.demo(tmp_path / "demo", shuffle_labels=True))
    assert max(aurocs) < AUROC_WANTED
    assert hits < HITS_WANTED
