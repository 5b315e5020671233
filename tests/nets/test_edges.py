"""Maps that follow the edges of their image: as the paper writes the filter, window by window; and what it is for."""

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from focusmap.nets.edges import FLATNESS, REACH, follow_edges


def windows(grid: np.ndarray, reach: int) -> dict[tuple[int, int], tuple[slice, slice]]:
    rows, columns = grid.shape
    return {
        (r, c): (slice(max(0, r - reach), r + reach + 1), slice(max(0, c - reach), c + reach + 1))
        for r in range(rows)
        for c in range(columns)
    }


def by_windows(heat_map: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return He et al. 2013, eq. 5, 6 and 8, one window after the other; then moved to the mean that the map had."""
    around = windows(image, round(REACH * min(image.shape)))
    slopes, offsets = np.empty_like(image), np.empty_like(image)
    for place, window in around.items():
        seen, said = image[window], heat_map[window]
        slopes[place] = ((seen * said).mean() - seen.mean() * said.mean()) / (seen.var() + FLATNESS)
        offsets[place] = said.mean() - slopes[place] * seen.mean()
    filtered = np.empty_like(image)
    for place, window in around.items():
        filtered[place] = slopes[window].mean() * image[place] + offsets[window].mean()
    return filtered + heat_map.mean() - filtered.mean()


def test_the_filter_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    # Four pixels alike, so that the guide is known without resampling.
    image = rng.normal(size=(24, 32))
    heat_map = rng.normal(size=(24, 32))
    enlarged = np.kron(image, np.ones((4, 4)))
    guide = torch.nn.functional.interpolate(
        torch.from_numpy(enlarged)[None, None], (24, 32), mode="bilinear", antialias=True
    )[0, 0].numpy()
    expected = by_windows(heat_map, (guide - guide.mean()) / guide.std())
    found = follow_edges(torch.from_numpy(heat_map)[None, None], torch.from_numpy(enlarged)[None, None])
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-4)


def test_evidence_in_a_cell_with_part_of_a_dark_disc_is_drawn_on_the_disc_and_adds_up() -> None:
    rows, columns = np.mgrid[:160, :160]
    disc = torch.from_numpy((rows - 70) ** 2 + (columns - 90) ** 2 < 18**2)
    image = torch.where(disc, -1.0, 1.0)[None, None]
    # One cell of 5 x 5, in which a corner of the disc lies.
    coarse = torch.zeros(1, 1, 5, 5)
    coarse[0, 0, 2, 2] = 25.0
    found = follow_edges(coarse, image)
    assert found.shape == (1, 1, 40, 40)
    assert torch.isclose(found.mean(), torch.tensor(1.0), atol=1e-5)
    on_disc = disc[2::4, 2::4]
    plain = torch.nn.functional.interpolate(coarse, (40, 40), mode="bilinear")[0, 0]
    before, after = (average_precision_score(on_disc.flatten(), one.flatten()) for one in (plain, found))
    assert after > before + 0.1, (before, after)


def test_an_image_without_edges_and_a_volume_take_nothing_away() -> None:
    heat_map = torch.full((1, 2, 5, 5), 3.0)
    assert torch.allclose(follow_edges(heat_map, torch.zeros(1, 1, 64, 64)), torch.tensor(3.0))
    of_volume = torch.randn(1, 2, 4, 4, 4)
    assert follow_edges(of_volume, torch.zeros(1, 1, 16, 16, 16)) is of_volume
