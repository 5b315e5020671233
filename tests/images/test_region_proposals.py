"""Regions that an image proposes: a planted lesion is among them in 2-D and 3-D, and what describes them is right."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from focusmap.images.regions import BRIGHT, DARK, Proposing, contrast_map, opened, propose_regions, shrunk

SHAPES = {2: (96, 120), 3: (40, 44, 24)}


def planted(n_axes: int, contrast: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return correlated noise with an ellipsoid that is brighter by `contrast` deviations, and the ellipsoid."""
    rng, shape = np.random.default_rng(seed), SHAPES[n_axes]
    noise = gaussian_filter(rng.normal(size=shape), 2)
    axes = np.indices(shape)
    centre, radii = [0.55 * n for n in shape], [0.16 * n for n in shape]
    squares = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radii, strict=True))
    lesion = squares <= 1
    return noise / noise.std() + contrast * lesion, lesion


def dice(regions, lesion: np.ndarray) -> np.ndarray:
    both = regions.inside @ lesion.ravel().astype(np.float32)
    return 2 * both / (regions.sizes + lesion.sum())


@pytest.mark.parametrize("n_axes", [2, 3])
@pytest.mark.parametrize(("contrast", "polarity"), [(2.5, BRIGHT), (-2.5, DARK)])
def test_a_planted_lesion_is_among_the_regions_of_its_own_polarity_alone(n_axes, contrast, polarity):
    image, lesion = planted(n_axes, contrast)
    other = BRIGHT if polarity == DARK else DARK
    assert dice(propose_regions(image, (polarity,)), lesion).max() > 0.85
    assert dice(propose_regions(image, (other,)), lesion).max(initial=0) < 0.6


def test_without_a_lesion_no_region_is_like_it():
    _, lesion = planted(2, 0)
    assert dice(propose_regions(planted(2, 0, seed=5)[0]), lesion).max() < 0.7


def test_a_region_is_filled_though_its_middle_is_like_its_surroundings():
    image, lesion = planted(2, 4)
    image[gaussian_filter(lesion.astype(float), 4) > 0.97] -= 4
    assert dice(propose_regions(image, (BRIGHT,)), lesion).max() > 0.85


def test_what_describes_regions_is_what_a_slow_count_gives():
    image, _ = planted(2, 2)
    regions = propose_regions(image)
    standard = ((image - image.mean()) / image.std()).astype(np.float32)
    for i in range(0, len(regions), 9):
        mask, ring = regions.mask(i), np.zeros(image.shape, bool)
        start, stop = regions.ring.indptr[i : i + 2]
        ring.ravel()[regions.ring.indices[start:stop]] = True
        assert not (mask & ring).any()
        assert regions.sizes[i] == mask.sum()
        assert regions.mean_inside(image)[i] == pytest.approx(image[mask].mean(), abs=1e-4)
        assert regions.mean_ring(image)[i] == pytest.approx(image[ring].mean(), abs=1e-4)
        difference = standard[mask].mean() - standard[ring].mean()
        assert regions.contrast[i] == pytest.approx(-difference if regions.is_dark[i] else difference, abs=1e-4)
        places = np.argwhere(mask)
        sigma = np.cov(places.T, bias=True) + np.eye(2) / 12
        assert regions.form[i] == pytest.approx(mask.sum() / (4 * np.pi * np.sqrt(np.linalg.det(sigma))), rel=1e-4)


def test_sizes_forms_and_numbers_stay_within_what_was_asked():
    image, _ = planted(2, 2)
    how = Proposing(least_size=0.01, largest_size=0.1, least_form=0.8, most=20)
    regions = propose_regions(image, how=how)
    assert 0 < len(regions) <= 40
    assert (regions.sizes >= 0.01 * image.size).all()
    assert (regions.sizes <= 0.1 * image.size).all()
    assert (regions.form >= 0.8).all()
    assert (regions.contrast > 0).all()
    assert np.all(np.diff(regions.contrast[regions.is_dark]) <= 0)


def test_brightness_and_contrast_of_the_image_change_nothing():
    image, _ = planted(2, 2)
    first, second = propose_regions(image), propose_regions(40 + 7 * image)
    assert len(first) == len(second)
    assert (first.inside != second.inside).nnz == 0


@pytest.mark.parametrize("n_axes", [2, 3])
def test_a_constant_image_proposes_nothing_and_its_map_is_empty(n_axes):
    constant = np.full(SHAPES[n_axes], 3.0)
    assert len(propose_regions(constant)) == 0
    assert contrast_map(constant[np.newaxis]).any() == np.False_


def test_the_map_without_a_net_is_highest_in_the_lesion_on_the_grid_of_the_image():
    image, lesion = planted(2, 6)
    large = np.kron(image, np.ones((3, 3)))
    found = contrast_map(large[np.newaxis])
    assert found.shape == large.shape
    assert np.kron(lesion, np.ones((3, 3)))[np.unravel_index(found.argmax(), found.shape)]
    small = shrunk(large)
    assert small.size <= 128**2
    assert small.mean() == pytest.approx(large.mean(), abs=0.01)


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_a_region_is_opened_alike_on_a_plane_and_in_a_slab(radius: int) -> None:
    """A plane is opened by OpenCV, a volume by SciPy: copies of a plane side by side say the same."""
    region = np.random.default_rng(radius).random((40, 31)) < 0.93
    slab = np.repeat(region[None], 2 * radius + 1, axis=0)
    assert (opened(region, radius) == opened(slab, radius)[radius]).all()
    assert 0 < opened(region, radius).sum() < region.sum()
