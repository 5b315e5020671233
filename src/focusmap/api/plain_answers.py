"""What a model answers of one image, as plain values for the page and for programs: out of distribution first.

What is answered is decided in `focusmap.evaluation.answers`; here it is only laid out.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from focusmap import segmentation
from focusmap.basics import InputError, Json, branch, number, text
from focusmap.evaluation import Answer, why_of
from focusmap.models import ModelCard
from focusmap.study import ANOMALY, BLANK, Flags, Run, Target

if TYPE_CHECKING:
    from focusmap.api.loaded_model import Answers, LoadedModel


def answer_of(answers: "Answers", row: int, metrics: Mapping[str, Json]) -> dict[str, Json]:
    """Return what is answered of one row.

    Parameters
    ----------
    answers
        Of N rows.
    row
        Its position.
    metrics
        ``metrics.json`` of the run; empty where it was not evaluated.

    Returns
    -------
    dict
        ``unlike``: in what the image is unlike those of train, empty where in nothing; ``blank``: whether it is so
        because it shows nothing. ``flags``: what else is to be known. ``error``: the error at which a class is
        excluded. ``targets``: for each its ``answer`` (``yes``, ``no``, a class, a number as text, ``unsure`` or
        ``none``), ``why`` it is one of the last two, the ``members`` that cannot be excluded, and what is behind it.
    """
    predictions = answers.found.predictions
    flags: Flags = predictions.flags[row] if predictions.flags is not None else ()
    by_target: Sequence[Answer] = (
        predictions.answers[row] if predictions.answers else (Answer(""),) * len(predictions.task.targets)
    )
    unlike = "; ".join(flag.text for flag in flags if flag.kind == "unlike")
    targets: list[Json] = [
        _of_target(target, predictions.of(target.name)[row], answer, answers.model.card)
        | {"test": performance(target, branch(metrics, "targets", target.name))}
        for target, answer in zip(predictions.task.targets, by_target, strict=True)
    ]
    remarks: list[Json] = [flag.text for flag in flags if flag.kind != "unlike"]
    return {"unlike": unlike, "blank": BLANK in flags, "flags": remarks, "error": answers.error, "targets": targets}


def _of_target(target: Target, probabilities: np.ndarray, answer: Answer, card: ModelCard) -> dict[str, Json]:
    names = target.classes if target.has_logit_per_class else (target.name,)
    classes: list[Json] = [
        {"name": name, "label": label, "probability": None if math.isnan(value) else float(value)}
        for name, label, value in zip(names, target.label_names, probabilities, strict=True)
    ]
    return {
        "name": target.name,
        "kind": target.kind,
        "answer": _answer_text(target, probabilities, answer, card),
        "why": answer.why or ("unknown" if np.isnan(probabilities).any() else ""),
        "members": list(answer.members),
        "positive": "" if target.kind != "binary" or target.classes == ("0", "1") else target.positive,
        "unit": target.unit,
        "threshold": card.threshold_of(target.name) if target.kind == "binary" else None,
        "classes": classes,
    }


def _answer_text(target: Target, probabilities: np.ndarray, answer: Answer, card: ModelCard) -> str:
    if answer.answer or np.isnan(probabilities).any():
        return answer.answer or "none"
    if target == ANOMALY:
        return "yes" if probabilities[0] > card.thresholds.get(target.name, math.inf) else "no"
    return f"{probabilities[0]:.4g}"


def performance(target: Target, tested: Mapping[str, Json]) -> dict[str, Json]:
    """Return how a label did on test: the AUROC, or the mean error of a value, with its interval; empty if untested.

    Of a label with too few patients to be judged there is no number: only how many there were.
    """
    metric = "mae" if target.is_number else "auroc"
    counts = {name: tested[name] for name in ("n", "n_positive") if name in tested}
    if why_of(text(tested.get("verdict"))) == "unjudged":
        return {"metric": metric, **counts}
    measured = branch(tested, metric)
    if number(measured.get("value")) is None:
        return {}
    return {"metric": metric, **{key: measured.get(key) for key in ("value", "low", "high")}, **counts}


def can_segment(model: "LoadedModel") -> bool:
    """Return whether a run has learnt to draw the masks of all its lesions, which takes minutes the first time."""
    if model.model.explainable() is None:
        return False
    try:
        lesions = segmentation.lesions_of(model.task, (), ())
    except InputError:
        return False
    return all(segmentation.learnt_file(Run(model.folder), lesion.name).is_file() for lesion in lesions)
