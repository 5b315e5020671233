"""Dice of masks learnt from image labels alone, by method: with and without missed lesions, per image or per stack.

    python benchmarks/lesions.py RUN [--labels OTHER.csv [--images DIR] [--mask COL] [--n 400]] [--folds 0 1 ...]
                                 [--negative CLASS] [--stacks] [--nets] [--keep DIR]

RUN has folds: the model of each draws masks in its own test part or, with --labels, that of the first fold in other
images with masks. How candidate regions are weighed is learnt from the image labels of each fold's train and tuning
part, as `focusmap segment` does it; true masks are used for scores alone. Prints means over images with a lesion,
intervals by patient, what was learnt, and seconds. --stacks pools all images of a patient; --nets adds a U-Net trained
on the chosen regions and one trained on true masks; --keep saves images and heat maps in a folder, so that another
choice among regions can be tried without running the model again.
"""

import argparse
import copy
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from focusmap.basics import silent
from focusmap.evaluation import MaskScore, Showing, paired_differences, pool_by_case, summarise_masks
from focusmap.evaluation.localisation.mask_scores import Overlap
from focusmap.images import to_source
from focusmap.models import load_run_net
from focusmap.segmentation import Job, Member, by_vote, learning, lesions_of, small_nets
from focusmap.segmentation.cases import CAM, LabelledCases, LesionCase, read_cases, read_labelled, true_mask
from focusmap.segmentation.drawing import choose_thresholds, mean_mask_drawer, thresholded_maps
from focusmap.segmentation.lesions import Lesion
from focusmap.segmentation.votes import Candidates, Vote, choose
from focusmap.segmentation.weighing import learn_vote
from focusmap.study import Declaration, Recipe, Samples, SegmentationRecipe, open_run, parts_of, read_other

Soft = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--mask", default=None)
    parser.add_argument("--n", type=int, default=0)
    parser.add_argument("--folds", type=int, nargs="*")
    parser.add_argument("--cases", type=int, default=400, help="of train, and of tune, that weights are learnt from")
    parser.add_argument("--target", nargs="*", default=[])
    parser.add_argument("--negative", nargs="*", default=[], help="as `focusmap segment`; none: all have a lesion")
    parser.add_argument("--stacks", action="store_true")
    parser.add_argument("--nets", action="store_true")
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    scores: list[MaskScore] = []
    for k, member in members(asked):
        lesion = lesions_of(member.view.card.task, asked.target, asked.negative)[0]
        started = time.process_time()
        drawn = list(draw(member, lesion, asked, k))
        scores += drawn
        print(f"fold {k}: {len(member.cohort)} images, {time.process_time() - started:.0f} s with learning", flush=True)
        show(scores)
        if asked.stacks:
            gated = [score for score in scores if score.method.endswith("*")]
            print("whole stacks, nothing drawn below the gate")
            show(pool_by_case(gated, {score.image_id: score.patient_id for score in gated}), " *")


def members(asked: argparse.Namespace) -> Iterator[tuple[int, Member]]:
    run = open_run(asked.run)
    parts = parts_of(run)[:1] if asked.labels else parts_of(run)
    for k, part in enumerate(parts):
        if asked.folds and k not in asked.folds:
            continue
        view = load_run_net(part.run.folder, "auto").explainable()
        rows = part.test
        if asked.labels:
            rows = read_other(run, asked.labels, Declaration(images=asked.images, mask=asked.mask))
            if asked.n:
                chosen = np.random.default_rng(0).permutation(len(rows))[: asked.n]
                rows = rows.take(np.sort(chosen))
        yield k, Member(part.run, view, part.train, part.tune, rows)


def cases_of(
    member: Member, lesion: Lesion, job: Job, file: Path | None
) -> tuple[LabelledCases, LabelledCases, list[LesionCase]]:
    """Return the cases of train and tune that are learnt from, and those that are drawn; they are kept in a file."""
    if file is not None and file.is_file():
        found: tuple[LabelledCases, LabelledCases, list[LesionCase]] = pickle.loads(file.read_bytes())
        return found
    train, tune = (read_labelled(member.view, cohort, lesion, job) for cohort in (member.train, member.tune))
    found = (train, tune, list(read_cases(member.view, Samples.from_files(member.cohort), lesion, Showing())))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(found))
    return found


def draw(member: Member, lesion: Lesion, asked: argparse.Namespace, k: int) -> Iterator[MaskScore]:
    job = Job(Recipe(segmentation=SegmentationRecipe(max_cases=asked.cases)), False, torch.device("cpu"), silent)
    train, tune, cases = cases_of(member, lesion, job, asked.keep and asked.keep / f"{asked.run.name}-{k}.pickle")
    of_train, of_tune = ([case.candidates() for case in part.cases] for part in (train, tune))
    vote = learn_vote(of_train, train.known, of_tune, tune.known)
    gate = by_vote.gate_of(tune)
    print(vote, f"gate {gate:.3f}", flush=True)
    thresholds = {CAM: choose_thresholds(member, train, tune, lesion, job)[CAM]}
    true_masks = {i: mask for i in range(len(train.cases)) if (mask := train.mask(i, lesion)) is not None}
    masks = [mask for mask in true_masks.values() if mask.any()]
    mean = mean_mask_drawer(masks) if masks else None
    nets = {}
    if asked.nets:
        nets["distilled"] = by_vote.distil(train, of_train, vote, lesion, job)
        answers = [small_nets.predict_masks(nets["distilled"], case.image[None])[0] for case in tune.cases]
        threshold = by_vote.threshold_of(answers, tune, of_tune, vote)
        print(f"distilled: threshold {threshold}", flush=True)
        nets["distilled, from 1/2"] = copy.deepcopy(nets["distilled"])
        small_nets.move_threshold(nets["distilled"], threshold)
        nets["supervised"] = learning.learn_masks(train.arrays(CAM).marked(true_masks), job.learning(""))
    del of_train, of_tune
    for case in cases:
        truth = true_mask(member.cohort, case.item.image_id, lesion, case.placement.source_shape)
        if truth is None:
            continue
        soft, confidence = regions_of(case, vote)
        soft |= thresholded_maps(case, thresholds) | ({} if mean is None else {"mean_mask": mean(case)})
        soft |= {name: small_nets.predict_masks(net, case.image[None])[0] for name, net in nets.items()}
        patient = str(member.cohort.patient_ids[member.cohort.positions[case.item.image_id]])
        is_drawn = case.predicted or case.probability >= gate
        for name, region in soft.items():
            mask = to_source(region, case.placement) >= 1 / 2
            for method, part in ((name, mask), (f"{name} *", mask & is_drawn)):
                overlap = Overlap.of(part, truth)
                measures = {key: getattr(overlap, key) for key in ("dice", "sensitivity", "specificity")}
                measures["confidence"] = confidence if name == "vote" else np.nan
                yield MaskScore(case.item.image_id, patient, lesion.name, method, measures, overlap)


def regions_of(case: LesionCase, vote: Vote) -> tuple[Soft, float]:
    """Return what each way of weighing chooses among the regions, and how confident the vote is."""
    own = case.candidates(vote.polarity)
    votes = {
        "vote": vote,
        "regions": replace(vote, map_power=0.0),
        "vote, p=4": replace(vote, map_power=4.0),
    }
    chosen = {name: choose(one, own) for name, one in votes.items()}
    soft = {name: case.placed(one.region) for name, one in chosen.items()}
    soft[f"most contrasting {vote.polarity}"] = case.placed(best(own, own.regions.contrast))
    return soft, chosen["vote"].confidence


def best(candidates: Candidates, scores: np.ndarray) -> np.ndarray:
    regions = candidates.regions
    return regions.mask(int(scores.argmax())) if len(regions) else np.zeros(regions.shape, dtype=bool)


def show(scores: Sequence[MaskScore], star: str = "") -> None:
    """Print the mean Dice of each method with its interval; with a star where nothing is drawn below the gate."""
    plain = [score for score in scores if score.method.endswith("*") == bool(star)]
    gated = {name: found for name, found in summarise_masks(scores).items() if name.endswith("*")}
    for name, found in summarise_masks(plain).items():
        dice, shares = found["dice"], [found[key]["value"] for key in ("sensitivity", "specificity")]
        own = [s.measures["dice"] for s in plain if s.method == name]
        print(
            f"  {name:26} {dice['value']:.3f} ({dice['low']:.3f} to {dice['high']:.3f}), "
            f"median {np.nanmedian(own):.3f}, "
            f"n {np.isfinite(own).sum()}, sensitivity {shares[0]:.2f}, specificity {shares[1]:.3f}, "
            + (f"false negatives as 0: {gated[f'{name} *']['dice']['value']:.3f}" if not star else "")
        )
    for worse in dict.fromkeys(score.method for score in plain):
        found = paired_differences(plain, f"vote{star}", worse)
        if found and worse != f"vote{star}":
            values = np.array([row["value"] for row in found["by_patient"]])
            drawn = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
            low, high = np.quantile(drawn, [0.025, 0.975])
            print(f"  vote - {worse}: {found['mean']:+.3f} ({low:+.3f} to {high:+.3f})")
    if not star:
        lesions = [s for s in scores if s.method == "vote *" and np.isfinite(s.measures["dice"])]
        ranked = np.array([s.measures["dice"] for s in sorted(lesions, key=lambda s: -s.measures["confidence"])])
        shares = ((share, ranked[: max(round(share * len(ranked)), 1)].mean()) for share in (1, 0.75, 0.5, 0.25))
        print("  by confidence:", *(f"{share:.0%} {dice:.3f}" for share, dice in shares))


if __name__ == "__main__":
    main()
