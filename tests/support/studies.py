"""Small studies on disk: images with planted lesions."""

from pathlib import Path

from focusmap.phantom import PhantomOptions, make_phantom, write_phantom


def phantom_study(
    folder: Path, *, patients: int = 16, images: int = 48, size: int = 32, seed: int = 0, dimensions: int = 2
) -> Path:
    """Write a study of images (or volumes) with planted lesions and return its label file."""
    options = PhantomOptions(n_patients=patients, n_images=images, size=size, seed=seed, dimensions=dimensions)
    return write_phantom(make_phantom(options), folder)
