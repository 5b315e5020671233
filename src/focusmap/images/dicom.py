"""DICOM: modality LUT, VOI LUT, then MONOCHROME1 turned round (PS3.3 C.7.6.3, C.11.1, C.11.2).

A file with one frame is an image. Which of several frames counts, or whether all do, only the user knows: such a
file is no image until ``focusmap convert`` has made one of each frame.
"""

import io
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.basics import UnreadableImageError
from focusmap.images import budget, dicom_attributes, dicom_display, dicom_pixels
from focusmap.images.image import Image, Pixels, as_image

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

DEFLATED = b"1.2.840.10008.1.2.1.99"
FEWEST_FEEDS = 16
LOOK_UP_MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")


def read_dicom(path: Path, at_least: int | None = None) -> Image:  # noqa: ARG001  (as every reader)
    """Return the image in a DICOM file, as a viewer would first show it: windowed, white bright.

    Grey of 8 bits stays uint8; deeper images come in the units of their modality or window.

    Raises
    ------
    UnreadableImageError
        If the file has no pixels, several frames (see `read_frames`), an implausible size, or cannot be decoded.
    """
    # pydicom quotes the values of odd elements in its warnings, and those may name the patient.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = parse_dicom(path)
        layout = dicom_pixels.layout_of(dataset)
        if layout.n_frames != 1:
            raise UnreadableImageError(
                f"holds {layout.n_frames} frames; one was expected. Make an image of each: "
                "focusmap convert FILE --out DIR"
            )
        return replace(as_image(_plane(dataset, layout), path), pixel_spacing=_pixel_spacing(dataset))


def _pixel_spacing(dataset: "Dataset") -> tuple[float, float] | None:
    """Return mm in the patient from row to row and from column to column; None where the file does not say.

    Equal to `ImagerPixelSpacing`, it is that of the detector, on which a projection is larger (PS3.3 10.7.1.3).
    """
    try:
        spacing, of_detector = (
            dicom_attributes.attribute_numbers(dataset, keyword) for keyword in ("PixelSpacing", "ImagerPixelSpacing")
        )
    except UnreadableImageError:
        return None
    return (spacing[0], spacing[1]) if len(spacing) == 2 and min(spacing) > 0 and spacing != of_detector else None


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
        dataset = parse_dicom(path)
        layout = dicom_pixels.layout_of(dataset)
        patient_id, series = (str(dataset.get(name) or "") for name in ("PatientID", "SeriesInstanceUID"))
    for index in range(layout.n_frames):
        # A filter set aside while a caller works on the frame would be the caller's too.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = as_image(_plane(dataset, layout, index), path)
        yield Frame(image, patient_id, series, layout.n_frames)


@dataclass(frozen=True)
class Identity:
    """Whose a file is and what it belongs to, as its header says; empty where it does not."""

    patient_id: str = ""
    study: str = ""
    series: str = ""
    name: str = ""


def dicom_identity(path: Path) -> Identity:
    """Return whose a file is; nothing of one that cannot be parsed, whose reader says why."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = parse_dicom(path, with_pixels=False)
            names = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "PatientName")
            return Identity(*(str(dataset.get(name) or "").strip() for name in names))
        # pydicom fails on damaged headers in each of its own ways.
        except Exception:
            return Identity()


def parse_dicom(path: Path, *, with_pixels: bool = True) -> "FileDataset":
    """Return the data set of a file, whatever its transfer syntax, packed by gzip or not.

    Raises
    ------
    UnreadableImageError
        If it cannot be parsed, is cut off, or inflates beyond the budget.
    """
    from pydicom import dcmread

    with path.open("rb") as file:
        head = file.read(2**14)
    if _is_mangled(head):
        raise UnreadableImageError("was changed on its way, as text: each line feed follows a return. Fetch it again")
    content = budget.read_content(path) if head.startswith(budget.GZIP) else None
    if (content or head).startswith(b"DICM"):
        # Some writers leave out the preamble and keep the sign behind it.
        content = bytes(128) + (content or path.read_bytes())
    if DEFLATED in (content or head)[:4096]:
        content = _inflated(content or path.read_bytes())
    try:
        return dcmread(path if content is None else io.BytesIO(content), force=True, stop_before_pixels=not with_pixels)
    except RecursionError:
        raise UnreadableImageError("nests its sequences too deeply to be read") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise UnreadableImageError(f"cannot be decoded: its data set is damaged or cut off. {budget.AGAIN}") from None


def _is_mangled(head: bytes) -> bool:
    """Return whether every line feed follows a return, as a transfer as text leaves it, and there are many."""
    n_feeds, place = 0, head.find(b"\n")
    while place >= 0 and head[place - 1 : place] == b"\r":
        n_feeds, place = n_feeds + 1, head.find(b"\n", place + 1)
    return place < 0 and n_feeds >= FEWEST_FEEDS


def _inflated(content: bytes) -> bytes:
    """Return the data set of a deflated file; pydicom would inflate it without bound.

    The file meta information is left off: what follows it is explicit VR little endian (PS3.5 A.5).
    """
    if content[132:138] != b"\x02\0\0\0UL":
        raise UnreadableImageError("is deflated and does not say where its data begin")
    length = int.from_bytes(content[140:144], "little")
    # 128 bytes of preamble, "DICM", and the 12 bytes of the group length element itself.
    inflater, limit = zlib.decompressobj(-zlib.MAX_WBITS), budget.largest_output(len(content))
    try:
        data = inflater.decompress(content[144 + length :], limit)
    except zlib.error:
        # Some writers put the header of zlib before it (RFC 1950).
        inflater = zlib.decompressobj()
        data = inflater.decompress(content[144 + length :], limit)
    if inflater.unconsumed_tail:
        raise UnreadableImageError(f"inflates to more than {limit // 2**20} MiB")
    if not inflater.eof:
        raise UnreadableImageError("is deflated and cut off")
    return data


def _plane(dataset: "FileDataset", layout: dicom_pixels.Layout, index: int = 0) -> Pixels:
    stored = dicom_pixels.stored_frame(dataset, layout, index)
    if layout.photometric == dicom_pixels.PALETTE and layout.samples == 1:
        return dicom_display.palette_image(stored, dataset, layout)
    return (
        dicom_display.narrow_colour(stored)
        if stored.ndim == 3
        else dicom_display.grey_image(stored, with_look_ups(dataset, index), layout)
    )


def with_look_ups(dataset: "Dataset", index: int) -> "Dataset":
    """Return what describes the pixels of a frame: enhanced objects keep it in functional groups (C.7.6.16)."""
    shared = dicom_attributes.sequence_items(dataset, "SharedFunctionalGroupsSequence")
    of_frames = dicom_attributes.sequence_items(dataset, "PerFrameFunctionalGroupsSequence")
    groups = [*shared[:1], *of_frames[index : index + 1]]
    if not groups:
        return dataset
    described = dataset.group_dataset(0x0028)
    for macro in (dicom_attributes.sequence_items(group, name) for group in groups for name in LOOK_UP_MACROS):
        described.update(macro[0] if macro else {})
    return described
