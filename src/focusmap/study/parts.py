"""What the models of a run have learnt from and what they are held against: the run's own parts, or each fold's."""

from dataclasses import dataclass

from focusmap.errors import InputError
from focusmap.study.cohort import Cohort, load_cohort
from focusmap.study.run import Run
from focusmap.study.split import Split, fold_split, read_split


@dataclass(frozen=True)
class Parts:
    """One model's run folder, and the rows that it learnt from, was tuned on and has not seen."""

    run: Run
    train: Cohort
    tune: Cohort
    test: Cohort


def parts_of(run: Run) -> list[Parts]:
    """Return the parts of a run's own split, or those of each of its folds.

    Raises
    ------
    InputError
        If a split without folds has no test part.
    """
    cohort = load_cohort(run.folder)
    split, runs = read_split(run.split, cohort), run.parts()
    if runs == [run]:
        if not split.ids("test"):
            raise InputError(f"{run.folder}: its split has no test part. Name images or a label file.")
        return [_parts(run, cohort, split)]
    return [_parts(fold, cohort, fold_split(split, k)) for k, fold in enumerate(runs)]


def first_parts_of(run: Run) -> Parts:
    """Return the parts of a run's own split, or of its first fold, whether or not there is a test part."""
    cohort = load_cohort(run.folder)
    split = read_split(run.split, cohort)
    return _parts(run, cohort, fold_split(split, 0) if split.n_folds else split)


def learnt_by_any(run: Run) -> Cohort | None:
    """Return the rows that any model of a run has learnt from: of a run with folds, all; None where there are none."""
    cohort = load_cohort(run.folder)
    parts = read_split(run.split, cohort).part_of if run.split.is_file() else {}
    learnt = [image_id for image_id, part in parts.items() if part == "train" or part.isdecimal()]
    return cohort.of(learnt) if learnt else None


def _parts(run: Run, cohort: Cohort, split: Split) -> Parts:
    return Parts(run, *(cohort.of(split.ids(part)) for part in ("train", "tune", "test")))
