"""What packed sets are made of: images with cells and masks; files of folders, zips and tars, none without bound."""

import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, TypeAlias

import numpy as np

from focusmap.basics import InputError, files_within
from focusmap.images import AGAIN, Budget, Pixels, check_bytes, largest_output, remedy
from focusmap.images.budget import budget


@dataclass(frozen=True, eq=False)
class PackedImage:
    """One image of a packed data set.

    Parameters
    ----------
    name
        Of its file, without suffix; may have folders. No two images of a data set have the same.
    pixels : (C, rows, columns)
        Grey with one channel, colour with three.
    cells
        Column to cell, as text.
    masks
        Mask column (``mask`` or ``mask_TARGET``) to `(rows, columns) bool`.
    """

    name: str
    pixels: Pixels
    cells: Mapping[str, str]
    masks: Mapping[str, np.typing.NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PackedVolume:
    """One volume of a packed data set.

    Parameters
    ----------
    name, cells
        As of an image.
    voxels : (C, *spatial)
        Any number of modalities; the first axis of space runs along columns, the second along rows, the third from
        slice to slice.
    affine
        From voxels to mm towards right, front and top, or None where that is unknown.
    masks
        Mask column to `(*spatial) bool`.
    """

    name: str
    voxels: np.typing.NDArray[np.generic]
    affine: np.typing.NDArray[np.float64] | None
    cells: Mapping[str, str]
    masks: Mapping[str, np.typing.NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True)
class PackedFailure:
    """An image or volume of a packed data set that cannot be read, and why."""

    name: str
    reason: str


Packed: TypeAlias = PackedImage | PackedVolume | PackedFailure


MAX_ZIP_BYTES = 4 * 2**30
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
CHUNK = 2**20
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError,
)  # fmt: skip
"""What zipfile and tarfile raise where an archive is damaged, or locked by a password."""

BROKEN = f"it is damaged, cut off, or locked by a password. {AGAIN}"

Wanted: TypeAlias = Callable[[str], bool]
"""Says of a file's name, without its folders, whether it is to be read."""
Member: TypeAlias = tuple[str, Callable[[], bytes]]
"""A file's name and what reads it; that raises `InputError` where it is damaged or too large."""


def members(source: Path, wanted: Wanted) -> Iterator[Member]:
    """Yield the wanted files of a folder, an archive, or of `source` itself if it is neither, in natural order.

    Zips that lie in a folder or in a zip are opened, after the files beside them; deeper ones are not. A member is
    to be read before the next one is asked for.

    Raises
    ------
    InputError
        If an archive cannot be opened; the message names it.
    """
    if source.is_dir():
        yield from _folder_members(source, wanted)
    elif zipfile.is_zipfile(source):
        with open_zip(source) as archive:
            yield from _zip_members(archive, wanted, inner=True)
    elif source.name.endswith(TAR_SUFFIXES):
        yield from _tar_members(source, wanted)
    elif wanted(source.name):
        yield source.name, partial(_read_file, source)


def holds(source: Path, wanted: Wanted) -> bool:
    """Return True if a wanted file is among the members; `InputError` as for `members`."""
    return next(members(source, wanted), None) is not None


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts numbers by value.

    >>> sorted(["10.mat", "9.mat", "a.mat"], key=natural)
    ['9.mat', '10.mat', 'a.mat']
    """
    parts = [part for part in re.split(r"(\d+)", name.lower()) if part]
    return [(False, int(part), "") if part.isdecimal() else (True, 0, part) for part in parts]


def open_zip(source: Path | IO[bytes], name: str = "") -> zipfile.ZipFile:
    """Return an open zip whose members inflate within reason.

    Raises
    ------
    InputError
        If it is damaged, or a member claims to inflate more than 200 times: no image does.
    """
    name = name or str(source)
    try:
        archive = zipfile.ZipFile(source)
    except (*DAMAGED, OSError):
        raise InputError(f"{name}: cannot be read as a zip: {BROKEN}.") from None
    for info in archive.infolist():
        # zipfile stops reading at the size that is claimed, so that the claim is a bound.
        if info.file_size > largest_output(info.compress_size):
            archive.close()
            raise InputError(
                f"{name}: {info.filename} would inflate from {info.compress_size} to {info.file_size} bytes; "
                f"at most {budget().inflation} times is believed. "
                f"{remedy(info.file_size, largest_output(info.compress_size))}."
            )
    return archive


def _folder_members(folder: Path, wanted: Wanted) -> Iterator[Member]:
    files = sorted(files_within(folder), key=lambda path: natural(str(path)))
    for path in files:
        if wanted(path.name):
            yield path.relative_to(folder).as_posix(), partial(_read_file, path)
    for path in files:
        if path.suffix.lower() == ".zip":
            with open_zip(path) as archive:
                yield from _zip_members(archive, wanted, inner=False)


def _zip_members(archive: zipfile.ZipFile, wanted: Wanted, *, inner: bool) -> Iterator[Member]:
    infos = sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda info: natural(info.filename))
    for info in infos:
        if wanted(PurePosixPath(info.filename).name):
            yield info.filename, partial(_read_zipped, archive, info)
    for info in infos if inner else []:
        if info.filename.lower().endswith(".zip"):
            with TemporaryFile() as file:
                _copy_zipped(archive, info, file)
                with open_zip(file, f"{archive.filename}/{info.filename}") as part:
                    yield from _zip_members(part, wanted, inner=False)


def _tar_members(source: Path, wanted: Wanted) -> Iterator[Member]:
    try:
        # As a stream: a compressed tar that is read here and there is inflated again from its start each time.
        n_bytes = 0
        with tarfile.open(source, "r|*") as archive:
            for info in archive:
                n_bytes += info.size
                if n_bytes > largest_output(source.stat().st_size):
                    raise InputError(
                        f"{source}: inflates to more than {largest_output(source.stat().st_size) // 2**20} MiB. "
                        f"{remedy(n_bytes, largest_output(source.stat().st_size))}."
                    )
                file = archive.extractfile(info) if info.isfile() and wanted(PurePosixPath(info.name).name) else None
                if file is not None:
                    yield info.name, partial(_read_tarred, source, info, file)
    except (*DAMAGED, OSError):
        raise InputError(f"{source}: cannot be read as a tar: {BROKEN}.") from None


def _read_tarred(source: Path, info: tarfile.TarInfo, file: IO[bytes]) -> bytes:
    _check_size(info.name, info.size, source.stat().st_size)
    try:
        return file.read()
    except (*DAMAGED, OSError):
        raise InputError(f"{source}: {info.name} cannot be read: {BROKEN}.") from None


def _read_file(path: Path) -> bytes:
    return path.read_bytes()


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    _check_size(info.filename, info.file_size, info.compress_size)
    try:
        return archive.read(info)
    except (*DAMAGED, OSError):
        raise InputError(f"{archive.filename}: {info.filename} cannot be read: {BROKEN}.") from None


def _copy_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: IO[bytes]) -> None:
    limit = MAX_ZIP_BYTES * budget().inflation // Budget().inflation
    if info.file_size > limit:
        fact = f"{info.filename} has {info.file_size} bytes; {limit} are read. {remedy(info.file_size, limit)}"
        raise InputError(f"{archive.filename}: {fact}")
    try:
        with archive.open(info) as packed:
            while chunk := packed.read(CHUNK):
                file.write(chunk)
    except DAMAGED:
        raise InputError(f"{archive.filename}: {info.filename} cannot be read: {BROKEN}.") from None


def _check_size(name: str, n_bytes: int, packed_bytes: int) -> None:
    try:
        check_bytes(n_bytes, packed_bytes)
    except InputError as error:
        raise InputError(f"{name}: {error}.") from None
