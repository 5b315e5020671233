"""One training to be done, of a run or of a fold of it: a value; what does it stands in `focusmap.fitting.train`."""

from dataclasses import dataclass

from focusmap.basics import Json
from focusmap.fitting.manifest import library_versions
from focusmap.images import Store
from focusmap.models.card import ModelCard
from focusmap.study import Cohort, ModelName, Recipe, Run, Samples, Split, parse_model


@dataclass(frozen=True)
class Training:
    """One training to be done: a part of a run, and what it learns from.

    Parameters
    ----------
    run
        The run itself, or one of its folds.
    cohort, split, store, recipe
        As prepared; `split` is this training's own. A table model has no store.
    is_answering
        Whether the model will be applied to other images; that of a baseline, or of a rung, will not.
    """

    run: Run
    cohort: Cohort
    split: Split
    store: Store | None
    recipe: Recipe
    is_answering: bool = True

    @property
    def model(self) -> ModelName:
        """What is trained."""
        return parse_model(self.recipe.model)

    def rows(self, part: str) -> Cohort:
        """Return the rows of a part of the split."""
        return self.cohort.of(self.split.ids(part))

    def samples(self, part: str) -> Samples:
        """Return a part of the split, as a model is shown it."""
        rows = self.rows(part)
        return Samples.from_table(rows) if self.store is None else Samples.from_store(rows, self.store)

    def card(self, architecture: dict[str, Json], n_parameters: int) -> ModelCard:
        """Return the card of the model that it fitted; thresholds, temperatures and known answer are still to come."""
        return ModelCard(
            task=self.cohort.task,
            architecture=architecture,
            preparation={} if self.store is None else self.store.preparation.to_dict(),
            thresholds={},
            threshold_for=self.recipe.threshold_for,
            temperatures={},
            scales={},
            known_answer={},
            versions=library_versions(),
            training={"n_parameters": n_parameters, "n_train": len(self.split.ids("train")), "seed": self.recipe.seed},
        )
