"""NIfTI volumes, ``.nii`` and ``.nii.gz``: voxels in the file's own order, and where they lie in the patient.

The header (nifti1.h, nifti2.h) says that of them; odd values are mended or refused.

Writers differ from the standard in many fields. What leaves one reading is read so; what leaves none is refused by the
name of the field and its value.

The affine is the sform, else the qform, else the voxel sizes alone. A file that names neither a position nor a unit
says nothing about millimetres: its affine is None.
"""

import gzip
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from focusmap.basics import UnreadableImageError
from focusmap.images.budget import AGAIN, GZIP, check_bytes, check_volume_size, gunzip, read_head
from focusmap.images.image import Image, Pixels, is_grey, over_black, without_nan

Order: TypeAlias = Literal["<", ">"]

HEADER_BYTES = 540
"""Of NIfTI-2; NIfTI-1 has 348."""
LENGTHS = (348, HEADER_BYTES)
# nifti1.h, DT_*: what a voxel is. Colours have several numbers for each.
DATATYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 128: "3u1", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
    2304: "4u1",
}  # fmt: skip
UNREAD = {0: "unknown", 1: "bits", 32: "complex64", 1536: "float128", 1792: "complex128", 2048: "complex256"}
# nifti1.h, NIFTI_UNITS_*
MM_IN_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
# A quaternion is written in 32 bits and rounded by some tools to four digits; beyond this it is damaged.
LONGEST_QUATERNION = 1.01


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What is read of a header.

    Parameters
    ----------
    shape
        Three sides and, where there are several, the number of channels.
    dtype
        Of a voxel, in the file's own byte order; with a shape of its own for colours.
    offset
        Bytes before the first voxel.
    slope, intercept
        Voxels are multiplied by the first, and the second is added; 1 and 0 where the file does not say.
    affine : (4, 4) float or None
        As of `Image`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    intercept: float
    affine: NDArray[np.float64] | None

    @property
    def n_bytes(self) -> int:
        """Return how many bytes header and voxels take."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def parse_header(head: bytes) -> NiftiHeader:
    """Return what the first bytes of a NIfTI file say.

    Raises
    ------
    UnreadableImageError
        If they are no header of one file, or claim what cannot be read; the message names field and value.
    """
    fields = _fields(head)
    code = int(fields.value("datatype"))
    if code not in DATATYPES:
        what = f" ({UNREAD[code]})" if code in UNREAD else ""
        raise UnreadableImageError(
            f"datatype is {code}{what}; real numbers or RGB were expected. Save the voxels as whole or decimal numbers"
        )
    shape, dtype = _shape(fields), np.dtype(DATATYPES[code]).newbyteorder(fields.order)
    slope, intercept = fields.value("scl_slope"), fields.value("scl_inter")
    if not math.isfinite(slope) or slope == 0:
        slope, intercept = 1.0, 0.0
    first = fields.value("vox_offset")
    if not 0 <= first < 2**40:
        raise UnreadableImageError(f"vox_offset is {first:g}, which is no place in a file")
    offset = max(int(first), 352 if fields.version == 1 else 544)
    intercept = intercept if math.isfinite(intercept) else 0.0
    return NiftiHeader(shape, dtype, offset, slope, intercept, _affine(fields, shape))


def is_header(head: bytes) -> bool:
    """Return whether bytes begin as a NIfTI file does: with the length of its header, in either byte order."""
    return any(int.from_bytes(head[:4], order) in LENGTHS for order in ("little", "big"))


# (place, struct) of the fields that are read, of NIfTI-1 and NIfTI-2.
PLACES: dict[str, tuple[tuple[int, str], tuple[int, str]]] = {
    "dim": ((40, "8h"), (16, "8q")), "datatype": ((70, "h"), (12, "h")), "pixdim": ((76, "8f"), (104, "8d")),
    "vox_offset": ((108, "f"), (168, "q")), "scl_slope": ((112, "f"), (176, "d")),
    "scl_inter": ((116, "f"), (184, "d")), "xyzt_units": ((123, "B"), (500, "i")),
    "qform_code": ((252, "h"), (344, "i")), "sform_code": ((254, "h"), (348, "i")),
    "quatern": ((256, "3f"), (352, "3d")), "qoffset": ((268, "3f"), (376, "3d")), "srow": ((280, "12f"), (400, "12d")),
}  # fmt: skip


@dataclass(frozen=True)
class _Fields:
    """The fields of a header of version 1 or 2, in its byte order."""

    head: bytes
    version: Literal[1, 2]
    order: Order

    def values(self, name: str) -> tuple[float, ...]:
        place, kinds = PLACES[name][self.version - 1]
        return struct.unpack_from(self.order + kinds, self.head, place)

    def value(self, name: str) -> float:
        return self.values(name)[0]


def _fields(head: bytes) -> _Fields:
    """Return the fields of a header, whose first number, its own length, tells version and byte order."""
    order: Order
    for order in ("<", ">"):
        length = struct.unpack_from(f"{order}i", head.ljust(4, b"\0"))[0]
        if length not in LENGTHS:
            continue
        version: Literal[1, 2] = 1 if length == 348 else 2
        if len(head) < length:
            raise UnreadableImageError("is a NIfTI file that is cut off within its header")
        magic = head[344:347] if version == 1 else head[4:7]
        if magic[:2] == b"ni":
            raise UnreadableImageError("is the header of a pair (.hdr and .img). Save both as one .nii file")
        return _Fields(head, version, order)
    raise UnreadableImageError(
        f"sizeof_hdr is {int.from_bytes(head[:4], 'little')}; 348 or {HEADER_BYTES} was expected"
    )


def _shape(fields: _Fields) -> tuple[int, ...]:
    """Return the three sides and, where there are several, the number of channels.

    A side that is not counted, or 0 behind the second, is 1: a slice is a volume of one slice, and old exports of one
    point in time write 0 of them.
    """
    n_axes, *sides = (int(side) for side in fields.values("dim"))
    if not 1 <= n_axes <= 7:
        raise UnreadableImageError(f"dim[0] is {n_axes}; 2 to 7 axes were expected")
    written = tuple(sides[:n_axes])
    if n_axes == 1:
        raise UnreadableImageError(f"has the shape {written}; a slice has two axes and a volume three. Save it so")
    shape = [side if side or axis < 2 else 1 for axis, side in enumerate(written)]
    shape += [1] * (3 - len(shape))
    # The fifth axis holds vectors; a fourth of one point in time is no axis.
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) == 5 and shape[3] == 1:
        shape.pop(3)
    if len(shape) > 4:
        raise UnreadableImageError(
            f"has the shape {written}; three axes, or four with channels, were expected. Save each point in time alone"
        )
    check_volume_size(tuple(shape))
    return tuple(shape)


def _affine(fields: _Fields, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Return the sform if its code is above 0, else the qform if its is, else what the voxel sizes alone give."""
    unit = int(fields.value("xyzt_units")) & 7
    if fields.value("sform_code") > 0:
        affine = np.eye(4)
        affine[:3] = np.reshape(fields.values("srow"), (3, 4))
        if not _is_place(affine) and fields.value("qform_code") > 0:
            affine = _qform(fields, shape)
        name = f"sform (code {fields.value('sform_code'):g})"
    elif fields.value("qform_code") > 0:
        affine, name = _qform(fields, shape), f"qform (code {fields.value('qform_code'):g})"
    elif unit not in MM_IN_UNIT:
        return None
    else:
        affine, name = _of_sizes(fields, shape), ""
        if not _is_place(affine):
            # pixdim says nothing of use, and nothing else says where voxels lie.
            return None
    affine[:3] *= MM_IN_UNIT.get(unit, 1.0)
    if not _is_place(affine):
        raise UnreadableImageError(
            f"has a singular affine, which leaves no volume to its voxels: {name}, pixdim "
            f"{', '.join(f'{size:g}' for size in fields.values('pixdim')[1:4])}. Mend its sform or qform"
        )
    return affine


def _is_place(affine: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(affine).all() and np.linalg.matrix_rank(affine[:3, :3]) == 3)


def _sizes(fields: _Fields, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the voxel sizes, ``(3,)``: a sign is none, and without a size an axis of one voxel has 1, others 0."""
    sizes = np.abs(np.asarray(fields.values("pixdim")[1:4]))
    nameless = ~np.isfinite(sizes) | (sizes == 0)
    return np.asarray(np.where(nameless, np.array(shape[:3]) == 1, sizes))


def _of_sizes(fields: _Fields, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the affine of NIfTI's method 1, around the middle of the volume; the first axis runs to the left."""
    steps = _sizes(fields, shape) * [-1, 1, 1]
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = -steps * (np.array(shape[:3]) - 1) / 2
    return affine


def _qform(fields: _Fields, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the affine of NIfTI's method 2: a turn by a quaternion of length 1, of which three parts are stored.

    A length above 1 by rounding leaves nothing to the fourth part, which is 0 then; qfac is 1 or -1 by its sign.
    """
    x, y, z = np.asarray(fields.values("quatern"), np.longdouble)
    length = x * x + y * y + z * z
    if not length <= LONGEST_QUATERNION:
        raise UnreadableImageError(
            f"quatern_b, c and d are {float(x):g}, {float(y):g} and {float(z):g}, which is no turn. Mend its qform"
        )
    # nibabel takes as 0 what rounding of 32 bits explains, of NIfTI-1.
    rest = 1 - length
    w = np.sqrt(rest) if rest > (3 * np.finfo(np.float32).eps if fields.version == 1 else 0) else np.longdouble(0)
    affine = np.eye(4)
    affine[:3, :3] = _turn(w, x, y, z) * (_sizes(fields, shape) * [1, 1, -1 if fields.values("pixdim")[0] < 0 else 1])
    affine[:3, 3] = fields.values("qoffset")
    return affine


def _turn(w: np.longdouble, x: np.longdouble, y: np.longdouble, z: np.longdouble) -> NDArray[np.floating]:
    s = 2 / (w * w + x * x + y * y + z * z)
    return np.array(
        [
            [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
            [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
            [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
        ]
    )


# zlib's lowest level: several times as fast as the usual one, and a few per cent larger.
COMPRESSION = 1


def read_nifti(path: Path, at_least: int | None = None) -> Image:  # noqa: ARG001  (as every reader)
    """Return the volume in a NIfTI file; modalities along the fourth axis, and colours, become channels.

    A slice of two axes is a volume of one slice. NaN is background: 0, or the lowest value where that is below.

    Raises
    ------
    UnreadableImageError
        If it is no NIfTI file, truncated or damaged, has an implausible size, a singular affine, voxels that are not
        real numbers, or more than four axes.
    """
    content = path.read_bytes()
    header = parse_header(read_head(path, HEADER_BYTES))
    check_bytes(header.n_bytes, len(content))
    if content.startswith(GZIP):
        content = gunzip(content, header.n_bytes)
    if len(content) < header.n_bytes:
        raise UnreadableImageError(
            f"cannot be decoded: cut off; its header claims {header.n_bytes} bytes, {len(content)} are there. {AGAIN}"
        )
    channels, notes = without_nan(_channels_of(content, header), "voxels")
    return Image(channels, path, header.shape[:3], header.affine, notes)


def nifti_shape(path: Path) -> tuple[int, ...]:
    """Return the three sides of the volume in a NIfTI file, from its header alone; errors as for `read_nifti`."""
    return parse_header(read_head(path, HEADER_BYTES)).shape[:3]


def write_nifti(path: Path, channels: NDArray[np.generic], affine: NDArray[np.float64] | None) -> None:
    """Write `(C, *spatial)` as a ``.nii.gz`` file; C = 1 becomes a volume of three axes.

    Without an affine the file names neither position nor unit, so that `read_nifti` gives None again.
    """
    from nibabel import Nifti1Image

    # Imported above it would bring pandas into every worker process that reads volumes.
    from focusmap.basics import atomic

    voxels = channels[0] if len(channels) == 1 else np.moveaxis(channels, 0, -1)
    volume = Nifti1Image(voxels, affine)
    if affine is not None:
        volume.header.set_xyzt_units("mm")
    with atomic(path) as temporary:
        temporary.write_bytes(gzip.compress(volume.to_bytes(), COMPRESSION, mtime=0))


def _channels_of(content: bytes, header: NiftiHeader) -> Pixels:
    """Return the voxels ``(C, *spatial)`` in their units."""
    n_values = math.prod(header.shape) * math.prod(header.dtype.shape)
    stored = np.frombuffer(content, header.dtype.base, n_values, header.offset)
    if header.dtype.shape:
        return _colours(stored.reshape(header.dtype.shape + header.shape, order="F"))
    voxels = stored.reshape(header.shape, order="F")
    if (header.slope, header.intercept) != (1.0, 0.0):
        voxels = voxels * np.float64(header.slope) + np.float64(header.intercept)
    return _narrow(voxels[np.newaxis] if len(header.shape) == 3 else np.moveaxis(voxels, -1, 0))


def _colours(voxels: NDArray[np.generic]) -> Pixels:
    """Return colours ``(3 or 4, *spatial)`` as channels, alpha laid over black; of grey as colour, the first alone."""
    if voxels.ndim != 4:
        raise UnreadableImageError("holds several volumes of RGB voxels; one was expected. Save each alone")
    laid = over_black(cast(Pixels, np.moveaxis(voxels, 0, -1)))
    channels = cast(Pixels, np.ascontiguousarray(np.moveaxis(laid, -1, 0)))
    return channels[:1] if is_grey(channels) else channels


def _narrow(voxels: NDArray[np.generic]) -> Pixels:
    """Return voxels in the smallest of our types that holds them."""
    if voxels.dtype.kind == "f":
        return np.ascontiguousarray(voxels, dtype=np.float32)
    if voxels.dtype in (np.uint8, np.uint16, np.int16):
        return cast(Pixels, np.ascontiguousarray(voxels.astype(voxels.dtype.newbyteorder("="))))
    low, high = int(voxels.min()), int(voxels.max())
    kinds = (np.uint8, np.int16, np.uint16)
    fitting = [kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
    return cast(Pixels, np.ascontiguousarray(voxels, dtype=fitting[0] if fitting else np.float32))
