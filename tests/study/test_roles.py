"""The one rule of columns: a role is the same in training, predicting, evaluating, auditing against and consensus."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusmap.basics import InputError
from focusmap.study.cohort import read_cohort
from focusmap.study.declaration import declare_study
from focusmap.study.external import read_roster
from focusmap.study.inputs import read_images
from focusmap.study.options import Declaration
from focusmap.study.readings import read_readings
from focusmap.study.roles import PATH_COLUMNS, PATIENT_COLUMNS, find_roles, patient_columns
from focusmap.study.run import Run
from focusmap.study.study import write_study

EMPTY_FIRST = "path,image,patient_id,PID,Effusion\n,a.png,,7,1\n,b.png,,8,0\n"
cells = st.lists(st.sampled_from(["", " ", "x.png", "7"]), min_size=2, max_size=2)
tables = st.dictionaries(st.sampled_from([*PATH_COLUMNS, *PATIENT_COLUMNS, "image_id", "mask", "eye"]), cells)
said_patients = st.sampled_from([None, "none", "eye", "PID"])


@given(columns=tables, patient=said_patients)
def test_a_role_is_the_same_in_training_and_in_what_comes_after(columns: dict[str, list[str]], patient: str | None):
    table = pd.DataFrame({**columns, "Effusion": ["0", "1"]})
    said = Declaration(patient=patient, images=Path())
    try:
        study = declare_study(Path("labels.csv"), table, said)
    except InputError as error:
        if patient not in ("eye", "PID") and "two columns say" not in str(error):
            raise
        return
    trained = find_roles(table, said)
    assert (study.path_column, study.patient_column) == (trained.path, trained.patient)
    assert (study.id_column, study.mask_column) == (trained.image_id, trained.mask)
    assert find_roles(table, Declaration(), study) == replace(trained, split=trained.split)


@given(columns=tables)
def test_an_empty_column_has_no_role(columns: dict[str, list[str]]):
    try:
        roles = find_roles(pd.DataFrame({**columns, "Effusion": ["0", "1"]}), Declaration())
    except InputError as error:
        assert "two columns say who the patient is" in str(error)  # noqa: PT017  (of any table that is drawn)
        return
    for name in (roles.path, roles.patient, roles.image_id, roles.mask):
        assert name is None or any(cell.strip() for cell in columns[name])


def test_an_empty_column_does_not_hide_the_filled_one_anywhere(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text(EMPTY_FIRST)
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    cohort = read_cohort(labels)
    assert (cohort.study.path_column, cohort.study.patient_column) == ("image", "PID")
    write_study(cohort.study, Run(tmp_path / "run").study)
    for folder in (tmp_path / "model", tmp_path / "run"):
        asked = read_images(folder, cohort.task, [labels], Declaration()).rows.table
        assert asked[["path", "patient_id"]].to_numpy().tolist() == [["a.png", "7"], ["b.png", "8"]]
    roster = read_roster(labels, cohort.study)
    assert roster.patients == ("7", "8")
    assert roster.files == (tmp_path / "a.png", tmp_path / "b.png")


def test_a_consensus_takes_the_same_columns(tmp_path):
    readers = tmp_path / "readers.csv"
    readers.write_text("path,image,patient_id,PID,reader,sick\n,a.png,,7,r1,1\n,a.png,,7,r2,1\n,b.png,,8,r1,0\n")
    readings = read_readings(readers)
    assert (readings.path_column, readings.patient_column) == ("image", "PID")


def test_the_column_that_the_run_was_told_of_is_its_patients_later_too(tmp_path):
    table = pd.DataFrame({"path": ["a.png"], "patient_id": ["7"], "MRN": ["41"], "Effusion": ["1"]})
    study = declare_study(tmp_path / "l.csv", table, Declaration(patient="MRN"))
    assert find_roles(table, Declaration(), study).patient == "MRN"
    assert find_roles(table.drop(columns="MRN"), Declaration(), study).patient == "patient_id"
    assert find_roles(table, Declaration(patient="none"), study).patient is None


def test_a_named_column_that_is_empty_is_refused(tmp_path):
    table = pd.DataFrame({"path": ["a.png"], "MRN": [" "]})
    with pytest.raises(InputError, match="'MRN' is empty throughout"):
        find_roles(table, Declaration(patient="MRN"))


OF_TWO = ["p1", "p1", "p2", "p2"]
OF_FOUR = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("Patient_ID", "patientid"), ("patient_id", "Patient ID"), ("patient_id", "patient_id.1"), ("PID", "MRN"),
     ("patient_id", "病历号")],
)  # fmt: skip
def test_a_column_that_joins_whom_another_parts_is_asked_about(first: str, second: str):
    columns = {first: OF_FOUR, second: OF_TWO} if second != "patientid" else {first: OF_TWO, second: OF_FOUR}
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(4)], **columns})
    with pytest.raises(InputError, match="rows 2 and 3 are of one patient by") as caught:
        find_roles(table, Declaration())
    assert all(name in str(caught.value) for name in (first, second))
    assert find_roles(table, Declaration(patient=second)).patient == second


@pytest.mark.parametrize("other", [OF_FOUR, ["x", "x", "y", "y"], [""] * 4, ["unknown"] * 4])
def test_a_column_that_joins_nobody_else_is_not_asked_about(other: list[str]):
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(4)], "patient_id": OF_TWO, "MRN": other})
    assert find_roles(table, Declaration()).patient == "patient_id"


def test_capitals_and_signs_make_no_other_column():
    table = pd.DataFrame({"Path": ["a.png"], "PatientID": ["7"], "File": ["film"]})
    roles = find_roles(table, Declaration())
    assert (roles.path, roles.patient) == ("Path", "PatientID")


@pytest.mark.parametrize("name", ["Patientennummer", "Pat.-Nr.", "ID Paciente", "رقم المريض", "病人编号"])
def test_a_column_that_hospitals_call_so_may_say_who_the_patient_is(name):
    assert patient_columns(pd.DataFrame({"Nr": ["1"], name: ["7"]})) == [name]
