"""Everything the report shows, as plain values made from the files of a run."""

from pathlib import Path

from focusmap.figures.json_tree import items, text
from focusmap.reporting.cohort_section import cohort_section
from focusmap.reporting.files import RunFiles, read_run
from focusmap.reporting.findings import finding_views, severity_text
from focusmap.reporting.focus_section import cut_note, gallery, mistake_section
from focusmap.reporting.judged import judged_predictions
from focusmap.reporting.localisation_section import localisation_section
from focusmap.reporting.origin_section import (
    learning_curves,
    model_groups,
    provenance_groups,
    recipe_groups,
    threshold_table,
)
from focusmap.reporting.performance_section import mean_metric, performance_section
from focusmap.reporting.tables import Footnotes, list_text, metric_cell
from focusmap.reporting.trust import trust_verdicts
from focusmap.reporting.wording import cautions, headline


def summarise(folder: Path) -> dict[str, object]:
    """Return the context of the report's template; a section whose files are missing is None or empty.

    Raises
    ------
    MissingFileError, InputError
        If the folder is not a run, or a file in it cannot be read.
    """
    files = read_run(folder)
    judged = judged_predictions(files)
    views = finding_views(files.audit, files.accepted)
    return {
        "run": folder,
        "title": _title(files),
        "headline": headline(files),
        "auroc": metric_cell(mean_metric(files.metrics), Footnotes(), bar=True),
        "is_mean": len(files.task.targets) > 1,
        "clustered_by": text(files.metrics.get("clustered_by")) if files.study.patients == "column" else "",
        "metrics_split": text(files.metrics.get("split")),
        "cautions": cautions(files),
        "cohort": cohort_section(files),
        "has_audit": bool(files.audit),
        "has_audit_page": (folder / "audit.html").is_file(),
        "findings": views,
        "severities": severity_text(views),
        "split": _split_facts(files),
        "recipe": recipe_groups(files),
        "learning": learning_curves(files),
        "performance": performance_section(files, judged),
        "mistakes": mistake_section(files, judged),
        "has_maps": files.index is not None,
        "cut_note": cut_note(files),
        "gallery": gallery(files, judged),
        "trust": trust_verdicts(files.trust),
        "localisation": localisation_section(files),
        "model": model_groups(files),
        "thresholds": threshold_table(files),
        "provenance": provenance_groups(files),
        "started": text(files.manifest.get("started"))[:10],
        "version": text(files.manifest.get("focusmap")),
    }


def _title(files: RunFiles) -> str:
    names = files.task.names
    return names[0] if len(names) == 1 else list_text(names, 4)


def _split_facts(files: RunFiles) -> dict[str, object] | None:
    if files.cohort is None or "split" not in files.cohort:
        return None
    notes = [text(note) for note in items(files.split_facts.get("notes"))]
    return {"fingerprint": text(files.split_facts.get("fingerprint")), "notes": notes, "by": _split_by(files)}


def _split_by(files: RunFiles) -> str:
    study = files.study
    if study.split_column:
        return f"The split was declared in the column {study.split_column}."
    if study.block_column:
        return f"The images were split in contiguous blocks of {study.block_column}, with a gap between blocks."
    if study.patients == "column":
        return f"The split is by patient (column {study.patient_column}), stratified over all labels at once."
    return "The split is by image, stratified over all labels at once, since no patients are known."
