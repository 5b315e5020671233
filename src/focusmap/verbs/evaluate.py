"""Evaluate: metrics with intervals, of a run's test split, of other images, or of a table of predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from focusmap.basics import Json, read_json, refuse_existing, table_name, write_json
from focusmap.basics.errors import UnreadableImageError, listed
from focusmap.evaluation import EvaluationOptions, Evidence, Predictions, prevalences, read_predictions, shifted
from focusmap.evaluation.answers import answered, read_standings, write_answering
from focusmap.evaluation.by_fold import by_fold
from focusmap.evaluation.prediction_table import read_prediction_table
from focusmap.evaluation.predictions import write_predictions
from focusmap.evaluation.simpler import set_beside, write_baselines
from focusmap.evaluation.subgroups import SUBGROUPS, subgroups
from focusmap.evaluation.verdict import with_verdict
from focusmap.evaluation.writing import METRICS, PREDICTIONS, clustering, folds_of, frozen_thresholds, write_evaluation
from focusmap.fitting import baseline_of
from focusmap.models import Predicted, load_run_model, ood_of, write_importance
from focusmap.models.elsewhere import simpler_elsewhere, write_drift
from focusmap.models.predict import predict
from focusmap.study import UNLABELLED, Cohort, Recipe, Samples, count_rows, load_cohort, open_run, read_recipe
from focusmap.study.external import read_other, refuse_known_patients, rows_like
from focusmap.study.options import Declaration, RunOptions


def evaluate(
    folder: Path, out: Path | None = None, *, prevalence: Sequence[str] = (), force: bool = False
) -> dict[str, Json]:
    """Return the metrics of a run on its test split, or on all images out of fold; write them to `out`, or to the run.

    `prevalence` states shares of positives, ``SHARE`` or ``NAME=SHARE``, for which predictive values are wanted too.

    Raises
    ------
    InputError
        If the run has no test predictions, or `out` holds an evaluation already and `force` is not given.
    """
    run = open_run(folder)
    if out is not None and out.resolve() != run.evaluation.resolve():
        refuse_existing(out / METRICS, force=force)
    cohort = load_cohort(run.folder)
    run.refuse_untested()
    predictions = read_predictions(run.predictions("test"), cohort.task)
    rows = cohort.of(list(predictions.ids["image_id"]))
    folds = folds_of(run, predictions)
    part = "test" if folds is None else "out-of-fold"
    recipe, out, audit = read_recipe(run.recipe), out or run.evaluation, run.folder / "audit.json"
    stated = prevalences(cohort.task, prevalence)
    settings = EvaluationOptions(frozen_thresholds(run, folds), part, seed=recipe.seed, prevalence=stated)
    facts = clustering(cohort)
    if folds is not None and cohort.task != UNLABELLED:
        facts["by_fold"] = by_fold(predictions, rows.truth, folds)
    metrics = write_evaluation(predictions, rows.truth, settings, out, facts)
    if cohort.task != UNLABELLED:
        compared = write_baselines(run, cohort, predictions, settings, out)
        accepted = cast(list[str], read_json(audit, checked=False)["accepted"]) if audit.is_file() else []
        metrics = _with_verdict(metrics, compared, recipe, accepted)
        write_answering(run, cohort, predictions, metrics, out)
    if cohort.study.groups:
        _write_subgroups(predictions, rows, settings, out)
    write_importance(run, cohort, predictions, settings, out)
    write_json(out / METRICS, metrics, sealed=True)
    return metrics


def evaluate_other(
    folder: Path,
    label_file: Path,
    declaration: Declaration,
    out: Path | None,
    options: RunOptions,
    prevalence: Sequence[str] = (),
) -> dict[str, Json]:
    """Return the metrics of a run's model on images that it has never seen, and write them to `out`.

    The study of the run says which columns hold the targets; `declaration` may name other columns for the rest. Simpler
    models answer the same images (``baselines.json``), and ``drift.json`` says how they differ from those of train.

    Raises
    ------
    InputError
        If `out` holds an evaluation already and `options.force` is not given.
    RefusedError
        If a patient of the run's study, of whichever part, also stands in the label file.
    """
    run = open_run(folder)
    out = out or run.evaluation / table_name(label_file)
    refuse_existing(out / METRICS, out / PREDICTIONS, force=options.force)
    cohort = rows_like(run, read_other(run, label_file, declaration))
    refuse_known_patients(run, cohort, options)
    model = load_run_model(folder, options.devices)
    ood = ood_of(folder)
    samples = Samples.from_files(cohort) if model.preparations else Samples.from_table(cohort)
    predicted = predict(model, samples, ood, options.progress)
    _refuse_failures(samples, predicted, options)
    (out / METRICS).unlink(missing_ok=True)
    write_predictions(
        answered(predicted.predictions, read_standings(run.model), model.card.thresholds), out / PREDICTIONS
    )
    stated, name = prevalences(cohort.task, prevalence), table_name(label_file)
    settings = EvaluationOptions(model.card.thresholds, name, seed=options.recipe.seed, prevalence=stated)
    facts = {**clustering(cohort), **_unlike(predicted, is_checked=ood is not None)}
    if cohort.task != UNLABELLED:
        facts["shifted"] = [*shifted(write_drift(run, model, predicted, out, options))]
    metrics = write_evaluation(predicted.predictions, predicted.rows.truth, settings, out, facts)
    if cohort.task != UNLABELLED:
        simpler = simpler_elsewhere(run, predicted, options)
        compared = set_beside(simpler, predicted.predictions, predicted.rows.truth, settings, out)
        metrics = _with_verdict(metrics, compared, read_recipe(run.recipe))
    write_json(out / METRICS, metrics, sealed=True)
    return metrics


def _with_verdict(
    metrics: dict[str, Json], compared: Mapping[str, Json], recipe: Recipe, accepted: Sequence[str] = ()
) -> dict[str, Json]:
    """Return the metrics with their verdict, given what simpler models reach and which blocking findings stand."""
    baselines = cast(list[dict[str, Json]], compared["baselines"])
    return with_verdict(Evidence(metrics, baselines, accepted, baseline_of(recipe) == recipe.model))


def _unlike(predicted: Predicted, *, is_checked: bool) -> dict[str, Json]:
    """Return how many images are unlike those of train; nothing without a check for it, unless some are blank."""
    n = count_rows(predicted.predictions.flags or (), "unlike")
    return {"n_unlike": n} if is_checked or n else {}


def _write_subgroups(predictions: Predictions, rows: Cohort, settings: EvaluationOptions, out: Path) -> None:
    groups = {name: rows.table[name].astype(str).tolist() for name in rows.study.groups}
    by_group = {"rows": [*subgroups(predictions, rows.truth, groups, settings)]}
    write_json(out / SUBGROUPS, cast(Json, by_group), sealed=True)


def _refuse_failures(samples: Samples, predicted: Predicted, options: RunOptions) -> None:
    """Raise `UnreadableImageError` where an image cannot be read that may not be left out, or none can be read."""
    reasons = [failure.reason for failure in samples.failures]
    if reasons and not options.skip_unreadable:
        raise UnreadableImageError(f"{listed(reasons).rstrip('.')}. Leave them out with --skip-unreadable.")
    if reasons and not len(predicted):
        raise UnreadableImageError(f"{samples.rows.study.label_file}: no image can be read. The first: {reasons[0]}")


def evaluate_table(
    table: Path, out: Path | None, options: RunOptions, prevalence: Sequence[str] = ()
) -> dict[str, Json]:
    """Return the metrics of a table with ``true_NAME`` and ``prob_NAME`` columns; write them if `out` is given."""
    if out is not None:
        refuse_existing(out / METRICS, force=options.force)
    predictions, truth = read_prediction_table(table)
    stated, name = prevalences(predictions.task, prevalence), table.name.split(".")[0]
    settings = EvaluationOptions(split=name, seed=options.recipe.seed, prevalence=stated)
    metrics = write_evaluation(predictions, truth, settings, out)
    if out is not None:
        write_json(out / METRICS, metrics, sealed=True)
    return metrics
