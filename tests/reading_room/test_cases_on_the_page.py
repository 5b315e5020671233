"""Models of tables and of cases on the page: what is asked for, the answer of `predict`, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")

from fastapi.testclient import TestClient

from focusmap.cli import main
from focusmap.images import read_image
from focusmap.reading_room.desk import Desk
from focusmap.reading_room.site import site_of
from focusmap.verbs.requests import ServeRequest
from support.options import quick
from support.phantom_eyes import EyeOptions, make_eyes, write_eyes
from support.room_files import finished


def site_for(run: Path) -> Iterator[TestClient]:
    desk = Desk(run, ServeRequest(largest=8, seconds=60))
    try:
        with TestClient(site_of(run, desk), base_url="http://127.0.0.1:8000") as client:
            yield client
    finally:
        desk.close()


@pytest.fixture(scope="module")
def table_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, n = tmp_path_factory.mktemp("table"), np.arange(60)
    rows = pd.DataFrame({"patient_id": n, "age": n % 9 + 5 * (n % 2), "eye": np.where(n % 3, "left", "right")})
    rows.assign(label=n % 2).to_csv(place / "ages.csv", index=False)
    columns = ["--covariate", "age", "--covariate", "eye"]
    assert main(["train", str(place / "ages.csv"), "--out", str(place / "run"), *columns, "--workers", "1"]) == 0
    return place / "run"


@pytest.fixture(scope="module")
def of_table(table_run: Path) -> Iterator[TestClient]:
    yield from site_for(table_run)


def asked(site: TestClient, cells: dict[str, str], files: list[Path], views: list[str]) -> dict:
    form = {"cells": json.dumps(cells), "views": json.dumps(views)}
    sent = [("files", (file.name, file.read_bytes())) for file in files]
    answer = site.post("/api/cases", data=form, files=sent or None)
    assert answer.status_code == 201, answer.text
    return answer.json()["items"][0]


def test_a_row_is_asked_for_by_name_and_answered_as_by_the_command(
    of_table: TestClient, table_run: Path, tmp_path: Path
) -> None:
    page = of_table.get("/").text
    assert 'data-field="age"' in page
    assert "<option>left</option>" in page
    assert "0 to 13" in page
    (tmp_path / "row.csv").write_text("patient_id,age,eye\n1,7,left\n")
    assert main(["predict", str(table_run), str(tmp_path / "row.csv"), "--out", str(tmp_path / "said.csv")]) == 0
    asked(of_table, {"age": "7", "eye": "left"}, [], [])
    item = next(item for item in of_table.get("/api/items").json()["items"] if item["state"] != "refused")
    while item["state"] == "waiting":
        item = of_table.get("/api/items").json()["items"][0]
    told = item["answer"]["targets"][0]["classes"][0]["probability"]
    assert told == pytest.approx(pd.read_csv(tmp_path / "said.csv")["label"][0], abs=1e-6)
    assert "image" not in item["answer"]
    said = of_table.post(f"/api/items/{item['id']}/correction", json={"target": "label", "label": "1"})
    assert said.json()["corrected"] == {"label": "1"}
    assert main(["corrections", str(table_run), "--out", str(tmp_path / "corrected.csv")]) == 0
    corrected = pd.read_csv(tmp_path / "corrected.csv", dtype=str)
    assert corrected.loc[0, ["age", "eye", "label"]].tolist() == ["7", "left", "1"]
    assert corrected["patient_id"].tolist() == corrected["case_id"].tolist()
    assert main(["audit", str(tmp_path / "corrected.csv")]) == 0
    of_table.delete("/api/items")


def test_what_is_not_asked_for_or_no_number_is_refused(of_table: TestClient) -> None:
    for form in ({"cells": '{"weight": "80"}'}, {"cells": "[1]"}, {"cells": "{"}):
        answer = of_table.post("/api/cases", data=form)
        assert answer.status_code == 400
        assert "path" not in answer.json()["error"]
    assert of_table.post("/api/items", files=[("files", ("a.png", b"x"))]).status_code == 400
    asked(of_table, {"age": "old", "eye": "left"}, [], [])
    items = of_table.get("/api/items").json()["items"]
    while items[-1]["state"] == "waiting":
        items = of_table.get("/api/items").json()["items"]
    assert items[-1]["state"] == "refused"
    assert "age" in items[-1]["reason"]
    assert "/tmp" not in items[-1]["reason"]


@pytest.mark.slow
def test_a_case_of_several_views_is_answered_and_shown_image_by_image(tmp_path: Path) -> None:
    labels = write_eyes(make_eyes(EyeOptions(n_patients=12, size=28)), tmp_path / "eyes")
    train = ["train", str(labels), "--out", str(tmp_path / "run"), "--target", "relapse", "--covariate", "age"]
    net = ["--case", "eye_id", "--view", "view", "--model", "small-residual+table"]
    assert main([*train, *net, *quick(size=28, more="--batch-size 8")]) == 0
    table = pd.read_csv(labels, dtype=str)
    own = table[table["eye_id"] == table["eye_id"][0]]
    own.to_csv(tmp_path / "own.csv", index=False)
    predict = ["predict", str(tmp_path / "run"), str(tmp_path / "own.csv"), "--images", str(labels.parent)]
    assert main([*predict, "--out", str(tmp_path / "said.csv")]) == 0
    files = [labels.parent / path for path in own["path"]]
    for site in site_for(tmp_path / "run"):
        asked(site, {"age": str(own["age"].iloc[0])}, files, list(own["view"]))
        (item,) = finished(site)
        told = item["answer"]["targets"][0]["classes"][0]["probability"]
        assert told == pytest.approx(pd.read_csv(tmp_path / "said.csv")["relapse"][0], abs=1e-5)
        image = item["answer"]["image"]
        assert image["views"] == list(own["view"])
        assert image["shape"][0] == len(files)
        shown = np.frombuffer(site.get(f"/api/items/{item['id']}/image/0/1").content, np.uint8)
        pixels = read_image(files[1]).pixels[0]
        np.testing.assert_array_equal(shown.reshape(image["shape"][1:]), pixels)
        maps = site.get(f"/api/items/{item['id']}/maps/0/0/1")
        assert len(maps.content) == pixels.size
        for label in ("0", "1"):
            site.post(f"/api/items/{item['id']}/correction", json={"target": "relapse", "label": label})
    assert main(["corrections", str(tmp_path / "run"), "--out", str(tmp_path / "corrected.csv")]) == 0
    corrected = pd.read_csv(tmp_path / "corrected.csv", dtype=str)
    assert corrected["view"].tolist() == own["view"].tolist()
    assert corrected["relapse"].tolist() == ["1"] * len(files)
    images = tmp_path / "run/corrections/images"
    np.testing.assert_array_equal(read_image(images / corrected["path"][1]).pixels, read_image(files[1]).pixels)
    again = ["predict", str(tmp_path / "run"), str(tmp_path / "corrected.csv"), "--images", str(images)]
    assert main([*again, "--case", "case_id", "--out", str(tmp_path / "again.csv")]) == 0
    assert pd.read_csv(tmp_path / "again.csv")["relapse"][0] == pytest.approx(told, abs=1e-5)
