"""Localisation measures follow their formulas, in two and three dimensions; planted lesions are found, and counted."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusmap.cohort.cohort import Cohort, read_cohort
from focusmap.errors import InputError
from focusmap.localisation import (
    Explained,
    Reference,
    ScoreOptions,
    centre_map,
    chance,
    dice_at,
    edges_map,
    energy_pointing,
    iou_at,
    mean_mask,
    otsu_cut,
    pointing_hit,
    random_map,
    read_boxes,
    score_maps,
)
from focusmap.phantom import FINDINGS, Phantom, PhantomOptions, make_phantom, write_phantom

SHAPES = [(9, 7), (5, 6, 4)]


def drawn(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape), rng.random(shape) < 0.3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(5))
def test_measures_equal_loops_over_the_pixels(shape, seed):
    heat_map, mask = drawn(shape, seed)
    pixels = list(zip(heat_map.ravel(), mask.ravel(), strict=True))
    assert pointing_hit(heat_map, mask) == max(pixels)[1]
    assert chance(mask) == sum(inside for _, inside in pixels) / len(pixels)
    positive = [(max(value, 0), inside) for value, inside in pixels]
    expected = sum(value for value, inside in positive if inside) / sum(value for value, _ in positive)
    assert energy_pointing(heat_map, mask) == pytest.approx(expected)
    both = sum(value >= 0.5 and inside for value, inside in pixels)
    region, truth = sum(value >= 0.5 for value, _ in pixels), sum(inside for _, inside in pixels)
    assert iou_at(heat_map, mask, 0.5) == pytest.approx(both / (region + truth - both))
    assert dice_at(heat_map, mask, 0.5) == pytest.approx(2 * both / (region + truth))


@pytest.mark.parametrize("seed", range(5))
def test_otsu_splits_with_the_least_variance_within(seed):
    """Otsu 1979: the cut with the greatest variance between is that with the least within; tried on every value."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(0, 1, 300), rng.normal(6, 1, 100)])

    def within(cut: float) -> float:
        low, high = values[values < cut], values[values >= cut]
        return float(len(low) * low.var() + len(high) * high.var())

    best = min(within(cut) for cut in np.sort(values)[1:])
    assert within(otsu_cut(values)) == pytest.approx(best, rel=0.02)


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_otsu_moves_with_the_map(scale, shift):
    values = np.random.default_rng(0).normal(size=200)
    np.testing.assert_array_equal(
        scale * values + shift >= otsu_cut(scale * values + shift), values >= otsu_cut(values)
    )


def scores_of(folder, cohort):
    return score_maps([Explained(folder, Reference(cohort))], folder / "scores.json", ScoreOptions(n_resamples=20))


def test_a_constant_map_is_a_miss_and_an_empty_mask_is_undefined():
    mask, empty, flat = np.eye(4, dtype=bool), np.zeros((4, 4), bool), np.ones((4, 4))
    assert pointing_hit(flat, mask) == 0
    assert energy_pointing(0 * flat, mask) == 0
    assert iou_at(flat, mask, otsu_cut(flat)) == 0
    for value in (pointing_hit(flat, empty), chance(empty), energy_pointing(flat, empty), dice_at(flat, empty, 0.5)):
        assert np.isnan(value)


def test_several_highest_points_count_by_their_share_inside():
    assert pointing_hit(np.array([[1.0, 1.0, 0.0]]), np.array([[True, False, False]])) == 0.5


def test_baselines_point_where_they_should():
    corner = np.zeros((40, 20), bool)
    corner[:10, :5] = True
    found = np.unravel_index(mean_mask([corner, corner, np.zeros((3, 3), bool)]).argmax(), (64, 64))
    assert found[0] < 16
    assert found[1] < 16
    assert np.unravel_index(centre_map((41, 21)).argmax(), (41, 21)) == (20, 10)
    step = np.zeros((3, 8, 8))
    step[:, :, 4:] = 100
    assert set(np.unique(np.argwhere(edges_map(step) > 0)[:, 1])) == {3, 4}
    np.testing.assert_array_equal(random_map((4, 4), (0, 3)), random_map((4, 4), (0, 3)))
    assert mean_mask([np.zeros((3, 3), bool)]) is None


def test_a_random_map_hits_by_chance():
    mask = np.zeros((20, 20), bool)
    mask[:10, :4] = True
    hits = [pointing_hit(random_map(mask.shape, (0, i)), mask) for i in range(2000)]
    assert np.mean(hits) == pytest.approx(chance(mask), abs=0.02)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Phantom, Cohort]:
    phantom = make_phantom(PhantomOptions(n_patients=20, n_images=80, size=32))
    labels = write_phantom(phantom, tmp_path_factory.mktemp("study"))
    return phantom, read_cohort(labels)


def write_explained(folder: Path, phantom: Phantom, cohort: Cohort, *, shift: int = 0, miss: int = 0) -> None:
    """Maps that are the masks themselves, moved by `shift` pixels; the first `miss` positives are not predicted."""
    rows = []
    (folder / "maps").mkdir(parents=True)
    for finding in FINDINGS:
        for i, image_id in enumerate(cohort.image_ids):
            name = f"maps/{i}.{finding}.npz"
            heat_map = np.roll(phantom.masks[finding][i], shift, axis=0).astype(np.float32)
            np.savez(folder / name, map=heat_map)
            rows.append((image_id, finding, "cam", name, True, cohort.truth[i, FINDINGS.index(finding)] == 1))
    table = pd.DataFrame(rows, columns=["image_id", "target", "method", "map", "has_evidence", "predicted"])
    table.loc[table.index[table["predicted"]][:miss], "predicted"] = False
    table.to_csv(folder / "index.csv", index=False)


def test_perfect_maps_score_one_and_beat_every_baseline(planted, tmp_path):
    phantom, cohort = planted
    write_explained(tmp_path, phantom, cohort)
    reference = Reference(cohort)
    scores = score_maps(
        [Explained(tmp_path, reference, reference)], tmp_path / "scores.json", ScoreOptions(n_resamples=50)
    )
    assert json.loads((tmp_path / "scores.json").read_text()) == scores
    assert set(scores["methods"]) == {"cam", "mean_mask", "centre", "edges", "random"}
    assert set(scores["by_target"]) == set(FINDINGS)
    cam = scores["methods"]["cam"]
    assert cam["pointing_hit"]["value"] == cam["iou"]["value"] == cam["dice"]["value"] == 1
    assert cam["n"] == int(np.nansum(cohort.truth))
    for baseline in ("mean_mask", "centre", "edges", "random"):
        assert scores["methods"][baseline]["n"] == cam["n"]
        assert scores["methods"][baseline]["iou"]["high"] < 0.6
    assert scores["methods"]["random"]["pointing_hit"]["value"] < 0.2


def test_missed_positives_are_counted_and_are_misses(planted, tmp_path):
    phantom, cohort = planted
    write_explained(tmp_path, phantom, cohort, miss=4)
    cam = scores_of(tmp_path, cohort)["methods"]["cam"]
    n = int(np.nansum(cohort.truth))
    assert (cam["n"], cam["n_false_negative"]) == (n - 4, 4)
    assert cam["pointing_hit"]["value"] == 1
    assert cam["pointing_hit_of_positives"]["value"] == pytest.approx((n - 4) / n)


def test_maps_beside_the_lesion_and_maps_without_evidence_miss(planted, tmp_path):
    phantom, cohort = planted
    write_explained(tmp_path / "beside", phantom, cohort, shift=16)
    beside = scores_of(tmp_path / "beside", cohort)["methods"]["cam"]
    assert beside["pointing_hit"]["value"] < 0.1
    write_explained(tmp_path / "none", phantom, cohort)
    index = pd.read_csv(tmp_path / "none/index.csv").assign(has_evidence=False)
    index.to_csv(tmp_path / "none/index.csv", index=False)
    none = scores_of(tmp_path / "none", cohort)["methods"]["cam"]
    assert none["pointing_hit"]["value"] == none["iou"]["value"] == 0


def test_boxes_are_matched_by_name_and_never_guessed(planted, tmp_path):
    _, cohort = planted
    first = cohort.image_ids[0]
    (tmp_path / "boxes.csv").write_text(
        f"image_id,finding,x,y,w,h\n{first},nodule,2.5,1,3,2\n{first},nodule,20,20,4,4\n"
        f"{first},Nodul,1,1,2,2\nelsewhere,cavity,1,1,2,2\n"
    )
    boxes = read_boxes(tmp_path / "boxes.csv", cohort)
    assert boxes.unmatched == ("Nodul",)
    assert boxes.n_elsewhere == 1
    mask = Reference(cohort, boxes).mask(first, "nodule", (32, 32))
    assert mask.sum() == 4 * 2 + 4 * 4
    assert mask[1, 2]
    assert not mask[0, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,finding,x,y,w\na,nodule,1,1,1\n", r"boxes.csv: lacks the column\(s\) h"),
        ("image_id,finding,x,y,w,h\na,nodule,1,1,0,1\n", "boxes.csv row 2: 1, 1, 0, 1 is not a box"),
        ("image_id,finding,x,y,w,h\na,nodule,1,?,2,1\n", "row 2: 1, ?, 2, 1 is not a box".replace("?", r"\?")),
    ],
)
def test_wrong_boxes_are_named_with_their_row(planted, tmp_path, text, message):
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_boxes(tmp_path / "boxes.csv", planted[1])


def test_a_mask_of_another_shape_is_an_error(planted):
    phantom, cohort = planted
    i = int(np.flatnonzero(phantom.masks["nodule"].any(axis=(1, 2)))[0])
    with pytest.raises(InputError, match="the mask has 32 x 32 pixels"):
        Reference(cohort).mask(cohort.image_ids[i], "nodule", (30, 32))
