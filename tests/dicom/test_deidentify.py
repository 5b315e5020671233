"""Copies without who they are: nothing that names anybody is left, pixels and geometry are, nothing is called clean."""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag

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
    # Whole identifiers: a few digits alone stand in new UIDs by chance, and one study's day may be another's, moved.
    for file in shared.rglob("*.dcm"):
        content, modality = file.read_bytes(), dcmread(file).Modality
        days = {"CT": b"20240301", "US": b"20240311"}
        for text in (b"Secret", b"ID-4711", b"19500102", days[modality], b"A1 ", b"1.2.9", b"1.2.7"):
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


SAMPLES = {
    "AE": "SECRETAE", "AS": "033Y", "CS": "SECRETCS", "DA": "19990131", "DT": "19990131235959", "TM": "235959.123",
    "IS": "424242", "DS": "42.4242", "PN": "Secret^Name", "UI": "1.2.3.4.5.424242", "LO": "secret", "LT": "secret",
    "SH": "secret", "ST": "secret", "UC": "secret", "UR": "http://secret.example", "UT": "secret", "UN": b"secret",
    "OB": b"secret", "OW": b"secret", "OL": b"secret12", "OD": b"secret12", "OV": b"secret12", "OF": b"secret12",
    "US": 42, "SS": -42, "UL": 424242, "SL": -424242, "FL": 42.5, "FD": 42.5, "AT": 0x00424242, "UV": 42, "SV": -42,
}  # fmt: skip
# What the options of `METHOD` retain: dates moved, times as they are, and the patient's characteristics.
MOVED = {"StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime"}
RETAINED = {"StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"} | {
    "PatientSex", "PatientAge", "PatientSize", "PatientWeight"
}  # fmt: skip


def filled(tags: Iterable[tuple[int, ...]]) -> Dataset:
    """Return an image that has each of the elements with a value to be found again."""
    found = a_dataset(PatientID="ID-4711", PatientName="Secret^Name")
    for tag in tags:
        if len(tag) != 2 or not dictionary_has_tag(tag) or Tag(tag).group in (0x0000, 0x0002, 0x7FE0):
            continue
        vr = dictionary_VR(tag).split(" or ")[-1]
        if vr == "SQ":
            inner = Dataset()
            inner.PersonName, inner.UID, inner.TextValue = "Secret^Name", "1.2.3.4.5.424242", "secret"
            found.add_new(tag, vr, [inner])
        else:
            found.add_new(tag, vr, SAMPLES[vr])
    return found


def test_every_element_of_the_profile_is_removed_or_replaced(tmp_path: Path) -> None:
    """Table E.1-1 of PS3.15, edition 2026c, as dicom-anonymizer transcribes it: actions D, Z, X, U and their mixes."""
    table = pytest.importorskip("dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c")
    original = filled(table.ALL_TAGS)
    (tmp_path / "in").mkdir()
    saved(tmp_path / "in", original, "all.dcm")
    assert main(["dicom", "deidentify", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out").rglob("*.dcm")
    made, n_checked = dcmread(file), 0
    for tag in (tag for tag in table.ALL_TAGS if len(tag) == 2 and tag in original and tag in made):
        name, value = made[tag].keyword, made[tag].value
        n_checked += 1
        if name in RETAINED:
            assert value == original[tag].value
        elif name in MOVED or tag in table.U_TAGS:
            assert value, name
            assert value != original[tag].value, name
        elif tag in table.X_TAGS:
            # Of these only what says how it was de-identified is there again.
            assert name in ("DeidentificationMethod", "DeidentificationMethodCodeSequence"), name
        else:
            assert value != original[tag].value, name
    assert n_checked > 20
    assert len([tag for tag in table.ALL_TAGS if len(tag) == 2 and tag in original]) > 550
    content = file.read_bytes()
    for secret in (b"secret", b"Secret", b"ID-4711", b"1.2.3.4.5.", b"19990131"):
        assert secret not in content
