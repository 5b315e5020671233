"""Copies without who they are: nothing that names anybody is left, pixels and geometry are, nothing is called clean."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from focusmap.cli import main
from support.dicom_files import a_dataset, a_series, saved


@pytest.fixture
def shared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    a_series(tmp_path / "export" / "ct", n=3)
    film = a_dataset(Modality="US", PatientID="ID-4711", PatientName="Secret^Person", StudyDate="20240311",
                     StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.8", SOPInstanceUID="1.2.7")  # fmt: skip
    saved(tmp_path / "export", film, "us.dcm")
    (tmp_path / "export" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"x" * 9)
    assert main(["dicom", "deidentify", str(tmp_path / "export"), "--out", str(tmp_path / "shared")]) == 0
    said = capsys.readouterr().out
    assert "(4), of 1 patients" in said
    assert "1 files say or suggest" in said
    assert "none is verified" in said
    assert "broken.dcm" in said
    return tmp_path / "shared"


def test_nothing_that_names_anybody_is_left(shared: Path) -> None:
    content = b"".join(file.read_bytes() for file in shared.rglob("*.dcm"))
    for text in (b"Secret", b"4711", b"19500102", b"20240301", b"20240311", b"A1 ", b"1.2.9", b"1.2.7"):
        assert text not in content


def test_pixels_geometry_and_what_belongs_together_stay(shared: Path, tmp_path: Path) -> None:
    made = [dcmread(file) for file in sorted(shared.rglob("*.dcm"))]
    ours = sorted((one for one in made if one.Modality == "CT"), key=lambda one: one.InstanceNumber)
    theirs = [dcmread(file) for file in sorted((tmp_path / "export" / "ct").glob("*.dcm"))]
    for new, old in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(new.pixel_array, old.pixel_array)
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleIntercept"):
            assert new[name].value == old[name].value
        assert new.SOPInstanceUID != old.SOPInstanceUID
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({one.get(name) for one in ours}) == 1
    film = next(one for one in made if one.Modality == "US")
    assert film.PatientID == ours[0].PatientID
    # Ten days lay between the two studies.
    dates = [datetime.strptime(one.StudyDate, "%Y%m%d") for one in (film, ours[0])]
    assert (dates[0] - dates[1]).days == 10


def test_files_say_how_it_was_done_and_never_that_pixels_are_clean(shared: Path) -> None:
    for file in shared.rglob("*.dcm"):
        made = dcmread(file)
        assert made.PatientIdentityRemoved == "YES"
        assert "pixels unverified" in made.DeidentificationMethod
        assert {one.CodeValue for one in made.DeidentificationMethodCodeSequence} == {"113100", "113107", "113108"}
        assert made.get("BurnedInAnnotation") == ("YES" if made.Modality == "US" else None)


def test_the_key_lies_beside_the_folder_for_its_owner_alone(shared: Path) -> None:
    key = shared.with_name("shared-key.json")
    assert list(json.loads(key.read_text())["patients"].values()) == ["ID-4711"]
    assert key.stat().st_mode & 0o077 == 0
    assert not list(shared.rglob("*.json"))
