"""The jobs of a station: wherever it is killed none is lost and none answered twice; failures wait, then are parked."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from focusmap.basics import UnreadableImageError
from focusmap.dicom import jobs as jobs_module
from focusmap.dicom.archive import ArchiveError
from focusmap.dicom.jobs import MOST_ATTEMPTS, Jobs
from focusmap.dicom.watch import Lookout, Station
from support.dicom_files import a_dataset, saved

IMAGES = {"1.1": "1", "1.2": "1", "2.1": "2"}


class Folder:
    """An archive that is a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def send(self, dataset) -> bool:
        file = self.folder / f"{dataset.SOPInstanceUID}.dcm"
        if file.exists():
            return False
        dataset.save_as(file, enforce_file_format=True)
        return True


def make(images: list[Path], out: Path) -> None:
    """Write an object of each image, with a UID that nobody had before."""
    out.mkdir(parents=True)
    for image in images:
        uid = generate_uid()
        saved(out, a_dataset(SOPInstanceUID=uid, StudyInstanceUID="1", ImageComments=image.stem), f"{uid}.dcm")


def station(place: Path, quiet: float = 0.0, **changes) -> Station:
    parts = {"make": make, "store": Folder(place / "archive"), "say": lambda _: None} | changes
    return Station(Jobs(place / "queue", quiet), **parts)


def work(place: Path) -> None:
    """Send all images, as a sender does that was not told that they arrived, and go on until nothing is left."""
    working = station(place)
    for uid, study in IMAGES.items():
        working.jobs.receive(uid, study, b"image")
    for _ in range(3):
        working.step()


def answered(place: Path) -> list[str]:
    return sorted(str(dcmread(file).ImageComments) for file in (place / "archive").glob("*.dcm"))


def killed_at(place: Path, point: int) -> bool:
    """Return whether a process that does the work was killed at its point number `point`; of fewer it has none."""
    place.mkdir()
    child = os.fork()
    if child == 0:
        passed = 0

        def deadly(function: Callable) -> Callable:
            def called(*given, **named):
                nonlocal passed
                for moment in ("before", "after"):
                    passed += 1
                    if passed == point:
                        os.kill(os.getpid(), signal.SIGKILL)
                    if moment == "before":
                        found = function(*given, **named)
                return found

            return called

        for owner, name in (
            (Path, "replace"), (Path, "unlink"), (Path, "mkdir"), (shutil, "rmtree"), (os, "fsync"), (Folder, "send"),
            (Jobs, "_set"), (Jobs, "collect"), (Jobs, "begin"), (jobs_module.time, "time"),
        ):  # fmt: skip
            setattr(owner, name, deadly(getattr(owner, name)))
        try:
            work(place)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.slow
def test_wherever_it_is_killed_each_image_is_answered_once(tmp_path: Path) -> None:
    point, step = 1, 4
    while killed_at(place := tmp_path / f"at{point}", point):
        work(place)
        assert answered(place) == sorted(IMAGES), point
        assert not list((place / "queue" / "images").glob("*.dcm"))
        point += step
    assert point > 10 * step


def test_a_study_is_complete_when_it_is_quiet_and_later_images_are_a_job_of_their_own(tmp_path, monkeypatch) -> None:
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)
    (tmp_path / "queue").mkdir()
    working = station(tmp_path, quiet=5.0)
    working.jobs.receive("1.1", "1", b"image")
    assert working.step() == 0
    assert answered(tmp_path) == []
    monkeypatch.setattr("time.time", lambda: now + 6)
    assert working.step() == 1
    assert not working.jobs.receive("1.1", "1", b"image")
    assert working.jobs.receive("1.2", "1", b"image")
    assert working.step() == 0
    monkeypatch.setattr("time.time", lambda: now + 12)
    assert working.step() == 1
    assert answered(tmp_path) == ["1.1", "1.2"]


class Broken(Folder):
    def send(self, _) -> bool:
        raise ArchiveError("http://pacs: does not answer (ConnectionError).")


def test_an_archive_that_does_not_answer_is_tried_again_later_and_then_parked(tmp_path, monkeypatch) -> None:
    said: list[str] = []
    working = station(tmp_path, store=Broken(tmp_path / "archive"), say=said.append)
    working.jobs.receive("1.1", "1", b"image")
    now = time.time()
    for k in range(MOST_ATTEMPTS):
        assert [job.state for job in working.jobs.due()] in ([], ["sending"])
        monkeypatch.setattr("time.time", lambda k=k: now + 4000.0 * (k + 1))
        working.step()
        assert working.jobs.due() == []
    (parked,) = working.jobs.parked()
    assert "does not answer" in parked.reason
    assert "tried again" in said[0]
    assert "parked" in said[-1]


def test_what_cannot_be_read_is_parked_at_once_and_named_without_a_patient(tmp_path: Path) -> None:
    said: list[str] = []

    def unreadable(images: list[Path], out: Path) -> None:
        raise UnreadableImageError(f"{images[0]}: is no image of 1.2.840.113619.2.55.3.604688119.971")

    working = station(tmp_path, make=unreadable, say=said.append)
    working.jobs.receive("1.1", "1", b"image")
    working.jobs.receive("2.1", "2", b"image")
    working.step()
    assert len(working.jobs.parked()) == 2
    assert said[0].startswith("job 1: parked: …")
    assert "604688119" not in said[0]


def test_a_study_that_ends_the_station_is_parked_in_the_end(tmp_path: Path) -> None:
    def deadly(images: list[Path], out: Path) -> None:
        raise MemoryError

    working = station(tmp_path, make=deadly)
    working.jobs.receive("1.1", "1", b"image")
    for _ in range(12):
        with pytest.raises(MemoryError):
            working.step()
    working.step()
    assert "ended the station" in working.jobs.parked()[0].reason


class Shelves:
    """An archive of one study, which answers when it is on."""

    def __init__(self, *datasets) -> None:
        self.datasets = {str(one.SOPInstanceUID): one for one in datasets}
        self.is_on, self.asked, self.given = True, {}, 0

    def query(self, filters) -> list[dict[str, str]]:
        if not self.is_on:
            raise ArchiveError("does not answer")
        self.asked = filters
        return [{"StudyInstanceUID": "1.5"}]

    def instances(self, _study: str) -> list[tuple[str, str]]:
        return [("1.6", uid) for uid in self.datasets]

    def instance(self, _study: str, _series: str, uid: str):
        self.given += 1
        return self.datasets[uid]


def test_images_of_an_archive_arrive_once_and_what_was_made_here_does_not(tmp_path: Path) -> None:
    film, own = a_dataset(SOPInstanceUID="1.7"), a_dataset(SOPInstanceUID="1.8", Manufacturer="focusmap")
    shelves, said = Shelves(film, own), []
    lookout = Lookout(Jobs(tmp_path, 0.0), shelves, {"ModalitiesInStudy": "DX"}, 0.0, said.append)
    assert [lookout.step(), lookout.step()] == [1, 0]
    assert shelves.given == 2
    assert set(shelves.asked) == {"StudyDate", "ModalitiesInStudy"}
    working = Station(lookout.jobs, make, Folder(tmp_path / "archive"), said.append)
    assert (working.step(), working.step(), lookout.step()) == (1, 0, 0)
    assert len(list((tmp_path / "archive").iterdir())) == 1
    assert dcmread(next((tmp_path / "archive").iterdir())).ImageComments == "1.7"


def test_an_archive_that_does_not_answer_is_asked_less_often(tmp_path: Path, monkeypatch) -> None:
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)
    shelves, said = Shelves(a_dataset(SOPInstanceUID="1.7")), []
    lookout = Lookout(Jobs(tmp_path, 0.0), shelves, {}, 10.0, said.append)
    shelves.is_on = False
    assert lookout.step() == 0
    assert said == ["looking for studies: does not answer"]
    assert lookout.not_before - now == pytest.approx(20)
    shelves.is_on, lookout.not_before = True, 0.0
    assert lookout.step() == 1
    assert lookout.not_before - now == pytest.approx(10)
