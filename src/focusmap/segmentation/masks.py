"""Masks drawn and written: every lesion by every member, the index, the scores, examples, and what to beware of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.evaluation.localisation.mask_scores import MaskScore, are_mostly_empty, extent, score_table
from focusmap.files import Json, write_failures, write_json, write_table
from focusmap.heatmaps.map_files import MapNames, file_name, write_binary
from focusmap.images.nifti import write_nifti
from focusmap.images.volumes import VolumePlacement
from focusmap.reasons import Reason, note_entries
from focusmap.segmentation import DRAWN_BY
from focusmap.segmentation.cases import LesionCase, read_cases
from focusmap.segmentation.drawing import Drawer, drawn_regions, learn_to_draw
from focusmap.segmentation.examples import by_dice, by_size, write_examples
from focusmap.segmentation.lesions import Lesion
from focusmap.segmentation.scoring import are_scored, scores_of, summary_of
from focusmap.segmentation.seen import Job, Member
from focusmap.study.cohort import Cohort
from focusmap.study.samples import Samples

UNKNOWN, CAUTIONS = "unknown", "cautions.json"
INDEX_COLUMNS = ["image_id", "path", "target", "probability", "mask", "area", "n_pixels", "predicted"]


@dataclass
class Drawn:
    """What has been drawn so far, into a folder, of which the masks of one method are written.

    Parameters
    ----------
    rows
        Of the index.
    scores
        Of cases whose true masks are known, of all methods.
    cuts
        What was chosen, by lesion, map and member.
    failures
        Images that cannot be read, and why.
    sources
        image_id to the cohort that it is of.
    n_masks
        Masks of tune that were looked at.
    empty
        Of each lesion and method, whether each mask is empty of a case in which the model finds the lesion.
    """

    folder: Path
    method: str
    names: MapNames = field(default_factory=MapNames)
    rows: list[dict[str, Json]] = field(default_factory=list)
    scores: list[MaskScore] = field(default_factory=list)
    cuts: dict[str, Json] = field(default_factory=dict)
    failures: dict[Path, str] = field(default_factory=dict)
    sources: dict[str, Cohort] = field(default_factory=dict)
    n_masks: int = 0
    empty: dict[str, dict[str, list[bool]]] = field(default_factory=dict)

    def draw(self, member: Member, lesion: Lesion, job: Job) -> None:
        """Learn, draw, write and score all masks of one lesion by one member."""
        drawer = learn_to_draw(self.method, member, lesion, job)
        self._note_cuts(drawer, lesion)
        samples = Samples.from_files(member.cohort)
        for done, case in enumerate(read_cases(member.view, samples, lesion), start=1):
            regions = drawn_regions(case, drawer)
            self.rows.append(self._write_mask(case, lesion, regions[self.method]))
            if case.predicted:
                self._note_empty(lesion, regions)
            self.scores.extend(scores_of(case, lesion, regions, member.cohort))
            job.progress(f"drawing {lesion.name}", done, len(member.cohort))
        self.sources.update(dict.fromkeys(member.cohort.image_ids, member.cohort))
        self.failures.update({failure.file: failure.reason for failure in samples.failures})

    def write(self, lesions: Sequence[Lesion]) -> dict[str, Json] | None:
        """Write index, failures, scores, examples and cautions; return the scores, None where no true mask is known."""
        write_table(self.folder / "index.csv", pd.DataFrame(self.rows, columns=INDEX_COLUMNS))
        if self.failures:
            write_failures(list(self.failures.items()), self.folder / "failures.csv")
        scores = self._scores() if are_scored(self.scores) else None
        if scores is not None:
            write_json(self.folder / "scores.json", scores)
            write_table(self.folder / "scores.csv", score_table(self.scores))
        self._write_examples(lesions)
        if cautions := self.cautions():
            write_json(self.folder / CAUTIONS, note_entries("cautions", cautions))
        return scores

    def cautions(self) -> tuple[Reason, ...]:
        """Return a sentence for each lesion whose masks are mostly empty where the model says that there is one."""
        other = next(name for name in DRAWN_BY if name != self.method)
        found = []
        for target, empty in self.empty.items():
            n_empty, n_other, n = sum(empty[self.method]), sum(empty[other]), len(empty[self.method])
            if are_mostly_empty(n_empty, n):
                code = "masks-empty" if n_other < n_empty else "masks-empty-either-way"
                found.append(Reason(code, target=target, n=n_empty, all=n, other=other, n_other=n_other))
        return tuple(found)

    def _note_cuts(self, drawer: Drawer, lesion: Lesion) -> None:
        for method, cuts in drawer.cuts.items():
            chosen: Json = {
                "method": method, "target": lesion.name, "background": cuts.background, "foreground": cuts.foreground,
                "n_cases": cuts.n_cases, "n_masks": cuts.n_masks,
            }  # fmt: skip
            self.cuts[f"{lesion.name} {method} {len(self.cuts)}"] = chosen
        self.n_masks += max(cuts.n_masks for cuts in drawer.cuts.values())

    def _note_empty(self, lesion: Lesion, regions: Mapping[str, np.ndarray]) -> None:
        for method in DRAWN_BY:
            self.empty.setdefault(lesion.name, {}).setdefault(method, []).append(not regions[method].any())

    def _write_mask(self, case: LesionCase, lesion: Lesion, region: np.ndarray) -> dict[str, Json]:
        """Write the mask of one case; return its row of the index."""
        name = f"masks/{self.names.name(f'{file_name(case.item.image_id)}.{lesion.name}')}"
        if isinstance(case.placement, VolumePlacement):
            name += ".nii.gz"
            write_nifti(self.folder / name, region[np.newaxis].astype(np.uint8), case.placement.affine)
        else:
            name += ".png"
            write_binary(self.folder / name, region)
        n_pixels = int(np.count_nonzero(region))
        size = extent(n_pixels, case.spacing)
        return {
            "image_id": case.item.image_id, "path": case.item.path, "target": lesion.name,
            "probability": case.probability, "mask": name, "area": UNKNOWN if size is None else size,
            "n_pixels": n_pixels, "predicted": case.predicted,
        }  # fmt: skip

    def _scores(self) -> dict[str, Json]:
        return {
            **summary_of(self.scores, self.method, self.sources),
            "drawn_by": self.method,
            "seeds": list(self.cuts.values()),
            "masks_used_for_tuning": self.n_masks,
        }

    def _write_examples(self, lesions: Sequence[Lesion]) -> None:
        masks = {(str(row["image_id"]), str(row["target"])): str(row["mask"]) for row in self.rows}
        own = [score for score in self.scores if score.method == self.method]
        examples = by_dice(own) or by_size(self.rows)
        if examples:
            write_examples(self.folder, examples, masks, self.sources, lesions)
