"""What each thing that a model is shown is worth: what is lost on test when it is shuffled among the rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from focusmap.evaluation import EvaluationOptions, compare_predictions
from focusmap.evaluation.calibration import apply
from focusmap.evaluation.predictions import Predictions
from focusmap.files import Json, read_json, read_table, write_json
from focusmap.models.folder import load_model
from focusmap.models.predict import look
from focusmap.models.predictor import Looked, Predictor, answer
from focusmap.models.preparing import store_for
from focusmap.study.cases import NO_VIEW
from focusmap.study.cohort import Cohort
from focusmap.study.options import RunOptions
from focusmap.study.recipe import read_recipe
from focusmap.study.run import Run
from focusmap.study.samples import Samples

if TYPE_CHECKING:
    from focusmap.images.store import Store

IMPORTANCE, SIDES = "importance.json", "sides.json"
IMAGES, TABLE, VIEW = "pictures", "table", "view="
# Enough for an interval of two digits, eleven covariates over.
N_RESAMPLES = 200


@dataclass(frozen=True)
class _Asked:
    """One model, what it makes of the images of rows, and the rows, which it alone is asked of."""

    model: Predictor
    looked: Looked
    rows: Cohort

    def answer(self, shuffled: str, generator: np.random.Generator) -> np.ndarray:
        """Return the logits ``(N, L)`` where what `shuffled` names is another row's."""
        order = generator.permutation(len(self.rows))
        if shuffled == IMAGES:
            return answer(self.model, self.looked.shuffled(order), self.rows).logits
        if shuffled.startswith(VIEW):
            return answer(self.model, self.looked.shuffled(order, shuffled.removeprefix(VIEW)), self.rows).logits
        names = self.rows.study.covariates if shuffled == TABLE else (shuffled,)
        return answer(self.model, self.looked, _shuffled(self.rows, names, order)).logits


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
    asked = list(_asked(run, cohort))
    if not asked:
        return None
    few = replace(settings, n_resamples=N_RESAMPLES)
    truth = cohort.of(list(predictions.ids["image_id"])).truth

    def worth(name: str, position: int) -> Json:
        answered = _answered(asked, name, np.random.default_rng([settings.seed, position]), predictions)
        return compare_predictions(predictions, answered, truth, (few, few))["targets"]

    covariates = cohort.study.covariates if _takes_table(run.parts()[0]) else ()
    sides = _sides(asked[0], has_table=bool(covariates))
    found = {name: worth(name, position) for position, name in enumerate((*covariates, *sides))}
    for file, names in ((IMPORTANCE, covariates), (SIDES, sides)):
        if names:
            write_json(out / file, {name: found[name] for name in names})
    return found


def _takes_table(part: Run) -> bool:
    return bool(read_json(part.model / "model.json").get("covariates"))


def _asked(run: Run, cohort: Cohort) -> Iterator[_Asked]:
    """Yield the model of each part with its test rows, but of single images, of which nothing can be shuffled."""
    store: Store | None = None
    for part in run.parts():
        model = load_model(part.model)
        rows = cohort.of(list(read_table(part.predictions("test"))["image_id"]))
        if model.preparations and (model.views or model.card.covariates):
            store = store or store_for(cohort, read_recipe(run.recipe), run, RunOptions())
            assert store is not None
            yield _Asked(model, *look(model, Samples.from_store(rows, store)))
        elif model.card.covariates:
            yield _Asked(model, *look(model, Samples.from_table(rows)))


def _sides(asked: _Asked, *, has_table: bool) -> list[str]:
    views = [f"{VIEW}{view}" for view in asked.model.views if view != NO_VIEW]
    is_shown_both = has_table and bool(asked.model.preparations)
    return ([IMAGES, TABLE] if is_shown_both else []) + (views if len(views) > 1 else [])


def _shuffled(cohort: Cohort, names: Sequence[str], order: np.ndarray) -> Cohort:
    cells: Mapping[str, np.ndarray] = {name: cohort.table[name].to_numpy(dtype=object)[order] for name in names}
    return replace(cohort, table=cohort.table.assign(**cells))


def _answered(asked: Sequence[_Asked], shuffled: str, generator: np.random.Generator, like: Predictions) -> Predictions:
    """Return what each model says of its own rows, in the order of `like`."""
    rows = {image_id: i for i, image_id in enumerate(like.ids["image_id"])}
    logits, probabilities = np.empty_like(like.logits), np.empty_like(like.probabilities)
    for one in asked:
        members = [rows[image_id] for image_id in one.rows.image_ids]
        logits[members] = one.answer(shuffled, generator)
        probabilities[members] = apply(like.task, logits[members], one.model.card.temperatures)
    return Predictions(like.task, like.ids, logits, probabilities)
