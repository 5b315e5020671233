"""From a small seed to the region: walks conserve what they should, and two regions are told apart."""

import numpy as np
import pytest
import torch

from focusmap.segmentation.learning import LearningOptions, MarkedImages, learn_features
from focusmap.segmentation.pairs import similarity
from focusmap.segmentation.propagation import EDGES, Refining, grow, highest_points, transitions, walk
from focusmap.segmentation.small_nets import FeatureNet, features_of
from focusmap.study import Features, SegmentationRecipe

# In the narrow one, steps along different axes lead to the same flat position.
SHAPES = [(9, 8), (6, 2), (5, 6, 4), (4, 2, 1)]


def features(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_the_walk_sum_to_1_and_hold_what_is_near(shape: tuple[int, ...]) -> None:
    f, beta = features(shape), 3.0
    matrix = transitions(f, 1.5, beta)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    dense = matrix.toarray()
    places = np.indices(shape).reshape(len(shape), -1).T
    flat = f.flatten(1).T
    near = np.linalg.norm(places[:, None] - places[None], axis=2) <= 1.5
    expected = similarity(torch.cdist(flat, flat).square()).pow(beta).numpy() * near
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(dense, expected / expected.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_steps_change_nothing_and_a_constant_map_stays(shape: tuple[int, ...]) -> None:
    heat_map = np.random.default_rng(0).random(shape)
    matrix = transitions(features(shape), 2, 4)
    assert (walk(matrix, heat_map, 0) == heat_map).all()
    np.testing.assert_allclose(walk(matrix, np.ones(shape), 7), 1, atol=1e-5)
    walked = walk(matrix, heat_map, 5)
    assert heat_map.min() <= walked.min() <= walked.max() <= heat_map.max()


def test_growing_is_the_weighted_sum_over_the_points() -> None:
    f = features((4, 5))
    points, weights = np.array([3, 11]), np.array([1.0, 3.0])
    flat = f.flatten(1).T
    s = similarity((flat[:, None] - flat[points][None]).square().sum(dim=2)).numpy()
    np.testing.assert_allclose(grow(f, points, weights).ravel(), s @ [0.25, 0.75], rtol=1e-4)


def two_regions(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image of a bright ball on a dark ground, both noisy; the ball; marks of a twentieth of each."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side) for side in shape], indexing="ij"))
    ball = (grid**2).sum(axis=0) < 0.3
    image = (np.where(ball, 1.0, -0.5) + rng.normal(0, 0.2, shape)).astype(np.float32)[None]
    marked = np.where(rng.random(shape) < 0.05, ball, -1).astype(np.int8)
    return image, ball, marked


@pytest.mark.parametrize(
    ("shape", "activation", "pair_radius"),
    [
        ((40, 36), "unit", 0), ((40, 36), "elu", 0), ((40, 36), "unit", 4),
        pytest.param((18, 20, 16), "unit", 0, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_two_regions_grow_from_a_twentieth_of_them(
    shape: tuple[int, ...], activation: Features, pair_radius: float
) -> None:
    image, ball, marked = two_regions(shape)
    torch.manual_seed(0)
    net = FeatureNet(1, 8, len(shape), activation)
    learn_features(net, MarkedImages(image[None], marked[None]), LearningOptions(150, batch_size=1), pair_radius)
    found = features_of(net, image)
    points = np.flatnonzero(marked == 1)
    region = grow(found, points, np.ones(len(points)))
    recipe = SegmentationRecipe()
    walked = walk(transitions(found, recipe.walk_radius, recipe.walk_beta), region, recipe.walk_steps)
    for drawn in (region, walked):
        joined = drawn >= recipe.similarity
        assert (joined & ball).sum() / (joined | ball).sum() >= 0.95


@pytest.mark.parametrize("shape", [(40, 36), (14, 16, 12)])
@pytest.mark.parametrize("edges", list(EDGES))
def test_edges_of_the_image_correct_a_region(edges: str, shape: tuple[int, ...]) -> None:
    image, ball, marked = two_regions(shape)
    rough = np.clip(ball + np.random.default_rng(1).normal(0, 0.35, shape), 0, 1).astype(np.float32)
    drawn = EDGES[edges](Refining(image, rough, marked)) >= 0.5
    before = ((rough >= 0.5) != ball).mean()
    after = (drawn != ball).mean()
    assert after == before if edges == "none" else after < before


def test_points_are_the_highest_and_never_too_few() -> None:
    heat_map = np.arange(12.0).reshape(3, 4)
    assert highest_points(heat_map, 0.25, least=1).tolist() == [11, 10, 9]
    assert len(highest_points(heat_map, 0.001)) == 5
