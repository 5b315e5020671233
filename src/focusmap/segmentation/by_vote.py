"""The method by vote: regions that images propose are voted on, and those chosen teach a U-Net; and its file."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from focusmap.basics import InputError, Json, MissingFileError
from focusmap.evaluation.localisation.mask_scores import Overlap
from focusmap.heatmaps import file_name
from focusmap.segmentation import cases, learning, learnt_files, lesions, seeds, small_nets, votes, weighing
from focusmap.study import Run, Task
from focusmap.training import Checkpoint, read_facts

REGIONS, VOTE, DISTILLED = "regions", "vote", "distilled"
# A chosen region on which the vote agrees less teaches nothing.
LEAST_CONFIDENCE = 0.5
# Of the lesions of the tuning set, how many are drawn; and how many there have to be to tell the gate by.
DRAWN_SHARE, FEWEST_LESIONS = 0.95, 20
NO_GATE = 2.0
# At which a U-Net's probability may become a mask; the first where there are too few lesions to tell by.
THRESHOLDS = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05)
# Of a U-Net's answers, the highest share: whether it sees a lesion anywhere.
HIGHEST_SHARE = 0.01


@dataclass(frozen=True)
class Segmenter:
    """What draws the masks of a lesion: how its candidate regions are weighed, and the U-Net that they taught.

    Parameters
    ----------
    vote
        How regions are weighed.
    distilled
        A U-Net taught by the chosen regions; cases without a lesion taught it to draw none. Its probability of 1/2 is
        where its masks of the tuning set agree with the regions chosen there.
    thresholds
        Of each kind of map, those at which it becomes a mask of its own.
    gate
        As `gate_of` has it.
    evidence, errors
        Of each method, the AUROC on the tuning set of how much of a lesion it finds in an image, and its standard
        error; no mask is needed for it. NaN where the tuning set has one class alone.
    """

    vote: votes.Vote
    distilled: small_nets.UNet
    thresholds: Mapping[str, seeds.SeedThresholds]
    gate: float
    evidence: Mapping[str, float]
    errors: Mapping[str, float]

    def draw(self, case: cases.LesionCase) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """Return regions ``(*spatial)``, a lesion from 1/2 on, and confidences between 0 and 1, by method."""
        candidates = case.candidates(self.vote.polarity)
        plain, voted = (votes.choose(vote, candidates) for vote in (replace(self.vote, map_power=0.0), self.vote))
        answer = small_nets.predict_masks(self.distilled, case.image[None])[0]
        found = {REGIONS: case.placed(plain.region), VOTE: case.placed(voted.region), DISTILLED: answer}
        agreed = _agreement(answer >= 1 / 2, found[VOTE] >= 1 / 2)
        return found, {REGIONS: plain.confidence, VOTE: voted.confidence, DISTILLED: agreed}


def _agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Dice of two regions; 0 of two empty ones."""
    return 2 * float((first & second).sum()) / max(float(first.sum() + second.sum()), 1.0)


def learn_segmenter(
    train: cases.LabelledCases,
    tune: cases.LabelledCases,
    thresholds: Mapping[str, seeds.SeedThresholds],
    lesion: lesions.Lesion,
    job: cases.Job,
) -> Segmenter:
    """Return what draws masks, learnt from cases of train and tune by their image-level labels alone."""
    of_train, of_tune = (_candidates(labelled, f"{lesion.name}: regions", job) for labelled in (train, tune))
    vote = weighing.learn_vote(of_train, train.known, of_tune, tune.known)
    distilled = distil(train, of_train, vote, lesion, job)
    answers = [small_nets.predict_masks(distilled, case.image[None])[0] for case in tune.cases]
    area, error = weighing.area_and_error(np.array([_highest(answer) for answer in answers]), tune.known)
    small_nets.move_threshold(distilled, threshold_of(answers, tune, of_tune, vote))
    evidence, errors = {VOTE: vote.evidence, DISTILLED: area}, {VOTE: vote.error, DISTILLED: error}
    return Segmenter(vote, distilled, thresholds, gate_of(tune), evidence, errors)


def gate_of(tune: cases.LabelledCases) -> float:
    """Return the probability from which on a mask is drawn: `DRAWN_SHARE` of the tuning set's lesions are above it.

    A classifier's threshold weighs missed lesions against false alarms; a mask that is missed is lost, and one too many
    has its confidence beside it. With few lesions to tell it by, masks are drawn where the model finds a lesion alone.
    """
    of_lesions = [case.probability for case in tune.of(1)]
    return float(np.quantile(of_lesions, 1 - DRAWN_SHARE)) if len(of_lesions) >= FEWEST_LESIONS else NO_GATE


def threshold_of(
    answers: Sequence[np.ndarray], tune: cases.LabelledCases, candidates: Sequence[votes.Candidates], vote: votes.Vote
) -> float:
    """Return the threshold at which a U-Net's answers to the tuning set agree most with what the vote chooses there.

    The agreement is the Dice of all images of a patient taken together, on average over patients. A U-Net taught by
    regions that are not all right is seldom sure of them, and at 1/2 draws too little.
    """
    regions = _regions(tune, candidates, vote)
    if sum(region.any() for region in regions.values()) < FEWEST_LESIONS:
        return THRESHOLDS[0]

    def agreement(threshold: float) -> float:
        overlaps: dict[str, Overlap] = {}
        for i, region in regions.items():
            overlap, patient = Overlap.of(answers[i] >= threshold, region), str(tune.cohort.patient_ids[i])
            overlaps[patient] = overlaps[patient] + overlap if patient in overlaps else overlap
        return float(np.nanmean([overlap.dice for overlap in overlaps.values()]))

    return max(THRESHOLDS, key=agreement)


def _regions(
    tune: cases.LabelledCases, candidates: Sequence[votes.Candidates], vote: votes.Vote
) -> dict[int, np.ndarray]:
    """Return by its number what is to be drawn of a case: a region that is sure enough, none where there is no lesion.

    Cases without a lesion of which nothing is drawn anyway are left out.
    """
    regions, gate = {}, gate_of(tune)
    for i, (case, known) in enumerate(zip(tune.cases, tune.known, strict=True)):
        if known == 1:
            choice = votes.choose(vote, candidates[i].of(vote.polarity))
            if choice.confidence >= LEAST_CONFIDENCE:
                regions[i] = case.placed(choice.region) >= 1 / 2
        elif known == 0 and (case.predicted or case.probability >= gate):
            regions[i] = np.zeros(case.image.shape[1:], dtype=bool)
    return regions


def _candidates(labelled: cases.LabelledCases, doing: str, job: cases.Job) -> list[votes.Candidates]:
    found = []
    for done, case in enumerate(labelled.cases, start=1):
        found.append(case.candidates())
        job.progress(doing, done, len(labelled.cases))
    return found


def distil(
    train: cases.LabelledCases,
    candidates: Sequence[votes.Candidates],
    vote: votes.Vote,
    lesion: lesions.Lesion,
    job: cases.Job,
) -> small_nets.UNet:
    """Return a U-Net taught by the chosen regions, those that the vote agrees on the most often."""
    images = np.stack([case.image for case in train.cases])
    marked = np.full((len(images), *images.shape[2:]), -1, np.int8)
    weights = np.ones(len(images))
    marked[train.known == 0] = 0
    for i in (int(k) for k in np.flatnonzero(train.known == 1)):
        choice = votes.choose(vote, candidates[i].of(vote.polarity))
        weights[i] = choice.confidence if choice.confidence >= LEAST_CONFIDENCE else 0.0
        if weights[i]:
            marked[i] = train.cases[i].placed(choice.region) >= 1 / 2
    chosen = learning.MarkedImages(images, marked, weights)
    return learning.learn_masks(chosen, job.learning(f"{lesion.name}: distilling"))


def _highest(answer: np.ndarray) -> float:
    n = max(round(HIGHEST_SHARE * answer.size), 1)
    return float(np.partition(answer.ravel(), -n)[-n:].mean())


def learnt_file(run: Run, lesion: str) -> Path:
    """Return the file of a run that holds the `Segmenter` of a lesion."""
    return run.segmenters / f"{file_name(lesion)}.vote.safetensors"


def lesions_to_draw(
    run: Run, task: Task, wanted: Sequence[str] = (), negatives: Sequence[str] = ()
) -> tuple[lesions.Lesion, ...]:
    """Return what is drawn, as `lesions_of`; without `negatives`, those named when the run, or a fold, learnt to draw.

    Raises
    ------
    InputError
        As `lesions_of`.
    """
    named = lesions.lesions_of(task, wanted, negatives)
    return named if negatives else tuple(_as_learnt(run, lesion, task) for lesion in named)


def _as_learnt(run: Run, lesion: lesions.Lesion, task: Task) -> lesions.Lesion:
    for one in (run, *run.parts()):
        # A damaged file is named where masks are drawn with it.
        with suppress(MissingFileError, InputError):
            made_for = cast(dict[str, Json], read_facts(learnt_file(one, lesion.name))["made_for"])
            if made_for["version"] == cases.LEARNING_VERSION:
                none = tuple(cast(list[str], made_for["negatives"]))
                labels = tuple(name for name in task.target(lesion.target).label_names if name not in none)
                return replace(lesion, labels=labels, negatives=none, is_either_class=bool(made_for["either"]))
    return lesion


def save_segmenter(segmenter: Segmenter, made_for: Mapping[str, Json], path: Path) -> None:
    """Write what was learnt, and for what; as `focusmap.segmentation.learnt_files.write_learnt`."""
    facts: dict[str, Json] = {
        "channels": segmenter.distilled.channels,
        "dimensions": segmenter.distilled.dimensions,
        "is_pretrained": segmenter.distilled.is_pretrained,
        "vote": segmenter.vote.to_dict(),
        "cuts": learnt_files.cuts_of(segmenter.thresholds),
        "gate": segmenter.gate,
        "evidence": _defined(segmenter.evidence),
        "errors": _defined(segmenter.errors),
    }
    learnt_files.write_learnt(made_for, facts, segmenter.distilled.state_dict(), path)


def _defined(values: Mapping[str, float]) -> dict[str, Json]:
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def load_segmenter(path: Path, made_for: Mapping[str, Json], job: cases.Job) -> Segmenter | None:
    """Return what was learnt; as `focusmap.segmentation.learnt_files.read_learnt`."""

    def build(saved: Checkpoint) -> Segmenter:
        channels, dimensions = (cast(int, saved.facts[name]) for name in ("channels", "dimensions"))
        net = small_nets.UNet(channels, 1, dimensions, is_pretrained=bool(saved.facts["is_pretrained"]))
        net.load_state_dict(dict(saved.tensors))
        vote = votes.Vote.from_dict(cast(dict[str, Json], saved.facts["vote"]))
        evidence, errors = (_numbers(saved.facts[name]) for name in ("evidence", "errors"))
        gate = cast(float, saved.facts["gate"])
        return Segmenter(vote, net.to(job.device).eval(), learnt_files.thresholds_of(saved), gate, evidence, errors)

    return learnt_files.read_learnt(path, made_for, build)


def _numbers(saved: Json) -> dict[str, float]:
    values = cast(Mapping[str, float | None], saved)
    return {name: np.nan if value is None else value for name, value in values.items()}
