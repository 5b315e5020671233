"""Images that lie elsewhere than on a disk: at an address such as ``s3://bucket/films``, fetched for as long as needed.

fsspec reads ``file://`` and ``memory://``, and where their libraries are installed ``s3://`` (s3fs), ``gs://`` (gcsfs),
``https://`` (aiohttp) and others. A path has lost one of the slashes of such an address; it is found again here.
"""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from focusmap.basics import InputError
from focusmap.study.inputs import ImageColumns
from focusmap.study.samples import Samples
from focusmap.study.task import Task

if TYPE_CHECKING:
    import pandas as pd
    from fsspec import AbstractFileSystem

SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.IGNORECASE | re.DOTALL)
ON_DISK = ("file", "local")
FETCHED_AT_ONCE = 8


def address_of(folder: Path) -> str | None:
    """Return the address that a folder was given as; None for a folder on a disk.

    >>> address_of(Path("s3://bucket/films")), address_of(Path("file:///data")), address_of(Path("films"))
    ('s3://bucket/films', 'file:///data', None)
    >>> address_of(Path("C:/films")) is None
    True
    """
    match = SCHEME.fullmatch(folder.as_posix())
    if match is None:
        return None
    scheme, rest = match.groups()
    return f"{scheme}:///{rest}" if scheme.lower() in ON_DISK else f"{scheme}://{rest}"


def settled_folder(folder: Path | None) -> Path | None:
    """Return a folder as workers that stand elsewhere understand it."""
    return folder if folder is None or address_of(folder) else folder.absolute()


def fetch(address: str, names: Iterable[str], folder: Path) -> None:
    """Copy files from an address into a folder, under their names; those that are not there are left out.

    Raises
    ------
    InputError
        If there is no library for such an address, or it cannot be reached.
    """
    system, root = _opened(address)

    def copy(name: str) -> None:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            system.get_file(f"{root.rstrip('/')}/{name}", str(place))
        except FileNotFoundError:
            place.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{address}/{name}: cannot be fetched ({error}). Go on later with --resume.") from error

    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        list(pool.map(copy, names))


def _opened(address: str) -> "tuple[AbstractFileSystem, str]":
    import fsspec

    try:
        system, root = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InputError(f"{address}: cannot be opened ({error}).") from error
    return system, str(root)


@contextmanager
def local_samples(columns: ImageColumns, rows: "pd.DataFrame", task: Task) -> Iterator[Samples]:
    """Yield the images of some rows of a table as samples; those at an address are fetched, and removed afterwards."""
    address = address_of(columns.study.images)
    if address is None:
        yield columns.samples(rows, task)
        return
    with TemporaryDirectory(prefix="focusmap-") as folder:
        fetch(address, columns.named(rows)["path"], Path(folder))
        here = replace(columns, study=replace(columns.study, images=Path(folder)))
        yield here.samples(rows, task)
