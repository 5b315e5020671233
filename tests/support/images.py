"""Images that the imaging tests share."""

import io

import numpy as np
from PIL import Image as Pillow


def smooth(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Return a `(rows, columns) uint8` image of slow waves that JPEG hardly changes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    phase = rng.uniform(0, 6, 2)
    return np.rint(127 + 60 * np.sin(x / columns * 5 + phase[0]) + 60 * np.cos(y / rows * 7 + phase[1])).astype(
        np.uint8
    )


def colourful(rows: int, columns: int) -> np.ndarray:
    """Return a `(rows, columns, 3) uint8` image."""
    return np.stack([smooth(rows, columns, seed) for seed in (1, 2, 3)], axis=-1)


def encode(image: Pillow.Image | np.ndarray, kind: str, **options: object) -> bytes:
    """Return the image as the bytes of a file."""
    buffer = io.BytesIO()
    image = image if isinstance(image, Pillow.Image) else Pillow.fromarray(image)
    image.save(buffer, kind, **options)
    return buffer.getvalue()
