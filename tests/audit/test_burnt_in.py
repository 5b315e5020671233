"""Letters and calipers that are burnt in are found with their boxes, and tissue alone is not taken for them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont

from focusmap.audit.burnt_in import marks_in
from focusmap.cli import main
from support.audited import textures

SIDE = 256


def tissue(seed: int) -> np.ndarray:
    """Smooth grey fields with speckle, of 256 x 256."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(size=(12, 12)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    speckle = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)).astype(np.float32), (5, 5), 1.2)
    return np.clip(90 + 30 * coarse + 25 * speckle, 0, 200).astype(np.uint8)


def lettered(image: np.ndarray, text: str, place: tuple[int, int], size: int = 14) -> np.ndarray:
    written = Image.fromarray(image)
    ImageDraw.Draw(written).text(place, text, 255, ImageFont.load_default(size))
    return np.asarray(written)


@pytest.mark.parametrize("seed", range(10))
def test_tissue_alone_has_no_marks(seed: int) -> None:
    assert marks_in(tissue(seed)) == ()


@pytest.mark.parametrize("place", [(10, 8), (60, 120), (20, 235)])
def test_a_line_of_text_is_found_where_it_stands(place: tuple[int, int]) -> None:
    found = 0
    for seed in range(10):
        image = tissue(seed)
        image[max(place[1] - 6, 0) : place[1] + 24, :] //= 3
        boxes = [mark.box for mark in marks_in(lettered(image, "MAMA DIREITA 12", place)) if mark.kind == "text"]
        within = [box for box in boxes if abs(box[0] * SIDE - place[1]) < 12 and box[1] * SIDE >= place[0] - 4]
        found += bool(within)
    assert found >= 9


@pytest.mark.parametrize("arm", [3, 4, 5])
def test_calipers_are_found(arm: int) -> None:
    for seed in range(5):
        image = tissue(seed) // 2
        for row, column in ((80, 90), (140, 170)):
            image[row - arm : row + arm + 1, column] = image[row, column - arm : column + arm + 1] = 230
        found = [mark for mark in marks_in(image) if mark.kind == "caliper"]
        centres = {(round((m.box[0] + m.box[2]) / 2 * SIDE), round((m.box[1] + m.box[3]) / 2 * SIDE)) for m in found}
        assert all(any(abs(a - r) < 3 and abs(b - c) < 3 for a, b in centres) for r, c in ((80, 90), (140, 170)))


def test_a_side_marker_on_black_is_found_and_small_images_are_left_alone() -> None:
    film = np.full((384, 384), 20, np.uint8)
    film[60:330, 60:330] = 120
    marked = lettered(film, "L", (345, 20), 28)
    assert [mark.kind for mark in marks_in(marked)] == ["marker"]
    assert marks_in(film) == ()
    assert marks_in(np.full((28, 28), 255, np.uint8)) == ()


def test_the_audit_lists_them_with_crops(tmp_path: Path) -> None:
    dark = [np.pad(image // 2, ((0, 64), (0, 64))) for image in textures(12, size=192)]
    images = [lettered(image, "NAME 1950", (20, 215)) if k < 5 else image for k, image in enumerate(dark)]
    for k, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{k:02d}.png")
    names = [f"{k:02d}.png" for k in range(12)]
    pd.DataFrame({"path": names, "label": ["a", "b"] * 6}).to_csv(tmp_path / "labels.csv", index=False)
    assert main(["audit", str(tmp_path / "labels.csv"), "--patient", "none", "--out", str(tmp_path / "audit")]) == 0
    audit = json.loads((tmp_path / "audit/audit.json").read_text())
    (item,) = [one for one in audit["findings"] if one["name"] == "burnt-in-marks"]
    assert (item["severity"], item["count"], item["examples"]) == ("note", 5, names[:5])
    assert {mark["image_id"] for mark in audit["overview"]["marks"]} == set(names[:5])
    assert (tmp_path / "audit/audit/marks.png").is_file()
    assert "Text, calipers and side markers burnt in" in (tmp_path / "audit/audit.html").read_text()
