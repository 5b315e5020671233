"""Maps and masks of a table, drawn on a cluster: those of one machine, share by share."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import focusmap
from focusmap.basics import InputError
from focusmap.cli import main
from focusmap.images import read_mask
from focusmap.scale import PARTS, parts_in
from support.cluster import a_worker_killed, in_its_own_process
from support.options import QUICK
from support.studies import phantom_study

ON_RAY = ["--engine", "ray", "--workers", "2"]
QUICKLY = "segmentation: {n_steps: 2, max_cases: 4}"


def a_study(tmp_path: Path) -> Path:
    """Return a folder with a trained run, and other images of which one is broken."""
    labels = phantom_study(tmp_path / "study", patients=16, images=48, size=32)
    assert main(["train", str(labels), "--out", str(tmp_path / "run"), *QUICK]) == 0
    other = phantom_study(tmp_path / "other", patients=8, images=16, size=32, seed=5)
    (other.parent / pd.read_csv(other, dtype=str)["path"].iloc[7]).write_bytes(b"no image")
    (tmp_path / "quick.yaml").write_text(QUICKLY)
    return tmp_path


def parts_of(out: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(file) for file in parts_in(out / PARTS)], ignore_index=True)


def test_verbs_name_the_calls_that_answer_a_table(tmp_path: Path) -> None:
    study = a_study(tmp_path)
    options = focusmap.RunOptions(engine="ray")
    with pytest.raises(InputError, match=r"call focusmap\.explain_table"):
        focusmap.explain(study / "run", focusmap.ExplainRequest(), options)
    with pytest.raises(InputError, match=r"call focusmap\.segment_table"):
        focusmap.segment(study / "run", focusmap.SegmentRequest(), options)
    with pytest.raises(InputError, match="takes one table, and writes to a folder"):
        focusmap.explain_table(study / "run", focusmap.ExplainRequest((study / "other/labels.csv",)), options)


@pytest.mark.slow
@in_its_own_process
def test_a_cluster_draws_the_maps_of_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = a_study(tmp_path)
    monkeypatch.setattr("focusmap.study.streamed.ROWS", 2)
    assert main(["explain", str(study / "run")]) == 0, "whose colours are the others'"
    command = ["explain", str(study / "run"), str(study / "other/labels.csv"), "--method", "cam", "--out"]
    with a_worker_killed(monkeypatch):
        assert main([*command, str(study / "ray"), *ON_RAY]) == 2, "one image cannot be read"
    assert main([*command, str(study / "one"), "--accept", "patient-across-splits"]) == 2
    one = pd.read_csv(study / "one/index.csv", dtype=str, keep_default_na=False)
    ray = parts_of(study / "ray")
    for name in ("image_id", "path", "target", "method", "has_evidence", "predicted"):
        assert ray[name].tolist() == one[name].tolist(), name
    np.testing.assert_allclose(ray["probability"], one["probability"].astype(float), atol=1e-4)
    for mine, theirs in zip(ray["map"], one["map"], strict=True):
        np.testing.assert_allclose(
            np.load(study / "ray" / mine)["map"], np.load(study / "one" / theirs)["map"], atol=1e-3
        )
    assert all((study / "ray" / name).is_file() for name in ray["overlay"])
    assert len(pd.read_parquet(study / "ray/failures.parquet")) == 1
    assert not list((study / "ray" / PARTS).glob(".*")), "nothing is left of what the killed worker was writing"
    again = focusmap.ExplainRequest((study / "other/labels.csv",), study / "ray", ("cam",))
    with pytest.raises(InputError, match="holds parts already"):
        focusmap.explain_table(study / "run", again)


@pytest.mark.slow
@in_its_own_process
def test_a_cluster_draws_the_masks_of_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = a_study(tmp_path)
    monkeypatch.setattr("focusmap.study.streamed.ROWS", 5)
    other = study / "other/labels.csv"
    rows = pd.read_csv(other, dtype=str, keep_default_na=False)
    rows[["path", "patient_id"]].to_csv(study / "other/plain.csv", index=False)
    run, how = str(study / "run"), ["--recipe", str(study / "quick.yaml"), "--out"]
    assert main(["segment", run, str(study / "other/plain.csv"), *how, str(study / "ray"), *ON_RAY]) == 2
    images = [str(study / "other" / path) for path in rows["path"]]
    assert main(["segment", run, *images, *how, str(study / "one")]) == 2
    one = pd.read_csv(study / "one/index.csv", dtype=str, keep_default_na=False)
    ray = parts_of(study / "ray").sort_values(["target", "path"]).reset_index(drop=True)
    one = one.sort_values(["target", "path"]).reset_index(drop=True)
    assert ray["target"].tolist() == one["target"].tolist()
    assert ray["method"].tolist() == one["method"].tolist()
    unlike = [
        float((read_mask(study / "ray" / mine) != read_mask(study / "one" / theirs)).mean())
        for mine, theirs in zip(ray["mask"], one["mask"], strict=True)
    ]
    assert max(unlike) < 0.02
    assert len(pd.read_parquet(study / "ray/failures.parquet")) == 1
