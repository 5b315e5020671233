"""Audit, split and prepare: all that comes before a training."""

from pathlib import Path

from focusmap.audit import Audit
from focusmap.basics import refuse_existing
from focusmap.fitting import Prepared, preparing
from focusmap.report import TrainingAudit, audited
from focusmap.scale import on_cluster
from focusmap.study import Cohort, Roster, RunOptions, Split, start_run, writing


def audit(
    cohort: Cohort,
    out: Path,
    options: RunOptions = RunOptions(),
    *,
    split: Split | None = None,
    against: Roster | None = None,
) -> Audit:
    """Audit a cohort, write ``audit.json`` and ``audit.html`` to `out`, and return the audit.

    Parameters
    ----------
    cohort
        What is audited.
    out
        Folder.
    options
        What is accepted; processes, progress, language of the page.
    split
        The split to be judged; without one, the declared split is.
    against
        Another table, whose patients and images must not stand in this one.

    Raises
    ------
    InputError
        If `out` holds an audit already and `options.force` is not given.
    """
    refuse_existing(out / "audit.json", force=options.force)
    with on_cluster(options.cluster):
        return audited(cohort, out, options, split, against)


def prepare(cohort: Cohort, folder: Path, options: RunOptions) -> Prepared:
    """Audit, split and prepare a cohort in a new run folder.

    Raises
    ------
    RefusedError
        If a blocking finding stands.
    InputError
        If a mask does not have the shape of its image.
    UnreadableImageError
        If images cannot be read; all are named.
    """
    with writing(folder), on_cluster(options.cluster):
        run = start_run(folder, force=options.force)
        return preparing.prepare(cohort, run, options, TrainingAudit(cohort, run.folder, options))
