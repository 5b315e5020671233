"""DICOM series as volumes: ordered by position, in their units, with the affine of the standard; faults are named."""

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from focusmap import ConvertRequest, convert
from focusmap.basics import InputError
from focusmap.images import read_image

AXIAL, SAGITTAL = (1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1)
RNG = np.random.default_rng(0)
VOXELS = RNG.integers(0, 2000, (6, 8, 4)).astype(np.int16)  # columns, rows, slices


def dataset(plane, uid="1.2.3", **tags):
    rows, columns = plane.shape[-2:]
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", generate_uid()
    made.SeriesInstanceUID, made.PatientID, made.Modality = uid, "P7", "CT"
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    made.WindowCenter, made.WindowWidth = 40, 400
    for name, value in tags.items():
        setattr(made, name, value)
    made.PixelData = plane.astype("<i2").tobytes()
    return made


PIXEL_DATA = b"\xe0\x7f\x10\x00"


def save(made, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)


def series(folder, heights=(-30.0, -25.0, -20.0, -15.0), orientation=AXIAL, uid="1.2.3"):
    """File names run against the positions."""
    across = np.cross(orientation[:3], orientation[3:])
    for k, height in enumerate(heights):
        position = list(np.array([10.0, 20.0, 0.0]) + across * height)
        save(dataset(VOXELS[:, :, k].T, uid, ImagePositionPatient=position, ImageOrientationPatient=list(orientation),
                     PixelSpacing=[0.7, 0.5]), folder / f"IM{90 - k}.dcm")  # fmt: skip


def converted(source, out):
    made = convert(source, out, ConvertRequest(volumes=True))
    table = pd.read_csv(made.labels, dtype=str)
    return made, table, [read_image(out / path) for path in table["path"]]


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, (0.8, 0.6, 0, 0, 0, -1)])
def test_slices_are_ordered_by_position_and_lie_where_the_standard_says(tmp_path, orientation):
    series(tmp_path / "in", orientation=orientation)
    made, table, (image,) = converted(tmp_path / "in", tmp_path / "out")
    assert not made.failures
    assert table.loc[0, ["patient_id", "n_slices", "series"]].tolist() == ["P7", "4", "1.2.3"]
    assert np.array_equal(image.pixels[0], VOXELS - 1024)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    for i, j, k in ((0, 0, 0), (5, 0, 1), (2, 7, 3)):
        # PS3.3 C.7.6.2.1.1, and DICOM's left and back turned to NIfTI's right and front.
        at = np.array([10.0, 20, 0]) + np.cross(row, column) * (-30 + 5 * k) + row * 0.5 * i + column * 0.7 * j
        np.testing.assert_allclose(image.affine @ [i, j, k, 1], [-at[0], -at[1], at[2], 1], atol=1e-4)


def test_series_in_one_folder_are_kept_apart(tmp_path):
    series(tmp_path / "in/a", uid="1.2.3")
    series(tmp_path / "in/b", uid="1.2.4", orientation=SAGITTAL)
    _, table, images = converted(tmp_path / "in", tmp_path / "out")
    assert table["series"].tolist() == ["1.2.3", "1.2.4"]
    assert len(images) == 2


def test_one_patient_in_two_spellings_is_one_volume(tmp_path):
    series(tmp_path / "in")
    for path in sorted((tmp_path / "in").iterdir())[::2]:
        made = pydicom.dcmread(path)
        made.PatientID = "p-007"
        made.save_as(path)
    made, table, images = converted(tmp_path / "in", tmp_path / "out")
    assert not made.failures
    assert len(images) == 1
    assert table["n_slices"].tolist() == ["4"]


def test_of_slices_that_differ_the_odd_one_is_named(tmp_path):
    series(tmp_path / "in")
    path = sorted((tmp_path / "in").iterdir())[0]
    localiser = pydicom.dcmread(path)
    localiser.ImageOrientationPatient = list(SAGITTAL)
    localiser.save_as(path)
    with pytest.raises(InputError, match=f"1 of 4 slices have another orientation than .*: {path.name}"):
        converted(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("n_bytes", [0, 20])
def test_a_slice_that_is_cut_short_is_named(tmp_path, n_bytes):
    series(tmp_path / "in")
    path = sorted((tmp_path / "in").iterdir())[2]
    head, _, _ = path.read_bytes().partition(PIXEL_DATA)
    path.write_bytes(path.read_bytes()[: len(head) + n_bytes])
    with pytest.raises(InputError, match=rf"series 1 .*\): {path.name}[ :]"):
        converted(tmp_path / "in", tmp_path / "out")


def missing_slice(folder):
    series(folder, heights=(-30.0, -25.0, -15.0, -10.0))


def twice(folder):
    series(folder, heights=(-30.0, -25.0, -25.0, -20.0))


def mixed(folder):
    series(folder)
    save(dataset(VOXELS[:, :, 0].T, ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=list(SAGITTAL),
                 PixelSpacing=[0.7, 0.5]), folder / "scout.dcm")  # fmt: skip


def nowhere(folder):
    save(dataset(VOXELS[:, :, 0].T), folder / "a.dcm")
    save(dataset(VOXELS[:, :, 0].T), folder / "b.dcm")


def another_size(folder):
    series(folder)
    save(dataset(VOXELS[:, :4, 0].T, ImagePositionPatient=[10, 20, -10], ImageOrientationPatient=list(AXIAL),
                 PixelSpacing=[0.7, 0.5]), folder / "small.dcm")  # fmt: skip


def alone(folder):
    series(folder, heights=(0.0,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing_slice, r"uneven: 10.00 mm between IM89.dcm and IM88.dcm, where 5.00 mm is usual"),
        (twice, r"two slices lie in one place: IM8[89].dcm and IM8[89].dcm \(-25.00 mm\)"),
        (mixed, r"1 of 5 slices have another orientation than IM\d+.dcm: scout.dcm"),
        (nowhere, r"a.dcm does not say its ImagePositionPatient"),
        (another_size, r"another size than IM\d+.dcm: small.dcm"),
        (alone, "one slice"),
    ],
)
def test_what_makes_no_volume_is_named(tmp_path, make, message):
    make(tmp_path / "in")
    with pytest.raises(InputError, match=message):
        converted(tmp_path / "in", tmp_path / "out")
    series(tmp_path / "in/good", uid="9.9")
    made, table, _ = converted(tmp_path / "in", tmp_path / "out")
    assert len(made.failures) == len(table) == 1


def test_an_enhanced_file_is_a_volume_by_the_positions_of_its_frames(tmp_path):
    order = [2, 0, 3, 1]
    frames = []
    for k in order:
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [10, 20, -30 + 5 * k]
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    plane, measures, shared = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient, measures.PixelSpacing = list(AXIAL), [0.7, 0.5]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([plane]), Sequence([measures])
    stack = np.stack([VOXELS[:, :, k].T for k in order])
    made = dataset(stack, NumberOfFrames=4, SharedFunctionalGroupsSequence=Sequence([shared]),
                   PerFrameFunctionalGroupsSequence=Sequence(frames))  # fmt: skip
    save(made, tmp_path / "enhanced.dcm")
    _, _, (image,) = converted(tmp_path / "enhanced.dcm", tmp_path / "out")
    assert np.array_equal(image.pixels[0], VOXELS - 1024)
    np.testing.assert_allclose(image.affine @ [0, 0, 1, 1], [-10, -20, -25, 1], atol=1e-4)


def test_pydicoms_own_slice_is_read_as_every_frame_was(tmp_path):
    source = pydicom.data.get_testdata_file("CT_small.dcm")
    with pytest.raises(InputError, match="one slice"):
        convert(type(tmp_path)(source), tmp_path / "out", ConvertRequest(volumes=True))


def test_slices_without_the_name_of_their_series_say_so(tmp_path):
    series(tmp_path / "in")
    for path in (tmp_path / "in").iterdir():
        made = pydicom.dcmread(path)
        del made.SeriesInstanceUID
        made.save_as(path)
    with pytest.raises(InputError, match=r"holds one slice.*It does not say its SeriesInstanceUID"):
        converted(tmp_path / "in", tmp_path / "out")
