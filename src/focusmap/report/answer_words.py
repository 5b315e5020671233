"""What a model answers of one row, in the words of a language: for the terminal, a notebook, a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from focusmap.basics import Language, branch, number
from focusmap.evaluation import ERROR, NOTICE, Answer, Predictions, Standing, Standings, why_of
from focusmap.report.words import Words, words_in
from focusmap.study import ANOMALY, Target, Task, flags_in_words

if TYPE_CHECKING:
    from focusmap.models import Neighbour, Predictor


@dataclass(frozen=True)
class TargetAnswer:
    """What a model answers for one target of one row, in words and as values.

    Parameters
    ----------
    name
        The target.
    answer
        ``yes``, ``no``, a class, ``unsure`` or ``none``; empty of a value.
    words
        The answer with its probability, or why there is none.
    probability
        Of the positive class, or of the likeliest; of a value that value. NaN where it is not known.
    standing
        How the target did on test; empty where it was not evaluated.
    """

    name: str
    answer: str
    words: str
    probability: float
    standing: str


def in_words(
    model: "Predictor", predictions: Predictions, standings: Standings, error: float = ERROR, language: Language = "en"
) -> str:
    """Return what the model says of the first row: out of distribution first, then one line per target."""
    words, first = words_in(language), predictions.ids.iloc[0]
    lines = [str(first.get("path", first["image_id"]))]
    if unlike := unlike_in_words(predictions, 0, words):
        lines.append(f"  {unlike}")
    for target in answers_by_target(model, predictions, standings, words):
        lines.append(f"  {target.name}: {target.words}{f'; {target.standing}' if target.standing else ''}")
    flags = [flag for flag in (predictions.flags or [()])[0] if flag.kind != "unlike"]
    if flags:
        lines.append("  " + words("told.flagged", flags=flags_in_words(flags)))
    if predictions.answers and any(answer.members and answer.answer != "none" for answer in predictions.answers[0]):
        lines.append("  " + words("told.error", error=100 * error))
    return "\n".join([*lines, NOTICE if language == "en" else words("page.notice")])


def alike_in_words(neighbours: Sequence["Neighbour"], task: Task, words: Words) -> str:
    """Return which images of train are most alike, each with its labels; empty of none."""
    if not neighbours:
        return ""
    images = [
        words("told.alike_one", name=neighbour.image_id, labels=_labels(neighbour, task, words))
        for neighbour in neighbours
    ]
    return words("told.alike", images=words("page.comma").join(images))


def _labels(neighbour: "Neighbour", task: Task, words: Words) -> str:
    """Return the labels of an image: of those of 0 and 1 the names of the ones that it has."""
    labels = []
    for target in task.targets:
        value = neighbour.labels.get(target.name)
        if target.kind == "binary" and target.classes == ("0", "1"):
            labels += [target.name] if value == "1" else []
        elif value is not None:
            labels.append(value if len(task.targets) == 1 else f"{target.name} {value}")
    return words("page.comma").join(labels) or words("told.no_label")


def in_short(model: "Predictor", predictions: Predictions, row: int) -> str:
    """Return what the model says of a row in one line, for a list of many."""
    words, ids = words_in("en"), predictions.ids.iloc[row]
    unlike = words("told.unlike_in_short") if unlike_in_words(predictions, row, words) else ""
    answers = [f"{target.name} {target.words}" for target in answers_by_target(model, predictions, {}, words, row)]
    return f"{ids.get('path', ids['image_id'])}: {unlike or ', '.join(answers)}"


def unlike_in_words(predictions: Predictions, row: int, words: Words) -> str:
    """Return that a row is out of distribution, and in what; empty where it is not."""
    unlike = [flag for flag in predictions.flags[row] if flag.kind == "unlike"] if predictions.flags else []
    return words("told.unlike", why=flags_in_words(unlike)) if unlike else ""


def answers_by_target(
    model: "Predictor", predictions: Predictions, standings: Standings, words: Words, row: int = 0
) -> list[TargetAnswer]:
    """Return the answer for each target of a row, in the order of the task."""
    answers = predictions.answers[row] if predictions.answers else (Answer(""),) * len(model.task.targets)
    found = []
    for target, answer in zip(model.task.targets, answers, strict=True):
        probabilities, standing = predictions.of(target.name)[row], standings.get(target.name)
        sentence = _say(target, answer, probabilities, model, words)
        probability = float(probabilities.max() if target.has_logit_per_class else probabilities[0])
        did = _standing(standing, words) if standing else ""
        found.append(TargetAnswer(target.name, answer.answer, sentence, probability, did))
    return found


def _say(target: Target, answer: Answer, probabilities: np.ndarray, model: "Predictor", words: Words) -> str:
    if target == ANOMALY:
        usual = model.card.thresholds.get(target.name, np.inf)
        key = "told.anomaly_above" if probabilities[0] > usual else "told.anomaly_within"
        return words(key, missed=probabilities[0], usual=usual)
    figures = _probabilities(target, probabilities, words)
    if answer.why == "unlike":
        return words("told.none_unlike", shown=figures)
    if answer.answer == "none":
        return words("told.none", why=words.name("why", answer.why), shown=figures)
    if target.is_number:
        if not answer.members or np.isnan(probabilities[0]):
            return figures
        return words("told.value", value=figures, low=answer.members[0], high=answer.members[1])
    if answer.answer == "unsure":
        return words(
            "told.unsure", classes=words("told.or").join(_class_words(target, answer.members, words)), shown=figures
        )
    if target.kind != "binary":
        return words("told.answered", answer=target.classes[int(probabilities.argmax())], shown=figures)
    threshold = model.card.threshold_of(target.name)
    name = answer.answer or ("yes" if probabilities[0] >= threshold else "no")
    word = _class_words(target, [target.classes[name == "yes"]], words)[0]
    if answer.members:
        return words("told.answered", answer=word, shown=figures)
    return words("told.at_operating_point", answer=word, shown=figures, threshold=threshold)


def _class_words(target: Target, names: "tuple[str, ...] | list[str]", words: Words) -> list[str]:
    """Return classes as they are answered: those of 0 and 1 are no and yes."""
    if target.kind != "binary":
        return list(names)
    plain = target.classes == ("0", "1")
    word_of = {
        target.classes[0]: words("told.no") if plain else words("told.not_class", name=target.positive),
        target.classes[1]: words("told.yes") if plain else words("told.class", name=target.positive),
    }
    return [word_of[name] for name in names]


def _probabilities(target: Target, probabilities: np.ndarray, words: Words) -> str:
    if target.is_number:
        return words("told.not_known") if np.isnan(probabilities[0]) else f"{probabilities[0]:.4g}"
    if target.kind == "binary":
        return words("told.probability", p=probabilities[0])
    order = np.argsort(probabilities)[::-1]
    return ", ".join(f"{target.classes[i]} {probabilities[i]:.2f}" for i in order)


def _standing(standing: Standing, words: Words) -> str:
    """Return how a target did on test: AUROC, or the error of a value; empty where neither is known or means much."""
    metric = {} if why_of(standing.verdict) == "unjudged" else standing.metric
    for key in ("auroc", "mae", "r2"):
        value, low, high = (number(branch(metric, key).get(part)) for part in ("value", "low", "high"))
        if value is not None and low is not None and high is not None:
            limits = {name: f"{part:.3g}" if key == "mae" else f"{part:.2f}" for name, part in
                     (("value", value), ("low", low), ("high", high))}  # fmt: skip
            return words("told.standing", metric=words.name("metric", key), **limits)
    return ""
