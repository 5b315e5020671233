"""May this be shown? A label at guessing, one that was not judged, an image unlike train: what every output says."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra web is not installed")
pytest.importorskip("highdicom", reason="the extra dicom is not installed")

from fastapi.testclient import TestClient
from pydicom import dcmread

from focusmap.basics import write_json
from focusmap.cli import main
from focusmap.images import read_image
from focusmap.models.ood import OOD_FILE, fit_ood, save_ood
from focusmap.reading_room.desk import Desk
from focusmap.reading_room.site import site_of
from focusmap.verbs.requests import ServeRequest
from support.dicom_files import a_series
from support.exported import ask_without_focusmap
from support.studies import evaluated_run

pytestmark = pytest.mark.slow
VERDICTS = {"nodule": "not-shown-useful", "cavity": "cannot-be-judged", "consolidation": "useful"}
WHYS = {"nodule": "not-better", "cavity": "unjudged", "consolidation": "yes"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose verdicts are planted, with what its images look like."""
    place = tmp_path_factory.mktemp("showing")
    evaluated_run(place, patients=16, images=48)
    for name in ("model/answers.json", "evaluation/metrics.json"):
        told = json.loads((place / "run" / name).read_text())
        for target, verdict in VERDICTS.items():
            told["targets"][target]["verdict"] = verdict
        write_json(place / "run" / name, told, sealed=name == "model/answers.json")
    films = [read_image(file).pixels for file in sorted((place / "study/images").glob("*.png"))]
    ood = fit_ood(films, films)
    assert ood is not None
    save_ood(ood, place / "run/model" / OOD_FILE)
    return place / "run"


@pytest.fixture(scope="module")
def film(run: Path) -> Path:
    return sorted((run.parent / "study/images").glob("*.png"))[0]


@pytest.fixture(scope="module")
def odd(run: Path) -> Path:
    stripes = np.tile(np.array([0, 255], np.uint8), (32, 16))
    Image.fromarray(stripes).save(run.parent / "odd.png")
    return run.parent / "odd.png"


def shown(index: pd.DataFrame, file: Path) -> dict[str, str]:
    own = index[index["path"].map(lambda path: Path(path).name) == file.name]
    return dict(zip(own["target"], own["shown"], strict=True))


def is_grey(overlay: Path) -> bool:
    """Return whether the half of an overlay with the map and its bar, below the caption, has no colour."""
    pixels = np.asarray(Image.open(overlay).convert("RGB")).astype(int)
    map_and_bar = pixels[60:, pixels.shape[1] // 2 :]
    return bool((map_and_bar.max(axis=-1) - map_and_bar.min(axis=-1)).max() < 40)


def test_answers_in_a_table(run: Path, film: Path, odd: Path, tmp_path: Path) -> None:
    assert main(["predict", str(run), str(film), str(odd), "--out", str(tmp_path / "said.csv")]) == 0
    said = pd.read_csv(tmp_path / "said.csv", keep_default_na=False)
    assert [said[f"{name}.answer"][0] == "none" for name in WHYS] == [True, True, False]
    assert [said[f"{name}.answer"][1] for name in WHYS] == ["none"] * 3


def test_overlays_are_grey(run: Path, film: Path, odd: Path, tmp_path: Path) -> None:
    assert main(["explain", str(run), str(film), str(odd), "--out", str(tmp_path / "maps")]) == 0
    index = pd.read_csv(tmp_path / "maps/index.csv")
    assert shown(index, film) == WHYS
    assert shown(index, odd) == dict.fromkeys(WHYS, "unlike")
    for row in index[index["shown"] != "yes"].itertuples():
        assert is_grey(tmp_path / "maps" / row.overlay)
    # The numbers are in the files as ever.
    assert all((tmp_path / "maps" / name).is_file() for name in index["map"])


def test_masks_say_so_and_are_no_examples(run: Path, film: Path, odd: Path, tmp_path: Path) -> None:
    assert main(["segment", str(run), str(film), str(odd), "--out", str(tmp_path / "masks")]) == 0
    index = pd.read_csv(tmp_path / "masks/index.csv")
    assert shown(index, film) == WHYS
    assert shown(index, odd) == dict.fromkeys(WHYS, "unlike")
    codes = [one["code"] for one in json.loads((tmp_path / "masks/cautions.json").read_text())["cautions_coded"]]
    assert {"masks-not-better", "masks-unjudged", "masks-unlike"} <= set(codes)


def test_the_page_has_no_map_of_it(run: Path, film: Path, odd: Path) -> None:
    desk = Desk(run, ServeRequest(largest=8, seconds=30))
    try:
        with TestClient(site_of(run, desk), base_url="http://127.0.0.1:8000") as site:
            files = [("files", (one.name, one.read_bytes())) for one in (film, odd)]
            explained = site.post("/api/explain", files=files).json()["answers"]
            segmented = site.post("/api/segment", files=files).json()
    finally:
        desk.close()
    first, second = ({label["label"]: label["why"] or "yes" for label in one["maps"]["labels"]} for one in explained)
    assert first == WHYS
    assert second == dict.fromkeys(WHYS, "unlike")
    assert not any(label["has_evidence"] for label in explained[1]["maps"]["labels"])
    assert not any(label["has_evidence"] for label in explained[0]["maps"]["labels"] if label["why"])
    found = [{lesion["target"]: lesion["shown"] for lesion in one["masks"]} for one in segmented["answers"]]
    assert found == [WHYS, dict.fromkeys(WHYS, "unlike")]


def test_an_archive_gets_neither_map_nor_mask_of_it(run: Path, film: Path, odd: Path, tmp_path: Path) -> None:
    for file in (film, odd):
        (sliced,) = a_series(tmp_path / file.stem, n=1)
        dataset, pixels = dcmread(sliced), read_image(file).pixels[0]
        dataset.Rows, dataset.Columns, dataset.PixelData = *pixels.shape, pixels.astype(np.uint16).tobytes()
        dataset.save_as(sliced)
        command = ["dicom", "write", str(tmp_path / file.stem), "--model", str(run)]
        assert main([*command, "--out", str(tmp_path / f"{file.stem}-made")]) == 0
    made = {
        file.stem: [dcmread(path, stop_before_pixels=True) for path in (tmp_path / f"{file.stem}-made").rglob("*.dcm")]
        for file in (film, odd)
    }
    maps = [one.SeriesDescription.rpartition(": ")[2] for one in made[film.stem] if "Heat map" in one.SeriesDescription]
    assert maps == ["consolidation"]
    segments = [one.SegmentLabel for dataset in made[film.stem] for one in dataset.get("SegmentSequence", [])]
    assert set(segments) <= {"consolidation"}
    assert [one.Modality for one in made[odd.stem]] == ["SR"]


def test_the_report_greys_it(run: Path) -> None:
    assert main(["explain", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    groups = {name: f"{name} (grey: " in page for name in WHYS}
    assert groups == {"nodule": True, "cavity": True, "consolidation": False}


def test_an_exported_graph_answers_nothing_of_it(run: Path, film: Path, odd: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the optional part export is not installed")
    assert main(["export", str(run), "--out", str(tmp_path)]) == 0
    Image.new("L", (64, 64)).save(tmp_path / "black.png")
    files = (film, odd, tmp_path / "black.png")
    first, second, black = (ask_without_focusmap(tmp_path / "example.py", file) for file in files)
    assert "no answer: not better than guessing on test" in first["nodule"]
    assert "no answer: too few test patients to judge it" in first["cavity"]
    assert "threshold" in first["consolidation"]
    assert "unlike the images of train" in second.pop("out")
    assert "shows nothing" in black.pop("out")
    assert all("no answer: out of distribution" in said for said in (*second.values(), *black.values()))
