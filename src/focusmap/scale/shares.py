"""A table of any length in shares, and the Parquet file that each of them becomes.

A file's name says which share it answers, and by the hash of its rows and of what is asked what the answer is to: a
share whose file is there is done, in this run or in one that was stopped before. Files are written beside their place
and moved, so that a file is whole or not there.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.basics import InputError, atomic

if TYPE_CHECKING:
    import pandas as pd

ROWS = 512
"""Of a share, by default: a multiple of the rows that are answered together on one machine."""
PARTS, UNREAD, FAILURES = "parts", "unread", "failures.parquet"
COUNTED = 100_000
STREAMED = (".csv", ".csv.gz", ".parquet")


@dataclass(frozen=True)
class Share:
    """Some rows of a table.

    Parameters
    ----------
    number
        Its place among the shares, from 0.
    name
        Of its file, without suffix: the place, and the hash of rows and question.
    rows
        Every cell as text.
    """

    number: int
    name: str
    rows: "pd.DataFrame"

    def file(self, out: Path) -> Path:
        """Return where its answers lie."""
        return out / PARTS / f"{self.name}.parquet"

    def failures(self, out: Path) -> Path:
        """Return where that lies which could not be read."""
        return out / UNREAD / f"{self.name}.parquet"


@dataclass(frozen=True)
class Tally:
    """How many rows a share has answers to, and how many could not be read."""

    n_answered: int
    n_failed: int


def shares_of(table: Path, question: str, n_rows: int) -> Iterator[Share]:
    """Yield the shares of a table, which is never held as a whole.

    Parameters
    ----------
    table
        ``.csv`` or ``.csv.gz`` in UTF-8, or ``.parquet``.
    question
        Who is asked what: another question has other files.
    n_rows
        Of each share; the last may have fewer.

    Raises
    ------
    InputError
        If the table is of another kind.
    """
    for number, rows in enumerate(_chunks(table, n_rows)):
        rows.columns = rows.columns.str.strip()
        told = hashlib.sha256(question.encode())
        told.update(rows.to_csv(index=False).encode("utf-8", "surrogateescape"))
        yield Share(number, f"{number:08d}-{told.hexdigest()[:16]}", rows.reset_index(drop=True))


def n_rows_of(table: Path) -> int:
    """Return how many rows a table has, which is never held as a whole."""
    if table.name.lower().endswith(".parquet"):
        import pyarrow.parquet as parquet

        return int(parquet.read_metadata(table).num_rows)
    return sum(len(rows) for rows in _chunks(table, COUNTED))


def _chunks(table: Path, n_rows: int) -> Iterator["pd.DataFrame"]:
    import pandas as pd

    name = table.name.lower()
    if name.endswith(".parquet"):
        import pyarrow.parquet as parquet

        with parquet.ParquetFile(table) as file:
            for batch in file.iter_batches(n_rows):
                yield batch.to_pandas().astype("string").fillna("").astype(str)
    elif name.endswith(STREAMED):
        with pd.read_csv(table, dtype=str, keep_default_na=False, chunksize=n_rows, encoding="utf-8-sig") as chunks:
            yield from chunks
    else:
        raise InputError(f"{table}: is streamed as {', '.join(STREAMED)}. Save it as one of these.")


def write_share(share: Share, out: Path, answers: "pd.DataFrame", failures: Sequence[tuple[str, str]]) -> Tally:
    """Write what was said of a share, and then, whole, that it is done; failures are a path and a reason each."""
    import pandas as pd

    if failures:
        _write(pd.DataFrame(failures, columns=["path", "reason"]), share.failures(out))
    _write(answers, share.file(out))
    return Tally(len(share.rows) - len(failures), len(failures))


def _write(table: "pd.DataFrame", path: Path) -> None:
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False)


def write_unread(out: Path, failures: Sequence[tuple[str, str]]) -> None:
    """Write names and reasons of what could not be read to a folder; nothing where all could be."""
    import pandas as pd

    if failures:
        _write(pd.DataFrame(failures, columns=["image_id", "reason"]), out / FAILURES)


def parts_in(folder: Path) -> list[Path]:
    """Return the files of shares, in their order; what a killed worker left half-written is none."""
    return sorted(folder.glob("[!.]*.parquet"))


def gathered_failures(out: Path) -> int:
    """Write what could not be read of any share as one table, part by part; return how many rows it has.

    All shares are done: what killed workers left half-written is removed.
    """
    import pyarrow.parquet as parquet

    for left in (*(out / PARTS).glob(".*"), *(out / UNREAD).glob(".*")):
        left.unlink(missing_ok=True)
    files = parts_in(out / UNREAD)
    if not files:
        (out / FAILURES).unlink(missing_ok=True)
        return 0
    with (
        atomic(out / FAILURES) as temporary,
        parquet.ParquetWriter(temporary, parquet.read_schema(files[0])) as writer,
    ):
        for file in files:
            writer.write_table(parquet.read_table(file))
    return int(parquet.read_metadata(out / FAILURES).num_rows)
