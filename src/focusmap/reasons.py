"""Why a number is missing, and what a reader should know of a file: a code and its values beside the sentence.

Files of a run hold the sentence for people who open them, and the code with its values for pages, which say the same
in their own language: English from `SENTENCES`, other languages from the table ``reason`` of their catalogue. A
sentence without a code, of an older run, stays as it is.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, Self, get_args

from focusmap.files import Json

Value = str | int
Language = Literal["en", "zh"]
"""Of the pages."""
LANGUAGES: tuple[Language, ...] = get_args(Language)

SENTENCES: Mapping[str, str] = {
    "no-truth": "no row has a known reference value",
    "one-class": "one class only",
    "one-class-none-positive": "one class only: no row is positive",
    "one-class-none-negative": "one class only: no row is negative",
    "one-class-none": "one class only: no row is {name}",
    "one-class-every": "one class only: every row is {name}",
    "one-class-throughout": "reference and prediction have one and the same class in every row",
    "none-positive": "no row is positive",
    "none-negative": "no row is negative",
    "none-called-positive": "no row is predicted positive",
    "none-called-negative": "no row is predicted negative",
    "none-positive-or-called": "no row is positive or predicted positive",
    "none": "no row is {name}",
    "every": "every row is {name}",
    "none-called": "no row is predicted to be {name}",
    "none-or-called": "no row is {name} or predicted to be",
    "constant-truth": "the reference value is constant",
    "constant": "the reference value or the prediction is constant",
    "undefined-for-all": "undefined for every target",
    "undefined-for-one": "the metric is undefined for one model or both",
    "no-calibration-line": "one class only, or the probabilities separate the classes without overlap",
    "undefined-here": "the metric is undefined on this sample",
    "no-observation": "no observations",
    "too-few": "too few patients, or too few of a class, to resample",
    "one-patient": "all images of one class are from one patient",
    "no-hits": "no true positive has a mask",
    "no-mean-mask": "no lesion of a label found by the model is marked in the training set, so there is no mean mask",
    "no-region": "no map of a true positive shows a region",
    "not-scored": "no case with a lesion has a mask",
    "no-distance": "no case has both a predicted and a reference lesion",
    "no-axis-attention": "the net has no axial attention; train one with --model resnet18-acam",
    "no-train-mask": "no training image has a mask",
    "masks-not-usable": "not usable: these masks are below the mean mask (Dice {dice} against {mean_mask}), "
    "which is one region for every case. Do not measure lesions with them.",
    "masks-of-another-thing": "{target}: {n} of {all} masks of images without it mark something, so that masks mark "
    "something else. They score nothing here.",
    "not-asked": "was not asked for; --method says which masks are drawn",
    "masks-empty": "{target}: {n} of {all} masks are empty although the model predicts a lesion. "
    "With --method {other}, {n_other} are.",
    "masks-empty-either-way": "{target}: {n} of {all} masks are empty although the model predicts a lesion. "
    "With --method {other} there are no fewer: {n_other}.",
    "map-undefined": "it is undefined for every image",
    "maps-empty": "every map is empty",
    "others-empty": "every map of the other net is empty",
    "nothing-between": "no label has maps of two images to compare",
    "too-few-maps": "fewer than two images have a map with evidence",
    "one-class-read": "all readings are of one class, so agreement by chance would be as high",
    "read-once": "no image was read by two readers",
    "read-apart": "the two readers read no image in common",
    "never-differ": "no two readings differ, so no bootstrap sample can contain a difference",
    "still-moving": "{name}: Dawid and Skene's estimate had not converged after {n} steps",
    "blocks": "split in contiguous blocks of {column}, with gaps of {gap} rows: {n} of {all} rows lie in the gaps and "
    "are not used",
    "declared-folds": "the folds are those of the split column ({n})",
    "folds-not-made": "the {n} requested folds were not created, because the split column defines its own",
    "folds-within": "the folds are drawn from the declared train and tune parts; {n} rows that the split column "
    "reserves for test or does not use are excluded",
    "part-taken": "the declared split has no {part} part; it was drawn from train, by patient",
    "parts-taken": "the declared split has no {part} and no {other} part; both were drawn from train, by patient",
    "near-together": "{n} images that are nearly the same as others stand in one part with these, in {groups} groups",
    "differs": "column {name} differs between readings of one image and is excluded",
    "restates-others": "column {name} repeats the other targets and is excluded",
    "restates": "column {name} repeats {of} and is not used as an input",
    "taken-positive": "{value!r} is taken as the positive class of {name}; to change it use {option}",
    "rarer-positive": "{value!r}, the rarer class, is taken as the positive class of {name}; to change it use {option}",
    "against-the-rest": "{value!r} is the positive class of {name}; {others} together are the negative one",
    "lists": "column {name} holds lists and is read as {n} binary targets",
    "means-none": "{value!r} means none of them",
    "read-as": "{value!r} in {name} is read as {of!r} (n = {n})",
    "read-as-empty": "{value!r} in {name} is read as empty: not known (n = {n})",
    "yes-and-no": "the words in {name} are read as yes and no",
    "words-no-target": "column {name} holds yes and no as words and is no target; to make it one, add --target {name}",
    "fractions": "{name} holds fractions and is read as soft labels",
    "start-random": "random weights were requested",
    "start-none-found": "random weights: {why}",
    "start-hub": "pretrained weights {repository}",
    "start-tensors": "{n} of {all} tensors from {source}",
    "rung-only": "{name} is the only model that was trained so far",
    "rung-best": "{name} has the best score on the tuning set",
    "rung-simpler": "{name} is within one standard error of {best} on the tuning set, and simpler",
    "rung-mean": "their mean has a lower log loss on the tuning set than {name}",
    "rung-of-folds": "chosen in each fold: {names}",
    "verdict-above-all": "{metric} {value} ({low} to {high}) is above guessing ({guessing}) and above every simpler "
    "model compared",
    "verdict-simple": "{metric} {value} ({low} to {high}) is above guessing ({guessing}); this is itself the simple "
    "model",
    "verdict-not-above": "{metric} {value} ({low} to {high}) is above guessing ({guessing}), but was not shown to be "
    "above {rival}",
    "verdict-none-compared": "{metric} {value} ({low} to {high}) is above guessing ({guessing}); no simpler model was "
    "compared",
    "verdict-at-guessing": "{metric} {value} ({low} to {high}) was not shown to be above guessing ({guessing})",
    "verdict-widened": "{metric} {value} ({low} to {high}) was not shown to be above guessing ({guessing}), given the "
    "number of patients and of labels",
    "verdict-few-of-a-class": "too few patients: {n} of the rarer class, at least {least} are needed",
    "verdict-few-in-all": "too few patients: {n}, at least {least} are needed",
    "verdict-no-number": "no {metric} with an interval could be computed",
    "verdict-constant": "every row gets the same answer",
    "verdict-leak": "the test set is not independent of the training set: {names} was accepted",
    "verdict-of-many": "{useful} of {n} labels are above guessing, {best} of them above every simpler model compared",
    "verdict-none-judged": "none of {n} labels can be judged: too few patients",
    "verdict-none-of-many": "none of the {n} labels that can be judged was shown to be above guessing",
    "verdict-of-many-simple": "{useful} of {n} labels are above guessing; this is itself the simple model",
    "verdict-of-many-uncompared": "{useful} of {n} labels are above guessing; no simpler model was compared",
    "no-labels": "labels are not used: the model learns from the images alone",
}  # fmt: skip


class Reason(str):
    """An English sentence that knows its code and the values in it.

    >>> reason = Reason("none-called", name="benign")
    >>> print(reason, reason.code, reason.values)
    no row is predicted to be benign none-called {'name': 'benign'}
    """

    code: str
    values: Mapping[str, Value]

    def __new__(cls, code: str, /, **values: Value) -> Self:
        """Return the sentence under `code` with its values filled in."""
        reason = super().__new__(cls, SENTENCES[code].format(**values))
        reason.code, reason.values = code, values
        return reason

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Value]]:
        """Return what `copy` and `pickle` make another of."""
        return (self.code,), dict(self.values)


def reason_entries(reason: str | None, name: str = "reason") -> dict[str, Json]:
    """Return what a file says of a reason: the sentence under `name`, ``NAME_code``, ``NAME_values`` where it has any.

    >>> reason_entries(Reason("one-class"))
    {'reason': 'one class only', 'reason_code': 'one-class'}
    >>> reason_entries(None)
    {}
    """
    if reason is None:
        return {}
    coded = _coded(reason)
    return {name: str(reason), **{f"{name}_{key}": value for key, value in coded.items()}}


def note_entries(name: str, notes: Iterable[str]) -> dict[str, Json]:
    """Return what a file says of a list of notes: the sentences under `name`, codes and values under ``NAME_coded``.

    >>> note_entries("notes", [Reason("declared-folds", n=5)])["notes_coded"]
    [{'code': 'declared-folds', 'values': {'n': 5}}]
    """
    found = list(notes)
    return {name: [str(note) for note in found], f"{name}_coded": [_coded(note) for note in found]}


def read_notes(tree: Mapping[str, Json], name: str) -> tuple[str, ...]:
    """Return the notes that `note_entries` wrote; those of an older file, or of unknown codes, as plain sentences."""
    sentences, coded = tree.get(name), tree.get(f"{name}_coded")
    if not isinstance(sentences, list):
        return ()
    entries = coded if isinstance(coded, list) and len(coded) == len(sentences) else [None] * len(sentences)
    return tuple(_read(str(said), entry) for said, entry in zip(sentences, entries, strict=True))


def read_reason(tree: Mapping[str, Json], name: str = "reason") -> str:
    """Return the reason that `reason_entries` wrote; empty where there is none.

    >>> read_reason({"reason": "one class only", "reason_code": "one-class"}).code
    'one-class'
    >>> read_reason({"reason": "an older sentence"})
    'an older sentence'
    """
    said = tree.get(name)
    entry: Json = {"code": tree.get(f"{name}_code"), "values": tree.get(f"{name}_values")}
    return _read(said, entry) if isinstance(said, str) else ""


def _coded(reason: str) -> dict[str, Json]:
    if not isinstance(reason, Reason):
        return {}
    return {"code": reason.code, "values": dict(reason.values)} if reason.values else {"code": reason.code}


def _read(sentence: str, entry: Json) -> str:
    code, values = (entry.get("code"), entry.get("values")) if isinstance(entry, Mapping) else (None, None)
    if not isinstance(code, str) or code not in SENTENCES:
        return sentence
    given = values if isinstance(values, Mapping) else {}
    try:
        return Reason(code, **{name: value for name, value in given.items() if isinstance(value, str | int)})
    except KeyError:
        return sentence
