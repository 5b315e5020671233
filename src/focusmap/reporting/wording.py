"""The report's first paragraph, and what a reader should be careful of."""

from dataclasses import dataclass

from focusmap.figures.json_tree import branch, number, text
from focusmap.reporting.files import RunFiles, Tree
from focusmap.reporting.findings import finding_views
from focusmap.reporting.performance_section import mean_metric
from focusmap.reporting.tables import count_text, list_text

FEW_POSITIVES = 10
WIDE = 0.15

ACCEPTED = {
    "no-patient-column": "Nobody knows which images belong to one patient: every image was taken as its own patient "
    "(--patient none). If patients have several images, the same patient stands in train and test, "
    "and every number here is too good.",
    "patient-across-splits": "The same patients stand in several parts of the split, so the numbers are too good.",
    "duplicate-across-splits": "The same pictures stand in several parts of the split, so the numbers are too good.",
    "source-shortcut": "Where an image comes from gives its label away; the net may have learned the source.",
}


@dataclass(frozen=True)
class Caution:
    """One sentence; `severity` is blocking (an accepted finding), warning or note."""

    severity: str
    text: str


def headline(files: RunFiles) -> list[str]:
    """Return the summary in plain words, a sentence or two an entry."""
    sentences = [_what(files)]
    if files.metrics:
        sentences += [_tested(files), _result(files)]
    else:
        sentences.append(f"It is not evaluated yet; do it with: focusmap evaluate {files.folder}")
    return [sentence for sentence in sentences if sentence]


def cautions(files: RunFiles) -> list[Caution]:
    """Return what weakens the numbers, the gravest first."""
    accepted = [
        Caution("blocking", ACCEPTED.get(name, f"The blocking finding {name} was accepted.")) for name in files.accepted
    ]
    return [*accepted, *_audit_cautions(files), *_number_cautions(files.metrics), *_general(files)]


def _what(files: RunFiles) -> str:
    names = list_text(files.task.names, 15)
    model = text(files.card.architecture.get("model")) if files.card else ""
    trained = f"A {model} network was trained to predict" if model else "This study is about predicting"
    if files.cohort is None:
        return f"{trained} {names} from one image."
    cohort = files.cohort
    patients = cohort["patient_id"].nunique()
    size = count_text(len(cohort), "image")
    of = f" of {count_text(patients, 'patient')}" if files.study.patients == "column" else ""
    return f"{trained} {names} from one image. The study has {size}{of}."


def _tested(files: RunFiles) -> str:
    n, patients = int(number(files.metrics.get("n_images")) or 0), int(number(files.metrics.get("n_patients")) or 0)
    of = f" of {count_text(patients, 'patient')}" if files.study.patients == "column" and patients else ""
    if text(files.metrics.get("split")) == "test":
        seen = "that took no part in the training" if files.accepted else "that it had never seen"
        return f"It was tested once, on {count_text(n, 'image')}{of} {seen}."
    return (
        f"It was cross-validated: each of {count_text(n, 'image')}{of} was judged by a model trained without it. "
        "The numbers and maps here are those of the single folds' models. The model that answers for new images is "
        "their mean, which no image of this study can test."
    )


def _result(files: RunFiles) -> str:
    auroc = mean_metric(files.metrics)
    value, low, high = (number(auroc.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return "An AUROC is not defined here; see the table for the numbers that are."
    entries = [branch(entry) for entry in branch(files.metrics, "targets").values()]
    n = sum(number(branch(entry, "auroc").get("value")) is not None for entry in entries)
    what = f"mean AUROC over {n} targets" if n > 1 else "AUROC"
    interval = f" (95 % interval {low:.3f} to {high:.3f})" if low is not None and high is not None else ""
    return f"The {what} is {value:.3f}{interval}; 0.5 is guessing and 1 is perfect ranking."


def _audit_cautions(files: RunFiles) -> list[Caution]:
    named = ("near-duplicates-across-splits", "near-duplicates-across-classes", "hidden-groups", "too-few-positives")
    views = [view for view in finding_views(files.audit, files.accepted) if not view.accepted]
    wanted = [
        view
        for view in views
        if view.name in named or view.severity == "blocking" or view.name.startswith("label-tied")
    ]
    return [Caution(view.severity, view.message) for view in wanted]


def _number_cautions(metrics: Tree) -> list[Caution]:
    few, wide, undefined = [], [], []
    for name, value in branch(metrics, "targets").items():
        entry = branch(value)
        positives, auroc = number(entry.get("n_positive")), branch(entry, "auroc")
        low, high = number(auroc.get("low")), number(auroc.get("high"))
        few += [f"{name} ({positives:.0f})"] if positives is not None and positives < FEW_POSITIVES else []
        wide += [name] if low is not None and high is not None and high - low > WIDE else []
        undefined += [name] if auroc and auroc.get("value") is None else []
    found = []
    if few:
        found.append(Caution("warning", f"Few positives in the test: {list_text(few, 8)}."))
    if wide:
        found.append(Caution("note", f"The AUROC is uncertain by more than ±{WIDE / 2:.3f} for {list_text(wide, 8)}."))
    if undefined:
        found.append(
            Caution("warning", f"No AUROC could be computed for {list_text(undefined, 8)}; the mean leaves it out.")
        )
    return found


def _general(files: RunFiles) -> list[Caution]:
    if not files.metrics:
        return []
    words = (
        "All images come from one study: nothing here shows how the model does at another hospital or on other devices."
    )
    return [Caution("note", words)]
