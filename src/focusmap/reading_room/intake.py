"""What was sent, before anything is decoded as an image: zip files are opened, and slices of a series put together.

Names of files are the server's; those that senders give are only said again.
"""

import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from focusmap.basics import DICOM_DIRECTORY, IMAGE_SUFFIX
from focusmap.images import to_bytes

MOST_FILES, MOST_FRAMES = 5000, 200
# Percentiles between which levels of more than 8 bits are shown.
SHOWN_WINDOW = (0.5, 99.5)
MIB = 2**20
ZIP, DICOM = b"PK\x03\x04", b"DICM"
# What comes out of zip files may be so many times what may be sent.
MOST_UNZIPPED = 4


REFUSALS = {
    "text": r"is a text",
    "empty": r"is empty",
    "zip": r"zip file|holds no file",
    "slow": r"takes more than|ended the process|needs more memory|too long",
    "large": r"at most .* read|MiB, which are more|would take|claims",
    "several": r"(holds|has) [\d,]+ (images|frames)|several volumes",
    "volume": r"is a volume of",
    "flat": r"a volume was expected",
    "no_pixels": r"without pixels",
    "damaged": r"damaged|cut off|too early|cannot be decoded",
    "unknown": r"its content is none of|HEIC",
}
"""Kinds of refusal, by what the reason says; the first that fits counts."""


class Sent(NamedTuple):
    """A file, what its sender calls it, and the folder for what is made of it."""

    file: Path
    name: str
    folder: Path


def without_paths(reason: str, sent: Sent) -> str:
    """Return a reason in which a file is called as its sender does."""
    return (
        reason.replace(str(sent.file), sent.name).replace(str(sent.file.parent), "").replace(sent.file.name, sent.name)
    )


def refusal_of(reason: str) -> str:
    """Return the kind of a reason, which pages name in their language.

    >>> refusal_of("a.png: its content is none of PNG, JPEG; it is a text, not an image."), refusal_of("says so")
    ('text', 'other')
    """
    # The name of the file comes first, and may say anything.
    fact = reason.partition(": ")[2] or reason
    return next((kind for kind, said in REFUSALS.items() if re.search(said, fact)), "other")


def unpack(
    files: Sequence[tuple[Path, str]], folder: Path, largest: int, *, volumes: bool
) -> list[tuple[Path, str, str]]:
    """Return the images in files as sent: file, name and, where it is refused, why.

    A zip file is opened, as far as it holds no more than `MOST_UNZIPPED` times `largest` MiB; the slices of a DICOM
    series are one image where `volumes` are asked for, and each frame of a file is one where they are not.
    """
    found: list[tuple[Path, str, str]] = []
    for file, name in files:
        found += _unzipped(file, name, folder, largest) if starts(file, 0, ZIP) else [(file, name, "")]
    if not volumes:
        return [one for file, name, refused in found for one in _in_frames(file, name, refused)]
    slices = [(file, name) for file, name, refused in found if not refused and starts(file, 128, DICOM)]
    others = [one for one in found if one[2] or not starts(one[0], 128, DICOM)]
    return others + (_stacked(slices, folder) if slices else [])


def starts(file: Path, offset: int, magic: bytes) -> bool:
    """Return whether a file has these bytes there."""
    with file.open("rb") as opened:
        opened.seek(offset)
        return opened.read(len(magic)) == magic


def _unzipped(file: Path, name: str, folder: Path, largest: int) -> list[tuple[Path, str, str]]:
    """Return the files of a zip file, under names of the server; nothing of their paths is believed."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = [one for one in archive.infolist() if not one.is_dir() and _is_meant(one.filename)]
            size = sum(one.file_size for one in members)
            if len(members) > MOST_FILES or size > MOST_UNZIPPED * largest * MIB:
                return [(file, name, f"holds {len(members)} files of {size // MIB} MiB, which are more than are read")]
            found = []
            for k, member in enumerate(members):
                inside = folder / f"{file.stem}-{k:05d}{suffix_of(member.filename)}"
                with archive.open(member) as source, inside.open("xb") as target:
                    # What a header claims is no bound on what comes out.
                    _copy(source.read, target.write, member.file_size)
                found.append((inside, Path(member.filename).name, ""))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, ValueError):
        return [(file, name, "cannot be opened: the zip file is damaged, encrypted or cut off")]
    return found or [(file, name, "holds no file")]


def _copy(read: Callable[[int], bytes], write: Callable[[bytes], int], most: int) -> None:
    left = most
    while part := read(MIB):
        left -= len(part)
        if left < 0:
            raise ValueError("more than was claimed")
        write(part)


def _is_meant(name: str) -> bool:
    """Return whether a file in a zip file is one that its sender knows of.

    >>> [_is_meant(name) for name in ("a/1.dcm", "__MACOSX/a/._1.dcm", "a/.DS_Store", "a/DICOMDIR")]
    [True, False, False, False]
    """
    path = Path(name)
    return not any(part.startswith((".", "__MACOSX")) for part in path.parts) and path.name != DICOM_DIRECTORY


def suffix_of(name: str) -> str:
    """Return the ending of a name where it is an image's, in small letters; empty otherwise.

    >>> suffix_of("Film A.NII.GZ"), suffix_of("../../x.sh"), suffix_of("scan.zip")
    ('.nii.gz', '', '')
    """
    found = IMAGE_SUFFIX.search(name)
    gzipped = ".nii.gz" if name.lower().endswith(".nii.gz") else ""
    return gzipped or (found.group(0).lower() if found else "")


def _in_frames(file: Path, name: str, refused: str) -> list[tuple[Path, str, str]]:
    """Return each frame of a DICOM file with several as an image of its own; any other file as it is."""
    n_frames = 1 if refused or not starts(file, 128, DICOM) else _n_frames(file)
    if n_frames == 1:
        return [(file, name, refused)]
    if n_frames > MOST_FRAMES:
        return [(file, name, f"has {n_frames} frames; at most {MOST_FRAMES} are answered at once")]
    from focusmap.convert import PackedImage, unpack_dicom

    found = []
    for k, one in enumerate(unpack_dicom(file), start=1):
        if isinstance(one, PackedImage):
            found.append((write_pixels(file.with_name(f"{file.stem}-{k:04d}"), one.pixels), f"{name} ({k})", ""))
        else:
            found.append((file, name, _told(str(getattr(one, "reason", one)), {file.name: name})))
    return found


def _n_frames(file: Path) -> int:
    """Return how many images a DICOM file holds; what is refused as a whole counts as one: masks, damaged headers."""
    from pydicom import dcmread

    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=["NumberOfFrames", "Modality"])
        return 1 if header.get("Modality") == "SEG" else int(header.get("NumberOfFrames") or 1)
    # What is wrong with it is said where it is read.
    except Exception:
        return 1


def write_pixels(place: Path, pixels: np.ndarray) -> Path:
    """Write pixels ``(C, rows, columns)`` without loss, but colour in 8 bits, and return the file: a PNG or a TIFF."""
    from PIL import Image as Raster

    if len(pixels) == 3:
        file = place.with_suffix(".png")
        Raster.fromarray(np.ascontiguousarray(np.moveaxis(to_bytes(pixels, SHOWN_WINDOW), 0, -1))).save(file)
        return file
    if pixels.dtype in (np.uint8, np.uint16):
        file = place.with_suffix(".png")
        Raster.fromarray(pixels[0]).save(file)
        return file
    from tifffile import imwrite

    file = place.with_suffix(".tif")
    imwrite(file, pixels[0], photometric="minisblack")
    return file


def _stacked(slices: Sequence[tuple[Path, str]], folder: Path) -> list[tuple[Path, str, str]]:
    """Return the volume of each series among DICOM files; of one that makes none, why."""
    from focusmap.convert import PackedVolume, unpack_dicom_volumes
    from focusmap.images import write_nifti

    place = folder / f"{slices[0][0].stem}-series"
    place.mkdir()
    names = {}
    for file, name in slices:
        names[file.name] = name
        file.rename(place / file.name)
    found = []
    for k, volume in enumerate(unpack_dicom_volumes(place)):
        if isinstance(volume, PackedVolume):
            file, source = folder / f"{place.name}-{k:03d}.nii.gz", volume.cells["source"]
            write_nifti(file, volume.voxels, volume.affine)
            found.append((file, f"{names[source]} ({volume.cells['n_slices']})", ""))
        else:
            found.append((place, slices[0][1], _told(str(getattr(volume, "reason", volume)), names)))
    return found


def _told(reason: str, names: Mapping[str, str]) -> str:
    for own, name in names.items():
        reason = reason.replace(own, name)
    return reason
