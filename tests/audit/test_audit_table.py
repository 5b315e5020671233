"""The table gives its faults away without a look at an image."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from focusmap.audit.association import auroc_of_counts, cramers_v
from focusmap.audit.findings import AuditOptions
from focusmap.study import SplitOptions, fold_split, make_split
from support.audited import audit_cohort, found, must_find, read_table_only, textures, write_cohort


def patients_table(n: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "patient_id": [f"p{k // 2}" for k in range(n)],
            "nodule": rng.integers(0, 2, n),
            "sex": rng.choice(["F", "M"], n),
            "age": rng.integers(20, 90, n),
        }
    )


def test_patients_in_two_parts_are_counted_by_pair_and_named(tmp_path: Path) -> None:
    table = patients_table(12).assign(split=["train", "tune", "train", "test", "train", "test", *["train"] * 6])
    audit = audit_cohort(read_table_only(tmp_path, table, targets=("nodule",)))
    item = must_find(audit, "patient-across-splits")
    assert item.severity == "blocking"
    assert item.count == 3
    assert "1 patient in train and tune; 2 patients in train and test" in item.message
    assert item.examples == ("p0", "p1", "p2")
    assert audit.blocking() == [item]
    assert audit.blocking(["patient-across-splits"]) == []


def test_our_own_split_has_no_patient_in_two_parts(tmp_path: Path) -> None:
    cohort = read_table_only(tmp_path, patients_table(), targets=("nodule",))
    for folds in (None, 4):
        audit = audit_cohort(cohort, make_split(cohort, SplitOptions(folds=folds)))
        assert found(audit, "patient-across-splits") is None


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ({}, "add --patient none if every case is another patient's."),
        ({"case": "eye"}, "add --patient eye if every case is another patient's."),
    ],
)
def test_the_remedy_for_want_of_patients_is_one_for_cases(tmp_path: Path, said: dict[str, str], advice: str) -> None:
    table = patients_table().drop(columns="patient_id").assign(eye=[f"e{k}" for k in range(200)])
    item = must_find(audit_cohort(read_table_only(tmp_path, table, targets=("nodule",), **said)), "no-patient-column")
    assert item.message.endswith(advice)
    assert "image" not in item.message
    taken = {"patient": advice.split()[2]}
    mended = audit_cohort(read_table_only(tmp_path, table, targets=("nodule",), **said, **taken))
    assert mended.blocking() == []


@pytest.mark.parametrize(
    ("said", "accepted", "blocking"),
    [
        ({}, (), ["no-patient-column"]),
        ({"patient": "none"}, ("no-patient-column",), []),
        ({"block": "slice"}, ("no-patient-column",), []),
    ],
)
def test_patients_must_be_declared(
    tmp_path: Path, said: dict[str, str], accepted: tuple[str, ...], blocking: list[str]
) -> None:
    table = patients_table().drop(columns="patient_id").assign(slice=range(200))
    audit = audit_cohort(read_table_only(tmp_path, table, targets=("nodule",), **said))
    assert [item.name for item in audit.blocking()] == blocking
    assert audit.accepted == accepted


def test_what_the_user_accepts_stands_in_the_audit(tmp_path: Path) -> None:
    cohort = read_table_only(tmp_path, patients_table().drop(columns="patient_id"), targets=("nodule",))
    options = AuditOptions(accept=("no-patient-column", "source-shortcut"))
    audit = audit_cohort(cohort, options=options)
    assert audit.accepted == ("no-patient-column",)
    assert audit.blocking() == []


def test_missing_unknown_and_rare(tmp_path: Path) -> None:
    table = patients_table()
    table["sex"] = table["sex"].where(table.index > 3, "")
    table["nodule"] = table["nodule"].astype(str).where(table.index > 1, "")
    table["mass"] = (table.index < 6).astype(int)
    audit = audit_cohort(read_table_only(tmp_path, table, targets=("nodule", "mass")))
    assert must_find(audit, "missing-values").examples == ("sex: 4 of 200 rows",)
    assert must_find(audit, "unknown-labels").examples == ("nodule: 2 cases",)
    assert must_find(audit, "rare-label").examples == ("mass: 6 of 200",)


def test_too_few_positives_advises_cross_validation_unless_it_is_done(tmp_path: Path) -> None:
    table = patients_table().assign(mass=[int(k % 4 == 0) for k in range(200)])
    cohort = read_table_only(tmp_path, table, targets=("nodule", "mass"))
    item = must_find(audit_cohort(cohort, make_split(cohort)), "too-few-positives")
    assert "--folds 5" in item.message
    assert item.examples[0].startswith("mass: 35 in train, ")
    assert found(audit_cohort(cohort, make_split(cohort, SplitOptions(folds=5))), "too-few-positives") is None


def test_labels_and_not_their_sides_are_counted_as_the_folds_train(tmp_path: Path) -> None:
    table = patients_table(80).assign(nodule=[k // 2 % 2 for k in range(80)], sick=[k // 4 % 2 for k in range(80)])
    cohort = read_table_only(tmp_path, table, targets=("nodule", "sick"))
    split = make_split(cohort, SplitOptions(folds=3))
    item = must_find(audit_cohort(cohort, split), "too-few-positives")
    assert (item.count, len(item.examples), item.is_heeded) == (2, 4, True)
    truth = dict(zip(cohort.image_ids, cohort.truth[:, 0], strict=True))
    trained = [sum(truth[name] for name in fold_split(split, k).ids("train")) for k in range(3)]
    assert item.examples[0] == f"nodule: {int(sum(trained)) // 6} in train, 20 in test", "two images a patient"
    assert sum(trained) > 40, "half of the fold that tunes trains too"
    assert not must_find(audit_cohort(cohort, make_split(cohort)), "too-few-positives").is_heeded


def test_what_is_too_few_counts_cases_where_views_are_named(tmp_path: Path) -> None:
    table = patients_table().assign(
        image_id=[f"i{k}" for k in range(200)], eye=[f"e{k // 4}" for k in range(200)], view=["a", "b", "c", "d"] * 50
    )
    table["nodule"] = [k // 4 % 2 for k in range(200)]
    cohort = read_table_only(tmp_path, table, targets=("nodule",), case="eye", view="view", patient="none")
    item = must_find(audit_cohort(cohort), "too-few-positives")
    assert item.examples == (
        "nodule: about 18 in train, about 4 in test",
        "nodule (without): about 18 in train, about 4 in test",
    )
    assert "30 cases to train on" in item.message


@pytest.mark.parametrize(("folds", "advised"), [(None, True), (3, False)])
def test_many_slices_of_few_patients_are_too_few(tmp_path: Path, folds: int | None, advised: bool) -> None:
    """320 slices would do; the 8 patients that they are of do not."""
    table = pd.DataFrame({"patient_id": [f"p{k // 40}" for k in range(320)], "tumour": [k % 2 for k in range(320)]})
    cohort = read_table_only(tmp_path, table, targets=("tumour",))
    item = must_find(audit_cohort(cohort), "too-few-positives")
    assert item.message.startswith("Fewer than 30 patients to train on or 10 to test on: tumour: about 6 in train, ")
    assert "tumour (without): about 6 in train, about 1 in test" in item.examples
    item = must_find(audit_cohort(cohort, make_split(cohort, SplitOptions(folds=folds))), "too-few-positives")
    assert ("--folds 5, which tests on every patient once" in item.message) == advised
    assert "about" not in item.message
    alone = read_table_only(tmp_path, table, targets=("tumour",), patient="none")
    assert found(audit_cohort(alone), "too-few-positives") is None


def test_a_label_with_one_value_is_to_be_left_out_and_not_to_be_folded(tmp_path: Path) -> None:
    table = patients_table().assign(tumour=1)
    audit = audit_cohort(read_table_only(tmp_path, table, targets=("nodule", "tumour")))
    item = must_find(audit, "constant-label")
    assert (item.severity, item.count, item.examples) == ("warning", 1, ("tumour is '1'",))
    assert "Leave it out" in item.message
    few = found(audit, "too-few-positives")
    assert few is None or "tumour" not in few.message


def test_implausible_values_are_named_with_their_row(tmp_path: Path) -> None:
    table = patients_table()
    table.loc[0, "age"], table.loc[5, "age"] = -3, 140
    table["injections"] = [k % 3 for k in range(199)] + [6]
    table["thickness"] = [300 + k % 50 for k in range(199)] + [30000]
    table["grade"] = [k % 4 for k in range(200)]
    item = must_find(audit_cohort(read_table_only(tmp_path, table, targets=("nodule",))), "implausible-value")
    assert sorted(item.examples) == [
        "row 201: injections 6", "row 201: thickness 30000", "row 2: age -3", "row 7: age 140",
    ]  # fmt: skip


def test_what_is_declared_as_not_known_is_no_odd_value_and_no_category(tmp_path: Path) -> None:
    table = patients_table().assign(injections=[k % 3 for k in range(199)] + [6])
    table["site"] = ["9" if sick else "AB"[k % 2] for k, sick in enumerate(table["nodule"])]
    names = {"implausible-value", "label-tied-to-site"}
    said = audit_cohort(read_table_only(tmp_path, table, targets=("nodule",)))
    assert names <= {item.name for item in said.findings}
    missing = ("injections=6", "site=9")
    said = audit_cohort(read_table_only(tmp_path, table, targets=("nodule",), missing=missing))
    assert not names & {item.name for item in said.findings}


def test_a_label_that_goes_with_a_column_is_named_and_chance_is_not(tmp_path: Path) -> None:
    table = patients_table(600)
    rng = np.random.default_rng(1)
    sick = rng.integers(0, 2, 300).repeat(2)
    table["nodule"] = sick
    table["site"] = np.where(rng.random(600) < 0.8, sick, 1 - sick)
    table["age"] = np.clip(50 + 15 * sick + rng.normal(0, 15, 600), 1, 99).round().astype(int)
    audit = audit_cohort(read_table_only(tmp_path, table, targets=("nodule",)))
    assert must_find(audit, "label-tied-to-site").severity == "warning"
    assert "AUROC 0.7" in must_find(audit, "label-tied-to-age").message
    assert found(audit, "label-tied-to-sex") is None
    assert found(audit, "source-shortcut") is None


def test_a_declared_covariate_may_go_with_the_label(tmp_path: Path) -> None:
    table = patients_table(400)
    noise = np.random.default_rng(1).random((2, 400)) < 0.2
    table["nodule"] = np.arange(200).repeat(2) % 2
    table["drug"], table["view"] = np.where(noise, 1 - table["nodule"], table["nodule"])
    audit = audit_cohort(read_table_only(tmp_path, table, targets=("nodule",), covariates=("drug",)))
    assert found(audit, "label-tied-to-drug") is None
    assert must_find(audit, "label-tied-to-view").count == 1
    assert {entry["column"] for entry in audit.overview["association"]} >= {"drug", "view"}  # type: ignore[union-attr, index, call-overload]


def test_a_site_that_gives_the_label_away_blocks(tmp_path: Path) -> None:
    table = patients_table()
    table["site"] = np.where(table["nodule"] == 1, "north", "south")
    audit = audit_cohort(read_table_only(tmp_path, table, targets=("nodule",)))
    assert "site predicts nodule" in must_find(audit, "source-shortcut").message


def test_statistics_agree_with_scipy_and_scikit_learn() -> None:
    from scipy.stats.contingency import association
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 30, (2, 5, 6))
    for i in range(5):
        expected = association(np.stack([positive[i], negative[i]]), method="cramer")
        assert cramers_v(positive, negative)[i] == pytest.approx(expected)
        truth = np.repeat([1, 0], [positive[i].sum(), negative[i].sum()])
        level = np.concatenate([np.repeat(np.arange(6), positive[i]), np.repeat(np.arange(6), negative[i])])
        assert auroc_of_counts(positive, negative)[i] == pytest.approx(roc_auc_score(truth, level))


def test_the_overview_counts(tmp_path: Path) -> None:
    table = patients_table().assign(kind=["x", "y", "y", "z"] * 50, size=np.arange(200) / 3)
    cohort = read_table_only(tmp_path, table, targets=("nodule", "kind", "size:continuous"))
    audit = audit_cohort(cohort, make_split(cohort))
    written = json.loads(json.dumps(audit.to_dict(), allow_nan=False))
    overview = written["overview"]
    assert (overview["n_images"], overview["n_patients"], overview["images_per_patient"]) == (200, 100, {"2": 100})
    assert overview["targets"]["kind"]["counts"] == {"x": 50, "y": 100, "z": 50}
    assert overview["cooccurrence"]["names"] == ["nodule", "kind=x", "kind=y", "kind=z"]
    assert overview["cooccurrence"]["matrix"][2][2] == 100
    assert {column["name"]: column["type"] for column in overview["columns"]}["sex"] == "text"
    assert set(written["sample_sheets"]) == {"nodule", "kind=x", "kind=y", "kind=z"}
    assert "images" not in overview


def test_row_order_does_not_change_the_associations(tmp_path: Path) -> None:
    table = patients_table().assign(id=[f"i{k}" for k in range(200)])
    both = []
    for name, rows in (("a", table), ("b", table.sample(frac=1, random_state=0))):
        (tmp_path / name).mkdir()
        audit = audit_cohort(
            read_table_only(tmp_path / name, rows.rename(columns={"id": "image_id"}), targets=("nodule",))
        )
        both.append(audit.to_dict()["overview"]["association"])  # type: ignore[index, call-overload]
    assert both[0] == both[1]


def test_soft_labels_are_decided_at_one_half(tmp_path):
    """Fractions count by side: two alike images called 0.6 and 1 bear one label."""
    images = textures(8)
    images[1] = np.clip(images[0].astype(int) + 3, 0, 255).astype(np.uint8)
    values = ["0.6", "1", "0.2", "0", "0.4", "0.5", "0", ""]
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(8)], "patient_id": list("abcdefgh"), "x": values})
    audit = audit_cohort(write_cohort(tmp_path, table, images, targets=("x",)))
    described = audit.overview["targets"]["x"]
    assert (described["counts"], described["n_soft"], described["n_unknown"]) == ({"0": 4, "1": 3}, 4, 1)
    assert found(audit, "near-duplicates") is not None
    assert found(audit, "near-duplicates-across-classes") is None


@pytest.mark.parametrize(("cells", "said"), [("", "names nobody: it is empty"), ("p", "may say it")])
def test_a_column_that_could_name_patients_is_pointed_to(tmp_path: Path, cells: str, said: str) -> None:
    name = "patient_id" if not cells else "病历号"
    table = patients_table().drop(columns="patient_id")
    table[name] = [f"{cells}{k}" if cells else "" for k in range(200)]
    item = must_find(audit_cohort(read_table_only(tmp_path, table, targets=("nodule",))), "no-patient-column")
    assert f"Column {name} {said}" in item.message
