"""Convert: packed data sets to images and a label file."""

from pathlib import Path

from focusmap.errors import InputError, MissingFileError


def convert(source: Path, out: Path, *, force: bool = False) -> Path:
    """Write the pictures of `source` and their ``labels.csv`` to `out`; return the label file.

    Raises
    ------
    MissingFileError, InputError
        If the source is missing or of no known kind, or `out` holds files and `force` is not given.
    """
    from focusmap.imaging.readers.medmnist import convert_medmnist

    if not source.exists():
        raise MissingFileError(f"{source}: no such file.")
    if source.suffix != ".npz":
        raise InputError(f"{source}: is not a MedMNIST .npz file.")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise InputError(f"{out}: holds files already. Choose another --out, or add --force.")
    return convert_medmnist(source, out)
