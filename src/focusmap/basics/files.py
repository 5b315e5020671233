"""Files written whole or not at all, and read with errors that name the file; and trees of JSON read part by part.

A part of a tree that may be absent is asked for by the type it should have.
"""

import hashlib
import json
import math
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, TypeAlias

from focusmap.basics.errors import InputError, MissingFileError, listed
from focusmap.basics.places import UMASK, disk_errors, refuse_device

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


HASHES = "hashes.json"
UNSEAL = "Delete it; whether the files beside it are damaged is then not checked."
AGAIN = "Restore it, or repeat the command that wrote it, with --force"
BLOCK = 2**24
NO_ROWS = "has a header and no rows. Save it again with its rows, or name the table that has them."
Json: TypeAlias = Mapping[str, "Json"] | list["Json"] | str | int | float | bool | None


@contextmanager
def atomic(path: Path, *, sealed: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` if the block succeeds, and vanishes if not.

    What is `sealed`, now or since it was written first, has its hash in ``hashes.json`` beside it for `check_sealed`.

    Raises
    ------
    DiskError
        If the folder cannot be made or the file cannot be written.
    """
    temporary: Path | None = None
    try:
        with disk_errors(path):
            refuse_device(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            stem = f".{cut_to(path.stem, 99)}."
            with NamedTemporaryFile(dir=path.parent, prefix=stem, suffix=path.suffix, delete=False) as file:
                temporary = Path(file.name)
            try:
                yield temporary
            except UnicodeEncodeError as error:
                refuse_undecodable(re.findall(r'[^,"\n]*[\ud800-\udfff][^,"\n]*', str(error.object)))
                raise
            # Last, since safetensors puts a file of its own, which only its writer may read, in this one's place.
            temporary.chmod(0o666 & ~UMASK)
            if sealed or is_sealed(path):
                _seal(path, temporary)
            temporary.replace(path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` that takes its place if the block succeeds, and vanishes if not.

    What a killed program left there is removed by the next one.

    Raises
    ------
    DiskError
        If it cannot be made or moved.
    """
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with disk_errors(folder):
            temporary.mkdir(parents=True)
        yield temporary
        with disk_errors(folder):
            replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def cut_to(text: str, n_bytes: int) -> str:
    """Return the end of a text that has at most so many bytes, which is what file systems count."""
    return os.fsencode(text)[-n_bytes:].decode("utf-8", "ignore")


def remove_abandoned(place: Path, prefix: str) -> None:
    """Remove the folders ``PREFIX<process>-...`` of a place whose process, of this machine, was killed."""
    for folder in place.glob(f"{prefix}*"):
        process = folder.name.removeprefix(prefix).partition("-")[0]
        if process.isdecimal() and not _is_running(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def replace_folder(new: Path, folder: Path) -> None:
    """Put a folder in the place of another on the same disk, which is removed only when the new one stands there."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    new.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def refuse_undecodable(names: Iterable[str]) -> None:
    """Raise `InputError` where the name of a file is not UTF-8, so that no table could hold it and be read back."""
    wrong = [name for name in names if not name.isascii() and any("\ud800" <= sign <= "\udfff" for sign in name)]
    if wrong:
        shown = listed([os.fsencode(name).decode("utf-8", "backslashreplace") for name in wrong])
        raise InputError(
            f"the names of {len(wrong)} files are not UTF-8: {shown}. They come from a system with another encoding: "
            "rename them, for example with convmv -f latin1 -t utf8 -r --notest FOLDER (-f gbk for Chinese names)."
        )


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def block_sums(path: Path) -> list[int]:
    """Return the CRC-32 of each block of a file; one that has not changed is read once per process."""
    file = path.stat()
    return list(_block_sums(path, (file.st_ino, file.st_mtime_ns, file.st_size)))


@lru_cache(maxsize=64)
def _block_sums(path: Path, version: tuple[int, int, int]) -> tuple[int, ...]:  # noqa: ARG001  (key of the cache)
    with path.open("rb") as file:
        return tuple(zlib.crc32(block) for block in iter(partial(file.read, BLOCK), b""))


def _seal(path: Path, content: Path) -> None:
    """Note the hash of what `path` will hold; that of what it holds counts too, lest a kill in between matters."""
    place = path.with_name(HASHES)
    known = read_json(place) if place.is_file() else {}
    hashes = [file_hash(file) for file in (path, content) if file.is_file()]
    write_json(place, {**known, path.name: list(dict.fromkeys(hashes))})


def is_sealed(path: Path) -> bool:
    """Return whether ``hashes.json`` beside a file has its hash."""
    place = path.with_name(HASHES)
    return path.name != HASHES and place.is_file() and path.name in read_json(place)


def seal_of(path: Path) -> str | None:
    """Return the SHA-256 of a sealed file; empty if it is not as it was written, None if it was never sealed."""
    if not path.is_file() or not is_sealed(path):
        return None
    hashes, own_hash = read_json(path.with_name(HASHES))[path.name], file_hash(path)
    return own_hash if isinstance(hashes, list) and own_hash in hashes else ""


def check_sealed(path: Path) -> None:
    """Raise `InputError` if a file is not as it was written; what was never sealed, as in older runs, passes."""
    if seal_of(path) == "":
        raise InputError(
            f"{path}: was changed or damaged after it was written (it does not fit {HASHES} beside it). {AGAIN}; "
            f"if the change is yours, delete its entry in {HASHES}."
        )


def write_text(path: Path, text: str, *, sealed: bool = False) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic(path, sealed=sealed) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Json, *, sealed: bool = False) -> None:
    """Write `value` as indented JSON; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", sealed=sealed)


def write_table(path: Path, table: "pd.DataFrame", *, sealed: bool = False, escape: bool = True) -> None:
    """Write `table` as CSV with a header and without the index; `escape` keeps spreadsheets from running its cells."""
    from focusmap.basics.tables import write_csv

    with atomic(path, sealed=sealed) as temporary:
        write_csv(table, temporary, escape=escape)


def _missing(path: Path) -> MissingFileError:
    gone = f"is gone; it was written there. {AGAIN}." if is_sealed(path) else "no such file."
    return MissingFileError(f"{path}: {gone}")


def read_text(path: Path) -> str:
    """Return the file's text.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, or is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _missing(path) from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; a file was expected.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path} line {line}: is not UTF-8 text. Save the file as 'CSV UTF-8' and try again."
        ) from None


def read_json(path: Path, *, checked: bool = True) -> dict[str, Json]:
    """Return the JSON object in the file; not `checked`, also that of a sealed file that was changed since.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, or does not hold a JSON object.
    """
    if checked:
        check_sealed(path)
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        remedy = UNSEAL if path.name == HASHES else f"{AGAIN}."
        raise InputError(f"{path} line {error.lineno}: is not valid JSON ({error.msg}). {remedy}") from None
    except RecursionError:
        raise InputError(f"{path}: nests its values too deeply to be read.") from None
    except ValueError:  # Python reads whole numbers of 4300 digits at most.
        raise InputError(f"{path}: holds a number of too many digits to be read.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds {type(value).__name__}; a JSON object was expected.")
    return value


def read_yaml(path: Path) -> Json:
    """Return the values of a YAML file.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, is not YAML, or is not as it was written.
    """
    import yaml

    check_sealed(path)
    try:
        values: Json = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not valid YAML ({' '.join(str(error).split())}).") from None
    except RecursionError:
        raise InputError(f"{path}: nests its values too deeply to be read.") from None
    except ValueError as error:  # a date or a number that is none, or one of too many digits
        raise InputError(f"{path}: is not valid YAML ({str(error)[:80]}).") from None
    return values


def read_table(path: Path) -> "pd.DataFrame":
    """Return a table, as `focusmap.basics.tables` reads it, with every cell as text; an empty cell is an empty string.

    A column without a name and without a cell, as commas at the ends of lines make it, is left out.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, is empty, is damaged, has a broken row or two columns of one name, or may be read in
        two ways.
    """
    import pandas as pd

    from focusmap.basics.tables import read_cells

    check_sealed(path)
    if not path.exists():
        raise _missing(path)
    table = read_cells(path)
    if table.empty:
        raise InputError(f"{path}: {NO_ROWS}")
    # pandas has written its own names of columns without one into some files.
    first = len(table.columns) if any(str(name).startswith("Unnamed: ") for name in table) else 0
    named = [name if str(name).strip() else f"Unnamed: {first + place}" for place, name in enumerate(table)]
    repeated = next((name for name in named if named.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{path}: two columns are called {repeated!r}. Rename one, or take it out.")
    nameless = [place for place, name in enumerate(table) if not str(name).strip()]
    table.columns = pd.Index(named, dtype=table.columns.dtype)
    return table.drop(columns=[named[i] for i in nameless if (table[named[i]].str.strip() == "").all()])


def write_failures(failures: Iterable[tuple[str, str]], path: Path) -> None:
    """Write which images could not be done, and why."""
    import pandas as pd

    write_table(path, pd.DataFrame(failures, columns=["path", "reason"]))


def branch(tree: Json, *keys: str) -> Mapping[str, Json]:
    """Return the object under `keys`, or an empty one.

    >>> branch({"a": {"b": {"c": 1}}}, "a", "b")
    {'c': 1}
    >>> branch({"a": 1}, "a", "b")
    {}
    """
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, Mapping) else {}


def number(value: Json) -> float | None:
    """Return a finite number as float; None for anything else.

    >>> number(3), number("3"), number(True)
    (3.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def text(value: Json) -> str:
    """Return a string or number as text; an empty string for anything else."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def items(value: Json) -> list[Json]:
    """Return a list, or an empty one."""
    return value if isinstance(value, list) else []


def series(value: Json) -> "np.ndarray":
    """Return a list of numbers as ``(n,) float``, NaN where an entry is not one."""
    import numpy as np

    return np.array([np.nan if (x := number(entry)) is None else x for entry in items(value)], dtype=np.float64)
