"""Predict: what a model says of one picture in words, of many in a table."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

from focusmap.errors import InputError, MissingFileError, UnreadableImageError, listed
from focusmap.evaluation.calibration import apply
from focusmap.evaluation.predictions import ID_COLUMNS, Predictions
from focusmap.files import atomic, is_table, refuse_existing, write_failures, write_table
from focusmap.images.prepare import Preparation, prepare_file
from focusmap.models.any import is_case_model
from focusmap.models.asked_images import Asked, find_pictures, with_earlier
from focusmap.models.asked_rows import ids_of, own_study, predict_cases, predict_rows, unlabelled_rows
from focusmap.models.load import load_run_model
from focusmap.models.ood import Likeness
from focusmap.models.ood_files import likeness_of
from focusmap.models.rows import RowModel
from focusmap.report.answer import in_words
from focusmap.study.cases import by_case
from focusmap.study.cohort import Cohort
from focusmap.study.declaration import Declaration
from focusmap.study.external import check_targets, rows_like
from focusmap.study.flags import Flag, count_rows
from focusmap.study.options import RunOptions
from focusmap.study.run import Run
from focusmap.study.submission import fill_template, read_template

if TYPE_CHECKING:
    from focusmap.models.any import AnyModel
    from focusmap.models.cases import CaseModel
    from focusmap.models.net import Model

CHUNK = 256
ATTENTION = "attention.csv"
NO_LOGITS = np.empty(0)


@dataclass(frozen=True)
class PredictRequest:
    """What is to be predicted, and what is to be written.

    Parameters
    ----------
    inputs
        Pictures, folders of pictures, or one label file (its labels are not looked at).
    out
        Table to write, or None.
    overlay
        Folder for overlays, or None.
    said
        What the user said of the label file: folder of the pictures, patient column.
    template
        Of a model of tables or cases: a CSV whose header says which columns `out` has, in place of all.
    """

    inputs: tuple[Path, ...]
    out: Path | None = None
    overlay: Path | None = None
    said: Declaration = Declaration()
    template: Path | None = None


@dataclass(frozen=True)
class PredictAnswer:
    """What came of it: words for a single picture, the table and the overlays that were written, what failed.

    `n_flagged` rows of a table have something to be said of them (`focusmap.study.flags`); `n_unseen` have
    a category and `n_outside` a number that train does not have. `n_unlike` of several pictures are unlike those of
    train.
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


def predict(folder: Path, request: PredictRequest, options: RunOptions = RunOptions()) -> PredictAnswer:
    """Return what the model of a run says of pictures; tables are written as the pictures stream by.

    Raises
    ------
    InputError, MissingFileError
        If the run has no model yet, a target is not the model's, an input is not there, or the table exists and
        `options.force` is not given.
        Pictures that cannot be read are no error; they are in the answer.
    """
    model = load_run_model(folder, options.devices)
    check_targets(model.task, request.said)
    if isinstance(model, RowModel) and request.overlay is not None:
        raise InputError(f"{folder}: its model is no net of pictures and has no heat maps. Leave --overlay out.")
    if isinstance(model, RowModel) and model.card.covariates:
        return _predict_table(folder, model, request, options)
    if is_case_model(model):
        return _predict_cases(folder, model, request, options)
    return _predict_pictures(folder, model, request, options)


def _predict_pictures(folder: Path, model: "AnyModel", request: PredictRequest, options: RunOptions) -> PredictAnswer:
    """Return what a model says of pictures: of one in words, of several in a table that grows as they stream by."""
    if request.template is not None:
        raise InputError(f"--template is for models of tables and cases; {folder} is shown pictures. Leave it out.")
    asked = _asked_pictures(folder, model, request)
    _refuse_picture_outputs(request, len(asked), options)
    failures: list[tuple[Path, str]] = []
    chunks = predict_chunks(model, asked, failures, options, likeness_of(folder))
    words, n_images, n_unlike = "", 0, 0
    if request.out is None:
        words = "\n".join(in_words(model, predictions) for predictions in chunks)
        n_images = len(asked) - len(failures)
    else:
        n_images, n_unlike = _write_chunks(chunks, request.out)
        if failures:
            write_failures(failures, request.out.with_name("failures.csv"))
    if request.overlay is not None:
        from focusmap.verbs.explain import write_overlays

        write_overlays(folder, request, options)
    table = request.out if n_images else None
    return PredictAnswer(words, table, request.overlay, n_images, tuple(failures), n_unlike=n_unlike)


def _asked_pictures(folder: Path, model: "AnyModel", request: PredictRequest) -> list[Asked]:
    """Return the pictures that are asked about, with the earlier values that a model of changes adds to."""
    asked = find_pictures(request.inputs, request.said, own_study(folder))
    if any(target.earlier for target in model.task.targets):
        return with_earlier(asked, folder, model.task, request.inputs, request.said)
    return asked


def _refuse_picture_outputs(request: PredictRequest, n_pictures: int, options: RunOptions) -> None:
    asked_for = (request.out, request.overlay and request.overlay / "index.csv")
    refuse_existing(*(path for path in asked_for if path is not None), force=options.force)
    if n_pictures != 1 and request.out is None:
        raise InputError(f"{n_pictures} pictures: say where the table goes with --out FILE.csv.")


def _predict_table(folder: Path, model: RowModel, request: PredictRequest, options: RunOptions) -> PredictAnswer:
    """Return what a table model says of the rows of a table."""
    rows = unlabelled_rows(folder, model, _only_table(folder, request, "a table model"), request.said)
    if (folder / "recipe.yaml").is_file() and "case_id" in rows.table:
        rows = rows_like(Run(folder), rows)
    _refuse_table_outputs(request, len(rows), options)
    predictions = predict_rows(model, rows)
    if request.out is not None:
        _write_rows(request.out, request.template, predictions, rows)
    return _told(model, predictions, request, ())


def _predict_cases(folder: Path, model: "CaseModel", request: PredictRequest, options: RunOptions) -> PredictAnswer:
    """Return what a model of cases says of those of a table; beside `out` stands what each picture weighs."""
    grouped = model.card.architecture.get("cases") != "pictures"
    table = _only_table(folder, request, "a model of cases")
    rows = by_case(unlabelled_rows(folder, model, table, request.said), grouped=grouped)
    _refuse_table_outputs(request, len(rows), options)
    failures: list[tuple[Path, str]] = []
    predictions, kept, attention = predict_cases(model, rows, failures, options)
    if request.out is not None:
        if len(predictions):
            _write_rows(request.out, request.template, predictions, kept)
            write_table(request.out.with_name(ATTENTION), attention)
        if failures:
            write_failures(failures, request.out.with_name("failures.csv"))
    if request.overlay is not None:
        from focusmap.verbs.explain import write_case_overlays

        write_case_overlays(folder, model, kept, request.overlay, options)
    return replace(_told(model, predictions, request, tuple(failures)), overlays=request.overlay)


def _only_table(folder: Path, request: PredictRequest, kind: str) -> Path:
    if len(request.inputs) != 1 or not is_table(request.inputs[0]):
        raise InputError(f"{folder}: is {kind}; give one table (.csv or .csv.gz) with the columns that it takes.")
    return request.inputs[0]


def _refuse_table_outputs(request: PredictRequest, n_rows: int, options: RunOptions) -> None:
    if n_rows != 1 and request.out is None:
        raise InputError(f"{n_rows} rows: say where the table goes with --out FILE.csv.")
    if request.template is not None and request.out is None:
        raise InputError("--template: say where the filled table goes with --out FILE.csv.")
    if request.out is not None:
        refuse_existing(request.out, force=options.force)
    if request.overlay is not None:
        refuse_existing(request.overlay / "index.csv", force=options.force)


def _write_rows(out: Path, template: Path | None, predictions: Predictions, cohort: Cohort) -> None:
    """Write the predictions of a cohort, in the columns of a template where one is given."""
    table = predictions.to_table()
    if template is not None:
        table = fill_template(read_template(template), table.drop(columns="notice"), cohort.raw)
    write_table(out, table)


def _told(
    model: "AnyModel", predictions: Predictions, request: PredictRequest, failures: tuple[tuple[Path, str], ...]
) -> PredictAnswer:
    words = in_words(model, predictions) if len(predictions) == 1 and request.out is None else ""
    flags = predictions.flags or ()
    counts = (sum(map(bool, flags)), count_rows(flags, "unseen"), count_rows(flags, "outside"))
    table = request.out if len(predictions) else None
    return PredictAnswer(words, table, None, len(predictions), failures, *counts)


def predict_chunks(
    model: "AnyModel",
    asked: Sequence[Asked],
    failures: list[tuple[Path, str]],
    options: RunOptions,
    likeness: Likeness | None,
) -> Iterator[Predictions]:
    """Yield predictions, some hundred pictures at a time, and note what failed in `failures`.

    Where it is known what train looks like, the flags say which pictures are unlike it.
    """
    done = 0
    answers = _answers(model, asked, likeness)
    while chunk := list(islice(answers, CHUNK)):
        done += len(chunk)
        options.progress("predicting", done, len(asked))
        failures += [(answer.asked.file, answer.reason) for answer in chunk if answer.reason]
        if kept := [answer for answer in chunk if not answer.reason]:
            yield _predictions(model, kept, flagged=likeness is not None)


@dataclass(frozen=True)
class _Answer:
    """What a model says of a picture: logits ``(L,)``, and in what it is unlike train; or why it cannot be read."""

    asked: Asked
    logits: np.ndarray
    unlike: str = ""
    reason: str = ""


def _answers(model: "AnyModel", asked: Sequence[Asked], likeness: Likeness | None) -> Iterator[_Answer]:
    if not isinstance(model, RowModel):
        from focusmap.models.predict import predict_files

        found = predict_files(cast("Model", model), [one.file for one in asked], likeness=likeness)
        for one, said in zip(asked, found, strict=True):
            yield _Answer(one, NO_LOGITS if said.logits is None else said.logits, said.unlike, said.reason)
        return
    preparation = Preparation.from_dict(model.card.preparation)
    for one in asked:
        try:
            picture, _ = prepare_file(one.file, preparation)
        except (InputError, MissingFileError) as error:
            yield _Answer(one, NO_LOGITS, reason=str(error))
            continue
        yield _Answer(one, model.of_pictures(picture[np.newaxis])[0], likeness.unlike(picture) if likeness else "")


def predict_label_file(
    model: "AnyModel", cohort: Cohort, options: RunOptions, likeness: Likeness | None = None
) -> tuple[Predictions, Cohort]:
    """Return the predictions for a cohort's pictures, and the cohort of those that could be read.

    Where it is known what train looks like, the flags say which pictures are unlike it.

    Raises
    ------
    UnreadableImageError
        If a picture cannot be read and `options.skip_unreadable` is not given.
    """
    if isinstance(model, RowModel) and model.card.covariates:
        return predict_rows(model, cohort), cohort
    failures: list[tuple[Path, str]] = []
    if is_case_model(model):
        predictions, seen, _ = predict_cases(model, cohort, failures, options)
        _refuse_failures(failures, options)
        if not len(seen):
            raise UnreadableImageError(f"{cohort.study.label_file}: no picture can be read.")
        return predictions, seen
    rows = zip(cohort.files, cohort.image_ids, cohort.earlier, strict=True)
    asked = [Asked(file, image_id, image_id, earlier=tuple(earlier)) for file, image_id, earlier in rows]
    chunks = list(predict_chunks(model, asked, failures, options, likeness))
    _refuse_failures(failures, options)
    failed = {file for file, _ in failures}
    kept = cohort.take([i for i, file in enumerate(cohort.files) if file not in failed])
    if not chunks:
        raise UnreadableImageError(f"{cohort.study.label_file}: no picture can be read. The first: {failures[0][1]}")
    logits = np.concatenate([chunk.logits for chunk in chunks])
    probabilities = np.concatenate([chunk.probabilities for chunk in chunks])
    flags = None if likeness is None else tuple(flags for chunk in chunks for flags in chunk.flags or ())
    return Predictions(model.task, ids_of(kept), logits, probabilities, flags), kept


def _refuse_failures(failures: Sequence[tuple[Path, str]], options: RunOptions) -> None:
    if failures and not options.skip_unreadable:
        reasons = listed([reason for _, reason in failures])
        raise UnreadableImageError(f"{reasons}. Leave them out with --skip-unreadable.")


def _predictions(model: "AnyModel", answers: Sequence[_Answer], *, flagged: bool) -> Predictions:
    asked, logits = [answer.asked for answer in answers], np.stack([answer.logits for answer in answers])
    if asked[0].earlier:
        logits = model.task.added(logits, np.array([one.earlier for one in asked]))
    ids = pd.DataFrame([(one.image_id, one.path, one.patient_id) for one in asked], columns=list(ID_COLUMNS[:3]))
    unlike = tuple((Flag("unlike", answer.unlike),) if answer.unlike else () for answer in answers)
    probabilities = apply(model.task, logits, model.card.temperatures)
    return Predictions(model.task, ids, logits, probabilities, unlike if flagged else None)


def _write_chunks(chunks: Iterator[Predictions], out: Path) -> tuple[int, int]:
    """Write the predictions of all chunks; return how many pictures there are, and how many are unlike train."""
    n_images, n_unlike = 0, 0
    first = next(chunks, None)
    if first is None:
        return 0, 0
    open_text = gzip.open if out.suffix.lower() == ".gz" else open
    with atomic(out) as temporary, open_text(temporary, "wt", encoding="utf-8", newline="") as file:
        for predictions in chain([first], chunks):
            predictions.to_table().to_csv(file, index=False, header=n_images == 0)
            n_images += len(predictions)
            n_unlike += count_unlike(predictions)
    return n_images, n_unlike


def count_unlike(predictions: Predictions) -> int:
    """Return how many pictures are flagged as unlike those of train."""
    return count_rows(predictions.flags or (), "unlike")
