"""Masks drawn and written: every lesion by every member, the index, and what to beware of."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.basics import Json, Reason, note_entries, number, write_failures, write_json, write_table
from focusmap.evaluation import SHOWN
from focusmap.evaluation.localisation import mask_scores
from focusmap.fitting import few_epochs
from focusmap.heatmaps import MapNames, file_name, write_binary
from focusmap.images import VolumePlacement, write_nifti
from focusmap.segmentation.cases import Job, LesionCase, Member, marked_elsewhere, read_cases
from focusmap.segmentation.drawing import AUTO, DRAWN_BY, Drawer, best_by_labels, drawn_regions, learn_to_draw
from focusmap.segmentation.examples import by_dice, by_size, write_examples
from focusmap.segmentation.lesions import Lesion
from focusmap.segmentation.measuring import CELLS, IN_SHORT, UNKNOWN, in_short, measure_lesions
from focusmap.segmentation.scoring import are_scored, scores_of, summary_of
from focusmap.study import Cohort, Failure, Samples

WITHHELD = {"not-better": "masks-not-better", "unjudged": "masks-unjudged", "broken": "masks-broken"}
"""What is said of a lesion of which no mask may be shown, by the reason of `focusmap.evaluation.showing`."""
CAUTIONS = "cautions.json"
INDEX_COLUMNS = ["image_id", "path", "target", "probability", "mask", "area", "n_pixels", "predicted", "method",
                 "confidence", *IN_SHORT, "shown"]  # fmt: skip
LESION_COLUMNS = ["image_id", "target", "lesion", *CELLS]


@dataclass
class Drawn:
    """What has been drawn so far, into a folder, of which the masks of one method are written.

    Parameters
    ----------
    rows, lesions
        Of the index, and of each single lesion.
    drawers
        What draws, by lesion and place of the member.
    scores
        Of cases whose true masks are known, of all methods.
    failures
        Images that cannot be read, and why.
    sources
        image_id to the cohort that it is of.
    empty
        Of each lesion and method, whether each mask is empty of a case in which the model finds the lesion.
    unrelated
        By lesion, why its true masks are of something else, where they are.
    n_epochs
        For how many epochs a net was fine-tuned, where they were too few; else None.
    """

    folder: Path
    method: str
    names: MapNames = field(default_factory=MapNames)
    rows: list[dict[str, Json]] = field(default_factory=list)
    lesions: list[dict[str, Json]] = field(default_factory=list)
    drawers: dict[tuple[str, int], Drawer] = field(default_factory=dict)
    scores: list[mask_scores.MaskScore] = field(default_factory=list)
    failures: dict[Path, Failure] = field(default_factory=dict)
    sources: dict[str, Cohort] = field(default_factory=dict)
    empty: dict[str, dict[str, list[bool]]] = field(default_factory=dict)
    unrelated: dict[str, Reason] = field(default_factory=dict)
    n_epochs: int | None = None

    def draw(self, members: Sequence[Member], lesions: Sequence[Lesion], job: Job) -> None:
        """Learn, choose the method if none is named, then draw, write and score all masks of all lesions."""
        self.n_epochs = min((n for member in members if (n := few_epochs(member.run))), default=None)
        pairs = [(lesion, k, member) for lesion in lesions for k, member in enumerate(members)]
        for lesion, k, member in pairs:
            self.drawers[lesion.name, k] = learn_to_draw(self.method, member, lesion, job)
        if self.method == AUTO:
            self.method = best_by_labels(list(self.drawers.values()))
        for lesion, k, member in pairs:
            self._draw(self.drawers[lesion.name, k], member, lesion, job)

    def _draw(self, drawer: Drawer, member: Member, lesion: Lesion, job: Job) -> None:
        samples = Samples.from_files(member.cohort)
        is_scored = member.cohort.has_masks and self._are_of(lesion, member.cohort)
        for done, case in enumerate(read_cases(member.view, samples, lesion, job.showing), start=1):
            regions, confidences = drawn_regions(case, drawer)
            self.rows.append(self._write_mask(case, lesion, regions[self.method], confidences.get(self.method)))
            if case.predicted:
                self._note_empty(lesion, regions)
            if is_scored:
                self.scores.extend(scores_of(case, lesion, regions, member.cohort))
            job.progress(f"drawing {lesion.name}", done, len(member.cohort))
        self.sources.update(dict.fromkeys(member.cohort.image_ids, member.cohort))
        self.failures.update({failure.file: failure for failure in samples.failures})

    def write(self, lesions: Sequence[Lesion]) -> dict[str, Json] | None:
        """Write index, failures, scores, examples and cautions; return the scores, None where no true mask is known."""
        write_table(self.folder / "index.csv", pd.DataFrame(self.rows, columns=INDEX_COLUMNS))
        write_table(self.folder / "lesions.csv", pd.DataFrame(self.lesions, columns=LESION_COLUMNS))
        if self.failures:
            write_failures([failure.row for failure in self.failures.values()], self.folder / "failures.csv")
        scores = self._scores() if are_scored(self.scores) else None
        if scores is not None:
            write_json(self.folder / "scores.json", scores)
            write_table(self.folder / "scores.csv", mask_scores.score_table(self.scores))
        self._write_examples(lesions)
        if cautions := self.cautions():
            write_json(self.folder / CAUTIONS, note_entries("cautions", cautions))
        return scores

    def cautions(self) -> tuple[Reason, ...]:
        """Return what to beware of: few epochs, masks below the mean mask, masks mostly empty, or of something else."""
        found = [*self._withheld(), *self._below_mean_mask(), *self.unrelated.values()]
        if self.n_epochs:
            found.append(Reason("masks-few-epochs", n=self.n_epochs))
        for target, empty in self.empty.items():
            other = next(name for name in empty if name != self.method)
            n_empty, n_other, n = sum(empty[self.method]), sum(empty[other]), len(empty[self.method])
            if mask_scores.are_mostly_empty(n_empty, n):
                code = "masks-empty" if n_other < n_empty else "masks-empty-either-way"
                found.append(Reason(code, target=target, n=n_empty, all=n, other=other, n_other=n_other))
        return tuple(found)

    def _withheld(self) -> list[Reason]:
        """Return of which lesions no mask may be shown, and of how many images none may be."""
        whys = {(str(row["target"]), str(row["shown"])) for row in self.rows}
        of_lesions = [Reason(WITHHELD[why], target=name) for name, why in sorted(whys) if why in WITHHELD]
        n = len({str(row["image_id"]) for row in self.rows if row["shown"] == "unlike"})
        return [*of_lesions, *([Reason("masks-unlike", n=n)] if n else [])]

    def _note_empty(self, lesion: Lesion, regions: Mapping[str, np.ndarray]) -> None:
        for method in (name for name in DRAWN_BY if name in regions):
            self.empty.setdefault(lesion.name, {}).setdefault(method, []).append(not regions[method].any())

    def _are_of(self, lesion: Lesion, cohort: Cohort) -> bool:
        """Return whether masks may be of a lesion; not so, and noted, where most images without it are marked too."""
        n, n_masks = marked_elsewhere(cohort, lesion)
        if n <= n_masks / 2:
            return True
        self.unrelated[lesion.name] = Reason("masks-of-another-thing", target=lesion.name, n=n, all=n_masks)
        return False

    def _below_mean_mask(self) -> list[Reason]:
        """Return a caution where the written masks have a lower mean Dice than one region for every case."""
        means = {
            name: np.nanmean([score.measures["dice"] for score in self.scores if score.method == name])
            for name in (self.method, mask_scores.MEAN_MASK)
            if are_scored([score for score in self.scores if score.method == name])
        }
        if len(means) < 2 or means[self.method] > means[mask_scores.MEAN_MASK]:
            return []
        return [
            Reason(
                "masks-not-usable", dice=f"{means[self.method]:.2f}", mean_mask=f"{means[mask_scores.MEAN_MASK]:.2f}"
            )
        ]

    def _write_mask(
        self, case: LesionCase, lesion: Lesion, region: np.ndarray, confidence: float | None
    ) -> dict[str, Json]:
        """Write the mask of one case; return its row of the index."""
        name = f"masks/{self.names.name(f'{file_name(case.item.image_id)}.{lesion.name}')}"
        if isinstance(case.placement, VolumePlacement):
            name += ".nii.gz"
            write_nifti(self.folder / name, region[np.newaxis].astype(np.uint8), case.placement.affine)
        else:
            name += ".png"
            write_binary(self.folder / name, region)
        n_pixels = int(np.count_nonzero(region))
        size = mask_scores.extent(n_pixels, case.spacing)
        return {
            "image_id": case.item.image_id, "path": case.item.path, "target": lesion.name,
            "probability": case.probability, "mask": name, "area": UNKNOWN if size is None else size,
            "n_pixels": n_pixels, "predicted": case.predicted, "method": self.method,
            "confidence": "" if confidence is None else round(confidence, 4), **self._measure(case, lesion, region),
            "shown": case.why or SHOWN,
        }  # fmt: skip

    def _measure(self, case: LesionCase, lesion: Lesion, region: np.ndarray) -> dict[str, Json]:
        """Note every lesion of a mask; return how many there are, and what the largest measures."""
        found = measure_lesions(region, case.spacing, case.affine)
        for k, one in enumerate(found, start=1):
            self.lesions.append({"image_id": case.item.image_id, "target": lesion.name, "lesion": k, **one.cells()})
        return in_short(found, region, case.spacing)

    def _scores(self) -> dict[str, Json]:
        return {
            **summary_of(self.scores, self.method, self.sources),
            "drawn_by": self.method,
            "chosen_by_labels": self._evidence(),
            "selective": self._selective(),
            "seeds": [
                {"method": method, "target": target, **asdict(thresholds)}
                for (target, _), drawer in self.drawers.items()
                for method, thresholds in drawer.thresholds.items()
            ],
            "masks_used_for_tuning": sum(
                max(thresholds.n_masks for thresholds in drawer.thresholds.values()) for drawer in self.drawers.values()
            ),
        }

    def _evidence(self) -> dict[str, Json]:
        """Return by method the mean AUROC on the tuning sets of how much of a lesion it finds, by image labels."""
        known = [one.evidence for one in self.drawers.values() if one.evidence]
        means = {name: np.mean([one[name] for one in known]) for name in (known[0] if known else ())}
        return {name: float(value) if np.isfinite(value) else None for name, value in means.items()}

    def _selective(self) -> list[Json]:
        """Return the mean Dice of the written masks at each coverage: the most confident, and a missed lesion last."""
        confidence = {(row["image_id"], row["target"]): row["confidence"] for row in self.rows}
        own = [score for score in self.scores if score.method == self.method and np.isfinite(score.measures["dice"])]
        pairs = [(number(confidence[score.image_id, score.target]) or 0.0, score.measures["dice"]) for score in own]
        return mask_scores.selective_dice(*np.array(pairs).T)

    def _write_examples(self, lesions: Sequence[Lesion]) -> None:
        rows = [row for row in self.rows if row["shown"] == SHOWN]
        masks = {(str(row["image_id"]), str(row["target"])): str(row["mask"]) for row in rows}
        own = [s for s in self.scores if s.method == self.method and (s.image_id, s.target) in masks]
        examples = by_dice(own) or by_size(rows)
        if examples:
            write_examples(self.folder, examples, masks, self.sources, lesions)
