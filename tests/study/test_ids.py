"""Ids: what their normal form joins and keeps apart, which texts name nobody, and which commands hold to it."""

import hashlib
import hmac
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from focusmap.audit import audit_against
from focusmap.audit.table import table_findings
from focusmap.basics import InputError, RefusedError
from focusmap.cli import main
from focusmap.evaluation.prediction_table import read_prediction_table
from focusmap.reading_room.corrections import pseudonym
from focusmap.study.cohort import Cohort, read_cohort, write_cohort
from focusmap.study.external import read_roster, refuse_known_patients, roster_of
from focusmap.study.ids import names_nobody, normal_id, of_nobody, spelled_twice
from focusmap.study.options import Declaration, ReadingsDeclaration, RunOptions
from focusmap.study.readings import read_readings
from focusmap.study.run import Run
from focusmap.study.study import read_study, write_study

ONE_ID = [
    ["17", "17.0", "17.00", "17,0", "0017", "1.7E+01", "1.7e1", "1.7000e+01", "１７", "１７．０", "١٧", ' "17"', "'17",
     '="0017"', "17\u200b", "\ufeff17", "17\u00a0", "17\u00ad", "+17", "17.", "(17)", "#17", "No. 17", "№17", "ID: 17",
     "patient 17", "Patient ID: 17", "patient no. 17", "case 17", "第17号", "N° 17",
     "Patient_017", "sub-17", "PT17", "病人17", "患者 17 号", "17號", "17番", "환자번호 17", "1.70E+01",
     "17E+0"],
    ["P017", "p17", "P-17", "P_17", "p 17", "P–17", "P−17", "P‑17", "Ｐ17", "Р17", "P.017", "P17.0", "P/17", "p17\x00"],
    ["1234", "1,234", "1.234", "1 234", "1'234", "1’234", "1\u202f234", "1.234E+03", "1,234.00", "1.234,00", "1234.0"],
    ["1234567", "1,234,567", "12,34,567", "1.234.567", "1.234567E+06", "1.234567E6"],
    ["Müller", "MÜLLER", "Mu\u0308ller", "muller", "Müller ", "MÃ¼ller", "M&uuml;ller"],
    ["Doe^John", "DOE^JOHN", "Doe, John", "doe john", "Doe^John^^^"],
    ["2021-05-01", "2021/5/1", "2021_05_01", "2021.05.01", "20210501", "2021-05-01 00:00:00", "1.5.2021",
     "2021-05-01T00:00:00"],
    ["TCGA-AB-1234", "tcga_ab_1234", "TCGAAB1234", "TCGA.AB 1234"],
    ["张伟", "张 伟".replace(" ", ""), "张伟\u3000", "张\u200b伟"],
    ["MGH-A-017", "mgh_a_17", "MGH A17"],
    ["Müller", "Mueller", "Muller", "MUELLER", "Mu\u0308ller", "M&uuml;ller"],
    ["Søren Łęk 7", "Soeren Lek 7", "SOREN_LEK_07"],
    ["Yıldız", "Yildiz", "YILDIZ"],
    ["550e8400-e29b-41d4-a716-446655440000", "550E8400E29B41D4A716446655440000",
     "{550e8400-e29b-41d4-a716-446655440000}", "urn:uuid:550e8400-e29b-41d4-a716-446655440000"],
    ["b'017'", "17", "paziente 17", "пациент 17", "sujet n° 17"],
]  # fmt: skip
APART = ["1", "10", "100", "1-17", "117", "11-7", "P1", "P10", "Q1", "1.1", "1.10", "110", "12e4567", "1a", "a1b2",
         "が",
         "か", "AE1", "A1", "OE-2", "O-2", "Li Wang", "Wang Li", "张伟", "张为", "1.75E+01", "0"]  # fmt: skip


@pytest.mark.parametrize("forms", ONE_ID, ids=[forms[0] for forms in ONE_ID])
def test_one_id_in_many_forms(forms: list[str]):
    assert len({normal_id(form) for form in forms}) == 1, {form: normal_id(form) for form in forms}


def test_ids_that_are_several_people_stay_apart():
    assert spelled_twice(APART) == {}


@given(st.text(min_size=1))
def test_the_normal_form_is_its_own(text: str):
    form = normal_id(text)
    assert normal_id(f" {text}\u200b ") == form
    assert form == "" or normal_id(normal_id(form)) == normal_id(form)


@given(st.integers(0, 10**14), st.sampled_from(["{}", "{}.0", "0{}", " {}", "{:,}", "'{}", "ID {}", "{}\ufeff"]))
def test_a_number_is_one_id_however_it_is_written(number: int, form: str):
    assert normal_id(form.format(number)) == str(number)


@pytest.mark.parametrize(
    "text",
    ["", " ", "nan", "NaN", "NA", "n/a", "N.A.", "#N/A", "<NA>", "null", "None", "unknown", "Unknown ", "not known",
     "-",
     "--", "—", "?", "???", ".", "-1", "-999", "−1", "xxx", "anonymous", "ANONYMIZED", "#REF!", "未知", "不详", "匿名",
     "k. A.", "n.v.t.", "onbekend", "미상", "なし", "未登録", "없음", "John Doe", "ohne Angabe"],
)  # fmt: skip
def test_texts_that_name_nobody(text: str):
    assert names_nobody(text)


@pytest.mark.parametrize("text", ["0", "7", "p7", "Nan Li", "X1", "Noel", "None-7", "N17", "noone@x", "张无忌"])
def test_texts_that_name_somebody(text: str):
    assert not names_nobody(text)


def test_a_zero_names_nobody_only_where_all_others_have_four_digits():
    assert of_nobody(pd.Series(["0", "1", "2"])).tolist() == [False] * 3
    assert of_nobody(pd.Series(["0000", "4711", "4712"])).tolist() == [True, False, False]
    assert of_nobody(pd.Series(["9999", "17", "18"])).tolist() == [True, False, False]
    assert of_nobody(pd.Series(["999", "998", "997"])).tolist() == [False] * 3


def cohort_of(folder: Path, patients: list[str], declaration: Declaration = Declaration()) -> Cohort:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"path": f"{i:04d}.png", "patient_id": who, "label": (i // 2) % 2} for i, who in enumerate(patients)]
    for row in rows:
        (folder / str(row["path"])).touch()
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return read_cohort(folder / "labels.csv", declaration)


@pytest.mark.parametrize("form", ["{}.0", "{:04d}", "patient {}", "{}\u00a0\u200b"])
def test_a_patient_in_two_spellings_blocks_and_is_named(tmp_path, form: str):
    patients = [form.format(i // 2) if i % 2 else str(i // 2) for i in range(60)]
    found = {item.name: item for item in table_findings(cohort_of(tmp_path, patients), None)}
    item = found["same-patient-two-spellings"]
    assert (item.severity, item.count) == ("blocking", 30)
    assert f"1 = {form.format(1)}" in item.examples or f"{form.format(1)} = 1" in item.examples
    joined = cohort_of(tmp_path, patients, Declaration(same_patient=True))
    assert len(set(joined.patient_ids)) == 30
    assert "same-patient-two-spellings" not in {item.name for item in table_findings(joined, None)}


def test_that_patients_are_one_is_kept_in_the_study(tmp_path):
    study = cohort_of(tmp_path, ["17", "17.0"], Declaration(same_patient=True)).study
    write_study(study, tmp_path / "study.yaml")
    assert read_study(tmp_path / "study.yaml") == study
    assert "normal form" in study.describe()


@pytest.mark.parametrize("word", ["nan", "unknown", "?", "-1"])
def test_rows_of_nobody_are_refused_and_named(tmp_path, word: str):
    with pytest.raises(InputError, match=r"row 3, 5: patient_id names nobody .* in 2 of 4 rows"):
        cohort_of(tmp_path, ["p1", word, "p2", word])


def test_a_column_that_names_nobody_is_not_the_patient_column(tmp_path):
    assert cohort_of(tmp_path, ["nan", "nan", "NA"]).study.patients == "undeclared"


def test_ids_that_a_spreadsheet_rounded_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"row 2, 3: patient_id '1.23457E\+11' was rounded"):
        cohort_of(tmp_path, ["1.23457E+11", "1.23457E+11", "p2"])
    assert len(cohort_of(tmp_path, ["1.23456789012E+11", "7"])) == 2


@pytest.mark.parametrize("cell", ["3-Jan", "03. Mär", "Jan-99", "12 Dez."])
def test_ids_that_a_spreadsheet_turned_into_dates_are_refused(tmp_path, cell):
    with pytest.raises(InputError, match=r"row 2: patient_id .* was turned into a date by a spreadsheet.*Format"):
        cohort_of(tmp_path, [cell, "3-14", "p2"])


@pytest.mark.parametrize(
    "cell",
    ["\\N", "nan^nan", "None None", "[object Object]", "PatientID", "No name", "n.b.", "to be assigned", "ditto"],
)
def test_what_systems_write_for_nobody_is_nobody(cell):
    assert names_nobody(cell)


def test_a_day_with_its_month_in_letters_is_that_day():
    assert normal_id("03-May-2021") == normal_id("3. Mai 2021") == normal_id("20210503")


def external_case(tmp_path: Path, declaration: Declaration = Declaration()) -> tuple[Run, Cohort]:
    run, own = Run(tmp_path / "run"), cohort_of(tmp_path / "own", ["17", "18", "19"])
    write_study(own.study, run.study)
    write_cohort(own, run.cohort)
    return run, cohort_of(tmp_path / "other", ["0017", "P4", "5"], declaration)


def test_known_patients_in_another_spelling_are_refused(tmp_path):
    run, other = external_case(tmp_path)
    with pytest.raises(RefusedError, match=r"^same-patient-two-spellings: 1 patients.*0017 = 17"):
        refuse_known_patients(run, other, RunOptions())
    refuse_known_patients(run, other, RunOptions(accept=("same-patient-two-spellings",)))


def test_known_patients_who_are_one_are_known(tmp_path):
    run, other = external_case(tmp_path, Declaration(same_patient=True))
    with pytest.raises(RefusedError, match=r"^patient-across-splits: 1 patients .*\(17\)"):
        refuse_known_patients(run, other, RunOptions())


def test_two_tables_are_compared_in_the_normal_form(tmp_path):
    own = cohort_of(tmp_path / "own", ["17", "18", "P-9"])
    cohort_of(tmp_path / "other", ["18", "17.0", "p09"])
    other = read_roster(tmp_path / "other" / "labels.csv", own.study)
    found = {item.name: item.examples for item in audit_against(roster_of(own), replace(other, files=None))}
    assert found == {"patient-across-splits": ("18",), "same-patient-two-spellings": ("17 = 17.0", "P-9 = p09")}


READERS = "path,patient_id,reader,sick\na.png,{},r1,1\na.png,{},r2,1\nb.png,{},r1,0\nb.png,{},r2,0\n"


def test_a_consensus_asks_whether_two_spellings_are_one(tmp_path):
    table = tmp_path / "readers.csv"
    table.write_text(READERS.format("17", "17", "17.0", "17.0"))
    with pytest.raises(RefusedError, match=r"same-patient-two-spellings: 1 patients .*17 = 17.0"):
        read_readings(table)
    assert set(read_readings(table, ReadingsDeclaration(same_patient=True)).patients) == {"17"}
    assert len(set(read_readings(table, ReadingsDeclaration(accept=("same-patient-two-spellings",))).patients)) == 2


def test_a_reader_in_two_spellings_is_not_two_readers(tmp_path):
    table = tmp_path / "readers.csv"
    table.write_text("path,reader,sick\na.png,Dr A,1\na.png,dr. a,0\nb.png,Dr B,1\nb.png,Dr A,1\n")
    with pytest.raises(InputError, match=r"reader 'Dr A' and 'dr. a' differ only"):
        read_readings(table)


def test_the_command_refuses_and_is_settled(tmp_path, capsys):
    folder = tmp_path / "img"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (16, 16)).astype("u1")).save(folder / f"{i:04d}.png")
    rows = "".join(f"{i:04d}.png,{i // 2}{'.0' if i % 2 else ''},{(i // 2) % 2}\n" for i in range(12))
    (tmp_path / "labels.csv").write_text(f"path,patient_id,label\n{rows}")
    asked = ["audit", str(tmp_path / "labels.csv"), "--images", str(folder), "--out", str(tmp_path / "a")]
    assert main(asked) == 3
    assert "same-patient-two-spellings" in capsys.readouterr().err
    assert main([*asked, "--force", "--same-patient"]) == 0
    assert "6 patients" in capsys.readouterr().out
    assert main([*asked, "--force", "--accept", "same-patient-two-spellings"]) == 0


def test_cases_stand_for_patients_where_none_are_named(tmp_path):
    (tmp_path / "labels.csv").write_text("id,visit,label\n007,v7,1\n8,V-007,0\n9,v8,1\n10,v9,0\n")
    cohort = read_cohort(tmp_path / "labels.csv", Declaration(patient="none", case="visit"))
    found = [finding for finding in table_findings(cohort, None) if finding.name == "same-patient-two-spellings"]
    assert found[0].examples == ("V-007 = v7",)


def test_a_table_of_predictions_counts_one_patient_once(tmp_path):
    def read(ids: list[str]):
        rows = "".join(f"{name},{i % 2},0.{i + 1}\n" for i, name in enumerate(ids))
        (tmp_path / "p.csv").write_text(f"patient_id,true_a,prob_a\n{rows}")
        return read_prediction_table(tmp_path / "p.csv")[0].ids["patient_id"].tolist()

    assert len(set(read(["17", "0017", "17.0", "8"]))) == 2
    with pytest.raises(InputError, match="row 3: patient_id 'unknown' names nobody"):
        read(["17", "unknown", "8", "9"])


def test_a_patient_of_corrections_has_one_name_however_written(tmp_path):
    assert len({pseudonym(tmp_path, name) for name in ("0017", "17", "patient 17", "17.0")}) == 1
    old = hmac.new((tmp_path / "key").read_text().encode(), b"0017", hashlib.sha256).hexdigest()[:12]
    (tmp_path / "corrections.jsonl").write_text(f'{{"patient": "P{old}"}}\n')
    assert pseudonym(tmp_path, "0017") == f"P{old}"
