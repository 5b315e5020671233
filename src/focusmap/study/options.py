"""What a caller may choose about a run, beside the study."""

from dataclasses import dataclass, field
from pathlib import Path

from focusmap.progress import Progress, silent
from focusmap.report.words import Language
from focusmap.study.recipe import Recipe


@dataclass(frozen=True)
class RunOptions:
    """How a run is made.

    Parameters
    ----------
    recipe
        Settings of the training; what it leaves open is chosen from the pictures.
    accept
        Names of blocking findings that are overridden.
    skip_unreadable
        Leave unreadable pictures out instead of stopping.
    folds
        Number of folds, or None for one split.
    store
        Folder of prepared pictures that several runs share, or None for the run's own.
    workers
        Processes that read pictures, or None for one a processor.
    devices
        ``auto``, ``cpu``, ``cuda`` or ``mps``, with ``:2`` two of them, or only how many.
    n_nodes
        Machines that train together, all of which see the run's folder.
    force
        Replace what an earlier run left.
    language
        Of the pages: ``en`` or ``zh``.
    progress
        Called as the work goes on.
    """

    recipe: Recipe = field(default_factory=Recipe)
    accept: tuple[str, ...] = ()
    skip_unreadable: bool = False
    folds: int | None = None
    store: Path | None = None
    workers: int | None = None
    devices: str = "auto"
    n_nodes: int = 1
    force: bool = False
    language: Language = "en"
    progress: Progress = silent
