"""Proves what an `Image` says of itself, and what sizes are believed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusmap.basics import UnreadableImageError
from focusmap.images.budget import budget, check_plane_size
from focusmap.images.image import as_image

FILE = Path("a.png")


def test_grey_has_one_channel_and_colour_three():
    colour = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert as_image(colour[..., 0], FILE).pixels.shape == (1, 2, 4)
    image = as_image(colour, FILE)
    assert (image.n_channels, image.shape, image.source_shape) == (3, (2, 4), (2, 4))
    assert np.array_equal(image.pixels[2], colour[..., 2])


@given(st.integers(0, 39), st.integers(0, 39), st.integers(0, 2))
def test_one_pixel_of_colour_makes_a_colour_image(row, column, channel):
    plane = np.full((40, 40, 3), 7, np.uint8)
    assert as_image(plane, FILE).n_channels == 1
    plane[row, column, channel] = 8
    assert as_image(plane, FILE).n_channels == 3


def test_the_size_in_the_file_may_be_larger_than_what_was_decoded():
    image = as_image(np.zeros((4, 8), np.uint8), FILE, (16, 32))
    assert (image.shape, image.source_shape) == ((4, 8), (16, 32))


@pytest.mark.parametrize("bad", [[[0, np.inf]], [[0, -np.inf]], [[np.nan, np.nan]]])
def test_pixels_that_are_no_numbers_are_refused(bad):
    with pytest.raises(UnreadableImageError, match="not finite"):
        as_image(np.array(bad, np.float32), FILE)


@pytest.mark.parametrize(("lowest", "background"), [(3.0, 0.0), (-1000.0, -1000.0)])
def test_nan_is_background_and_said(lowest, background):
    image = as_image(np.array([[np.nan, lowest], [7.5, np.nan]], np.float32), FILE)
    assert image.pixels[0].tolist() == [[background, lowest], [7.5, background]]
    assert image.notes == (f"2 of 4 pixels are NaN and taken as background ({background:g})",)


def test_a_size_is_believed_up_to_the_limit():
    check_plane_size(10_000, budget().pixels // 10_000)
    for shape in [(10_000, budget().pixels // 10_000 + 1), (0, 5), (5, 0)]:
        with pytest.raises(UnreadableImageError, match="claims"):
            check_plane_size(*shape)
