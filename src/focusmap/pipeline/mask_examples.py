"""The best, the median and the worst case of drawn masks, as one picture for the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from focusmap.cohort.cohort import Cohort
from focusmap.figures.regions import DrawnCase, draw_cases
from focusmap.imaging.readers import read_image, read_mask
from focusmap.inference.lesions import Lesion
from focusmap.localisation.mask_scores import MaskScore
from focusmap.pipeline.lesion_masks import true_mask

EXAMPLES = "examples.png"


def write_examples(
    folder: Path, scores: Sequence[MaskScore], masks: Mapping[tuple[str, str], str], sources: Mapping[str, Cohort],
    lesions: Sequence[Lesion],
) -> None:  # fmt: skip
    """Write `EXAMPLES`: the cases of the highest, the median and the lowest Dice among lesions whose mask is known.

    Parameters
    ----------
    folder
        That of the masks.
    scores
        Of the method whose masks were written.
    masks
        (image_id, target) to the mask's file in `folder`.
    sources
        image_id to the cohort that it is of.
    lesions
        What was drawn.
    """
    by_name = {lesion.name: lesion for lesion in lesions}
    ranked = sorted((s for s in scores if np.isfinite(s.measures["dice"])), key=lambda s: -s.measures["dice"])
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    cases = []
    for name, place in places.items():
        score = ranked[place]
        drawn = read_mask(folder / masks[score.image_id, score.target])
        cohort = sources[score.image_id]
        truth = true_mask(cohort, score.image_id, by_name[score.target], drawn.shape)
        assert truth is not None, "a case with a Dice has a mask"
        pixels = read_image(cohort.file(score.image_id)).pixels
        of_which = [score.target] if len(lesions) > 1 else []
        caption = " ".join([f"{name}: {score.measures['dice']:.2f}", *of_which, Path(score.image_id).name])
        cases.append(_drawn_case(pixels, drawn, truth, caption))
    draw_cases(folder / EXAMPLES, cases)


def _drawn_case(pixels: np.ndarray, drawn: np.ndarray, truth: np.ndarray, caption: str) -> DrawnCase:
    """Return a case to be drawn; of a volume, the plane across the shortest axis that has most of the true lesion."""
    if drawn.ndim == 3:
        axis = int(np.argmin(drawn.shape))
        plane = int(truth.sum(axis=tuple(k for k in range(3) if k != axis)).argmax())
        pixels, drawn, truth = pixels[0].take([plane], axis), drawn.take(plane, axis), truth.take(plane, axis)
        pixels = np.moveaxis(pixels, axis, 0)
    return DrawnCase(pixels if len(pixels) == 3 else pixels[0], drawn, truth, caption)
