"""Answers as DICOM objects: geometry and values come back, readers and dciodvfy accept them, numbers are predict's."""

import json
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("highdicom", reason="the extra dicom is not installed")

import highdicom
from pydicom import dcmread
from pydicom.dataset import Dataset

from focusmap.basics import write_json
from focusmap.cli import main
from focusmap.dicom import objects
from focusmap.dicom.objects import Author
from focusmap.dicom.sources import Sources, sources_of
from focusmap.evaluation import Showing
from focusmap.images import read_image
from support.dicom_files import a_dataset, a_series, saved
from support.options import QUICK
from support.studies import phantom_study

AUTHOR = Author("small-residual", {"nodule": ("27925004", "SCT", "Nodule")})
ANSWER = {
    "unlike": "",
    "targets": [
        {
            "name": "nodule", "kind": "binary", "answer": "yes", "threshold": 0.4,
            "classes": [{"name": "nodule", "label": "nodule", "probability": 0.8125}],
        },
        {
            "name": "label", "kind": "multiclass", "answer": "benign", "threshold": None,
            "classes": [{"name": name, "label": f"label={name}", "probability": 0.5} for name in ("benign", "other")],
        },
    ],
}  # fmt: skip


def errors_in(dataset: Dataset, place: Path) -> list[str]:
    """Return what dciodvfy finds wrong; nothing where it is not installed."""
    file = place / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(file, enforce_file_format=True)
    if shutil.which("dciodvfy") is None:
        return []
    found = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True)
    return [line for line in (found.stdout + found.stderr).splitlines() if line.startswith("Error")]


@pytest.fixture(params=["in order", "backwards", "single", "projection"])
def sources(request: pytest.FixtureRequest, tmp_path: Path) -> Sources:
    if request.param == "projection":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = a_dataset(
                Modality="DX", StudyInstanceUID="1.2.3.4", SeriesInstanceUID="1.2.3.5", PatientID="p", PatientAge="62",
                PatientName="", PatientBirthDate="", PatientSex="", StudyDate="", StudyTime="", StudyID="",
                AccessionNumber="", ReferringPhysicianName="", Laterality="", ImagerPixelSpacing=[0.14, 0.14],
            )  # fmt: skip
        return next(sources_of([saved(tmp_path, made, "film.dcm")], tmp_path, volumes=False))
    n = 1 if request.param == "single" else 5
    a_series(tmp_path / "ct", n=n, order=-1 if request.param == "backwards" else 1)
    return next(sources_of([tmp_path / "ct"], tmp_path, volumes=n > 1))


def shape_of(sources: Sources) -> tuple[int, ...]:
    return read_image(sources.image).source_shape


def by_source(made: Dataset, values: np.ndarray, segment: int | None = None) -> dict[tuple[float, ...], np.ndarray]:
    """Return frames by where they say they lie."""
    found = {}
    for k, groups in enumerate(made.PerFrameFunctionalGroupsSequence):
        place = groups.get("PlanePositionSequence") or made.SharedFunctionalGroupsSequence[0].get(
            "PlanePositionSequence"
        )
        if segment is None or groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == segment:
            found[tuple(np.round(np.array(place[0].ImagePositionPatient, float), 3))] = values[k]
    return found


def test_masks_come_back_where_they_were(sources: Sources, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    masks = {name: generator.random(shape_of(sources)) < 0.3 for name in ("nodule", "cavity")}
    made = objects.segmentation(sources, masks, AUTHOR)
    assert errors_in(made, tmp_path) == []
    read = highdicom.seg.segread(tmp_path / f"{made.SOPInstanceUID}.dcm")
    pixels = read.pixel_array.reshape(-1, *read.pixel_array.shape[-2:])
    for number, mask in enumerate(masks.values(), start=1):
        planes = sources.planes(mask)
        if not sources.is_placed:
            np.testing.assert_array_equal(pixels[number - 1], planes[0])
            continue
        frames = by_source(read, pixels, number)
        for dataset, plane in zip(sources.datasets, planes, strict=True):
            where = tuple(np.round(np.array(dataset.ImagePositionPatient, float), 3))
            np.testing.assert_array_equal(frames[where], plane)
    orientation = read.SharedFunctionalGroupsSequence[0].get("PlaneOrientationSequence")
    if sources.is_placed:
        np.testing.assert_allclose(
            orientation[0].ImageOrientationPatient, sources.datasets[0].ImageOrientationPatient, atol=1e-6
        )


def test_maps_come_back_on_their_own_scale(sources: Sources, tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(0, 3, shape_of(sources)).astype(np.float32)
    made = objects.parametric_map(sources, values, "nodule", "evidence (logit units)", AUTHOR)
    assert errors_in(made, tmp_path) == []
    read = dcmread(tmp_path / f"{made.SOPInstanceUID}.dcm")
    pixels = np.frombuffer(read.FloatPixelData, np.float32).reshape(-1, read.Rows, read.Columns)
    frames, planes = by_source(read, pixels), sources.planes(values)
    if not sources.is_placed:
        np.testing.assert_array_equal(pixels[0], planes[0])
        assert read.FrameOfReferenceUID != sources.datasets[0].get("FrameOfReferenceUID")
        return
    for dataset, plane in zip(sources.datasets, planes, strict=True):
        np.testing.assert_array_equal(frames[tuple(np.round(np.array(dataset.ImagePositionPatient, float), 3))], plane)


def test_a_report_says_what_was_answered_of_which_images(sources: Sources, tmp_path: Path) -> None:
    made = objects.report(sources, ANSWER, AUTHOR)
    assert errors_in(made, tmp_path) == []
    read = highdicom.sr.srread(tmp_path / f"{made.SOPInstanceUID}.dcm")
    first, second = read.content.get_image_measurement_groups()
    assert first.finding_type == highdicom.sr.CodedConcept("27925004", "SCT", "Nodule")
    assert [one.value for one in first.get_measurements()] == [0.8125, 0.4]
    assert first.get_qualitative_evaluations()[0].value.meaning == "Present"
    assert second.get_qualitative_evaluations()[0].value.meaning == "benign"
    referenced = {str(one.referenced_sop_instance_uid) for one in first.source_images}
    assert referenced == {str(one.SOPInstanceUID) for one in sources.datasets}
    for name in ("PatientID", "StudyInstanceUID"):
        assert read.get(name) == sources.datasets[0].get(name)


def test_an_overlay_is_a_colour_image_of_the_same_study(sources: Sources, tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (30, 50, 3), dtype=np.uint8)
    made = objects.secondary_capture(sources, pixels, "nodule", AUTHOR)
    assert errors_in(made, tmp_path) == []
    read = dcmread(tmp_path / f"{made.SOPInstanceUID}.dcm")
    np.testing.assert_array_equal(read.pixel_array, pixels)
    assert read.StudyInstanceUID == sources.datasets[0].StudyInstanceUID


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("dicom")
    study = phantom_study(place / "study", patients=16, images=48)
    assert main(["train", str(study), "--out", str(place / "run"), *QUICK]) == 0
    return place / "run"


def test_the_command_writes_objects_with_the_numbers_of_predict(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_series(tmp_path / "ct", n=2)
    (tmp_path / "codes.json").write_text(json.dumps({"nodule": ["27925004", "SCT", "Nodule"]}))
    asked = ["dicom", "write", str(tmp_path / "ct"), "--model", str(run), "--codes", str(tmp_path / "codes.json")]
    assert main([*asked, "--out", str(tmp_path / "made")]) == 0
    said = capsys.readouterr().out
    assert "about 2 images" in said
    assert "focusmap segment" in said
    assert main(["predict", str(run), str(tmp_path / "ct"), "--out", str(tmp_path / "p.csv")]) == 0
    expected = pd.read_csv(tmp_path / "p.csv")
    reports = [highdicom.sr.srread(file) for file in (tmp_path / "made").rglob("SR-*.dcm")]
    found = sorted(one.content.get_image_measurement_groups()[0].get_measurements()[0].value for one in reports)
    np.testing.assert_allclose(found, sorted(expected["nodule"]), atol=1e-5)
    kinds = [dcmread(file, stop_before_pixels=True).SOPClassUID.name for file in (tmp_path / "made").rglob("*.dcm")]
    assert kinds.count("Parametric Map Storage") == 6
    assert main([*asked, "--out", str(tmp_path / "made")]) == 2
    assert main([*asked[:3], "--out", str(tmp_path / "other")]) == 2
    assert (
        main(["dicom", "write", str(tmp_path / "codes.json"), "--model", str(run), "--out", str(tmp_path / "x")]) == 2
    )


def test_no_colours_are_laid_over_what_is_not_answered(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an image unlike train there is a report alone; of a label no better than guessing no map."""
    own = tmp_path / "run"
    shutil.copytree(run, own)
    entry = {"verdict": "not-shown-useful", "verdict_reason": "", "metric": {}, "limits": {}}
    write_json(own / "model/answers.json", {"error": 0.1, "targets": {"nodule": entry}}, sealed=True)
    a_series(tmp_path / "ct", n=1)
    asked = ["dicom", "write", str(tmp_path / "ct"), "--model", str(own), "--kind", "sr", "--kind", "map"]
    assert main([*asked, "--out", str(tmp_path / "made")]) == 0
    made = [dcmread(file) for file in (tmp_path / "made").rglob("*.dcm")]
    assert sorted(one.SeriesDescription.rpartition(": ")[2] for one in made if one.Modality != "SR") == [
        "cavity", "consolidation",
    ]  # fmt: skip
    monkeypatch.setattr("focusmap.models.showing_of", lambda _: Showing(unlike=lambda _: "unlike in grey values"))
    assert main([*asked, "--out", str(tmp_path / "unlike")]) == 0
    assert [dcmread(file).Modality for file in (tmp_path / "unlike").rglob("*.dcm")] == ["SR"]
    assert "nothing may be shown: out of distribution" in capsys.readouterr().out


def test_an_unknown_kind_or_code_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = str(a_series(tmp_path / "ct", n=1)[0])
    assert main(["dicom", "write", film, "--model", str(run), "--out", str(tmp_path / "o"), "--kind", "pdf"]) == 2
    assert "sr, seg, map, sc" in capsys.readouterr().err
    (tmp_path / "codes.json").write_text('{"nodule": ["27925004"]}')
    asked = ["dicom", "write", film, "--model", str(run), "--out", str(tmp_path / "o")]
    assert main([*asked, "--codes", str(tmp_path / "codes.json")]) == 2
    assert "three texts" in capsys.readouterr().err
