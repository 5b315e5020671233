"""DICOM files, of one frame or several, as a packed data set: every frame is an image."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from focusmap.convert.archives import natural
from focusmap.convert.packed import Packed, PackedFailure, PackedImage
from focusmap.errors import FocusmapError
from focusmap.images.budget import AGAIN, read_head
from focusmap.images.dicom import read_frames

SUFFIXES = (".dcm", ".dicom", ".ima")
MAGIC, MAGIC_OFFSET = b"DICM", 128
DIRECTORY = "DICOMDIR"


def is_dicom(path: Path) -> bool:
    """Return True for a file that is DICOM by its content or its name, but for the table of contents of a disc."""
    if not path.is_file() or path.name == DIRECTORY:
        return False
    head = read_head(path, MAGIC_OFFSET + len(MAGIC))
    return head[MAGIC_OFFSET:] == MAGIC or path.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def dicom_files(source: Path) -> list[Path]:
    """Return the DICOM files of a folder and its folders in natural order, or the one file that is named."""
    if not source.is_dir():
        return [source] if is_dicom(source) else []
    return sorted((path for path in source.rglob("*") if is_dicom(path)), key=lambda path: natural(str(path)))


def unpack_dicom(source: Path) -> Iterator[Packed]:
    """Yield every frame of every file, as `read_image` would show it.

    Cells: ``patient_id`` and ``series`` as the file has them, ``source`` (the file) and ``frame``, from 1 on. There is
    no label in a DICOM file; add the column. A file that cannot be read is a `PackedFailure`.
    """
    for path in dicom_files(source):
        name = path.relative_to(source).as_posix() if source.is_dir() else path.name
        try:
            yield from _frames(path, name)
        except FocusmapError as error:
            yield PackedFailure(name, str(error))
        # A foreign decoder may raise anything; whatever it is, it says that this one file cannot be read.
        except Exception:
            yield PackedFailure(name, f"cannot be decoded: it is damaged. {AGAIN}")


def _frames(path: Path, name: str) -> Iterator[PackedImage]:
    plain = name.removesuffix(".gz")
    stem = str(PurePosixPath(plain).with_suffix("")) if plain.lower().endswith(SUFFIXES) else plain
    for number, frame in enumerate(read_frames(path), start=1):
        cells = {"patient_id": frame.patient_id, "series": frame.series, "source": name, "frame": str(number)}
        yield PackedImage(f"{stem}_{number:04d}" if frame.n_frames > 1 else stem, frame.image.pixels, cells)
