"""What a file says of how its image was made, beside the pixels: device, settings, hour, packing; and whose it is.

Nothing of it is ever quoted: it is held against the patient column, and one probe tries to tell labels by it.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.basics import IMAGE_SUFFIXES
from focusmap.images import parse_dicom
from focusmap.study.paths import may_be_dicom

if TYPE_CHECKING:
    from PIL.Image import Image
    from pydicom.dataset import Dataset

# PS3.3 C.7.5.1 (device), C.7.3.1 (series), C.7.6.1 (image), C.8 (what each modality sets).
OF_DICOM = (
    "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "StationName", "SoftwareVersions", "InstitutionName",
    "Modality", "BodyPartExamined", "ProtocolName", "SeriesDescription", "ViewPosition", "ImageLaterality",
    "PatientPosition", "KVP", "Exposure", "ExposureTime", "XRayTubeCurrent", "SliceThickness", "ConvolutionKernel",
    "EchoTime", "RepetitionTime", "MagneticFieldStrength", "PhotometricInterpretation", "BitsStored", "WindowWidth",
    "LossyImageCompression", "BurnedInAnnotation",
)  # fmt: skip
TIMES = ("AcquisitionTime", "ContentTime", "SeriesTime", "StudyTime")
# TIFF 6.0 and EXIF 2.3: make, model, software, and when the image was taken or the file changed.
OF_EXIF = {"make": 0x010F, "model": 0x0110, "software": 0x0131}
EXIF_TIMES = (0x9003, 0x0132)
EXIF_BLOCK = 0x8769
WITH_EXIF = tuple(suffix for name in ("JPEG", "PNG", "TIFF", "WebP") for suffix in IMAGE_SUFFIXES[name])


@dataclass(frozen=True)
class Metadata:
    """Patient and study of a DICOM header, empty where it does not say; and by name what describes the making."""

    owner: tuple[str, str] = ("", "")
    made: Mapping[str, str] = field(default_factory=dict)


def metadata_of(file: Path) -> Metadata:
    """Return the metadata of an image file; empty if they cannot be parsed, for which its reader gives the reason."""
    with warnings.catch_warnings():
        # Foreign parsers quote odd values in their warnings, and fail on damaged headers in each of their own ways.
        warnings.simplefilter("ignore")
        try:
            if may_be_dicom(file.name):
                return _of_dicom(parse_dicom(file, with_pixels=False))
            return Metadata(made=_of_raster(file)) if file.suffix.lower() in WITH_EXIF else Metadata()
        except Exception:
            return Metadata()


def _of_dicom(dataset: "Dataset") -> Metadata:
    owner = [str(dataset.get(name) or "").strip() for name in ("PatientID", "StudyInstanceUID")]
    made = {name: str(dataset.get(name) or "").strip() for name in OF_DICOM}
    times = [str(dataset.get(name) or "") for name in TIMES]
    # A date-time begins with its date (PS3.5 6.2, DT).
    times.insert(1, str(dataset.get("AcquisitionDateTime") or "")[8:])
    made["hour"] = next((hour for time in times if (hour := _hour(time[:2]))), "")
    return Metadata((owner[0], owner[1]), made)


def _of_raster(file: Path) -> dict[str, str]:
    from PIL import Image

    with Image.open(file) as image:
        exif = image.getexif()
        made = {name: str(exif.get(tag, "")).strip("\0 ") for name, tag in OF_EXIF.items()}
        taken = [str(block.get(tag, "")) for block in (exif.get_ifd(EXIF_BLOCK), exif) for tag in EXIF_TIMES]
        made["hour"] = next((hour for text in taken if (hour := _hour(text[11:13]))), "")
        return made | _packing(image)


def _packing(image: "Image") -> dict[str, str]:
    """Return how a file is packed: by the tables of a JPEG one tells which program wrote it, at which quality."""
    tables = getattr(image, "quantization", None) or {}
    known = {name: str(image.info.get(name, "")) for name in ("dpi", "progressive", "jfif_version", "gamma")}
    return {**known, "tables": " ".join(str(sum(values)) for values in tables.values())}


def _hour(text: str) -> str:
    """Return the hour that a time begins with, in which routine and emergencies differ; empty where it is none.

    >>> _hour("07"), _hour("24"), _hour("")
    ('7', '', '')
    """
    return str(int(text)) if text.isdecimal() and int(text) < 24 else ""
