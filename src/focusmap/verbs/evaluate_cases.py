"""Evaluate a run by case: metrics of its test cases, each pooled of its images' answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from focusmap.basics import Json, refuse_existing, write_json
from focusmap.evaluation import EvaluationOptions, Predictions, joined, pool_cases, read_predictions, write_predictions
from focusmap.evaluation.calibration import calibrated_probabilities, choose_thresholds, fit_temperatures
from focusmap.evaluation.writing import METRICS, PREDICTIONS, clustering, write_evaluation
from focusmap.study import Cohort, Run, load_cohort, open_run, read_recipe


def evaluate_cases(folder: Path, how: str, out: Path | None = None, *, force: bool = False) -> dict[str, Json]:
    """Return the metrics of a run's test cases, each pooled of its images' answers; write them to `out`.

    Temperatures and thresholds are fitted anew, on the cases of the tune part. Without `out` they go to
    ``evaluation/cases-HOW`` of the run.

    Raises
    ------
    InputError
        If the run has no test predictions or no cases, there is no way `how` to pool (see
        `focusmap.evaluation.case_pooling`), or `out` holds an evaluation already and `force` is not given.
    """
    run = open_run(folder)
    out = out or run.evaluation / f"cases-{how}"
    refuse_existing(out / METRICS, out / PREDICTIONS, force=force)
    run.refuse_untested()
    cohort, recipe = load_cohort(run.folder), read_recipe(run.recipe)
    parts = [_cases_of(part, cohort, how, recipe.threshold_for) for part in run.parts()]
    predictions = joined([of_part for of_part, _, _ in parts])
    (out / METRICS).unlink(missing_ok=True)
    write_predictions(predictions, out / PREDICTIONS)
    thresholds: dict[str, float | np.ndarray] = {
        name: np.concatenate([np.full(len(of_part), thresholds_of[name]) for of_part, _, thresholds_of in parts])
        for name in parts[0][2]
    }
    settings = EvaluationOptions(thresholds, f"cases-{how}", seed=recipe.seed)
    truth = np.concatenate([of_part for _, of_part, _ in parts])
    metrics = write_evaluation(predictions, truth, settings, out, clustering(cohort))
    write_json(out / METRICS, metrics, sealed=True)
    return metrics


def _cases_of(part: Run, cohort: Cohort, how: str, rule: str) -> tuple[Predictions, np.ndarray, dict[str, float]]:
    """Return a part's test cases, calibrated on its tune cases, their truth, and the thresholds chosen on tune."""

    def pooled(name: str) -> tuple[Predictions, np.ndarray]:
        predictions = read_predictions(part.predictions(name), cohort.task)
        return pool_cases(predictions, cohort.of(list(predictions.ids["image_id"])).truth, how)

    tune, known = pooled("tune")
    temperatures = fit_temperatures(cohort.task, tune.logits, known)
    thresholds = choose_thresholds(
        cohort.task, calibrated_probabilities(cohort.task, tune.logits, temperatures), known, rule
    )
    test, truth = pooled("test")
    return (
        replace(test, probabilities=calibrated_probabilities(cohort.task, test.logits, temperatures)),
        truth,
        thresholds,
    )
