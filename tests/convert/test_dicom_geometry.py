"""DICOM series as anonymisers and old scanners leave them: a right volume, or a failure by attribute and value."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.data import get_testdata_file

from focusmap import ConvertRequest, convert
from focusmap.basics import InputError
from focusmap.images import read_image
from support.dicom_files import a_dataset, saved

N_SLICES = 6
RNG = np.random.default_rng(0)
PLANES = RNG.integers(0, 2000, (N_SLICES, 16, 12)).astype("<u2")


def slice_of(k, **elements):
    usual = {
        "Modality": "CT", "PatientID": "P1", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.9",
        "RescaleSlope": "1", "RescaleIntercept": "-1024", "PixelSpacing": [0.5, 0.7],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [-10, -20, 3.0 * k],
    }  # fmt: skip
    made = a_dataset(PLANES[k], 16, **{**usual, **elements})
    for keyword in [name for name, value in elements.items() if value is None]:
        delattr(made, keyword)
    return made


@pytest.fixture(autouse=True)
def odd_values_can_be_written(monkeypatch):
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)


def volumes(tmp_path, edit=lambda _: {}, source=None):
    if source is None:
        source = tmp_path / "in"
        source.mkdir()
        for k in range(N_SLICES):
            saved(source, slice_of(k, **edit(k)), f"{k}.dcm")
    made = convert(source, tmp_path / "out", ConvertRequest(volumes=True))
    table = pd.read_csv(made.labels, dtype=str).fillna("")
    return table, [read_image(tmp_path / "out" / path) for path in table["path"]]


def test_a_plain_series(tmp_path):
    table, (image,) = volumes(tmp_path)
    assert np.array_equal(image.pixels[0], PLANES.T.transpose(0, 1, 2).astype(float) - 1024)
    np.testing.assert_allclose(np.diag(image.affine), [-0.7, -0.5, 3, 1], atol=1e-6)
    assert table["n_slices"].tolist() == ["6"]


REFUSED = {
    "spacing 0": ({"PixelSpacing": [0, 0]}, r"PixelSpacing is 0\\0; two sizes in mm above 0"),
    "spacing below 0": ({"PixelSpacing": [0.5, -0.7]}, r"PixelSpacing is 0\.5\\-0\.7"),
    "one spacing": ({"PixelSpacing": "0.5"}, "PixelSpacing has 1 values; 2 were expected"),
    "no spacing": ({"PixelSpacing": None}, "does not say its PixelSpacing"),
    "empty spacing": ({"PixelSpacing": ""}, "does not say its PixelSpacing"),
    "no orientation": ({"ImageOrientationPatient": None}, "does not say its ImageOrientationPatient"),
    "orientation of zeros": (
        {"ImageOrientationPatient": [0] * 6},
        r"Patient is 0\\0\\0\\0\\0\\0; two dir",
    ),
    "parallel directions": (
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        r"Patient is 1\\0\\0\\1\\0",
    ),
    "five directions": ({"ImageOrientationPatient": [1, 0, 0, 0, 1]}, "ImageOrientationPatient has 5 values"),
    "no position": ({"ImagePositionPatient": None}, "0.dcm does not say its ImagePositionPatient"),
    "two coordinates": ({"ImagePositionPatient": [1, 2]}, "ImagePositionPatient has 2 values; 3 were expected"),
    "one place": ({"ImagePositionPatient": [0, 0, 0]}, "two slices lie in one place: 0.dcm and 1.dcm"),
}


@pytest.mark.parametrize(("elements", "message"), REFUSED.values(), ids=REFUSED)
def test_geometry_that_is_none_is_named_with_its_value(tmp_path, elements, message):
    with pytest.raises(InputError, match=message):
        volumes(tmp_path, lambda _: elements)


def test_slices_that_drift_aside_are_named_and_tilted_ones_are_read(tmp_path):
    with pytest.raises(InputError, match=r"not lie on a straight line by their ImagePositionPatient: .*dcm \(\d"):
        volumes(tmp_path, lambda k: {"ImagePositionPatient": [-10 + 2 * (k == 3), -20, 3.0 * k]})
    shutil.rmtree(tmp_path / "in")
    _, (image,) = volumes(tmp_path, lambda k: {"ImagePositionPatient": [-10, -20 + k, 3.0 * k]})
    np.testing.assert_allclose(image.affine[:3, 2], [0, -1, 3], atol=1e-6)


def test_two_patients_under_one_uid_are_two_volumes(tmp_path):
    table, images = volumes(tmp_path, lambda k: {"PatientID": f"P{k // 3}"})
    assert table[["patient_id", "n_slices"]].to_numpy().tolist() == [["P0", "3"], ["P1", "3"]]
    for image, planes in zip(images, (PLANES[:3], PLANES[3:]), strict=True):
        assert np.array_equal(image.pixels[0], planes.T.astype(float) - 1024)


def test_two_patients_whose_slices_alternate_in_one_place_are_two_volumes(tmp_path):
    edit = lambda k: {"PatientID": f"P{k % 2}", "ImagePositionPatient": [-10, -20, 3.0 * (k // 2)]}  # noqa: E731
    table, images = volumes(tmp_path, edit)
    assert table["patient_id"].tolist() == ["P0", "P1"]
    assert np.array_equal(images[1].pixels[0], PLANES[1::2].T.astype(float) - 1024)


@pytest.mark.parametrize("patient", ["", "ANON"])
def test_two_patients_without_ids_are_told_by_their_names(tmp_path, patient):
    table, _ = volumes(tmp_path, lambda k: {"PatientID": patient, "PatientName": f"{'AB'[k // 3]}^Li"})
    assert table["n_slices"].tolist() == ["3", "3"]


def test_what_discs_and_macos_put_beside_images_is_no_image(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("._0.dcm", "dicomdir"):
        (tmp_path / "in" / name).write_bytes(b"\0\5\x16\7".ljust(128, b"\0") + b"DICM")
    for k in range(N_SLICES):
        saved(tmp_path / "in", slice_of(k), f"{k}.dcm")
    assert volumes(tmp_path, source=tmp_path / "in")[0]["n_slices"].tolist() == ["6"]


def test_two_studies_under_one_uid_are_two_volumes(tmp_path):
    table, images = volumes(tmp_path, lambda k: {"StudyInstanceUID": f"1.2.{k // 3}"})
    assert table["n_slices"].tolist() == ["3", "3"]
    assert len(images) == 2


def test_a_patient_who_is_left_out_of_some_files_is_the_one_of_the_others(tmp_path):
    table, _ = volumes(tmp_path, lambda k: {"PatientID": "P1" if k else ""})
    assert table[["patient_id", "n_slices"]].to_numpy().tolist() == [["P1", "6"]]


def test_frames_lie_at_their_offsets(tmp_path):
    source = Path(shutil.copy(get_testdata_file("rtdose.dcm"), tmp_path / "rtdose.dcm"))
    dataset = pydicom.dcmread(source)
    table, (image,) = volumes(tmp_path, source=source)
    assert table["n_slices"].tolist() == ["15"]
    assert np.array_equal(image.pixels[0], dataset.pixel_array.T.astype(np.float32))
    offsets = np.asarray(dataset.GridFrameOffsetVector, float)
    for k in (0, 7, 14):
        place = image.affine @ [0, 0, k, 1]
        expected = np.add(dataset.ImagePositionPatient, [0, 0, offsets[k] - offsets[0]])
        np.testing.assert_allclose(place[:3], expected * [-1, -1, 1], atol=1e-2)


def frames(tmp_path, **elements):
    made = slice_of(0, NumberOfFrames=N_SLICES, **elements)
    made.PixelData = PLANES.tobytes()
    return saved(tmp_path, made, "many.dcm")


@pytest.mark.parametrize("first", [0.0, -150.0])
def test_offsets_count_from_0_or_are_places(tmp_path, first):
    offsets = [first + 3.0 * k for k in range(N_SLICES)]
    source = frames(tmp_path, GridFrameOffsetVector=offsets, ImagePositionPatient=[-10, -20, -150])
    _, (image,) = volumes(tmp_path, source=source)
    assert np.array_equal(image.pixels[0], PLANES.T.astype(float) - 1024)
    np.testing.assert_allclose(image.affine[:3, 3], [10, 20, -150], atol=1e-4)
    np.testing.assert_allclose(image.affine[2, 2], 3, atol=1e-6)


def test_frames_without_places_of_their_own_are_named(tmp_path):
    with pytest.raises(InputError, match="neither a PlanePositionSequence nor a GridFrameOffsetVector"):
        volumes(tmp_path, source=frames(tmp_path))
    with pytest.raises(InputError, match="GridFrameOffsetVector has 2 values"):
        volumes(tmp_path, source=frames(tmp_path, GridFrameOffsetVector=[0, 3]))
