"""Masks drawn and written: every lesion by every member, the index, the scores, examples, and what to beware of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from focusmap.basics import Json, Reason, note_entries, number, text, write_failures, write_json, write_table
from focusmap.evaluation import SHOWN
from focusmap.evaluation.localisation import mask_scores
from focusmap.figures import DrawnCase, draw_cases
from focusmap.fitting import few_epochs
from focusmap.heatmaps import MapNames, file_name, write_binary
from focusmap.images import VolumePlacement, read_image, read_mask, write_nifti
from focusmap.segmentation.cases import Job, LesionCase, Member, marked_elsewhere, read_cases, true_mask
from focusmap.segmentation.drawing import AUTO, DRAWN_BY, Drawer, best_by_labels, drawn_regions, learn_to_draw
from focusmap.segmentation.lesions import Lesion
from focusmap.segmentation.measuring import CELLS, IN_SHORT, UNKNOWN, in_short, measure_lesions
from focusmap.study import Cohort, Failure, Samples

COMPARED = (("refined", "cam"), ("distilled", "cam"), ("vote", "cam"), ("vote", "regions"), ("vote", "picture_only"))
ABSENT = {
    **{name: Reason("not-asked") for name in ("regions", "vote", "refined")},
    "acam": Reason("no-axis-attention"),
    "supervised": Reason("no-train-mask"),
    "mean_mask": Reason("no-train-mask"),
}
WITHHELD = {"not-better": "masks-not-better", "unjudged": "masks-unjudged", "broken": "masks-broken"}
"""What is said of a lesion of which no mask may be shown, by the reason of `focusmap.evaluation.showing`."""


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


EXAMPLES = "examples.png"
Ranked = TypeVar("Ranked")


@dataclass(frozen=True)
class Example:
    """A mask to be shown, and what is to be said of it."""

    image_id: str
    target: str
    said: str


def by_dice(scores: Sequence[mask_scores.MaskScore]) -> list[Example]:
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
    thresholds
        What was chosen, by lesion, map and member.
    failures
        Images that cannot be read, and why.
    sources
        image_id to the cohort that it is of.
    n_masks
        Masks of tune that were looked at.
    empty
        Of each lesion and method, whether each mask is empty of a case in which the model finds the lesion.
    unrelated
        Of lesions whose true masks mark something else.
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
    thresholds: dict[str, Json] = field(default_factory=dict)
    failures: dict[Path, Failure] = field(default_factory=dict)
    sources: dict[str, Cohort] = field(default_factory=dict)
    n_masks: int = 0
    empty: dict[str, dict[str, list[bool]]] = field(default_factory=dict)
    unrelated: list[Reason] = field(default_factory=list)
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
        self._note_thresholds(drawer, lesion)
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
        found = [*self._withheld(), *self._below_mean_mask(), *self.unrelated]
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

    def _note_thresholds(self, drawer: Drawer, lesion: Lesion) -> None:
        for method, thresholds in drawer.thresholds.items():
            chosen: Json = {
                "method": method, "target": lesion.name,
                "background": thresholds.background, "foreground": thresholds.foreground,
                "n_cases": thresholds.n_cases, "n_masks": thresholds.n_masks,
            }  # fmt: skip
            self.thresholds[f"{lesion.name} {method} {len(self.thresholds)}"] = chosen
        self.n_masks += max(thresholds.n_masks for thresholds in drawer.thresholds.values())

    def _note_empty(self, lesion: Lesion, regions: Mapping[str, np.ndarray]) -> None:
        for method in (name for name in DRAWN_BY if name in regions):
            self.empty.setdefault(lesion.name, {}).setdefault(method, []).append(not regions[method].any())

    def _are_of(self, lesion: Lesion, cohort: Cohort) -> bool:
        """Return whether masks may be of a lesion; not so, and noted, where most images without it are marked too."""
        n, n_masks = marked_elsewhere(cohort, lesion)
        if n <= n_masks / 2:
            return True
        self.unrelated = [Reason("masks-of-another-thing", target=lesion.name, n=n, all=n_masks)]
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
            "seeds": list(self.thresholds.values()),
            "masks_used_for_tuning": self.n_masks,
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
