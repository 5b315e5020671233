"""NIfTI: what is written is read back, grid and affine; what is damaged or implausible is one message."""

import gzip
import struct

import nibabel
import numpy as np
import pytest

from focusmap.basics import UnreadableImageError
from focusmap.images.nifti import write_nifti
from focusmap.images.read import image_files, read_image, read_mask

OBLIQUE = np.array([[0.0, -0.6, 0.3, 10.0], [0.9, 0.0, 0.1, -20.0], [0.1, 0.2, 4.0, 5.0], [0, 0, 0, 1.0]])
RNG = np.random.default_rng(0)


def stored(folder, voxels, affine=OBLIQUE, name="v.nii.gz", **header):
    volume = nibabel.Nifti1Image(voxels, affine)
    for key, value in header.items():
        volume.header[key] = value
    nibabel.save(volume, folder / name)
    return folder / name


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 4])
def test_what_is_written_is_read_back_in_its_own_grid(tmp_path, dtype, channels):
    voxels = RNG.integers(0, 200, (channels, 5, 7, 3)).astype(dtype)
    write_nifti(tmp_path / "v.nii.gz", voxels, OBLIQUE)
    image = read_image(tmp_path / "v.nii.gz")
    assert np.array_equal(image.pixels, voxels)
    assert (image.pixels.dtype, image.source_shape) == (dtype, (5, 7, 3))
    np.testing.assert_allclose(image.affine, OBLIQUE, rtol=1e-6)
    nib = nibabel.load(tmp_path / "v.nii.gz")
    np.testing.assert_allclose(nib.affine, image.affine)
    assert nib.shape == ((5, 7, 3) if channels == 1 else (5, 7, 3, 4))


def test_an_unknown_spacing_stays_unknown_and_one_that_is_said_is_kept(tmp_path):
    write_nifti(tmp_path / "v.nii.gz", np.zeros((1, 3, 4, 5), np.uint8), None)
    assert read_image(tmp_path / "v.nii.gz").affine is None
    said = read_image(stored(tmp_path, np.zeros((3, 4, 5), np.uint8), np.eye(4)))
    assert np.array_equal(said.affine, np.eye(4))


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("meter", 1000), ("micron", 0.001)])
def test_units_become_millimetres(tmp_path, unit, factor):
    volume = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.diag([2.0, 3.0, 4.0, 1.0]))
    volume.header.set_xyzt_units(unit)
    nibabel.save(volume, tmp_path / "v.nii")
    np.testing.assert_allclose(np.diag(read_image(tmp_path / "v.nii").affine)[:3], np.array([2, 3, 4]) * factor)


@pytest.mark.parametrize(("dtype", "expected"), [(np.int32, np.int16), (np.float64, np.float32), (np.int8, np.int16)])
def test_other_types_are_narrowed_without_loss(tmp_path, dtype, expected):
    voxels = RNG.integers(-90, 90, (4, 4, 4)).astype(dtype)
    pixels = read_image(stored(tmp_path, voxels)).pixels
    assert pixels.dtype == expected
    assert np.array_equal(pixels[0], voxels)


def test_rescaled_voxels_come_in_their_units(tmp_path):
    volume = nibabel.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), OBLIQUE)
    volume.header.set_slope_inter(2.0, -1000.0)
    nibabel.save(volume, tmp_path / "v.nii.gz")
    raw = nibabel.load(tmp_path / "v.nii.gz").get_fdata()
    np.testing.assert_allclose(read_image(tmp_path / "v.nii.gz").pixels[0], raw)


def test_a_volume_is_known_by_its_content_and_a_gzipped_table_is_none(tmp_path):
    stored(tmp_path, np.ones((3, 3, 3), np.uint8), name="v.nii.gz").rename(tmp_path / "volume")
    nibabel.save(nibabel.Nifti2Image(np.ones((3, 3, 3), np.uint8), OBLIQUE), tmp_path / "second.nii")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "labels.csv.gz").write_bytes(gzip.compress(b"path,label\n"))
    assert [path.name for path in image_files(tmp_path)] == ["second.nii", "volume"]
    assert read_image(tmp_path / "volume").pixels.all()
    assert read_mask(tmp_path / "second.nii").shape == (3, 3, 3)


def truncated(folder):
    path = stored(folder, RNG.integers(0, 255, (20, 20, 20)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    return path


def singular(folder):
    path = stored(folder, np.zeros((3, 3, 3), np.uint8), np.eye(4), name="v.nii")
    content = bytearray(path.read_bytes())
    content[312:328] = bytes(16)  # srow_z (nifti1.h)
    path.write_bytes(content)
    return path


def enormous(folder):
    path = stored(folder, np.zeros((3, 3, 3), np.uint8), name="v.nii")
    content = bytearray(path.read_bytes())
    content[42:48] = struct.pack("<3h", 30000, 30000, 30000)
    path.write_bytes(content)
    return path


def five_axes(folder):
    return stored(folder, np.zeros((3, 3, 3, 2, 2), np.uint8))


def not_nifti(folder):
    (folder / "v.nii.gz").write_bytes(gzip.compress(b"nothing of the kind"))
    return folder / "v.nii.gz"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (truncated, "cannot be decoded"),
        (singular, "singular affine"),
        (enormous, "claims 30000 x 30000 x 30000 voxels"),
        (five_axes, "three axes"),
        (not_nifti, "its content is none of"),
    ],
)
def test_a_damaged_or_odd_file_is_named_with_the_reason(tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises(UnreadableImageError, match=message) as caught:
        read_image(path)
    assert str(caught.value).count(str(path)) == 1
