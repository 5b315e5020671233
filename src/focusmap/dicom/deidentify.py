"""DICOM files without who they are: the Basic Application Level Confidentiality Profile (PS3.15, annex E, 2026c).

Options taken, and named in every file: Retain Longitudinal Temporal Information With Modified Dates (each patient's
dates moved by one number of days), Retain Patient Characteristics (sex, age, size, weight). Elements that the standard
does not name, private ones, overlays and all that somebody typed are removed; what is no image is not written. Nothing
is done to pixels: text that is burnt into them is flagged where a file says or suggests it, and never declared absent.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydicom.dataset import Dataset, FileMetaDataset

from focusmap.basics import FocusmapError, InputError, write_text
from focusmap.convert import dicom_files
from focusmap.dicom.sources import IMAGES_ONLY, completed
from focusmap.images import parse_dicom
from focusmap.study import normal_id

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement

KEY_FILE = "key.json"
# How an image was made and its pixels are to be read: of these groups, what is a number or a code of the standard.
KEPT_GROUPS = (0x0018, 0x0028, 0x2050, 0x5200, 0x7FE0)
# What is typed, a name, a date or an identifier stays only where it is listed.
FREE = ("AE", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UN", "UR", "UT")
KEPT = {
    "SOPClassUID", "Modality", "ImageType", "PresentationIntentType", "Manufacturer", "ManufacturerModelName",
    "ConversionType", "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "InstanceNumber", "SeriesNumber",
    "AcquisitionNumber", "ImagePositionPatient", "ImageOrientationPatient", "SliceLocation", "PatientOrientation",
    "ImageLaterality", "Laterality", "PositionReferenceIndicator", "NumberOfTemporalPositions", "SpecificCharacterSet",
    "TemporalPositionIdentifier", "AnatomicRegionSequence", "CodeValue", "CodeMeaning", "CodingSchemeDesignator",
    "ViewCodeSequence", "ViewModifierCodeSequence", "DimensionIndexSequence", "DimensionOrganizationSequence",
    "DimensionOrganizationType", "FrameContentSequence", "InStackPositionNumber", "PlanePositionSequence",
    "PlaneOrientationSequence", "StackID", "DimensionIndexValues", "FrameType", "RescaleType", "VolumetricProperties",
    "VolumeBasedCalculationTechnique", "PixelPresentation", "ConvolutionKernel",
}  # fmt: skip
REMOVED = (
    "ContributingEquipmentSequence", "UDISequence", "BurnedInAnnotation", "TransducerIdentificationSequence",
)  # fmt: skip
UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "DimensionOrganizationUID")
DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime")
TIMES = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")
# PS3.16 CID 7050.
METHOD = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
)
# Modalities and kinds of image that often have text in their pixels.
WRITTEN_ON = ("US", "ES", "XA", "RF", "OT", "SC", "XC", "GM", "DOC")
MOST_DAYS = 3650


@dataclass(frozen=True)
class Deidentified:
    """What was written: how many files of how many patients, how many may show text, the key, and what failed."""

    n_files: int
    n_patients: int
    n_flagged: int
    key: Path
    failures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Secret:
    """Makes the same new name of the same old one, and nobody without it can."""

    text: str

    def digest(self, *parts: str) -> int:
        """Return a number of 128 bits."""
        return int(hmac.new(self.text.encode(), "\0".join(parts).encode(), hashlib.sha256).hexdigest()[:32], 16)

    def patient(self, patient_id: str) -> str:
        """Return what a patient is called from now on, in whatever way the id is written."""
        return f"P{self.digest('patient', normal_id(patient_id)) % 10**10:010d}"

    def uid(self, uid: str) -> str:
        """Return a UID made of another (PS3.5 B.2)."""
        return f"2.25.{self.digest('uid', uid)}"

    def days(self, patient_id: str) -> timedelta:
        """Return by how much a patient's dates are moved: back, by at least one day."""
        return timedelta(days=-1 - self.digest("days", normal_id(patient_id)) % MOST_DAYS)


def deidentify(places: Sequence[Path], out: Path) -> Deidentified:
    """Write copies of DICOM files without who they are, a folder per patient, and beside them the key to the old names.

    Raises
    ------
    InputError
        If no DICOM file is found, or `out` holds files already.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty. Choose another --out.")
    files = [file for place in places for file in (dicom_files(place) if place.is_dir() else [place])]
    if not files:
        raise InputError(f"{', '.join(map(str, places))}: {IMAGES_ONLY}.")
    secret, names, failures, flagged = Secret(secrets.token_hex(32)), dict[str, str](), [], 0
    for file in files:
        try:
            old, new = _renamed(file, secret)
        # pydicom fails on damaged headers in each of its own ways; what it says may quote the patient.
        except Exception as error:
            failures.append((file.name, str(error) if isinstance(error, FocusmapError) else "cannot be parsed"))
            continue
        names[str(new.PatientID)] = old
        flagged += "BurnedInAnnotation" in new
        target = out / str(new.PatientID) / f"{new.SOPInstanceUID}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        new.save_as(target, enforce_file_format=True)
    key = out.with_name(f"{out.name}-{KEY_FILE}")
    write_text(key, json.dumps({"secret": secret.text, "patients": names}, indent=1, ensure_ascii=False))
    key.chmod(0o600)
    return Deidentified(len(files) - len(failures), len(names), flagged, key, tuple(failures))


def _renamed(file: Path, secret: Secret) -> tuple[str, "Dataset"]:
    """Return the PatientID of an image, and its data set without names; `InputError` if it is no image."""
    dataset = parse_dicom(file)
    if "PixelData" not in dataset:
        raise InputError("is no image; reports, masks and presentations are not written")
    return str(dataset.get("PatientID") or ""), without_names(dataset, secret)


def without_names(dataset: "Dataset", secret: Secret) -> "Dataset":
    """Return a data set with nothing that says who, where, by whom or when, but what the options keep."""
    patient = str(dataset.get("PatientID") or "")
    new = _kept(dataset, secret)
    for name in DATES:
        if dataset.get(name):
            setattr(new, name, _moved(str(dataset.get(name)), secret.days(patient)))
    for name in TIMES:
        if dataset.get(name):
            setattr(new, name, str(dataset.get(name)))
    new.PatientID = new.PatientName = secret.patient(patient)
    new.PatientBirthDate = new.AccessionNumber = new.StudyID = new.ReferringPhysicianName = ""
    if _may_be_written_on(dataset):
        new.BurnedInAnnotation = "YES"
    new.PatientIdentityRemoved, new.LongitudinalTemporalInformationModified = "YES", "MODIFIED"
    new.DeidentificationMethod = [
        "PS3.15 basic profile",
        "modified dates, patient characteristics kept",
        "pixels unverified",
    ]
    new.DeidentificationMethodCodeSequence = [_code(*code) for code in METHOD]
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = new.SOPClassUID, new.SOPInstanceUID
    copy = completed(new)
    copy.file_meta = meta
    return copy


def _code(value: str, meaning: str) -> "Dataset":
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _kept(dataset: "Dataset", secret: Secret) -> "Dataset":
    """Return the elements that are kept, in sequences too, UIDs made anew."""
    from pydicom.sequence import Sequence as Items

    new = Dataset()
    for element in dataset:
        if element.keyword in UIDS:
            setattr(new, element.keyword, secret.uid(str(element.value)))
        elif _stays(element):
            if element.VR == "SQ":
                setattr(new, element.keyword, Items([_kept(item, secret) for item in element.value]))
            else:
                new.add(element)
    return new


def _stays(element: "DataElement") -> bool:
    keyword = element.keyword
    if element.tag.is_private or not keyword or keyword in REMOVED:
        return False
    if keyword in KEPT:
        return True
    return element.tag.group in KEPT_GROUPS and element.VR not in FREE


def _moved(text: str, days: timedelta) -> str:
    """Return a date, or a time of a date, moved by days; empty where it is none.

    >>> _moved("20240301", timedelta(days=-1)), _moved("20240301101112.5", timedelta(days=-1)), _moved("x", timedelta())
    ('20240229', '20240229101112.5', '')
    """
    try:
        moved = datetime.strptime(text[:8], "%Y%m%d") + days
    except ValueError:
        return ""
    return moved.strftime("%Y%m%d") + text[8:]


def _may_be_written_on(dataset: "Dataset") -> bool:
    """Return whether a file says, or suggests, that text is burnt into its pixels."""
    burnt_in = str(dataset.get("BurnedInAnnotation") or "").upper()
    kinds = {str(part).upper() for part in cast(Sequence[str], dataset.get("ImageType") or ())}
    secondary = str(dataset.get("SOPClassUID") or "").startswith("1.2.840.10008.5.1.4.1.1.7")
    return burnt_in == "YES" or (
        burnt_in != "NO" and (dataset.get("Modality") in WRITTEN_ON or secondary or "SECONDARY" in kinds)
    )
