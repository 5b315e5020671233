"""The DICOM images that an answer is about: whose headers its objects take over, in the order of their arrays."""

import copy
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from focusmap.basics import InputError, UnreadableImageError
from focusmap.convert import PackedVolume, dicom_files, unpack_dicom_volumes
from focusmap.images import attribute_numbers, parse_dicom

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

# PS3.3 type 2: there, but maybe empty, in every object of a patient.
OF_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
OF_STUDY = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName")
AGE = re.compile(r"\d{3}[DWMY]")
# Who makes the objects of answers, and objects that have rows and are no image that could be answered.
MAKER, NO_IMAGES = "focusmap", ("SEG", "SR", "PR", "RTSTRUCT")
IMAGES_ONLY = "holds no DICOM image with pixels"


@dataclass(frozen=True, eq=False)
class Sources:
    """An image, or the slices of a volume.

    Parameters
    ----------
    datasets
        Without pixels, one of each plane; of a volume in the order of the last axis of the array that was read.
    image
        What a model is shown: the DICOM file, or a volume made of the slices.
    name
        Of the first file, for messages.
    """

    datasets: tuple["Dataset", ...]
    image: Path
    name: str

    @property
    def is_placed(self) -> bool:
        """Whether it lies in a frame of reference of the patient."""
        return all("FrameOfReferenceUID" in dataset and "ImagePositionPatient" in dataset for dataset in self.datasets)

    def planes(self, values: np.ndarray) -> np.ndarray:
        """Return ``(n, rows, columns)`` in the order of the data sets, of an array in the grid of the image.

        Of a volume that is ``(columns, rows, slices)``.
        """
        return values[np.newaxis] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 1, 0))


def sources_of(places: Sequence[Path], folder: Path, *, volumes: bool) -> Iterator[Sources]:
    """Yield the images in files and folders: each file alone, or each series as a volume, which `folder` is for.

    Raises
    ------
    InputError
        If none of them is a DICOM image.
    """
    n_found = 0
    for place in places:
        for sources in _volumes(place, folder) if volumes else _images(place):
            n_found += 1
            yield sources
    if not n_found:
        raise InputError(f"{', '.join(map(str, places))}: {IMAGES_ONLY}.")


def _images(place: Path) -> Iterator[Sources]:
    for path in dicom_files(place) if place.is_dir() else [place]:
        dataset = header(path)
        if "Rows" in dataset and dataset.get("Modality") not in NO_IMAGES:
            yield Sources((completed(dataset),), path, path.name)


def _volumes(place: Path, folder: Path) -> Iterator[Sources]:
    from focusmap.images import write_nifti

    for k, packed in enumerate(unpack_dicom_volumes(place)):
        if not isinstance(packed, PackedVolume):
            raise UnreadableImageError(f"{place}: {packed}")
        files = dicom_files(place) if place.is_dir() else [place]
        headers = [
            dataset
            for dataset in map(header, files)
            if str(dataset.get("SeriesInstanceUID", "")) == packed.cells["series"]
        ]
        image = folder / f"volume-{k:03d}.nii.gz"
        write_nifti(image, packed.voxels, packed.affine)
        ordered = sorted(headers, key=_height)
        yield Sources(tuple(map(completed, ordered)), image, packed.cells["source"])


def _height(dataset: "Dataset") -> float:
    """Return how far a slice lies along the direction across the slices, as the volume was put together."""
    directions = np.array(attribute_numbers(dataset, "ImageOrientationPatient")).reshape(2, 3)
    return float(np.array(attribute_numbers(dataset, "ImagePositionPatient")) @ np.cross(*directions))


def header(path: Path) -> "FileDataset":
    """Return the data set of a file without its pixels.

    Raises
    ------
    UnreadableImageError
        If it is no DICOM file.
    """
    with warnings.catch_warnings():
        # pydicom quotes the values of odd elements in its warnings, and those may name the patient.
        warnings.simplefilter("ignore")
        try:
            dataset = parse_dicom(path, with_pixels=False)
            known = bool(dataset.get("SOPClassUID"))
        # pydicom fails on damaged headers in each of its own ways.
        except Exception:
            known = False
    if not known:
        raise UnreadableImageError(f"{path}: is no DICOM file with a header that can be read.")
    return dataset


def completed(dataset: "Dataset") -> "Dataset":
    """Return a data set with what the objects made of it must have of patient and study: empty where it is not said."""
    complete = copy.deepcopy(dataset)
    for name in (*OF_PATIENT, *OF_STUDY):
        if name not in complete:
            setattr(complete, name, "")
    if "PatientAge" in complete and not AGE.fullmatch(str(complete.PatientAge)):
        del complete.PatientAge
    if "DeidentificationMethod" in complete and not complete.DeidentificationMethod:
        complete.DeidentificationMethod = "not said"
    return complete
