"""The files of heat maps: one array a file, under a name made from the image and the label."""

import re
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path, PurePath

import numpy as np
from numpy.lib import format as npy

from focusmap.files import PICTURE_SUFFIX, atomic
from focusmap.images.heat_map import KEY, read_map

__all__ = ["KEY", "MapNames", "file_name", "read_map", "write_binary", "write_map"]

LONGEST_NAME = 120
UNSAFE = re.compile(r"[^\w.=+-]+")


class MapNames:
    """Gives each image or label a file name of its own: equal names of different ones get a number."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()

    def name(self, image_id: str) -> str:
        """Return a new name; call it once for each image or label.

        >>> names = MapNames()
        >>> names.name("images/0001.png"), names.name("images_0001"), names.name("/data/a/0001.png")
        ('images_0001', 'images_0001-2', '0001')
        """
        plain = file_name(image_id)
        self._given[plain.lower()] += 1
        n = self._given[plain.lower()]
        return plain if n == 1 else self.name(f"{plain}-{n}")


def file_name(text: str) -> str:
    """Return `text` as a part of a file name: folders joined by ``_``, no suffix of a picture, at most 120 letters.

    >>> file_name("a b/c:d.png"), file_name("label=benign")
    ('a_b_c_d', 'label=benign')
    """
    path = PurePath(text)
    relative = path.name if path.is_absolute() else text
    return UNSAFE.sub("_", PICTURE_SUFFIX.sub("", relative)).strip("_.")[-LONGEST_NAME:] or "_"


def write_map(path: Path, heat_map: np.ndarray) -> None:
    """Write ``(*spatial) float32`` as an ``.npz`` file with the key ``map``.

    At zlib's lowest level: twice as fast as `numpy.savez_compressed`, and as small.
    """
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"{KEY}.npy", _npy_bytes(heat_map))


def write_binary(path: Path, region: np.ndarray) -> None:
    """Write ``(rows, columns) bool`` as a PNG of 0 and 255."""
    from PIL import Image

    with atomic(path) as temporary:
        Image.fromarray(region.astype(np.uint8) * 255).save(temporary, format="PNG")


def _npy_bytes(heat_map: np.ndarray) -> bytes:
    buffer = BytesIO()
    npy.write_array(buffer, np.ascontiguousarray(heat_map, dtype=np.float32), allow_pickle=False)
    return buffer.getvalue()
