"""From a table of readings, over the command line, to labels that train: files, page, refusals, soft labels."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from focusmap.cli import main
from focusmap.study import Declaration, read_cohort
from support.options import NET, quick

QUICK = quick(NET, epochs=2)


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """Five readers of 60 images of 30 patients; half of the images carry a bright square, some have a biopsy."""
    folder = tmp_path_factory.mktemp("readings")
    generator = np.random.default_rng(0)
    rows = []
    for i in range(60):
        pixels = generator.integers(0, 90, (40, 40)).astype(np.uint8)
        if i % 2:
            pixels[10:24, 12:26] += 130
        assert cv2.imwrite(str(folder / f"{i}.png"), pixels)
        for reader, accuracy in zip("abcde", (0.95, 0.9, 0.9, 0.7, 0.7), strict=True):
            said = i % 2 if generator.random() < accuracy else 1 - i % 2
            rows.append((f"{i}.png", f"p{i // 4 * 2 + i % 2}", reader, said, i % 2 if i < 12 else "", i % 3 == 0))
    table = pd.DataFrame(rows, columns=["path", "patient_id", "reader", "square", "biopsy", "smoker"])
    table["smoker"] = table["smoker"].astype(int)
    table.to_csv(folder / "readers.csv", index=False)
    return folder / "readers.csv"


def consensus(readers, out, *options):
    return main(["consensus", str(readers), "--out", str(out), "--target", "square", *options])


def test_labels_facts_and_page_are_written(readers, tmp_path, capsys):
    out = tmp_path / "labels.csv"
    assert consensus(readers, out, "--definitive", "biopsy") == 0
    said = capsys.readouterr().out
    assert "Krippendorff's alpha" in said
    labels, facts = pd.read_csv(out), json.loads((tmp_path / "consensus.json").read_text())
    assert list(labels) == ["path", "patient_id", "smoker", "square"]
    assert (labels["square"][:12] == np.arange(12) % 2).all()
    label = facts["labels"]["square"]
    assert label["krippendorff_alpha"]["low"] < label["krippendorff_alpha"]["value"]
    assert len(label["pairs"]) == 10
    page = (tmp_path / "consensus.html").read_text()
    assert page.count("data:image/jpeg") == min(len(facts["disputed"]), 48)
    assert 'src="http' not in page
    typed = said.splitlines()[-1].removeprefix("next: focusmap ").split()
    assert main([*typed, "--workers", "1"]) == 0  # as printed


def test_a_reader_named_in_html_is_escaped(tmp_path):
    (tmp_path / "readers.csv").write_text("path,x.<b>,x.ann\na.png,1,0\nb.png,0,0\n")
    assert main(["consensus", str(tmp_path / "readers.csv"), "--out", str(tmp_path / "labels.csv")]) == 0
    page = (tmp_path / "consensus.html").read_text()
    assert "&lt;b&gt;" in page
    assert "The image cannot be displayed." in page


def test_nothing_is_overwritten_or_left_half_done(readers, tmp_path, capsys):
    out = tmp_path / "labels.csv"
    assert consensus(readers, out, "--ties", "positiv") == 2
    assert "Did you mean 'positive'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert consensus(readers, out) == 0
    assert consensus(readers, out) == 2
    assert "--force" in capsys.readouterr().err
    assert consensus(readers, out, "--force", "--method", "dawid-skene") == 0
    estimate = json.loads((tmp_path / "consensus.json").read_text())["labels"]["square"]["dawid_skene"]
    assert estimate["readers"]["a"]["sensitivity"] > estimate["readers"]["e"]["sensitivity"]


@pytest.mark.parametrize("method", ["majority", "dawid-skene"])
def test_soft_labels_train_end_to_end(readers, tmp_path, method):
    out, run = tmp_path / "labels.csv", tmp_path / "run"
    assert consensus(readers, out, "--soft", "--method", method) == 0
    labels = pd.read_csv(out)
    assert ((labels["square"] > 0) & (labels["square"] < 1)).any()
    images = ["--images", str(readers.parent)]
    assert main(["run", str(out), "--out", str(run), "--target", "square", *images, *QUICK]) == 0
    predictions = pd.read_csv(run / "predictions/test.csv").merge(labels, on="path", suffixes=("", "_true"))
    metrics = json.loads((run / "evaluation/metrics.json").read_text())["targets"]["square"]
    # A fraction is positive from 0.5 on in the metrics of a decision, and whole in the losses.
    assert metrics["n_positive"] == (predictions["square_true"] >= 0.5).sum()
    y, p = predictions["square_true"], predictions["square"]
    assert metrics["brier"]["value"] == pytest.approx(((p - y) ** 2).mean(), abs=1e-6)
    audit = json.loads((run / "audit.json").read_text())["overview"]["targets"]["square"]
    assert audit["counts"] == {"0": int((labels["square"] < 0.5).sum()), "1": int((labels["square"] >= 0.5).sum())}
    assert audit["n_soft"] == ((labels["square"] > 0) & (labels["square"] < 1)).sum()
    for page in ("report.html", "audit.html"):
        assert f"{audit['n_soft']} soft labels, positive from 0.5 on" in (run / page).read_text()


def test_two_soft_values_are_soft_labels(tmp_path):
    """0.25 and 0.75 are not the names of two classes."""
    for name in "ab":
        (tmp_path / f"{name}.png").touch()
    (tmp_path / "labels.csv").write_text("path,x\na.png,0.25\nb.png,0.75\n")
    for written in ("x", "x:binary"):
        cohort = read_cohort(tmp_path / "labels.csv", Declaration(targets=(written,)))
        assert cohort.truth[:, 0].tolist() == [0.25, 0.75]
