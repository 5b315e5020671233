"""Folders of results that a user names: told by their index, refused where they are others', filled whole or not."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from focusmap.basics.errors import InputError, listed
from focusmap.basics.places import disk_errors, refuse_unwritable

INDEX, UNFINISHED = "index.csv", ".partial"


@dataclass(frozen=True)
class Results:
    """A kind of results.

    Parameters
    ----------
    what
        Its name for a reader, in the plural.
    column
        Of the index, which has ``image_id`` and ``target`` too, the one that names the files.
    is_own
        Whether a file or folder of a name is one of them, the index among them.
    """

    what: str
    column: str
    is_own: Callable[[str], bool]

    def refuse_other(self, out: Path, *, force: bool) -> None:
        """Raise `InputError` where results would take the place of others, without `force`, or of a user's own files.

        Results are told by their index. Without one, files of their names may be anybody's, unless a killed program
        left what it had not finished.
        """
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: is a file; a folder for the {self.what} was expected. Choose another name.")
        index = out / INDEX
        if not index.is_file():
            there = self._own(out)
            if there and not (out / UNFINISHED).is_dir():
                shown = listed([path.name for path in there])
                raise InputError(f"{out}: holds {shown}, but no {INDEX} of {self.what}. Choose another folder.")
            return
        header = index.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip().split(",")
        if not {"image_id", "target", self.column} <= set(header):
            raise InputError(f"{index}: is not an index of {self.what}, and would be replaced. Choose another folder.")
        if not force:
            raise InputError(f"{out}: holds {self.what} already. Choose another folder, or add --force.")

    @contextmanager
    def filling(self, out: Path) -> Iterator[Path]:
        """Yield an empty folder within `out` whose content takes the place of earlier results, if the block succeeds.

        Other files there stay. The index goes first and comes last: without it there are no results. What a killed
        program left is removed by the next one.

        Raises
        ------
        DiskError
            If it cannot be made or its content moved.
        """
        refuse_unwritable(out)
        is_new, place = not out.exists(), out / UNFINISHED
        shutil.rmtree(place, ignore_errors=True)
        try:
            with disk_errors(out):
                place.mkdir(parents=True)
            yield place
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            if is_new and out.is_dir() and not any(out.iterdir()):
                out.rmdir()
            raise
        # From here on the folder must stay until all is done: it tells that what lies beside it is unfinished.
        with disk_errors(out):
            for old in sorted(self._own(out), key=lambda path: path.name != INDEX):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            for made in sorted(place.iterdir(), key=lambda path: path.name == INDEX):
                made.replace(out / made.name)
            place.rmdir()

    def _own(self, out: Path) -> list[Path]:
        return sorted(path for path in out.glob("*") if self.is_own(path.name))
