"""The errors that focusmap raises on purpose; the command line turns each into one message and an exit code.

::

    FocusmapError                 exit 2
    ├── InputError                a file, table, recipe or argument is wrong (also ValueError)
    │   ├── UnreadableImageError  an image cannot be decoded or is implausible
    │   └── ModelError            a model folder is damaged, newer than this program or not what it says
    ├── MissingFileError          something named is not there (also FileNotFoundError)
    ├── MissingPartError          an optional part is not installed (also ImportError)
    ├── DiskError                 a file cannot be written (also OSError)
    └── RefusedError              exit 3: a blocking audit finding that nobody has accepted
"""

import shlex
from collections.abc import Iterable, Sequence

SHOWN = 10


class FocusmapError(Exception):
    """Something the user can put right; the message says what, where and how."""

    exit_code = 2


class InputError(FocusmapError, ValueError):
    """The content of a file, a table or an argument is wrong."""


class UnreadableImageError(InputError):
    """An image cannot be decoded, or what it claims to be is implausible."""


class ModelError(InputError):
    """A model folder is damaged, was written by a newer program, or does not do what it says."""


class MissingFileError(FocusmapError, FileNotFoundError):
    """A file or folder that was named is not there."""


class MissingPartError(FocusmapError, ImportError):
    """Something optional that the command needs is not installed here."""


class DiskError(FocusmapError, OSError):
    """A file cannot be written, for want of space or of permission."""


class RefusedError(FocusmapError):
    """A blocking audit finding stands, and nobody has accepted it."""

    exit_code = 3


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or an empty string.

    >>> suggest("efusion", ["effusion", "pneumonia"])
    " Did you mean 'effusion'?"
    >>> suggest("xyz", ["effusion"])
    ''
    """
    near = nearest(name, known)
    return f" Did you mean {near!r}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that comes nearest; an empty string if none comes near."""
    import difflib

    return next(iter(difflib.get_close_matches(name, list(known), n=1)), "")


def command_line(*words: object) -> str:
    """Return a command of focusmap as it is typed in a shell.

    >>> command_line("report", "my run")
    "focusmap report 'my run'"
    """
    return shlex.join(["focusmap", *map(str, words)])


def listed(facts: Sequence[str], shown: int = SHOWN, separator: str = "; ") -> str:
    """Return the first facts of a message, and how many more there are.

    >>> listed(["a.png", "b.png", "c.png"], shown=2)
    'a.png; b.png; and 1 more'
    """
    rest = len(facts) - shown
    return separator.join([*facts[:shown], f"and {rest:,} more"] if rest > 0 else facts)
