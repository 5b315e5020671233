"""Why a number is missing, and what a reader should know of a file: a code and its values beside the sentence.

Files of a run hold the sentence for people who open them, and the code with its values for pages, which say the same
in their own language: English from `SENTENCES`, other languages from the table ``reason`` of their catalogue. A
sentence without a code, of an older run, stays as it is.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, Self, cast, get_args

from focusmap.basics.files import Json

Value = str | int | tuple[str, ...]
"""In a sentence; a name, a number, another reason, or a list of names and reasons."""
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
    "masks-of-another-thing": "{target}: {n} of {all} masks of images without it mark something, so the masks mark "
    "something else. They are not used for scores. If every image has a lesion, add --negative none.",
    "masks-not-better": "{target} was not better than guessing on test: its masks are written and shown nowhere.",
    "masks-unjudged": "{target} had too few patients on test to be judged: its masks are written and shown nowhere.",
    "masks-broken": "the test of {target} is broken: its masks are written and shown nowhere.",
    "masks-unlike": "{n:,} image is out of distribution: its masks are written and shown nowhere.|"
    "{n:,} images are out of distribution: their masks are written and shown nowhere.",
    "masks-few-epochs": "the net was fine-tuned for {n} epochs only, because the budget ended, so that masks may be "
    "much worse for it. Give it more time: focusmap run --resume RUN --budget MINUTES, then draw them again.",
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
    "near-together": "{n} nearly identical images stand in one part with those like them, in {groups} groups",
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
    # What an audit finds; a sentence that depends on the number n has the form for one before the bar.
    "unit-image": "image",
    "unit-case": "case",
    "unit-patient": "patient",
    "in-fold": "fold {n}",
    "in-column": "column {name}",
    "in-files": "{a} and {b}",
    "and-more": "and {n:,} more",
    "tied-to": "{label} ({measure} {value}, p {p})",
    "labels-go-with": "Labels depend on {column}: {labels}. A net may learn {column} instead of the finding.",
    "values-to-look-at": "{n:,} value to check: {shown}.|{n:,} values to check: {shown}.",
    "patients-in": "{n:,} patient in {a} and {b}|{n:,} patients in {a} and {b}",
    "images-in": "{n:,} image in {a} and {b}|{n:,} images in {a} and {b}",
    "pairs-in": "{n:,} pair in {a} and {b}|{n:,} pairs in {a} and {b}",
    "patients-straddle": "{where}. The test would measure how well patients are recognised.",
    "every-row-its-own": "The study states that every {unit} is its own patient. If some are of one patient, the "
    "results are too optimistic.",
    "blocks-for-patients": "No patients are declared; the split is made of contiguous blocks of {column}.",
    "no-patients": "No column says which {unit}s belong to one patient, so a patient may be in both train and "
    "test. Name it with --patient COLUMN, or add --patient {own} if every {unit} is another patient's.",
    "no-patients-of-images": "No column says which {unit}s belong to one patient, so a patient may be in both train "
    "and test. Name it with --patient COLUMN, or add --patient {own} if every {unit} is another patient's; for stacks "
    "of slices use --block COLUMN.",
    "column-names-nobody": "Column {name} names nobody: it is empty.",
    "column-may-say-it": "Column {name} may say it.",
    "written-in-two-ways": "{n:,} patient in {where} may be written in two ways or more: {ids}. If they are one, say "
    "--same-patient; if not, rename them.|{n:,} patients in {where} may be written in two ways or more: {ids}. If they "
    "are one, say --same-patient; if not, rename them.",
    "empty-cells": "{name}: {n:,} of {all:,} rows",
    "columns-with-gaps": "{n:,} column with empty cells: {gaps}.|{n:,} columns with empty cells: {gaps}.",
    "unknown-of": "{name}: {n:,} {unit}|{name}: {n:,} {unit}s",
    "not-every-label": "Not every {unit} has every label ({labels}). Unknown labels are used neither to train nor to "
    "test.",
    "positive-of": "{name}: {n:,} of {all:,}",
    "rare-labels": "{n:,} label in less than {share} of the {unit}s: {labels}.|{n:,} labels in less than {share} of "
    "the {unit}s: {labels}.",
    "always-is": "{name} is {value}",
    "one-value": "Only one value is known ({labels}): there is nothing to tell apart.",
    "nothing-to-learn": "Nothing can be learnt here.",
    "leave-it-out": "Leave it out: name the other targets with --target.",
    "in-parts": "{label}: {train:,} in train, {test:,} in test",
    "about-in-parts": "{label}: about {train:,} in train, about {test:,} in test",
    "too-few-of": "Fewer than {train} {unit}s to train on or {test} to test on: {labels}.",
    "use-folds": "Use cross-validation, --folds 5, which tests on every {unit} once.",
    "copies": "{n:,} image occurs more than once, pixel for pixel ({spare:,} spare).|{n:,} images occur more than "
    "once, pixel for pixel ({spare:,} spare).",
    "copies-across": "{where}, pixel for pixel: {images}. Remove the copies from one part.",
    "nearly-the-same": "{n:,} pair of images that are nearly the same.|{n:,} pairs of images that are nearly the "
    "same.",
    "nearly-the-same-of-patients": "{n:,} pair of images that are nearly the same, {across:,} of them of different "
    "patients.|{n:,} pairs of images that are nearly the same, {across:,} of them of different patients.",
    "unlike-in-one": "{n:,} of them, each of one patient or case, have different labels.",
    "nearly-the-same-unlike": "{n:,} pair of nearly equal images with different labels. One label may be wrong.|{n:,} "
    "pairs of nearly equal images with different labels. One label may be wrong.",
    "copies-unlike": "{n:,} pair of nearly identical images of one patient or case has different labels. Look at "
    "it.|{n:,} pairs of nearly identical images of one patient or case have different labels. Look at them.",
    "nearly-the-same-across": "{where} of nearly equal images. Having learnt one, a model recognises the other.",
    "patients-in-both": "{n:,} patient stands both in {a} and in {b}.|{n:,} patients stand both in {a} and in {b}.",
    "images-in-both": "{n:,} image stands both in {a} and in {b}, pixel for pixel.|{n:,} images stand both in {a} and "
    "in {b}, pixel for pixel.",
    "pairs-in-both": "{n:,} pair of nearly equal images stands both in {a} and in {b}. Having learnt one, a model "
    "recognises the other.|{n:,} pairs of nearly equal images stand both in {a} and in {b}. Having learnt one, a "
    "model recognises the other.",
    "cannot-be-read": "{n:,} image cannot be read ({names}). Replace them, or leave them out with --skip-unreadable.|"
    "{n:,} images cannot be read ({names}). Replace them, or leave them out with --skip-unreadable.",
    "read-with-a-note": "{n:,} image read with a note. The first: {first}.|{n:,} images read with a note. The first: "
    "{first}.",
    "marks-burnt-in": "{n:,} of {of:,} searched images seems to have marks burnt in (text {text:,}, calipers "
    "{caliper:,}, side markers {marker:,}). They may name the patient or reveal the label.|{n:,} of {of:,} searched "
    "images seem to have marks burnt in (text {text:,}, calipers {caliper:,}, side markers {marker:,}). They may name "
    "patients or reveal the label.",
    "nearly-one-value": "{n:,} image holds a single value in 99 % of the pixels or more. Look at it.|{n:,} images hold "
    "a single value in 99 % of the pixels or more. Look at them.",
    "one-patient-by-header": "{a} and {b} are of one patient by the header and several patients by column {column}",
    "one-study-by-header": "{a} and {b} are of one study by the header and several patients by column {column}",
    "several-by-header": "{a} and {b} are of several patients by the header and one by column {column}",
    "headers-differ": "DICOM headers disagree with the patient column {n:,} time. {facts}.|DICOM headers disagree with "
    "the patient column {n:,} times. {facts}.",
    "headers-agree": "The DICOM headers agree with column {column}.",
    "masks-misfit": "{n:,} mask does not match its image. The first: {first}.|{n:,} masks do not match their images. "
    "The first: {first}.",
    "seen-alone": "{probe}: {label} (AUROC {auroc}, {low} to {high})",
    "told-without-looking": "Labels can be predicted without looking at the finding, from this alone: {probes}. A net "
    "may learn that instead of the disease. Look at the images: marks, letters, collimation, scanners, parts of the "
    "body.",
    "source-predicts": "{source} predicts {label} (AUROC {auroc}: {with_it} with it {value}, {without} without "
    "{other})",
    "sources-tell": "{sources}. A net could tell the sources apart and never look at the disease. Take all classes "
    "from the same sources.",
    "rows-alike": "{share} of neighbouring rows of different {unit}s are as alike as the nearest 5 % of random pairs "
    "(median correlation {near} against {far}).",
    "names-alike": "{share} of images with neighbouring names of different {unit}s are as alike as the nearest 5 % of "
    "random pairs (median correlation {near} against {far}).",
    "others-alike": "{share} of the images are very similar to an image of another {unit}.",
    "may-be-slices": "They may be slices or visits of one patient. Results of a random split would be optimistic. Name "
    "the true patients, or use --block COLUMN.",
}  # fmt: skip


def filled(template: str, values: Mapping[str, Value]) -> str:
    """Return a sentence with its values; of forms parted by ``|`` the first where n is 1, otherwise the last.

    >>> filled("{n} pair: {names}|{n} pairs: {names}", {"n": 2, "names": ("a", "b")})
    '2 pairs: a; b'
    """
    forms = template.split("|")
    plain = {name: "; ".join(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return forms[0 if values.get("n") == 1 else -1].format(**plain)


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
        reason = super().__new__(cls, filled(SENTENCES[code], values))
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
    texts = list(notes)
    return {name: [str(note) for note in texts], f"{name}_coded": [_coded(note) for note in texts]}


def read_notes(tree: Mapping[str, Json], name: str) -> tuple[str, ...]:
    """Return the notes that `note_entries` wrote; those of an older file, or of unknown codes, as plain sentences."""
    sentences, coded = tree.get(name), tree.get(f"{name}_coded")
    if not isinstance(sentences, list):
        return ()
    entries = coded if isinstance(coded, list) and len(coded) == len(sentences) else [None] * len(sentences)
    return tuple(_read(str(sentence), entry) for sentence, entry in zip(sentences, entries, strict=True))


def read_reason(tree: Mapping[str, Json], name: str = "reason") -> str:
    """Return the reason that `reason_entries` wrote; empty where there is none.

    >>> read_reason({"reason": "one class only", "reason_code": "one-class"}).code
    'one-class'
    >>> read_reason({"reason": "an older sentence"})
    'an older sentence'
    """
    sentence = tree.get(name)
    entry: Json = {"code": tree.get(f"{name}_code"), "values": tree.get(f"{name}_values")}
    return _read(sentence, entry) if isinstance(sentence, str) else ""


def _coded(reason: str) -> dict[str, Json]:
    if not isinstance(reason, Reason):
        return {}
    values = {name: _plain(value) for name, value in reason.values.items()}
    return {"code": reason.code, "values": values} if values else {"code": reason.code}


def _plain(value: Value) -> Json:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return {"said": str(value), **_coded(value)} if isinstance(value, Reason) else value


def _read(sentence: str, entry: Json) -> str:
    code, values = (entry.get("code"), entry.get("values")) if isinstance(entry, Mapping) else (None, None)
    if not isinstance(code, str) or code not in SENTENCES:
        return sentence
    given = values if isinstance(values, Mapping) else {}
    try:
        return Reason(code, **{name: _value(value) for name, value in given.items()})
    except (KeyError, ValueError):
        return sentence


def _value(plain: Json) -> Value:
    if isinstance(plain, list):
        return tuple(str(_value(one)) if isinstance(one, int) else cast(str, _value(one)) for one in plain)
    if isinstance(plain, Mapping):
        return _read(str(plain.get("said", "")), plain)
    return plain if isinstance(plain, str | int) else str(plain)
