"""The layout of a run folder: where each file lies, and whether it may be written."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from focusmap.basics import InputError, MissingFileError, command_line, disk_errors, read_json, write_json
from focusmap.study.cohort import COHORT_FILE, IMAGES_FILE
from focusmap.study.study import located, portable, read_study

SHARED_STORE, REPRODUCTION = "store.json", "reproduction.json"
PLANS = (COHORT_FILE, IMAGES_FILE, "split.csv", "split.json", "recipe.yaml", SHARED_STORE)
RESULTS = (
    "model",
    "predictions",
    "evaluation",
    "focus",
    "segmentation",
    "segmenters",
    "folds",
    "seeds",
    "table",
    "baseline",
    "ladder.json",
    "rungs",
    "checkpoint",
    "history.csv",
    "manifest.json",
    REPRODUCTION,
    "checklists.json",
    "checklists.html",
    "report.html",
    "report.pdf",
)


@dataclass(frozen=True)
class Run:
    """A run folder.

    A run with folds holds one folder for each under ``folds/``, with its own model, history and predictions;
    the pooled predictions lie where a plain run has its own, and the ensemble of all folds is its model. History and
    state of an ensemble's first net lie in the run itself, those of the others below ``seeds/``.
    """

    folder: Path

    @property
    def study(self) -> Path:
        """The study as declared."""
        return self.folder / "study.yaml"

    @property
    def cohort(self) -> Path:
        """The checked table."""
        return self.folder / COHORT_FILE

    @property
    def split(self) -> Path:
        """Which image is in which part."""
        return self.folder / "split.csv"

    @property
    def recipe(self) -> Path:
        """The settings of the training, nothing left to be chosen."""
        return self.folder / "recipe.yaml"

    @property
    def history(self) -> Path:
        """One row per epoch."""
        return self.folder / "history.csv"

    @property
    def manifest(self) -> Path:
        """Versions, hashes, seed, wall-clock."""
        return self.folder / "manifest.json"

    @property
    def store(self) -> Path:
        """Prepared images: the run's own, or those that it shares with others, as `share_store` wrote it."""
        shared = self.folder / SHARED_STORE
        return located(str(read_json(shared)["folder"]), self.folder) if shared.is_file() else self.folder / "store"

    def share_store(self, folder: Path) -> None:
        """Note that the run's prepared images lie in a folder that runs share, for whoever goes on with it."""
        write_json(self.folder / SHARED_STORE, {"folder": portable(folder, self.folder)})

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.folder / "model"

    @property
    def checkpoint(self) -> Path:
        """State of the training after its last finished epoch."""
        return self.folder / "checkpoint"

    @property
    def evaluation(self) -> Path:
        """Metrics and their images."""
        return self.folder / "evaluation"

    @property
    def focus(self) -> Path:
        """Heat maps, overlays and their scores."""
        return self.folder / "focus"

    @property
    def segmentation(self) -> Path:
        """Masks of lesions and their scores."""
        return self.folder / "segmentation"

    @property
    def segmenters(self) -> Path:
        """What draws masks, learnt once, lesion by lesion."""
        return self.folder / "segmenters"

    @property
    def unit(self) -> str:
        """What a row of its cohort is, for a reader: ``images`` or ``cases``."""
        has_images = read_study(self.study).path_column is not None
        return "images" if has_images and not (self.folder / IMAGES_FILE).is_file() else "cases"

    @property
    def is_stopped(self) -> bool:
        """True if all is prepared and the training has not ended."""
        begun, ended = (self.recipe, self.split), (self.predictions("tune"), self.model / "model.json")
        climbs = self.ladder.is_file() and not read_json(self.ladder).get("finished", True)
        return all(path.is_file() for path in begun) and (climbs or not all(path.is_file() for path in ended))

    def rung(self, name: str) -> "Run":
        """Return where a rung of the ladder lies: the run's own, or that of one of its folds."""
        return Run(self.folder / "rungs" / name)

    @property
    def ladder(self) -> Path:
        """Which rungs of the ladder were reached, and why one of them was chosen."""
        return self.folder / "ladder.json"

    @property
    def fold(self) -> str:
        """The number of the fold that a run is; empty of a whole run.

        >>> Run(Path("runs/first")).fold, Run(Path("runs/first/folds/2")).fold
        ('', '2')
        """
        return self.folder.name if self.folder.parent.name == "folds" else ""

    @property
    def whole(self) -> "Run":
        """The run of which this is a fold, or itself."""
        return Run(self.folder.parent.parent) if self.fold else self

    def member(self, k: int) -> "Run":
        """Return where history and state of net number `k` of an ensemble over seeds lie."""
        return Run(self.folder / "seeds" / str(k)) if k else self

    def predictions(self, part: str) -> Path:
        """Return the predictions of ``tune`` or ``test``."""
        return self.folder / "predictions" / f"{part}.csv"

    def refuse_untested(self) -> None:
        """Raise `InputError` if there are no predictions of the test part yet."""
        if not self.predictions("test").is_file():
            finish = command_line("train", "--resume", self.folder)
            raise InputError(f"{self.folder}: has no test predictions; finish it with: {finish}")

    @property
    def attention(self) -> Path:
        """What each image of a test case weighs beside the others of its view."""
        return self.folder / "predictions" / "attention.csv"

    def parts(self) -> list["Run"]:
        """Return the fold runs, or the run itself."""
        folds = sorted((self.folder / "folds").glob("[0-9]*"), key=lambda folder: int(folder.name))
        return [Run(folder) for folder in folds] or [self]


def open_run(folder: Path) -> Run:
    """Return the run in `folder`.

    Raises
    ------
    MissingFileError, InputError
        If there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        make = command_line("run", "LABELS.csv", "--out", folder)
        raise MissingFileError(f"{folder}: no such run. Make one with: {make}")
    run = Run(folder)
    if not run.study.is_file() and not run.model.is_dir():
        raise InputError(
            f"{folder}: is not a run (it has no study.yaml). Make one with: focusmap run LABELS.csv --out RUN"
        )
    return run


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Keep a run folder to this process while it writes there, on all machines that share the disk, as often as asked.

    The lock lies beside the folder, since what is refused leaves nothing in it, and goes when it is given back.

    Raises
    ------
    InputError
        If another process is writing there.
    """
    from filelock import FileLock, Timeout

    place = folder.resolve()
    beside = place.with_name(f".{place.name}.lock")
    lock = FileLock(beside, timeout=0, is_singleton=True)
    with disk_errors(folder):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise InputError(f"{folder}: another focusmap is writing there. Wait, or choose another folder.") from None
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            beside.unlink(missing_ok=True)
        lock.release()


def start_run(folder: Path, *, force: bool) -> Run:
    """Return a run folder, ready to be written; with `force`, the results of an earlier run are removed from it.

    Prepared images stay: those that are the same are used again.

    Raises
    ------
    InputError
        As `refuse_taken` does.
    """
    refuse_taken(folder, force=force)
    for path in (folder / name for name in (*RESULTS, *PLANS)):
        if path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return Run(folder)


def refuse_taken(folder: Path, *, force: bool) -> None:
    """Raise `InputError` where no run can begin: results without `force`, files that are no run's, or a file."""
    run = Run(folder)
    present = [name for name in RESULTS if (folder / name).exists()]
    foreign = folder.is_dir() and any(folder.iterdir()) and not run.study.exists()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; a folder for the run was expected.")
    if foreign and present:
        raise InputError(f"{folder}: holds {', '.join(present)}, but no run. Choose another --out.")
    if present and not force:
        hint = f" or go on with: {command_line('run', '--resume', folder)}" if run.is_stopped else ""
        raise InputError(
            f"{folder}: already holds a run ({', '.join(present)}). Choose another --out, add --force{hint}."
        )
    if foreign and not force:
        raise InputError(f"{folder}: holds other files. Choose an empty folder, or add --force.")
