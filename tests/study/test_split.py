"""The split keeps patients whole and labels even, whatever the order of the rows, and knows when it was edited."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusmap.basics import InputError, MissingFileError
from focusmap.study.cohort import Cohort, build_cohort
from focusmap.study.dealing import label_matrix, stratify
from focusmap.study.options import RunOptions
from focusmap.study.split import Split, SplitOptions, fold_split, make_split, read_split, write_split
from focusmap.study.study import Study
from focusmap.study.task import Target, Task

PARTS = ("train", "tune", "test")


def cohort_of(raw: pd.DataFrame, **columns: str | None) -> Cohort:
    """A table-only cohort whose targets are the columns a, b and, where present, kind."""
    targets = [Target("a"), Target("b")]
    if "kind" in raw:
        targets.append(Target("kind", "multiclass", ("x", "y", "z")))
    study = Study(Path("labels.csv"), Path(), Task(tuple(targets)), id_column="id", **columns)  # type: ignore[arg-type]
    return build_cohort(study, raw.astype(str))


def random_table(n_images: int, n_patients: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, n_patients, n_images)
    return pd.DataFrame(
        {
            "id": [f"i{k}" for k in range(n_images)],
            "who": [f"p{k}" for k in owner],
            "a": rng.choice(["0", "1", ""], n_images, p=[0.6, 0.3, 0.1]),
            "b": rng.choice(["0", "1"], n_images, p=[0.95, 0.05]),
        }
    )


tables = st.builds(random_table, st.integers(40, 200), st.integers(12, 40), st.integers(0, 1000))


@settings(max_examples=25)
@given(tables, st.integers(0, 100), st.sampled_from([None, 3, 5]))
def test_no_patient_in_two_parts_and_every_row_in_one(raw: pd.DataFrame, seed: int, folds: int | None) -> None:
    cohort = cohort_of(raw, patient_column="who")
    split = make_split(cohort, SplitOptions(folds=folds, seed=seed))
    names = set(PARTS) if folds is None else {str(k) for k in range(folds)}
    assert set(split.table["split"]) == names
    assert split.table.assign(who=raw["who"]).groupby("who")["split"].nunique().max() == 1
    assert split.fingerprint == make_split(cohort, SplitOptions(folds=folds, seed=seed)).fingerprint


@settings(max_examples=15)
@given(tables, st.randoms(use_true_random=False))
def test_row_order_is_irrelevant(raw: pd.DataFrame, shuffler: object) -> None:
    order = list(range(len(raw)))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    shuffled = raw.iloc[order].reset_index(drop=True)
    splits = [make_split(cohort_of(table, patient_column="who")) for table in (raw, shuffled)]
    assert splits[0].fingerprint == splits[1].fingerprint


@pytest.mark.parametrize("seed", range(5))
def test_every_label_keeps_its_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = (rng.random((1000, 6)) < [0.5, 0.3, 0.1, 0.05, 0.02, 0.01]).astype(float)
    task = Task(tuple(Target(name) for name in "abcdef"))
    parts = stratify([f"p{k}" for k in range(1000)], label_matrix(task, truth), (0.7, 0.15, 0.15), seed)
    for part, share in enumerate((0.7, 0.15, 0.15)):
        held = truth[parts == part].sum(axis=0)
        np.testing.assert_allclose(held, share * truth.sum(axis=0), atol=2.0)


def test_patients_with_several_images_keep_shares_of_images_and_of_patients() -> None:
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(200), rng.integers(1, 9, 200))
    truth = (rng.random((200, 1)) < 0.2).astype(float)[owner]
    parts = stratify([str(k) for k in owner], label_matrix(Task((Target("a"),)), truth), (0.7, 0.15, 0.15), 0)
    share = [(parts == part).mean() for part in range(3)]
    patients = [len(set(owner[parts == part])) / 200 for part in range(3)]
    np.testing.assert_allclose(share, (0.7, 0.15, 0.15), atol=0.02)
    np.testing.assert_allclose(patients, (0.7, 0.15, 0.15), atol=0.04)


def test_a_label_that_three_patients_have_reaches_all_three_parts() -> None:
    truth = np.zeros((40, 1))
    truth[[3, 17, 31]] = 1
    parts = stratify([str(k) for k in range(40)], label_matrix(Task((Target("a"),)), truth), (0.7, 0.15, 0.15), 1)
    assert sorted(parts[[3, 17, 31]]) == [0, 1, 2]


def test_classes_and_quarters_are_strata() -> None:
    task = Task((Target("kind", "multiclass", ("x", "y")), Target("size", "continuous")))
    truth = np.array([[0, 1.0], [1, 2.0], [np.nan, 3.0], [0, np.nan], [1, 4.0]])
    strata = label_matrix(task, truth)
    assert strata.shape == (5, 6)
    assert strata.sum(axis=1).tolist() == [2, 2, 1, 1, 2]


def test_fewer_patients_than_folds_is_refused() -> None:
    raw = random_table(20, 4, 0)
    with pytest.raises(InputError, match="4 patients cannot fill 5"):
        make_split(cohort_of(raw, patient_column="who"), SplitOptions(folds=5))


def test_three_patients_fill_three_parts() -> None:
    raw = pd.DataFrame({"id": list("ijk"), "who": list("pqr"), "a": ["0", "1", "0"], "b": ["0", "0", "1"]})
    assert set(make_split(cohort_of(raw, patient_column="who")).table["split"]) == set(PARTS)


def test_a_declared_split_is_kept() -> None:
    raw = random_table(60, 20, 0)
    raw["part"] = ["train", "val", "dev", "test", "", "valid"] * 10
    split = make_split(cohort_of(raw, patient_column="who", split_column="part"))
    assert list(split.table["split"][:6]) == ["train", "tune", "tune", "test", "", "tune"]
    assert split.notes == ()


def test_tune_is_taken_from_train_by_patient_where_it_is_not_declared() -> None:
    raw = random_table(200, 50, 0)
    raw["part"] = np.where(raw["who"].str[1:].astype(int) < 10, "test", "train")
    split = make_split(cohort_of(raw, patient_column="who", split_column="part"))
    assert set(split.ids("test")) == set(raw.loc[raw["part"] == "test", "id"])
    assert split.table.assign(who=raw["who"]).groupby("who")["split"].nunique().max() == 1
    assert 0.1 < len(split.ids("tune")) / (raw["part"] == "train").sum() < 0.26
    assert "no tune part" in split.notes[0]


def test_declared_numbers_are_folds_counted_from_zero() -> None:
    raw = random_table(60, 20, 0)
    raw["part"] = ["1", "2", "3"] * 20
    split = make_split(cohort_of(raw, patient_column="who", split_column="part"))
    assert split.n_folds == 3
    assert list(split.table["split"][:3]) == ["0", "1", "2"]


def test_folds_leave_a_declared_test_part_out() -> None:
    raw = random_table(100, 100, 0)
    raw["part"] = ["train", "train", "tune", "train", "test"] * 20
    split = make_split(cohort_of(raw, patient_column="who", split_column="part"), SplitOptions(folds=4))
    assert set(split.ids("")) == set(raw.loc[raw["part"] == "test", "id"])
    assert split.n_folds == 4
    assert "excluded" in split.notes[0]


def test_each_fold_is_tested_once_and_half_of_it_tunes_once() -> None:
    cohort = cohort_of(random_table(90, 30, 0), patient_column="who")
    split = make_split(cohort, SplitOptions(folds=3))
    owner = dict(zip(cohort.image_ids, cohort.patient_ids, strict=True))
    folds = [fold_split(split, k) for k in range(3)]
    assert sorted(image for fold in folds for image in fold.ids("test")) == sorted(split.table["image_id"])
    tuned = [image for fold in folds for image in fold.ids("tune")]
    assert len(set(tuned)) == len(tuned)
    assert len({owner[image] for image in tuned}) == pytest.approx(len(set(owner.values())) / 2, abs=2)
    for fold in folds:
        parts = [{owner[image] for image in fold.ids(part)} for part in ("train", "tune", "test")]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(set(owner.values()))
    with pytest.raises(InputError, match="0 to 2"):
        fold_split(split, 3)


def test_a_lone_patient_of_a_fold_tunes() -> None:
    alone = make_split(cohort_of(random_table(60, 3, 0), patient_column="who"), SplitOptions(folds=3))
    assert set(alone.table["tunes"]) == {"1"}


def test_declared_folds_are_halved_by_patient_and_tune_whole_without_patients() -> None:
    raw = random_table(90, 30, 0)
    raw["part"] = (raw["who"].str[1:].astype(int) % 3 + 1).astype(str)
    by_patient = fold_split(make_split(cohort_of(raw, patient_column="who", split_column="part")), 0)
    owners = [set(raw.set_index("id").loc[by_patient.ids(part), "who"]) for part in ("train", "tune", "test")]
    assert all(owners)
    assert sum(map(len, owners)) == raw["who"].nunique()
    assert set(by_patient.ids("tune")) < set(raw.loc[raw["part"] == "2", "id"])
    assert set(by_patient.ids("test")) == set(raw.loc[raw["part"] == "1", "id"])
    without = make_split(cohort_of(raw, split_column="part"))
    assert "tunes" not in without.table
    assert fold_split(without, 0).ids("tune") == without.ids("1")


def stack(n_rows: int, kinds: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": [f"s{k}" for k in range(n_rows)], "slice": np.arange(n_rows), "a": "0", "b": "1", "kind": kinds}
    )


@pytest.mark.parametrize("folds", [None, 5])
@pytest.mark.parametrize("layout", ["runs", "alternating"])
def test_blocks_are_contiguous_with_a_gap_and_hold_every_class(folds: int | None, layout: str) -> None:
    kinds = ["x"] * 300 + ["y"] * 400 + ["z"] * 300 if layout == "runs" else list("xyz") * 333 + ["x"]
    raw = stack(1000, kinds).sample(frac=1, random_state=0).reset_index(drop=True)
    split = make_split(cohort_of(raw, block_column="slice"), SplitOptions(folds=folds, gap=10))
    ordered = split.table.assign(slice=raw["slice"], kind=raw["kind"]).sort_values("slice")
    used = ordered[ordered["split"] != ""]
    for _, part in used.groupby("split"):
        assert set(part["kind"]) == {"x", "y", "z"}
    ends = used["split"].to_numpy()[1:] != used["split"].to_numpy()[:-1]
    assert np.diff(used["slice"])[ends].min() > 10
    assert ends.sum() <= 14
    assert "not used" in split.notes[0]


def test_folds_of_blocks_are_halved_with_a_gap_or_tune_whole_where_too_short() -> None:
    raw = stack(1000, ["x"] * 300 + ["y"] * 400 + ["z"] * 300)
    cohort = cohort_of(raw, block_column="slice")
    fold = fold_split(make_split(cohort, SplitOptions(folds=5, gap=10)), 0).table.assign(slice=raw["slice"])
    used = fold[fold["split"] != ""]
    ends = used["split"].to_numpy()[1:] != used["split"].to_numpy()[:-1]
    assert np.diff(used["slice"])[ends].min() > 10
    n_of = fold["split"].value_counts()
    assert 60 <= n_of["tune"] <= 100
    assert n_of["train"] > 3.2 * n_of["test"]
    short = cohort_of(stack(300, ["x"] * 100 + ["y"] * 100 + ["z"] * 100), block_column="slice")
    whole = make_split(short, SplitOptions(folds=5, gap=10))
    assert set(whole.table.loc[whole.table["split"] != "", "tunes"]) == {"1"}
    assert fold_split(whole, 0).ids("tune") == whole.ids("1")


def test_blocks_cut_no_declared_patient_in_two() -> None:
    raw = stack(1000, ["x"] * 300 + ["y"] * 400 + ["z"] * 300).assign(who=[f"p{k // 7}" for k in range(1000)])
    split = make_split(cohort_of(raw, block_column="slice", patient_column="who"), SplitOptions(gap=10))
    used = split.table.assign(who=raw["who"])[split.table["split"] != ""]
    assert used.groupby("who")["split"].nunique().max() == 1


def test_too_short_a_stack_is_refused() -> None:
    with pytest.raises(InputError, match="too few for contiguous blocks"):
        make_split(cohort_of(stack(30, ["x"] * 10 + ["y"] * 10 + ["z"] * 10), block_column="slice"))


def test_written_and_read_it_is_the_same(tmp_path: Path) -> None:
    cohort = cohort_of(random_table(50, 20, 0), patient_column="who")
    split = make_split(cohort)
    write_split(split, tmp_path / "split.csv")
    back = read_split(tmp_path / "split.csv", cohort)
    pd.testing.assert_frame_equal(back.table, split.table, check_dtype=False)
    assert back.fingerprint == split.fingerprint
    assert back.notes == split.notes


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace(",test", ",train", 1),
        lambda _: "",
        lambda text: text[:100],
        lambda _: "image_id,split",
    ],
)
def test_an_edited_file_is_refused(tmp_path: Path, edit: Callable[[str], str]) -> None:
    cohort = cohort_of(random_table(50, 20, 0), patient_column="who")
    write_split(make_split(cohort), tmp_path / "split.csv")
    text = (tmp_path / "split.csv").read_text()
    (tmp_path / "split.csv").write_text(edit(text))
    with pytest.raises(InputError, match=r"split.csv: was changed.* Restore it, or make the run again with --force"):
        read_split(tmp_path / "split.csv", cohort)
    (tmp_path / "split.csv").unlink()
    with pytest.raises(MissingFileError, match=r"split.csv: is gone.* with --force"):
        read_split(tmp_path / "split.csv", cohort)


def test_a_split_of_other_images_is_refused(tmp_path: Path) -> None:
    cohort = cohort_of(random_table(50, 20, 0), patient_column="who")
    write_split(make_split(cohort), tmp_path / "split.csv")
    with pytest.raises(InputError, match="lists images that the label file lacks: i"):
        read_split(tmp_path / "split.csv", cohort.take(range(40)))


def test_the_fingerprint_sees_parts_not_rows() -> None:
    split = make_split(cohort_of(random_table(50, 20, 0), patient_column="who"))
    assert Split(split.table.iloc[::-1]).fingerprint == split.fingerprint


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="sum to 1"):
        SplitOptions(fractions=(0.5, 0.2, 0.2))
    with pytest.raises(InputError, match="too few"):
        RunOptions(folds=2)


@settings(max_examples=25)
@given(tables, st.integers(0, 3), st.sampled_from([None, 3]))
def test_what_belongs_together_stands_in_one_part_with_its_patients(raw: pd.DataFrame, seed: int, folds: int | None):
    cohort = cohort_of(raw, patient_column="who")
    together = (("i0", "i1"), ("i1", "i2"))
    split = make_split(cohort, SplitOptions(folds=folds, seed=seed, together=together))
    of_them = raw["who"].isin(raw["who"][:3]).to_numpy()
    assert split.table["split"][of_them].nunique() == 1
    assert split.table.assign(who=raw["who"]).groupby("who")["split"].nunique().max() == 1
    assert any("stand in one part" in str(note) for note in split.notes)
