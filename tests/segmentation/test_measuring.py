"""What a lesion measures: closed forms of boxes and balls, in mm and in pixels, in 2-D and 3-D."""

import numpy as np
import pytest

from focusmap.segmentation.measuring import CELLS, IN_SHORT, in_short, measure_lesions


def test_a_box_has_its_diagonal_and_what_lies_across_it():
    mask = np.zeros((40, 40), bool)
    mask[10:14, 5:35] = True
    found = measure_lesions(mask, (0.5, 0.25))[0]
    height, width = 4 * 0.5, 30 * 0.25
    assert found.size == pytest.approx(height * width)
    diagonal = np.hypot(height, width)
    assert found.long_axis == pytest.approx(diagonal)
    # Twice the distance of a corner from the diagonal.
    assert found.short_axis == pytest.approx(2 * height * width / diagonal)
    assert found.centre == (11.5, 19.5)
    assert found.position == "top centre"


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 2.0), None])
def test_a_ball_is_as_wide_as_it_is_long(spacing):
    steps = np.array(spacing or (1.0, 1.0, 1.0))
    axes = np.indices((64, 64, 40))
    squares = sum(((axis - n / 2) * step) ** 2 for axis, n, step in zip(axes, (64, 64, 40), steps, strict=True))
    radius = 12.0
    found = measure_lesions(squares <= radius**2, spacing)[0]
    assert found.long_axis == pytest.approx(2 * radius, rel=0.12)
    assert found.short_axis == pytest.approx(2 * radius, rel=0.15)
    if spacing:
        assert found.size == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.03)
    else:
        assert found.size is None


def test_longest_diameters_are_those_of_all_pairs_of_corners():
    rng = np.random.default_rng(0)
    for _ in range(5):
        mask = np.zeros((12, 15), bool)
        mask[3:9, 4:11] = rng.random((6, 7)) < 0.7
        mask[5, 4:11] = True
        found = measure_lesions(mask, (1.0, 1.5))[0]
        places = [(r + a, (c + b) * 1.5) for r, c in np.argwhere(mask) for a in (-0.5, 0.5) for b in (-0.5, 0.5)]
        points = np.array(places)
        longest = np.sqrt(((points[:, None] - points) ** 2).sum(-1)).max()
        assert found.long_axis <= longest + 1e-9
        if measure_lesions(mask, (1.0, 1.5))[0].n_places == mask.sum():
            assert found.long_axis == pytest.approx(longest)


def test_lesions_are_apart_the_largest_first_and_crumbs_are_none():
    mask = np.zeros((50, 50), bool)
    mask[2:12, 2:12] = True
    mask[30:46, 30:46] = True
    mask[0, 49] = True
    found = measure_lesions(mask, None)
    assert [one.n_places for one in found] == [256, 100]
    assert [one.position for one in found] == ["bottom right", "top left"]
    assert measure_lesions(np.zeros((5, 5), bool), None) == []


@pytest.mark.parametrize(("x_step", "side"), [(1.0, "right"), (-1.0, "left")])
def test_the_side_of_a_volume_is_the_patients(x_step, side):
    mask = np.zeros((20, 20, 6), bool)
    mask[14:18, 8:12, 2:4] = True
    affine = np.diag([x_step, 1.0, 2.0, 1.0])
    assert measure_lesions(mask, (1.0, 1.0, 2.0), affine)[0].position == side
    assert measure_lesions(mask, (1.0, 1.0, 2.0))[0].position == ""


def test_cells_say_unknown_where_the_spacing_is_unknown():
    mask = np.zeros((10, 10, 10), bool)
    mask[2:5, 2:5, 2:5] = True
    for spacing in (None, (1.0, 1.0, 1.0)):
        found = measure_lesions(mask, spacing)
        cells, short = found[0].cells(), in_short(found, mask, spacing)
        assert tuple(cells) == CELLS
        assert tuple(short) == IN_SHORT
        assert (cells["long_axis_mm"] == "unknown") == (spacing is None) == (cells["long_axis_px"] != "")
        assert short["volume_ml"] == ("unknown" if spacing is None else 0.027)
