"""Names as long as a file system takes, in any letters, and disks that are full in the middle of it."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap.basics import cut_to, read_table
from focusmap.heatmaps import MapNames, file_name, map_files
from support.commands import assert_done
from support.dicom_files import a_dataset, saved
from support.options import quick
from support.studies import phantom_study

CHINESE = "胸部正位片患者编号" * 8
"""72 letters, 216 bytes."""
LONGEST = {"Chinese": CHINESE[:70], "255 bytes": "x" * 251, "255 bytes in Chinese": "片" * 83 + "ab"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    labels = phantom_study(folder / "study", patients=24, images=48)
    options = [*quick("small-residual"), "--accept", "no-patient-column"]
    assert_done("train", labels, "--out", folder / "run", *options)
    return folder / "run"


@pytest.fixture
def films(run: Path, tmp_path: Path) -> Path:
    """A folder of images with long names, in two folders that have long names, too."""
    folder = tmp_path / "films"
    images = sorted((run.parent / "study/images").glob("*.png"))
    for within in ("", CHINESE[:70]):
        (folder / within).mkdir(parents=True, exist_ok=True)
        for image, name in zip(images, LONGEST.values(), strict=False):
            shutil.copy(image, folder / within / f"{name}.png")
    return folder


@pytest.mark.parametrize("command", ["predict", "explain", pytest.param("segment", marks=pytest.mark.slow)])
def test_images_with_names_as_long_as_may_be_are_answered(
    run: Path, films: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"predict": ["--overlay", tmp_path / "overlays"]}.get(command, [])
    out = tmp_path / ("answers.csv" if command == "predict" else "out")
    assert_done(command, run, films, "--out", out, *more)
    assert "failed" not in capsys.readouterr().err
    table = read_table(out if command == "predict" else out / "index.csv")
    assert table["image_id"].nunique() == 2 * len(LONGEST)
    for column in {"map", "overlay", "mask"} & set(table):
        named = table[column][table[column] != ""]
        assert named.is_unique
        assert all((out / name).is_file() for name in named)


def test_parts_of_images_with_such_names_are_converted(films: Path, tmp_path: Path) -> None:
    names = [f"{name}.png" for name in LONGEST.values()]
    pd.DataFrame({"path": names, "label": ["a", "b", "a"]}).to_csv(films / "labels.csv", index=False)
    assert_done("convert", films / "labels.csv", "--parts", "left-half,right-half", "--out", tmp_path / "parts")
    table = read_table(tmp_path / "parts/labels.csv")
    assert table["path"].nunique() == 2 * len(names)
    assert all((tmp_path / "parts" / name).is_file() for name in table["path"])


def test_a_study_with_such_names_is_prepared(films: Path, tmp_path: Path) -> None:
    names = [file.relative_to(films).as_posix() for file in sorted(films.rglob("*.png"))]
    rows = pd.DataFrame({"path": names, "label": [str(k % 2) for k in range(len(names))]})
    rows.to_csv(films / "labels.csv", index=False)
    more = ["--patient", "none", "--size", "32", "--no-group-near-duplicates", "--accept", "duplicate-across-splits"]
    assert_done("prepare", films / "labels.csv", "--out", tmp_path / "run", *more)
    assert set(read_table(tmp_path / "run/split.csv")["image_id"]) == set(names)


@pytest.mark.parametrize("name", [*LONGEST.values(), "\udce9t\udce9" * 40, "a/" * 200, "..", "/" + "b" * 300])
def test_names_of_maps_fit_in_bytes_and_differ(name: str) -> None:
    names = MapNames()
    given = [names.name(f"{name}.png") for _ in range(12)]
    assert len(set(given)) == len(given)
    label = file_name("Erguss rechts und 左侧" * 20)
    for one in given:
        assert len(os.fsencode(f".{cut_to(one + '.' + label + '.nii', 99)}.12345678.gz")) <= 255
        assert len(os.fsencode(f"{one}.{label}.nii.gz")) <= 255


def test_a_dicom_file_whose_name_is_not_utf8_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "films").mkdir()
    saved(tmp_path, a_dataset(np.zeros((8, 8), np.uint16))).rename(
        Path(os.fsdecode(os.fsencode(tmp_path / "films") + b"/\xfc.dcm"))
    )
    assert_done("convert", tmp_path / "films", "--out", tmp_path / "out", code=2)
    assert r"are not UTF-8: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_that_are_not_utf8_are_named_or_answered(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = next((run.parent / "study/images").glob("*.png"))
    (tmp_path / "films").mkdir()
    shutil.copy(film, os.fsencode(tmp_path / "films") + b"/\xe9t\xe9.png")
    for words in (["predict", run, tmp_path / "films", "--out", tmp_path / "a.csv"],
                  ["explain", run, tmp_path / "films", "--out", tmp_path / "maps"],
                  ["segment", run, tmp_path / "films", "--out", tmp_path / "masks"],
                  ["index", tmp_path / "films", "--out", tmp_path / "labels.csv"]):  # fmt: skip
        assert_done(*words, code=2)
        said = capsys.readouterr().err
        assert "are not UTF-8: " in said
        assert "convmv" in said
    assert [file.name for file in tmp_path.iterdir()] == ["films"]


@pytest.mark.parametrize("after", [0, 5])
def test_a_full_disk_leaves_no_maps_without_an_index(
    run: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[Path] = []

    def full(path: Path, heat_map: np.ndarray) -> None:
        from focusmap.basics import disk_errors

        with disk_errors(path):
            # Maps are written by several threads.
            if len(written) >= after:
                raise OSError(errno.ENOSPC, "No space left on device")
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(path)
            np.savez(path, map=heat_map)

    monkeypatch.setattr(map_files, "write_map", full)
    films = run.parent / "study/images"
    assert_done("explain", run, films, "--out", tmp_path / "maps", code=2)
    assert "Free some space" in capsys.readouterr().err
    assert len(written) >= after
    assert not (tmp_path / "maps").exists()


def test_a_full_disk_leaves_no_metrics_without_their_curves(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from focusmap import figures
    from focusmap.basics import disk_errors

    def full(metrics: object, drawn: object, out: Path) -> None:
        with disk_errors(out / "roc.png"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(figures, "write_curves", full)
    assert_done("evaluate", run, "--out", tmp_path / "new", code=2)
    assert "Free some space" in capsys.readouterr().err
    assert not (tmp_path / "new/metrics.json").exists()


def test_a_full_disk_leaves_no_comparison_without_its_page(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from focusmap.basics import disk_errors
    from focusmap.report import page

    def full(template: str, context: object, path: Path, words: object) -> None:
        with disk_errors(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    assert_done("evaluate", run)
    monkeypatch.setattr(page, "write_page", full)
    assert_done("compare", run, run, "--out", tmp_path / "compared", code=2)
    assert "Free some space" in capsys.readouterr().err
    assert not any((tmp_path / "compared").iterdir())
    monkeypatch.undo()
    assert_done("compare", run, run, "--out", tmp_path / "compared")
    assert {file.name for file in (tmp_path / "compared").iterdir()} == {"compare.json", "compare.html"}


def test_a_full_disk_leaves_what_else_lies_in_the_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, heat_map: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(map_files, "write_map", full)
    (tmp_path / "maps/images").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "maps/images/mine.png")
    assert_done("explain", run, run.parent / "study/images", "--out", tmp_path / "maps", code=2)
    assert [file.name for file in (tmp_path / "maps").rglob("*")] == ["images", "mine.png"]


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize(
    ("command", "option", "mine"),
    [
        ("explain", "--out", "index.csv"), ("explain", "--out", "overlays/mine.png"),
        ("predict", "--overlay", "index.csv"), ("segment", "--out", "index.csv"),
    ],
)  # fmt: skip
def test_files_that_are_no_results_are_never_replaced(
    run: Path,
    tmp_path: Path,
    command: str,
    option: str,
    mine: str,
    force: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = tmp_path / "own" / mine
    own.parent.mkdir(parents=True)
    own.write_text("path,label,mask\na.png,1,m.png\n")
    assert_done(command, run, run.parent / "study/images", option, tmp_path / "own", *force, code=2)
    said = capsys.readouterr().err
    assert "Choose another folder." in said
    assert "--force" not in said
    assert_done(command, run, run.parent / "study/images", option, own, *force, code=2)
    assert "is a file" in capsys.readouterr().err
    assert own.read_text() == "path,label,mask\na.png,1,m.png\n"


def test_a_folder_of_images_that_were_not_converted_is_not_converted_into(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own/images").mkdir(parents=True)
    assert_done("convert", films, "--out", tmp_path / "own", "--force", code=2)
    assert "Choose an empty folder." in capsys.readouterr().err


def test_every_file_of_a_run_can_be_read_by_colleagues(run):
    files = [file for file in run.rglob("*") if file.is_file()]
    assert any(file.suffix == ".safetensors" for file in files)
    assert [file.name for file in files if file.stat().st_mode & 0o044 != 0o044] == []
