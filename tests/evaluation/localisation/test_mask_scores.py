"""Scores of drawn masks: overlaps by hand, distances against a search over all border voxels, sizes with a unit."""

import math

import numpy as np
import pytest

from focusmap.evaluation.localisation import mask_scores
from focusmap.evaluation.localisation.mask_scores import (
    MEASURES,
    SHARES,
    MaskScore,
    Overlap,
    above_mean_mask,
    measure_mask,
    paired_differences,
    pool_by_case,
    summarise_masks,
)


def blobs(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    return tuple(gaussian_filter(rng.normal(size=shape), 1.5) > 0.05 for _ in range(2))  # type: ignore[return-value]


def border(mask: np.ndarray) -> np.ndarray:
    """Voxels of the mask with a neighbour outside, or at the end of the image, found one by one."""
    found = []
    for place in zip(*np.nonzero(mask), strict=True):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                near = list(place)
                near[axis] += step
                if not 0 <= near[axis] < mask.shape[axis] or not mask[tuple(near)]:
                    found.append(place)
    return np.unique(np.array(found), axis=0)


@pytest.mark.parametrize("shape", [(14, 11), (7, 8, 6)])
@pytest.mark.parametrize("seed", range(3))
def test_surface_distances_are_those_between_all_border_voxels(shape: tuple[int, ...], seed: int) -> None:
    region, mask = blobs(shape, seed)
    spacing = (0.5, 2.0, 1.5)[: len(shape)]
    a, b = border(region) * spacing, border(mask) * spacing
    apart = np.linalg.norm(a[:, None] - b[None], axis=2)
    expected = np.concatenate([apart.min(axis=1), apart.min(axis=0)])
    found = mask_scores.surface_distances(region, mask, spacing)
    np.testing.assert_allclose(np.sort(found), np.sort(expected))
    assert mask_scores.hd95(found) == pytest.approx(np.percentile(expected, 95))
    assert mask_scores.average_surface_distance(found) == pytest.approx(expected.mean())


def test_overlap_by_hand() -> None:
    mask, region = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    mask[1:3, 1:3] = True
    region[1:3, 2:4] = True
    found, _ = measure_mask(region, mask, None)
    assert found["dice"] == 0.5
    assert found["sensitivity"] == 0.5
    assert found["specificity"] == 14 / 16
    assert found["size_error"] == 0
    assert measure_mask(region, mask, (1.0, 1.0))[0]["hd95"] == 1
    assert all(measure_mask(mask, mask, None)[0][key] == value for key, value in (("dice", 1), ("hd95", 0)))


def test_a_missed_lesion_scores_nothing_and_has_no_distance() -> None:
    mask = np.zeros((6, 6), bool)
    mask[2:4, 2:4] = True
    missed, _ = measure_mask(np.zeros_like(mask), mask, (0.5, 0.5))
    assert (missed["dice"], missed["sensitivity"], missed["specificity"]) == (0, 0, 1)
    assert math.isnan(missed["hd95"])
    assert missed["size_error"] == 1.0
    assert missed["relative_size_error"] == 1
    healthy, _ = measure_mask(mask, np.zeros_like(mask), None)
    assert math.isnan(healthy["dice"])
    assert healthy["specificity"] == 32 / 36


def score(image_id: str, patient_id: str, method: str, dice: float) -> MaskScore:
    return MaskScore(
        image_id, patient_id, "t", method, {**dict.fromkeys(MEASURES, math.nan), "dice": dice}, Overlap(0, 0, 0, 1)
    )


def test_means_resample_patients_and_differences_are_paired_patient_by_patient() -> None:
    raw = {"a1": 0.2, "a2": 0.4, "b1": 0.5, "c1": 0.1, "d1": math.nan}
    scores = [score(name, name[0], "cam", value) for name, value in raw.items()]
    scores += [score(name, name[0], "refined", value + 0.1 * (name[0] < "c")) for name, value in raw.items()]
    found = summarise_masks(scores)["cam"]
    assert found["dice"]["value"] == pytest.approx(0.3)
    assert found["dice"]["low"] < 0.3 < found["dice"]["high"]
    assert (found["n"], found["n_lesions"], found["n_patients"]) == (5, 4, 4)
    assert found["hd95"]["value"] is None
    assert "both a predicted and a reference lesion" in found["hd95"]["reason"]
    difference = paired_differences(scores, "refined", "cam")
    assert difference["mean"] == pytest.approx(0.2 / 3)
    assert [row["patient_id"] for row in difference["by_patient"]] == ["a", "b", "c"]
    assert difference["sign_flip"]["p"] == pytest.approx(0.5)
    assert paired_differences(scores, "distilled", "cam") is None


def test_sizes_are_in_mm2_and_ml_or_unknown() -> None:
    assert mask_scores.extent(100, (0.1, 0.2)) == pytest.approx(2.0)
    assert mask_scores.extent(500, (1.0, 1.0, 4.0)) == pytest.approx(2.0)
    assert mask_scores.extent(500, None) is None


def test_slices_of_a_volume_are_scored_as_the_volume() -> None:
    region, mask = blobs((6, 9, 8), 0)
    mask[2] = False
    scores = [MaskScore(f"s{k}", "p", "t", "cam", *measure_mask(region[k], mask[k], None)) for k in range(len(region))]
    found = pool_by_case(scores, {f"s{k}": "v" for k in range(len(region))})
    whole, _ = measure_mask(region, mask, None)
    assert [(score.image_id, score.patient_id) for score in found] == [("v", "p")]
    assert found[0].measures == pytest.approx({name: whole[name] for name in SHARES})
    assert found[0].measures["dice"] != pytest.approx(
        np.nanmean([score.measures["dice"] for score in scores]), abs=1e-3
    )
    assert set(SHARES) < set(summarise_masks(found)["cam"])
    apart = pool_by_case(scores, {score.image_id: score.image_id for score in scores})
    assert [score.measures["dice"] for score in apart] == pytest.approx(
        [score.measures["dice"] for score in scores], nan_ok=True
    )


@pytest.mark.parametrize(
    ("mean", "p", "is_above"), [(0.2, 0.01, True), (0.2, 0.2, False), (-0.2, 0.01, False), (0.0, 1.0, False)]
)
def test_masks_are_above_the_mean_mask_where_the_test_says_so(mean, p, is_above):
    assert above_mean_mask({"refined - mean_mask": {"mean": mean, "sign_flip": {"p": p}}}, "refined") is is_above


def test_without_a_mean_mask_nothing_is_said_of_it():
    assert above_mean_mask({"refined - cam": {"mean": 0.2, "sign_flip": {"p": 0.01}}}, "refined") is None
