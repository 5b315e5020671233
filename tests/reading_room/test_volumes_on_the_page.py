"""Volumes in the room: the slices of a series make one image, shown in three planes with its maps."""

import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")

from fastapi.testclient import TestClient

from focusmap.cli import main
from focusmap.images import read_image
from focusmap.reading_room.desk import Desk
from focusmap.reading_room.site import site_of
from focusmap.verbs.requests import ServeRequest
from support.dicom_files import a_series
from support.options import quick
from support.room_files import zipped
from support.studies import phantom_study

QUICK = quick("small-residual-3d", size=0, more="--batch-size 4 --shape 16,16,16")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    study = phantom_study(folder / "study", patients=12, images=24, size=28, dimensions=3)
    assert main(["train", str(study), "--out", str(folder / "run"), *QUICK]) == 0
    return folder


@pytest.fixture(scope="module")
def site(place: Path) -> Iterator[TestClient]:
    desk = Desk(place / "run", ServeRequest())
    with TestClient(site_of(place / "run", desk), base_url="http://127.0.0.1:8000") as client:
        yield client
    desk.close()


def drawn(site: TestClient, files: list[tuple[str, bytes]]) -> list[dict]:
    assert site.delete("/api/items").status_code == 204
    site.post("/api/items", files=[("files", file) for file in files])
    for _ in range(4800):
        items = site.get("/api/items").json()["items"]
        if all(item["state"] == "refused" or item["maps"]["state"] == "drawn" for item in items):
            return items
        time.sleep(0.05)
    raise AssertionError("not drawn")


def plane(site: TestClient, item: dict, number: int, position: int, what: str = "image") -> np.ndarray:
    shape = [n for axis, n in enumerate(item["answer"]["image"]["shape"]) if axis != number]
    content = site.get(f"/api/items/{item['id']}/{what}/{number}/{position}").content
    kind = "<u2" if what == "image" and item["answer"]["image"]["bits"] == 16 else np.uint8
    return np.frombuffer(content, kind).reshape(shape)


def test_a_volume_is_shown_in_three_planes_with_its_maps(site: TestClient, place: Path) -> None:
    file = sorted((place / "study" / "images").glob("*.nii.gz"))[0]
    (item,) = drawn(site, [(file.name, file.read_bytes())])
    n, _, columns = item["answer"]["image"]["shape"]
    whole = np.stack([plane(site, item, 0, k) for k in range(n)])
    np.testing.assert_array_equal(plane(site, item, 1, 3), whole[:, 3])
    np.testing.assert_array_equal(plane(site, item, 2, 5), whole[:, :, 5])
    assert sorted(whole.shape) == sorted(read_image(file).source_shape)
    assert plane(site, item, 1, 3, "maps/0").shape == (n, columns)
    assert site.get(f"/api/items/{item['id']}/image/0/{n}").status_code == 404


def test_a_series_is_one_image_zipped_or_not_and_what_makes_none_is_told(site: TestClient, tmp_path: Path) -> None:
    files = a_series(tmp_path / "ct", n=6, rows=24, columns=20)
    odd = a_series(tmp_path / "odd", n=5, gap=9, seed=3)
    content = [(file.name, file.read_bytes()) for file in files]
    (loose,) = drawn(site, content)
    (packed,) = drawn(site, [("ct.zip", zipped(dict(content)))])
    assert loose["name"] == packed["name"] == "000.dcm (6)"
    assert loose["answer"]["targets"] == packed["answer"]["targets"]
    assert sorted(loose["answer"]["image"]["shape"]) == [6, 20, 24]
    assert sorted(np.round(loose["answer"]["image"]["size"], 3)) == [0.7, 0.9, 2.5]
    refused = [
        item for item in drawn(site, [(file.name, file.read_bytes()) for file in odd]) if item["state"] == "refused"
    ]
    assert len(refused) == 1
    assert "uneven" in refused[0]["reason"]


def test_windows_are_in_the_units_of_the_modality(site: TestClient, tmp_path: Path) -> None:
    values = np.linspace(-1000, 1000, 20 * 22 * 24).reshape(20, 22, 24).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / "ct.nii.gz")
    (item,) = drawn(site, [("ct.nii.gz", (tmp_path / "ct.nii.gz").read_bytes())])
    image = item["answer"]["image"]
    assert (image["low"], image["high"]) == (-1000, 1000)
    assert -1000 < image["window"][0] < image["window"][1] < 1000
    level = plane(site, item, 0, 0).astype(float)
    assert level.min() * 2000 / 65535 - 1000 == pytest.approx(values[:, :, 0].min(), abs=1)
