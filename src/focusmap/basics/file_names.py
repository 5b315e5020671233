"""What the name of a file says: whether it is an image, by format, or a table."""

import re
from collections.abc import Mapping
from pathlib import Path

IMAGE_SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "DICOM": (".dcm", ".dicom", ".ima"),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "WebP": (".webp",),
    "NIfTI": (".nii", ".nii.gz"),
}
"""How names of image files end, for each format that `focusmap.images.read` reads."""
IMAGE_SUFFIX = re.compile(
    f"(?:{'|'.join(re.escape(suffix) for suffixes in IMAGE_SUFFIXES.values() for suffix in suffixes)})$", re.IGNORECASE
)
DICOM_DIRECTORY = "DICOMDIR"
"""What a disc's table of contents is called, which is a DICOM file and no image."""
TABLE_SUFFIX = re.compile(r"\.(?:csv|tsv|xlsx|xlsm)(?:\.gz)?$", re.IGNORECASE)


def is_table(path: Path) -> bool:
    """Return whether a file is a table, such as a label file, by its name; what is not, is taken for an image.

    >>> [is_table(Path(name)) for name in ("labels.csv", "LABELS.CSV.GZ", "labels.xlsx", "scan.nii.gz", "film.png")]
    [True, True, True, False, False]
    """
    return TABLE_SUFFIX.search(path.name) is not None


def table_name(path: Path) -> str:
    """Return what a label file is called without what says that it is one.

    >>> table_name(Path("folder/new.v2.csv.gz"))
    'new.v2'
    """
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem
