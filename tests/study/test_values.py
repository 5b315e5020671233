"""Cells as hospitals write them: taken where there is one reading, asked about where there are two."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusmap.basics import InputError
from focusmap.cli import main
from focusmap.study.cohort import Cohort, read_cohort
from focusmap.study.measurements import read_numbers
from focusmap.study.options import Declaration
from focusmap.study.study import read_study, write_study
from focusmap.study.task import CellError, Target
from focusmap.study.values import LOOSE_SIGNS, plain, yes_and_no


def cohort_of(folder: Path, head: str, rows: list[str], *targets: str, **said: object) -> Cohort:
    for i in range(len(rows)):
        (folder / f"{i:04d}.png").touch()
    text = "".join(f"{i:04d}.png,p{i // 2},{row}\n" for i, row in enumerate(rows))
    (folder / "labels.csv").write_text(f"path,patient_id,{head}\n{text}", encoding="utf-8")
    return read_cohort(folder / "labels.csv", Declaration(targets=targets, **said))


def classes_of(folder: Path, cells: list[str], *targets: str) -> tuple[str, ...]:
    return cohort_of(folder, "label", [f'"{cell}"' for cell in cells], *targets).task.targets[0].classes


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["benign", "Malignant", "Benign", "malignant"], ("benign", "malignant")),
        (["benign", "malignant", "benign\u200b", " malignant"], ("benign", "malignant")),
        (["benign", "malignant", "benign.", "MALIGNANT "], ("benign", "malignant")),
        (["no finding", "mass", "No_Finding", "no-finding"], ("no finding", "mass")),
        (["１型", "2型", "1型", "2型"], ("1型", "2型")),
        (["a", "A\u00e9", "Ae\u0301"], ("a", "A\u00e9")),
    ],
)
def test_a_class_in_two_spellings_is_one(tmp_path, cells, classes):
    cohort = cohort_of(tmp_path, "label", cells)
    assert set(cohort.task.target("label").classes) == set(classes)
    assert not np.isnan(cohort.truth).any()
    assert any("is read as" in note for note in cohort.study.notes)


def test_one_and_one_point_zero_are_one_class(tmp_path):
    assert classes_of(tmp_path, ["0", "1", "2", "1.0"] * 3, "label:multiclass") == ("0", "1", "2")


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["0.0", "1.0", "2.0", ""], ("0", "1", "2")),
        (["0.0", "1", "-2,0"], ("-2", "0", "1")),
        (["01", "02", "03"], ("01", "02", "03")),
        (["0.5", "1.0", "2.0"], ("0.5", "1.0", "2.0")),
    ],
)
def test_whole_numbers_lose_the_point_zero_of_a_column_with_empty_cells(tmp_path, cells, classes):
    assert classes_of(tmp_path, cells * 3, "label:multiclass") == classes


def test_a_positive_class_may_be_spelt_otherwise(tmp_path):
    assert classes_of(tmp_path, ["1.0", "2.0"] * 3, "label:positive=1.0") == ("2", "1")
    assert classes_of(tmp_path, ["benign", "mass"] * 3, "label:positive=Mass") == ("benign", "mass")


def test_classes_that_are_declared_stay_as_they_are(tmp_path):
    assert classes_of(tmp_path, ["M", "m", "M", "m"], "label:classes=M,m") == ("M", "m")
    with pytest.raises(InputError, match=r"M and m are one class or two.*label:classes=M,m"):
        classes_of(tmp_path, ["M", "m", "M", "m"])


def test_another_table_may_spell_classes_otherwise():
    target = Target("label", "multiclass", ("benign", "malignant", "normal"))
    np.testing.assert_array_equal(target.encode(["Benign", " MALIGNANT\u200b", "NA", ""]), [0, 1, np.nan, np.nan])
    with pytest.raises(CellError, match="'benin' is not one of"):
        target.encode(["benign", "benin"])


@pytest.mark.parametrize(
    "word", ["NA", "N/A", "null", "?", "nan", "#N/A", "<NA>", "NaN", ".", "缺失", "??", "\\N", "-nan", "(blank)"]
)
def test_a_word_for_not_known_is_no_class(tmp_path, word):
    cells = [word if i % 5 == 0 else ("benign", "malignant")[i % 2] for i in range(20)]
    cohort = cohort_of(tmp_path, "label", cells)
    assert cohort.task.target("label").classes == ("benign", "malignant")
    assert int(np.isnan(cohort.truth).sum()) == 4
    assert any(f"{word!r} in label is read as empty: not known (n = 4)" in note for note in cohort.study.notes)


@pytest.mark.parametrize(
    "word",
    ["unknown", "-", "missing", "未知", "none", "nd", "not reported", "<unknown>", "not labelled", "未標記", "모름"],
)
def test_a_word_that_may_be_a_class_is_asked_about(tmp_path, word):
    cells = [word, "benign", "malignant", "benign"]
    with pytest.raises(InputError, match=rf"row 2: label '{word}' may mean 'not known' or be a class.*--missing"):
        classes_of(tmp_path, cells)
    assert len(classes_of(tmp_path, cells, f"label:classes=benign,malignant,{word}")) == 3
    emptied = cohort_of(tmp_path, "label", cells, missing=(f"label={word}",))
    assert emptied.task.target("label").classes == ("benign", "malignant")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["COVID19", "COVID-19", "normal"], "'COVID-19' and 'COVID19' are one class or two|'COVID19' and 'COVID-19'"),
        (["BI-RADS 4", "BIRADS4", "BIRADS 2"], "are one class or two"),
        (["benign", "benign?", "malignant"], "'benign' and 'benign\\?' are one class or two"),
        (["benign", "malignant*", "malignant"], "are one class or two"),
        (["tumour", "normal", "Tumors"], "are one class or two"),
        (["Oedema", "normal", "edema"], "are one class or two"),
        (["0-normal", "1-mass", "mass"], "'1-mass' and 'mass' are one class or two|'mass' and '1-mass'"),
        (["mass", "normal", "m\u0430ss"], "are one class or two"),
        (["GrÃ¶ÃŸe", "normal", "Größe"], "are one class or two"),
        (["{'mass': 1, 'edema': 0}", "{'mass': 0, 'edema': 1}"], "holds a value for each of several names"),
        (["yes", "no", "maybe"], "'maybe' may mean 'uncertain' or be a class"),
        (["阳性", "阴性", "可疑"], "'可疑' may mean 'uncertain' or be a class"),
        (["√", "", "√"], "'label' holds '√' or nothing: an empty cell may mean 'no'.*'label:blank=no'"),
        (["1", "0", "9"], "Row 4 has '9'.*--missing label=9"),
    ],
)
def test_two_readings_of_a_class_are_one_question(tmp_path, cells, message):
    with pytest.raises(InputError, match=message):
        classes_of(tmp_path, cells * 4)


def test_signs_between_numbers_part_classes(tmp_path):
    assert classes_of(tmp_path, ["1-2", "12", "a"] * 3, "label:multiclass") == ("12", "1-2", "a")
    assert len(classes_of(tmp_path, ["A+", "A-", "A"] * 3)) == 3
    assert (
        len(classes_of(tmp_path, ["1-mild", "2-severe", "HER2+", "HER2-", "fibrosis", "atypical", "typical"] * 2)) == 7
    )


@pytest.mark.parametrize(("odd", "every"), [("x", 10), ("可疑", 5), ("99", 10), ("-9", 8)])
def test_many_odd_texts_and_codes_do_not_drop_a_finding_silently(tmp_path, odd, every):
    rows = [f"{odd if i % every == 3 else i % 2},{(i // 2) % 2}" for i in range(60)]
    with pytest.raises(InputError, match="'Effusion' holds 0 and 1 but for"):
        cohort_of(tmp_path, "Effusion,Edema", rows)


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_a_column_without_a_name_is_no_finding(tmp_path, name):
    assert cohort_of(tmp_path, f"{name},Edema", [f"{i % 2},{(i // 2) % 2}" for i in range(8)]).task.names == ("Edema",)


@pytest.mark.parametrize(
    ("cells", "positive"),
    [
        (["Checked", "Unchecked", "Unchecked"], "Checked"),
        (["1=yes", "1=yes", "0=no"], "1=yes"),
        (["阳性(+)", "阳性(+)", "阴性(-)"], "阳性(+)"),
        (["有结节", "有结节", "无结节"], "有结节"),
        (["tumour", "tumour", "non-tumour"], "tumour"),
        (["(1) No finding", "(2) mass", "(2) mass"], "(2) mass"),
        (["bösartig", "bösartig", "gutartig"], "bösartig"),
        (["malade", "malade", "sain"], "malade"),
        (["pathologisch", "pathologisch", "o.B."], "pathologisch"),
        (["Tumor", "Tumor", "ohne Befund"], "Tumor"),
        (["異常あり", "異常あり", "異常なし"], "異常あり"),
        (["auffällig", "auffällig", "unauffällig"], "auffällig"),
        (["양성", "양성", "음성"], "양성"),
    ],
)
def test_the_class_that_means_no_is_the_negative_one_however_rare(tmp_path, cells, positive):
    assert classes_of(tmp_path, cells * 5)[1] == positive


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["3+4", "4+3", "3 + 4", "4+4"], ("3+4", "4+3", "4+4")),
        (["benign", "malignant", ".a", "._"], ("benign", "malignant")),
        (["benign", "[malignant]", "malignant"], ("benign", "malignant")),
        (["benign", "“benign”", "malignant", "benign"], ("benign", "malignant")),
        (["Ja", "Nein", "k. A."], ("Nein", "Ja")),
        (["0", "1", "0,2", "0,8"], ("0", "1")),
    ],
)
def test_scores_marks_and_codes_make_no_lists_and_no_classes(tmp_path, cells, classes):
    assert classes_of(tmp_path, cells * 5) == classes


@pytest.mark.parametrize(
    "cells",
    [
        ("['mass', 'edema']", "['mass']", "[]"),
        ("{'mass', 'edema'}", "{'mass'}", "set()"),
        ("mass<br>edema", "mass", "edema"),
        ("mass\tedema", "mass", "edema"),
    ],
)
def test_lists_of_programs_are_lists_and_empty_ones_mean_none(tmp_path, cells):
    cohort = cohort_of(tmp_path, "label", [f'"{cell}"' for cell in [*cells, "", *cells]])
    assert cohort.task.names == ("edema", "mass")
    last = [1, 0] if cells[2] == "edema" else [0, 0]
    np.testing.assert_array_equal(cohort.truth[:4], [[1, 1], [0, 1], last, [np.nan, np.nan]])


@pytest.mark.parametrize("cell", ["mass and/or edema", "mass - edema", "mass und edema"])
def test_words_between_findings_are_asked_about_or_read(tmp_path, cell):
    assert cohort_of(tmp_path, "label", [cell, "mass", "edema"] * 3).task.names == ("edema", "mass")


def test_ticks_beside_a_no_are_asked_about(tmp_path):
    rows = [f"{'x' if i % 2 else '-'},{(i // 2) % 2}" for i in range(12)]
    with pytest.raises(
        InputError, match=r"'mass' holds '-' and|'mass' holds 'x' and '-'.*'mass:x=1' --means 'mass:-=0'"
    ):
        cohort_of(tmp_path, "mass,edema", rows)
    cohort = cohort_of(tmp_path, "mass,edema", rows, means=("mass:x=1", "mass:-=0"))
    np.testing.assert_array_equal(cohort.truth[:2, 0], [0, 1])


def test_minus_one_beside_one_alone_is_asked_about(tmp_path):
    with pytest.raises(InputError, match=r"-1 may mean 'no', or 'uncertain'.*'label:-1=0', or --uncertain negative"):
        classes_of(tmp_path, ["-1", "1"] * 5)
    for said in ({"means": ("label:-1=0",)}, {"uncertain": "negative"}):
        cohort = cohort_of(tmp_path, "label", ["-1", "1"] * 5, **said)
        np.testing.assert_array_equal(cohort.truth[:, 0], [0.0, 1.0] * 5)


TICKED = [f"{'x' if i % 3 == 0 else ''},{'1' if i % 4 == 0 else ''},{i}" for i in range(24)]


def test_ticks_and_blanks_are_asked_about_and_read_as_said(tmp_path):
    """Both readings and the option that answers are named, for each column that is ticked."""
    head = "Effusion,Edema,n"
    with pytest.raises(InputError, match=r"'x' or nothing, as 1 other .*'Effusion:blank=no' --means 'Edema:blank=no'"):
        cohort_of(tmp_path, head, TICKED)
    said = ("Effusion:blank=no", "Edema:blank=unknown")
    cohort = cohort_of(tmp_path, head, TICKED, means=said)
    assert cohort.task.names == ("Effusion", "Edema")
    np.testing.assert_array_equal(cohort.truth[:4], [[1, 1], [0, np.nan], [0, np.nan], [1, np.nan]])
    write_study(cohort.study, tmp_path / "study.yaml")
    again = read_cohort(tmp_path / "labels.csv", study=read_study(tmp_path / "study.yaml"))
    np.testing.assert_array_equal(again.truth, cohort.truth)


@pytest.mark.parametrize("word", ["X", "✓", "yes", "Effusion", "1.0", "●"])
def test_any_tick_of_a_named_target_is_asked_about(tmp_path, word):
    rows = [word if i % 3 == 0 else " " for i in range(12)]
    with pytest.raises(InputError, match=f"holds '{word}' or nothing"):
        cohort_of(tmp_path, "Effusion", rows, "Effusion")
    cohort = cohort_of(tmp_path, "Effusion", rows, "Effusion", means=("Effusion:blank=no",))
    np.testing.assert_array_equal(cohort.truth[:, 0], [1.0, 0, 0] * 4)


def test_what_is_unknown_stays_so_where_blanks_mean_no(tmp_path):
    cohort = cohort_of(tmp_path, "Effusion", ["x", "", "?", "-1"] * 3, "Effusion", means=("Effusion:blank=no",))
    np.testing.assert_array_equal(cohort.truth[:4, 0], [1, 0, np.nan, np.nan])


@pytest.mark.parametrize(
    ("cells", "said", "values"),
    [
        (["<5", "7", ">100", "8"], ("CRP:<N=N", "CRP:>N=100"), [5, 7, 100, 8]),
        (["< 0,5 mg/l", "7", "≤3", "8"], ("CRP:<N=unknown",), [np.nan, 7, np.nan, 8]),
        (["<5", "", "<10", "8"], ("CRP:<5=2.5", "CRP:<N=N", "CRP:blank=0"), [2.5, 0, 10, 8]),
    ],
)
def test_a_limit_is_asked_about_and_read_as_said(tmp_path, cells, said, values):
    rows = [f'"{cell}"' for cell in cells * 3]
    with pytest.raises(InputError, match=r"is not a number. It may be the limit.*--means 'CRP:<N=N' or"):
        cohort_of(tmp_path, "CRP", rows, "CRP:continuous")
    cohort = cohort_of(tmp_path, "CRP", rows, "CRP:continuous", means=said)
    np.testing.assert_array_equal(cohort.truth[:4, 0], values)


@pytest.mark.parametrize("said", ["Effusion", "Effusion=no", "Effusion:=no", "Effusion:blank=", "Efusion:blank=no"])
def test_a_meaning_that_says_nothing_is_refused(tmp_path, said):
    with pytest.raises(InputError, match=r"COLUMN:CELL=VALUE was expected|no column 'Efusion'. Did you mean"):
        cohort_of(tmp_path, "Effusion", ["0", "1"] * 4, means=(said,))


def test_a_run_of_yes_and_no_reads_other_words_for_them():
    np.testing.assert_array_equal(
        Target("a", "binary", ("no", "yes")).encode(["Y", "0", "unknown", "N"]), [1, 0, np.nan, 0]
    )
    np.testing.assert_array_equal(Target("a", "binary", ("yes", "no")).encode(["1", "no", "True"]), [0, 1, 0])


@pytest.mark.parametrize("word", ["unknown", "not done", "-", "n.d.", "NA", "####", "Err:502"])
def test_a_number_that_is_not_known_is_empty(tmp_path, word):
    cells = [word, "5", "7,5", "'8", "1’000"]
    cohort = cohort_of(tmp_path, "VA", [f'"{cell}"' for cell in cells], "VA:continuous")
    np.testing.assert_array_equal(cohort.truth[:, 0], [np.nan, 5, 7.5, 8, 1000])


@pytest.mark.parametrize("odd", ["2", "positve", "1?", "-"])
def test_one_odd_cell_does_not_drop_a_finding_silently(tmp_path, odd):
    rows = [f"{odd if i == 7 else i % 2},{(i // 2) % 2}" for i in range(60)]
    with pytest.raises(InputError, match=r"'Effusion' holds 0 and 1 but for 1 of 60 cells \(.*; row 9\)"):
        cohort_of(tmp_path, "Effusion,Edema", rows)
    assert cohort_of(tmp_path, "Effusion,Edema", rows, "Edema").task.names == ("Edema",)
    cohort = cohort_of(tmp_path, "Effusion,Edema", rows, missing=(f"Effusion={odd}",))
    assert cohort.task.names == ("Effusion", "Edema")


@pytest.mark.parametrize("word", ["nan", "NA", "unknown", "?", "未知"])
def test_a_flag_that_is_not_known_is_said(tmp_path, word):
    rows = [f"{word if i == 7 else i % 2},{(i // 2) % 2}" for i in range(60)]
    cohort = cohort_of(tmp_path, "Effusion,Edema", rows)
    assert cohort.task.names == ("Effusion", "Edema")
    assert np.flatnonzero(np.isnan(cohort.truth[:, 0])).tolist() == [7]
    assert any(f"{word!r} in Effusion is read as empty: not known (n = 1)" in note for note in cohort.study.notes)


@pytest.mark.parametrize(
    ("yes", "no"),
    [("yes", "no"), ("Y", "N"), ("TRUE", "false"), ("+", "-"), ("positive", "Negative"), ("有", "无"), ("是", "否"),
     ("阳性", "阴性"), ("present", "absent"), ("√", "×"), ("ja", "nein"), ("oui", "non"), ("J", "N"), ("O", "N"),
     ("WAHR", "FALSCH"), ("あり", "なし"), ("'1'", "'0'"), ("b'1'", "b'0'"), ("[1]", "[0]"), ("(1)", "(0)"),
     ("1.000e+00", "0.000e+00"), ("ja", "nee"), ("ja", "nej"), ("tak", "nie"), ("ano", "ne"), ("evet", "hayır"),
     ("var", "yok"), ("kyllä", "ei"), ("igen", "nem"), ("da", "nu"), ("ναι", "όχι"), ("예", "아니오"), ("نعم", "لا"),
     ("có", "không"), ("positif", "négatif"), ("vorhanden", "nicht vorhanden"), ("+ve", "-ve")],
)  # fmt: skip
def test_yes_and_no_in_words_are_flags(tmp_path, yes, no):
    cohort = cohort_of(tmp_path, "Effusion,Edema", [f"{yes},{no}", f"{no},{yes}", f"{no},", f"{yes},{no}"])
    assert cohort.task.names == ("Effusion", "Edema")
    positive = [target.classes.index(target.positive) for target in cohort.task.targets]
    assert positive == [1, 1]
    np.testing.assert_array_equal(cohort.truth, [[1, 0], [0, 1], [0, np.nan], [1, 0]])


def test_yes_and_no_beside_0_and_1_are_read_alike(tmp_path):
    cohort = cohort_of(tmp_path, "Effusion", ["1", "yes", "no", "0", "Y", "N", "阳性"])
    np.testing.assert_array_equal(cohort.truth[:, 0], [1, 1, 0, 0, 1, 0, 1])


def test_words_beside_flags_are_said_to_be_no_target(tmp_path):
    cohort = cohort_of(tmp_path, "Effusion,smoker", ["1,yes", "0,no", "1,no"])
    assert cohort.task.names == ("Effusion",)
    assert any("smoker holds yes and no as words and is no target" in note for note in cohort.study.notes)


def test_short_words_mean_yes_and_no_only_in_pairs():
    assert yes_and_no(["F", "M"]) == {}
    assert yes_and_no(["F", "T"]) == {"F": 0.0, "T": 1.0}
    assert yes_and_no(["양성", "악성"]) == {}  # benign and malignant; beside 음성, positive
    assert yes_and_no(["1", "0", "-"]) == {"1": 1.0, "0": 0.0}


@pytest.mark.parametrize("names", [("Effusion", "Effusion.1"), ("Effusion", "effusion"), ("No Finding", "no_finding")])
def test_a_finding_that_stands_twice_is_asked_about(tmp_path, names):
    with pytest.raises(InputError, match="seem to be one finding twice"):
        cohort_of(tmp_path, ",".join(names), ["1,0", "0,1"])
    assert cohort_of(tmp_path, ",".join(names), ["1,0", "0,1"], *names).task.names == names


@pytest.mark.parametrize("other", ["Label", "label.1", "ｌａｂｅｌ", "label_x"])
def test_a_label_that_stands_twice_is_asked_about(tmp_path, other):
    with pytest.raises(InputError, match="seem to be one finding twice"):
        cohort_of(tmp_path, f"label,{other}", ["1,0", "0,1"])
    assert cohort_of(tmp_path, f"label,{other}", ["1,0", "0,1"], "label").task.names == ("label",)


@pytest.mark.parametrize("minus", ["−1", "–1", "-1.00", "－１"])
def test_a_minus_of_any_kind_is_one(tmp_path, minus):
    cohort = cohort_of(tmp_path, "Effusion", [minus, "1", "0"] * 4)
    np.testing.assert_array_equal(cohort.truth[:3, 0], [np.nan, 1, 0])
    np.testing.assert_array_equal(
        cohort_of(tmp_path, "Effusion", [minus, "1", "0"] * 4, uncertain="positive").truth[:3, 0], [1, 1, 0]
    )


@pytest.mark.parametrize(
    "cells",
    [
        ["effusion, edema", "edema", "normal", "effusion"],
        ["effusion;edema", "edema", "Normal", "effusion "],
        ["effusion、edema", "edema", "normal", "effusion"],
        ["effusion，edema", "edema", "normal", "Effusion"],
        ["effusion|edema", "edema", "normal", "effusion"],
        ["['effusion', 'edema']", "['edema']", "['normal']", "['effusion']"],
        ["['effusion' 'edema']", "['edema']", "[]", "['effusion']"],
        ["effusion/edema", "edema", "normal", "effusion"],
        ["effusion and edema", "edema", "normal", "effusion"],
        ["['effusion' 'edema']", "edema", "normal", "effusion"],
        ["{effusion,edema}", "{edema}", "normal", "effusion"],
    ],
)
def test_lists_with_other_signs_are_binary_targets(tmp_path, cells):
    cohort = cohort_of(tmp_path, "label", [f'"{cell}"' for cell in cells])
    assert sorted(name.lower() for name in cohort.task.names) == ["edema", "effusion"]
    truth = cohort.truth[:, np.argsort([name.lower() for name in cohort.task.names])]
    np.testing.assert_array_equal(truth[[0, 1, 3]], [[1, 1], [1, 0], [0, 1]])
    write_study(cohort.study, tmp_path / "study.yaml")
    assert read_study(tmp_path / "study.yaml") == cohort.study


@pytest.mark.parametrize("sign", [",", ";"])
def test_a_sign_within_names_is_asked_about(tmp_path, sign):
    cells = [f"carcinoma{sign} ductal", f"carcinoma{sign} lobular", "normal"]
    with pytest.raises(InputError, match=rf"may be a list of 2 findings or one class.*'label:list={sign}'"):
        classes_of(tmp_path, cells)
    assert len(classes_of(tmp_path, cells, "label:multiclass")) == 3
    listed = cohort_of(tmp_path, "label", [f'"{cell}"' for cell in cells], f"label:list={sign}")
    assert listed.task.names == ("carcinoma", "ductal", "lobular")


@pytest.mark.parametrize("sign", ["/", " + ", " & ", " and ", "和", " ", "_", "-", " with ", "伴"])
def test_a_mild_sign_beside_a_name_that_stands_alone_is_asked_about(tmp_path, sign):
    cells = [f"edema{sign}effusion", "edema", "normal", *(["effusion"] if sign.strip() in (*LOOSE_SIGNS, "") else [])]
    with pytest.raises(InputError, match="may be a list of 2 findings or one class"):
        classes_of(tmp_path, cells)
    assert len(classes_of(tmp_path, cells, "label:multiclass")) == len(cells)


@pytest.mark.parametrize("cells", [["[1 0 0]", "[0 1 0]"], ["1,0,0", "0,1,0"], ["(1.0, 0.0)", "(0.0, 1.0)"]])
def test_zeros_and_ones_of_several_findings_are_refused(tmp_path, cells):
    with pytest.raises(InputError, match="holds zeros and ones of several findings"):
        cohort_of(tmp_path, "label", [f'"{cell}"' for cell in cells * 3])


def test_none_is_a_class_among_grades_and_beside_one_other(tmp_path):
    assert "none" in classes_of(tmp_path, ["none", "mild", "severe"])
    assert classes_of(tmp_path, ["none", "effusion"]) == ("none", "effusion")


def test_names_that_hold_a_stroke_stay_classes(tmp_path):
    assert classes_of(tmp_path, ["mass/nodule", "normal", "CIN2+"]) == ("CIN2+", "mass/nodule", "normal")


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["0,5", "1,25", "3"], [0.5, 1.25, 3]),
        (["1.234,5", "0,5", "12"], [1234.5, 0.5, 12]),
        (["1,234.5", "1,234", "7"], [1234.5, 1234, 7]),
        (["１２．５", "−3", "+4"], [12.5, -3, 4]),
        (["1 234,5", "2\u202f000,5", "1"], [1234.5, 2000.5, 1]),
        (["5 mm", "7.5mm", "8 MM"], [5, 7.5, 8]),
        (["1.5E+01", "2e0", "NA"], [15, 2, np.nan]),
        (["0,5", "1.25", ""], [0.5, 1.25, np.nan]),
    ],
)
def test_numbers_as_hospitals_write_them(tmp_path, cells, values):
    cohort = cohort_of(tmp_path, "VA", [f'"{cell}"' for cell in cells], "VA:continuous")
    np.testing.assert_allclose(cohort.truth[:, 0], values)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1,234", "5"], r"row 2: VA '1,234' may be 1.234 or 1234. Say --target VA:decimal=comma"),
        (["0,5", "1.234"], r"row 3: VA '1.234' may be 1.234 or 1234"),
        (["5", "<5"], r"row 3: VA '<5' is not a number"),
        (["5", "5-10"], r"row 3: VA '5-10' is not a number"),
        (["5 mm", "6 cm"], r"row 2: VA '5 mm' and '6 cm' are not in one unit"),
        (["5", "6 mm"], r"VA '5' and '6 mm' are not in one unit"),
    ],
)
def test_numbers_with_two_readings_are_asked_about(tmp_path, cells, message):
    with pytest.raises(InputError, match=message):
        cohort_of(tmp_path, "VA", [f'"{cell}"' for cell in cells], "VA:continuous")


def test_what_a_comma_is_can_be_said_and_is_kept(tmp_path):
    for said, value in (("comma", 1.234), ("point", 1234)):
        cohort = cohort_of(tmp_path, "VA", ['"1,234"', "5"], f"VA:continuous:decimal={said}")
        assert cohort.truth[0, 0] == value
        write_study(cohort.study, tmp_path / "study.yaml")
        assert read_study(tmp_path / "study.yaml").task.targets[0].decimal == said


def test_another_table_in_another_unit_is_refused(tmp_path):
    target = cohort_of(tmp_path, "VA", ["5 mm", "6 mm"], "VA:continuous").task.targets[0]
    np.testing.assert_array_equal(target.encode(["7", "8"]), [7, 8])
    with pytest.raises(CellError, match="numbers in mm were expected"):
        target.encode(["7 cm"])


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 2)), min_size=1, max_size=5))
def test_decimal_commas_are_the_numbers_with_points(numbers: list[float]):
    texts = list(dict.fromkeys(f"{number:.2f}".replace(".", ",") for number in numbers))
    assert list(read_numbers(texts).values.values()) == [float(text.replace(",", ".")) for text in texts]


@given(st.text())
def test_how_a_text_is_compared_is_its_own(text: str):
    assert plain(f" {plain(text)} ") == plain(plain(text))


def test_a_command_asks_about_ticks_and_takes_the_answer(tmp_path, capsys):
    """Below two rows of names, which errors say that they are counted without."""
    rows = "".join(f"p{i},{40 + i},{'x' if i % 2 else ''}\n" for i in range(80))
    labels = tmp_path / "labels.csv"
    labels.write_text(f"patient_id,Findings,\n,age,mass\n{rows}")
    said = ["audit", str(labels), "--out", str(tmp_path / "audit")]
    assert main(said) == 2
    assert re.search(r"column 'mass' holds 'x' or nothing.*'mass:blank=no'.*rows are counted", capsys.readouterr().err)
    assert main([*said, "--means", "mass:blank=no"]) == 0
    assert "means       mass:blank=no" in capsys.readouterr().out
