"""Deletion, insertion and ROAD equal slow versions of their papers, in 2-D and 3-D, and tell right maps from wrong."""

import numpy as np
import pytest
import torch
from torch import Tensor

from focusmap.faithfulness.curves import (
    PERCENTILES,
    area,
    blurred,
    deletion_curve,
    displaced,
    impute,
    insertion_curve,
    ranks,
    road,
)

SHAPES = [(7, 6), (4, 5, 3)]


def images(shape: tuple[int, ...], n: int = 2, channels: int = 1) -> Tensor:
    return torch.randn(n, channels, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def curved_score(x: Tensor) -> Tensor:
    """A score that is not linear, so that the order of removal matters."""
    flat = x.flatten(1)
    weights = torch.linspace(-1, 2, flat.shape[1], dtype=x.dtype)
    return torch.sigmoid(flat @ weights) + flat.square().mean(dim=1)


def curve_by_loop(start: Tensor, end: Tensor, heat_map: Tensor, n_steps: int) -> list[float]:
    """Petsiuk et al. 2018, algorithm 1: pixel by pixel, the greatest value of the map first."""
    order = sorted(range(heat_map.numel()), key=lambda i: -float(heat_map.flatten()[i]))
    image, found = start.clone(), []
    for step in range(n_steps + 1):
        for i in order[: round(len(order) * step / n_steps)]:
            place = np.unravel_index(i, heat_map.shape)
            image[(slice(None), *place)] = end[(slice(None), *place)]
        found.append(float(curved_score(image[None])[0]))
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_deletion_and_insertion_equal_the_loop(shape):
    batch, maps = images(shape, channels=2), images(shape)[:, 0]
    deletion = deletion_curve(curved_score, batch, maps, n_steps=5)
    insertion = insertion_curve(curved_score, batch, maps, n_steps=5)
    for i, (x, heat_map) in enumerate(zip(batch, maps, strict=True)):
        np.testing.assert_allclose(deletion[i], curve_by_loop(x, torch.zeros_like(x), heat_map, 5))
        np.testing.assert_allclose(insertion[i], curve_by_loop(blurred(batch)[i], x, heat_map, 5))


def test_the_area_is_that_under_the_line():
    assert area(torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0], [1.0, 0.0, 0.0]])).tolist() == [1, 1, 0.25]


def test_equal_values_are_ranked_at_random_and_each_rank_is_given_once():
    constant = torch.zeros(1, 4, 4)
    one, two = ranks(constant, seed=1), ranks(constant, seed=2)
    assert sorted(one.flatten().tolist()) == list(range(16))
    assert one.flatten().tolist() != list(range(16))
    assert not torch.equal(one, two)


def imputed_by_loop(x: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Rong et al. 2022, section 4.2, as one dense system; 2^(1 - differing axes) is 1/6 to 1/12 in two dimensions."""
    places = list(np.ndindex(x.shape))
    matrix, right = np.zeros((len(places), len(places))), np.zeros(len(places))
    for i, place in enumerate(places):
        if not removed[place]:
            matrix[i, i], right[i] = 1, x[place]
            continue
        weights = {}
        for step in np.ndindex((3,) * x.ndim):
            neighbour = tuple(p + s - 1 for p, s in zip(place, step, strict=True))
            n_differing = sum(s != 1 for s in step)
            if n_differing and all(0 <= p < n for p, n in zip(neighbour, x.shape, strict=True)):
                weights[places.index(neighbour)] = 2.0 ** (1 - n_differing)
        matrix[i, i] = -sum(weights.values())
        for j, weight in weights.items():
            matrix[i, j] = weight
    return np.linalg.solve(matrix, right).reshape(x.shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_imputation_equals_the_dense_system(shape):
    batch = images(shape, channels=2)
    removed = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1)) < 0.7
    found = impute(batch, removed, noise=0.0)
    for i in range(2):
        for channel in range(2):
            expected = imputed_by_loop(batch[i, channel].numpy(), removed[i].numpy())
            np.testing.assert_allclose(found[i, channel], expected, atol=1e-3)


def test_a_plane_is_imputed_as_it_was_and_noise_lies_on_what_was_removed():
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    plane = (rows - 2 * columns)[None, None] / 40
    removed = torch.zeros(1, 40, 40, dtype=torch.bool)
    removed[:, 5:35, 5:35] = True
    torch.testing.assert_close(impute(plane, removed, noise=0.0), plane, atol=1e-2, rtol=0)
    difference = impute(plane, removed, noise=0.1) - impute(plane, removed, noise=0.0)
    assert difference[0, 0][~removed[0]].abs().max() == 0
    assert difference[0, 0][removed[0]].std() == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("shape", SHAPES)
def test_road_equals_the_loop(shape):
    batch, maps = images(shape), images(shape, n=3)[1:, 0]
    found = road(curved_score, batch, maps, noise=0.0)
    n_pixels = maps[0].numel()
    for i in range(2):
        order = maps[i].flatten().argsort(descending=True)
        differences = []
        for percentile in PERCENTILES:
            n = round(n_pixels * percentile / 100)
            scores = []
            for chosen in (order[n_pixels - n :], order[:n]):
                removed = np.zeros(n_pixels, bool)
                removed[chosen.numpy()] = True
                filled = imputed_by_loop(batch[i, 0].numpy(), removed.reshape(shape))
                scores.append(float(curved_score(torch.from_numpy(filled)[None, None])[0]))
            differences.append(scores[0] - scores[1])
        assert float(found.score[i]) == pytest.approx(np.mean(differences) / 2, abs=2e-3)


def test_a_map_and_its_opposite_have_opposite_road_scores():
    batch, maps = images((8, 8)), images((8, 8), n=3)[1:, 0]
    torch.testing.assert_close(road(curved_score, batch, maps).score, -road(curved_score, batch, -maps).score)


def spotted(n: int = 6) -> tuple[Tensor, Tensor]:
    """Noise with a bright spot somewhere, and the spot's mask."""
    generator = torch.Generator().manual_seed(3)
    batch, masks = 0.3 * torch.randn(n, 1, 24, 24, generator=generator), torch.zeros(n, 24, 24)
    for i, (row, column) in enumerate(torch.randint(2, 16, (n, 2), generator=generator).tolist()):
        masks[i, row : row + 6, column : column + 6] = 1
    return batch + 3 * masks[:, None], masks


def brightness(x: Tensor) -> Tensor:
    return torch.sigmoid((x - 2).clamp(min=0).flatten(1).mean(dim=1) * 40 - 1)


def test_a_map_of_the_planted_spot_beats_a_misplaced_one_by_all_three():
    batch, masks = spotted()
    wrong = displaced(masks, seed=1)
    deletion, insertion = (
        [area(curve(brightness, batch, maps)) for maps in (masks, wrong)] for curve in (deletion_curve, insertion_curve)
    )
    assert (deletion[0] < deletion[1]).all()
    assert (insertion[0] > insertion[1]).all()
    assert (road(brightness, batch, masks).score > road(brightness, batch, wrong).score).all()
    assert road(brightness, batch, masks).score.min() > 0.05


def test_a_displaced_map_has_the_same_values_elsewhere():
    _, masks = spotted()
    moved = displaced(masks, seed=0)
    assert moved.sum() == masks.sum()
    assert not (moved * masks).any()
