"""Every option that a command shows changes something: what runs reads the field that the option fills."""

import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

import focusmap
from focusmap.api import workflow
from focusmap.basics import fields_of
from focusmap.cli import COMMANDS, command_class, main
from focusmap.cli.arguments import arguments_of
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom

QUICK = ["--model", "small-residual", "--size", "32", "--epochs", "1", "--weights", "none", "--workers", "1"]
# Copying, comparing and checking a value is not acting on it.
UNCOUNTED = ("dataclasses", "focusmap.basics.settings", "focusmap.cli.arguments", "focusmap.cli.groups")
SHARED = (
    focusmap.Declaration, focusmap.RunOptions, focusmap.Recipe, focusmap.PredictRequest, focusmap.ExplainRequest,
    focusmap.SegmentRequest, focusmap.TrustRequest, focusmap.ConvertRequest, focusmap.ConsensusRequest,
    focusmap.IndexRequest, focusmap.ConsensusOptions, focusmap.ReadingsDeclaration, focusmap.ServeRequest,
    focusmap.DicomRequest,
)  # fmt: skip
INNER = ("Study", "RecipeFile", "Learning", "Reading")


def fields_behind(command):
    """Return class and field of every option and place of a command."""
    found = set()
    for name, _, _ in arguments_of(command_class(command)):
        owner = command_class(command)
        *groups, last = name.split(".")
        for group in groups:
            owner = next(field.type for field in fields_of(owner) if field.name == group)
        found.add((owner.__name__, last))
    return found


@pytest.fixture
def reads(monkeypatch):
    """Return the set that fills with class and field of what is read while commands run."""
    found = set()

    def watch(owner, uncounted):
        def reading(self, name):
            caller = sys._getframe(1)
            if caller.f_globals.get("__name__") not in uncounted and caller.f_code.co_filename != "<string>":
                found.add((owner.__name__, name))
            return object.__getattribute__(self, name)

        monkeypatch.setattr(owner, "__getattribute__", reading, raising=False)

    from focusmap.cli import groups

    for owner in SHARED:
        watch(owner, UNCOUNTED)
    for owner in [*(getattr(groups, name) for name in INNER), *map(command_class, COMMANDS)]:
        watch(owner, UNCOUNTED[:3])
    to_yaml = focusmap.Recipe.to_yaml

    def written(self, path):
        # A recipe that is written is what whoever goes on with the run reads.
        found.update(("Recipe", field.name) for field in fields_of(focusmap.Recipe))
        return to_yaml(self, path)

    monkeypatch.setattr(focusmap.Recipe, "to_yaml", written)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a study, a trained run, other images of which one is damaged, and small tables."""
    folder = tmp_path_factory.mktemp("acts")
    study = write_phantom(make_phantom(PhantomOptions(n_patients=16, n_images=48, size=32)), folder / "study")
    assert main(["train", str(study), "--out", str(folder / "run"), *QUICK]) == 0
    other = make_phantom(PhantomOptions(n_patients=8, n_images=16, size=32, seed=5))
    labels = write_phantom(other, folder / "other")
    text = labels.read_text()
    first = text.splitlines()[1].split(",")[text.splitlines()[0].split(",").index("path")]
    (labels.parent / first).write_bytes(b"none")
    rows = [f"{i % 2},{0.2 + 0.6 * (i % 2):.1f}" for i in range(20)]
    (folder / "table.csv").write_text("true_A,prob_A\n" + "\n".join(rows) + "\n")
    readings = ("a.png,17,ann,0", "a.png,17,bob,1", "b.png,0017,ann,1", "b.png,0017,bob,1")
    (folder / "readers.csv").write_text("path,patient_id,reader,Mass\n" + "\n".join(readings) + "\n")
    rows = [f"p{i},{30 + i % 9 + 5 * (i % 2)},{i % 2}" for i in range(60)]
    (folder / "ages.csv").write_text("patient_id,age,label\n" + "\n".join(rows) + "\n")
    table_run = ["--out", str(folder / "ages"), "--covariate", "age", "--workers", "1"]
    assert main(["train", str(folder / "ages.csv"), *table_run]) == 0
    (folder / "quick.yaml").write_text("segmentation: {n_steps: 2, max_cases: 4}")
    (folder / "images/cat").mkdir(parents=True)
    cv2.imwrite(str(folder / "images/cat/1.png"), np.zeros((8, 8), np.uint8))
    return folder


TYPED = {
    "audit": ["{study} --out {new}/a --workers 1 --against {other} --force", "{study} --dry-run"],
    "prepare": ["{study} --out {new}/p {quick}"],
    "train": ["{study} --out {new}/t {quick}", "--resume {run}"],
    "tune": ["{study} --out {new}/tuned --trials 1 {quick}"],
    "evaluate": [
        "{run}",
        "{run} {other} --out {new}/e --accept patient-across-splits",
        "{run} --cases mean",
        "--predictions {folder}/table.csv --prevalence .1",
        "{run} --target nodule --out {new}/anomalies",
    ],
    "challenge": ["{run}"],
    "accept": [
        "{run} {other} --out {new}/x --accept patient-across-splits --at-least nodule/auroc=.5",
        "{run} {other} --out {new}/y --accept patient-across-splits --skip-unreadable --at-most nodule/ece=.99",
    ],
    "predict": [
        "{run} {other} --out {new}/p.csv --overlay {new}/overlay",
        "{run} {folder}/images/cat/1.png",
        "{folder}/ages {folder}/ages.csv --out {new}/a",
        "{run} {other} --out {new}/many --engine ray --resume --workers 1",
    ],
    "explain": [
        "{run} --out {new}/own --trust --trust-images 2 --trust-draws 2 --shuffled {run}",
        "{run} {other} --out {new}/other --accept patient-across-splits",
        "{run} --out {new}/own",
        "{run} {other} --out {new}/many --engine ray --resume --workers 1",
    ],
    "segment": [
        "{run} {other} --out {new}/s --recipe {folder}/quick.yaml --accept patient-across-splits",
        "{run} {other} --out {new}/s",
        "{run} {other} --out {new}/many --engine ray --resume --workers 1 --recipe {folder}/quick.yaml",
    ],
    "compare": ["{run} {run} --out {new}/c"],
    "report": ["{run}"],
    "reproduce": ["{run} --workers 1", "{run} --out {new}/again --force"],
    "export": ["{run} --out {new}/x"],
    "serve": ["{run} --port 8001"],
    "corrections": ["{run} --out {new}/c.csv"],
    "dicom": [
        "write {folder}/images --model {run} --out {new}/o --kind sr",
        "query --server http://127.0.0.1:1/dicom-web --where PatientID=x",
        "fetch --server http://127.0.0.1:1/dicom-web --study 1.2 --out {new}/f",
        "watch --model {run} --send-to http://127.0.0.1:1/dicom-web --host 0.0.0.0 --queue {new}/queue "
        "--server http://127.0.0.1:1/dicom-web --every 5",
    ],
    "index": ["{folder}/images --out {new}/i.csv --labels {folder}/table.csv", "{folder}/images --out {new}/j.csv"],
    "convert": [f"{{folder}}/table.csv --out {{new}}/v {way}" for way in ("--slices", "--stack a,b", "")]
    + ["{other} --out {new}/parts --parts left-half"],
    "consensus": ["{folder}/readers.csv --out {new}/labels.csv --accept same-patient-two-spellings"],
    "demo": ["--out {new}/demo"],
    "run": ["{study} --out {new}/r {quick} --track mlflow --segment --recipe {folder}/quick.yaml", "--resume {run}"],
    "doctor": [""],
    "completion": ["bash"],
}
SLOW = ("run", "segment", "demo", "challenge", "export")


def without_a_cluster(shares, out, make, cluster):
    return map(make(), shares)


@pytest.mark.parametrize("command", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in COMMANDS])
def test_what_is_shown_is_read(command, place, reads, tmp_path, monkeypatch):
    names = {"study": place / "study/labels.csv", "other": place / "other/labels.csv", "run": place / "run"}
    quick = " ".join(QUICK)
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    monkeypatch.setattr("focusmap.study.streamed.worked_through", without_a_cluster)
    monkeypatch.setattr(workflow, "DEMO_RECIPE", replace(workflow.DEMO_RECIPE, epochs=1))
    for typed in TYPED[command]:
        if "anomalies" in typed:
            monkeypatch.setattr("focusmap.api.is_unlabelled", lambda _: True)
        words = typed.format(folder=place, new=tmp_path, quick=quick, **names).split()
        assert main([command, *words]) in (0, 2, 3, 4), words
    assert fields_behind(command) <= reads


def test_every_command_is_tried():
    assert TYPED.keys() == COMMANDS.keys()
