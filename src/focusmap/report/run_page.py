"""The report of a run: everything it shows, as plain values made from files, and one self-contained HTML file."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import cast

import pandas as pd

from focusmap.basics import Language, branch, items, number, read_json, text
from focusmap.report import elsewhere_section, focus_section, model_section, origin_section, page, trust, wording
from focusmap.report.audit_page import finding_views, severity_text
from focusmap.report.checklists import FILE as CHECKLISTS
from focusmap.report.cohort_section import cohort_section
from focusmap.report.files import RunFiles, can_be_mapped, can_be_trusted, judged_predictions, model_name, read_run
from focusmap.report.localisation_section import localisation_section
from focusmap.report.performance_section import (
    PerformanceSection,
    answer_section,
    challenge_tables,
    performance_section,
    smallest_subgroup,
    subgroup_tables,
)
from focusmap.report.segmentation_section import segmentation_section
from focusmap.report.verdict_section import forests, verdict_section
from focusmap.report.words import Words, words_in
from focusmap.study import short_names


def summarise(folder: Path, words: Words) -> dict[str, object]:
    """Return the context of the report's template; a section whose files are missing is None or empty.

    Raises
    ------
    MissingFileError, InputError
        If the folder is not a run, or a file in it cannot be read.
    """
    files = read_run(folder)
    judged = judged_predictions(files, words)
    context = {
        "run": Path(short_names([folder])[0]),
        "run_in_shell": quote(short_names([folder])[0]),
        **_conclusion(files, words),
        "metrics_split": words.name("part", text(files.metrics.get("split")) or "test"),
        "clustered_by": text(files.metrics.get("clustered_by")) if files.knows_patients else "",
        "cohort": cohort_section(files, words),
        "is_one_label": len(files.task.label_names) == 1,
        "has_classes": files.task.has_classes,
        "has_images": files.study.path_column is not None,
        **_audit(files, words),
        "split": _split_facts(files, words),
        **_training(files, words),
        "performance": performance_section(files, judged, words),
        **_evidence(files, words),
        "mistakes": focus_section.mistake_section(files, judged, words),
        "doubtful": focus_section.doubtful_section(files, words),
        "examples_of": focus_section.hit_and_miss(files, judged, words),
        **_maps(files, judged, words),
        **_model(files, words),
        "provenance": origin_section.provenance_groups(files, words),
        "checklists": _checklists(folder, words),
        "started": text(files.manifest.get("started"))[:10],
        "version": text(files.manifest.get("focusmap")),
    }
    missing = {words(f"absent.{key}"): command for key, command in _missing(context).items()}
    return {**context, "missing": missing}


def _conclusion(files: RunFiles, words: Words) -> dict[str, object]:
    return {
        "title": _title(files, words),
        "verdict_of": verdict_section(files, words),
        "forests": forests(files, words),
        "sentences": wording.headline(files, words),
        "limitations": wording.limitations(files, words),
    }


def _training(files: RunFiles, words: Words) -> dict[str, object]:
    return {
        "recipe": origin_section.recipe_groups(files, words),
        "changed": origin_section.recipe_groups(files, words, changed=True),
        "fitted_at_once": model_name(files).engine == "estimator",
        "learning": origin_section.learning_curves(files, words),
        "ladder": model_section.ladder_table(files, words),
        "why": model_section.why_this_model(files, words),
        "start": words.name("start", text(files.card.training.get("start"))) if files.card is not None else "",
    }


def _evidence(files: RunFiles, words: Words) -> dict[str, object]:
    return {
        "baselines": model_section.baseline_tables(files, words),
        "rungs": model_section.baseline_tables(files, words, of_rungs=True),
        "answers": answer_section(files, words),
        "subgroups": subgroup_tables(files, words, beyond_chance=True),
        "smallest_subgroup": smallest_subgroup(files, words),
        "even_subgroups": subgroup_tables(files, words, beyond_chance=False),
        "challenges": challenge_tables(files, words),
        "elsewhere": elsewhere_section.elsewhere_sections(files, words),
        "n_patients_needed": files.challenge.get("n_patients_needed"),
        "forecast": _forecast(files, words),
    }


def _checklists(folder: Path, words: Words) -> list[str]:
    """Return how many items of each reporting checklist the run's files carry; nothing before they were checked."""
    path = folder / CHECKLISTS
    lists = [branch(entry) for entry in items(read_json(path).get("lists"))] if path.is_file() else []
    counts = [words("checklist.count", n=entry.get("n_ticked"), all=entry.get("n_items")) for entry in lists]
    return [
        words("checklist.in_short", name=text(entry.get("name")), count=count)
        for entry, count in zip(lists, counts, strict=True)
    ]


def _forecast(files: RunFiles, words: Words) -> str:
    """Return within what limits the AUROC of the challenge's probes will lie with more patients; empty without."""
    forecast = branch(files.challenge, "forecast")
    limits = {key: number(forecast.get(key)) for key in ("n_patients", "low", "high")}
    return "" if None in limits.values() else words("challenge.forecast", **limits)


def _missing(context: Mapping[str, object]) -> dict[str, str]:
    """Return what the run does not have, by the key of its words, with the command that makes it."""
    folder, performance = context["run_in_shell"], cast(PerformanceSection | None, context["performance"])
    is_trained_in_epochs = not context["ladder"] and not context["fitted_at_once"]
    prepare, train = f"focusmap prepare LABELS.csv --out {folder}", f"focusmap train LABELS.csv --out {folder}"
    evaluate, explain = f"focusmap evaluate {folder}", f"focusmap explain {folder}"
    commands = {
        "cohort": (context["cohort"], prepare),
        "audit": (context["has_audit"], f"focusmap audit LABELS.csv --out {folder}"),
        "split": (context["split"], prepare),
        "history": (context["learning"] or not is_trained_in_epochs, train),
        "recipe": (context["recipe"], train),
        "metrics": (performance, evaluate),
        "curves": (performance is None or not performance.lacks_curves, evaluate),
        "predictions": (context["mistakes"] or not context["has_classes"], train),
        "maps": (context["has_maps"] or not context["can_be_mapped"], explain),
        "scores": (context["localisation"] or not context["can_be_mapped"],
                   f"focusmap explain {folder} MARKED.csv --out DIR"),
        "model": (context["model"], train),
        "manifest": (context["provenance"], train),
    }  # fmt: skip
    return {key: command for key, (is_there, command) in commands.items() if not is_there}


def _audit(files: RunFiles, words: Words) -> dict[str, object]:
    views = finding_views(files.audit, words, files.accepted)
    return {
        "has_audit": bool(files.audit),
        "has_audit_page": (files.folder / "audit.html").is_file(),
        "findings": views,
        "severities": severity_text(views, words),
    }


def _maps(files: RunFiles, judged: pd.DataFrame | None, words: Words) -> dict[str, object]:
    return {
        "can_be_mapped": can_be_mapped(files),
        "can_be_trusted": can_be_trusted(files),
        "has_maps": files.index is not None,
        "lot_note": focus_section.lot_note(files, words),
        "threshold_note": focus_section.threshold_note(files, words),
        "case_note": focus_section.case_note(files, words),
        "gallery": focus_section.gallery(files, judged, words),
        "trust": trust.trust_verdicts(files.trust, words),
        "localisation": localisation_section(files, words),
        "segmentation": segmentation_section(files, words),
    }


def _model(files: RunFiles, words: Words) -> dict[str, object]:
    return {
        "model": origin_section.model_groups(files, words),
        "covariates": model_section.covariate_table(files, words),
        "importance": model_section.importance_table(files, words),
        "sides": model_section.sides_table(files, words),
        "attention": model_section.attention_table(files, words),
        "thresholds": origin_section.threshold_table(files, words),
    }


def _title(files: RunFiles, words: Words) -> str:
    """Return what is told: the classes of the only target, or the names of the targets."""
    first, names = files.task.targets[0], files.task.names
    if len(names) == 1 and first.classes and first.classes != ("0", "1"):
        return words.listed(first.classes, 6)
    return names[0] if len(names) == 1 else words.listed(names, 4)


def _split_facts(files: RunFiles, words: Words) -> dict[str, object] | None:
    if files.cohort is None or "split" not in files.cohort:
        return None
    return {
        "fingerprint": text(files.split_facts.get("fingerprint")),
        "notes": words.notes(files.split_facts),
        "by": _split_by(files, words),
        "purpose": _purpose(files, words),
    }


def _purpose(files: RunFiles, words: Words) -> str:
    """Return what each part of the split is for, and what was chosen on tune."""
    card, recipe = files.card, files.recipe
    chosen = {
        "epochs": recipe is not None and recipe.patience > 0 and model_name(files).engine == "net",
        "operating_points": card is not None and bool(card.thresholds),
        "temperatures": files.task.has_classes,
        "map_thresholds": card is not None and bool(card.map_thresholds),
    }
    names = [words(f"split.{name}") for name, is_chosen in chosen.items() if is_chosen] or [words("split.nothing")]
    return words("split.purpose_of_folds" if files.fold_cards else "split.purpose", chosen=words.listed(names))


def _split_by(files: RunFiles, words: Words) -> str:
    study = files.study
    if study.split_column:
        return words("split.declared", column=study.split_column)
    if study.block_column:
        return words("split.blocks", column=study.block_column)
    if study.patients == "column":
        return words("split.by_patient", column=study.patient_column)
    return words("split.by_image")


def render_report(run: Path, language: Language = "en") -> Path:
    """Write ``report.html`` to the run folder, from its files alone, and return its path.

    The page asks the network for nothing, needs no scripts, and prints.

    Raises
    ------
    MissingFileError, InputError
        If the folder is not a run, or a file in it cannot be read.
    """
    words = words_in(language)
    return page.write_page("report.html", summarise(run, words), run / "report.html", words)
