"""A station of an archive: studies arrive by C-STORE, are answered when complete, and their objects go back."""

import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from focusmap.basics import FocusmapError, InputError
from focusmap.dicom.archive import ArchiveError
from focusmap.dicom.jobs import LONGEST_WAIT, Job, Jobs
from focusmap.dicom.sources import MAKER, NO_IMAGES

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from focusmap.dicom.answering import Answering

TITLE = "FOCUSMAP"
UID = re.compile(r"[0-9.]{1,64}")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Status of C-STORE (PS3.4 B.2.3).
STORED, OUT_OF_RESOURCES, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
LEAST_FREE_BYTES = 2**30
SECONDS_BETWEEN_LOOKS = 0.5
# A study that ends the station so often must not hold up the others for ever.
MOST_BEGINNINGS = 12
Say = Callable[[str], object]


class Store(Protocol):
    """Where objects go."""

    def send(self, dataset: "Dataset") -> bool:
        """Store an object that is not there yet; return whether it was new."""


@dataclass(frozen=True)
class Station:
    """What is done with studies that arrived.

    Parameters
    ----------
    jobs
        What arrived, on disk.
    make
        Makes the objects of some images in a folder.
    store
        Where they go.
    say
        Told what happens, of jobs by their number: no patient and no UID.
    """

    jobs: Jobs
    make: Callable[[list[Path], Path], object]
    store: Store
    say: Say

    def step(self) -> int:
        """Go on with every job that is due, and return how many became done."""
        self.jobs.collect()
        return sum(self._advance(job) for job in self.jobs.due())

    def _advance(self, job: Job) -> bool:
        try:
            if job.state == "answering":
                if self.jobs.begin(job) > MOST_BEGINNINGS:
                    raise InputError("ended the station whenever it was answered")
                self.jobs.answer(job, self.make)
                job = replace(job, state="sending", attempts=0)
            n_sent = self._send(job)
        except ArchiveError as error:
            self._tell(job, str(error), again=True)
            return False
        except FocusmapError as error:
            self._tell(job, str(error), again=False)
            return False
        except OSError as error:
            self._tell(job, error.strerror or type(error).__name__, again=True)
            return False
        self.jobs.finish(job)
        self.say(f"job {job.number}: {n_sent} object{'s' * (n_sent != 1)} stored and read back")
        return True

    def _send(self, job: Job) -> int:
        from pydicom import dcmread

        files = sorted(self.jobs.objects(job).rglob("*.dcm"))
        for file in files:
            self.store.send(dcmread(file))
        return len(files)

    def _tell(self, job: Job, reason: str, *, again: bool) -> None:
        plain = re.sub(r"[0-9.]{20,}|\S*/\S*\.(?:dcm|nii\.gz)", "…", reason)
        is_parked = self.jobs.fail(job, plain, again=again)
        self.say(f"job {job.number}: {'parked' if is_parked else 'will be tried again'}: {plain}")


class Shelves(Protocol):
    """An archive that is looked through."""

    def query(self, filters: Mapping[str, str]) -> list[dict[str, str]]:
        """Return the studies that fit."""

    def instances(self, study: str) -> list[tuple[str, str]]:
        """Return series and UID of every object of a study."""

    def instance(self, study: str, series: str, uid: str) -> "Dataset":
        """Return one object."""


@dataclass
class Lookout:
    """Looks through an archive for images that have not arrived, now and then; what does not answer less often.

    Parameters
    ----------
    jobs
        Where images arrive.
    archive, filters
        Where is looked, and what studies have; without a date those of yesterday and today.
    every
        Seconds between two looks.
    say
        Told when the archive does not answer.
    """

    jobs: Jobs
    archive: Shelves
    filters: Mapping[str, str]
    every: float
    say: Say
    not_before: float = 0.0
    failures: int = 0
    # No images, or made here: they are looked at once.
    left: set[str] = field(default_factory=set)

    def step(self) -> int:
        """Look, if it is time to; return how many images arrived."""
        if time.time() < self.not_before:
            return 0
        try:
            n_new, self.failures = self.look(), 0
        except ArchiveError as error:
            n_new, self.failures = 0, self.failures + 1
            self.say(f"looking for studies: {error}")
        self.not_before = time.time() + min(self.every * 2**self.failures, LONGEST_WAIT)
        return n_new

    def look(self) -> int:
        """Take every image that has not arrived; return how many there were."""
        today = date.today()
        recent = {"StudyDate": f"{today - timedelta(days=1):%Y%m%d}-{today:%Y%m%d}"}
        studies = [study["StudyInstanceUID"] for study in self.archive.query({**recent, **self.filters})]
        return sum(
            self._take(study, series, uid)
            for study in studies
            for series, uid in self.archive.instances(study)
            if UID.fullmatch(uid) and UID.fullmatch(study) and uid not in self.left and not self.jobs.knows(uid)
        )

    def _take(self, study: str, series: str, uid: str) -> bool:
        if shutil.disk_usage(self.jobs.folder).free < LEAST_FREE_BYTES:
            raise ArchiveError("the disk is full; images are left where they are.")
        dataset, content = self.archive.instance(study, series, uid), BytesIO()
        if "Rows" not in dataset or dataset.get("Manufacturer") == MAKER or dataset.get("Modality") in NO_IMAGES:
            self.left.add(uid)
            return False
        dataset.save_as(content, enforce_file_format=True)
        return self.jobs.receive(uid, study, content.getvalue())


def maker(answering: "Answering") -> Callable[[list[Path], Path], object]:
    """Return what makes the objects of a study's images."""

    def make(images: list[Path], out: Path) -> None:
        from focusmap.dicom.answering import write_objects

        place = out.with_name(f"{out.name}.images")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        try:
            for image in images:
                os.link(image, place / image.name)
            write_objects(answering, [place], out)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    return make


def listen(jobs: Jobs, address: tuple[str, int], callers: Sequence[str]) -> Any:
    """Return a running server that stores what is sent to it by C-STORE, and answers C-ECHO.

    Raises
    ------
    InputError
        If others could reach the address and no caller is named, or the port is taken.
    """
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import Verification

    if address[0] not in LOOPBACK and not callers:
        raise InputError(f"--host {address[0]}: others can reach this address. Name who may send: --caller AE_TITLE.")
    station = AE(ae_title=TITLE)
    for context in AllStoragePresentationContexts:
        station.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
    station.add_supported_context(Verification)
    station.require_called_aet = False
    station.require_calling_aet = list(callers)
    try:
        return station.start_server(
            address, block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: _received(event, jobs))]
        )
    except OSError as error:
        raise InputError(f"--listen {address[1]}: {error.strerror}. Choose another port.") from None


def _received(event: Any, jobs: Jobs) -> int:
    uid, study = str(event.request.AffectedSOPInstanceUID), str(event.dataset.get("StudyInstanceUID", ""))
    if not (UID.fullmatch(uid) and UID.fullmatch(study)):
        return NOT_UNDERSTOOD
    if shutil.disk_usage(jobs.folder).free < LEAST_FREE_BYTES:
        return OUT_OF_RESOURCES
    try:
        jobs.receive(uid, study, event.encoded_dataset())
    except OSError:
        return OUT_OF_RESOURCES
    return STORED
