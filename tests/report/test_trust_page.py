"""The verdict on heat maps in words: what each method passes, what the controls pass, and what was not judged."""

import shutil
from pathlib import Path

import pytest

from focusmap.basics import Json, write_json
from focusmap.report.run_page import render_report
from focusmap.report.trust import render_trust, trust_verdicts
from focusmap.report.words import words_in
from support.synthetic_run import binary_task, words_of, write_run

ENGLISH = words_in("en")
CURVES: dict[str, Json] = {"curve": [0.9, 0.5, 0.1], "control": [0.9, 0.8, 0.1]}


def verdict(passes: bool | None, reason: str | None = None) -> dict[str, Json]:
    return {"passes": passes, "value": 0.2, "low": 0.1, "high": 0.3, "limit": 0.0, "n": 16, "reason": reason}


def trust_of(*, edges_pass: bool = False) -> dict[str, Json]:
    cam: dict[str, Json] = {
        "deletion": {**verdict(True), **CURVES},
        "road": verdict(False),
        "randomisation": verdict(None, "no label has maps of two images to compare"),
    }
    controls: dict[str, Json] = {"edges": {**cam, "deletion": verdict(edges_pass)}, "random": {}}
    return {
        "n_maps": 16, "n_pictures": 12, "n_patients": 9, "n_predicted": 11, "n_models": 3,
        "criteria": {name: {"source": "<b>A paper</b>"} for name in cam}, "methods": {"cam": cam}, "controls": controls,
    }  # fmt: skip


def test_the_page_says_what_passes_what_fails_and_what_was_not_judged(tmp_path: Path) -> None:
    page = render_trust(trust_of(), tmp_path / "trust.html").read_text()
    words = words_of(page)
    assert "cam passes 1 of the 2 criteria assessed for this model; it fails road." in words
    assert f"✓ {ENGLISH('trust_passes.deletion')}" in words
    assert f"✗ {ENGLISH('trust_fails.road')}" in words
    assert "? Not assessed: randomisation: no label has maps of two images to compare." in words
    assert "necessary, not sufficient" in words
    assert "16 maps of 12 images of 9 patients" in words
    assert (
        "Only the first of 3 models was assessed; it represents all. Intervals from so few patients are too narrow."
        in words
    )
    assert "<b>A paper" not in page
    assert page.count("data:image/svg") == 1


def test_what_a_control_passes_is_said(tmp_path: Path) -> None:
    words = words_of(render_trust(trust_of(edges_pass=True), tmp_path / "trust.html").read_text())
    assert "edges of the image (control): passes deletion." in words
    assert "noise (control): passes nothing." in words


def test_a_method_that_passes_everything_is_good_and_one_without_a_judgement_is_not() -> None:
    (one,) = trust_verdicts({"methods": {"cam": {"road": verdict(True)}}}, ENGLISH)
    assert one.passes_all
    (other,) = trust_verdicts({"methods": {"cam": {"road": verdict(None, "it is defined for no image")}}}, ENGLISH)
    assert not other.passes_all


def test_without_maps_the_page_says_why(tmp_path: Path) -> None:
    trust: dict[str, Json] = {"methods": {}, "controls": {}, "criteria": {}, "reason": "fewer than two images"}
    assert "Nothing was measured: fewer than two images." in words_of(
        render_trust(trust, tmp_path / "trust.html").read_text()
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", binary_task("nodule"), n=60, n_maps=4)


def test_the_report_carries_the_verdict_beside_the_gallery(run: Path) -> None:
    before = words_of(render_report(run).read_text())
    assert "--trust" in before
    write_json(run / "focus" / "trust.json", trust_of())
    page = render_report(run).read_text()
    section = page[page.index('<section id="maps">') : page.index('<section id="localisation">')]
    assert "cam passes 1 of the 2 criteria assessed for this model; it fails road." in section
    assert "focus/trust.html" in section
    shutil.rmtree(run / "focus")
    assert "passes 1 of" not in render_report(run).read_text()
