"""Image labels say how regions are weighed: planted lesions that no mask has shown, and labels that say nothing."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from focusmap.images import BRIGHT, DARK
from focusmap.segmentation.votes import FEATURES, MAP_POWER, Vote, candidates_of, choose
from focusmap.segmentation.weighing import POWER_WITHOUT_LABELS, learn_vote

SIDE = 56
CONTRAST_ALONE = (1.0, *[0.0] * (len(FEATURES) - 1))


def image_and_lesion(seed: int, *, has_lesion: bool, sign: float = -1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an image (1, rows, columns), its lesion, and a blurred and displaced map of it.

    Every image has stripes of more contrast than the lesion, so that contrast alone chooses wrongly.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((SIDE, SIDE))
    image = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 1.5) * 2
    top = rng.integers(4, SIDE - 8)
    image[top : top + 4, 6:-6] += 3 * sign
    centre = rng.integers(16, SIDE - 16, 2)
    lesion = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= 49
    if has_lesion:
        image[lesion] += 2.5 * sign
    seen = (
        gaussian_filter(np.roll(lesion, 3, axis=0).astype(float), 6) if has_lesion else 0.3 * rng.random((SIDE, SIDE))
    )
    return image[np.newaxis], lesion & has_lesion, seen


def cases_of(seeds: range, sign: float = -1.0) -> tuple[list, np.ndarray, list[np.ndarray]]:
    known = np.array([float(seed % 2) for seed in seeds])
    made = [image_and_lesion(seed, has_lesion=bool(seed % 2), sign=sign) for seed in seeds]
    return [candidates_of(image, seen) for image, _, seen in made], known, [lesion for _, lesion, _ in made]


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def mean_dice(vote: Vote, cases: list, lesions: list[np.ndarray]) -> float:
    pairs = [(case, lesion) for case, lesion in zip(cases, lesions, strict=True) if lesion.any()]
    return float(np.mean([dice(choose(vote, case.of(vote.polarity)).region, lesion) for case, lesion in pairs]))


@pytest.fixture(scope="module", params=[-1.0, pytest.param(1.0, marks=pytest.mark.slow)])
def planted(request):
    return request.param, cases_of(range(28), request.param), cases_of(range(28, 56), request.param)


@pytest.mark.slow
def test_labels_alone_teach_polarity_and_how_much_the_map_counts(planted):
    sign, (cases, known, _), (tune, known_tune, _) = planted
    test, _, lesions = cases_of(range(56, 80), sign)
    vote = learn_vote(cases, known, tune, known_tune)
    assert vote.polarity == (DARK if sign < 0 else BRIGHT)
    assert vote.evidence > 0.8
    assert vote.map_power > MAP_POWER
    assert mean_dice(vote, test, lesions) > 0.45
    # Contrast alone takes the stripe.
    assert mean_dice(Vote(vote.polarity, CONTRAST_ALONE, 0.0), test, lesions) < 0.3


def test_shuffled_labels_teach_nothing(planted):
    _, (cases, known, _), (tune, known_tune, _) = planted
    rng = np.random.default_rng(3)
    votes = [learn_vote(cases, rng.permutation(known), tune, rng.permutation(known_tune)) for _ in range(8)]
    assert abs(np.mean([vote.evidence for vote in votes]) - 0.5) < 0.2


def test_where_every_image_has_a_lesion_maps_alone_say_the_polarity(planted):
    sign, (cases, known, _), _ = planted
    of_lesions = [case for case, label in zip(cases, known, strict=True) if label]
    vote = learn_vote(of_lesions, np.ones(len(of_lesions)))
    assert vote.map_power == POWER_WITHOUT_LABELS
    assert math.isnan(vote.evidence)
    assert vote.polarity == (DARK if sign < 0 else BRIGHT)


def test_unknown_labels_are_not_learnt_from(planted):
    _, (cases, known, _), (tune, known_tune, _) = planted
    unknown = known_tune.copy()
    unknown[:10] = np.nan
    # Regions of images of an unknown label still say what is high in a map.
    first, second = (
        replace(learn_vote(cases, known, *rest), map_unit=1.0)
        for rest in ((tune, unknown), (tune[10:], known_tune[10:]))
    )
    assert first == second


def test_a_vote_survives_being_written():
    for vote in (Vote(DARK), Vote(BRIGHT, tuple(range(len(FEATURES))), 2.0, 1.5, 0.7, 0.1)):
        again = Vote.from_dict(json.loads(json.dumps(vote.to_dict())))
        assert again.to_dict() == vote.to_dict()


def test_confidence_is_high_where_one_region_stands_out_and_zero_without_any():
    image, lesion, seen = image_and_lesion(1, has_lesion=True)
    vote = Vote(DARK)
    clear = choose(vote, candidates_of(image - 20 * lesion, seen).of(DARK)).confidence
    noise = np.random.default_rng(0).normal(size=image.shape)
    assert clear > choose(vote, candidates_of(gaussian_filter(noise, (0, 2, 2)), seen).of(DARK)).confidence
    assert 0.6 < clear <= 1
    nothing = choose(vote, candidates_of(np.zeros((1, SIDE, SIDE)), seen))
    assert nothing.confidence == 0
    assert not nothing.region.any()


def test_a_map_that_speaks_against_a_lesion_everywhere_still_says_where_it_does_so_least():
    image = np.random.default_rng(0).normal(size=(1, SIDE, SIDE)) * 0.1
    image[0, 10:20, 10:20] -= 3
    image[0, 35:45, 35:45] -= 3
    for start in (10, 35):
        seen = np.full((SIDE, SIDE), -3.0)
        seen[start + 2 : start + 8, start + 2 : start + 8] = -1
        region = choose(Vote(DARK), candidates_of(image, gaussian_filter(seen, 3)).of(DARK)).region
        assert region[start + 5, start + 5]
        assert not region[45 - start + 5, 45 - start + 5]


def test_the_map_counts_by_the_logarithm_of_its_soft_positive_part():
    image, _, seen = image_and_lesion(1, has_lesion=True)
    dark = candidates_of(image, 8 * seen - 2).of(DARK)
    gained = Vote(DARK, map_power=2.0, map_unit=1.5).scores(dark) - Vote(DARK, map_power=0.0).scores(dark)
    expected = [2 * math.log(math.log(1 + math.exp(2 * e / 1.5)) / 2) for e in dark.evidence]
    assert gained == pytest.approx(expected)
    assert dark.evidence.min() < 0 < dark.evidence.max()


def test_the_map_decides_between_two_lesions_that_look_alike():
    image = np.random.default_rng(0).normal(size=(1, SIDE, SIDE)) * 0.1
    image[0, 10:20, 10:20] -= 3
    image[0, 35:45, 35:45] -= 3
    for start in (10, 35):
        seen = np.zeros((SIDE, SIDE))
        seen[start + 2 : start + 8, start + 2 : start + 8] = 1
        region = choose(Vote(DARK), candidates_of(image, gaussian_filter(seen, 3)).of(DARK)).region
        assert region[start + 5, start + 5]
        assert not region[45 - start + 5, 45 - start + 5]
