"""A run's model on another label file: what simpler models reach there, and how its rows differ from those of train.

A random sample of the images of train is read again from their files; where they are gone, only covariates, labels and
scores are compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.basics import Json, Progress, write_json, write_table
from focusmap.evaluation import USUAL, Feature, Predictions, from_probabilities, of_images, read_predictions, summary
from focusmap.evaluation.drift import drift
from focusmap.evaluation.simpler import CARRIED, Simpler, baseline_run, carried, usual_answer
from focusmap.images import AnyPreparation
from focusmap.models.folder import load_model
from focusmap.models.predict import Predicted, predict
from focusmap.models.predictor import Predictor
from focusmap.study import Cohort, Run, RunOptions, Samples, fit_covariates, learnt_by_any, load_cohort, numbers_in
from focusmap.study.values import in_one_way

DRIFT = "drift.json"
MOST_IMAGES = 300


def simpler_elsewhere(run: Run, found: Predicted, options: RunOptions) -> Iterator[Simpler]:
    """Yield simpler answers for rows that a run has never seen: the usual one, the baseline value, the fast model's."""
    learnt, rows = learnt_by_any(run), found.rows
    if learnt is None:
        return
    usual = np.tile(usual_answer(rows.task, learnt.truth), (len(rows), 1))
    yield Simpler(USUAL, from_probabilities(rows.task, found.predictions.ids, usual), {}, {})
    if rows.study.before:
        yield replace(carried(rows, found.predictions, usual), name=CARRIED)
    folders = [baseline_run(part).model for part in run.parts()]
    if rows.images is None and all((folder / "model.json").is_file() for folder in folders):
        models = [load_model(folder) for folder in folders]
        if (mean := _mean_answer(models, rows, options)) is not None:
            thresholds = {
                name: float(np.mean([model.card.thresholds[name] for model in models]))
                for name in models[0].card.thresholds
            }
            of_rows = of_images(mean, list(found.predictions.ids["image_id"]))
            yield Simpler(str(models[0].card.architecture["model"]), of_rows, thresholds, {})


def _mean_answer(models: Sequence[Predictor], rows: Cohort, options: RunOptions) -> Predictions | None:
    """Return the mean of what models of folds say; None where one cannot read a row."""
    predictions = []
    for model in models:
        samples = Samples.from_files(rows) if model.preparations else Samples.from_table(rows)
        predictions.append(predict(model, samples, None, options.progress).predictions)
        if samples.failures:
            return None
    probabilities = np.mean([one.probabilities for one in predictions], axis=0)
    return from_probabilities(rows.task, predictions[0].ids, probabilities)


def write_drift(run: Run, model: Predictor, found: Predicted, out: Path, options: RunOptions) -> list[dict[str, Json]]:
    """Return and write how the rows differ from train, as `focusmap.evaluation.drift.drift` does.

    Scores are compared with those of the run's own test, which its model has not learnt from either.
    """
    learnt = learnt_by_any(run)
    if learnt is None:
        return []
    seed = options.recipe.seed
    sides = [[*_columns(rows), *_images(rows, model, seed, options.progress)] for rows in (learnt, found.rows)]
    tested = read_predictions(run.predictions("test"), model.task) if run.predictions("test").is_file() else None
    if tested is not None:
        test_rows = load_cohort(run.folder).of(list(tested.ids["image_id"]))
        sides[0] += _scores(tested, test_rows)
        sides[1] += _scores(found.predictions, found.rows)
    rows = drift(sides[0], sides[1], seed)
    write_json(out / DRIFT, {"label_file": str(found.rows.study.label_file), "features": [*rows]}, sealed=True)
    write_table((out / DRIFT).with_suffix(".csv"), pd.DataFrame(rows))
    return rows


def _patients(rows: Cohort) -> np.ndarray:
    return rows.patient_ids.astype(str)


def _columns(rows: Cohort) -> list[Feature]:
    """Return labels and covariates."""
    known = _patients(rows)
    labels = rows.task.label_truth(rows.truth)
    features = [
        Feature(name, "label", labels[:, k].astype(float), known) for k, name in enumerate(rows.task.label_names)
    ]
    if rows.study.covariates:
        columns = fit_covariates(rows, rows.image_ids).columns
        for column in columns:
            cells = rows.table[column.name].astype(str).str.strip()
            values = numbers_in(cells) if column.kind == "numeric" else cells.map(in_one_way(cells))
            features.append(Feature(column.name, "covariate", np.asarray(values), known))
    return [replace(one, values=one.values if one.is_number else one.values.astype(str)) for one in features]


def _scores(predictions: Predictions, rows: Cohort) -> list[Feature]:
    names = predictions.task.label_names
    probabilities = predictions.probabilities
    return [Feature(name, "score", probabilities[:, k].astype(float), _patients(rows)) for k, name in enumerate(names)]


def _images(rows: Cohort, model: Predictor, seed: int, progress: Progress) -> list[Feature]:
    """Return what is measured of a random sample of images; nothing of tables, cases, and where none can be read."""
    if rows.images is not None or not model.preparations:
        return []
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:MOST_IMAGES])
    preparation = model.preparations[0]
    measured, patients = _measured(Samples.from_files(rows.take(chosen)), preparation, progress)
    names = dict.fromkeys(name for one in measured for name in one)
    return [Feature(name, "image", np.array([one.get(name, np.nan) for one in measured]), patients) for name in names]


def _measured(
    samples: Samples, preparation: AnyPreparation, progress: Progress
) -> tuple[list[dict[str, float]], np.ndarray]:
    measured: list[dict[str, float]] = []
    patients: list[str] = []
    for batch in samples.batches([preparation], 16):
        images = batch.images(preparation)
        placed = zip(images.prepared, images.placements, strict=True)
        measured += [summary(image, placement.source_shape) for image, placement in placed]
        patients += list(_patients(batch.rows))
        progress("comparing with train", samples.n_done, len(samples))
    return measured, np.array(patients, dtype=np.str_)
