"""The only way from images, cases or rows to a model's predictions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from focusmap.basics import Progress, silent
from focusmap.evaluation import ID_COLUMNS, Predictions, calibrated_probabilities
from focusmap.models.ood import Ood
from focusmap.models.predictor import EncodedImages, Predictor, answer, one_after_another
from focusmap.study import BLANK, Batch, Cohort, Flag, Flags, Images, Samples, images_of, side_by_side

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
        What train looks like: images that are unlike it are flagged. None: only those that show nothing are.
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
        unlike = flag_unlike(batch, batch.images(model.preparations[0]), ood) if model.preparations else None
        yield _EncodedBatch(replace(batch, prepared={}), model.encode(batch), unlike)


def flag_unlike(batch: Batch, images: Images, ood: Ood | None) -> tuple[Flags, ...] | None:
    """Return whose images show nothing, and which single images are unlike train; None where nobody looked."""
    if ood is None and not images.placements:
        return None
    owner = batch.table["position"].to_numpy(dtype=np.intp)
    n_images, n_blank = (np.bincount(owner[which], minlength=len(batch)) for which in (slice(None), images.is_blank))
    flags: list[Flags] = [
        (BLANK,) if n == of > 0 else (Flag("unreadable", f"{n} of its images show nothing"),) if n else ()
        for n, of in zip(n_blank, n_images, strict=True)
    ]
    if ood is not None:
        texts = [ood.unlike(image) for image in images.prepared]
        flags = [of_row or ((Flag("unlike", text),) if text else ()) for of_row, text in zip(flags, texts, strict=True)]
    return tuple(flags)


def _predicted(model: Predictor, chunk: Sequence[_EncodedBatch], samples: Samples) -> Predicted:
    encoded, rows = one_after_another([one.encoded for one in chunk]), _rows_of(chunk, samples)
    logits, flags = answer(model, encoded, rows)
    known = [found for found in (flags, _unlike_of(chunk), _unreadable_of(chunk)) if found is not None]
    predictions = predictions_of(model, rows, logits, side_by_side(*known) if known else None)
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
    return Predicted(rows, predictions_of(model, rows, none))


def predictions_of(
    model: Predictor, rows: Cohort, logits: np.ndarray, flags: tuple[Flags, ...] | None = None
) -> Predictions:
    """Return what a model says of rows, logits ``(N, L)`` and flags, as its predictions, calibrated."""
    probabilities = calibrated_probabilities(model.task, logits, model.card.temperatures)
    ids = rows.table[[name for name in ID_COLUMNS if name in rows.table]].reset_index(drop=True)
    return Predictions(model.task, ids, logits, probabilities, flags)


def attention_of(rows: Cohort, weights: np.ndarray) -> pd.DataFrame:
    """Return the table of what each image of cases weighs, ``(P,)``."""
    table = images_of(rows)[["case_id", "image_id", "path", "view"]]
    return table.assign(attention=np.round(weights, 4))
