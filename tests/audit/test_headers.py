"""What DICOM headers say of patients is held against the table, or stands in for it; nothing of it is quoted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom.data
import pytest

from focusmap.audit.metadata import metadata_of
from focusmap.cli import main
from focusmap.images import dicom_identity
from focusmap.study import Cohort, Declaration, read_cohort
from support.audited import audit_cohort, found, must_find, textures
from support.dicom_files import a_dataset, saved

N = 40


def written(folder: Path, headers: list[str], columns: dict[str, list[str]] | None = None) -> Cohort:
    for k, (owner, pixels) in enumerate(zip(headers, textures(N, size=48), strict=True)):
        study = f"1.2.3.{int(owner[1:]) if owner[1:].isdigit() else 0}"
        dataset = a_dataset(pixels.astype(np.uint16), PatientID=owner, StudyInstanceUID=study)
        saved(folder, dataset, f"{k:03d}.dcm")
    table = pd.DataFrame({"path": [f"{k:03d}.dcm" for k in range(N)], **(columns or {})})
    table.assign(label=["sick", "well"] * (N // 2)).to_csv(folder / "labels.csv", index=False)
    return read_cohort(folder / "labels.csv", Declaration())


PAIRS = [f"H{k // 2}" for k in range(N)]


def test_a_table_without_patients_takes_those_of_the_headers(tmp_path: Path) -> None:
    cohort = written(tmp_path, PAIRS)
    assert dicom_identity(tmp_path / "000.dcm").patient_id == "H0"
    assert cohort.patient_ids.tolist() == PAIRS
    assert any("the headers do (20 patients)" in note for note in cohort.study.notes)
    assert found(audit_cohort(cohort), "no-patient-column") is None
    again = read_cohort(tmp_path / "labels.csv", study=cohort.study)
    assert again.patient_ids.tolist() == PAIRS


@pytest.mark.parametrize("headers", [["ANON"] * N, [""] * N, ["H1"] * N, [*PAIRS[:-1], ""]])
def test_headers_that_name_nobody_are_not_taken(tmp_path: Path, headers: list[str]) -> None:
    assert must_find(audit_cohort(written(tmp_path, headers)), "no-patient-column").severity == "blocking"


def test_the_user_can_say_that_each_image_is_a_patient(tmp_path: Path) -> None:
    written(tmp_path, PAIRS)
    cohort = read_cohort(tmp_path / "labels.csv", Declaration(patient="none"))
    assert len(set(cohort.patient_ids)) == N


def test_agreement_is_a_note(tmp_path: Path) -> None:
    audit = audit_cohort(written(tmp_path, PAIRS, {"patient_id": [f"p{k // 2}" for k in range(N)]}))
    assert must_find(audit, "header-patients-agree").severity == "note"
    assert found(audit, "header-patients-differ") is None


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([f"p{k}" for k in range(N)], "one patient by the header and several patients by column patient_id"),
        ([f"p{k // 4}" for k in range(N)], "several patients by the header and one by column patient_id"),
    ],
)
def test_disagreement_is_a_finding_that_quotes_no_header(tmp_path: Path, column: list[str], said: str) -> None:
    item = must_find(audit_cohort(written(tmp_path, PAIRS, {"patient_id": column})), "header-patients-differ")
    assert item.severity == "warning"
    assert "000.dcm and 00" in item.message
    assert said in item.message
    assert not any(owner in item.message for owner in ("H0", "H1"))


def test_the_command_takes_them_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, PAIRS)
    assert main(["audit", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "audit")]) == 0
    assert "40 images, 20 patients" in capsys.readouterr().out


def test_what_was_made_of_odd_pixels_is_said(tmp_path: Path) -> None:
    cohort = written(tmp_path, PAIRS)
    pixels = np.full((48, 48), np.nan, np.float32)
    pixels[8:, 8:] = textures(1, size=48)[0][8:, 8:]
    import tifffile

    tifffile.imwrite(tmp_path / "odd.tif", pixels)
    table = pd.read_csv(tmp_path / "labels.csv").assign(patient_id=[f"p{k}" for k in range(N)])
    table.loc[0, "path"] = "odd.tif"
    table.to_csv(tmp_path / "labels.csv", index=False)
    assert cohort
    item = must_find(audit_cohort(read_cohort(tmp_path / "labels.csv", Declaration())), "odd-pixels")
    assert "odd.tif: " in item.message
    assert "NaN" in item.message


def test_the_hour_of_acquisition_is_found_in_files_of_real_devices() -> None:
    """Of pydicom's own files those with a time, whichever element holds it; midnight is an hour."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    hours = {file.name: metadata_of(file).made.get("hour", "") for file in folder.glob("*.dcm")}
    assert hours["CT_small.dcm"] == "11"
    assert len([hour for hour in hours.values() if hour]) > 40
    assert len(set(hours.values())) > 8


def test_a_device_that_writes_one_date_time_has_an_hour(tmp_path: Path) -> None:
    file = saved(tmp_path, a_dataset(AcquisitionDateTime="20240301003015.5"))
    assert metadata_of(file).made["hour"] == "0"
