"""Small studies on disk, images with planted lesions, and a run of one."""

from pathlib import Path

from focusmap.cli import main
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from support.options import QUICK


def phantom_study(
    folder: Path, *, patients: int = 16, images: int = 48, size: int = 32, seed: int = 0, dimensions: int = 2
) -> Path:
    """Write a study of images (or volumes) with planted lesions and return its label file."""
    options = PhantomOptions(n_patients=patients, n_images=images, size=size, seed=seed, dimensions=dimensions)
    return write_phantom(make_phantom(options), folder)


def evaluated_run(place: Path, *, patients: int, images: int) -> Path:
    """Train the smallest net on such a study, evaluate it, and return the run; the study lies beside it."""
    study = phantom_study(place / "study", patients=patients, images=images)
    assert main(["train", str(study), "--out", str(place / "run"), *QUICK]) == 0
    assert main(["evaluate", str(place / "run")]) == 0
    return place / "run"
