"""The brain tumour set of Cheng et al. (figshare 1512427): one MATLAB file per slice, v7 or v7.3, often in zips."""

import io
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeAlias, cast

import h5py
import numpy as np

from focusmap.basics import InputError
from focusmap.convert.archives import Packed, PackedFailure, PackedImage, members
from focusmap.images import AGAIN, MIB, Pixels, check_bytes, check_parts, check_plane_size, largest_output, remedy

HDF5 = b"\x89HDF\r\n\x1a\n"
HDF5_OFFSET = 512
COMPRESSED, MATRIX = 15, 14
# mxCELL_CLASS, mxSTRUCT_CLASS, mxOBJECT_CLASS.
HOLDERS = (1, 2, 3)
DEEPEST = 32
STRUCT, FOLDS = "cjdata", "cvind"
TUMOURS = {1: "meningioma", 2: "glioma", 3: "pituitary"}

Array: TypeAlias = np.typing.NDArray[np.generic]
NOT_FIGSHARE = "holds no variable {name}, as files of the figshare brain tumours do. Export its images as PNG."


def is_slice(name: str) -> bool:
    """Return True for the name of a slice's file."""
    return name.lower().endswith(".mat") and not name.startswith(".") and not is_fold_file(name)


def is_fold_file(name: str) -> bool:
    """Return True for the name of the file that holds the set's own folds."""
    return name.lower() == f"{FOLDS}.mat"


def unpack_figshare(source: Path) -> Iterator[Packed]:
    """Yield the slices of a folder, a zip or a single file, in the order of their numbers.

    Cells: ``label`` (meningioma, glioma, pituitary), ``patient_id`` (PID) and, where there is a ``cvind.mat``,
    ``fold``; the mask is the set's own ``tumorMask``.

    Raises
    ------
    InputError
        If ``cvind.mat`` cannot be read. A slice that cannot be read is a `PackedFailure`.
    """
    folds = [_folds(read(), name) for name, read in members(source, is_fold_file)]
    for name, read in members(source, is_slice):
        stem = PurePosixPath(name).stem
        try:
            yield _image(stem, read_struct(read(), STRUCT), folds[0] if folds else None)
        except InputError as error:
            yield PackedFailure(name, str(error))


def _image(stem: str, fields: Mapping[str, Array | str], folds: list[int] | None) -> PackedImage:
    missing = [name for name in ("image", "label", "PID", "tumorMask") if name not in fields]
    if missing:
        raise InputError(f"{STRUCT} lacks {', '.join(missing)}.")
    image, mask = np.asarray(fields["image"]), np.asarray(fields["tumorMask"])
    if image.ndim != 2 or image.dtype.kind not in "iufb":
        raise InputError(f"{STRUCT}.image has the shape {image.shape} of {image.dtype}; a grey image was expected.")
    check_plane_size(*image.shape)
    if mask.shape != image.shape:
        raise InputError(f"{STRUCT}.tumorMask has the shape {mask.shape}, and image {image.shape}.")
    cells = {"label": _tumour(fields["label"]), "patient_id": _text(fields["PID"])}
    if folds is not None:
        cells["fold"] = _fold(stem, folds)
    return PackedImage(stem, cast(Pixels, image[np.newaxis]), cells, {"mask": mask != 0})


def _tumour(label: Array | str) -> str:
    numbers = np.asarray(label).ravel()
    number = float(numbers[0]) if numbers.size == 1 and numbers.dtype.kind in "iuf" else math.nan
    if number not in TUMOURS:
        known = ", ".join(f"{key} ({name})" for key, name in TUMOURS.items())
        raise InputError(f"{STRUCT}.label is {label!r}; one of {known} was expected.")
    return TUMOURS[int(number)]


def _text(value: Array | str) -> str:
    """Return a patient's id, which some copies hold as a number."""
    return value.strip() if isinstance(value, str) else "".join(f"{item:g}" for item in value.ravel().astype(float))


def _fold(stem: str, folds: list[int]) -> str:
    if not stem.isdecimal() or not 1 <= int(stem) <= len(folds):
        raise InputError(f"the file's name is no number from 1 to {len(folds)}, as {FOLDS}.mat expects.")
    return str(folds[int(stem) - 1])


def _folds(content: bytes, name: str) -> list[int]:
    try:
        value = read_variable(content, FOLDS)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    if isinstance(value, str) or value.dtype.kind not in "iuf":
        raise InputError(f"{name}: {FOLDS} is not a list of fold numbers.")
    return [int(fold) for fold in value.ravel().astype(float)]


def read_struct(content: bytes, name: str) -> dict[str, Array | str]:
    """Return the fields of a struct variable of a MATLAB file, v7 or v7.3, as `read_variable` has each.

    Raises
    ------
    InputError
        If the file is damaged, inflates beyond measure, or has no such struct.
    """
    with _decoding():
        if _is_hdf5(content):
            return _hdf5_struct(content, name)
        stored = _v7_variable(content, name)
        if stored.dtype.names is None or stored.size != 1:
            raise InputError(f"{name} is not a struct.")
        record = stored.reshape(-1)[0]
        return {key: _v7_value(record[key]) for key in stored.dtype.names}


def read_variable(content: bytes, name: str) -> Array | str:
    """Return a variable of a MATLAB file, v7 or v7.3: an array as MATLAB shows it, or a text."""
    with _decoding():
        if not _is_hdf5(content):
            return _v7_value(_v7_variable(content, name))

        with h5py.File(io.BytesIO(content)) as file:
            check_bytes(getattr(file.get(name), "nbytes", 0), len(content))
            return _hdf5_value(file, name)


@contextmanager
def _decoding() -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    # scipy and h5py may raise anything; whatever it is, it says that this one file cannot be read.
    except Exception:
        raise InputError(f"cannot be read as a MATLAB file: it is damaged or cut off. {AGAIN}.") from None


def _is_hdf5(content: bytes) -> bool:
    return HDF5 in (content[:8], content[HDF5_OFFSET : HDF5_OFFSET + 8])


def _v7_variable(content: bytes, name: str) -> Array:
    from scipy.io import loadmat

    _check_inflation(content)
    variables = loadmat(io.BytesIO(content), variable_names=[name])  # type: ignore[arg-type]  # its stubs forget files
    if name not in variables:
        raise InputError(NOT_FIGSHARE.format(name=name))
    return np.asarray(variables[name])


def _check_inflation(content: bytes) -> None:
    """Refuse what inflates without measure or nests without end (MAT-file format, level 5); scipy would follow it."""
    order = "<" if content[126:128] == b"IM" else ">"
    place, limit = 128, largest_output(len(content))
    left = limit
    while place + 8 <= len(content):
        kind, length = struct.unpack(f"{order}II", content[place : place + 8])
        element = content[place : place + 8 + length]
        if kind == COMPRESSED:
            inflater = zlib.decompressobj()
            element = inflater.decompress(content[place + 8 : place + 8 + length], left)
            left -= len(element)
            if inflater.unconsumed_tail:
                raise InputError(f"inflates to more than {limit // MIB} MiB. {remedy(2 * limit, limit)}.")
        _check_depth(element, order)
        place += 8 + length


def _check_depth(element: bytes, order: str) -> None:
    """Refuse cells and structs that lie in one another more often than any slice needs."""
    place, depth = 0, 0
    while place + 24 <= len(element):
        kind, _ = struct.unpack_from(f"{order}II", element, place)
        if kind != MATRIX:
            return
        # Behind the tag: 16 bytes of flags, whose class says whether other matrices follow dimensions and names.
        flags = struct.unpack_from(f"{order}I", element, place + 16)[0]
        if flags & 0xFF not in HOLDERS:
            return
        depth += 1
        if depth > DEEPEST:
            raise InputError(f"nests its cells more than {DEEPEST} deep.")
        place += 24
        while place + 8 <= len(element) and struct.unpack_from(f"{order}I", element, place)[0] != MATRIX:
            tag = struct.unpack_from(f"{order}I", element, place)[0]
            # A small element keeps its length in the upper half of its tag and its values behind it.
            length = 0 if tag >> 16 else struct.unpack_from(f"{order}I", element, place + 4)[0]
            place += 8 + -(-length // 8) * 8


def _v7_value(value: Array) -> Array | str:
    return "".join(map(str, value.ravel())) if value.dtype.kind == "U" else value


def _hdf5_struct(content: bytes, name: str) -> dict[str, Array | str]:
    with h5py.File(io.BytesIO(content)) as file:
        _check_link(file, name)
        group = file[name]
        if not isinstance(group, h5py.Group):
            raise InputError(f"{name} is not a struct.")
        _check_total(group, len(content))
        return {key: _hdf5_value(group, key) for key in group}


def _check_total(group: "h5py.Group", packed_bytes: int) -> None:
    """Refuse fields that take more than the file lets expect, alone or together."""
    check_parts(len(group), "fields")
    fields = (group.get(name) for name in group if isinstance(group.get(name, getlink=True), h5py.HardLink))
    check_bytes(sum(int(field.nbytes) for field in fields if isinstance(field, h5py.Dataset)), packed_bytes)


def _hdf5_value(parent: "h5py.Group", name: str) -> Array | str:
    """Return a data set as MATLAB shows it: v7.3 writes the columns of an array as rows, and texts as numbers."""
    _check_link(parent, name)
    item = parent[name]
    if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
        raise InputError(f"{name} is not an array of this file.")
    value = np.asarray(item[()]).T
    is_text = item.attrs.get("MATLAB_class") == b"char"
    return "".join(chr(code) for code in value.ravel()) if is_text else value


def _check_link(parent: "h5py.Group", name: str) -> None:
    """Refuse links that lead elsewhere: HDF5 would follow them to other files of this computer."""
    if name not in parent:
        raise InputError(NOT_FIGSHARE.format(name=name))
    if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{name} is a link out of the file.")
