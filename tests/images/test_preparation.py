"""Proves that preparing moves no pixel, loses no aspect, and that a map finds its way home."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusmap.basics import InputError
from focusmap.images.crop import PARTS, Box, foreground_box
from focusmap.images.image import as_image
from focusmap.images.prepare import (
    Placement,
    Preparation,
    content_box,
    content_statistics,
    prepare,
    prepare_file,
    scale_of,
    standardise,
    to_source,
)
from support.images import colourful, encode, smooth

FILE = Path("a.png")
sides = st.integers(20, 400)


def prepared(plane, size=224, channels=1):
    return prepare(as_image(plane, FILE), Preparation(size, channels))


def whole(rows, columns, size):
    return Placement((rows, columns), Box(0, 0, rows, columns), size)


def centre_of_mass(weights):
    """Return (row, column), a pixel's own centre being at +0.5."""
    total = weights.sum()
    rows, columns = np.indices(weights.shape) + 0.5
    return np.array([(weights * rows).sum(), (weights * columns).sum()]) / total


def a_blob(shape, at, width):
    rows, columns = np.indices(shape) + 0.5
    return np.rint(255 * np.exp(-((rows - at[0]) ** 2 + (columns - at[1]) ** 2) / (2 * width**2))).astype(np.uint8)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 512))
def test_the_box_lies_in_the_middle_and_keeps_the_aspect(rows, columns, size):
    box = content_box((rows, columns), size)
    assert max(box.height, box.width) == size
    assert min(box.height, box.width) >= 1
    assert abs(2 * box.top + box.height - size) <= 1
    assert abs(2 * box.left + box.width - size) <= 1
    scale = size / max(rows, columns)
    assert abs(box.height - rows * scale) <= max(0.5, 1 - rows * scale)
    assert abs(box.width - columns * scale) <= max(0.5, 1 - columns * scale)


@settings(max_examples=60)
@given(sides, sides, st.integers(32, 256), st.floats(0.3, 0.7), st.floats(0.3, 0.7))
def test_a_bright_spot_comes_home_within_half_a_pixel(rows, columns, size, down, across):
    scale = max(max(rows, columns) / size, 1)
    at = (rows * down, columns * across)
    spot = a_blob((rows, columns), at, width=1.5 * scale)
    home = to_source(prepared(spot, size)[0].astype(np.float32), whole(rows, columns, size))
    assert home.shape == spot.shape
    assert np.abs(centre_of_mass(home) - centre_of_mass(spot)).max() <= 0.5 * scale


@settings(max_examples=40)
@given(st.integers(200, 700), st.integers(200, 700), st.integers(32, 100))
def test_a_jpeg_decoded_smaller_stays_in_its_place(tmp_path_factory, rows, columns, size):
    spot = a_blob((rows, columns), (rows * 0.6, columns * 0.4), width=max(rows, columns) / 20)
    path = tmp_path_factory.mktemp("jpeg") / "a.jpg"
    path.write_bytes(encode(spot, "JPEG", quality=95))
    pixels, placement = prepare_file(path, Preparation(size))
    assert placement == whole(rows, columns, size)
    away = centre_of_mass(pixels[0].astype(float)) - centre_of_mass(prepared(spot, size)[0].astype(float))
    assert np.abs(away).max() <= 0.5


def naive_to_source(maps, source_shape, size):
    """Interpolate one output pixel after the other."""
    box, (h, w) = content_box(source_shape, size), maps.shape
    out = np.zeros(source_shape)
    for row in range(source_shape[0]):
        for column in range(source_shape[1]):
            y = (box.top + (row + 0.5) * box.height / source_shape[0]) * h / size - 0.5
            x = (box.left + (column + 0.5) * box.width / source_shape[1]) * w / size - 0.5
            y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            above = maps[top, left] * (1 - x + left) + maps[top, right] * (x - left)
            below = maps[bottom, left] * (1 - x + left) + maps[bottom, right] * (x - left)
            out[row, column] = above * (1 - y + top) + below * (y - top)
    return out


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 64), st.integers(0, 99))
def test_maps_go_home_as_the_formula_says(rows, columns, cells, size, seed):
    maps = np.random.default_rng(seed).normal(size=(2, cells, cells))
    home = to_source(maps, whole(rows, columns, size))
    assert home.dtype == np.float32
    for k in range(2):
        assert np.allclose(home[k], naive_to_source(maps[k], (rows, columns), size), atol=1e-5)


def test_maps_go_home_as_torch_interpolates():
    functional = pytest.importorskip("torch.nn.functional")
    import torch

    maps = np.random.default_rng(0).normal(size=(3, 2, 7, 7)).astype(np.float32)
    theirs = functional.interpolate(torch.from_numpy(maps), (224, 224), mode="bilinear", align_corners=False)
    assert np.allclose(to_source(maps, whole(224, 224, 224)), theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize("shape", [(448, 448), (448, 224), (300, 1000)])
def test_shrinking_by_a_whole_factor_averages_areas(shape):
    plane = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    size = max(shape) // 4
    box = content_box(shape, size)
    blocks = plane.reshape(box.height, 4, box.width, 4).mean(axis=(1, 3))
    content = prepared(plane, size)[0][box.slices]
    assert np.abs(content - blocks).max() <= 0.51


def test_what_has_the_size_already_is_not_touched():
    plane = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    assert np.array_equal(prepared(plane, 64)[0], plane)


def test_padding_is_zero_and_content_is_not():
    pixels = prepared(np.full((50, 100), 90, np.uint8), 64)[0]
    assert np.array_equal(pixels[16:48], np.full((32, 64), 90))
    assert pixels[:16].max() == pixels[48:].max() == 0


def test_colour_and_grey_become_each_other():
    grey, colour = smooth(32, 32), colourful(32, 32)
    assert np.array_equal(prepared(grey, 32, 3), np.repeat(prepared(grey, 32, 1), 3, axis=0))
    assert np.array_equal(prepared(colour, 32, 3), colour.transpose(2, 0, 1))
    assert np.array_equal(prepared(colour, 32, 1)[0], np.rint(colour @ [0.299, 0.587, 0.114]))


@given(st.integers(1, 200), st.integers(-1000, 1000))
def test_deep_images_are_windowed_whatever_their_scale(slope, intercept):
    plane = smooth(48, 48).astype(np.float32)
    away = prepared(plane * slope + intercept, 48).astype(int) - prepared(plane, 48)
    assert np.abs(away).max() <= 1


def test_the_window_cuts_at_its_percentiles():
    plane = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    levels = prepared(plane, 100)[0].ravel()
    low, high = np.percentile(plane, (0.5, 99.5))
    assert np.array_equal(levels, np.rint(np.clip((plane.ravel() - low) / (high - low), 0, 1) * 255))


def test_a_constant_image_and_a_lone_speck():
    assert prepared(np.full((20, 20), 300, np.uint16), 20).max() == 0
    speck = np.zeros((100, 100), np.uint16)
    speck[50, 50] = 900
    assert prepared(speck, 100)[0, 50, 50] == 255


def test_standardised_content_has_mean_0_and_deviation_1():
    planes = [smooth(30, 60), smooth(60, 30, seed=1), np.full((40, 40), 9, np.uint8)]
    batch = np.stack([prepared(plane, 64) for plane in planes])
    facts = [content_statistics(pixels, whole(*plane.shape, 64)) for pixels, plane in zip(batch, planes, strict=True)]
    mean, std = np.array(facts, np.float32).T
    standard = standardise(batch, mean, std)
    assert standard.dtype == np.float32
    for image, plane in zip(standard[:2], planes, strict=False):
        content = image[(slice(None), *content_box(plane.shape, 64).slices)]
        assert abs(content.mean()) < 1e-4
        assert abs(content.std() - 1) < 1e-4
    assert std[2] == 1
    assert not standard[2].any()
    one_by_one = [standardise(batch[k : k + 1], mean[k : k + 1], std[k : k + 1])[0] for k in range(3)]
    assert np.array_equal(standard, np.stack(one_by_one))


def test_a_preparation_is_read_back_equal():
    preparation = Preparation(96, 3, (1.0, 99.0), "foreground")
    assert Preparation.from_dict(preparation.to_dict()) == preparation
    assert Preparation.from_dict({}) == Preparation()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sise": 3}, "Did you mean 'size'"),
        ({"size": 0}, "size is 0"),
        ({"size": "big"}, "whole number"),
        ({"channels": 2}, "channels is 2"),
        ({"window": [90, 10]}, "rising percentiles"),
        ({"window": ["low", "high"]}, "percentiles"),
        ({"crop": "left-haf"}, "Did you mean 'left-half'"),
        ({"crop": "0.5,0,0.4,1"}, "rise from 0 to 1"),
        ({"crop": "1,2,3"}, "TOP,LEFT,BOTTOM,RIGHT was expected"),
        ({"crop": 3}, "crop a text"),
    ],
)
def test_a_wrong_preparation_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        Preparation.from_dict(values)


CROPS = ("whole", "foreground", "0.2,0.1,0.8,0.95", *PARTS)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("shape", [(160, 120), (90, 201)])
def test_a_cropped_image_is_the_image_of_the_crop_and_its_map_comes_home(tmp_path, crop, shape):
    at = (shape[0] * 0.4, shape[1] * 0.3)
    spot = a_blob(shape, at, width=4)
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(spot, "JPEG", quality=97))
    pixels, placement = prepare_file(path, Preparation(48, crop=crop))
    assert placement.source_shape == shape
    from focusmap.images.read import read_image

    kept = read_image(path).pixels[0][placement.crop.slices]
    if crop != "whole":
        assert np.array_equal(pixels, prepared(kept, 48))
    home = to_source(pixels[0].astype(np.float32), placement)
    assert home.shape == shape
    outside = np.ones(shape, bool)
    outside[placement.crop.slices] = False
    assert not home[outside].any()
    if not outside[int(at[0]), int(at[1])]:
        away = centre_of_mass(np.maximum(home - 40, 0)) - centre_of_mass(np.maximum(spot.astype(float) - 40, 0))
        assert np.abs(away).max() <= max(shape) / 48


def test_halves_meet_and_make_up_the_image():
    plane = np.arange(7 * 9, dtype=np.uint8).reshape(7, 9)
    for axis, names in ((1, ("left-half", "right-half")), (0, ("top-half", "bottom-half"))):
        from focusmap.images.crop import crop_box

        halves = [plane[crop_box(as_image(plane, FILE), name).slices] for name in names]
        assert np.array_equal(np.concatenate(halves, axis=axis), plane)


@given(st.integers(10, 500), st.integers(10, 500), st.integers(60, 300), st.integers(60, 300), st.integers(0, 40))
@settings(max_examples=60)
def test_the_foreground_is_found_within_two_pixels_of_the_search_grid(top, left, height, width, background):
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 3, (top + height + 37, left + width + 21)).astype(np.uint16) + background
    plane[top : top + height, left : left + width] += 900
    plane[2:5, 2:6] = 1000  # a burnt-in letter
    box = foreground_box(plane[np.newaxis])
    slack = 2 * max(1, max(plane.shape) / 256) + 1
    found = (box.top, box.left, box.top + box.height, box.left + box.width)
    assert box.top <= top
    assert box.left <= left
    assert np.abs(np.subtract(found, (top, left, top + height, left + width))).max() <= slack


@pytest.mark.parametrize("plane", [np.full((50, 80), 7, np.uint8), np.full((1, 1), 3, np.uint16)])
def test_where_nothing_stands_out_the_whole_image_is_kept(plane):
    assert foreground_box(plane[np.newaxis]) == Box(0, 0, *plane.shape)


def test_bytes_are_shown_to_a_net_as_its_weights_know_them() -> None:
    ramp = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (32, 1))[np.newaxis]
    placement = Placement((32, 32), Box(0, 0, 32, 32), 32)
    of_range = scale_of(ramp, placement, Preparation(32, scaling="range"))
    shown = standardise(ramp[np.newaxis], *(np.array([value], np.float32) for value in of_range))
    assert shown.min() == -1
    assert shown.max() == 1
    assert scale_of(ramp, placement, Preparation(32)) == pytest.approx((ramp.mean(), ramp.std()))


def test_scaling_is_written_where_it_is_not_the_usual_one() -> None:
    assert "scaling" not in Preparation(32).to_dict()
    assert Preparation.from_dict(Preparation(32, scaling="range").to_dict()).scaling == "range"
    with pytest.raises(InputError, match="scaling 'none' is not one of image, range"):
        Preparation.from_dict({"scaling": "none"})
