"""Real volumes: the published counts of marked pixels come out of our slices, and maps of them lie in their grid."""

import os
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from focusmap import ConvertRequest, convert
from focusmap.images import VolumePreparation, prepare_file, read_image, read_mask, to_source
from focusmap.images.volumes import volume_mask_to_input

DATA = Path(os.environ.get("FOCUSMAP_DATA", "")) / "brain_tumor_3d"
pytestmark = pytest.mark.skipif(not (DATA / "labels.csv").is_file(), reason="FOCUSMAP_DATA has no brain_tumor_3d")


@pytest.mark.slow
def test_slices_have_the_published_number_of_marked_pixels(tmp_path):
    made = convert(DATA / "labels.csv", tmp_path / "out", ConvertRequest(slices=True, slice_labels=DATA / "slices.csv"))
    table = pd.read_csv(made.labels, keep_default_na=False)
    assert not made.failures
    assert len(table) == len(pd.read_csv(DATA / "slices.csv")) == 320
    for row in table.to_dict("records"):
        marked = int(read_mask(tmp_path / "out" / row["mask"]).sum()) if row["mask"] else 0
        assert marked == row["tumor_pixels"], row["path"]
        assert (marked > 0) == row["has_tumor"]


def test_a_tumours_mask_goes_to_the_input_and_comes_home():
    mask = read_mask(DATA / "masks/p01_pre.nii.gz")
    pixels, placement = prepare_file(
        DATA / "volumes/p01_pre.nii.gz", VolumePreparation((128, 128, 24), crop="foreground")
    )
    assert pixels.shape == (1, 128, 128, 24)
    assert np.array_equal(read_image(DATA / "volumes/p01_pre.nii.gz").affine, np.diag([-1.0, -1.0, 1.0, 1.0]))
    home = to_source(volume_mask_to_input(mask, placement).astype(np.float32), placement) >= 0.5
    shifts = list(product((-1, 0, 1), repeat=3))
    dice = [2 * (np.roll(home, shift, (0, 1, 2)) & mask).sum() / (home.sum() + mask.sum()) for shift in shifts]
    assert shifts[int(np.argmax(dice))] == (0, 0, 0)
    assert max(dice) > 0.9
