"""The command line: one frozen dataclass per command; parse, one call, print.

Nothing heavy is imported before a command runs, so that ``focusmap --help`` is immediate.
"""

import argparse
import errno
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import ClassVar, Protocol

from focusmap.basics import command_line, suggest
from focusmap.cli.arguments import Parser, add_arguments, build_command, typed_values

# The module of each command, and what comes of it.
COMMANDS = {
    "demo": ("runs", "the whole pipeline on a generated study"),
    "run": ("runs", "audit, split, prepare, train, evaluate, explain and report in one command"),
    "index": ("label_files", "a folder of images to a label file, by folders or file names"),
    "convert": (
        "label_files",
        "a packed data set (MedMNIST, CIFAR-10, figshare .mat, DICOM frames) to images and a label file",
    ),
    "consensus": ("label_files", "several readers to one label file, with their agreement"),
    "audit": ("runs", "checks of the table and the images before training"),
    "prepare": ("runs", "split and prepared images, to share between trainings"),
    "train": ("runs", "a trained model with its predictions on the tuning and test sets"),
    "tune": ("runs", "a search for the best recipe by inner folds, without the test set"),
    "evaluate": ("results", "metrics with intervals for a run, new images, or a table of predictions"),
    "accept": ("results", "does a model meet your requirements on local patients: pass, fail or too few patients"),
    "challenge": ("results", "how far a result rests on its split, its patients and its sources"),
    "reproduce": ("results", "train again from the run's own files: are the predictions the same"),
    "predict": ("answers", "predictions of a model for images"),
    "explain": ("answers", "heat maps, and their scores where lesions are marked"),
    "segment": ("answers", "masks of lesions from image-level labels alone, and their scores where masks exist"),
    "compare": ("results", "two or more runs side by side, with paired differences"),
    "serve": ("deployment", "a web page to drop images on, and the same answers for programs over HTTP"),
    "corrections": ("deployment", "a label file of the corrections that readers made on the web page"),
    "dicom": ("deployment", "answers as DICOM objects; de-identification; exchange with an archive (PACS)"),
    "export": ("answers", "a model for other programs: ONNX or OpenVINO, with its preparation"),
    "report": ("results", "one self-contained page from the files of a run"),
    "doctor": ("about", "what is installed, what is missing, and how to install it"),
    "completion": ("about", "a script for Tab completion of commands and options, for bash or zsh"),
}

DISK_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.ENOTDIR,
    errno.EISDIR, errno.ELOOP, errno.EFBIG,
)  # fmt: skip
"""Errors of the disk or of a file name, which are the user's to mend."""

# Parameters of glibc's mallopt, by their numbers in malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# In bytes: larger arrays are handed back to the system at once, and so much freed memory is kept at most.
LARGEST_KEPT, MOST_KEPT = 1 << 28, 1 << 29
PERMISSION_ERRORS = (errno.EACCES, errno.EPERM)

EPILOG = """\
start here:
  focusmap demo                                 a generated study, in under three minutes
  focusmap audit LABELS.csv                     look before you train
  focusmap run LABELS.csv --out RUN             from images and labels to RUN/report.html
  focusmap predict RUN image.png                the model's prediction for one image
  focusmap serve RUN                            a page to drop images on

For research use; not a medical device.
"""


class Command(Protocol):
    """The dataclass of a command: the examples at the end of its help, and a call that runs it."""

    EXAMPLE: ClassVar[str]

    def __call__(self) -> int | None:
        """Run the command, and return its exit code where it is not 0."""


def command_class(name: str) -> type[Command]:
    """Return the dataclass of a command; only its module is imported."""
    module, _ = COMMANDS[name]
    chosen: type[Command] = getattr(import_module(f"focusmap.cli.{module}"), name.capitalize())
    return chosen


def build_parser(command: str | None) -> tuple[Parser, Parser]:
    """Return the parser and that of `command`, which alone is complete; itself again where there is no command."""
    parser = Parser(
        prog="focusmap",
        description="From medical images and a table of findings to an evaluated, explained, reported classifier.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=Parser)
    chosen = parser
    for name, (_, summary) in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == command:
            chosen = sub
            sub.epilog = cleandoc(command_class(name).EXAMPLE)
            add_arguments(sub, command_class(name))
    return parser, chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see the table of exit codes in the documentation)."""
    # Where they were closed, Python has None in their place.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: PTH123, SIM115
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in arguments if word in COMMANDS), None)
    parser, chosen = build_parser(command)
    if command is not None:
        chosen.refuse_unknown(arguments)
    elif arguments and not arguments[0].startswith("-"):
        parser.error(f"{arguments[0]!r} is not a command.{suggest(arguments[0], COMMANDS)}")
    parsed = parser.parse_args(arguments)
    if parsed.version:
        from focusmap.basics import own_version

        print(f"focusmap {own_version()}")
        return 0
    if parsed.command is None:
        parser.print_help()
        return 0
    return _guarded(parsed)


def _guarded(parsed: argparse.Namespace) -> int:
    """Run a command; turn errors raised on purpose into one message and an exit code. All others are bugs."""
    from focusmap.basics import FocusmapError
    from focusmap.images import raised_budget

    # Threads that wait by spinning make two programs on one machine several times slower than one after the other.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    keep_freed_memory()
    name, typed = parsed.command, typed_values(parsed)
    # Matplotlib logs at length where it keeps its fonts if the home folder is read-only.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        _refuse_no_folder()
        command = build_command(command_class(name), typed)
        reading = getattr(command, "reading", None)
        with raised_budget(reading.budget if reading else None):
            return int(command() or 0)
    except FocusmapError as error:
        print(f"focusmap {name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"\nfocusmap {name}: interrupted.{_resume_hint(name, typed)}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        remedy = " Have it opened to you, or choose another place." if error.errno in PERMISSION_ERRORS else ""
        print(f"focusmap {name}: {error.filename or 'the disk'}: {error.strerror}.{remedy}", file=sys.stderr)
        return 2


def keep_freed_memory() -> None:
    """Let freed memory be used again; by default glibc returns that of large arrays to the system each time.

    The system clears pages before it hands them out again, which took two fifths of the time of drawing masks.
    """
    if sys.platform != "linux" or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return
    import ctypes

    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)


def _refuse_no_folder() -> None:
    """Raise `MissingFileError` if the working directory was removed: libraries crash then."""
    from focusmap.basics import MissingFileError

    try:
        Path.cwd()
    except FileNotFoundError:
        raise MissingFileError("the folder that you are in was removed. Go to another one.") from None


def _resume_hint(command: str, typed: Mapping[str, object]) -> str:
    if command == "audit":
        return " The same command goes on."
    out = typed.get("learning.out") or typed.get("learning.resume")
    if command not in ("train", "run") or out is None:
        return ""
    holds = f" {out} holds the best model so far, with its report." if Path(str(out), "report.html").exists() else ""
    return f"{holds} Go on with: {command_line(command, '--resume', out)}"
