"""Where files may be put and found: permissions, devices and full disks, each refused by one error with its remedy."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from focusmap.basics.errors import DiskError, InputError, MissingFileError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
UMASK = os.umask(0o077)
"""Permissions that the user keeps from others; to be asked, it must be set."""
os.umask(UMASK)


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turn what the disk refuses in the block into one `DiskError` that names `place` and the remedy."""
    try:
        yield
    except (MissingFileError, DiskError):
        raise
    except OSError as error:
        raise _refused(place, error.strerror or str(error), error.errno) from error
    except Exception as error:
        # safetensors tells of a full disk by an error of its own.
        from safetensors import SafetensorError

        if isinstance(error, SafetensorError):
            raise _refused(place, str(error)) from error
        raise


def _refused(place: Path, reason: str, number: int | None = errno.ENOSPC) -> DiskError:
    """Return the error with the remedy that fits."""
    remedies = {
        **dict.fromkeys(FULL, "Free some space or choose another folder."),
        **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "A file has the name of a folder; choose another name."),
        errno.ENAMETOOLONG: "Shorten its name: 255 bytes are allowed, and a Chinese letter takes three.",
    }
    remedy = remedies.get(number or 0, "Choose another folder, or have this one made writable.")
    return DiskError(f"{place}: cannot be written ({reason}). {remedy}")


def refuse_existing(*paths: Path, force: bool) -> None:
    """Raise `InputError` if one of the files is there already and `force` is not given; else as `refuse_unwritable`."""
    for path in paths:
        if path.exists() and not force:
            raise InputError(f"{path}: exists already. Choose another place, or add --force.")
        refuse_unwritable(path)


def refuse_unwritable(path: Path) -> None:
    """Raise `DiskError` where a file or folder may not be put, before the work for it is done."""
    refuse_device(path)
    nearest = next((place for place in (path, *path.parents) if place.is_dir()), Path())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise _refused(path, os.strerror(errno.EACCES), errno.EACCES)


def refuse_device(path: Path) -> None:
    """Raise `DiskError` where a device or pipe, such as ``/dev/null``, has the name, since a file would replace it."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DiskError(f"{path}: is a device or a pipe, which a file would replace. Choose another name.")


def files_within(folder: Path) -> list[Path]:
    """Return the files in a folder and its folders, but not those behind links to folders, in no order.

    Raises
    ------
    PermissionError
        If one of the folders may not be opened, so that none is left out without a word.
    """

    def refuse(error: OSError) -> None:
        raise error

    found = os.walk(folder, onerror=refuse)
    return [path for place, _, names in found for name in names if (path := Path(place, name)).is_file()]
