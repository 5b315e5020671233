"""A folder from an archive, and a list of labels by accession number, become a label file without names."""

from pathlib import Path

import pandas as pd
import pytest

from focusmap.cli import main
from support.dicom_files import a_dataset, saved


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    for k in range(6):
        (folder / f"study{k}").mkdir(parents=True)
        film = a_dataset(
            Modality="DX", PatientID=f"ID-{k // 2}", PatientName="Secret^Person", AccessionNumber=f"A{k}",
            StudyDate=f"2024030{k + 1}", ViewPosition="PA" if k % 2 else "LL", SOPInstanceUID=f"1.2.{k}",
            **({"ImageLaterality": "L"} if k else {"Laterality": "R"}),
        )  # fmt: skip
        saved(folder / f"study{k}", film, "film.dcm")
    saved(folder / "study0", a_dataset(Modality="SR"), "report.dcm")
    return folder


def test_headers_become_columns_and_patients_pseudonyms(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", str(export), "--out", str(tmp_path / "labels.csv")]) == 0
    excluded = "excluded: 1 image, DICOM object of modality SR, no image (export/study0/report.dcm)"
    assert excluded in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "labels.csv", dtype=str)
    assert len(table) == 6
    assert list(table["view"]) == ["LL", "PA"] * 3
    assert list(table["laterality"]) == ["R", *"LLLLL"]
    assert set(table["modality"]) == {"DX"}
    assert list(table["study_date"])[:2] == ["20240301", "20240302"]
    assert [len(set(pair)) for pair in table["patient_id"].to_numpy().reshape(3, 2)] == [1, 1, 1]
    assert table["patient_id"].nunique() == 3
    assert "ID-" not in (tmp_path / "labels.csv").read_text()
    assert (tmp_path / "labels.key").stat().st_mode & 0o077 == 0
    assert main(["index", str(export), "--out", str(tmp_path / "labels.csv"), "--force"]) == 0
    assert list(pd.read_csv(tmp_path / "labels.csv", dtype=str)["patient_id"]) == list(table["patient_id"])


def test_a_list_of_labels_by_accession_is_joined(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "findings.csv").write_text("accession,effusion\nA0,0\nA3,1\nA9,1\n")
    asked = ["index", str(export), "--labels", str(tmp_path / "findings.csv"), "--out", str(tmp_path / "labels.csv")]
    assert main([*asked, "--identified"]) == 0
    table = pd.read_csv(tmp_path / "labels.csv", dtype=str)
    said = capsys.readouterr().out
    assert "excluded: 4 images, in no row of findings.csv (export/study1/film.dcm, " in said
    assert "labels without an image: 1 (row 4)\n" in said
    assert list(table["accession"]) == ["A0", "A3"]
    assert list(table["effusion"]) == ["0", "1"]
    assert list(table["patient_id"]) == ["ID-0", "ID-1"]
    assert "label" not in table
    assert not (tmp_path / "labels.key").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,effusion\nx,1\n", "neither a column accession nor patient_id"),
        ("accession,effusion\nA0,1\nA0,0\n", "two things of one accession (row 3)"),
        ("accession,effusion\nB1,1\n", "knows none of the images"),
    ],
)
def test_a_list_that_does_not_fit_is_told(
    export: Path, tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "findings.csv").write_text(text)
    asked = ["index", str(export), "--labels", str(tmp_path / "findings.csv"), "--out", str(tmp_path / "labels.csv")]
    assert main(asked) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "labels.csv").exists()


def test_one_patient_in_two_spellings_has_one_pseudonym_and_one_row_of_labels(tmp_path: Path) -> None:
    for k, name in enumerate(("0017", "17", "17.0", "unknown")):
        film = a_dataset(PatientID=name, Modality="DX", SOPInstanceUID=f"1.2.{k}", PatientName="x")
        (tmp_path / f"export/{k}").mkdir(parents=True)
        saved(tmp_path / f"export/{k}", film, "film.dcm")
    (tmp_path / "findings.csv").write_text("patient_id,effusion\n#17,1\n")
    asked = ["index", str(tmp_path / "export"), "--out", str(tmp_path / "labels.csv"), "--force"]
    assert main(asked) == 0
    patients = pd.read_csv(tmp_path / "labels.csv", dtype=str, keep_default_na=False)["patient_id"].tolist()
    assert len(set(patients[:3])) == 1
    assert patients[3] == ""
    assert main([*asked, "--labels", str(tmp_path / "findings.csv"), "--identified"]) == 0
    table = pd.read_csv(tmp_path / "labels.csv", dtype=str)
    assert table[["patient_id", "effusion"]].to_numpy().tolist() == [["0017", "1"], ["17", "1"], ["17.0", "1"]]
