"""Covariates: typed by their cells, fitted on train alone, strange rows counted, impossible columns refused."""

import numpy as np
import pandas as pd
import pytest

from focusmap.basics import InputError, ModelError
from focusmap.fitting.suitability import check_model
from focusmap.study.cells import type_covariates
from focusmap.study.cohort import read_cohort
from focusmap.study.covariates import Covariates, fit_covariates
from focusmap.study.flags import Flag
from focusmap.study.options import Declaration
from focusmap.study.recipe import Recipe

N = 40


def cohort_of(folder, **columns):
    """A study of N patients with one label and these covariates."""
    table = pd.DataFrame({"patient_id": [f"p{i}" for i in range(N)], "label": [i % 2 for i in range(N)], **columns})
    table.to_csv(folder / "labels.csv", index=False)
    return read_cohort(folder / "labels.csv", Declaration(covariates=tuple(columns)))


def fitted(cohort, n_train=30):
    return fit_covariates(cohort, cohort.image_ids[:n_train])


def test_kinds_are_read_off_the_cells(tmp_path):
    columns = {
        "age": [20 + i for i in range(N)],
        "sex": [1 + i % 2 for i in range(N)],
        "eye": ["left" if i % 3 else "right" for i in range(N)],
        "visit": [f"2024-01-{1 + i % 28:02d}" for i in range(N)],
        "drugs": ["A|B" if i % 2 else "B" for i in range(N)],
        "acuity": [0.1 * i for i in range(N)],
    }
    found = {name: kind for name, (kind, _) in type_covariates(cohort_of(tmp_path, **columns)).items()}
    assert found == {
        "age": "numeric", "sex": "category", "eye": "category", "visit": "date", "drugs": "codes", "acuity": "numeric",
    }  # fmt: skip


NUMBERS = [20.5 + i for i in range(N)]


@pytest.mark.parametrize("form", ["{:.1f}", "{:.1f} years", "{:.1f}%", "'{:.1f}", "{:.2e}"])
@pytest.mark.parametrize("comma", [False, True], ids=["point", "comma"])
def test_numbers_are_read_as_hospitals_write_them(tmp_path, form, comma):
    cells = [form.format(number) for number in NUMBERS]
    written = cohort_of(tmp_path, age=[cell.replace(".", ",") if comma else cell for cell in cells])
    found = fitted(written).columns[0]
    assert (found.kind, found.low, found.high) == ("numeric", 20.5, 49.5)
    plain = fitted(cohort_of(tmp_path, age=NUMBERS))
    rows = fitted(written).encode(written).values
    np.testing.assert_allclose(rows, plain.encode(cohort_of(tmp_path, age=NUMBERS)).values, atol=1e-6)


@pytest.mark.parametrize("word", ["NA", "unknown", "-", "#REF!", "nan", "?"])
def test_words_for_not_known_are_gaps(tmp_path, word):
    visits = [f"2024-01-{1 + i % 28:02d} 08:30" for i in range(N)]
    cohort = cohort_of(tmp_path, age=[word, *NUMBERS[1:]], visit=[word, *visits[1:]])
    assert [(column.kind, column.has_gaps) for column in fitted(cohort).columns] == [("numeric", True), ("date", True)]


@pytest.mark.parametrize(
    ("cells", "levels"),
    [
        (["Male", "male ", "FEMALE", "female"], ("female", "male")),
        (["Zürich", "Zu\u0308rich", "Bern", "bern\u200b"], ("Bern", "Zürich")),
        (["yes", "Yes", "no", "NO"], ("no", "yes")),
        (["1", "1.0", "2,0", "2"], ("1", "2")),
        (["A;B", "b", "C;A", "B"], ("A", "B", "C")),
    ],
)
def test_one_category_in_several_spellings_is_one(tmp_path, cells, levels):
    cohort = cohort_of(tmp_path, site=cells * (N // 4))
    model = fitted(cohort)
    assert model.columns[0].levels == levels
    assert not any(model.encode(cohort).flags)
    assert Covariates.from_list(model.to_list()) == model


def test_models_from_before_their_cells_were_read_so_still_load(tmp_path):
    cohort = cohort_of(tmp_path, sex=["F", "f", "M", "m"] * (N // 4))
    old = fitted(cohort).to_list()
    for key in ("decimal", "unit", "sign"):
        del old[0][key]
    old[0]["levels"] = ["F", "M", "f", "m"]
    assert Covariates.from_list(old).encode(cohort).values[:4].tolist() == np.eye(4)[[0, 2, 1, 3]].tolist()


def test_a_declared_kind_stands_over_the_cells(tmp_path):
    cohort_of(tmp_path, grade=[i % 4 for i in range(N)])
    cohort = read_cohort(tmp_path / "labels.csv", Declaration(covariates=("grade:numeric",)))
    assert type_covariates(cohort)["grade"] == ("numeric", "")
    assert cohort.study.covariate_kinds == {"grade": "numeric"}


def test_numbers_are_standardised_by_train_and_gaps_are_filled_and_told(tmp_path):
    values = [float(i) for i in range(N)]
    cells = [None if i in (3, 35) else value for i, value in enumerate(values)]
    cohort = cohort_of(tmp_path, size=cells)
    known = np.array([value for i, value in enumerate(values[:30]) if i != 3])
    filled = np.append(known, np.median(known))
    rows = fitted(cohort).encode(cohort).values
    assert fitted(cohort).names == ("size", "size is missing")
    np.testing.assert_allclose(rows[10, 0], (10 - filled.mean()) / filled.std(), rtol=1e-5)
    np.testing.assert_allclose(rows[[3, 35], 0], (np.median(known) - filled.mean()) / filled.std(), rtol=1e-5)
    assert rows[:, 1].nonzero()[0].tolist() == [3, 35]


def test_nothing_of_the_other_rows_is_in_what_train_fitted(tmp_path):
    columns = {"size": [float(i) for i in range(N)], "eye": ["left", "right"] * (N // 2)}
    before = fitted(cohort_of(tmp_path, **columns))
    columns["size"][30:] = [1e6] * 10
    columns["eye"][30:] = ["both"] * 10
    assert fitted(cohort_of(tmp_path, **columns)) == before


def test_rows_unlike_train_are_answered_and_flagged(tmp_path):
    eyes = ["left", "right"] * 15 + ["both"] * 10
    cohort = cohort_of(tmp_path, size=[float(i) for i in range(N)], eye=eyes)
    encoded = fitted(cohort).encode(cohort)
    assert np.isfinite(encoded.values).all()
    assert set(encoded.flags[:30]) == {()}
    above, unseen = encoded.flags[35]
    assert above == Flag("outside", "size 35.0 lies above train")
    assert unseen == Flag("unseen", "eye both is not in train")
    assert not encoded.values[35, 1:].any()


def test_codes_become_one_column_each_and_whole_numbers_are_one_category(tmp_path):
    drugs = ["A|B", "B", "", "C | A"] * 10
    sex = ["1", "1.0", "2", "2.0"] * 10
    covariates = fitted(cohort_of(tmp_path, drugs=drugs, sex=sex))
    assert covariates.names == ("drugs=A", "drugs=B", "drugs=C", "sex=1", "sex=2")
    rows = covariates.encode(cohort_of(tmp_path, drugs=drugs, sex=sex)).values
    np.testing.assert_array_equal(rows[3], [1, 0, 1, 0, 1])


def test_a_column_that_is_constant_on_train_is_left_out_and_named(tmp_path):
    covariates = fitted(cohort_of(tmp_path, size=[float(i) for i in range(N)], site=["a"] * 30 + ["b"] * 10))
    assert covariates.left_out == ("site",)
    assert covariates.names == ("size",)
    with pytest.raises(InputError, match=r"every covariate \(site\) is constant on train"):
        fitted(cohort_of(tmp_path, site=["a"] * 30 + ["b"] * 10))


def test_they_are_written_and_read_back_equal(tmp_path):
    visits = [f"{1 + i % 28}.1.2024" for i in range(N)]
    covariates = fitted(cohort_of(tmp_path, visit=visits, drugs=["A|B", "B"] * 20))
    assert Covariates.from_list(covariates.to_list()) == covariates
    with pytest.raises(ModelError, match="a covariate needs"):
        Covariates.from_list([{"name": "age"}])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["inf"] + [f"{i}.5" for i in range(39)], r"labels\.csv row 2: covariate x 'inf' is not a finite number"),
        ([f"{i}.5" for i in range(39)] + ["high"], r"labels\.csv row 41: covariate x 'high' is not a number"),
        (["2024-01-31"] * 39 + ["31.01.2024"], r"row 41: date x '31\.01\.2024' is not written like the others"),
        (["03/04/2024"] * 40, r"row 2: date x '03/04/2024' may name the day first or the month"),
        (["2024-02-30"] * 40, r"row 2: date x '2024-02-30' is not written like"),
        ([""] * 40, "covariate 'x' is empty throughout"),
    ],
)
def test_an_impossible_cell_is_named_with_its_row(tmp_path, cells, message):
    with pytest.raises(InputError, match=message):
        type_covariates(cohort_of(tmp_path, x=cells))


def test_free_text_is_no_covariate(tmp_path):
    pd.DataFrame(
        {"patient_id": range(10_000), "label": [0, 1] * 5000, "note": [f"seen by nurse {i}" for i in range(10_000)]}
    ).to_csv(tmp_path / "labels.csv", index=False)
    cohort = read_cohort(tmp_path / "labels.csv", Declaration(covariates=("note",)))
    with pytest.raises(InputError, match="holds 10,000 different texts in 10,000 rows"):
        type_covariates(cohort)


def test_without_covariates_the_candidates_are_listed(tmp_path):
    cohort_of(tmp_path, age=[20 + i for i in range(N)])
    with pytest.raises(InputError, match=r"Candidates: --covariate age$"):
        type_covariates(read_cohort(tmp_path / "labels.csv", Declaration()))


def test_a_column_of_images_is_to_be_called_path_and_is_no_candidate(tmp_path):
    names = [f"films/{i}.PNG" if i % 3 else "" for i in range(N)]
    cohort_of(tmp_path, age=[20 + i for i in range(N)], file_path=names)
    cohort = read_cohort(tmp_path / "labels.csv", Declaration())
    remedy = "Column file_path holds names of images: call it path."
    assert cohort.study.notes[-1].endswith(f"no image is looked at. {remedy}")
    with pytest.raises(InputError, match=rf"Candidates: --covariate age\. {remedy}$"):
        type_covariates(cohort)
    with pytest.raises(InputError, match=remedy):
        check_model(cohort, Recipe(model="small-residual"))


def test_a_column_with_another_part_to_play_is_no_candidate(tmp_path):
    roles = {name: [f"{name}{i}" for i in range(N)] for name in ("path", "eye", "side", "lesion")}
    for path in [*roles["path"], *roles["lesion"]]:
        (tmp_path / path).write_bytes(b"")
    cohort_of(tmp_path, age=[20 + i for i in range(N)], part=["train"] * N, **roles)
    said = Declaration(case="eye", view="side", mask="lesion", split="part")
    with pytest.raises(InputError, match=r"Candidates: --covariate age$"):
        type_covariates(read_cohort(tmp_path / "labels.csv", said))


def test_a_column_that_a_model_takes_cannot_be_absent(tmp_path):
    covariates = fitted(cohort_of(tmp_path, age=[20 + i for i in range(N)], size=[0.5 * i for i in range(N)]))
    with pytest.raises(InputError, match=r"lacks the column\(s\) size that the model takes"):
        covariates.encode(cohort_of(tmp_path, age=[20 + i for i in range(N)]))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["<5"] * 9 + ["6", "7", "8"], r"covariate c '<5' is not a number .* It may be the limit"),
        (["40", "50", "5 months", "60", "70"], "'40' and '5 months' are not in one unit.*--covariate c:category"),
        (["065Y", "006M", "070Y"], "'065Y' and '006M' are not in one unit"),
        (["5 mm", "7 cm"], "'5 mm' and '7 cm' are not in one unit"),
    ],
)
def test_limits_and_units_among_numbers_make_no_categories(tmp_path, cells, message):
    with pytest.raises(InputError, match=message):
        type_covariates(cohort_of(tmp_path, c=[cells[i % len(cells)] for i in range(N)]))


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["20210131", "20210201", "19991231"], "date"),
        (["20210131", "20211301"], "category"),
        (["3a", "2b", "2a"], "category"),
    ],
)
def test_days_without_signs_are_dates_and_codes_are_codes(tmp_path, cells, kind):
    assert type_covariates(cohort_of(tmp_path, c=[cells[i % len(cells)] for i in range(N)]))["c"][0] == kind
