"""Three cases for the report: which they are, and the slice of a volume that is shown."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap import read_cohort
from focusmap.figures.sheets import CASE_SIDE as SIDE
from focusmap.images import write_nifti
from focusmap.segmentation import lesions_of
from focusmap.segmentation.examples import by_size, write_examples


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([], []),
        ([0, 0], []),
        ([0, 7], ["b largest: 7 pixels"]),
        ([7, 1200], ["b largest: 1,200 pixels", "a smallest: 7 pixels"]),
        ([5, 0, 9, 7, 1, 8], ["c largest: 9 pixels", "d median: 7 pixels", "e smallest: 1 pixels"]),
    ],
)
def test_without_true_masks_size_says_which_are_shown(sizes, said):
    rows = [{"image_id": "abcdef"[k], "target": "lesion", "n_pixels": size} for k, size in enumerate(sizes)]
    assert [f"{example.image_id} {example.said}" for example in by_size(rows)] == said


def test_of_a_volume_the_slice_with_most_of_the_mask_is_shown(tmp_path):
    voxels, drawn = np.zeros((1, 20, 20, 5)), np.zeros((1, 20, 20, 5), np.uint8)
    # The brightest thing of each slice is somewhere else, and the masks of slices 1 and 3 are of different size.
    for k in range(5):
        voxels[0, 3 * k : 3 * k + 3, 2:18, k] = 100.0
    drawn[0, 4:7, 4:7, 1], drawn[0, 4:16, 4:16, 3] = 1, 1
    write_nifti(tmp_path / "a.nii.gz", voxels, np.eye(4))
    write_nifti(tmp_path / "mask.nii.gz", drawn, np.eye(4))
    pd.DataFrame({"path": ["a.nii.gz"], "patient_id": ["p"], "lesion": [1]}).to_csv(
        tmp_path / "labels.csv", index=False
    )
    cohort = read_cohort(tmp_path / "labels.csv")
    row = {"image_id": cohort.image_ids[0], "target": "lesion", "n_pixels": int(drawn.sum())}
    masks = {(cohort.image_ids[0], "lesion"): "mask.nii.gz"}
    write_examples(tmp_path, by_size([row]), masks, {cohort.image_ids[0]: cohort}, lesions_of(cohort.task, (), ()))
    with Image.open(tmp_path / "examples.png") as sheet:
        shown = np.asarray(sheet).astype(int)
    bare, outlined = shown[: len(shown) // 2], shown[len(shown) // 2 :]
    orange = (outlined[..., 0] > 200) & (outlined[..., 2] < 60)
    rows, columns = np.nonzero(orange[:-30])
    scale = 20 / SIDE
    assert np.ptp(rows) * scale == pytest.approx(12, abs=1)
    assert np.ptp(columns) * scale == pytest.approx(12, abs=1)
    assert (bare.max(axis=2) > 200).any()
