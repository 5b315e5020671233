"""What each covariate is worth to a table model: what is lost on test when its cells are shuffled among the rows."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from focusmap.classical.model import RowModel
from focusmap.cohort.cohort import Cohort
from focusmap.evaluation import EvaluationOptions, compare_predictions
from focusmap.evaluation.calibration import apply
from focusmap.pipeline.models import load_model
from focusmap.pipeline.runs import Run
from focusmap.values.files import Json, read_json, read_table, write_json
from focusmap.values.predictions import Predictions

IMPORTANCE = "importance.json"
# Enough for an interval of two digits, eleven covariates over.
N_RESAMPLES = 200


def write_importance(
    run: Run, cohort: Cohort, predictions: Predictions, settings: EvaluationOptions, out: Path
) -> dict[str, Json] | None:
    """Return and write permutation importances (Breiman 2001, section 10); None where the model takes no covariates.

    Of a run with folds each model is asked of its own test part, so that no row is answered by a model that knows it.

    Returns
    -------
    dict
        By covariate: metrics of the model less those with the column shuffled, by target, with paired
        patient-clustered intervals, as `compare_predictions` gives them. A covariate that says what another says too
        loses little alone.
    """
    # A net of pictures is not loaded: an evaluation starts without torch.
    if not all(read_json(part.model / "model.json").get("covariates") for part in run.parts()):
        return None
    tables = [model for part in run.parts() if isinstance(model := load_model(part.model), RowModel)]
    members = [list(read_table(part.predictions("test"))["image_id"]) for part in run.parts()]
    few = replace(settings, n_resamples=N_RESAMPLES)
    truth = cohort.of(list(predictions.ids["image_id"])).truth
    found: dict[str, Json] = {}
    for position, name in enumerate(cohort.study.covariates):
        generator = np.random.default_rng([settings.seed, position])
        shuffled = [_shuffled(cohort.of(ids), name, generator) for ids in members]
        answered = _answered(tables, shuffled, predictions)
        found[name] = compare_predictions(predictions, answered, truth, (few, few))["targets"]
    write_json(out / IMPORTANCE, found)
    return found


def _shuffled(cohort: Cohort, name: str, generator: np.random.Generator) -> Cohort:
    cells = generator.permutation(cohort.table[name].to_numpy(dtype=object))
    return replace(cohort, table=cohort.table.assign(**{name: cells}))


def _answered(models: Sequence[RowModel], cohorts: Sequence[Cohort], like: Predictions) -> Predictions:
    """Return what each model says of its own rows, in the order of `like`."""
    rows = {image_id: i for i, image_id in enumerate(like.ids["image_id"])}
    logits, probabilities = np.empty_like(like.logits), np.empty_like(like.probabilities)
    for model, cohort in zip(models, cohorts, strict=True):
        members = [rows[image_id] for image_id in cohort.image_ids]
        logits[members] = model.of_table(cohort)[0]
        probabilities[members] = apply(model.task, logits[members], model.card.temperatures)
    return Predictions(like.task, like.ids, logits, probabilities)
