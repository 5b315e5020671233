"""What a model says of samples: the only way from images, cases or rows of a table to predictions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from focusmap.evaluation.calibration import apply
from focusmap.evaluation.predictions import ID_COLUMNS, Predictions
from focusmap.models.ood import Likeness
from focusmap.models.predictor import Answers, Looked, Predictor, answer, one_after_another
from focusmap.progress import Progress, silent
from focusmap.study.cases import images_of
from focusmap.study.cohort import Cohort
from focusmap.study.flags import Flag, Flags, side_by_side
from focusmap.study.samples import Batch, Samples

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


def predict(
    model: Predictor, samples: Samples, likeness: Likeness | None = None, progress: Progress = silent
) -> Predicted:
    """Return what a model says of all samples; what cannot be read is left out and stands in `samples.failures`.

    Parameters
    ----------
    likeness
        What train looks like: images that are unlike it are flagged. None: nobody looks.
    """
    found = list(predict_chunks(model, samples, likeness, progress, n_rows=None))
    return found[0] if found else _nothing(model, samples)


def predict_chunks(
    model: Predictor,
    samples: Samples,
    likeness: Likeness | None = None,
    progress: Progress = silent,
    n_rows: int | None = CHUNK,
) -> Iterator[Predicted]:
    """Yield what a model says of samples, some rows at a time as they stream by; None for all of them at once."""
    seen: list[_Seen] = []
    for one in _look(model, samples, likeness):
        progress("predicting", samples.n_done, len(samples))
        seen.append(one)
        if n_rows is not None and sum(len(part.batch) for part in seen) >= n_rows:
            yield _predicted(model, seen, samples)
            seen = []
    if seen:
        yield _predicted(model, seen, samples)


def look(model: Predictor, samples: Samples) -> tuple[Looked, Cohort]:
    """Return what a model makes of the images of all samples, and the rows that it has seen."""
    seen = list(_look(model, samples, None))
    return one_after_another([one.looked for one in seen]), _rows_of(seen, samples)


@dataclass(frozen=True)
class _Seen:
    """A batch without its images, what a model makes of it, and in what each of its rows is unlike train."""

    batch: Batch
    looked: Looked
    unlike: tuple[Flags, ...] | None


def _look(model: Predictor, samples: Samples, likeness: Likeness | None) -> Iterator[_Seen]:
    stored = bool(model.preparations) and all(map(samples.is_stored, model.preparations))
    for batch in samples.batches(model.preparations, model.n_images(stored=stored)):
        unlike = (
            None
            if likeness is None or not model.preparations
            else _unlike(batch.images(model.preparations[0]).prepared, likeness)
        )
        yield _Seen(replace(batch, prepared={}), model.look(batch), unlike)


def _unlike(images: np.ndarray, likeness: Likeness) -> tuple[Flags, ...]:
    found = [likeness.unlike(image) for image in images]
    return tuple((Flag("unlike", text),) if text else () for text in found)


def _predicted(model: Predictor, seen: Sequence[_Seen], samples: Samples) -> Predicted:
    looked, rows = one_after_another([one.looked for one in seen]), _rows_of(seen, samples)
    answers = answer(model, looked, rows)
    flags = [answers.flags, _unlike_of(seen), _unreadable_of(seen)]
    told = [found for found in flags if found is not None]
    predictions = predictions_of(model, rows, Answers(answers.logits, side_by_side(*told) if told else None))
    return Predicted(rows, predictions, None if looked.attention is None else attention_of(rows, looked.attention))


def _unlike_of(seen: Sequence[_Seen]) -> tuple[Flags, ...] | None:
    return None if seen[0].unlike is None else tuple(flags for one in seen for flags in one.unlike or ())


def _unreadable_of(seen: Sequence[_Seen]) -> list[Flags] | None:
    """Return how many images of each row could not be read; None where all could."""
    lost = np.concatenate([one.batch.n_unreadable for one in seen])
    return (
        [(Flag("unreadable", f"{n} of its images cannot be read"),) if n else () for n in lost] if lost.any() else None
    )


def _rows_of(seen: Sequence[_Seen], samples: Samples) -> Cohort:
    """Return the rows of several batches, one after the other."""
    rows = samples.rows.take(np.concatenate([one.batch.positions for one in seen]))
    if rows.images is None:
        return rows
    images = [one.batch.rows.images for one in seen if one.batch.rows.images is not None]
    return replace(rows, images=pd.concat(images, ignore_index=True))


def _nothing(model: Predictor, samples: Samples) -> Predicted:
    none, rows = np.empty((0, model.task.n_logits)), samples.rows.take([])
    return Predicted(rows, predictions_of(model, rows, Answers(none)))


def predictions_of(model: Predictor, rows: Cohort, answers: Answers) -> Predictions:
    """Return a model's answers for rows as its predictions, calibrated."""
    probabilities = apply(model.task, answers.logits, model.card.temperatures)
    ids = rows.table[[name for name in ID_COLUMNS if name in rows.table]].reset_index(drop=True)
    return Predictions(model.task, ids, answers.logits, probabilities, answers.flags)


def attention_of(rows: Cohort, weights: np.ndarray) -> pd.DataFrame:
    """Return the table of what each image of cases weighs, ``(P,)``."""
    table = images_of(rows)[["case_id", "image_id", "path", "view"]]
    return table.assign(attention=np.round(weights, 4))
