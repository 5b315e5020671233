"""Figures hold every label, survive odd names and leave pyplot alone."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from focusmap.figures.plots import Curve, calibration_figure, confusion_figure, pr_figure, roc_figure
from focusmap.figures.run_curves import compared_learning_figure, has_curves, learning_figure
from focusmap.figures.sheets import DRAWN, LEGEND, TRUE, DrawnCase, Tile, draw_cases, write_sheet
from focusmap.figures.style import INK, fitted, font, plain, save_figure, svg_text

LINE = np.linspace(0, 1, 5)


def _curves(n: int) -> list[Curve]:
    note = "AUROC 0.81 (0.72 to 0.89)"
    return [Curve(f"label {i} $x$ <b>", LINE, LINE**0.5, note, (0.2, 0.6), 0.1, np.arange(5)) for i in range(n)]


@pytest.mark.parametrize("draw", [roc_figure, pr_figure, calibration_figure])
@pytest.mark.parametrize("n", [1, 3, 14])
def test_one_panel_a_label_and_never_wider_than_a_page(draw: type, n: int) -> None:
    figure = draw(_curves(n))
    assert len(figure.axes) == n
    assert figure.get_figwidth() <= 10.01
    assert all("label" in axes.get_title(loc="left") for axes in figure.axes)


def test_svg_is_repeatable_and_refers_to_nothing_outside() -> None:
    first, second = svg_text(roc_figure(_curves(2))), svg_text(roc_figure(_curves(2)))
    assert first == second
    assert "<script" not in first


def test_pyplot_is_never_imported(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import sys, numpy as np; from pathlib import Path;"
        "from focusmap.figures.plots import Curve, roc_figure; from focusmap.figures.style import save_figure;"
        "from focusmap.figures.overlays import Overlay, draw_overlay; p = Path(sys.argv[1]);"
        "save_figure(roc_figure([Curve('a', np.ones(2), np.ones(2))]), p / 'a.png');"
        "draw_overlay(p / 'b.png', Overlay(np.ones((9, 9)), np.ones((9, 9)), 'c', 1.0));"
        "print(*{'matplotlib.pyplot', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("k", [2, 3, 9])
def test_confusion_has_counts_and_shares(k: int) -> None:
    figure = confusion_figure(np.eye(k, dtype=int) * 7, [f"a rather long class {i}" for i in range(k)])
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words.count("7") == words.count("100 %") == k


def test_learning_panels_follow_the_columns() -> None:
    history = {"epoch": np.arange(1, 4.0), "train_loss": LINE[:3], "tune_loss": LINE[:3], "improved": np.ones(3)}
    assert len(learning_figure(history).axes) == 1
    assert not has_curves({"epoch": LINE})
    assert len(compared_learning_figure({"a": history, "b": history}).axes) == 1


def test_runs_are_compared_by_train_and_tune_on_the_same_axes() -> None:
    history = {"epoch": np.arange(1, 6.0), "train_loss": LINE, "tune_loss": LINE**2, "tune_auroc": LINE}
    loss, area = compared_learning_figure({"plain": history, "residual": {**history, "tune_loss": LINE**3}}).axes
    drawn = [line for line in loss.lines if len(line.get_xdata())]
    assert np.array_equal([line.get_ydata() for line in drawn], [LINE, LINE**2, LINE, LINE**3])
    assert [line.get_linestyle() for line in drawn] == ["--", "-", "--", "-"]
    assert [line.get_color() for line in drawn[:2]] != [line.get_color() for line in drawn[2:]]
    assert drawn[0].get_color() == drawn[1].get_color()
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["plain", "residual", "train", "tune"]
    assert [text.get_text() for text in area.get_legend().get_texts()] == ["plain", "residual"]


def test_history_with_unknown_values_is_drawn(tmp_path: Path) -> None:
    history = {"epoch": np.ones(1), "tune_auroc": np.array([np.nan])}
    save_figure(learning_figure(history), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 0


def test_plain_text_never_reaches_the_formula_reader() -> None:
    assert plain("$\\frac{1}{0}$") == "\\$\\frac{1}{0}\\$"
    svg_text(roc_figure([Curve("$\\nonsense{$", LINE, LINE)]))


def test_sheet_takes_any_mixture_of_images(tmp_path: Path) -> None:
    tiles = [Tile(np.ones((5, 400)), "wide " * 30), Tile(np.zeros((3, 70, 8), np.uint8), ""), Tile(np.eye(3), "a")]
    write_sheet(tmp_path / "sheet.png", tiles)
    write_sheet(tmp_path / "empty.png", [])
    assert (tmp_path / "sheet.png").stat().st_size > 0


def test_a_long_name_keeps_its_start_and_its_end() -> None:
    letters = font(20.0)
    for width in (60, 150, 300):
        shown = fitted("label=malignant 0.97 (predicted)   images/a/very/long/folder/patient-0017.png", width, letters)
        start, end = shown.split("…")
        assert letters.getlength(shown) <= width
        assert "label=malignant 0.97 (predicted) images".startswith(start)
        assert "folder/patient-0017.png".endswith(end)
    assert fitted(" a  b ", 60, letters) == "a b"
    assert fitted("abc", 0, letters) == "…"


def test_drawn_cases_say_which_line_is_which(tmp_path: Path) -> None:
    square = np.zeros((40, 40), bool)
    square[10:30, 10:30] = True
    draw_cases(tmp_path / "cases.png", [DrawnCase(np.zeros((40, 40), np.uint8), square, ~square, "best: 0.00 a")] * 3)
    with Image.open(tmp_path / "cases.png") as sheet:
        foot = np.asarray(sheet)[-30:].reshape(-1, 3)
    for colour in LEGEND.values():
        assert (foot == np.rint(255 * colour)).all(axis=1).sum() > 50
    assert (foot == tuple(bytes.fromhex(INK[1:]))).all(axis=1).sum() > 20
    draw_cases(tmp_path / "alone.png", [DrawnCase(np.zeros((40, 40), np.uint8), square, None, "largest: 400 pixels")])
    with Image.open(tmp_path / "alone.png") as sheet:
        pixels = np.asarray(sheet).reshape(-1, 3)
    assert (pixels == np.rint(255 * DRAWN)).all(axis=1).any()
    assert not (pixels == np.rint(255 * TRUE)).all(axis=1).any()


def test_chinese_names_are_drawn_in_their_own_letters() -> None:
    from focusmap.basics import chinese_typeface

    if chinese_typeface() is None:
        pytest.skip("no Chinese typeface here")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a letter that it has not
        drawn = [svg_text(roc_figure([Curve(name, LINE, LINE)])) for name in ("肺炎", "气胸")]
    assert drawn[0] != drawn[1]
    letters = font(20.0, "肺炎")
    assert bytes(letters.getmask("肺")) != bytes(letters.getmask("炎"))
