"""NIfTI volumes, ``.nii`` and ``.nii.gz``: voxels in the file's own order, and where they lie in the patient.

The affine is the sform, else the qform, else the voxel sizes alone. A file that names neither a position nor a unit
says nothing about millimetres: its affine is None.
"""

import gzip
import math
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from focusmap.errors import UnreadableImageError
from focusmap.images.budget import AGAIN, GZIP, check_bytes, gunzip, read_head
from focusmap.images.image import Image, Pixels, is_grey, over_black, without_nan
from focusmap.images.nifti_header import HEADER_BYTES, NiftiHeader, parse_header

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
    from focusmap.files import atomic

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
