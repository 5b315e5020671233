"""Files written whole or not at all, and read with errors that name the file."""

import gzip
import json
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeAlias

import pandas as pd

from focusmap.errors import DiskError, InputError, MissingFileError

MAX_TABLE_BYTES = 2**30
"""A million rows of a hundred letters are a tenth of it; what inflates to more is damaged or an attack."""
PICTURE_SUFFIX = re.compile(
    r"\.(?:png|jpe?g|jpe|jfif|dcm|dicom|ima|tiff?|bmp|dib|gif|webp|nii|nii\.gz)$", re.IGNORECASE
)
"""How the names of the pictures end that can be read."""
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}
TOO_MANY = "Take away commas at the ends of rows, and put cells that hold a comma in quotes."

Json: TypeAlias = Mapping[str, "Json"] | list["Json"] | str | int | float | bool | None


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turn what the disk refuses in the block into one `DiskError` that names `place` and the remedy."""
    try:
        yield
    except (MissingFileError, DiskError):
        raise
    except OSError as error:
        raise _refused(place, error.strerror or str(error)) from error
    except Exception as error:
        # safetensors tells of a full disk by an error of its own.
        from safetensors import SafetensorError

        if isinstance(error, SafetensorError):
            raise _refused(place, str(error)) from error
        raise


def _refused(place: Path, reason: str) -> DiskError:
    return DiskError(f"{place}: cannot be written ({reason}). Free some space or choose another folder.")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` if the block succeeds, and vanishes if not.

    Raises
    ------
    DiskError
        If the folder cannot be made or the file cannot be written.
    """
    temporary: Path | None = None
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix, delete=False) as file:
                temporary = Path(file.name)
            temporary.chmod(0o644)
            yield temporary
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
            shutil.rmtree(folder, ignore_errors=True)
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(*paths: Path, force: bool) -> None:
    """Raise `InputError` if one of the files is there already and `force` is not given."""
    for path in paths:
        if path.exists() and not force:
            raise InputError(f"{path}: exists already. Choose another place, or add --force.")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Json) -> None:
    """Write `value` as indented JSON; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV with a header and without the index."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, compression="infer")


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
        raise MissingFileError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; a file was expected.") from None
    return _decode(content, path)


def read_json(path: Path) -> dict[str, Json]:
    """Return the JSON object in the file.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, or does not hold a JSON object.
    """
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} line {error.lineno}: is not valid JSON ({error.msg}).") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds {type(value).__name__}; a JSON object was expected.")
    return value


def is_table(path: Path) -> bool:
    """Return whether a file is a table, such as a label file, by its name; what is not, is taken for a picture.

    >>> [is_table(Path(name)) for name in ("labels.csv", "LABELS.CSV.GZ", "scan.nii.gz", "film.png")]
    [True, True, False, False]
    """
    return path.name.lower().endswith((".csv", ".csv.gz"))


def table_name(path: Path) -> str:
    """Return what a label file is called without what says that it is one.

    >>> table_name(Path("folder/new.v2.csv.gz"))
    'new.v2'
    """
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def read_table(path: Path) -> pd.DataFrame:
    """Return a CSV file, or one packed as ``.csv.gz``, with every cell as text; an empty cell is an empty string.

    A column without a name and without a cell, as commas at the ends of lines make it, is left out.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, is empty, is damaged, is not UTF-8, has other separators, or has a broken row.
    """
    import io

    text = _read_packed_text(path) if path.suffix.lower() == ".gz" else read_text(path)
    _refuse_other_separators(path, text.partition("\n")[0])
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, skipinitialspace=True)
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: is empty; a header and at least one row were expected.") from None
    except pd.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if found is None:
            raise InputError(f"{path}: is not a CSV table ({str(error).strip()}).") from None
        expected, row, seen = found.groups()
        raise InputError(f"{path} row {row}: has {seen} cells where {expected} were expected. {TOO_MANY}") from None
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes what is too much for names of the rows, and every column for the one before it.
        raise InputError(f"{path}: the rows have more cells than the header has names. {TOO_MANY}")
    if table.empty:
        raise InputError(f"{path}: has a header and no rows.")
    # pandas calls a column without a name by its place.
    nameless = [name for place, name in enumerate(table) if name == f"Unnamed: {place}"]
    return table.drop(columns=[name for name in nameless if (table[name].str.strip() == "").all()])


def _refuse_other_separators(path: Path, header: str) -> None:
    for separator, name in OTHER_SEPARATORS.items():
        if separator in header and "," not in header and '"' not in header:
            raise InputError(
                f"{path}: its columns seem to be separated by {name}; commas were expected. Save it as 'CSV UTF-8', "
                "with commas."
            )


def _read_packed_text(path: Path) -> str:
    """Return the text of a gzip file, which may not inflate without measure; errors as for `read_text`."""
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_TABLE_BYTES + 1)
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; a file was expected.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: is damaged ({error}). Fetch or write the file again.") from None
    if len(content) > MAX_TABLE_BYTES:
        raise InputError(f"{path}: inflates to more than {MAX_TABLE_BYTES // 2**20} MiB.")
    return _decode(content, path)


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path} line {line}: is not UTF-8 text. Save the file as 'CSV UTF-8' and try again."
        ) from None


def write_failures(failures: Sequence[tuple[Path, str]], path: Path) -> None:
    """Write which pictures could not be done, and why; a reason that names the picture first says it once."""
    rows = [(str(file), reason.removeprefix(f"{file}: ")) for file, reason in failures]
    write_table(path, pd.DataFrame(rows, columns=["path", "reason"]))
