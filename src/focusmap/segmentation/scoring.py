"""What masks score where true masks exist: each region of each case, their means, and what is compared."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from focusmap.basics import Json, Reason
from focusmap.evaluation.localisation import mask_scores
from focusmap.segmentation.cases import LesionCase, true_mask
from focusmap.segmentation.lesions import Lesion
from focusmap.study import Cohort

COMPARED = (("refined", "cam"), ("distilled", "cam"), ("vote", "cam"), ("vote", "regions"), ("vote", "picture_only"))
ABSENT = {
    **{name: Reason("not-asked") for name in ("regions", "vote", "refined")},
    "acam": Reason("no-axis-attention"),
    "supervised": Reason("no-train-mask"),
    "mean_mask": Reason("no-train-mask"),
}


def scores_of(
    case: LesionCase, lesion: Lesion, regions: Mapping[str, np.ndarray], cohort: Cohort
) -> Iterator[mask_scores.MaskScore]:
    """Yield what each region scores in a case whose true mask is known."""
    image_id = case.item.image_id
    mask = true_mask(cohort, image_id, lesion, case.placement.source_shape)
    if mask is None:
        return
    patient_id = str(cohort.patient_ids[cohort.positions[image_id]])
    for method, region in regions.items():
        yield mask_scores.MaskScore(
            image_id, patient_id, lesion.name, method, *mask_scores.measure_mask(region, mask, case.spacing)
        )


def are_scored(scores: Sequence[mask_scores.MaskScore]) -> bool:
    """Return whether any case with a lesion has a true mask."""
    return any(np.isfinite(score.measures["dice"]) for score in scores)


def summary_of(scores: Sequence[mask_scores.MaskScore], method: str, sources: Mapping[str, Cohort]) -> dict[str, Json]:
    """Return the means of all scores, of each target, and of cases whose images were drawn one by one.

    Parameters
    ----------
    method
        Whose masks are written.
    sources
        image_id to the cohort that it is of.
    """
    targets = dict.fromkeys(score.target for score in scores)
    by_target: dict[str, Json] = {
        target: _with_absent(mask_scores.summarise_masks([score for score in scores if score.target == target]))
        for target in targets
    }
    by_case: dict[str, Json] = {}
    case_of = _case_of(scores, sources)
    if len(set(case_of.values())) < len(case_of):
        pooled = mask_scores.pool_by_case(scores, case_of)
        by_case = {"methods": dict(mask_scores.summarise_masks(pooled)), "differences": _differences(pooled, method)}
    return {
        "methods": _with_absent(mask_scores.summarise_masks(scores)),
        **({"by_target": by_target} if len(targets) > 1 else {}),
        "differences": _differences(scores, method),
        **({"by_case": by_case} if by_case else {}),
    }


def _case_of(scores: Sequence[mask_scores.MaskScore], sources: Mapping[str, Cohort]) -> dict[str, str]:
    """Return the case of each image that was scored; its own name where the study has no cases."""
    found: dict[str, str] = {}
    for score in scores:
        cohort = sources[score.image_id]
        case_ids = cohort.table["case_id"] if "case_id" in cohort.table else pd.Series(cohort.image_ids)
        found[score.image_id] = str(case_ids.iloc[cohort.positions[score.image_id]])
    return found


def _differences(scores: Sequence[mask_scores.MaskScore], method: str) -> dict[str, Json]:
    pairs = (*COMPARED, (method, mask_scores.MEAN_MASK))
    found = {f"{better} - {worse}": mask_scores.paired_differences(scores, better, worse) for better, worse in pairs}
    return {pair: entry for pair, entry in found.items() if entry is not None}


def _with_absent(methods: dict[str, Json]) -> dict[str, Json]:
    """Return the methods with those that there are none of, each with the reason."""
    return {
        **methods,
        **{name: mask_scores.undefined_scores(why) for name, why in ABSENT.items() if name not in methods},
    }
