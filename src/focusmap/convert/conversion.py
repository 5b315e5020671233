"""Packed data sets written as images, masks and a label file, whole or not at all."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from focusmap.basics import (
    UMASK,
    InputError,
    MissingFileError,
    Progress,
    cut_to,
    disk_errors,
    refuse_undecodable,
    silent,
    write_table,
)
from focusmap.convert.archives import Packed, PackedImage, PackedVolume, holds
from focusmap.convert.cifar import is_cifar_file, unpack_cifar
from focusmap.convert.dicom import dicom_files, unpack_dicom
from focusmap.convert.matlab import is_slice, unpack_figshare
from focusmap.convert.medmnist import unpack_medmnist
from focusmap.images import Pixels, write_nifti

# NIfTI files have a longer name while they are written.
LONGEST_NAME = 240
LABELS, IMAGES, VOLUMES, FAILURES = "labels.csv", "images", "volumes", "failures.csv"


@dataclass(frozen=True)
class Packing:
    """A packed data set: what it is called, which sources are one, and what unpacks it."""

    name: str
    suits: Callable[[Path], bool]
    unpack: Callable[[Path], Iterator[Packed]]


PACKINGS = (
    Packing("MedMNIST (.npz)", lambda source: source.suffix == ".npz", unpack_medmnist),
    Packing("figshare brain tumours (.mat, folder or zip of them)", lambda source: holds(source, is_slice),
            unpack_figshare),
    Packing("CIFAR-10 (python archive or its folder)", lambda source: holds(source, is_cifar_file), unpack_cifar),
    Packing("DICOM (file or folder)", lambda source: bool(dicom_files(source)), unpack_dicom),
)  # fmt: skip


@dataclass(frozen=True)
class Conversion:
    """What was written: the label file, how many images, and (name, reason) of those that cannot be read."""

    labels: Path
    n_images: int
    failures: tuple[tuple[str, str], ...]


def find_packing(source: Path) -> Packing:
    """Return the packing of a source.

    Raises
    ------
    MissingFileError, InputError
        If there is no such file or folder; if it is none of the known packings, which are named.
    """
    if not source.exists():
        raise MissingFileError(f"{source}: no such file.")
    for packing in PACKINGS:
        if packing.suits(source):
            return packing
    known = "; ".join([*(packing.name for packing in PACKINGS), "a label file, with --parts"])
    raise InputError(f"{source}: is nothing that is converted. Known: {known}.")


def write_packed(
    images: Iterable[Packed], out: Path, progress: Progress = silent, *, escape: bool = True
) -> Conversion:
    """Write images to ``out/images``, volumes to ``out/volumes``, masks to ``out/masks`` and ``out/labels.csv``.

    The table has ``path``, the images' cells and a column a kind of mask, in the order that they come. Grey and
    colour are PNG of 8 or 16 bits, see `storable`; volumes are NIfTI. Only one image is in memory at a time.

    Raises
    ------
    InputError, DiskError
        If no image can be read, or two have one name; if `out` cannot be written. Nothing is left of it then.
    """
    rows: list[dict[str, str]] = []
    failures: list[tuple[str, str]] = []
    with _new_folder(out) as folder:
        for done, image in enumerate(images, start=1):
            if isinstance(image, PackedImage):
                rows.append(_write_image(image, folder))
            elif isinstance(image, PackedVolume):
                rows.append(_write_volume(image, folder))
            else:
                failures.append((image.name, image.reason))
            progress("converting", done, 0)
        progress("converting", len(rows), len(rows))
        if not rows:
            first = f" The first of {len(failures)}: {failures[0][0]}: {failures[0][1]}" if failures else ""
            raise InputError(f"holds no image that can be read.{first}")
        write_table(folder / LABELS, pd.DataFrame(rows).fillna(""), escape=escape)
        if failures:
            write_table(folder / FAILURES, pd.DataFrame(failures, columns=["path", "reason"]))
    return Conversion(out / LABELS, len(rows), tuple(failures))


def storable(pixels: Pixels) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return pixels that a PNG can hold, `(C, rows, columns)`.

    8 and 16 bits stay as they are. Signed and decimal whole numbers are shifted until the lowest is 0, should one be
    negative; what has fractions, or more than 65536 levels, is spread over 16 bits.

    >>> storable(np.array([[[-1000, 20]]], np.int16))
    array([[[   0, 1020]]], dtype=uint16)
    """
    if pixels.dtype in (np.uint8, np.uint16):
        return cast(NDArray[np.uint8] | NDArray[np.uint16], pixels)
    values = pixels.astype(np.float64)
    low, high = min(float(values.min()), 0.0), float(values.max())
    if high - low > 65535 or not np.array_equal(values, np.rint(values)):
        low = float(values.min())
        values = (values - low) * (65535 / (high - low) if high > low else 0.0) + low
    return np.rint(values - low).astype(np.uint16)


def _write_image(image: PackedImage, folder: Path) -> dict[str, str]:
    """Write an image and its masks; return its row."""
    row = {"path": _write_png(storable(image.pixels), folder, f"{IMAGES}/{image.name}.png"), **image.cells}
    for column, mask in image.masks.items():
        place = f"{column.replace('mask', 'masks', 1)}/{image.name}.png"
        row[column] = _write_png(np.where(mask, 255, 0).astype(np.uint8)[np.newaxis], folder, place)
    return row


def _write_volume(volume: PackedVolume, folder: Path) -> dict[str, str]:
    """Write a volume and its masks; return its row."""
    place = f"{VOLUMES}/{volume.name}.nii.gz"
    row = {"path": _write_nifti(volume.voxels, volume.affine, folder, place), **volume.cells}
    for column, mask in volume.masks.items():
        place = f"{column.replace('mask', 'masks', 1)}/{volume.name}.nii.gz"
        row[column] = _write_nifti(mask[np.newaxis].astype(np.uint8), volume.affine, folder, place)
    return row


def _write_nifti(voxels: NDArray[np.generic], affine: NDArray[np.float64] | None, folder: Path, place: str) -> str:
    place = _short(place)
    if (folder / place).exists():
        raise InputError(f"two volumes are called {place}. Convert the parts one by one.")
    write_nifti(folder / place, voxels, affine)
    return place


def _short(place: str) -> str:
    """Return a path whose parts file systems take: of a longer one the end, and before it what tells it from others."""
    parts = PurePosixPath(place).parts
    refuse_undecodable([place])
    cut = [
        part if len(part.encode()) <= LONGEST_NAME else f"{sha256(part.encode()).hexdigest()[:8]}_{cut_to(part, 200)}"
        for part in parts
    ]
    return str(PurePosixPath(*cut))


def _write_png(pixels: NDArray[np.uint8] | NDArray[np.uint16], folder: Path, place: str) -> str:
    import cv2

    place = _short(place)
    file = folder / place
    if file.exists():
        raise InputError(f"two images are called {place}. Convert the parts one by one.")
    file.parent.mkdir(parents=True, exist_ok=True)
    plane = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)[..., ::-1]
    file.write_bytes(cv2.imencode(".png", np.ascontiguousarray(plane))[1].tobytes())
    return place


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `out` whose files take their places in `out` if the block succeeds."""
    building: Path | None = None
    try:
        with disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            building = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
            building.chmod(0o777 & ~UMASK)
            yield building
            out.mkdir(exist_ok=True)
            for item in building.iterdir():
                shutil.rmtree(out / item.name, ignore_errors=True)
                item.replace(out / item.name)
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
