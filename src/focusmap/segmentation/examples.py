"""Three masks to be shown, with the true masks where there are any: the best, the median and the worst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from focusmap.basics import Json, number, text
from focusmap.evaluation.localisation.mask_scores import MaskScore
from focusmap.figures import DrawnCase, draw_cases
from focusmap.images import read_image, read_mask
from focusmap.segmentation.cases import true_mask
from focusmap.segmentation.lesions import Lesion
from focusmap.study import Cohort

EXAMPLES = "examples.png"
Ranked = TypeVar("Ranked")


@dataclass(frozen=True)
class Example:
    """A mask to be shown, and what is to be said of it."""

    image_id: str
    target: str
    said: str


def by_dice(scores: Sequence[MaskScore]) -> list[Example]:
    """Return the cases of the highest, the median and the lowest Dice among lesions whose mask is known."""
    ranked = sorted((s for s in scores if np.isfinite(s.measures["dice"])), key=lambda s: -s.measures["dice"])
    return [
        Example(score.image_id, score.target, f"{name}: {score.measures['dice']:.2f}")
        for name, score in _three_of(ranked, "best", "worst")
    ]


def by_size(rows: Sequence[Mapping[str, Json]]) -> list[Example]:
    """Return the largest, the median and the smallest mask of an index by its pixels, empty ones left out."""
    sizes = [(number(row["n_pixels"]) or 0, row) for row in rows]
    ranked = sorted(((size, row) for size, row in sizes if size), key=lambda found: -found[0])
    return [
        Example(text(row["image_id"]), text(row["target"]), f"{name}: {size:,.0f} pixels")
        for name, (size, row) in _three_of(ranked, "largest", "smallest")
    ]


def _three_of(ranked: Sequence[Ranked], first: str, last: str) -> list[tuple[str, Ranked]]:
    """Return the first, the median and the last with their names; fewer where there are fewer."""
    if not ranked:
        return []
    names = {len(ranked) // 2: "median", len(ranked) - 1: last, 0: first}
    return [(names[place], ranked[place]) for place in sorted(names)]


def write_examples(
    folder: Path, examples: Sequence[Example], masks: Mapping[tuple[str, str], str], sources: Mapping[str, Cohort],
    lesions: Sequence[Lesion],
) -> None:  # fmt: skip
    """Write `EXAMPLES`, with the true masks where there are any.

    Parameters
    ----------
    folder
        That of the masks.
    masks
        (image_id, target) to the mask's file in `folder`.
    sources
        image_id to the cohort that it is of.
    lesions
        What was drawn.
    """
    by_name = {lesion.name: lesion for lesion in lesions}
    cases = []
    for example in examples:
        drawn = read_mask(folder / masks[example.image_id, example.target])
        cohort = sources[example.image_id]
        truth = None
        if cohort.has_masks:
            truth = true_mask(cohort, example.image_id, by_name[example.target], drawn.shape)
        pixels = read_image(cohort.file(example.image_id)).pixels
        of_which = [example.target] if len(lesions) > 1 else []
        caption = " ".join([example.said, *of_which, Path(example.image_id).name])
        cases.append(_drawn_case(pixels, drawn, truth, caption))
    draw_cases(folder / EXAMPLES, cases)


def _drawn_case(pixels: np.ndarray, drawn: np.ndarray, truth: np.ndarray | None, caption: str) -> DrawnCase:
    """Return a case to be drawn; of a volume, the plane across the shortest axis that has most of the lesion."""
    if drawn.ndim == 3:
        axis = int(np.argmin(drawn.shape))
        lesion = drawn if truth is None else truth
        plane = int(lesion.sum(axis=tuple(k for k in range(3) if k != axis)).argmax())
        pixels, drawn = np.moveaxis(pixels[0].take([plane], axis), axis, 0), drawn.take(plane, axis)
        truth = None if truth is None else truth.take(plane, axis)
    return DrawnCase(pixels if len(pixels) == 3 else pixels[0], drawn, truth, caption)
