"""A real archive (Orthanc with its DICOMweb plug-in): send, query, fetch, and a station that answers what it gets."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pynetdicom", reason="the extra pacs is not installed")
pytest.importorskip("highdicom", reason="the extra dicom is not installed")

import highdicom
from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE, StoragePresentationContexts

from focusmap.cli import main
from focusmap.dicom.archive import Archive, ArchiveError
from support.dicom_files import a_dataset, a_series, saved
from support.options import QUICK
from support.pages import ROOT
from support.studies import phantom_study

pytestmark = pytest.mark.slow

ORTHANC = shutil.which("Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
needs_orthanc = pytest.mark.skipif(
    ORTHANC is None or not PLUGIN.exists(), reason="no Orthanc here: apt-get install orthanc orthanc-dicomweb"
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    place, http, dicom = tmp_path_factory.mktemp("orthanc"), free_port(), free_port()
    # That of `make pacs`, elsewhere.
    settings = json.loads((ROOT / "docs/orthanc.json").read_text())
    settings |= {"StorageDirectory": str(place / "db"), "HttpPort": http, "DicomPort": dicom, "Plugins": [str(PLUGIN)]}
    (place / "orthanc.json").write_text(json.dumps(settings))
    with (place / "log").open("w") as log:
        server = subprocess.Popen([str(ORTHANC), str(place / "orthanc.json")], stdout=log, stderr=log)
    for _ in range(1200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{http}/dicom-web/studies", timeout=2)
            break
        except OSError:
            assert server.poll() is None, (place / "log").read_text()[-2000:]
            time.sleep(0.1)
    yield Archive(f"http://127.0.0.1:{http}/dicom-web")
    server.terminate()
    server.wait(timeout=120)


def objects_of(archive: Archive, study: str, place: Path) -> list[Path]:
    return archive.fetch(study, place / generate_uid())


@needs_orthanc
def test_what_is_sent_is_found_fetched_and_not_stored_twice(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_series(tmp_path / "ct", n=3, seed=1)
    study = str(dcmread(tmp_path / "ct" / "000.dcm").StudyInstanceUID)
    for expected in ("3 of 3", "0 of 3"):
        assert main(["dicom", "send", str(tmp_path / "ct"), "--server", archive.url]) == 0
        assert f"read back: {expected}" in capsys.readouterr().out
    assert main(["dicom", "query", "--server", archive.url, "--where", "PatientID=ID-4711"]) == 0
    assert study in capsys.readouterr().out
    assert main(["dicom", "query", "--server", archive.url, "--where", "PatientID=nobody"]) == 0
    assert study not in capsys.readouterr().out
    assert main(["dicom", "fetch", "--server", archive.url, "--study", study, "--out", str(tmp_path / "got")]) == 0
    fetched = sorted(dcmread(file).PixelData for file in (tmp_path / "got").glob("*.dcm"))
    assert fetched == sorted(dcmread(file).PixelData for file in (tmp_path / "ct").glob("*.dcm"))


@needs_orthanc
def test_a_study_or_an_archive_that_is_not_there_is_told(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError):
        archive.fetch("1.2.3.4.5", tmp_path)
    with pytest.raises(ArchiveError, match="does not answer"):
        Archive(f"http://127.0.0.1:{free_port()}/dicom-web").query({})
    assert main(["dicom", "query", "--server", "pacs"]) == 2
    assert main(["dicom", "send", str(tmp_path)]) == 2


def test_an_archive_that_lies_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dicomweb_client.api import DICOMwebClient
    from requests import HTTPError, Response

    missing = Response()
    missing.status_code = 404

    def absent(*_):
        raise HTTPError(response=missing)

    monkeypatch.setattr(DICOMwebClient, "store_instances", lambda *_: None)
    monkeypatch.setattr(DICOMwebClient, "retrieve_instance", absent)
    film = dcmread(saved(tmp_path, a_dataset(StudyInstanceUID="1.2", SeriesInstanceUID="1.3")))
    with pytest.raises(ArchiveError, match="said that it stored"):
        Archive("http://127.0.0.1:1/dicom-web").send(film)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("station")
    study = phantom_study(place / "study", patients=16, images=48)
    assert main(["train", str(study), "--out", str(place / "run"), *QUICK]) == 0
    return place / "run"


def push(port: int, files: list[Path]) -> None:
    """Send files by C-STORE: with dcmtk's storescu where it is here."""
    if storescu := shutil.which("storescu"):
        subprocess.run([storescu, "127.0.0.1", str(port), *map(str, files)], check=True)
        return
    sender = AE()
    sender.requested_contexts = StoragePresentationContexts[:128]
    link = sender.associate("127.0.0.1", port)
    assert link.is_established
    assert all(link.send_c_store(dcmread(file)).Status == 0 for file in files)
    link.release()


@needs_orthanc
def test_a_station_answers_what_it_is_sent_with_the_numbers_of_predict(
    archive: Archive, run: Path, tmp_path: Path
) -> None:
    ct = a_series(tmp_path / "ct", n=3, seed=2)
    film = saved(tmp_path, a_dataset(
        Modality="DX", StudyInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid(), PatientID="p2",
        SOPInstanceUID=generate_uid(),
    ), "film.dcm")  # fmt: skip
    port = free_port()
    command = [sys.executable, "-m", "focusmap", "dicom", "watch", "--model", str(run), "--listen", str(port),
               "--send-to", archive.url, "--quiet", "5", "--queue", str(tmp_path / "queue"), "--kind", "sr",
               "--kind", "map"]  # fmt: skip
    station = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert station.stdout is not None
    assert "listening" in station.stdout.readline()
    push(port, [*ct, film])
    said = [station.stdout.readline(), station.stdout.readline()]
    station.terminate()
    station.wait(timeout=120)
    assert all("stored and read back" in line for line in said)
    assert "ID-4711" not in "".join(said)
    assert main(["predict", str(run), *map(str, ct), str(film), "--out", str(tmp_path / "p.csv")]) == 0
    expected = pd.read_csv(tmp_path / "p.csv").set_index("path")["nodule"]
    base = os.path.commonpath([image.parent for image in (*ct, film)])
    for study, images in ((dcmread(ct[0]).StudyInstanceUID, ct), (dcmread(film).StudyInstanceUID, [film])):
        made = [dcmread(file) for file in objects_of(archive, str(study), tmp_path)]
        reports = [highdicom.sr.ComprehensiveSR.from_dataset(one) for one in made if one.Modality == "SR"]
        found = [one.content.get_image_measurement_groups()[0].get_measurements()[0].value for one in reports]
        np.testing.assert_allclose(
            sorted(found), sorted(expected[str(image.relative_to(base))] for image in images), atol=1e-5
        )
        assert sum("FloatPixelData" in one for one in made) == 3 * len(images)


@needs_orthanc
def test_a_station_finds_what_an_archive_has_and_answers_it_there(archive: Archive, run: Path, tmp_path: Path) -> None:
    film = a_dataset(
        Modality="DX", StudyInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid(), PatientID="p3",
        SOPInstanceUID=generate_uid(), StudyDate=f"{date.today():%Y%m%d}",
    )  # fmt: skip
    archive.send(dcmread(saved(tmp_path, film)))
    command = [sys.executable, "-m", "focusmap", "dicom", "watch", "--model", str(run), "--listen", str(free_port()),
               "--server", archive.url, "--send-to", archive.url, "--every", "1", "--quiet", "1", "--where",
               "PatientID=p3", "--queue", str(tmp_path / "queue"), "--kind", "sr"]  # fmt: skip
    station = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert station.stdout is not None
    said = [station.stdout.readline() for _ in range(3)]
    time.sleep(4)  # nothing that it made itself may arrive again
    station.terminate()
    rest = station.communicate(timeout=120)[0]
    assert "job 1: 1 object stored and read back" in said[2]
    assert "job 2" not in rest
    made = [dcmread(file) for file in objects_of(archive, str(film.StudyInstanceUID), tmp_path)]
    assert sorted(one.Modality for one in made) == ["DX", "SR"]


def test_others_are_refused_a_station_that_names_no_caller(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["dicom", "watch", "--model", str(run), "--send-to", "http://pacs/dicom-web", "--host", "0.0.0.0"]
    assert main([*asked, "--listen", str(free_port())]) == 2
    assert "--caller" in capsys.readouterr().err
