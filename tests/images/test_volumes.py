"""Volumes: prepared as the slow version says; maps come home to where the lesion lies, however it was stored."""

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusmap.basics import InputError, UnreadableImageError
from focusmap.images.image import Image, voxel_sizes
from focusmap.images.nifti import write_nifti
from focusmap.images.prepare import content_statistics, preparation_from, prepare_file, to_source
from focusmap.images.store import prepare_store
from focusmap.images.volumes import VolumePreparation, prepare_volume, slice_view, volume_mask_to_input

ORDERS = list(permutations(range(3)))
SIGNS = list(product((1, -1), repeat=3))
SHAPE = (20, 26, 12)


def affine_of(order, signs, sizes=(1.0, 2.0, 3.0), tilt=0.0):
    """World axis order[k] belongs to array axis k; a tilt turns the volume a little about the third world axis."""
    matrix = np.zeros((3, 3))
    for k in range(3):
        matrix[order[k], k] = signs[k] * sizes[k]
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    whole = np.eye(4)
    whole[:3, :3] = turn @ matrix
    return whole


def volume(voxels, affine):
    return Image(voxels[np.newaxis], Path("v.nii.gz"), voxels.shape, affine)


def blob(shape, at, width=1.6):
    squared = sum((np.arange(n).reshape([-1 if k == i else 1 for i in range(3)]) - at[k]) ** 2 for k, n in
                  enumerate(shape))  # fmt: skip
    return np.rint(250 * np.exp(-squared / (2 * width**2))).astype(np.uint8)


def centre(weights):
    return np.array([(weights * index).sum() / weights.sum() for index in np.indices(weights.shape)])


@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize("order", ORDERS)
def test_every_orientation_is_turned_to_right_front_top(order, signs):
    affine = affine_of(order, signs, tilt=0.2)
    voxels = blob(SHAPE, (12, 8, 7))
    shape = tuple(SHAPE[order.index(k)] for k in range(3))
    pixels, placement = prepare_volume(volume(voxels, affine), VolumePreparation(shape))
    # The naive way: each voxel of the file looks up where it belongs.
    expected = np.zeros(shape)
    for index in np.ndindex(SHAPE):
        target = [0, 0, 0]
        for k in range(3):
            target[order[k]] = index[k] if signs[k] > 0 else SHAPE[k] - 1 - index[k]
        expected[tuple(target)] = voxels[index]
    assert np.array_equal(pixels[0], expected)
    np.testing.assert_allclose(to_source(pixels[0].astype(np.float32), placement), voxels, atol=1e-3)


@settings(max_examples=40)
@given(
    st.sampled_from(ORDERS), st.sampled_from(SIGNS), st.tuples(*[st.integers(16, 40)] * 3), st.booleans(),
    st.sampled_from(["whole", "foreground"]), st.floats(-0.4, 0.4),
)  # fmt: skip
def test_a_bright_spot_comes_home(order, signs, source_shape, has_spacing, crop, tilt):
    at = [0.6 * n for n in source_shape]
    sizes = (0.8, 1.1, 2.5)
    spot = blob(source_shape, at, width=2.0)
    spacing = (1.5, 1.5, 1.5) if has_spacing else None
    preparation = VolumePreparation((24, 28, 20), spacing=spacing, crop=crop)
    pixels, placement = prepare_volume(volume(spot, affine_of(order, signs, sizes, tilt)), preparation)
    if has_spacing and pixels.max() < 120:
        return  # it lies outside of what is kept
    home = to_source(pixels[0].astype(np.float32), placement)
    assert home.shape == source_shape
    if not has_spacing:
        assert np.abs(centre(home) - centre(spot)).max() <= 0.6


def test_spacing_keeps_millimetres_and_pads_or_crops_about_the_middle():
    voxels = np.full((30, 30, 10), 100, np.uint8)
    affine = np.diag([2.0, 2.0, 6.0, 1.0])
    pixels, placement = prepare_volume(volume(voxels, affine), VolumePreparation((40, 10, 40), spacing=(2.0, 2.0, 3.0)))
    assert placement.content == (slice(5, 35), slice(0, 10), slice(10, 30))
    assert (pixels[(0, *placement.content)] == 100).all()
    assert pixels.sum() == 100 * 30 * 10 * 20
    home = to_source(np.ones((4, 4, 4), np.float32), placement)
    seen = np.zeros(voxels.shape, bool)
    seen[:, 10:20] = True
    assert np.array_equal(home > 0, seen)


def test_without_a_known_spacing_none_is_assumed():
    plain = volume(np.zeros((16, 16, 16), np.uint8), None)
    with pytest.raises(UnreadableImageError, match="does not say how large"):
        prepare_volume(plain, VolumePreparation((16, 16, 16), spacing=(1.0, 1.0, 1.0)))
    assert prepare_volume(plain, VolumePreparation((16, 16, 16)))[1].affine is None


def test_shrinking_by_a_whole_factor_averages_boxes():
    voxels = np.random.default_rng(0).integers(0, 256, (24, 12, 8), dtype=np.uint8)
    pixels, _ = prepare_volume(volume(voxels, None), VolumePreparation((8, 6, 4)))
    boxes = voxels.reshape(8, 3, 6, 2, 4, 2).mean(axis=(1, 3, 5))
    assert np.abs(pixels[0] - boxes).max() <= 0.51


def test_modalities_keep_grey_scales_of_their_own_and_another_number_of_them_is_refused():
    two = np.stack([np.linspace(0, 1, 8**3), np.linspace(-5000, 9000, 8**3)]).reshape(2, 8, 8, 8).astype(np.float32)
    image = Image(two, Path("v.nii.gz"), (8, 8, 8))
    pixels, _ = prepare_volume(image, VolumePreparation((8, 8, 8), channels=2))
    assert np.abs(pixels[0].astype(int) - pixels[1]).max() <= 1
    with pytest.raises(UnreadableImageError, match="holds 2 channels; 1 were expected"):
        prepare_volume(image, VolumePreparation((8, 8, 8)))


def test_a_mask_lands_where_its_voxels_land():
    voxels = blob((30, 30, 12), (14, 20, 6), width=3)
    image = volume(voxels, affine_of((1, 0, 2), (-1, 1, -1)))
    pixels, placement = prepare_volume(image, VolumePreparation((20, 24, 12), crop="foreground"))
    found = volume_mask_to_input(voxels > 120, placement)
    inside, outside = pixels[0][found].mean(), pixels[0][~found].mean()
    assert inside > 150 > 40 > outside
    assert not volume_mask_to_input(np.zeros(voxels.shape, bool), placement).any()


def test_a_store_of_volumes_is_what_each_file_gives_and_standardised_one_by_one(tmp_path):
    files = []
    for k in range(3):
        files.append(tmp_path / f"{k}.nii.gz")
        write_nifti(files[-1], blob((18, 20, 10 + k), (9, 9, 5))[np.newaxis], np.diag([1.0, 1.0, 4.0, 1.0]))
    preparation = VolumePreparation((16, 16, 8), spacing=(1.2, 1.2, 5.0), crop="foreground")
    names = [file.name for file in files]
    store = prepare_store(files, names, preparation, tmp_path / "store")
    assert store.pixels.shape == (3, 1, 16, 16, 8)
    assert isinstance(np.load(store.folder / "pixels.npy", mmap_mode="r"), np.memmap)
    for row, file in enumerate(files):
        pixels, placement = prepare_file(file, preparation)
        assert np.array_equal(store.pixels[row], pixels)
        assert tuple(store.source_shapes[row]) == placement.source_shape == (18, 20, 10 + row)
        assert (store.mean[row], store.std[row]) == tuple(np.float32(content_statistics(pixels, placement)))
    again = prepare_store(files[1:], names[1:], preparation, tmp_path / "store")
    assert np.array_equal(again.pixels, store.pixels[1:])
    assert preparation_from(preparation.to_dict()) == preparation


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shape": [8, 8]}, "shape, channels"),
        ({"shape": [8, 8, 0]}, "at least 1"),
        ({"shape": [8, 8, 8], "spacing": [1, 1]}, "three sizes"),
        ({"shape": [8, 8, 8], "crop": "left-half"}, "is for images"),
        ({"shape": [8, 8, 8], "spacin": None}, "Did you mean 'spacing'"),
    ],
)
def test_a_wrong_preparation_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        preparation_from(values)


@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize("order", ORDERS)
def test_slices_lie_as_a_radiologist_reads_them(order, signs):
    """The patient's right is on the left of an axial slice, the front on top, whatever the file's axes."""
    sizes = [0.0] * 3
    for k in range(3):
        sizes[k] = 5.0 if order[k] == 2 else 1.0
    affine = affine_of(order, signs, sizes)
    shape = (9, 9, 9)
    world = np.einsum("ij,j...->i...", affine[:3, :3], np.indices(shape))
    view = slice_view(shape, affine)
    right, front, top = (view.stack(axis) for axis in world)
    assert (np.diff(right, axis=2) < 0).all()
    assert (np.diff(front, axis=1) < 0).all()
    assert np.ptp(top, axis=(1, 2)).max() < 1e-9
    assert np.array_equal(view.stack(np.indices(shape)[view.across])[:, 0, 0], np.arange(9))


def test_voxel_sizes_are_lengths_of_columns():
    np.testing.assert_allclose(voxel_sizes(affine_of((2, 0, 1), (1, -1, 1), (0.5, 0.7, 6.0), 0.3)), [0.5, 0.7, 6.0])
