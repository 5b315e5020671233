"""The embedded study is repeatable, holds what it says, and gives nothing away by brightness or by place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import rankdata

from focusmap.basics import InputError
from focusmap.evaluation import mean_mask
from focusmap.phantom import FINDINGS, Phantom, PhantomOptions, make_phantom, write_phantom

SMALL = PhantomOptions(n_patients=5, n_images=12, size=32)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(PhantomOptions())


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    known = ~np.isnan(truth)
    positive, ranks = truth[known] == 1, rankdata(score[known])
    n = positive.sum()
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (~positive).sum()))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_equal_options_give_equal_images_and_another_seed_others(dimensions):
    options = replace(SMALL, dimensions=dimensions)
    first, again, other = make_phantom(options), make_phantom(options), make_phantom(replace(options, seed=1))
    assert first.images.shape == (12,) + (32,) * dimensions
    np.testing.assert_array_equal(first.images, again.images)
    pd.testing.assert_frame_equal(first.table, again.table)
    assert not np.array_equal(first.images, other.images)


def test_the_default_study_is_large_enough_to_test_on(phantom):
    counts = phantom.table[list(FINDINGS)].sum()
    assert len(phantom.table) == 600
    assert phantom.table["patient_id"].nunique() >= 60
    assert phantom.table["patient_id"].value_counts().median() > 3
    assert counts["nodule"] > counts["cavity"] > counts["consolidation"]
    assert (0.15 * counts >= 12).all()


def test_labels_say_what_was_planted_and_a_few_are_unknown(phantom):
    for finding, masks in phantom.masks.items():
        label = phantom.table[finding].to_numpy()
        known = ~np.isnan(label)
        assert 0.01 < (~known).mean() < 0.06
        np.testing.assert_array_equal(masks.any(axis=(1, 2))[known], label[known] == 1)


def test_brightness_does_not_tell_the_findings(phantom):
    pixels = phantom.images.reshape(600, -1).astype(float)
    features = [pixels.mean(1), pixels.max(1), pixels.std(1), *np.percentile(pixels, [5, 50, 95], axis=1)]
    for finding in FINDINGS:
        found = [auroc(phantom.table[finding].to_numpy(), feature) for feature in features]
        assert max(max(a, 1 - a) for a in found) < 0.75


def test_the_mean_mask_finds_few_lesions(phantom):
    for masks in phantom.masks.values():
        present = masks[masks.any(axis=(1, 2))]
        where = np.unravel_index(mean_mask(present).argmax(), (64, 64))
        assert present[(slice(None), *where)].mean() < 0.5


def test_sites_are_not_tied_to_labels(phantom):
    for finding in FINDINGS:
        rates = phantom.table.groupby("site")[finding].mean()
        assert len(rates) == 3
        assert rates.max() - rates.min() < 0.2


def test_patients_do_not_look_alike(phantom):
    thumbnails = phantom.images.reshape(600, 32, 2, 32, 2).mean(axis=(2, 4)).reshape(600, -1)
    patients = phantom.table["patient_id"].to_numpy()
    correlation = np.corrcoef(thumbnails)
    assert correlation[patients[:, None] != patients].max() < 0.97


def test_shuffling_moves_labels_over_the_same_images():
    plain, shuffled = make_phantom(SMALL), make_phantom(replace(SMALL, shuffle_labels=True))
    np.testing.assert_array_equal(plain.images, shuffled.images)
    np.testing.assert_array_equal(plain.masks["nodule"], shuffled.masks["nodule"])
    labels, moved = plain.table[list(FINDINGS)], shuffled.table[list(FINDINGS)]
    assert not labels.equals(moved)
    by = list(FINDINGS)
    pd.testing.assert_frame_equal(labels.sort_values(by, ignore_index=True), moved.sort_values(by, ignore_index=True))


def test_what_is_written_is_what_was_made(tmp_path: Path):
    phantom = make_phantom(SMALL)
    table = pd.read_csv(write_phantom(phantom, tmp_path))
    assert list(table.columns[:5]) == ["path", "patient_id", "sex", "age", "site"]
    pd.testing.assert_frame_equal(table[list(phantom.table)], phantom.table, check_dtype=False)
    for i, row in table.iterrows():
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / row["path"])), phantom.images[i])
        for finding, masks in phantom.masks.items():
            name = row[f"mask_{finding}"]
            assert pd.isna(name) == (not masks[i].any())
            if not pd.isna(name):
                np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / name)) > 127, masks[i])


def test_impossible_studies_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="each patient needs one"):
        PhantomOptions(n_patients=3, n_images=2)
    with pytest.raises(InputError, match="at least 28"):
        PhantomOptions(size=16)
