"""NIfTI headers as writers leave them: each field absent, zero, negative, rounded or of the other byte order."""

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.quaternions import quat2mat

from focusmap.basics import UnreadableImageError
from focusmap.images.read import read_image, read_mask, read_shape

AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])
VOXELS = np.random.default_rng(0).integers(0, 1000, (8, 9, 10)).astype("<i2")
# Places of fields in a NIfTI-1 header (nifti1.h).
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SLOPE, INTER, UNITS = 40, 70, 76, 108, 112, 116, 123
QFORM_CODE, SFORM_CODE, QUATERN, QOFFSET, SROW_X = 252, 254, 256, 268, 280


def volume(voxels=VOXELS, qform=0, sform=1, affine=AFFINE):
    made = nibabel.Nifti1Image(voxels, affine)
    made.set_qform(affine if qform else None, qform)
    made.set_sform(affine if sform else None, sform)
    return made


def stored(folder, made=None, *puts, name="v.nii"):
    """Return a file of a volume, after `puts` of (struct, place, values) into its header."""
    content = bytearray((made or volume()).to_bytes())
    for kinds, place, *values in puts:
        struct.pack_into(kinds, content, place, *values)
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def read(folder, made=None, *puts):
    return read_image(stored(folder, made, *puts))


def test_a_quaternion_that_rounding_made_too_long_is_a_turn_by_180_degrees(tmp_path):
    image = read(tmp_path, volume(qform=1, sform=0), ("<3f", QUATERN, 0.0, 1.0000004, 0.0))
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    rounded = read(tmp_path, volume(qform=1, sform=0), ("<3f", QUATERN, 0.7072, 0.7072, 0.0))
    np.testing.assert_allclose(rounded.affine[:3, :3] / [2, 2, 3], [[0, 1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-3)
    with pytest.raises(UnreadableImageError, match=r"quatern_b, c and d are 0, 1\.2 and 0.*qform"):
        read(tmp_path, volume(qform=1, sform=0), ("<3f", QUATERN, 0.0, 1.2, 0.0))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_both_versions_in_both_byte_orders_and_every_type_are_as_nibabel_reads_them(tmp_path, kind, order, dtype):
    rng = np.random.default_rng(1)
    voxels = (VOXELS % 100).astype(dtype)
    turned = np.eye(4)
    quaternion = rng.normal(size=4)
    turned[:3, :3] = quat2mat(quaternion / np.linalg.norm(quaternion)) @ np.diag([1.5, 0.7, 4])
    turned[:3, 3] = rng.normal(size=3) * 50
    made = kind(voxels, turned, header=kind.header_class(endianness=order), dtype=np.dtype(dtype))
    made.set_qform(turned, 1)
    made.set_sform(None, 0)
    nibabel.save(made, tmp_path / "v.nii")
    image, theirs = read_image(tmp_path / "v.nii"), nibabel.load(tmp_path / "v.nii")
    assert np.array_equal(image.pixels[0], voxels)
    assert np.array_equal(image.affine, theirs.affine)
    np.testing.assert_allclose(image.affine, turned, atol=1e-4)
    assert image.pixels.dtype.isnative


def test_a_slice_is_a_volume_of_one_slice(tmp_path):
    image = read_image(stored(tmp_path, volume(VOXELS[:, :, 0]), name="v.nii.gz"))
    assert np.array_equal(image.pixels[0, :, :, 0], VOXELS[:, :, 0])
    assert image.source_shape == read_shape(tmp_path / "v.nii.gz") == (8, 9, 1)
    np.testing.assert_allclose(image.affine, AFFINE)


@pytest.mark.parametrize("n_axes", [4, 5, 6, 7])
@pytest.mark.parametrize("side", [0, 1])
def test_sides_of_0_or_1_behind_the_third_are_no_axes(tmp_path, n_axes, side):
    image = read(tmp_path, None, ("<h", DIM, n_axes), (f"<{n_axes - 3}h", DIM + 8, *[side] * (n_axes - 3)))
    assert np.array_equal(image.pixels[0], VOXELS)


def test_a_third_side_of_0_is_one_slice(tmp_path):
    assert read(tmp_path, volume(VOXELS[:, :, :1]), ("<h", DIM + 6, 0)).shape == (8, 9, 1)


def test_sides_that_are_not_counted_say_nothing(tmp_path):
    image = read(tmp_path, None, ("<4h", DIM + 8, -5, 77, 0, 3))
    assert np.array_equal(image.pixels[0], VOXELS)


def test_one_vector_per_voxel_becomes_channels(tmp_path):
    voxels = np.stack([VOXELS, VOXELS // 2, VOXELS // 3], axis=-1)[:, :, :, np.newaxis]
    assert np.array_equal(read(tmp_path, volume(voxels)).pixels, np.moveaxis(voxels[:, :, :, 0], -1, 0))


@pytest.mark.parametrize("n_samples", [3, 4])
def test_colours_become_channels(tmp_path, n_samples):
    names = ["R", "G", "B", "A"][:n_samples]
    voxels = np.zeros((4, 5, 6), [(name, "u1") for name in names])
    for k, name in enumerate(names[:3]):
        voxels[name] = np.arange(120).reshape(4, 5, 6) + k
    if n_samples == 4:
        voxels["A"] = 51  # a fifth of 255
    image = read(tmp_path, volume(voxels))
    plain = np.stack([voxels[name] for name in names[:3]])
    assert np.array_equal(image.pixels, plain if n_samples == 3 else np.rint(plain * 0.2))


def test_nan_outside_is_background_and_said(tmp_path):
    voxels = VOXELS.astype("f4") + 5
    voxels[0] = np.nan
    image = read(tmp_path, volume(voxels))
    assert (image.pixels[0, 0] == 0).all()
    assert np.array_equal(image.pixels[0, 1:], voxels[1:])
    assert image.notes == ("90 of 720 voxels are NaN and taken as background (0)",)
    assert not read_mask(tmp_path / "v.nii")[0].any()
    cold = read(tmp_path, volume(np.where(np.isnan(voxels), voxels, voxels - 1024)))
    assert cold.pixels[0, 0].max() == cold.pixels.min()
    with pytest.raises(UnreadableImageError, match="90 infinite voxels"):
        read(tmp_path, volume(np.where(np.isnan(voxels), np.inf, voxels)))


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [(0, 0, (1, 0)), (0, 9, (1, 0)), (np.nan, 0, (1, 0)), (np.inf, 3, (1, 0)), (2, np.nan, (2, 0)),
     (0.5, -3, (0.5, -3)), (-1, 0, (-1, 0)), (1, 0, (1, 0))],
)  # fmt: skip
def test_slope_and_intercept_that_are_no_numbers_say_nothing(tmp_path, slope, intercept, expected):
    image = read(tmp_path, None, ("<2f", SLOPE, slope, intercept))
    assert np.array_equal(image.pixels[0], VOXELS * np.float32(expected[0]) + np.float32(expected[1]))


@pytest.mark.parametrize("first", [-1, 0, 1, 7])
def test_qfac_is_its_sign_and_0_is_1(tmp_path, first):
    image = read(tmp_path, volume(qform=1, sform=0, affine=np.diag([2, 2, 3, 1])), ("<f", PIXDIM, first))
    assert image.affine[2, 2] == (-3 if first == -1 else 3)


def test_negative_voxel_sizes_are_sizes(tmp_path):
    puts = [("<3f", PIXDIM + 4, -2, -2, -3)]
    np.testing.assert_allclose(read(tmp_path, volume(qform=1, sform=0), *puts).affine, AFFINE, atol=1e-6)
    bare = volume(qform=0, sform=0)
    bare.header.set_xyzt_units("mm")
    plain, other = read(tmp_path, bare), read(tmp_path, bare, *puts)
    assert np.array_equal(plain.affine, other.affine)
    assert np.array_equal(np.diag(plain.affine), [-2, 2, 3, 1])


@pytest.mark.parametrize("size", [0, np.nan, np.inf])
def test_a_size_that_is_none_is_1_of_one_slice_and_unknown_of_more(tmp_path, size):
    bare = volume(qform=0, sform=0)
    bare.header.set_xyzt_units("mm")
    assert read(tmp_path, bare, ("<f", PIXDIM + 12, size)).affine is None
    assert np.array_equal(read(tmp_path, volume(), ("<f", PIXDIM + 12, size)).affine, AFFINE)
    with pytest.raises(UnreadableImageError, match=r"singular affine.*qform \(code 1\).*pixdim 2, 2, "):
        read(tmp_path, volume(qform=1, sform=0), ("<f", PIXDIM + 12, size))
    one = read(tmp_path, volume(VOXELS[:, :, :1], qform=1, sform=0), ("<f", PIXDIM + 12, size))
    np.testing.assert_allclose(np.diag(one.affine), [-2, 2, 1, 1], atol=1e-6)


def test_an_sform_of_zeros_leaves_its_place_to_the_qform(tmp_path):
    image = read(tmp_path, volume(qform=1, sform=1), ("<12f", SROW_X, *[0] * 12))
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)


@pytest.mark.parametrize("code", [1, 5, 99])
def test_a_code_above_0_says_that_there_is_a_place(tmp_path, code):
    assert np.array_equal(read(tmp_path, None, ("<h", SFORM_CODE, code)).affine, AFFINE)
    turned = read(tmp_path, volume(qform=1, sform=0), ("<h", QFORM_CODE, code))
    np.testing.assert_allclose(turned.affine, AFFINE, atol=1e-6)


def test_a_code_below_0_and_an_unknown_unit_say_nothing(tmp_path):
    assert read(tmp_path, None, ("<h", SFORM_CODE, -1)).affine is None
    assert np.array_equal(read(tmp_path, None, ("<B", UNITS, 7)).affine, AFFINE)


@pytest.mark.parametrize("magic", [b"n+1\0", b"n+1 ", b"n+1\x01", b"\0\0\0\0"])
def test_a_file_is_known_by_the_length_of_its_header(tmp_path, magic):
    image = read(tmp_path, None, ("4s", 344, magic))
    assert np.array_equal(image.pixels[0], VOXELS)


def test_an_offset_of_0_and_extensions(tmp_path):
    assert np.array_equal(read(tmp_path, None, ("<f", VOX_OFFSET, 0)).pixels[0], VOXELS)
    made = volume()
    made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 500))
    assert np.array_equal(read(tmp_path, made).pixels[0], VOXELS)


REFUSED = {
    "no axes": ((("<h", DIM, 0),), r"dim\[0\] is 0"),
    "too many axes": ((("<h", DIM, 8),), r"dim\[0\] is 8"),
    "one axis": ((("<h", DIM, 1),), r"shape \(8,\).*slice has two axes"),
    "a negative side": ((("<h", DIM + 2, -8),), "claims -8 x 9 x 10 voxels"),
    "no side": ((("<h", DIM + 2, 0),), "claims 0 x 9 x 10 voxels"),
    "complex": ((("<h", DATATYPE, 32),), r"datatype is 32 \(complex64\)"),
    "unknown": ((("<h", DATATYPE, 999),), "datatype is 999; real numbers"),
    "pair": ((("4s", 344, b"ni1\0"),), r"header of a pair \(.hdr and .img\)"),
    "nowhere": ((("<f", VOX_OFFSET, np.nan),), "vox_offset is nan"),
    "beyond": ((("<f", VOX_OFFSET, 1e6),), "claims 1001440 bytes, 1792 are there"),
    "singular": ((("<4f", SROW_X + 32, 0, 0, 0, 0),), r"singular affine.*sform \(code 1\)"),
}


@pytest.mark.parametrize(("puts", "message"), REFUSED.values(), ids=REFUSED)
def test_what_leaves_no_reading_is_refused_by_field_and_value(tmp_path, puts, message):
    with pytest.raises(UnreadableImageError, match=message):
        read(tmp_path, None, *puts)


def test_every_flipped_bit_of_a_packed_volume_is_found(tmp_path):
    path = stored(tmp_path, None, name="v.nii.gz")
    content, missed = path.read_bytes(), []
    rng = np.random.default_rng(0)
    for place in rng.integers(10, len(content), 200).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            image = read_image(path)
        except UnreadableImageError:
            continue
        missed += [] if np.array_equal(image.pixels[0], VOXELS) else [place]
    assert not missed


def test_gzip_is_read_to_its_end(tmp_path):
    path = stored(tmp_path, None, name="v.nii.gz")
    content = path.read_bytes()
    for cut in (1, 4, 8, 100):
        path.write_bytes(content[:-cut])
        with pytest.raises(UnreadableImageError, match="gzip data are cut off"):
            read_image(path)
    path.write_bytes(content[:-8] + bytes(4) + content[-4:])
    with pytest.raises(UnreadableImageError, match="do not fit their checksum"):
        read_image(path)
    path.write_bytes(content[:-8] + content[-8:-4] + bytes(4))
    with pytest.raises(UnreadableImageError, match="do not fit their checksum"):
        read_image(path)


def test_gzip_in_several_members_and_with_zeros_behind_it_is_whole(tmp_path):
    plain = stored(tmp_path).read_bytes()
    path = tmp_path / "two.nii.gz"
    path.write_bytes(gzip.compress(plain[:700]) + gzip.compress(plain[700:]) + bytes(512))
    assert np.array_equal(read_image(path).pixels[0], VOXELS)


SHIPPED = sorted((Path(nibabel.__file__).parent / "tests/data").glob("*.nii*"))
SHIPPED = [path for path in SHIPPED if ".dconn" not in path.name]  # a matrix, no image


@pytest.mark.skipif(not SHIPPED, reason="this nibabel ships no test files")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_each_volume_that_ships_with_nibabel_is_read_as_nibabel_reads_it(path):
    theirs = nibabel.load(path)
    image, voxels = read_image(path), np.asarray(theirs.dataobj)
    voxels = voxels[np.newaxis] if voxels.ndim == 3 else np.moveaxis(voxels, -1, 0)
    assert np.array_equal(image.pixels, np.nan_to_num(voxels.astype(image.pixels.dtype), nan=0.0))
    assert np.array_equal(image.affine, theirs.affine)


def test_one_of_a_pair_and_a_wrong_checksum_are_told(tmp_path):
    nibabel.save(nibabel.AnalyzeImage(VOXELS, np.eye(4)), tmp_path / "a.img")
    for name in ("a.hdr", "a.img"):
        with pytest.raises(UnreadableImageError, match="is one of a pair of Analyze or NIfTI"):
            read_image(tmp_path / name)
    packed = bytearray(gzip.compress(volume(np.zeros((2, 3, 4), "<i2")).to_bytes()))
    packed[-6] ^= 1
    (tmp_path / "v.nii.gz").write_bytes(packed)
    with pytest.raises(UnreadableImageError, match="do not fit their checksum"):
        read_image(tmp_path / "v.nii.gz")
