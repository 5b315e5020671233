"""What was studied, in sentences, and what a reader should be careful of."""

from dataclasses import dataclass

import numpy as np

from focusmap.basics import branch, items, number, text
from focusmap.evaluation import why_of
from focusmap.report import checklists, localisation_section, model_section, performance_section, segmentation_section
from focusmap.report.audit_page import ORDER, FindingView, finding_views
from focusmap.report.cohort_section import rows_of_patients
from focusmap.report.files import RunFiles, Tree, model_name
from focusmap.report.words import Words, called
from focusmap.study import Target

FEW_POSITIVES = 10
WIDE = 0.15


@dataclass(frozen=True)
class Caution:
    """Sentences of one kind; `severity` is blocking (an accepted finding), warning or note."""

    severity: str
    text: str


@dataclass(frozen=True)
class Limitation:
    """What weakens the numbers in one respect: the heading of it, the gravest severity, every sentence."""

    heading: str
    severity: str
    texts: tuple[str, ...]


def headline(files: RunFiles, words: Words) -> list[str]:
    """Return what was studied, trained and tested in plain words, a sentence or two per entry."""
    sentences = [_what(files, words)]
    if not files.metrics:
        missing = "summary.not_trained" if files.card is None else "summary.not_evaluated"
        return [*sentences, words(missing, folder=files.folder)]
    is_told = files.task.has_classes and why_of(text(files.metrics.get("verdict"))) not in ("unjudged", "broken")
    return [*sentences, _tested(files, words), *([_result(files, words)] if is_told else [])]


def limitations(files: RunFiles, words: Words) -> list[Limitation]:
    """Return what weakens the numbers in at most three: what was accepted, the data, and what was measured."""
    altered = checklists.Evidence(files.folder).altered()
    changed = [Caution("blocking", words("caution.altered", files=words.listed(altered, 8)))] if altered else []
    accepted = [Caution("blocking", _accepted(name, words)) for name in files.accepted]
    general = [Caution("note", words("caution.one_study"))] if files.metrics else []
    bettered = model_section.bettered_by(files, words)
    simpler = [Caution("warning", words("caution.simpler", names=words.listed(bettered, 8)))] if bettered else []
    numbers = [*_never_predicted(files.metrics, words), *_number_cautions(files, words)]
    groups = {
        "caution.of_files": changed,
        "caution.of_accepted": accepted,
        "caution.of_data": _audit_cautions(files, words),
        "caution.of_numbers": [*simpler, *numbers, *_maps(files, words), *_masks(files, words), *general],
    }
    return [_merged(words(key), cautions) for key, cautions in groups.items() if cautions]


def _merged(heading: str, cautions: list[Caution]) -> Limitation:
    ordered = sorted(cautions, key=lambda caution: ORDER[caution.severity])
    return Limitation(heading, ordered[0].severity, tuple(caution.text for caution in ordered))


def _accepted(name: str, words: Words) -> str:
    return words(f"accepted.{name}") if name in words.tables["accepted"] else words("caution.accepted", name=name)


def _what(files: RunFiles, words: Words) -> str:
    names = words.listed([_learnt(target, words) for target in files.task.targets], 15)
    model = model_section.called(files, words)
    facts = {"names": names, "shown": words.name("shown", _shown(files))}
    what = words("summary.trained", model=model, **facts) if model else words("summary.about", **facts)
    if files.cohort is None:
        return what
    size = rows_of_patients(files, len(files.cohort), files.cohort["patient_id"].nunique(), words)
    return words("page.sentences", first=what, second=words("summary.size", images=size))


def _learnt(target: Target, words: Words) -> str:
    """Return the name of a target, with the baseline value whose change is what is learnt, or which class is sought."""
    if target.baseline:
        return words("summary.change", name=target.name, baseline=target.baseline)
    if target.kind != "binary" or target.classes == ("0", "1"):
        return target.name
    return words("summary.of_classes", name=target.name, positive=target.positive, negative=target.classes[0])


def _shown(files: RunFiles) -> str:
    name = model_name(files)
    if name.with_table:
        return "both"
    if name.shown == "table":
        return "table"
    return "image" if files.images is None else "case"


def _tested(files: RunFiles, words: Words) -> str:
    n, patients = (number(files.metrics.get(key)) or 0 for key in ("n_images", "n_patients"))
    images = rows_of_patients(files, n, patients, words)
    if text(files.metrics.get("split")) != "test":
        return words("summary.cross_validated", images=images)
    return words("summary.tested_accepted" if files.accepted else "summary.tested", images=images)


def _result(files: RunFiles, words: Words) -> str:
    auroc = performance_section.mean_metric(files.metrics)
    value, low, high = (number(auroc.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return words("summary.no_auroc")
    auroc_text = f"{value:.3f}"
    if low is not None and high is not None:
        interval = words("page.interval", low=f"{low:.3f}", high=f"{high:.3f}")
        auroc_text = words("summary.with_interval", value=auroc_text, interval=interval)
    entries = [branch(entry) for entry in branch(files.metrics, "targets").values()]
    n = sum(number(branch(entry, "auroc").get("value")) is not None for entry in entries)
    return (
        words("summary.mean_auroc_is", n=n, value=auroc_text) if n > 1 else words("summary.auroc_is", value=auroc_text)
    )


def _audit_cautions(files: RunFiles, words: Words) -> list[Caution]:
    named = ("near-duplicates-across-splits", "near-duplicates-across-classes", "hidden-groups", "too-few-positives")
    views = [view for view in finding_views(files.audit, words, files.accepted) if not view.accepted]
    wanted = [
        view
        for view in views
        if view.name in named or view.severity == "blocking" or view.name.startswith("label-tied")
    ]
    return [Caution(view.severity, _in_short(view, words)) for view in wanted]


def _in_short(view: FindingView, words: Words) -> str:
    if view.heading == view.name:
        return view.message
    if not view.advice:
        return words("caution.heeded", heading=view.heading)
    return words("caution.finding", heading=view.heading, advice=view.advice)


def _maps(files: RunFiles, words: Words) -> list[Caution]:
    """Return a caution where lesions are marked and the maps are not shown to find them better than the mean mask."""
    is_above = localisation_section.maps_above_mean_mask(files, words)
    return [Caution("warning", words("caution.maps_not_above"))] if is_above is False else []


def _masks(files: RunFiles, words: Words) -> list[Caution]:
    """Return cautions: most masks are empty although the model finds a lesion; masks are below the mean mask."""
    targets = segmentation_section.mostly_empty(files.masks)
    empty = [Caution("warning", words("caution.masks_empty", names=words.listed(targets, 8)))] if targets else []
    return [
        *empty,
        *([Caution("warning", words("caution.masks_below"))] if segmentation_section.below_mean_mask(files) else []),
    ]


def _never_predicted(metrics: Tree, words: Words) -> list[Caution]:
    """Return a caution for each target with classes that no image of the test was given."""
    absent = {name: _unanswered(branch(entry)) for name, entry in branch(metrics, "targets").items()}
    return [
        Caution("warning", words("caution.never_predicted", target=name, names=words.listed(classes, 8)))
        for name, classes in absent.items()
        if classes
    ]


def _unanswered(entry: Tree) -> list[str]:
    """Return the classes of a target of several that stand in the test and were never the answer."""
    classes, confusion = [text(name) for name in items(entry.get("classes"))], items(entry.get("confusion"))
    if not classes or not confusion:
        return []
    counts = np.array([[number(count) or 0 for count in items(row)] for row in confusion])
    return [name for k, name in enumerate(classes) if counts[k].any() and not counts[:, k].any()]


def _number_cautions(files: RunFiles, words: Words) -> list[Caution]:
    few, wide, no_interval, undefined = [], [], [], []
    for target, value in branch(files.metrics, "targets").items():
        name, entry = called(files.task, target), branch(value)
        positives, auroc = number(entry.get("n_positive")), branch(entry, "auroc")
        low, high = number(auroc.get("low")), number(auroc.get("high"))
        if positives is not None and positives < FEW_POSITIVES:
            few.append(words("caution.with_number", name=name, n=positives))
        if auroc and auroc.get("value") is None:
            undefined.append(name)
        elif auroc and (low is None or high is None):
            no_interval.append(name)
        elif low is not None and high is not None and high - low > WIDE:
            wide.append(name)
    rows = [
        ("warning", "caution.few_positives", few),
        ("note", "caution.wide", wide),
        ("warning", "caution.no_interval", no_interval),
        ("warning", "caution.undefined", undefined),
    ]
    return [
        Caution(severity, words(key, names=words.listed(names, 8), half=WIDE / 2))
        for severity, key, names in rows
        if names
    ]
