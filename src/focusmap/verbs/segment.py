"""Segment: masks of lesions, drawn from image-level labels alone, and their scores where true masks exist."""

from dataclasses import dataclass
from pathlib import Path

import torch

from focusmap.basics import InputError, Json, Reason, is_table, refuse_unwritable
from focusmap.models import load_run_net, showing_of
from focusmap.segmentation import MASKS, DrawnMasks, Job, MaskFiles, Member, lesions_to_draw, refuse_autoencoder
from focusmap.study import Cohort, Run, RunOptions, open_run, read_images, read_recipe, read_study
from focusmap.study.external import read_other, refuse_known_patients
from focusmap.study.split import Parts, first_parts_of, parts_of
from focusmap.training import choose_devices
from focusmap.verbs.requests import SegmentRequest, results_folder


@dataclass(frozen=True)
class SegmentResult:
    """Where the masks lie, what counts as a lesion, the scores where true masks exist, what failed, and a caution."""

    folder: Path
    lesions: tuple[str, ...]
    scores: dict[str, Json] | None
    failures: tuple[tuple[Path, str], ...]
    cautions: tuple[Reason, ...] = ()


def segment(folder: Path, request: SegmentRequest, options: RunOptions = RunOptions()) -> SegmentResult:
    """Write masks, ``index.csv`` and, where true masks exist, ``scores.json``; return what was done.

    Masks are written as a whole or not at all; other files of the folder stay.

    Raises
    ------
    InputError
        If a target or class is unknown or has no lesion, the run has no test split, a true mask does not have the shape
        of its image, or `out` holds masks already and `options.force` is not given.
    RefusedError
        If other images have true masks and patients of the run's own study.
    """
    run = open_run(folder)
    if options.engine == "ray":
        raise InputError("engine 'ray' answers a whole table: call focusmap.segment_table.")
    out = results_folder(request, run.segmentation, MASKS, force=options.force)
    members = _members(run, request, options)
    view = members[0].view
    refuse_autoencoder(view, folder)
    lesions = lesions_to_draw(run, view.card.task, request.targets, request.negatives)
    device = torch.device(choose_devices(options.devices).accelerator)
    recipe = read_recipe(run.recipe).with_segmentation_of(options.recipe)
    if not run.segmenters.is_dir():
        # What is learnt in minutes is kept there.
        refuse_unwritable(run.segmenters)
    job = Job(recipe, request.tune_on_masks, device, options.progress, showing_of(folder))
    with MASKS.filling(out) as place:
        drawn = DrawnMasks(MaskFiles(place), request.method)
        drawn.draw(members, lesions, job)
        scores = drawn.write(lesions)
    words = tuple(lesion.in_words(view.card.task) for lesion in lesions)
    failures = tuple((file, failure.reason) for file, failure in drawn.failures.items())
    return SegmentResult(out, words, scores, failures, drawn.cautions())


def _members(run: Run, request: SegmentRequest, options: RunOptions) -> list[Member]:
    """Return the models of a run that draw: each fold's of its own test part, the run's own of other images."""
    if not request.inputs:
        return [_member(part, part.test, options) for part in parts_of(run, request.declaration.images)]
    return [_member(first_parts_of(run), _others(run, request, options), options)]


def _member(parts: Parts, rows: Cohort, options: RunOptions) -> Member:
    view = load_run_net(parts.run.folder, options.devices).explainable()
    return Member(parts.run, view, parts.train, parts.tune, rows)


def _others(run: Run, request: SegmentRequest, options: RunOptions) -> Cohort:
    """Return the rows of images, folders or a label file that are not the run's own."""
    if not is_table(request.inputs[0]):
        task = read_study(run.study).task
        return read_images(run.folder, task, request.inputs, request.declaration).rows
    rows = read_other(run, request.inputs[0], request.declaration)
    if rows.has_masks:
        # Masks may be drawn of any image; their score on images that the model was trained on would mean nothing.
        refuse_known_patients(run, rows, options)
    return rows
