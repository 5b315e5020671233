"""What masks of a lesion are learnt from: the cases of a model's own train and tune parts, as the model sees them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.nn import functional as F

from focusmap.evaluation.localisation import Reference
from focusmap.files import Json
from focusmap.heatmaps.view import NetView
from focusmap.images.prepare import mask_to_input
from focusmap.progress import Progress
from focusmap.segmentation.cases import LesionCase, read_cases
from focusmap.segmentation.learning import LearningOptions
from focusmap.segmentation.lesions import Lesion
from focusmap.segmentation.seeds import scaled, standing_out
from focusmap.segmentation.segmenter import Lesions
from focusmap.study.cohort import Cohort
from focusmap.study.recipe import Recipe
from focusmap.study.run import Run
from focusmap.study.samples import Samples

# Counted up when the same settings come to learn something else, so that a run's older nets are not taken for new ones.
LEARNING_VERSION = 3


@dataclass(frozen=True)
class Member:
    """One model and its run, what it learnt from and was tuned on, and the rows whose masks are drawn."""

    run: Run
    view: NetView
    train: Cohort
    tune: Cohort
    cohort: Cohort


@dataclass(frozen=True)
class Job:
    """How masks are learnt: the recipe, whether masks of tune choose the thresholds, where, and who is told."""

    recipe: Recipe
    tune_on_masks: bool
    device: torch.device
    progress: Progress

    def identity(self, lesion: Lesion) -> dict[str, Json]:
        """Return what masks are learnt for: of one run, the same for the same."""
        settings: dict[str, Json] = {**asdict(self.recipe.segmentation), "seed": self.recipe.seed}
        # By its name, for two lesions may have one file name.
        what: dict[str, Json] = {"lesion": lesion.name, "negatives": list(lesion.negatives)}
        return {**settings, **what, "tune": self.tune_on_masks, "version": LEARNING_VERSION}

    def learning(self, doing: str) -> LearningOptions:
        """Return how the small nets learn, where the model computes."""
        n_steps, seed = self.recipe.segmentation.n_steps, self.recipe.seed
        return LearningOptions(n_steps, seed=seed, device=self.device, doing=doing, progress=self.progress)


@dataclass(frozen=True)
class Seen:
    """Cases of a cohort that could be read, and what is known of each: 1 with a lesion, 0 without, NaN unknown."""

    cases: Sequence[LesionCase]
    known: np.ndarray
    cohort: Cohort

    def of(self, truth: int) -> list[LesionCase]:
        """Return the cases that are known to have a lesion, 1, or none, 0."""
        return [case for case, known in zip(self.cases, self.known, strict=True) if known == truth]

    def arrays(self, method: str) -> Lesions:
        """Return images, scaled maps of a method and what is known, as small nets learn from them."""
        images = np.stack([case.image for case in self.cases])
        return Lesions(images, np.stack([scaled(case.maps[method]) for case in self.cases]), self.known)

    def stands_out(self, method: str) -> np.ndarray:
        """Return ``(N, *spatial) bool``: where maps of a method say what those of cases without a lesion do not."""
        maps, without = ([case.maps[method] for case in cases] for cases in (self.cases, self.of(0)))
        return standing_out(maps, without)

    def mask(self, i: int, lesion: Lesion) -> np.ndarray | None:
        """Return the true mask ``(*spatial) bool`` of case `i`, on the grid that masks are worked out on."""
        case = self.cases[i]
        mask = true_mask(self.cohort, case.item.image_id, lesion, case.placement.source_shape)
        if mask is None:
            return None
        whole = torch.from_numpy(mask_to_input(mask, case.placement).astype(np.float32))
        shrunk = F.interpolate(whole[None, None], case.image.shape[1:], mode="area")[0, 0]
        return np.asarray(shrunk.numpy() >= 1 / 2)


def see(view: NetView, cohort: Cohort, lesion: Lesion, job: Job) -> Seen:
    """Return the maps of what a cohort is learnt or tuned from: as many cases as the recipe takes."""
    cohort = _chosen(cohort, lesion, job.recipe.segmentation.max_cases, job.recipe.seed)
    # An image that cannot be read is none to learn from; training has named it already.
    cases = list(read_cases(view, Samples.from_files(cohort), lesion))
    rows = cohort.of([case.item.image_id for case in cases])
    return Seen(cases, lesion.truth(rows.task, rows.truth), rows)


def true_mask(cohort: Cohort, image_id: str, lesion: Lesion, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the true mask ``(*shape) bool`` of a lesion: empty where it is known that there is none; None unknown.

    Raises
    ------
    InputError
        If a mask does not have the shape of its image.
    """
    known = lesion.truth(cohort.task, cohort.truth[[cohort.positions[image_id]]])[0]
    if known == 0:
        return np.zeros(shape, dtype=bool)
    return Reference(cohort).mask(image_id, lesion.labels[0], shape)


def _chosen(cohort: Cohort, lesion: Lesion, limit: int, seed: int) -> Cohort:
    """Return at most `limit` cases of what is known: all with a lesion if they are no more than half, others by lot."""
    known, rng = lesion.truth(cohort.task, cohort.truth), np.random.default_rng(seed)
    with_lesion, without = (rng.permutation(np.flatnonzero(known == value)) for value in (1, 0))
    n_without = min(len(without), max(limit // 2, limit - len(with_lesion)))
    return cohort.take(np.sort(np.concatenate([with_lesion[: limit - n_without], without[:n_without]])))
