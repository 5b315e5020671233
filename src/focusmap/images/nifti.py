"""NIfTI volumes, ``.nii`` and ``.nii.gz``: voxels in the file's own order, and where they lie in the patient.

The affine is nibabel's: the sform, else the qform, else the voxel sizes alone. A file that names neither a position nor
a unit says nothing about millimetres: its affine is None.
"""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from focusmap.errors import UnreadableImageError
from focusmap.images.image import Image, Pixels, check_volume_size

if TYPE_CHECKING:
    from nibabel import Nifti1Image

GZIP = b"\x1f\x8b"
NIFTI_2_HEADER_BYTES = 540
MM_IN_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
# zlib's lowest level: several times as fast as the usual one, and a few per cent larger.
COMPRESSION = 1


def read_nifti(path: Path, at_least: int | None = None) -> Image:  # noqa: ARG001  (as every reader)
    """Return the volume in a NIfTI file; modalities along the fourth axis become channels.

    Raises
    ------
    UnreadableImageError
        If it is no NIfTI file or truncated, has an implausible size, a singular affine, voxels that are not real
        numbers, or more than four axes.
    """
    with _opened(path) as volume:
        channels = _channels_of(volume)
        return Image(channels, path, tuple(channels.shape[1:]), _affine_of(volume))


def nifti_shape(path: Path) -> tuple[int, ...]:
    """Return the three sides of the volume in a NIfTI file, from its header alone; errors as for `read_nifti`."""
    with _opened(path) as volume:
        return _shape_of(volume)[:3]


@contextmanager
def _opened(path: Path) -> Iterator["Nifti1Image"]:
    from nibabel import Nifti1Image, Nifti2Image

    with path.open("rb") as file:
        opener = gzip.open if file.read(2) == GZIP else open
    with opener(path, "rb") as file:
        is_second = int.from_bytes(file.read(4), "little") == NIFTI_2_HEADER_BYTES
        file.seek(0)
        yield (Nifti2Image if is_second else Nifti1Image).from_stream(file)


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


def _shape_of(volume: "Nifti1Image") -> tuple[int, ...]:
    """Return the three sides and, where there are several, the number of channels."""
    shape = tuple(int(side) for side in volume.shape)
    # The fifth axis holds vectors; a fourth of one point in time is no axis.
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 5 and shape[3] == 1:
        shape = (*shape[:3], shape[4])
    if len(shape) not in (3, 4):
        raise UnreadableImageError(f"has the shape {volume.shape}; three axes, or four with channels, were expected")
    check_volume_size(shape)
    return shape


def _channels_of(volume: "Nifti1Image") -> Pixels:
    shape = _shape_of(volume)
    if volume.get_data_dtype().kind not in "iufb":
        raise UnreadableImageError(f"holds voxels of {volume.get_data_dtype()}; real numbers were expected")
    voxels = np.asanyarray(volume.dataobj).reshape(shape)
    return _narrow(voxels[np.newaxis] if len(shape) == 3 else np.moveaxis(voxels, -1, 0))


def _narrow(voxels: NDArray[np.generic]) -> Pixels:
    """Return voxels in the smallest of our types that holds them; refuse what is not finite."""
    if voxels.dtype.kind == "f":
        n_odd = int(voxels.size - np.isfinite(voxels).sum())
        if n_odd:
            raise UnreadableImageError(f"holds {n_odd} voxels that are not finite numbers; write 0 there")
        return np.ascontiguousarray(voxels, dtype=np.float32)
    if voxels.dtype in (np.uint8, np.uint16, np.int16):
        return cast(Pixels, np.ascontiguousarray(voxels.astype(voxels.dtype.newbyteorder("="))))
    low, high = int(voxels.min()), int(voxels.max())
    kinds = (np.uint8, np.int16, np.uint16)
    fitting = [kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
    return cast(Pixels, np.ascontiguousarray(voxels, dtype=fitting[0] if fitting else np.float32))


def _affine_of(volume: "Nifti1Image") -> NDArray[np.float64] | None:
    header = volume.header
    unit = header.get_xyzt_units()[0]
    if header["sform_code"] == 0 and header["qform_code"] == 0 and unit == "unknown":
        return None
    affine = np.array(volume.affine, dtype=np.float64)
    affine[:3] *= MM_IN_UNIT[unit]
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise UnreadableImageError(
            "has a singular affine, which leaves no volume to its voxels; mend its sform or qform"
        )
    return affine
