"""DICOM: modality LUT, VOI LUT, then MONOCHROME1 turned round (PS3.3 C.7.6.3, C.11.1, C.11.2).

A file with one frame is a picture. Which of several frames counts, or whether all do, only the user knows: such a
file is no picture until ``focusmap convert`` has made one of each frame.
"""

import io
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from focusmap.errors import UnreadableImageError
from focusmap.images.budget import check_plane_size
from focusmap.images.image import Image, Pixels, as_picture

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

DEFLATED = b"1.2.840.10008.1.2.1.99"
MAX_INFLATED_BYTES = 64 * 2**20
LOOK_UP_MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def read_dicom(path: Path, at_least: int | None = None) -> Image:  # noqa: ARG001  (as every reader)
    """Return the picture in a DICOM file, as a viewer would first show it: windowed, white bright.

    Grey of 8 bits stays uint8; deeper pictures come in the units of their modality or window.

    Raises
    ------
    UnreadableImageError
        If the file has no pixels, several frames (see `read_frames`), an implausible size, or cannot be decoded.
    """
    # pydicom quotes the values of odd elements in its warnings, and those may name the patient.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = parse(path)
        n_frames = count_frames(dataset)
        if n_frames != 1:
            raise UnreadableImageError(
                f"holds {n_frames} frames; one was expected. Make a picture of each: focusmap convert FILE --out DIR"
            )
        return as_picture(_plane(dataset), path)


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a DICOM file, whose it is, the series' UID, and how many frames the file has."""

    image: Image
    patient_id: str
    series: str
    n_frames: int


def read_frames(path: Path) -> Iterator[Frame]:
    """Yield each frame of a DICOM file as `read_dicom` would show it.

    Raises
    ------
    UnreadableImageError
        As `read_dicom`, but for the number of frames; other errors as the decoders have them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = parse(path)
        n_frames = count_frames(dataset)
        patient_id, series = (str(dataset.get(name) or "") for name in ("PatientID", "SeriesInstanceUID"))
    for index in range(n_frames):
        # A filter set aside while a caller works on the frame would be the caller's too.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = as_picture(_plane(dataset, index), path)
        yield Frame(image, patient_id, series, n_frames)


def parse(path: Path) -> "FileDataset":
    """Return the data set of a file, whatever its transfer syntax."""
    from pydicom import dcmread

    with path.open("rb") as file:
        deflated = DEFLATED in file.read(4096)
    try:
        return dcmread(io.BytesIO(_inflate(path)), force=True) if deflated else dcmread(path, force=True)
    except RecursionError:
        raise UnreadableImageError("nests its sequences too deeply to be read") from None


def _inflate(path: Path) -> bytes:
    """Return the data set of a deflated file; pydicom would inflate it without bound.

    The file meta information is left off: what follows it is explicit VR little endian (PS3.5 A.5).
    """
    from pydicom.filereader import read_file_meta_info

    length = read_file_meta_info(path).get("FileMetaInformationGroupLength")
    if length is None:
        raise UnreadableImageError("is deflated and does not say where its data begin")
    # 128 bytes of preamble, "DICM", and the 12 bytes of the group length element itself.
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(path.read_bytes()[144 + length :], MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise UnreadableImageError(f"inflates to more than {MAX_INFLATED_BYTES // 2**20} MiB")
    if not inflater.eof:
        raise UnreadableImageError("is deflated and cut off")
    return data


def count_frames(dataset: "Dataset") -> int:
    """Return how many frames there are; refuse what has no pixels, or an implausible number of them."""
    if not any(keyword in dataset for keyword in PIXEL_KEYWORDS):
        kind = dataset.get("Modality")
        is_what = f"a DICOM file without pixels (modality {kind})" if kind else "no DICOM file, or one without pixels"
        raise UnreadableImageError(f"is {is_what}")
    check_plane_size(int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0))
    return int(dataset.get("NumberOfFrames") or 1)


def stored_frame(dataset: "FileDataset", index: int) -> NDArray[np.generic]:
    """Return the stored values of a frame, ``(rows, columns)`` or ``(rows, columns, 3)``, before any look-up table."""
    from pydicom.pixels import pixel_array

    _set_transfer_syntax(dataset)
    stored = pixel_array(dataset, index=index, decoding_plugin=_plugin(dataset.file_meta.TransferSyntaxUID))
    if stored.shape[:2] != (dataset.Rows, dataset.Columns) or stored.ndim != (2 if _samples(dataset) == 1 else 3):
        raise UnreadableImageError(f"says {dataset.Rows} x {dataset.Columns} pixels and holds {stored.shape}")
    return np.asarray(stored)


def _plane(dataset: "FileDataset", index: int = 0) -> Pixels:
    from pydicom.pixels import apply_color_lut

    stored = stored_frame(dataset, index)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _narrow_colour(apply_color_lut(stored, dataset))
    return _narrow_colour(stored) if stored.ndim == 3 else _grey(stored, with_look_ups(dataset, index))


def _plugin(syntax: str) -> str:
    """Return the name of the decoder; pydicom itself chooses by habit, not by speed."""
    from focusmap.images import dicom_codecs as codecs

    return codecs.PLUGIN if codecs.is_available(syntax) else ""


def with_look_ups(dataset: "Dataset", index: int) -> "Dataset":
    """Return what describes the pixels of a frame: enhanced objects keep it in functional groups (C.7.6.16)."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    of_frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*shared[:1], *of_frames[index : index + 1]]
    if not groups:
        return dataset
    described = dataset.group_dataset(0x0028)
    for macro in (group.get(name) for group in groups for name in LOOK_UP_MACROS):
        described.update(macro[0] if macro else {})
    return described


def _samples(dataset: "Dataset") -> int:
    return int(dataset.get("SamplesPerPixel") or 1)


def _set_transfer_syntax(dataset: "FileDataset") -> None:
    """Name the encoding of data that came without file meta information, as pydicom found it."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" in dataset.file_meta:
        return
    implicit, little = dataset.original_encoding
    explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _narrow_colour(colour: NDArray[np.generic]) -> Pixels:
    """Return colour as uint8 or uint16."""
    return cast(Pixels, colour if colour.dtype in (np.uint8, np.uint16) else colour.astype(np.float32))


def _grey(stored: NDArray[np.generic], dataset: "Dataset") -> Pixels:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
    if stored.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
    else:
        low, high = _value_range(dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = (low + high) - values.astype(np.float64)
    return _narrow_grey(values, low, high)


def _value_range(dataset: "Dataset") -> tuple[float, float]:
    """Return the least and greatest value that the stored bits can stand for after the look-up tables.

    The picture's own extremes would not do: a picture and its MONOCHROME1 twin must come out the same.
    """
    for sequence in ("VOILUTSequence", "ModalityLUTSequence"):
        if dataset.get(sequence):
            return 0.0, 2.0 ** int(dataset[sequence].value[0].LUTDescriptor[2]) - 1
    bits = int(dataset.BitsStored)
    first = -(2.0 ** (bits - 1)) if dataset.PixelRepresentation else 0.0
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    ends = (first * slope + intercept, (first + 2.0**bits - 1) * slope + intercept)
    return min(ends), max(ends)


def _narrow_grey(values: NDArray[np.generic], low: float, high: float) -> Pixels:
    if (low, high) == (0.0, 1.0):
        return np.asarray(values != 0, np.uint8) * np.uint8(255)
    if (low, high) == (0.0, 255.0):
        return np.rint(np.clip(values.astype(np.float64), 0, 255)).astype(np.uint8)
    if values.dtype in (np.uint16, np.int16):
        return cast(Pixels, values)
    return values.astype(np.float32)
