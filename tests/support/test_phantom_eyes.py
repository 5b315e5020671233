"""The embedded study of eyes is repeatable, its targets need images and table alike, and a cut link is cut."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from focusmap.basics import InputError
from support.phantom_eyes import COVARIATES, TARGETS, VISITS, EyeOptions, make_eyes, write_eyes

SMALL = EyeOptions(n_patients=4, size=32)


@pytest.fixture(scope="module")
def study():
    return make_eyes(EyeOptions(n_patients=200, size=28))


def test_equal_options_give_equal_studies_and_another_seed_another():
    first, again, other = make_eyes(SMALL), make_eyes(SMALL), make_eyes(replace(SMALL, seed=1))
    np.testing.assert_array_equal(first.images, again.images)
    pd.testing.assert_frame_equal(first.table, again.table)
    assert not np.array_equal(first.images, other.images)


def test_an_eye_has_both_visits_and_one_answer(study):
    assert study.images.shape == (800, 28, 56)
    by_eye = study.table.groupby("eye_id")
    assert (by_eye["view"].agg(tuple) == VISITS).all()
    assert (by_eye[["patient_id", *COVARIATES, *TARGETS]].nunique() == 1).all().all()
    assert study.table.groupby("patient_id")["eye_id"].nunique().eq(2).all()


def test_cutting_a_link_leaves_images_and_table_as_they_are():
    whole = make_eyes(SMALL)
    for cut in (replace(SMALL, images_tell=False), replace(SMALL, table_tells=False)):
        study = make_eyes(cut)
        np.testing.assert_array_equal(study.images, whole.images)
        pd.testing.assert_frame_equal(study.table[list(COVARIATES)], whole.table[list(COVARIATES)])
        assert not study.table["CST"].equals(whole.table["CST"])


def fluid_of(images):
    """How dark the middle of the scan, the right half of an export, is: a stand-in for what a net sees."""
    size = images.shape[1]
    return -images[:, size // 3 : -size // 3, size:].mean(axis=(1, 2))


@pytest.mark.parametrize(("images_tell", "table_tells"), [(True, True), (False, True), (True, False)])
def test_targets_follow_what_they_are_told_by(study, images_tell, table_tells):
    if not (images_tell and table_tells):
        study = make_eyes(EyeOptions(200, 28, images_tell=images_tell, table_tells=table_tells))
    post = study.table["view"] == "post"
    table = study.table[post]
    drug = table["drug"].map({"none": -1, "old": 0, "new": 1})
    by_image = np.corrcoef(fluid_of(study.images)[post], table["CST"])[0, 1]
    by_table = np.corrcoef(drug, table["CST"])[0, 1]
    assert (by_image > 0.35) == images_tell, by_image
    assert (by_table > 0.5) == table_tells, by_table
    assert abs(np.corrcoef(fluid_of(study.images)[post], drug)[0, 1]) < 0.15, "neither says what the other does"
    for by, tells in ((by_image, images_tell), (by_table, table_tells)):
        assert tells or abs(by) < 0.15


def test_what_is_written_can_be_read(tmp_path):
    labels = write_eyes(make_eyes(SMALL), tmp_path)
    table = pd.read_csv(labels)
    assert len(table) == 16
    assert all((tmp_path / path).is_file() for path in table["path"])


def test_too_small_a_study_is_refused():
    with pytest.raises(InputError, match="at least 28 rows"):
        EyeOptions(size=20)
