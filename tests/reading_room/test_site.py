"""The site: answers equal those of the command, no path and no patient leaves it, and what is odd is refused."""

import base64
import io
import json
import logging
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import PIL.Image
import pydicom.data
import pytest
from fastapi.testclient import TestClient
from pydicom import Dataset

import focusmap
from focusmap.basics import write_json
from focusmap.cli import main
from focusmap.images import read_image
from focusmap.reading_room.desk import Desk, alike_of
from focusmap.reading_room.intake import MOST_FRAMES, Sent
from focusmap.reading_room.layers import segment, show
from focusmap.reading_room.pages import lines_of
from focusmap.reading_room.site import site_of
from focusmap.report import words_in
from focusmap.verbs.requests import ServeRequest
from focusmap.verbs.segment import SegmentResult
from support.dicom_files import a_dataset, saved
from support.room_files import finished, png, zipped


def sent(site: TestClient, files: dict[str, bytes]) -> list[dict]:
    answer = site.post("/api/items", files=[("files", (name, content)) for name, content in files.items()])
    assert answer.status_code == 201, answer.text
    return answer.json()["items"]


def asked(site: TestClient, address: str, files: dict[str, bytes]) -> list[dict]:
    answer = site.post(address, files=[("files", (name, content)) for name, content in files.items()])
    assert answer.status_code == 200, answer.text
    return answer.json()["answers"]


def test_a_program_is_told_what_the_command_says(
    site: TestClient, run: Path, films: list[Path], tmp_path: Path
) -> None:
    assert main(["predict", str(run), *map(str, films[:5]), "--out", str(tmp_path / "said.csv")]) == 0
    expected = pd.read_csv(tmp_path / "said.csv")
    answers = asked(site, "/api/predict", {film.name: film.read_bytes() for film in films[:5]})
    assert [one["name"] for one in answers] == [film.name for film in films[:5]]
    for row, one in enumerate(answers):
        for target in one["targets"]:
            assert target["classes"][0]["probability"] == pytest.approx(expected[target["name"]][row], abs=1e-6)
            assert target["answer"] == expected[f"{target['name']}.answer"][row]
            metrics = json.loads((run / "evaluation/metrics.json").read_text())["targets"][target["name"]]
            known = None if metrics["verdict"] == "cannot-be-judged" else metrics["auroc"]["value"]
            assert target["test"].get("value") == known


def test_a_label_of_too_few_patients_is_answered_neither_with_yes_nor_with_a_number(
    run: Path, films: list[Path], tmp_path: Path
) -> None:
    own = tmp_path / "run"
    shutil.copytree(run, own)
    for file in (own / "model/answers.json", own / "evaluation/metrics.json"):
        told = json.loads(file.read_text())
        told["targets"]["nodule"]["verdict"] = "cannot-be-judged"
        write_json(file, told, sealed=file.name == "answers.json")
    desk = Desk(own, ServeRequest(largest=8, seconds=30))
    try:
        with TestClient(site_of(own, desk), base_url="http://127.0.0.1:8000") as site:
            (one,) = asked(site, "/api/predict", {"a.png": films[0].read_bytes()})
            sent(site, {"a.png": films[0].read_bytes()})
            finished(site)
            table = pd.read_csv(io.StringIO(site.get("/api/items.csv").text))
    finally:
        desk.close()
    nodule = next(target for target in one["targets"] if target["name"] == "nodule")
    assert (nodule["answer"], nodule["why"]) == ("none", "unjudged")
    assert "value" not in nodule["test"]
    assert table["nodule.answer"].tolist() == ["none"]
    line = next(line for line in lines_of(one, words_in("en")) if line.name == "nodule")
    assert (line.said, line.tested) == ("No answer", "On test: not judged")
    assert line.detail == "too few patients in the test set to judge this label"


def test_maps_of_a_program_are_those_of_the_command(
    site: TestClient, run: Path, films: list[Path], tmp_path: Path
) -> None:
    assert main(["explain", str(run), str(films[0]), "--out", str(tmp_path / "maps")]) == 0
    index = pd.read_csv(tmp_path / "maps/index.csv")
    (one,) = asked(site, "/api/explain", {"a.png": films[0].read_bytes()})
    with np.load(io.BytesIO(base64.b64decode(one["maps"]["npz"]))) as found:
        for k, name in enumerate(index["map"]):
            with np.load(tmp_path / "maps" / name) as expected:
                np.testing.assert_allclose(found[f"map_{k}"], expected["map"], atol=1e-5)
    assert [label["label"] for label in one["maps"]["labels"]] == list(index["target"])


def test_the_worklist_answers_draws_and_shows_the_image_as_it_is(site: TestClient, films: list[Path]) -> None:
    new = sent(site, {film.name: film.read_bytes() for film in films[:3]})
    items = finished(site)
    assert [item["id"] for item in items] == [item["id"] for item in new]
    pixels, address = read_image(films[1]).pixels[0], f"/api/items/{items[1]['id']}"
    levels = site.get(f"{address}/image/0/0")
    np.testing.assert_array_equal(np.frombuffer(levels.content, np.uint8).reshape(pixels.shape), pixels)
    shown = items[1]["maps"]["labels"]
    for k, label in enumerate(shown):
        level = np.frombuffer(site.get(f"{address}/maps/{k}/0/0").content, np.uint8)
        assert level.size == pixels.size
        assert (level.max() > 0) == label["has_evidence"]
    assert site.get(f"{address}/image/0/1").status_code == 404
    assert site.get(f"{address}/maps/9/0/0").status_code == 404
    site.delete("/api/items")
    assert site.get(f"{address}/image/0/0").status_code == 404


def test_training_images_most_alike_are_shown_without_their_names(
    site: TestClient, films: list[Path], run: Path
) -> None:
    (item,) = sent(site, {"a.png": films[0].read_bytes()})
    for _ in range(2400):
        (found,) = site.get("/api/items").json()["items"]
        if found["alike"] is not None:
            break
        time.sleep(0.1)
    known = focusmap.load_model(run).predict(films[0]).alike(0, 3)
    assert [one["labels"] for one in found["alike"]] == [one.labels for one in known]
    assert 0 < len(known) <= 3
    assert not any(one.image_id in json.dumps(found) or one.file.name in json.dumps(found) for one in known)
    small = site.get(f"/api/items/{item['id']}/alike/0")
    assert small.headers["content-type"] == "image/png"
    assert max(PIL.Image.open(io.BytesIO(small.content)).size) <= 256
    assert site.get(f"/api/items/{item['id']}/alike/3").status_code == 404


def test_others_than_this_machine_see_no_training_image_unless_it_is_said() -> None:
    told = {"host": "0.0.0.0", "token": "a" * 20}
    assert [alike_of(ServeRequest(**more)) for more in ({}, told, {**told, "alike": 2}, {"alike": 0})] == [3, 0, 2, 0]


def test_images_of_one_patient_share_a_sheet_and_no_identifier(site: TestClient, tmp_path: Path) -> None:
    files = {}
    for k, patient in enumerate(("ID-4711", "ID-4711", "ID-0815")):
        dataset = a_dataset(PatientID=patient, SOPInstanceUID=f"1.2.{k}")
        files[f"{k}.dcm"] = saved(tmp_path, dataset, f"{k}.dcm").read_bytes()
    sent(site, files)
    items = finished(site)
    groups = [item["answer"]["patient"] for item in items]
    assert groups[0] == groups[1] != groups[2] != ""
    assert "ID-4711" not in json.dumps(items)


def test_another_method_draws_other_maps(site: TestClient, films: list[Path]) -> None:
    (item,) = sent(site, {"a.png": films[0].read_bytes()})
    before = finished(site)[-1]["maps"]
    assert site.post(f"/api/items/{item['id']}/maps", json={"method": "gradients"}).status_code == 202
    after = finished(site)[-1]["maps"]
    assert (after["method"], after["version"]) == ("gradients", before["version"] + 1)
    assert site.post(f"/api/items/{item['id']}/maps", json={"method": "nosuch"}).status_code == 400


def test_one_visitor_does_not_see_what_another_sent(site: TestClient, films: list[Path]) -> None:
    (item,) = sent(site, {"a.png": films[0].read_bytes()})
    mine = dict(site.cookies)
    site.cookies.clear()
    assert site.get("/api/items").json()["items"] == []
    for address in (f"/api/items/{item['id']}/image/0/0", f"/api/sheet.pdf?item={item['id']}"):
        assert site.get(address).status_code == 404
    site.cookies.clear()
    site.cookies.update(mine)
    assert len(site.get("/api/items").json()["items"]) == 1


def report() -> Dataset:
    """Return a DICOM object without an image."""
    found: Dataset = a_dataset(Modality="SR")
    del found.PixelData
    return found


def test_what_cannot_be_read_is_refused_with_a_reason_and_the_rest_is_answered(
    site: TestClient, films: list[Path], tmp_path: Path
) -> None:
    good = films[0].read_bytes()
    files = {"good.png": good, "text.png": b"no image", "half.png": good[: len(good) // 2], "../../evil.png": good}
    files["zip of two.zip"] = zipped({"a/one.png": good, "a/two.png": good, "__MACOSX/a/._one.png": b"x"})
    files["broken.zip"] = b"PK\x03\x04" + bytes(50)
    files |= {"nothing.png": b"", "bytes.png": bytes(range(256)), "report.dcm": saved(tmp_path, report()).read_bytes()}
    items = {item["name"]: item for item in sent(site, files)}
    refusals = {
        "broken.zip": "zip", "half.png": "damaged", "text.png": "text", "nothing.png": "empty", "bytes.png": "unknown",
        "report.dcm": "no_pixels",
    }  # fmt: skip
    assert sorted(items) == sorted(["evil.png", "good.png", "one.png", "two.png", *refusals])
    done = {item["name"]: item for item in finished(site)}
    assert {name: item["refusal"] for name, item in done.items() if item["state"] == "refused"} == refusals
    assert "text.png" in done["text.png"]["reason"]
    assert "damaged" in done["broken.zip"]["reason"]
    everything = json.dumps(done) + site.get("/api/items.csv").text
    assert "/tmp" not in everything
    assert str(tmp_path.parent) not in everything


def test_monochrome1_and_its_twin_get_the_same_answer(site: TestClient, tmp_path: Path) -> None:
    dataset = a_dataset()
    twin = a_dataset((4095 - np.frombuffer(dataset.PixelData, np.uint16)).reshape(40, 30).astype(np.uint16))
    twin.PhotometricInterpretation = "MONOCHROME1"
    files = {name: saved(tmp_path, one, name).read_bytes() for name, one in (("a.dcm", dataset), ("b.dcm", twin))}
    first, second = asked(site, "/api/predict", files)
    assert first["targets"] == second["targets"]


def test_nothing_of_a_patient_is_logged_or_said(
    site: TestClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = saved(tmp_path, a_dataset(PatientName="Secret^Person", PatientID="ID-4711"))
    sent(site, {"film.dcm": path.read_bytes()})
    said = json.dumps(finished(site))
    for text in (said, caplog.text, site.get("/metrics").text):
        assert "Secret" not in text
        assert "ID-4711" not in text


def test_a_correction_becomes_a_label_file(site: TestClient, run: Path, films: list[Path], tmp_path: Path) -> None:
    shutil.rmtree(run / "corrections", ignore_errors=True)
    path = saved(tmp_path, a_dataset(PatientName="Secret^Person", PatientID="ID-4711"))
    new = sent(site, {"a.png": films[0].read_bytes(), "b.dcm": path.read_bytes()})
    finished(site)
    for item, label in ((new[0], "0"), (new[0], "1"), (new[1], "0")):
        answer = site.post(f"/api/items/{item['id']}/correction", json={"target": "nodule", "label": label})
        assert answer.json()["corrected"] == {"nodule": label}
    bad = site.post(f"/api/items/{new[0]['id']}/correction", json={"target": "nodule", "label": "perhaps"})
    assert bad.status_code == 400
    assert main(["corrections", str(run), "--out", str(tmp_path / "said.csv")]) == 0
    table = pd.read_csv(tmp_path / "said.csv", dtype=str)
    assert list(table["nodule"]) == ["1", "0"]
    images = run / "corrections" / "images"
    np.testing.assert_array_equal(read_image(images / table["path"][0]).pixels, read_image(films[0]).pixels)
    np.testing.assert_array_equal(read_image(images / table["path"][1]).pixels, read_image(path).pixels)
    assert table["patient_id"][0] == table["image_id"][0]
    assert table["patient_id"][1].startswith("P")
    written = b"".join(file.read_bytes() for file in (run / "corrections").rglob("*") if file.is_file())
    assert b"ID-4711" not in written
    assert b"Secret" not in written
    said = main(
        ["predict", str(run), str(tmp_path / "said.csv"), "--images", str(images), "--out", str(tmp_path / "p.csv")]
    )
    assert said == 0
    assert main(["corrections", str(run), "--out", str(tmp_path / "said.csv")]) == 2


def test_a_table_and_a_sheet_say_what_the_page_says(site: TestClient, films: list[Path]) -> None:
    new = sent(site, {"=film.png": films[0].read_bytes(), "text.png": b"no image"})
    (item, _) = finished(site)
    table = pd.read_csv(io.StringIO(site.get("/api/items.csv").text))
    assert list(table["image"]) == ["'=film.png", "text.png"]
    assert table["nodule"][0] == pytest.approx(item["answer"]["targets"][0]["classes"][0]["probability"])
    assert table["nodule.answer"][0] == item["answer"]["targets"][0]["answer"]
    pytest.importorskip("weasyprint", reason="the extra pdf is not installed")
    for language in ("en", "zh"):
        sheet = site.get("/api/sheet.pdf", params={"item": new[0]["id"], "lang": language})
        assert sheet.status_code in (200, 501), sheet.text
        if sheet.status_code == 200:
            assert sheet.content.startswith(b"%PDF")
            assert sheet.content.count(b"/Type /Page\n") == 1 or sheet.content.count(b"/Type /Page") <= 2
    assert site.get("/api/sheet.pdf", params={"item": new[1]["id"]}).status_code == 400


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_ask_nothing_of_other_places_and_hold_no_script(site: TestClient, run: Path, language: str) -> None:
    for address in ("/", "/model", "/programs"):
        page = site.get(address, params={"lang": language})
        assert page.status_code == 200
        assert "<script>" not in page.text
        assert "style=" not in page.text or address == "/model"
        assert not [part for part in ("http://", "https://") if part in page.text.replace("http://HOST:8000", "")]
        assert str(run.parent) not in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert ("script-src" in policy) == (address != "/model")
        assert "unsafe" not in policy or address == "/model"
        assert ("仅供研究使用" if language == "zh" else "For research use") in page.text


def test_the_browsers_language_decides_where_none_is_asked_for(site: TestClient) -> None:
    assert 'lang="zh' in site.get("/", headers={"accept-language": "zh-CN,zh;q=0.9"}).text
    assert 'lang="en' in site.get("/", headers={"accept-language": "fr"}).text


def test_no_answer_says_where_the_run_stands(site: TestClient, run: Path, films: list[Path]) -> None:
    sent = [("files", (film.name, film.read_bytes())) for film in films[:2]]
    told = [site.get(page).text for page in ("/", "/model", "/programs", "/api/items.csv")]
    told += [site.post(f"/api/{verb}", files=sent).text for verb in ("predict", "explain")]
    assert all(len(text) > 20 and str(run.parent) not in text for text in told)


def test_health_and_counts_are_told(site: TestClient, films: list[Path]) -> None:
    def answered() -> int:
        lines = site.get("/metrics").text.splitlines()
        return int(next(line for line in lines if line.startswith("focusmap_answered_images_total")).split()[1])

    before = answered()
    asked(site, "/api/predict", {film.name: film.read_bytes() for film in films[:2]})
    assert answered() == before + 2
    assert site.get("/health").json() == {"status": "ready"}


def test_masks_are_refused_where_nothing_was_learnt_for_them(site: TestClient, films: list[Path]) -> None:
    answer = site.post("/api/segment", files=[("files", ("a.png", films[0].read_bytes()))])
    assert answer.status_code == 400
    assert "focusmap segment" in answer.json()["error"]


def test_what_is_too_large_or_too_much_is_refused(site: TestClient) -> None:
    assert site.post("/api/items", files=[("files", ("a.png", bytes(9 * 2**20)))]).status_code == 413
    bomb = zipped({"a.png": bytes(40 * 2**20)})
    (item,) = sent(site, {"bomb.zip": bomb})
    assert item["state"] == "refused"
    assert site.post("/api/items", data={"other": "text"}).status_code == 400


def test_colour_deep_and_odd_images_are_shown(site: TestClient) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (30, 20, 3), dtype=np.uint8)
    deep = (np.arange(600).reshape(30, 20) * 100).astype(np.uint16)
    sent(site, {"colour.png": png(colour), "deep.png": png(deep)})
    first, second = finished(site)
    assert first["answer"]["image"]["colour"]
    levels = site.get(f"/api/items/{first['id']}/image/0/0").content
    np.testing.assert_array_equal(np.frombuffer(levels, np.uint8).reshape(30, 20, 3), colour)
    image = second["answer"]["image"]
    stored = np.frombuffer(site.get(f"/api/items/{second['id']}/image/0/0").content, "<u2").astype(float)
    values = image["low"] + stored * (image["high"] - image["low"]) / 65535
    np.testing.assert_allclose(values.reshape(30, 20), deep, atol=1)


def test_masks_are_laid_on_the_image_by_label(
    films: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros(read_image(films[0]).source_shape, np.uint8)
    mask[4:9, 6:20] = 255

    def draw(_, request, __):
        (request.out / "masks").mkdir(parents=True)
        (request.out / "masks" / "0.png").write_bytes(png(mask))
        (request.out / "index.csv").write_text(
            "image_id,path,target,mask,n_pixels,shown\na,a,nodule,masks/0.png,70,yes\n"
        )
        return SegmentResult(request.out, (), None, ())

    monkeypatch.setattr(focusmap, "segment", draw)
    one = Sent(films[0], "a.png", tmp_path)
    show(one)
    room = SimpleNamespace(model=SimpleNamespace(folder=tmp_path), limits=SimpleNamespace(devices="cpu"))
    lesion = {"target": "nodule", "mask": "masks/0.png", "n_pixels": "70", "shown": "yes"}
    assert segment(room, one) == {"lesions": [lesion]}
    np.testing.assert_array_equal(np.load(tmp_path / "mask.npy")[0, 0], mask > 0)
    assert (tmp_path / "masks" / "masks" / "0.png").is_file()


def test_each_frame_of_a_file_is_answered_as_an_image(site: TestClient, films: list[Path], tmp_path: Path) -> None:
    frames = np.stack([read_image(film).pixels[0] for film in films[:3]])
    two = a_dataset(frames[0], bits=8, NumberOfFrames=3)
    two.PixelData = frames.tobytes()
    content = saved(tmp_path, two, "loop.dcm").read_bytes()
    answers = asked(site, "/api/predict", {"loop.dcm": content})
    assert [one["name"] for one in answers] == ["loop.dcm (1)", "loop.dcm (2)", "loop.dcm (3)"]
    alone = asked(site, "/api/predict", {film.name: film.read_bytes() for film in films[:3]})
    assert [one["targets"] for one in answers] == [one["targets"] for one in alone]
    two.NumberOfFrames = MOST_FRAMES + 1
    refused = site.post("/api/predict", files=[("files", ("a.dcm", saved(tmp_path, two, "many.dcm").read_bytes()))])
    assert f"has {MOST_FRAMES + 1} frames" in refused.json()["error"]


@pytest.mark.slow
def test_every_file_of_pydicom_is_answered_or_refused_with_a_reason(site: TestClient) -> None:
    files = sorted((Path(pydicom.data.__file__).parent / "test_files").rglob("*.dcm"))
    answers = {}
    for file in files:
        (*_, answers[file.name]) = asked(site, "/api/predict", {file.name: file.read_bytes()})
    refused = {name: one["refused"] for name, one in answers.items() if "refused" in one}
    assert len(files) - len(refused) >= 55
    for name, reason in refused.items():
        assert name in reason
        assert len(reason) > len(name) + 20
        assert "/" not in reason.replace("images/", "")


SAMPLES = Path(os.environ.get("FOCUSMAP_DATA", "nowhere")) / "io_samples"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="FOCUSMAP_DATA names no folder with io_samples")
def test_files_of_the_world_are_answered_or_refused_with_a_reason(site: TestClient) -> None:
    files = sorted(file for file in SAMPLES.iterdir() if file.is_file())
    answers = {
        one["name"]: one for one in asked(site, "/api/predict", {file.name: file.read_bytes() for file in files})
    }
    # Each frame of a file is an image.
    assert {name.partition(" (")[0] for name in answers} == {file.name for file in files}
    refused = {name: one["refused"] for name, one in answers.items() if "refused" in one}
    assert {name.partition(" (")[0] for name in answers if name not in refused} == {
        "cxr_monochrome1_fake.dcm", "cxr_rsna_cr.dcm", "highdicom_ct_image.dcm", "highdicom_dx_image.dcm",
        "highdicom_sm_image.dcm",
    }  # fmt: skip
    # The one was made of the other, rounded.
    turned, plain = (
        [target["classes"][0]["probability"] for target in answers[name]["targets"]]
        for name in ("cxr_monochrome1_fake.dcm", "cxr_rsna_cr.dcm")
    )
    assert turned == pytest.approx(plain, abs=2e-3)
    for name, reason in refused.items():
        assert reason.startswith(name)
        assert len(reason) > len(name) + 20
        assert "/" not in reason.replace("images/", "")
