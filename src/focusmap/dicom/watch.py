"""A station of an archive: studies arrive by C-STORE, are answered when complete, and their objects go back."""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from focusmap.dicom.archive import ArchiveError
from focusmap.dicom.jobs import Job, Jobs
from focusmap.errors import FocusmapError, InputError

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
        self.say(f"job {job.number}: {n_sent} objects stored and read back")
        return True

    def _send(self, job: Job) -> int:
        from pydicom import dcmread

        files = sorted(self.jobs.objects(job).rglob("*.dcm"))
        for file in files:
            self.store.send(dcmread(file))
        return len(files)

    def _tell(self, job: Job, reason: str, *, again: bool) -> None:
        told = re.sub(r"[0-9.]{20,}|\S*/\S*\.(?:dcm|nii\.gz)", "…", reason)
        is_parked = self.jobs.fail(job, told, again=again)
        self.say(f"job {job.number}: {'parked' if is_parked else 'will be tried again'}: {told}")


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
