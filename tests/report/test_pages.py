"""The audit page and the comparison: what matters first, escaped, in one file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from focusmap.basics import Json, read_json
from focusmap.figures import Tile, write_sheet
from focusmap.report.audit_page import AuditImages, PairImage, render_audit
from focusmap.report.comparison import difference_forest, render_comparison
from focusmap.report.files import judged_predictions, read_run
from focusmap.report.words import words_in
from support.synthetic_run import binary_task, write_run

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("pages") / "run", binary_task("nodule", "effusion"), n=80, n_maps=2)


def test_audit_shows_findings_then_overview_then_images(run: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    write_sheet(sheet, [Tile(np.eye(9), "a")])
    images = AuditImages({HOSTILE: sheet}, [PairImage(HOSTILE, "b", 0.99, sheet)])
    path = render_audit(read_json(run / "audit.json"), images, tmp_path)
    page = path.read_text()
    order = [
        page.index(f'<section id="{name}">')
        for name in ("findings", "overview", "cooccurrence", "duplicates", "sheets")
    ]
    assert order == sorted(order)
    assert "<img src=x" not in page
    assert "For research use; not a medical device" in page
    assert page.index("no-patient-column") < page.index("near-duplicates-across-classes") < page.index("unknown-labels")


def test_standing_blocking_finding_is_the_title(run: Path, tmp_path: Path) -> None:
    audit = dict(read_json(run / "audit.json"))
    audit["accepted"] = []
    assert "A blocking finding is unresolved" in render_audit(audit, AuditImages(), tmp_path).read_text()


@pytest.mark.parametrize(
    "audit", [{}, {"findings": [], "overview": {}}, {"overview": {"cooccurrence": {"names": ["a"]}}}]
)
def test_empty_audits_are_pages_too(audit: dict[str, Json], tmp_path: Path) -> None:
    assert "No findings." in render_audit(audit, AuditImages(), tmp_path).read_text()


def test_comparison_has_runs_differences_and_curves(run: Path, tmp_path: Path) -> None:
    metrics = read_json(run / "evaluation" / "metrics.json")
    difference: Json = {"value": 0.02, "low": -0.01, "high": 0.05}
    row: Json = {
        "a": "first",
        "b": HOSTILE,
        "target": "nodule",
        "metric": "auroc",
        "difference": difference,
        "p": 0.0004,
    }
    runs: list[Json] = [{"name": name, "folder": "runs", "metrics": metrics} for name in ("first", HOSTILE)]
    history = pd.read_csv(run / "history.csv", dtype=str, keep_default_na=False)
    comparison: dict[str, Json] = {"runs": runs, "differences": [row]}
    page = render_comparison(comparison, {"first": history, HOSTILE: history}, tmp_path).read_text()
    assert "+0.020" in page
    assert "−0.010 to 0.050" in page
    assert "&lt; 0.001" in page
    assert "data:image/svg+xml" in page
    assert "<img src=x" not in page


def test_the_plot_of_a_comparison_stands_first_and_its_words_follow_the_interval(tmp_path: Path) -> None:
    def row(target: str, metric: str, *limits: float) -> dict[str, Json]:
        difference: Json = dict(zip(("value", "low", "high"), limits, strict=True))
        return {"a": "first", "b": "second", "target": target, "metric": metric, "difference": difference}

    words = words_in("en")
    rows = [row("x", "auroc", 0.1, 0.02, 0.17), row("y", "auroc", -0.01, -0.06, 0.04), row("x", "ece", 0.1, 0.0, 0.2)]
    plot = difference_forest(rows, words)
    assert plot is not None
    assert [(one.name, one.word) for one in plot.rows] == [("x", "second better"), ("y", "no difference shown")]
    assert plot.guessing == 50
    assert list(plot.ticks) == ["−0.2", "0", "+0.2"]
    assert (plot.rows[0].at, plot.rows[0].start) == (75, 55)
    # Of an error less is better.
    less = difference_forest([row("v", "mae", -30.0, -40.0, -20.0)], words)
    assert less is not None
    assert less.rows[0].word == "second better"
    assert min(less.rows[0].start, less.rows[0].end) >= 0
    assert difference_forest([row("x", "ece", 0.1, 0.0, 0.2)], words) is None
    comparison: dict[str, Json] = {"runs": [], "differences": [*rows], "answers": []}
    page = render_comparison(comparison, {}, tmp_path).read_text()
    assert page.index('class="forest"') < page.index('id="runs"')


def test_outcomes_agree_with_a_count_by_hand(run: Path) -> None:
    judged = judged_predictions(read_run(run), words_in("en"))
    assert judged is not None
    nodule = judged[judged["label"] == "nodule"]
    by_hand = {"TP": 0, "FP": 0, "FN": 0, "TN": 0, "": 0}
    for truth, probability in zip(nodule["truth"], nodule["probability"], strict=True):
        called = probability >= 0.4
        known = not np.isnan(truth)
        by_hand[("TP" if truth else "FP") if known and called else ("FN" if truth else "TN") if known else ""] += 1
    assert {key: int((nodule["outcome"] == key).sum()) for key in by_hand} == by_hand
