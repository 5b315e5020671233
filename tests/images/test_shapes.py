"""The shape of an image is told from its header alone, and is the one that reading gives."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from focusmap.basics import MissingFileError, UnreadableImageError
from focusmap.images.nifti import write_nifti
from focusmap.images.read import read_image, read_shape

PIXELS = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30).astype(np.uint8)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
def test_images_are_measured_upright(tmp_path: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(tmp_path / name, **({} if name.endswith("bmp") else {"exif": exif}))
    shape = read_shape(tmp_path / name)
    assert shape == read_image(tmp_path / name).source_shape
    assert shape == ((30, 20) if orientation == 6 and not name.endswith("bmp") else (20, 30))


@pytest.mark.parametrize("n_channels", [1, 3])
def test_volumes_are_measured_without_their_channels(tmp_path: Path, n_channels: int) -> None:
    write_nifti(tmp_path / "a.nii.gz", np.ones((n_channels, 4, 5, 6), np.uint8), None)
    assert read_shape(tmp_path / "a.nii.gz") == read_image(tmp_path / "a.nii.gz").source_shape == (4, 5, 6)


def test_the_header_is_enough(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    assert read_shape(tmp_path / "a.png") == (20, 30)


def test_what_has_no_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="gone"):
        read_shape(tmp_path / "gone.png")
    (tmp_path / "words.png").write_text("no image")
    with pytest.raises(UnreadableImageError, match=r"words\.png"):
        read_shape(tmp_path / "words.png")
