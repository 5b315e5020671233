"""Masks drawn and written: every lesion by every member, what they score, and what to beware of."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from focusmap.basics import Json, Reason, note_entries, number, write_failures, write_json, write_table
from focusmap.evaluation import SHOWN
from focusmap.evaluation.localisation import mask_scores
from focusmap.fitting import few_epochs
from focusmap.segmentation.cases import Job, Member, read_cases
from focusmap.segmentation.cautions import Cautions
from focusmap.segmentation.drawing import AUTO, Drawer, best_by_labels, drawn_regions, learn_to_draw
from focusmap.segmentation.examples import by_dice, by_size, write_examples
from focusmap.segmentation.lesions import Lesion
from focusmap.segmentation.mask_files import MaskFiles
from focusmap.segmentation.scoring import are_scored, scores_of, summary_of
from focusmap.study import Cohort, Failure, Samples

CAUTIONS = "cautions.json"


@dataclass
class DrawnMasks:
    """The masks drawn so far by all methods; those of one method are written to files, all are scored.

    Parameters
    ----------
    drawers
        What draws, by lesion and place of the member.
    scores
        Of cases whose true masks are known, of all methods.
    failures
        Images that cannot be read, and why.
    sources
        image_id to the cohort that it is of.
    """

    files: MaskFiles
    method: str
    noted: Cautions = field(default_factory=Cautions)
    drawers: dict[tuple[str, int], Drawer] = field(default_factory=dict)
    scores: list[mask_scores.MaskScore] = field(default_factory=list)
    failures: dict[Path, Failure] = field(default_factory=dict)
    sources: dict[str, Cohort] = field(default_factory=dict)

    def draw(self, members: Sequence[Member], lesions: Sequence[Lesion], job: Job) -> None:
        """Learn, choose the method if none is named, then draw, write and score all masks of all lesions."""
        self.noted.n_epochs = min((n for member in members if (n := few_epochs(member.run))), default=None)
        pairs = [(lesion, k, member) for lesion in lesions for k, member in enumerate(members)]
        for lesion, k, member in pairs:
            self.drawers[lesion.name, k] = learn_to_draw(self.method, member, lesion, job)
        if self.method == AUTO:
            self.method = best_by_labels(list(self.drawers.values()))
        for lesion, k, member in pairs:
            self._draw(self.drawers[lesion.name, k], member, lesion, job)

    def _draw(self, drawer: Drawer, member: Member, lesion: Lesion, job: Job) -> None:
        samples = Samples.from_files(member.cohort)
        is_scored = member.cohort.has_masks and self.noted.are_of(lesion, member.cohort)
        for done, case in enumerate(read_cases(member.view, samples, lesion, job.showing), start=1):
            regions, confidences = drawn_regions(case, drawer)
            self.files.add(case, lesion, regions[self.method], self.method, confidences.get(self.method))
            if case.predicted:
                self.noted.note_empty(lesion, regions)
            if is_scored:
                self.scores.extend(scores_of(case, lesion, regions, member.cohort))
            job.progress(f"drawing {lesion.name}", done, len(member.cohort))
        self.sources.update(dict.fromkeys(member.cohort.image_ids, member.cohort))
        self.failures.update({failure.file: failure for failure in samples.failures})

    def write(self, lesions: Sequence[Lesion]) -> dict[str, Json] | None:
        """Write index, failures, scores, examples and cautions; return the scores, None where no true mask is known."""
        folder = self.files.folder
        self.files.write_tables()
        if self.failures:
            write_failures([failure.row for failure in self.failures.values()], folder / "failures.csv")
        scores = self._scores() if are_scored(self.scores) else None
        if scores is not None:
            write_json(folder / "scores.json", scores)
            write_table(folder / "scores.csv", mask_scores.score_table(self.scores))
        self._write_examples(lesions)
        if cautions := self.cautions():
            write_json(folder / CAUTIONS, note_entries("cautions", cautions))
        return scores

    def cautions(self) -> tuple[Reason, ...]:
        """Return what to beware of: few epochs, masks below the mean mask, masks mostly empty, or of something else."""
        return self.noted.reasons(self.method, self.files.rows, self.scores)

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
        confidence = {(row["image_id"], row["target"]): row["confidence"] for row in self.files.rows}
        own = [score for score in self.scores if score.method == self.method and np.isfinite(score.measures["dice"])]
        pairs = [(number(confidence[score.image_id, score.target]) or 0.0, score.measures["dice"]) for score in own]
        return mask_scores.selective_dice(*np.array(pairs).T)

    def _write_examples(self, lesions: Sequence[Lesion]) -> None:
        rows = [row for row in self.files.rows if row["shown"] == SHOWN]
        masks = {(str(row["image_id"]), str(row["target"])): str(row["mask"]) for row in rows}
        own = [s for s in self.scores if s.method == self.method and (s.image_id, s.target) in masks]
        examples = by_dice(own) or by_size(rows)
        if examples:
            write_examples(self.files.folder, examples, masks, self.sources, lesions)
