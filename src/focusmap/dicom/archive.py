"""An archive that speaks DICOMweb (PS3.18): what it has, what is fetched from it, what is stored and read back."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from focusmap.basics import InputError

if TYPE_CHECKING:
    from dicomweb_client.api import DICOMwebClient
    from pydicom.dataset import Dataset

ACCOUNT = "FOCUSMAP_PACS_ACCOUNT"
SECONDS = 60
# What makes an object what it is; an archive may add to the rest.
CONTENT = ("PixelData", "FloatPixelData", "ContentSequence", "SegmentSequence")
SHOWN = ("PatientID", "StudyDate", "ModalitiesInStudy", "AccessionNumber", "StudyInstanceUID")
Found = TypeVar("Found")


class ArchiveError(InputError):
    """An archive does not answer, refuses, or did not keep what it said that it stored."""


class Archive:
    """An archive at an address; an account ``NAME:PASSWORD`` comes from ``FOCUSMAP_PACS_ACCOUNT``."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise InputError(
                f"{url}: the address of a DICOMweb service was expected, such as http://HOST:8042/dicom-web"
            )

    def _client(self) -> "DICOMwebClient":
        from dicomweb_client.api import DICOMwebClient
        from requests import Session

        session = Session()
        if account := os.environ.get(ACCOUNT):
            name, _, password = account.partition(":")
            session.auth = (name, password)
        client = DICOMwebClient(self.url, session=session, timeout=SECONDS)
        # When and how often to try again is decided by whoever asks.
        client.set_http_retry_params(retry=False)
        return client

    def query(self, filters: Mapping[str, str]) -> list[dict[str, str]]:
        """Return the studies that fit, each with `SHOWN`; values may hold ``*`` and ranges of dates (QIDO-RS)."""
        with self._asking("be searched"):
            studies = self._client().search_for_studies(search_filters=dict(filters), fields=list(SHOWN))
        return [{name: _cell(study, name) for name in SHOWN} for study in studies]

    def instances(self, study: str) -> list[tuple[str, str]]:
        """Return the series and the UID of every object of a study (QIDO-RS)."""
        names = ("SeriesInstanceUID", "SOPInstanceUID")
        with self._asking("list the objects of a study"):
            instances = self._client().search_for_instances(study, fields=list(names))
        return [(_cell(instance, names[0]), _cell(instance, names[1])) for instance in instances]

    def instance(self, study: str, series: str, uid: str) -> "Dataset":
        """Return one object (WADO-RS); `ArchiveError` if the archive does not answer or has it no more."""
        with self._asking("give an object"):
            return self._client().retrieve_instance(study, series, uid)

    def fetch(self, study: str, folder: Path) -> list[Path]:
        """Write the objects of a study to a folder, and return their files (WADO-RS).

        Raises
        ------
        ArchiveError
            If the archive does not answer or has no such study.
        """
        with self._asking(f"give the study {study}"):
            datasets = self._client().retrieve_study(study)
        if not datasets:
            raise ArchiveError(f"{self.url}: has no study {study}.")
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for dataset in datasets:
            files.append(folder / f"{dataset.SOPInstanceUID}.dcm")
            dataset.save_as(files[-1], enforce_file_format=True)
        return files

    def send(self, dataset: "Dataset") -> bool:
        """Store an object that the archive does not have yet, and read it back; return whether it was new (STOW-RS).

        Archives have said that they stored what they did not.

        Raises
        ------
        ArchiveError
            If the archive does not answer, refuses, or has not what was sent.
        """
        if self._is_there(dataset):
            return False
        with self._asking("store an object"):
            self._client().store_instances([dataset])
        if not self._is_there(dataset):
            raise ArchiveError(f"{self.url}: said that it stored an object, and does not have it as it was sent.")
        return True

    def _is_there(self, dataset: "Dataset") -> bool:
        where = [str(dataset.get(name)) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
        with self._asking("give an object back"):
            stored = _or_none(lambda: self._client().retrieve_instance(*where))
        return stored is not None and all(_same(stored.get(name), dataset.get(name)) for name in CONTENT)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Say what could not be done; what an archive answers is not passed on, since it may quote the patient."""
        from requests import HTTPError, RequestException

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield
            except HTTPError as error:
                status = "" if error.response is None else f" (HTTP {error.response.status_code})"
                raise ArchiveError(f"{self.url}: could not {what}{status}.") from None
            except (RequestException, OSError) as error:
                raise ArchiveError(f"{self.url}: does not answer ({type(error).__name__}).") from None


def _or_none(ask: Callable[[], Found]) -> Found | None:
    """Return what is answered; None where that is that there is nothing."""
    from requests import HTTPError

    try:
        return ask()
    except HTTPError as error:
        if error.response is not None and error.response.status_code in (400, 404):
            return None
        raise


def _same(stored: object, sent: object) -> bool:
    if isinstance(sent, bytes):
        # A value has an even number of bytes where it is stored.
        return isinstance(stored, bytes) and stored.rstrip(b"\0") == sent.rstrip(b"\0")
    return sent is None or (stored is not None and len(stored) == len(sent))  # type: ignore[arg-type]


def _cell(study: Mapping[str, Mapping[str, Sequence[object]]], name: str) -> str:
    from pydicom.datadict import tag_for_keyword

    values = study.get(f"{tag_for_keyword(name) or 0:08X}", {}).get("Value", [])
    return "\\".join(map(str, values))
