"""What a hospital must not hand on by accident, or take in: places of this machine, formulas, links out of a folder."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusmap.basics import read_json, read_table
from support.commands import assert_done
from support.options import quick
from support.studies import phantom_study

MARK = "a-name-that-nobody-else-has"
TRAINING = [*quick("small-residual"), "--accept", "no-patient-column"]


def places_in(folder: Path) -> list[str]:
    """Return the files in a folder that say where it, or this program, stands."""
    marks = (MARK.encode(), str(Path(__file__).parents[2]).encode())
    return [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and _holds(file, marks)]


def _holds(file: Path, marks: tuple[bytes, ...]) -> bool:
    return any(mark in file.read_bytes() for mark in marks)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study, a run of it, and images of which one is cut off."""
    folder = tmp_path_factory.mktemp("home") / MARK
    labels = phantom_study(folder / "study", patients=24, images=48)
    assert_done("train", labels, "--out", folder / "runs/one", *TRAINING, "--store", folder / "shared")
    assert_done("evaluate", folder / "runs/one")
    image = next((folder / "study").rglob("*.png"))
    (folder / "films").mkdir()
    shutil.copy(image, folder / "films/a.png")
    (folder / "films/b.png").write_bytes(image.read_bytes()[:200])
    return folder


@pytest.mark.slow
def test_no_file_says_where_it_was_written(home: Path) -> None:
    run, labels, films = home / "runs/one", home / "study/labels.csv", home / "films"
    assert_done("predict", run, labels, "--out", home / "out/answers.csv", "--overlay", home / "out/overlays")
    assert_done("predict", run, films, "--out", home / "out/films.csv", code=2)
    assert_done("explain", run, films, "--out", home / "out/maps", code=2)
    assert_done("explain", run, "--trust", "--trust-images", "2", "--trust-draws", "2")
    assert_done("export", run, "--out", home / "out/onnx")
    shutil.copytree(home / "study", home / "broken")
    next((home / "broken").rglob("*.png")).write_bytes(b"\x89PNG\r\n\x1a\n")
    assert_done("audit", home / "broken/labels.csv", "--out", home / "out/audit")
    assert_done("audit", labels, "--against", home / "broken/labels.csv", "--out", home / "out/against", code=3)
    assert_done("convert", home / "broken/labels.csv", "--parts", "left-half", "--out", home / "out/parts", code=2)
    assert_done("compare", run, run, "--out", home / "out/comparison")
    assert_done("report", run)
    assert places_in(home) == []
    assert (home / "out/maps/failures.csv").read_text().splitlines()[1].startswith('films/b.png,"cannot be decoded')
    assert list(read_table(home / "out/films.csv")["path"]) == ["films/a.png"]


@pytest.mark.slow
def test_no_file_of_a_whole_run_with_masks_says_it_either(home: Path) -> None:
    run, labels = home / "runs/whole", home / "study/labels.csv"
    assert_done("run", labels, "--out", run, *TRAINING, "--segment")
    assert_done("segment", run, home / "films", "--out", home / "out/masks", code=2)
    assert_done("challenge", run)
    assert places_in(home) == []


@pytest.mark.parametrize("place", ["runs/two", "elsewhere/runs/one"])
def test_a_run_that_was_moved_still_works(home: Path, place: str) -> None:
    shutil.copytree(home / "runs/one", home / place)
    assert_done("explain", home / place)
    assert_done("evaluate", home / place, "--force")
    metrics = "evaluation/metrics.json"
    assert read_json(home / place / metrics) == read_json(home / "runs/one" / metrics)
    shutil.rmtree(home / place)


def test_of_a_run_that_was_carried_off_one_says_where_its_images_are(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "runs/one", tmp_path / "run")
    (tmp_path / "run/store.json").unlink()
    assert_done("explain", tmp_path / "run", "--images", home / "study")
    assert len(read_table(tmp_path / "run/focus/index.csv"))


def test_a_study_of_an_older_version_with_absolute_places_is_read(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "runs/one", tmp_path / "run")
    (tmp_path / "run/hashes.json").unlink()
    study = tmp_path / "run/study.yaml"
    assert "images: ../../study" in study.read_text()
    study.write_text(study.read_text().replace("../../study", str(home / "study")))
    assert_done("explain", tmp_path / "run")


def with_folder(folder: Path, name: str) -> Path:
    """Return images of two classes, one of which has a name that a spreadsheet would run."""
    rng = np.random.default_rng(0)
    for kind in (name, "normal"):
        (folder / kind).mkdir(parents=True)
        for k in range(4):
            Image.fromarray(rng.integers(0, 255, (32, 32)).astype(np.uint8)).save(folder / kind / f"{k}.png")
    return folder


def test_cells_that_a_spreadsheet_would_run_are_escaped_by_commands(tmp_path: Path) -> None:
    images, labels = with_folder(tmp_path / "images", "=1+1"), tmp_path / "images/labels.csv"
    assert_done("index", images, "--out", labels)
    with labels.open(newline="") as file:
        written = list(csv.DictReader(file))
    assert {row["label"] for row in written} == {"'=1+1", "normal"}
    assert all(not row["path"].startswith("=") for row in written)
    assert set(read_table(labels)["label"]) == {"=1+1", "normal"}
    assert_done("audit", labels, "--patient", "none", "--out", tmp_path / "audit")
    assert_done("index", images, "--out", labels, "--no-escape-cells", "--force")
    assert "\n=1+1/0.png,=1+1" in labels.read_text()


LINKED: dict[str, Callable[[Path], list[object]]] = {
    "audit": lambda folder: ["audit", folder / "labels.csv", "--patient", "none", "--out", folder / "audit"],
    "index": lambda folder: ["index", folder / "images", "--out", folder / "index.csv"],
    "convert": lambda folder: ["convert", folder / "labels.csv", "--parts", "left-half", "--out", folder / "parts"],
}


@pytest.mark.parametrize("linked", ["image", "mask", "folder"])
@pytest.mark.parametrize("command", LINKED)
def test_a_link_out_of_the_folder_is_refused_unless_it_is_allowed(
    tmp_path: Path, command: str, linked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, outside = tmp_path / "study", with_folder(tmp_path / "outside", "a")
    with_folder(folder / "images", "a")
    target = folder / "images/a/0.png"
    if linked == "folder":
        shutil.rmtree(folder / "images/a")
        (folder / "images/a").symlink_to(outside / "a")
    elif linked == "image":
        target.unlink()
        target.symlink_to(outside / "a/0.png")
    else:
        (folder / "mask.png").symlink_to(outside / "a/0.png")
    rows = [{"path": f"images/{kind}/{k}.png", "label": kind, "mask": ""} for kind in ("a", "normal") for k in range(4)]
    rows[0]["mask"] = "mask.png" if linked == "mask" else ""
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    if (command, linked) in (("index", "mask"), ("index", "folder")):
        return  # it looks at images alone, and goes into no folder behind a link
    assert_done(*LINKED[command](folder), code=2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "symbolic links lead out of it" in said
    assert "--follow-links" in said
    assert_done(*LINKED[command](folder), "--follow-links")


def test_a_link_within_the_folder_is_no_matter(tmp_path: Path) -> None:
    images = with_folder(tmp_path / "images", "a")
    (images / "a/0.png").unlink()
    (images / "a/0.png").symlink_to(images / "a/1.png")
    assert_done("index", images, "--out", tmp_path / "labels.csv")
    assert "images/a/0.png" in set(read_table(tmp_path / "labels.csv")["path"])


def test_predictions_follow_links_only_if_told(home: Path, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films/a.png").symlink_to(home / "films/a.png")
    (tmp_path / "labels.csv").write_text("path\nfilms/a.png\n")
    for given in (tmp_path / "films", tmp_path / "labels.csv"):
        assert_done("predict", home / "runs/one", given, code=2)
        out = tmp_path / f"{given.stem}-answers.csv"
        assert_done("predict", home / "runs/one", given, "--follow-links", "--out", out)
        assert len(read_table(out)) == 1


def test_what_is_read_is_raised_by_an_option_that_the_refusal_names(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from focusmap.images import budget

    monkeypatch.setattr(budget.Budget, "__init__", _small(budget.Budget.__init__))
    budget._raised.cache_clear()
    run, film = home / "runs/one", home / "films/a.png"
    assert_done("predict", run, film, code=2)
    said = capsys.readouterr().err
    assert "--reading-budget 2" in said
    assert_done("predict", run, film, "--reading-budget", "2")
    labels = ["--patient", "none", "--out", tmp_path / "audit"]
    assert_done("audit", home / "study/labels.csv", *labels, "--reading-budget", "2")
    found = json.loads((tmp_path / "audit/audit.json").read_text())["findings"]
    assert "unreadable-image" not in {one["name"] for one in found}
    budget._raised.cache_clear()


def _small(usual: Callable[..., None]) -> Callable[..., None]:
    def made(self: object, **given: int) -> None:
        usual(self, **{"pixels": 1000, **given})

    return made
