"""Pictures that are not the run's own: a label file read as the run's study declares it."""

from dataclasses import replace
from pathlib import Path

from focusmap.cohort.cohort import Cohort, load_cohort, read_cohort
from focusmap.cohort.declaration import Declaration
from focusmap.errors import RefusedError
from focusmap.pipeline.options import RunOptions
from focusmap.pipeline.runs import Run
from focusmap.values.task import Task

LEAK = "patient-across-splits"


def read_other(run: Run, label_file: Path, said: Declaration) -> Cohort:
    """Return the cohort of a label file that the run has not seen, with the run's own targets and classes.

    The run's study says which columns hold the targets; `said` names the other columns where they are not found.
    """
    task = load_cohort(run.folder).task
    cohort = read_cohort(label_file, replace(said, targets=said.targets or spelled(task)))
    if cohort.task == task:
        return cohort
    return read_cohort(label_file, study=replace(cohort.study, task=task))


def spelled(task: Task) -> tuple[str, ...]:
    """Return the targets as one would name them on the command line.

    >>> from focusmap.values.task import Target
    >>> spelled(Task((Target("Mass"), Target("CST", "continuous"))))
    ('Mass', 'CST:continuous')
    """
    return tuple(target.name if target.kind == "binary" else f"{target.name}:{target.kind}" for target in task.targets)


def refuse_known_patients(run: Run, other: Cohort, options: RunOptions) -> None:
    """Raise `RefusedError` where another label file has patients of the run's own study, unless that is accepted."""
    own = load_cohort(run.folder)
    shared = sorted(set(own.patient_ids) & set(other.patient_ids))
    if not shared or LEAK in options.accept:
        return
    named = ", ".join(map(str, shared[:5])) + (", ..." if len(shared) > 5 else "")
    raise RefusedError(
        f"{LEAK}: {len(shared)} patients of {other.study.label_file} were in the run's own study ({named}). "
        f"To go on all the same: --accept {LEAK}"
    )
