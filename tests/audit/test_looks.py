"""What an audit has looked at before it was stopped is not looked at again, and comes back as it was seen."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from focusmap.audit import looks
from focusmap.audit.findings import AuditOptions
from focusmap.audit.images import look_at_all
from focusmap.audit.looks import Look, look_at, look_through
from focusmap.cli import main
from focusmap.images import raised_budget
from support.audited import textures
from support.dicom_files import a_dataset, saved


def images_in(folder: Path, n: int) -> list[Path]:
    files = [folder / f"{k:03d}.png" for k in range(n)]
    for file, image in zip(files, textures(n), strict=True):
        cv2.imwrite(str(file), image)
    return files


def plain(found: list[Look]) -> list[object]:
    arrays = [[None if array is None else array.tolist() for array in (one.thumbnail, one.corners)] for one in found]
    return [arrays, [replace(one, thumbnail=None, corners=None) for one in found], [one.notes for one in found]]


def test_looks_come_back_as_they_were(tmp_path: Path) -> None:
    owner = a_dataset(textures(1)[0].astype(np.uint16), PatientID="Jürgen\udcff")
    saved(tmp_path, owner, "film.dcm")
    cv2.imwrite(str(tmp_path / "note.tif"), np.where(textures(1)[0] > 200, np.nan, textures(1)[0]).astype(np.float32))
    (tmp_path / "broken.png").write_bytes(b"no image")
    lettered = cv2.putText(np.zeros((256, 256), np.uint8), "PATIENT 17", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 1, 255, 2)
    cv2.imwrite(str(tmp_path / "lettered.png"), lettered)
    share = [(tmp_path / name, True) for name in ("film.dcm", "note.tif", "broken.png", "lettered.png")]
    seen = list(look_through(share, tmp_path / "kept"))
    assert seen[0].metadata.owner[0]
    assert seen[1].notes
    assert seen[2].reason
    assert seen[3].marks
    (file,) = (tmp_path / "kept").iterdir()
    assert plain(list(look_through(share, tmp_path / "kept"))) == plain(seen)
    file.write_text("[]")
    assert list(look_through(share, tmp_path / "kept")) == [], "they are not taken again"
    with raised_budget(2):
        assert len(list(look_through(share, tmp_path / "kept"))) == 4, "what could not be read may be read now"


def test_an_audit_that_was_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, looked = images_in(tmp_path, 100), list[Path]()

    def stopping(file: Path, is_searched: bool = False) -> Look:
        looked.append(file)
        if len(looked) == 70:
            raise KeyboardInterrupt
        return look_at(file, is_searched)

    monkeypatch.setattr(looks, "look_at", stopping)
    options = AuditOptions(workers=1, kept=tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        look_at_all(files, options)
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0, "headers name patients"
    cv2.imwrite(str(files[40]), textures(101)[100])
    found = look_at_all(files, options)
    assert looked[70:] == files[32:], "of the share that has changed and those that were not whole"
    assert plain(list(found.looks)) == plain(list(look_at_all(files, AuditOptions(workers=1)).looks))


def test_nothing_is_kept_of_an_audit_that_is_written(tmp_path: Path) -> None:
    files = images_in(tmp_path, 12)
    table = pd.DataFrame({"path": [file.name for file in files], "label": ["a", "b"] * 6})
    table.to_csv(tmp_path / "labels.csv", index=False)
    assert main(["audit", str(tmp_path / "labels.csv"), "--patient", "none", "--out", str(tmp_path / "audit")]) == 0
    assert (tmp_path / "audit/audit.json").is_file()
    assert not [path for path in (tmp_path / "audit").iterdir() if path.name.startswith(".")]
