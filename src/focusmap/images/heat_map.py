"""Heat maps as they were written: ``.npz`` of images, ``.nii.gz`` of volumes."""

import zipfile
from pathlib import Path
from threading import Lock

import numpy as np

from focusmap.errors import InputError
from focusmap.images.read import read_image

KEY = "map"
# numpy reads an array's header by way of Python's parser, which several threads confuse in Python 3.11.
ONE_AT_A_TIME = Lock()


def read_map(path: Path) -> np.ndarray:
    """Return the map ``(*spatial) float32`` in a file; `InputError` if there is none."""
    if path.suffix != ".npz":
        return np.asarray(read_image(path).pixels[0], dtype=np.float32)
    try:
        with ONE_AT_A_TIME, np.load(path, allow_pickle=False) as stored:
            return np.asarray(stored[KEY], dtype=np.float32)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile):
        raise InputError(f"{path}: is not a heat map with the key {KEY!r}.") from None
