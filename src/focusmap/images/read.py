"""Reading images, masks and heat maps from files: the content of a file, not its name, decides who reads it."""

import codecs
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import numpy as np

from focusmap.basics import FocusmapError, InputError, MissingFileError, UnreadableImageError, files_within, listed
from focusmap.basics.file_names import DICOM_DIRECTORY, IMAGE_SUFFIX, IMAGE_SUFFIXES
from focusmap.images import budget, dicom, nifti, raster, tiff
from focusmap.images.image import Image

Reader: TypeAlias = Callable[[Path, int | None], Image]
ShapeReader: TypeAlias = Callable[[Path], tuple[int, ...]]


@dataclass(frozen=True)
class Format:
    """A file format: what reads it, the bytes by which it is known, and what reads its header alone.

    Parameters
    ----------
    name
        A key of `IMAGE_SUFFIXES`.
    signatures
        Offset and bytes; one of them is enough.
    """

    name: str
    read: Reader
    signatures: tuple[tuple[int, bytes], ...]
    shape: ShapeReader | None = None


TIFF_SIGNATURES = ((0, b"II*\x00"), (0, b"MM\x00*"), (0, b"II+\x00"), (0, b"MM\x00+"))
NIFTI_SIGNATURES = ((344, b"n+1"), (4, b"n+2"), (344, b"ni1"), (4, b"ni2"))
FORMATS = (
    Format("PNG", raster.read_png, ((0, b"\x89PNG\r\n\x1a\n"),), raster.png_shape),
    Format("JPEG", raster.read_jpeg, ((0, b"\xff\xd8\xff"),), raster.jpeg_shape),
    Format("DICOM", dicom.read_dicom, ((128, b"DICM"), (0, b"DICM"))),
    Format("TIFF", tiff.read_tiff, TIFF_SIGNATURES),
    Format("BMP", raster.read_other_raster, ((0, b"BM"),)),
    Format("GIF", raster.read_other_raster, ((0, b"GIF8"),)),
    Format("WebP", raster.read_other_raster, ((8, b"WEBP"),)),
    Format("NIfTI", nifti.read_nifti, NIFTI_SIGNATURES, nifti.nifti_shape),
)
SIGNATURE_BYTES = 348
NO_IMAGES = {
    b"PK\x03\x04": "packed by zip. Unpack it",
    b"BZh": "packed by bzip2. Unpack it",
    b"\xfd7zXZ": "packed by xz. Unpack it",
    b"7z\xbc\xaf": "packed by 7-Zip. Unpack it",
    b"Rar!": "packed by RAR. Unpack it",
    b"\x1f\x8b": "packed twice by gzip. Unpack it",
    b"<": "a page of HTML or XML, as servers send in place of a file. Fetch it again",
    b"%PDF": "a PDF. Export its images",
    b"\xd0\xcf\x11\xe0": "a workbook or document of an old Office. Save a table as .xlsx or CSV",
    b"\x00\x05\x16\x07": "what macOS notes beside a file. Take it out",
    b"\x89PNG": "a PNG that was changed on its way, as text. Fetch it again",
    b"\0\0\0\x0cjP  ": "JPEG 2000. Save it as PNG",
    b"NRRD": "NRRD. Save it as .nii.gz",
    b"ObjectType": "MetaImage. Save it as .nii.gz",
    b"version https://git-lfs": "what Git LFS keeps in place of a file. Fetch the file itself",
}
"""How files begin that hold no image that can be read, and what is said of them."""
MASK_REMEDY = "Write each mask in its image's own grid, or empty its cell in the label file."


def read_image(path: Path, at_least: int | None = None) -> Image:
    """Return the image or volume in a file.

    Parameters
    ----------
    path
        PNG, JPEG, DICOM (one frame), TIFF (one page), BMP, GIF, WebP or NIfTI; known by its content, not by its name.
    at_least
        If given, the image may come reduced, with a longer side of at least this many pixels: JPEG is then
        decoded faster. `Image.source_shape` is the size in the file all the same.

    Returns
    -------
    Image
        An image upright as its EXIF says, grey with one channel, colour with three, alpha laid over black. A volume
        in the order of its file, a channel a modality, with its affine.

    Raises
    ------
    MissingFileError, UnreadableImageError
        If the file is not there; if it cannot be decoded as a whole, with the file's name and the reason.
    """
    with _known(path) as kind:
        return kind.read(path, at_least)


def read_shape(path: Path) -> tuple[int, ...]:
    """Return `Image.source_shape` of what `read_image` reads; from the header alone of PNG, JPEG and NIfTI files.

    Raises
    ------
    MissingFileError, UnreadableImageError
        As `read_image`, but for what only decoding would show.
    """
    with _known(path) as kind:
        return kind.read(path, None).source_shape if kind.shape is None else kind.shape(path)


@contextmanager
def _known(path: Path) -> Iterator[Format]:
    """Yield the format of a file; whatever goes wrong with it is named."""
    kind: Format | None = None
    try:
        kind = _recognise(path)
        yield kind
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise UnreadableImageError(f"{path}: is a folder; an image was expected.") from None
    # A foreign decoder may raise anything; whatever it is, it says that this one image cannot be read.
    except Exception as error:
        raise UnreadableImageError(f"{path}: {_reason(error, kind).rstrip('.')}{_misnamed(path, kind)}.") from error


def mask_misfit(file: Path, shape: tuple[int, ...], image_id: str, expected: tuple[int, ...]) -> str:
    """Return what is wrong with a mask that does not have the shape of its image; empty where it has.

    >>> mask_misfit(Path("m.png"), (48, 49), "a", (48, 48))
    'm.png: the mask has 48 x 49 pixels, and a has 48 x 48'
    """
    if shape == expected:
        return ""
    own, wanted = (" x ".join(map(str, sides)) for sides in (shape, expected))
    return f"{file}: the mask has {own} pixels, and {image_id} has {wanted}"


def read_mask(path: Path) -> np.typing.NDArray[np.bool_]:
    """Return the mask in an image or volume file as `(*spatial) bool`: everything that is not black.

    JPEG blurs a mask's edge and sprinkles faint dots around it, so there the cut is half of full white.

    Raises
    ------
    MissingFileError, UnreadableImageError
        As `read_image`.
    """
    image = read_image(path)
    cut = 127 if _recognise(path).name == "JPEG" else 0
    mask: np.typing.NDArray[np.bool_] = np.max(image.pixels, axis=0) > cut
    return mask


def refuse_links_out(folder: Path, names: Iterable[str], *, follow: bool) -> None:
    """Raise `InputError` where files of a folder are symbolic links, or lie behind one, to somewhere else.

    Parameters
    ----------
    names
        Paths within the folder.
    follow
        Whether the user allows it.
    """
    links = [] if follow else list(_links_out(folder, names))
    if links:
        raise InputError(
            f"{folder}: symbolic links lead out of it ({len(links)} files: {listed(links, 3, ', ')}). Copy what they "
            "lead to, or allow it with --follow-links."
        )


def _links_out(folder: Path, names: Iterable[str]) -> Iterator[str]:
    home, real = folder.resolve(), cache(Path.resolve)
    for name in names:
        file = folder / name
        file = real(file.parent) / file.name
        with suppress(OSError):  # a name that is too long leads nowhere
            if not (file.resolve() if file.is_symlink() else file).is_relative_to(home):
                yield name


def image_files(folder: Path, *, follow_links: bool = False) -> list[Path]:
    """Return the images in a folder and its folders by name or content, sorted; no hidden files, and no DICOMDIR.

    Raises
    ------
    InputError, PermissionError
        If one is a symbolic link out of the folder, unless these are followed; if a folder may not be opened.
    """
    visible = (
        path
        for path in files_within(folder)
        if path.name.upper() != DICOM_DIRECTORY
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    images = sorted(path for path in visible if IMAGE_SUFFIX.search(path.name) or is_image(path))
    refuse_links_out(folder, (str(path.relative_to(folder)) for path in images), follow=follow_links)
    return images


def is_image(path: Path) -> bool:
    """Return whether a file is an image, by its content or its name."""
    try:
        _recognise(path)
    except UnreadableImageError:
        return False
    except OSError as error:
        # It may be one; whoever reads it is told why not.
        return isinstance(error, PermissionError)
    return True


def _recognise(path: Path) -> Format:
    """Return the format by content, else by name: DICOM without a preamble and NIfTI of some writers are not signed."""
    head = budget.read_head(path, SIGNATURE_BYTES)
    if not head:
        raise UnreadableImageError("is empty (0 bytes)")
    for kind in FORMATS:
        if any(head[offset:].startswith(signature) for offset, signature in kind.signatures):
            return kind
    if head[4:8] == b"ftyp":
        raise UnreadableImageError("is HEIC, AVIF or a film. Save it as PNG or JPEG")
    if what := next((what for sign, what in NO_IMAGES.items() if head.startswith(sign)), ""):
        raise UnreadableImageError(f"is {what}")
    named = _named(path)
    if named is not None and (named.name == "DICOM" or (named.name == "NIfTI" and nifti.is_header(head))):
        return named
    if nifti.is_header(head) or (path.suffix == ".img" and path.with_suffix(".hdr").is_file()):
        raise UnreadableImageError("is one of a pair of Analyze or NIfTI (.hdr and .img). Save both as one .nii file")
    known = ", ".join(kind.name for kind in FORMATS)
    found = "is a text, not an image" if _is_text(head) else f"begins with the bytes {head[:8].hex(' ')}"
    raise UnreadableImageError(f"its content is none of {known}; it {found}")


def _is_text(head: bytes) -> bool:
    """Return whether a file's first bytes are words in UTF-8; the last character may be cut off."""
    with suppress(UnicodeDecodeError):
        found = codecs.getincrementaldecoder("utf-8")().decode(head)
        return all(character.isprintable() or character.isspace() for character in found)
    return False


def _named(path: Path) -> Format | None:
    """Return the format that a file's name says, packed by gzip or not."""
    name = path.name.lower().removesuffix(".gz")
    return next((kind for kind in FORMATS if name.endswith(IMAGE_SUFFIXES[kind.name])), None)


def _reason(error: Exception, kind: Format | None) -> str:
    """Return what is said of an error; what a library says is not passed on, since it may quote the patient."""
    if isinstance(error, FocusmapError):
        return str(error)
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read ({error.strerror})"
    name = "" if kind is None else f" as {kind.name}"
    return f"cannot be decoded{name}: it is damaged, cut off or in a form that is not read. Fetch or export it again"


def _misnamed(path: Path, kind: Format | None) -> str:
    named = _named(path)
    if kind is None or named is None or kind.name == named.name:
        return ""
    return f" (the name says {named.name}, the content {kind.name})"


MAP_KEY = "map"
# numpy reads an array's header by way of Python's parser, which several threads confuse in Python 3.11.
ONE_AT_A_TIME = Lock()


def read_map(path: Path) -> np.ndarray:
    """Return the map ``(*spatial) float32`` in a file; `InputError` if there is none."""
    if path.suffix != ".npz":
        return np.asarray(read_image(path).pixels[0], dtype=np.float32)
    try:
        with ONE_AT_A_TIME, np.load(path, allow_pickle=False) as stored:
            return np.asarray(stored[MAP_KEY], dtype=np.float32)
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile):
        raise InputError(f"{path}: is not a heat map with the key {MAP_KEY!r}.") from None
