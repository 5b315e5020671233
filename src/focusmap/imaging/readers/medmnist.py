"""MedMNIST (Yang et al. 2023, medmnist.com): one ``.npz`` with pictures and labels of three splits -> a label file."""

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from focusmap.errors import DiskError, InputError, MissingFileError
from focusmap.values.files import write_table

SPLITS = ("train", "val", "test")
Arrays = Mapping[str, NDArray[np.generic]]


def convert_medmnist(source: Path, out: Path) -> Path:
    """Write the pictures to ``out/images`` and the table to ``out/labels.csv``; return the table's path.

    The table has the columns ``path``, ``split`` (train, val, test) and ``label``: the number in the file, or one
    column ``label_K`` for each of several 0/1 labels. Rows come in the order of the file.

    Raises
    ------
    MissingFileError, InputError, DiskError
        If the file is not there, is not MedMNIST's, or `out` cannot be written.
    """
    arrays = _load(source)
    parts = [_part(arrays, split, source) for split in SPLITS if f"{split}_images" in arrays]
    if not parts:
        names = ", ".join(sorted(arrays)) or "no arrays"
        raise InputError(f"{source}: holds {names}; train_images and train_labels were expected.")
    try:
        _write_images(parts, out)
    except OSError as error:
        raise DiskError(f"{out}: cannot be written ({error.strerror or error}). Free some space.") from error
    write_table(out / "labels.csv", pd.concat([table for table, _ in parts], ignore_index=True))
    return out / "labels.csv"


def _load(source: Path) -> Arrays:
    try:
        archive = np.load(source, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"{source}: is a single array; a MedMNIST .npz was expected.")
        with archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise MissingFileError(f"{source}: no such file.") from None
    except (zipfile.BadZipFile, EOFError, ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: cannot be read as a MedMNIST .npz ({error}).") from None


def _part(arrays: Arrays, split: str, source: Path) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    """Return the table and the pictures `(N, rows, columns[, 3]) uint8` of one split."""
    images = arrays[f"{split}_images"]
    labels = arrays.get(f"{split}_labels")
    if labels is None or len(labels) != len(images):
        found = "none" if labels is None else str(len(labels))
        raise InputError(f"{source}: {split}_images holds {len(images)} pictures; {split}_labels holds {found}.")
    is_plane = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 3)
    if images.dtype != np.uint8 or not is_plane:
        found = f"the shape {images.shape} of {images.dtype}"
        raise InputError(f"{source}: {split}_images has {found}; 2-D pictures of uint8 were expected.")
    paths = [f"images/{split}_{number:05d}.png" for number in range(len(images))]
    return pd.DataFrame({"path": paths, "split": split, **_label_columns(labels, source)}), images.astype(np.uint8)


def _label_columns(labels: NDArray[np.generic], source: Path) -> dict[str, list[str]]:
    columns = labels[:, np.newaxis] if labels.ndim == 1 else labels
    if columns.ndim != 2 or columns.dtype.kind not in "iub":
        found = f"the shape {labels.shape} of {labels.dtype}"
        raise InputError(f"{source}: labels have {found}; one or several whole numbers a picture were expected.")
    names = ["label"] if columns.shape[1] == 1 else [f"label_{number}" for number in range(columns.shape[1])]
    return {name: [str(int(value)) for value in columns[:, k]] for k, name in enumerate(names)}


def _write_images(parts: list[tuple[pd.DataFrame, NDArray[np.uint8]]], out: Path) -> None:
    """Write all pictures beside their place and rename the folder, so that it is there whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".images-", dir=out) as temporary:
        whole = Path(temporary) / "images"
        whole.mkdir()
        for table, images in parts:
            for path, picture in zip(table["path"], images, strict=True):
                (whole / Path(path).name).write_bytes(_png(picture))
        shutil.rmtree(out / "images", ignore_errors=True)
        whole.rename(out / "images")


def _png(picture: NDArray[np.uint8]) -> bytes:
    import cv2

    _, encoded = cv2.imencode(".png", picture if picture.ndim == 2 else picture[..., ::-1])
    return encoded.tobytes()
