"""What a model says of samples, the only way from images, cases or rows to predictions; and what its answers rest on.

The importance of what a model is shown is what is lost on test when that is shuffled among the rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from focusmap.basics import Json, Progress, read_json, read_table, silent, write_json
from focusmap.evaluation import (
    ID_COLUMNS,
    EvaluationOptions,
    Predictions,
    calibrated_probabilities,
    compare_predictions,
)
from focusmap.models.folder import load_model
from focusmap.models.ood import Ood
from focusmap.models.predictor import Answers, EncodedImages, Predictor, answer, one_after_another
from focusmap.models.preparing import store_for
from focusmap.study import NO_VIEW, Batch, Cohort, Run, RunOptions, Samples, images_of, read_recipe
from focusmap.study.flags import Flag, Flags, side_by_side

if TYPE_CHECKING:
    from focusmap.images import Store


# Rows that are answered together where they stream by.
CHUNK = 256


@dataclass(frozen=True)
class Predicted:
    """What a model says of the rows that could be read.

    Parameters
    ----------
    rows
        Those of the samples, less what could not be read.
    predictions
        Calibrated.
    attention
        Of a model of cases: ``case_id, image_id, path, view`` and ``attention`` of each image, its weight among those
        of its case and view.
    """

    rows: Cohort
    predictions: Predictions
    attention: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.rows)


def predict(model: Predictor, samples: Samples, ood: Ood | None = None, progress: Progress = silent) -> Predicted:
    """Return what a model says of all samples; what cannot be read is left out and stands in `samples.failures`.

    Parameters
    ----------
    ood
        What train looks like: images that are unlike it are flagged. None: nobody looks.
    """
    chunks = list(predict_chunks(model, samples, ood, progress, n_rows=None))
    return chunks[0] if chunks else _nothing(model, samples)


def predict_chunks(
    model: Predictor,
    samples: Samples,
    ood: Ood | None = None,
    progress: Progress = silent,
    n_rows: int | None = CHUNK,
) -> Iterator[Predicted]:
    """Yield what a model says of samples, some rows at a time as they stream by; None for all of them at once."""
    chunk: list[_EncodedBatch] = []
    for one in _encoded_batches(model, samples, ood):
        progress("predicting", samples.n_done, len(samples))
        chunk.append(one)
        if n_rows is not None and sum(len(part.batch) for part in chunk) >= n_rows:
            yield _predicted(model, chunk, samples)
            chunk = []
    if chunk:
        yield _predicted(model, chunk, samples)


def encode(model: Predictor, samples: Samples) -> tuple[EncodedImages, Cohort]:
    """Return the features of the images of all samples, and the rows that they are of."""
    chunk = list(_encoded_batches(model, samples, None))
    return one_after_another([one.encoded for one in chunk]), _rows_of(chunk, samples)


@dataclass(frozen=True)
class _EncodedBatch:
    """A batch without its images, their features, and in what each of its rows is unlike train."""

    batch: Batch
    encoded: EncodedImages
    unlike: tuple[Flags, ...] | None


def _encoded_batches(model: Predictor, samples: Samples, ood: Ood | None) -> Iterator[_EncodedBatch]:
    stored = bool(model.preparations) and all(map(samples.is_stored, model.preparations))
    for batch in samples.batches(model.preparations, model.batch_size(stored=stored)):
        unlike = (
            None
            if ood is None or not model.preparations
            else _unlike(batch.images(model.preparations[0]).prepared, ood)
        )
        yield _EncodedBatch(replace(batch, prepared={}), model.encode(batch), unlike)


def _unlike(images: np.ndarray, ood: Ood) -> tuple[Flags, ...]:
    texts = [ood.unlike(image) for image in images]
    return tuple((Flag("unlike", text),) if text else () for text in texts)


def _predicted(model: Predictor, chunk: Sequence[_EncodedBatch], samples: Samples) -> Predicted:
    encoded, rows = one_after_another([one.encoded for one in chunk]), _rows_of(chunk, samples)
    answers = answer(model, encoded, rows)
    flags = [answers.flags, _unlike_of(chunk), _unreadable_of(chunk)]
    known = [found for found in flags if found is not None]
    predictions = predictions_of(model, rows, Answers(answers.logits, side_by_side(*known) if known else None))
    return Predicted(rows, predictions, None if encoded.attention is None else attention_of(rows, encoded.attention))


def _unlike_of(chunk: Sequence[_EncodedBatch]) -> tuple[Flags, ...] | None:
    return None if chunk[0].unlike is None else tuple(flags for one in chunk for flags in one.unlike or ())


def _unreadable_of(chunk: Sequence[_EncodedBatch]) -> list[Flags] | None:
    """Return how many images of each row could not be read; None where all could."""
    lost = np.concatenate([one.batch.n_unreadable for one in chunk])
    return (
        [(Flag("unreadable", f"{n} of its images cannot be read"),) if n else () for n in lost] if lost.any() else None
    )


def _rows_of(chunk: Sequence[_EncodedBatch], samples: Samples) -> Cohort:
    """Return the rows of several batches, one after the other."""
    rows = samples.rows.take(np.concatenate([one.batch.positions for one in chunk]))
    if rows.images is None:
        return rows
    images = [one.batch.rows.images for one in chunk if one.batch.rows.images is not None]
    return replace(rows, images=pd.concat(images, ignore_index=True))


def _nothing(model: Predictor, samples: Samples) -> Predicted:
    none, rows = np.empty((0, model.task.n_logits)), samples.rows.take([])
    return Predicted(rows, predictions_of(model, rows, Answers(none)))


def predictions_of(model: Predictor, rows: Cohort, answers: Answers) -> Predictions:
    """Return a model's answers for rows as its predictions, calibrated."""
    probabilities = calibrated_probabilities(model.task, answers.logits, model.card.temperatures)
    ids = rows.table[[name for name in ID_COLUMNS if name in rows.table]].reset_index(drop=True)
    return Predictions(model.task, ids, answers.logits, probabilities, answers.flags)


def attention_of(rows: Cohort, weights: np.ndarray) -> pd.DataFrame:
    """Return the table of what each image of cases weighs, ``(P,)``."""
    table = images_of(rows)[["case_id", "image_id", "path", "view"]]
    return table.assign(attention=np.round(weights, 4))


IMPORTANCE, SIDES = "importance.json", "sides.json"
IMAGES, TABLE, VIEW = "pictures", "table", "view="
# Enough for an interval of two digits, eleven covariates over.
N_RESAMPLES = 200


@dataclass(frozen=True)
class _Part:
    """One model, rows and the features of their images, which it alone is asked of."""

    model: Predictor
    encoded: EncodedImages
    rows: Cohort

    def answer(self, shuffled: str, generator: np.random.Generator) -> np.ndarray:
        """Return the logits ``(N, L)`` where what `shuffled` names is another row's."""
        order = generator.permutation(len(self.rows))
        if shuffled == IMAGES:
            return answer(self.model, self.encoded.shuffled(order), self.rows).logits
        if shuffled.startswith(VIEW):
            return answer(self.model, self.encoded.shuffled(order, shuffled.removeprefix(VIEW)), self.rows).logits
        names = self.rows.study.covariates if shuffled == TABLE else (shuffled,)
        return answer(self.model, self.encoded, _shuffled(self.rows, names, order)).logits


def write_importance(
    run: Run, cohort: Cohort, predictions: Predictions, settings: EvaluationOptions, out: Path
) -> dict[str, Json] | None:
    """Return and write permutation importances (Breiman 2001, section 10); None for a net of single images.

    Of a run with folds each model is asked of its own test part, so that no row is answered by a model that knows it.
    Of a model of cases a second file has what its sides are worth: ``pictures``, ``table`` and, of several views,
    ``view=NAME``.

    Returns
    -------
    dict
        By covariate or side: metrics of the model less those where it is shuffled, by target, with paired
        patient-clustered intervals, as `compare_predictions` gives them. What says the same as something else loses
        little alone.
    """
    # A net of single images is not loaded: an evaluation starts without torch.
    if cohort.images is None and not all(_takes_table(part) for part in run.parts()):
        return None
    parts = list(_parts(run, cohort))
    if not parts:
        return None
    few = replace(settings, n_resamples=N_RESAMPLES)
    truth = cohort.of(list(predictions.ids["image_id"])).truth

    def worth(name: str, position: int) -> Json:
        answered = _answered(parts, name, np.random.default_rng([settings.seed, position]), predictions)
        return compare_predictions(predictions, answered, truth, (few, few))["targets"]

    covariates = cohort.study.covariates if _takes_table(run.parts()[0]) else ()
    sides = _sides(parts[0], has_table=bool(covariates))
    worths = {name: worth(name, position) for position, name in enumerate((*covariates, *sides))}
    for file, names in ((IMPORTANCE, covariates), (SIDES, sides)):
        if names:
            write_json(out / file, {name: worths[name] for name in names})
    return worths


def _takes_table(part: Run) -> bool:
    return bool(read_json(part.model / "model.json").get("covariates"))


def _parts(run: Run, cohort: Cohort) -> Iterator[_Part]:
    """Yield the model of each part with its test rows, but of single images, of which nothing can be shuffled."""
    store: Store | None = None
    for part in run.parts():
        model = load_model(part.model)
        rows = cohort.of(list(read_table(part.predictions("test"))["image_id"]))
        if model.preparations and (model.views or model.card.covariates):
            store = store or store_for(cohort, read_recipe(run.recipe), run, RunOptions())
            assert store is not None
            yield _Part(model, *encode(model, Samples.from_store(rows, store)))
        elif model.card.covariates:
            yield _Part(model, *encode(model, Samples.from_table(rows)))


def _sides(part: _Part, *, has_table: bool) -> list[str]:
    views = [f"{VIEW}{view}" for view in part.model.views if view != NO_VIEW]
    is_shown_both = has_table and bool(part.model.preparations)
    return ([IMAGES, TABLE] if is_shown_both else []) + (views if len(views) > 1 else [])


def _shuffled(cohort: Cohort, names: Sequence[str], order: np.ndarray) -> Cohort:
    cells: Mapping[str, np.ndarray] = {name: cohort.table[name].to_numpy(dtype=object)[order] for name in names}
    return replace(cohort, table=cohort.table.assign(**cells))


def _answered(
    parts: Sequence[_Part], shuffled: str, generator: np.random.Generator, predictions: Predictions
) -> Predictions:
    """Return what each model says of its own rows, in the order of `predictions`."""
    rows = {image_id: i for i, image_id in enumerate(predictions.ids["image_id"])}
    logits, probabilities = np.empty_like(predictions.logits), np.empty_like(predictions.probabilities)
    for one in parts:
        members = [rows[image_id] for image_id in one.rows.image_ids]
        logits[members] = one.answer(shuffled, generator)
        probabilities[members] = calibrated_probabilities(
            predictions.task, logits[members], one.model.card.temperatures
        )
    return Predictions(predictions.task, predictions.ids, logits, probabilities)
