"""Images with a model's probability and heat maps of a lesion: masks are drawn of them, and learnt from them.

All lie on the grid that masks are drawn on. Masks are learnt from the model's own train and tune parts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from focusmap.basics import InputError, Json, Progress
from focusmap.evaluation import Reference, Showing, Why
from focusmap.heatmaps import ACAM, FOCUS, RECONSTRUCTION, Item, NetView, evidence_in, items_of
from focusmap.images import BRIGHT, DARK, AnyPlacement, Image, VolumePlacement, mask_to_input, read_image, read_mask
from focusmap.nets import on_grid
from focusmap.segmentation import learning, lesions, seeds, votes
from focusmap.study import Batch, Cohort, Recipe, Run, Samples

CAM = "cam"
BATCH_SIZE = 16
# Masks are worked out on at most so many places, by the number of axes: 128 x 128, 64 x 64 x 64.
WORKING_PLACES = {2: 128**2, 3: 64**3}
MASKS_LOOKED_AT = 40


@dataclass(frozen=True)
class LesionCase:
    """One image, with the probability and heat maps that a model gives of a lesion in it.

    Parameters
    ----------
    item, placement
        Which image, and where its prepared square comes from.
    image : (C, *spatial) float32
        Standardised, on the grid that masks are worked out on.
    maps
        Method to map ``(*spatial)``, as the net draws it, on that grid; the first is the one that masks start from.
        Where either class of a binary target is a lesion, what speaks for the one that the model finds.
    against
        The first map less the mean of those of the classes that mean no lesion, ``(*spatial)``.
    content
        Where on that grid the image lies; the rest is padding.
    probability
        Calibrated, that there is a lesion.
    predicted
        Whether the model says that there is one.
    why
        Why the mask may not be shown; empty where it may be.
    """

    item: Item
    placement: AnyPlacement
    image: np.ndarray
    maps: dict[str, np.ndarray]
    against: np.ndarray
    content: tuple[slice, ...]
    probability: float
    predicted: bool
    why: Why = ""

    def candidates(self, *polarities: str) -> votes.Candidates:
        """Return the regions that the image proposes, those of both polarities if none is named."""
        image = self.image[(slice(None), *self.content)]
        return votes.candidates_of(image, self.against[self.content], polarities or (DARK, BRIGHT))

    def placed(self, region: np.ndarray) -> np.ndarray:
        """Return a region of the content on the whole grid, ``(*spatial) float32``."""
        whole = np.zeros(self.image.shape[1:], np.float32)
        whole[self.content] = region
        return whole

    @cached_property
    def _file(self) -> Image:
        return read_image(self.item.file)

    @property
    def affine(self) -> np.ndarray | None:
        """From voxels to mm, as the image's file has it; None where it does not say."""
        return self.placement.affine if isinstance(self.placement, VolumePlacement) else self._file.affine

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Of the image's own grid, in mm; None where its file does not say."""
        affine = self.affine
        if affine is None:
            return None if isinstance(self.placement, VolumePlacement) else self._file.pixel_spacing
        n_axes = len(self.placement.source_shape)
        return tuple(float(step) for step in np.linalg.norm(np.asarray(affine)[:3, :n_axes], axis=0))


def refuse_autoencoder(view: NetView, folder: Path) -> None:
    """Raise `InputError` if the model in a folder reconstructs images and has no maps of labels."""
    if RECONSTRUCTION in view.methods:
        raise InputError(f"{folder}: holds an autoencoder; masks are drawn from the maps of a classifier.")


def map_methods(view: NetView) -> tuple[str, ...]:
    """Return the maps that are drawn of a model: the one that masks start from, and the plain class activation map."""
    own = [name for name in (ACAM, FOCUS) if name in view.methods]
    return (*own[:1], CAM)


def read_cases(view: NetView, samples: Samples, lesion: lesions.Lesion, showing: Showing) -> Iterator[LesionCase]:
    """Yield the cases that can be read, in order; the samples note the others."""
    for batch in samples.batches(view.preparations, BATCH_SIZE):
        yield from _cases_of(view, batch, lesion, showing)


def _cases_of(view: NetView, batch: Batch, lesion: lesions.Lesion, showing: Showing) -> Iterator[LesionCase]:
    images, columns = batch.images(view.preparations[0]), lesion.columns(view.card.task)
    shape, n = working_shape(images.pixels.shape[2:]), len(columns)
    others = [view.card.task.label_names.index(name) for name in lesion.negatives]
    mapped = {name: view.map_batch(batch, name, [*columns, *others]) for name in map_methods(view)}
    evidence = evidence_in(mapped[CAM], view.card, CAM, [*columns, *others])
    maps = {name: on_grid(torch.from_numpy(one.maps), shape).numpy() for name, one in mapped.items()}
    against = next(iter(maps.values()))[:, n:].mean(axis=1) if others else np.zeros((len(batch.table), *shape))
    shrunk = torch.nn.functional.interpolate(torch.from_numpy(images.pixels), shape, mode="area").numpy()
    for i, (item, placement) in enumerate(zip(items_of(batch), images.placements, strict=True)):
        most = int(evidence.probabilities[i, :n].argmax())
        sign = -1 if lesion.is_either_class and not evidence.predicted[i, most] else 1
        of_case = {name: sign * found[i, most] for name, found in maps.items()}
        yield LesionCase(
            item=item,
            placement=placement,
            image=shrunk[i],
            maps=of_case,
            against=next(iter(of_case.values())) - against[i],
            content=_content(placement, images.pixels.shape[2:], shape),
            probability=1.0 if lesion.is_either_class else float(min(evidence.probabilities[i, :n].sum(), 1.0)),
            predicted=lesion.is_either_class or bool(evidence.predicted[i, :n].any()),
            why=showing.why_not(*lesion.labels, unlike=showing.is_unlike(images, i)),
        )


def _content(placement: AnyPlacement, size: tuple[int, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return where the image lies on the working grid, of its place in the net's input of some size."""
    return tuple(
        slice(round(part.start * new / old), max(round(part.stop * new / old), round(part.start * new / old) + 1))
        for part, old, new in zip(placement.content, size, shape, strict=True)
    )


def working_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the grid that masks are worked out on: the net's own input, shrunk evenly to `WORKING_PLACES`.

    >>> working_shape((48, 48)), working_shape((224, 224))
    ((48, 48), (128, 128))
    """
    factor = (WORKING_PLACES[len(shape)] / np.prod(shape)) ** (1 / len(shape))
    return shape if factor >= 1 else tuple(max(round(side * factor), 1) for side in shape)


# Counted up when the same settings come to learn something else, so that a run's older nets are not taken for new ones.
LEARNING_VERSION = 11


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
    """How masks are learnt: the recipe, whether masks of tune choose thresholds, where, its progress; what is shown."""

    recipe: Recipe
    tune_on_masks: bool
    device: torch.device
    progress: Progress
    showing: Showing = field(default_factory=Showing)

    def identity(self, lesion: lesions.Lesion) -> dict[str, Json]:
        """Return what masks are learnt for: of one run, the same for the same."""
        settings: dict[str, Json] = {**asdict(self.recipe.segmentation), "seed": self.recipe.seed}
        # By its name, for two lesions may have one file name.
        what: dict[str, Json] = {
            "lesion": lesion.name,
            "negatives": list(lesion.negatives),
            "either": lesion.is_either_class,
        }
        return {**settings, **what, "tune": self.tune_on_masks, "version": LEARNING_VERSION}

    def learning(self, doing: str) -> learning.LearningOptions:
        """Return how the small nets learn, where the model computes."""
        return learning.LearningOptions(
            self.recipe.segmentation.n_steps,
            seed=self.recipe.seed,
            is_pretrained=self.recipe.weights != "none",
            device=self.device,
            doing=doing,
            progress=self.progress,
        )


@dataclass(frozen=True)
class LabelledCases:
    """The cases of a cohort that could be read, with the image label of each: masks are learnt from them.

    Parameters
    ----------
    cases
        N images with their heat maps.
    known : (N,) float
        1 with a lesion, 0 without, NaN unknown.
    cohort
        Their rows, in the same order.
    """

    cases: Sequence[LesionCase]
    known: np.ndarray
    cohort: Cohort

    def of(self, truth: int) -> list[LesionCase]:
        """Return the cases that are known to have a lesion, 1, or none, 0."""
        return [case for case, known in zip(self.cases, self.known, strict=True) if known == truth]

    def arrays(self, method: str) -> learning.LabelledMaps:
        """Return images, scaled maps of a method and what is known, as small nets learn from them."""
        images = np.stack([case.image for case in self.cases])
        return learning.LabelledMaps(
            images, np.stack([seeds.scaled(case.maps[method]) for case in self.cases]), self.known
        )

    def stands_out(self, method: str) -> np.ndarray:
        """Return ``(N, *spatial) bool``: where maps of a method say what those of cases without a lesion do not."""
        maps, without = ([case.maps[method] for case in cases] for cases in (self.cases, self.of(0)))
        return seeds.standing_out(maps, without)

    def mask(self, i: int, lesion: lesions.Lesion) -> np.ndarray | None:
        """Return the true mask ``(*spatial) bool`` of case `i`, on the grid that masks are worked out on."""
        case = self.cases[i]
        mask = true_mask(self.cohort, case.item.image_id, lesion, case.placement.source_shape)
        if mask is None:
            return None
        whole = torch.from_numpy(mask_to_input(mask, case.placement).astype(np.float32))
        shrunk = torch.nn.functional.interpolate(whole[None, None], case.image.shape[1:], mode="area")[0, 0]
        return np.asarray(shrunk.numpy() >= 1 / 2)


def read_labelled(view: NetView, cohort: Cohort, lesion: lesions.Lesion, job: Job) -> LabelledCases:
    """Return a cohort's images with their heat maps and image labels, at most `max_cases` of the recipe."""
    cohort = _chosen(cohort, lesion, job.recipe.segmentation.max_cases, job.recipe.seed)
    # An image that cannot be read is none to learn from; training has named it already.
    cases = list(read_cases(view, Samples.from_files(cohort), lesion, Showing()))
    rows = cohort.of([case.item.image_id for case in cases])
    return LabelledCases(cases, lesion.truth(rows.task, rows.truth), rows)


def true_mask(cohort: Cohort, image_id: str, lesion: lesions.Lesion, shape: tuple[int, ...]) -> np.ndarray | None:
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


def marked_elsewhere(cohort: Cohort, lesion: lesions.Lesion) -> tuple[int, int]:
    """Return of images that are known to have no lesion how many have a mask that marks something, and have a mask.

    At most `MASKS_LOOKED_AT` are opened.
    """
    known = lesion.truth(cohort.task, cohort.truth)
    ids = [cohort.image_ids[i] for i in np.flatnonzero(known == 0)]
    files = [file for image_id in ids if (file := cohort.mask_file(image_id, lesion.target)) is not None]
    return sum(bool(read_mask(file).any()) for file in files[:MASKS_LOOKED_AT]), len(files[:MASKS_LOOKED_AT])


def _chosen(cohort: Cohort, lesion: lesions.Lesion, limit: int, seed: int) -> Cohort:
    """Return at most `limit` cases of what is known: all with a lesion if they are no more than half, others by lot."""
    known, rng = lesion.truth(cohort.task, cohort.truth), np.random.default_rng(seed)
    with_lesion, without = (rng.permutation(np.flatnonzero(known == value)) for value in (1, 0))
    n_without = min(len(without), max(limit // 2, limit - len(with_lesion)))
    return cohort.take(np.sort(np.concatenate([with_lesion[: limit - n_without], without[:n_without]])))
