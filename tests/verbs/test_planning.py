"""A dry run refuses what the command itself would refuse, as far as the table tells, in the same words."""

import numpy as np
import pandas as pd
import pytest

from focusmap.cli import main
from focusmap.cli.show_study import cheaper_in_words
from focusmap.fitting import Plan
from focusmap.study import Recipe

STUDY = ["--target", "sick", "--covariate", "age", "--model", "logistic", "--baseline", "none"]


def rows(n_patients=30, **columns):
    """Return a table of two rows per patient."""
    random = np.random.default_rng(0)
    patient = np.repeat(np.arange(n_patients), 2)
    age = random.integers(30, 80, len(patient))
    table = pd.DataFrame({"patient_id": [f"p{i}" for i in patient], "age": age, "sick": (age > 55).astype(int)})
    return table.assign(**columns)


def both(table, tmp_path, capsys, *options):
    """Return exit code, stdout and stderr of a dry run and of the command itself."""
    table.to_csv(tmp_path / "labels.csv", index=False)
    command = ["train", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "run"), *STUDY, *options]
    answers = []
    for dry in (["--dry-run"], []):
        answers.append((main([*command, *dry]), *capsys.readouterr()))
        assert not (dry and (tmp_path / "run").exists())
    return answers


def leaking(n_patients=30):
    return rows(n_patients, split=["train", "test"] * n_patients)


@pytest.mark.parametrize(
    ("table", "options", "name"),
    [
        (leaking(), [], "patient-across-splits"),
        (rows().drop(columns="patient_id"), [], "no-patient-column"),
        (rows(site=["a" if sick else "b" for sick in rows()["sick"]]), [], "source-shortcut"),
    ],
)
def test_a_finding_that_will_block_is_told(table, options, name, tmp_path, capsys):
    dry, real = both(table, tmp_path, capsys, *options)
    assert (dry[0], real[0]) == (0, 3)
    refused = [line for line in dry[1].splitlines() if line.startswith("refused:")]
    assert refused[0].startswith(f"refused: {name}: ")
    assert refused[0].removeprefix("refused: ") in real[2]
    assert refused[-1].endswith(f"--accept {name}")


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (rows(2), [], "2 patients cannot fill 3 parts"),
        (rows(4), ["--folds", "5"], "4 patients cannot fill 5 parts"),
        (rows(sick=[0, 0] * 20 + [0, 1] * 10, split=["train"] * 40 + ["test"] * 20), [], "has one known value only"),
        (rows(age=["", ""] * 20 + [40, 50] * 10, split=["train"] * 40 + ["test"] * 20), [], "age"),
    ],
)
def test_a_study_that_cannot_be_learnt_from_is_refused_alike(table, options, message, tmp_path, capsys):
    dry, real = both(table, tmp_path, capsys, *options)
    assert (dry[0], real[0]) == (2, 2)
    assert message in dry[2]
    assert dry[2] == real[2]


def test_nothing_is_refused_that_will_be_done(tmp_path, capsys):
    dry, real = both(leaking(), tmp_path, capsys, "--accept", "patient-across-splits")
    assert (dry[0], real[0]) == (0, 0)
    assert "refused:" not in dry[1]
    assert "audit       no blocking findings in the table\n" in dry[1]


@pytest.mark.parametrize(
    ("model", "seconds", "said"),
    [
        ("resnet18", 3600, "without --model, the best of several models within --budget 10 minutes; or --epochs 10"),
        ("resnet18", 300, ""),
        ("ladder", 3600, ""),
        ("table-net", 1200, "--epochs 30"),
    ],
)
def test_a_long_training_comes_with_a_cheaper_way(model, seconds, said):
    found = cheaper_in_words(Plan(Recipe(model=model, epochs=60), None, seconds, "cpu", 1000, 1))
    assert found.startswith(said) if said else not found


@pytest.mark.parametrize("there", ["file", "other files"])
def test_a_folder_that_cannot_be_a_run_is_refused(there, tmp_path, capsys):
    rows().to_csv(tmp_path / "labels.csv", index=False)
    out = tmp_path / "run"
    (out if there == "file" else out / "mine.txt").parent.mkdir(exist_ok=True)
    (out if there == "file" else out / "mine.txt").touch()
    command = ["train", str(tmp_path / "labels.csv"), "--out", str(out), *STUDY]
    answers = [(main([*command, *dry]), capsys.readouterr().err) for dry in (["--dry-run"], [])]
    assert answers[0] == answers[1]
    assert answers[0][0] == 2
    assert "expected" in answers[0][1] if there == "file" else "holds other files" in answers[0][1]


def test_a_run_that_was_stopped_while_its_images_were_prepared_is_told_what_to_repeat(tmp_path, capsys):
    rows().to_csv(tmp_path / "labels.csv", index=False)
    command = ["train", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "run"), *STUDY]
    assert main(command) == 0
    (tmp_path / "run/recipe.yaml").unlink()
    assert main(["run", "--resume", str(tmp_path / "run")]) == 2
    assert "Repeat the command that began it, with --force." in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
