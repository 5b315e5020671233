"""Permutation importance: how much worse a model predicts test when one of its inputs is shuffled among the rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from focusmap import images
from focusmap.basics import Json, read_json, read_table, write_json
from focusmap.evaluation import EvaluationOptions, Predictions, calibrated_probabilities, compare_predictions
from focusmap.models.folder import load_model
from focusmap.models.predict import encode
from focusmap.models.predictor import EncodedImages, Predictor, answer
from focusmap.study import NO_VIEW, Cohort, Run, RunOptions, Samples, read_recipe, store_for

IMPORTANCE, SIDES = "importance.json", "sides.json"
IMAGES, TABLE, VIEW = "pictures", "table", "view="
# Enough for an interval of two digits, eleven covariates over.
N_RESAMPLES = 200


@dataclass(frozen=True)
class _Part:
    """One model, and the test rows that it predicts with the features of their images."""

    model: Predictor
    encoded: EncodedImages
    rows: Cohort

    def answer(self, shuffled: str, generator: np.random.Generator) -> np.ndarray:
        """Return the logits ``(N, L)`` where what `shuffled` names is another row's."""
        order = generator.permutation(len(self.rows))
        if shuffled == IMAGES:
            return answer(self.model, self.encoded.shuffled(order), self.rows)[0]
        if shuffled.startswith(VIEW):
            return answer(self.model, self.encoded.shuffled(order, shuffled.removeprefix(VIEW)), self.rows)[0]
        names = self.rows.study.covariates if shuffled == TABLE else (shuffled,)
        return answer(self.model, self.encoded, _shuffled(self.rows, names, order))[0]


def write_importance(
    run: Run, cohort: Cohort, predictions: Predictions, settings: EvaluationOptions, out: Path
) -> dict[str, Json] | None:
    """Return and write permutation importances (Breiman 2001, section 10); None for a net of single images.

    In a run with folds each model predicts its own test part, so that no row is predicted by a model trained on it.
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
    store: images.Store | None = None
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
    logits, probabilities = np.empty_like(predictions.logits), np.empty_like(predictions.probabilities)
    for one in parts:
        members = predictions.rows(one.rows.image_ids)
        logits[members] = one.answer(shuffled, generator)
        probabilities[members] = calibrated_probabilities(
            predictions.task, logits[members], one.model.card.temperatures
        )
    return Predictions(predictions.task, predictions.ids, logits, probabilities)
