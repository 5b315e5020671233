"""Features: what stays when the image turns or brightens, what a closed form gives, a planted class shows."""

import numpy as np
import pytest

from focusmap.models.features import (
    GREY_LEVELS,
    MEASURED,
    ImageFeatures,
    fit_features,
    histogram,
    hog,
    lbp,
    moments,
    pyramid,
    shape,
    texture,
)  # fmt: skip
from focusmap.study.recipe_parts import FEATURES

ROWS, COLUMNS = np.mgrid[:128, :128]


def image(values):
    return np.clip(values, 0, 255).astype(np.uint8)[np.newaxis]


def ellipse(a, b, turn=0.0):
    x, y = COLUMNS - 64, ROWS - 64
    u, v = x * np.cos(turn) + y * np.sin(turn), -x * np.sin(turn) + y * np.cos(turn)
    return image(200.0 * ((u / a) ** 2 + (v / b) ** 2 < 1))


NOISE = image(np.random.default_rng(0).integers(0, 256, (128, 128)))


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("size", [24, 200])
def test_every_feature_measures_any_image_grey_or_colour_even_a_black_one(name, size):
    generator = np.random.default_rng(1)
    for channels in (1, 3):
        images = generator.integers(0, 256, (6, channels, size, size)).astype(np.uint8)
        images[0] = 0
        found = fit_features((name,), images, 0)(images)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert (found[1] != found[0]).any()


def test_the_histogram_counts_every_pixel_in_its_step():
    counts = histogram(image(np.where(ROWS < 32, 255, 0)))
    assert (counts[0], counts[-1], counts.sum()) == (96 * 128, 32 * 128, 128 * 128)
    assert len(counts) == GREY_LEVELS


def test_moments_are_numpys():
    found = moments(image(np.where(COLUMNS < 63, 10, 30)[:126, :126]))
    np.testing.assert_allclose(found[:5], [20, 10, 0, -2, 1.0], atol=0.2)


def test_hus_moments_do_not_turn_with_the_shape():
    level, turned, other = (shape(ellipse(40, 20, turn)) for turn in (0.0, 0.7, 0.0))
    rounder = shape(ellipse(30, 28))
    np.testing.assert_allclose(level[:2], turned[:2], atol=0.02)
    assert abs(level[1] - rounder[1]) > 1
    np.testing.assert_array_equal(level, other)


def test_a_circles_contour_lies_at_one_distance_and_is_as_round_as_can_be():
    found = shape(ellipse(40, 40))
    assert found[8] > 0.85
    assert found[9:][-2:].sum() == pytest.approx(1.0)
    assert found[7] == pytest.approx(np.pi * 40**2 / 128**2, rel=0.05)


def test_texture_tells_stripes_from_noise_of_the_same_grey_values():
    stripes = image(np.where(COLUMNS // 8 % 2, 255, 0))
    shuffled = np.random.default_rng(0).permutation(stripes.ravel()).reshape(stripes.shape)
    contrast, homogeneity = 0, 4 * 3
    assert texture(stripes)[contrast] < 0.5 * texture(shuffled)[contrast]
    assert texture(stripes)[homogeneity] > texture(shuffled)[homogeneity]


def test_local_patterns_do_not_see_brightness_and_barely_a_turn():
    darker = (NOISE // 2 + 40).astype(np.uint8)
    assert np.corrcoef(lbp(NOISE // 2), lbp(darker))[0, 1] > 0.999
    turned = lbp(np.rot90(NOISE, axes=(1, 2)))
    assert np.corrcoef(lbp(NOISE), turned)[0, 1] > 0.999
    assert lbp(NOISE).sum() == 2 * 128 * 128


def test_gradients_point_across_an_edge():
    upright = hog(image(np.where(COLUMNS < 60, 0, 200)))
    lying = hog(image(np.where(ROWS < 60, 0, 200)))
    assert upright.reshape(-1, 9).sum(axis=0).argmax() != lying.reshape(-1, 9).sum(axis=0).argmax()


def test_a_pyramids_energy_lies_in_the_level_of_the_structures_size():
    levels = [pyramid(image(127 + 120 * np.sin(2 * np.pi * COLUMNS / period))).reshape(4, -1).mean(axis=1).argmax()
              for period in (3, 12, 40)]  # fmt: skip
    assert levels == sorted(levels)
    assert levels[0] == 0
    assert levels[-1] >= 2


def test_words_are_found_on_train_and_each_descriptor_is_counted_once():
    images = np.stack([NOISE, ellipse(40, 20), ellipse(20, 40)])
    features = fit_features(("sift-bow",), images, 0)
    counts = features(images)
    assert len(np.unique(counts.sum(axis=1))) == 1
    np.testing.assert_array_equal(features(images[1:2]), counts[1:2])
    assert (fit_features(("sift-bow",), images, 0).words == features.words).all()


def test_features_stand_side_by_side_in_the_order_of_the_name():
    images = NOISE[np.newaxis]
    both = ImageFeatures(("moments", "histogram"))(images)[0]
    np.testing.assert_array_equal(both[-GREY_LEVELS:], MEASURED["histogram"](NOISE))
