"""MedMNIST (Yang et al. 2023, medmnist.com): one ``.npz`` with images and labels of three splits."""

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.lib import format as npy

from focusmap.basics import InputError
from focusmap.convert.archives import BROKEN, DAMAGED, PackedImage, PackedVolume, open_zip
from focusmap.images import check_bytes, check_plane_size, check_volume_size

SPLITS = ("train", "val", "test")
MAX_LABEL_BYTES = 64 * 2**20


def unpack_medmnist(source: Path) -> Iterator[PackedImage | PackedVolume]:
    """Yield the images or volumes of a MedMNIST file in its own order, one at a time.

    Volumes do not say how large their voxels are. Cells: ``split`` (train, val, test) and ``label``, the number in the
    file, or one ``label_K`` for each of several 0/1 labels.

    Raises
    ------
    InputError
        If the file is not MedMNIST's or is damaged.
    """
    with open_zip(source) as archive:
        arrays = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        splits = [split for split in SPLITS if f"{split}_images" in arrays]
        if not splits:
            names = ", ".join(sorted(arrays)) or "no arrays"
            raise InputError(f"{source}: holds {names}; train_images and train_labels were expected.")
        try:
            for split in splits:
                labels = _labels(archive, arrays.get(f"{split}_labels"), split)
                yield from _images(archive, arrays[f"{split}_images"], labels, split)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        except DAMAGED:
            raise InputError(f"{source}: cannot be read as a MedMNIST .npz: {BROKEN}.") from None


@dataclass(frozen=True)
class ArrayHeader:
    """What an ``.npy`` file says of its array."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    fortran_order: bool

    @property
    def n_bytes(self) -> int:
        """Return how many bytes follow."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"the shape {self.shape} of {self.dtype}"


def _header(file: IO[bytes]) -> ArrayHeader:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    return ArrayHeader(shape, dtype, fortran_order)


def _labels(archive: zipfile.ZipFile, info: zipfile.ZipInfo | None, split: str) -> list[dict[str, str]]:
    """Return the label cells of each image of a split."""
    if info is None:
        raise InputError(f"{split}_labels is missing.")
    if info.file_size > MAX_LABEL_BYTES:
        raise InputError(f"{split}_labels has {info.file_size} bytes; at most {MAX_LABEL_BYTES} are read.")
    with archive.open(info) as file:
        header, content = _header(file), file.read()
    if len(header.shape) not in (1, 2) or header.dtype.kind not in "iub" or header.n_bytes != len(content):
        raise InputError(f"{split}_labels has {header}; one or several whole numbers an image were expected.")
    order: Literal["F", "C"] = "F" if header.fortran_order else "C"
    columns = np.frombuffer(content, header.dtype).reshape(header.shape[0], -1, order=order)
    names = ["label"] if columns.shape[1] == 1 else [f"label_{number}" for number in range(columns.shape[1])]
    return [{name: str(int(value)) for name, value in zip(names, row, strict=True)} for row in columns]


def _images(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, labels: list[dict[str, str]], split: str
) -> Iterator[PackedImage | PackedVolume]:
    """Yield the images of a split as they are inflated; only one is in memory at a time."""
    with archive.open(info) as file:
        header = _header(file)
        _check_images(header, len(labels), split)
        shape = header.shape[1:]
        n_bytes = math.prod(shape)
        check_bytes(n_bytes, info.compress_size)
        for number, cells in enumerate(labels):
            content = file.read(n_bytes)
            if len(content) < n_bytes:
                raise InputError(f"{split}_images ends after {number} of {len(labels)} images.")
            stored: np.typing.NDArray[np.uint8] = np.frombuffer(content, np.uint8).reshape(shape)
            yield _packed(f"{split}_{number:05d}", stored, {"split": split, **cells})


def _packed(name: str, stored: np.typing.NDArray[np.uint8], cells: dict[str, str]) -> PackedImage | PackedVolume:
    if stored.ndim == 3 and stored.shape[-1] != 3:
        # Slices, rows, columns; see `PackedVolume`.
        return PackedVolume(name, stored.transpose(2, 1, 0)[np.newaxis], None, cells)
    return PackedImage(name, stored[np.newaxis] if stored.ndim == 2 else stored.transpose(2, 0, 1), cells)


def _check_images(header: ArrayHeader, n_labels: int, split: str) -> None:
    n_axes = len(header.shape)
    if header.dtype != np.uint8 or n_axes not in (3, 4) or header.fortran_order:
        raise InputError(f"{split}_images has {header}; images or volumes of uint8 were expected.")
    if header.shape[0] != n_labels:
        raise InputError(f"{split}_images holds {header.shape[0]} images; {split}_labels holds {n_labels}.")
    if n_axes == 4 and header.shape[-1] != 3:
        check_volume_size(header.shape[1:])
    check_plane_size(*header.shape[1:3])
