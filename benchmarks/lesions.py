"""Masks that image labels choose, without the U-Nets: Dice by method, with false negatives and without.

    python benchmarks/lesions.py RUN [--labels OTHER.csv [--images DIR] [--mask COL] [--n 400]] [--folds 0 1 ...]

RUN has folds; each draws its own test part, or, with --labels, the first of them draws other images with masks. The
weights of the vote are learnt from the labels of each fold's train and tuning part, as `focusmap segment` learns them;
no mask chooses anything. Prints means over images with a lesion, intervals by patient, what was learnt, and seconds.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from focusmap.basics import silent
from focusmap.evaluation import MaskScore, measure_mask, paired_differences, summarise_masks
from focusmap.images import to_source
from focusmap.models import load_run_net
from focusmap.segmentation import Job, Member, lesions_of
from focusmap.segmentation.cases import LesionCase, read_cases, see, true_mask
from focusmap.segmentation.drawing import _mean_mask, _most_contrasting, _raw, _thresholds
from focusmap.segmentation.lesions import Lesion
from focusmap.segmentation.voted import gate_of
from focusmap.segmentation.votes import Candidates, Vote, choose, learn_vote, seen_in
from focusmap.study import Declaration, Recipe, Samples, SegmentationRecipe, open_run, parts_of, read_other


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
    asked = parser.parse_args()
    torch.set_num_threads(1)
    scores: list[MaskScore] = []
    for member in members(asked):
        lesion = lesions_of(member.view.card.task, asked.target)[0]
        started = time.process_time()
        drawn = list(draw(member, lesion, asked.cases))
        scores += drawn
        print(f"{len(member.cohort)} images, {time.process_time() - started:.0f} s with learning", flush=True)
        show(scores)


def members(asked: argparse.Namespace) -> Iterator[Member]:
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
        yield Member(part.run, view, part.train, part.tune, rows)


@cache
def looked_up() -> dict[tuple[str, tuple[int, ...]], Candidates]:
    """Regions of images that several folds see, prepared alike."""
    return {}


def candidates(case: LesionCase) -> Candidates:
    """Return the regions of a case; those of an image are found once, the map's part is the case's own."""
    key = (case.item.image_id, case.image.shape)
    if key not in looked_up():
        looked_up()[key] = case.candidates()
    found = looked_up()[key]
    return replace(
        found, **dict(zip(("evidence", "overlap"), seen_in(found.regions, case.against[case.content]), strict=True))
    )


def draw(member: Member, lesion: Lesion, n_cases: int) -> Iterator[MaskScore]:
    job = Job(Recipe(segmentation=SegmentationRecipe(max_cases=n_cases)), False, torch.device("cpu"), silent)
    train, tune = (see(member.view, cohort, lesion, job) for cohort in (member.train, member.tune))
    of_train, of_tune = ([candidates(case) for case in seen.cases] for seen in (train, tune))
    vote = learn_vote(of_train, train.known, of_tune, tune.known)
    gate = gate_of(tune)
    print(vote, f"gate {gate:.3f}", flush=True)
    thresholds = _thresholds(member, train, tune, lesion, job)
    masks = [mask for i in range(len(train.cases)) if (mask := train.mask(i, lesion)) is not None and mask.any()]
    mean = _mean_mask(masks) if masks else None
    votes = {
        "vote": vote,
        "regions": replace(vote, map_power=0.0),
        "vote p=1": replace(vote, map_power=1.0),
        "vote by default": Vote(vote.polarity, map_unit=vote.map_unit),
    }
    for case in read_cases(member.view, Samples.from_files(member.cohort), lesion):
        truth = true_mask(member.cohort, case.item.image_id, lesion, case.placement.source_shape)
        if truth is None or not truth.any():
            continue
        own = candidates(case).of(vote.polarity)
        chosen = {name: choose(one, own) for name, one in votes.items()}
        soft = {name: case.placed(one.region) for name, one in chosen.items()}
        soft |= {**_raw(case, {"cam": thresholds["cam"]}), "picture_only": _most_contrasting(case)}
        if mean is not None:
            soft["mean_mask"] = mean(case)
        patient = str(member.cohort.patient_ids[member.cohort.positions[case.item.image_id]])
        for name, region in soft.items():
            mask = to_source(region, case.placement) >= 1 / 2
            score = MaskScore(case.item.image_id, patient, lesion.name, name, *measure_mask(mask, truth, None))
            yield score
            if not case.predicted and case.probability < gate:
                none = np.zeros_like(mask)
                score = replace(score, measures=measure_mask(none, truth, None)[0])
            confidence = chosen["vote"].confidence if name == "vote" else np.nan
            measures = {**score.measures, "confidence": confidence}
            yield replace(score, method=f"{name} *", measures=measures)


def show(scores: list[MaskScore]) -> None:
    """Print the mean Dice of each method with its interval; with a star where nothing is drawn below the gate."""
    plain = [score for score in scores if not score.method.endswith("*")]
    for name, found in summarise_masks(plain).items():
        dice = found["dice"]
        gated = [score.measures["dice"] for score in scores if score.method == f"{name} *"]
        print(
            f"  {name:16} {dice['value']:.3f} ({dice['low']:.3f} to {dice['high']:.3f}), n {len(gated)}, "
            f"median {np.median([s.measures['dice'] for s in plain if s.method == name]):.3f}, "
            f"false negatives as 0: {np.mean(gated):.3f}"
        )
    for worse in ("mean_mask", "picture_only", "regions", "cam"):
        found = paired_differences(plain, "vote", worse)
        if found:
            values = np.array([row["value"] for row in found["by_patient"]])
            drawn = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
            low, high = np.quantile(drawn, [0.025, 0.975])
            print(f"  vote - {worse}: {found['mean']:+.3f} ({low:+.3f} to {high:+.3f})")
    pairs = [(s.measures["confidence"], s.measures["dice"]) for s in scores if s.method == "vote *"]
    ranked = np.array([dice for _, dice in sorted(pairs, key=lambda pair: -pair[0])])
    print(
        "  by confidence:",
        *(f"{share:.0%} {ranked[: max(round(share * len(ranked)), 1)].mean():.3f}" for share in (1, 0.75, 0.5, 0.25)),
    )


if __name__ == "__main__":
    main()
