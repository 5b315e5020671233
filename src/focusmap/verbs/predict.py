"""Predict: the prediction for one image in words, for many in a table."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import pandas as pd

from focusmap import models
from focusmap.basics import InputError, atomic, refuse_existing, write_csv, write_failures, write_table
from focusmap.evaluation import Standings, answered, fill_template, read_template, standings_of
from focusmap.figures import write_contact_sheet
from focusmap.report import alike_in_words, in_short, in_words, words_in
from focusmap.study import Flags, Run, RunOptions, Samples, check_targets, count_rows, read_inputs
from focusmap.verbs.requests import PredictRequest

ATTENTION = "attention.csv"


@dataclass(frozen=True)
class PredictAnswer:
    """The answer in words for a single image, the table and the overlays that were written, and what failed.

    Of the rows `n_unlike` images are unlike those of train; of `n_flagged` there is something else to be said (see
    `focusmap.study.flags`): `n_unseen` have a category and `n_outside` a number that train does not have. `unchecked`:
    nobody knows what the images of train look like, so that only those that show nothing are counted in `n_unlike`.
    """

    words: str
    table: Path | None
    overlays: Path | None
    n_images: int
    failures: tuple[tuple[Path, str], ...]
    n_flagged: int = 0
    n_unseen: int = 0
    n_outside: int = 0
    n_unlike: int = 0
    unchecked: bool = False


def predict(folder: Path, request: PredictRequest, options: RunOptions = RunOptions()) -> PredictAnswer:
    """Return the predictions of a run's model for images, cases or rows; tables are written as the images stream by.

    Raises
    ------
    InputError, MissingFileError
        If the run has no model yet, a target is not the model's, an input is not there, or the table exists and
        `options.force` is not given.
        Images that cannot be read are no error; they are in the answer.
    """
    if request.engine == "ray":
        raise InputError("engine 'ray' answers a whole table: call focusmap.predict_table.")
    model = models.load_answering(folder, options.devices, request.engine)
    check_targets(model.task, request.declaration)
    samples, ood = _samples(folder, model, request, options), models.ood_of(folder)
    standings = standings_of(folder)
    # Cases are answered together, which decides the last digits; images stream by.
    chunks = (
        replace(chunk, predictions=answered(chunk.predictions, standings, model.card.thresholds, request.error))
        for chunk in models.predict_chunks(model, samples, ood, options.progress, None if model.views else models.CHUNK)
    )
    if request.out is not None:
        answer = _in_table(chunks, request.out, request.template, escape=request.escape)
    else:
        is_alone = len(samples) == 1
        answer = _in_words(model, chunks, standings, request.error, is_alone=is_alone)
        if is_alone and answer.words and request.alike and model.preparations and not model.views:
            again = Samples.from_files(samples.rows, samples.files)
            near = alike_in_words(models.neighbours_of(folder, model, again, request.alike), model.task, words_in("en"))
            answer = replace(answer, words=_above_notice(answer.words, near))
    failures = tuple((failure.file, failure.reason) for failure in samples.failures)
    if failures and request.out is not None:
        write_failures([failure.row for failure in samples.failures], request.out.with_name("failures.csv"))
    if request.overlay is not None:
        _draw_overlays(folder, model, Samples.from_files(samples.rows, samples.files), request.overlay, options)
    unchecked = bool(model.preparations) and ood is None
    return replace(answer, overlays=request.overlay, failures=failures, unchecked=unchecked)


def _above_notice(text: str, line: str) -> str:
    """Return an answer in words with one more line, if there is any, above the notice that ends it."""
    above, _, notice = text.rpartition("\n")
    return "\n".join((above, f"  {line}", notice)) if line else text


def _draw_overlays(
    folder: Path, model: models.Predictor, samples: Samples, overlays: Path, options: RunOptions
) -> None:
    """Write the map of each answer over its image, in the colours of the run's own maps, and a sheet of them all."""
    from focusmap.heatmaps import ExplainOptions, overlay_answers

    view = model.explainable()
    assert view is not None, "_samples refuses overlays of what has no maps"
    how = ExplainOptions(like=Run(folder).focus, showing=models.showing_of(folder), progress=options.progress)
    overlay_answers(view, samples, overlays, how)
    write_contact_sheet(overlays)


def _samples(folder: Path, model: models.Predictor, request: PredictRequest, options: RunOptions) -> Samples:
    """Return the rows to be answered; `InputError` where the model, or the request for many, has no such output."""
    if request.overlay is not None and model.explainable() is None:
        raise InputError(f"{folder}: its model is no net of images and has no heat maps. Leave --overlay out.")
    needs = models.needs_of(model)
    is_shown_images = needs.images and not needs.covariates and not needs.views
    if request.template is not None and is_shown_images:
        raise InputError(f"--template is for models of tables and cases; {folder} is shown images. Leave it out.")
    samples = read_inputs(folder, needs, request.inputs, request.declaration)
    if request.template is not None and request.out is None:
        raise InputError("--template: say where the filled table goes with --out FILE.csv.")
    if request.out is not None:
        refuse_existing(request.out, force=options.force)
    if request.overlay is not None:
        from focusmap.heatmaps import HEAT_MAPS

        HEAT_MAPS.refuse_other(request.overlay, force=options.force)
    return samples


def _in_words(
    model: models.Predictor, chunks: Iterator[models.Predicted], standings: Standings, error: float, *, is_alone: bool
) -> PredictAnswer:
    """Return the answer in words: whole of a row alone, one line each of many."""
    answered_chunks = list(chunks)
    if is_alone:
        lines = [in_words(model, chunk.predictions, standings, error) for chunk in answered_chunks]
    else:
        lines = [in_short(model, chunk.predictions, row) for chunk in answered_chunks for row in range(len(chunk))]
    answer = PredictAnswer("\n".join(lines), None, None, 0, ())
    answer = _counted(answer, *(chunk.predictions.flags or ((),) * len(chunk) for chunk in answered_chunks))
    # Of one image that is unlike train the words say so.
    return replace(answer, n_unlike=0) if is_alone else answer


def _in_table(chunks: Iterator[models.Predicted], out: Path, template: Path | None, *, escape: bool) -> PredictAnswer:
    """Write the predictions of all chunks to one table, and beside it what each image of a case weighs."""
    answer, first = PredictAnswer("", None, None, 0, ()), next(chunks, None)
    if first is None:
        return answer
    open_text = gzip.open if out.suffix.lower() == ".gz" else open
    with atomic(out) as temporary, open_text(temporary, "wt", encoding="utf-8", newline="") as file:
        for chunk in chain([first], chunks):
            write_csv(_written(chunk, template), file, header=answer.n_images == 0, escape=escape)
            answer = _counted(answer, chunk.predictions.flags or ((),) * len(chunk))
    if first.attention is not None:
        write_table(out.with_name(ATTENTION), first.attention, escape=escape)
    return replace(answer, table=out)


def _written(chunk: models.Predicted, template: Path | None) -> pd.DataFrame:
    """Return predictions as a table, in the columns of a template where one is given."""
    table = chunk.predictions.to_table()
    if template is None:
        return table
    return fill_template(read_template(template), table.drop(columns="notice"), chunk.rows.raw)


def _counted(answer: PredictAnswer, *flagged: Sequence[Flags]) -> PredictAnswer:
    """Return the answer with further rows counted, and what is flagged of them."""
    rows = [flags for part in flagged for flags in part]
    return replace(
        answer,
        n_images=answer.n_images + len(rows),
        n_flagged=answer.n_flagged + sum(any(flag.kind != "unlike" for flag in flags) for flags in rows),
        n_unseen=answer.n_unseen + count_rows(rows, "unseen"),
        n_outside=answer.n_outside + count_rows(rows, "outside"),
        n_unlike=answer.n_unlike + count_rows(rows, "unlike"),
    )
