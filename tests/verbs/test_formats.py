"""Proves that a packed set and a crop go all the way: converted, trained, explained in the image's own grid."""

import gzip
import json

import cv2
import numpy as np
import pandas as pd
import pytest

from focusmap.cli import main
from focusmap.images import read_image, read_map, read_mask
from support.options import QUICK
from support.studies import phantom_study


def test_a_colour_set_goes_all_the_way_with_a_crop(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 24), ("val", 8), ("test", 8)):
        labels = np.arange(n) % 2
        images = rng.integers(0, 90, (n, 28, 28, 3), dtype=np.uint8)
        images[labels == 1, 8:16, 4:10, 0] += 120
        arrays |= {f"{split}_images": images, f"{split}_labels": labels[:, np.newaxis]}
    np.savez_compressed(tmp_path / "set.npz", **arrays)
    out, run = tmp_path / "set", tmp_path / "run"
    assert main(["convert", str(tmp_path / "set.npz"), "--out", str(out)]) == 0
    (tmp_path / "recipe.yaml").write_text("crop: left-half\n")
    recipe = ["--recipe", str(tmp_path / "recipe.yaml"), "--patient", "none"]
    assert main(["train", str(out / "labels.csv"), "--out", str(run), *recipe, *QUICK]) == 0
    assert json.loads((run / "model/model.json").read_text())["preparation"]["crop"] == "left-half"
    image = str(out / "images/test_00001.png")
    assert main(["explain", str(run), image, "--out", str(tmp_path / "maps")]) == 0
    index = pd.read_csv(tmp_path / "maps/index.csv")
    heat_map = read_map(tmp_path / "maps" / index["map"][0])
    assert heat_map.shape == (28, 28)
    assert heat_map[:, :14].any()
    assert not heat_map[:, 14:].any()


@pytest.mark.parametrize("crop", ["lefthalf", "0.2,0.1", "0.9,0,0.1,1"])
def test_a_crop_that_is_none_is_named(tmp_path, capsys, crop):
    labels = phantom_study(tmp_path)
    (tmp_path / "recipe.yaml").write_text(f"crop: '{crop}'\n")
    recipe = ["--recipe", str(tmp_path / "recipe.yaml")]
    assert main(["train", str(labels), "--out", str(tmp_path / "run"), *recipe, *QUICK]) == 2
    said = capsys.readouterr().err
    assert f"recipe.yaml: crop '{crop}'" in said
    assert not (tmp_path / "run").exists()


@pytest.fixture
def pair(tmp_path):
    """An image with a mask, and its label file."""
    plane = np.arange(10 * 13, dtype=np.uint16).reshape(10, 13) * 300
    mask = (np.indices(plane.shape)[1] >= 9) * np.uint8(255)
    for name, pixels in (("a.png", plane), ("a_mask.png", mask)):
        cv2.imwrite(str(tmp_path / name), pixels)
    (tmp_path / "labels.csv").write_text("image,patient_id,mask,knee\na.png,p1,a_mask.png,1\n")
    return tmp_path / "labels.csv", plane, mask > 0


def test_parts_become_views_of_a_case(pair, tmp_path):
    labels, plane, mask = pair
    out = tmp_path / "out"
    assert main(["convert", str(labels), "--parts", "left-half,right-half", "--out", str(out)]) == 0
    table = pd.read_csv(out / "labels.csv", dtype=str)
    assert list(table["view"]) == ["left-half", "right-half"]
    assert set(table["case"]) == {"a.png"}
    assert set(table["patient_id"]) == {"p1"}
    assert set(table["knee"]) == {"1"}
    halves = [read_image(out / path).pixels[0] for path in table["path"]]
    assert np.array_equal(np.hstack(halves), plane)
    assert np.array_equal(np.hstack([read_mask(out / path) for path in table["mask"]]), mask)


def test_a_box_of_ones_own_is_a_view_with_a_name(pair, tmp_path):
    labels, plane, mask = pair
    out = tmp_path / "out"
    assert main(["convert", str(labels), "--parts", "scan=0.2,0.5,0.8,1; top-half", "--out", str(out)]) == 0
    table = pd.read_csv(out / "labels.csv", dtype=str)
    assert list(table["view"]) == ["scan", "top-half"]
    found = read_image(out / table["path"][0]).pixels[0]
    assert np.array_equal(found, plane[2:8, 13 - found.shape[1] :])
    assert found.shape[1] in (6, 7)
    assert np.array_equal(read_mask(out / table["mask"][0]), mask[2:8, 13 - found.shape[1] :])


def test_a_files_own_views_and_cases_stay(pair, tmp_path):
    labels, out = pair[0], tmp_path / "out"
    labels.write_text("image,case,view\na.png,eye1,pre\n")
    assert main(["convert", str(labels), "--parts", "left-half,right-half", "--out", str(out)]) == 0
    table = pd.read_csv(out / "labels.csv", dtype=str)
    assert list(table["view"]) == ["pre left-half", "pre right-half"]
    assert list(table["case"]) == ["eye1", "eye1"]


def test_bad_parts_are_one_message(pair, tmp_path, capsys):
    labels = pair[0]

    def refused(parts, text=None):
        if text:
            labels.write_text(text)
        assert main(["convert", str(labels), "--parts", parts, "--out", str(tmp_path / "out")]) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "Did you mean 'left-half'" in refused("left-haf")
    assert "NAME=TOP,LEFT,BOTTOM,RIGHT was expected" in refused("a/b=0,0,1,0.5")
    assert "shares that rise from 0 to 1" in refused("scan=0,0.5,1,0.4")
    assert "have one name" in refused("scan=0,0,1,0.5;scan=0,0.5,1,1")
    assert "none of the columns path" in refused("left-half", "knee\n1\n")
    assert "leaves the label file's folder" in refused("left-half", "path\n../a.png\n")
    assert "no such file" in refused("left-half", "path\nb.png\n")


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"path,label\na.png,1\n" * 99)[:-30], b"path,label\n", b"\x1f\x8b\x08"],
    ids=["cut short", "not packed", "a header alone"],
)
@pytest.mark.parametrize("command", ["audit", "run", "prepare"])
def test_a_damaged_packed_label_file_is_one_message(tmp_path, capsys, command, content):
    labels = tmp_path / "labels.csv.gz"
    labels.write_bytes(content)
    assert main([command, str(labels), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "labels.csv.gz: is damaged" in said
    assert said.count("\n") == 1
    assert main([command, str(tmp_path / "none.csv.gz"), "--out", str(tmp_path / "out")]) == 2
    assert "none.csv.gz: no such file" in capsys.readouterr().err


def test_a_packed_label_file_that_inflates_without_measure_is_refused(tmp_path, capsys, monkeypatch):
    from focusmap.basics import tables

    monkeypatch.setattr(tables, "MAX_TABLE_BYTES", 2**20)
    labels = tmp_path / "labels.csv.gz"
    labels.write_bytes(gzip.compress(b"path,label\n" + b"a.png,1\n" * 2**18))
    assert main(["audit", str(labels), "--out", str(tmp_path / "out")]) == 2
    assert "inflates to more than 1 MiB" in capsys.readouterr().err


def test_what_is_no_packed_set_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name in ("none.npz", "empty"):
        assert main(["convert", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "no such file" in said
    assert "MedMNIST (.npz)" in said
    assert not (tmp_path / "out").exists()
