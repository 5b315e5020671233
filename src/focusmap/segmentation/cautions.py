"""What to beware of in masks: of which lesions none may be shown, few epochs, masks mostly empty, or no better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from focusmap.basics import Json, Reason
from focusmap.evaluation.localisation import mask_scores
from focusmap.segmentation.cases import marked_elsewhere
from focusmap.segmentation.drawing import DRAWN_BY
from focusmap.segmentation.lesions import Lesion
from focusmap.segmentation.scoring import are_scored
from focusmap.study import Cohort

WITHHELD = {"not-better": "masks-not-better", "unjudged": "masks-unjudged", "broken": "masks-broken"}
"""What is said of a lesion of which no mask may be shown, by the reason of `focusmap.evaluation.showing`."""


@dataclass
class Cautions:
    """What is noted while masks are drawn.

    Parameters
    ----------
    empty
        Of each lesion and method, whether each mask is empty of a case in which the model finds the lesion.
    unrelated
        By lesion, why its true masks are of something else, where they are.
    n_epochs
        For how many epochs a net was fine-tuned, where they were too few; else None.
    """

    empty: dict[str, dict[str, list[bool]]] = field(default_factory=dict)
    unrelated: dict[str, Reason] = field(default_factory=dict)
    n_epochs: int | None = None

    def note_empty(self, lesion: Lesion, regions: Mapping[str, np.ndarray]) -> None:
        """Note by which methods the mask of a case is empty."""
        for method in (name for name in DRAWN_BY if name in regions):
            self.empty.setdefault(lesion.name, {}).setdefault(method, []).append(not regions[method].any())

    def are_of(self, lesion: Lesion, cohort: Cohort) -> bool:
        """Return whether masks may be of a lesion; not so, and noted, where most images without it are marked too."""
        n, n_masks = marked_elsewhere(cohort, lesion)
        if n <= n_masks / 2:
            return True
        self.unrelated[lesion.name] = Reason("masks-of-another-thing", target=lesion.name, n=n, all=n_masks)
        return False

    def reasons(
        self, method: str, rows: Sequence[Mapping[str, Json]], scores: Sequence[mask_scores.MaskScore]
    ) -> tuple[Reason, ...]:
        """Return all of them, of the masks of a method, given the rows of their index and the scores of all methods."""
        found = [*_withheld(rows), *_below_mean_mask(method, scores), *self.unrelated.values()]
        if self.n_epochs:
            found.append(Reason("masks-few-epochs", n=self.n_epochs))
        for target, empty in self.empty.items():
            other = next(name for name in empty if name != method)
            n_empty, n_other, n = sum(empty[method]), sum(empty[other]), len(empty[method])
            if mask_scores.are_mostly_empty(n_empty, n):
                code = "masks-empty" if n_other < n_empty else "masks-empty-either-way"
                found.append(Reason(code, target=target, n=n_empty, all=n, other=other, n_other=n_other))
        return tuple(found)


def _withheld(rows: Sequence[Mapping[str, Json]]) -> list[Reason]:
    """Return of which lesions no mask may be shown, and of how many images none may be."""
    whys = {(str(row["target"]), str(row["shown"])) for row in rows}
    of_lesions = [Reason(WITHHELD[why], target=name) for name, why in sorted(whys) if why in WITHHELD]
    n = len({str(row["image_id"]) for row in rows if row["shown"] == "unlike"})
    return [*of_lesions, *([Reason("masks-unlike", n=n)] if n else [])]


def _below_mean_mask(method: str, scores: Sequence[mask_scores.MaskScore]) -> list[Reason]:
    """Return a caution where the written masks have a lower mean Dice than one region for every case."""
    means = {
        name: np.nanmean([score.measures["dice"] for score in scores if score.method == name])
        for name in (method, mask_scores.MEAN_MASK)
        if are_scored([score for score in scores if score.method == name])
    }
    if len(means) < 2 or means[method] > means[mask_scores.MEAN_MASK]:
        return []
    return [Reason("masks-not-usable", dice=f"{means[method]:.2f}", mean_mask=f"{means[mask_scores.MEAN_MASK]:.2f}")]
