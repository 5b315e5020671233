"""Heat maps and masks of a table of any length, drawn on a cluster share by share: files and an index of each share."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from focusmap.basics import InputError, atomic_folder
from focusmap.heatmaps.write import FILES, ExplainOptions, write_methods
from focusmap.models import load_explainable_run, load_run_net, model_fingerprint, model_folder, needs_of, showing_of
from focusmap.scale import Share, Tally, Tool, write_share
from focusmap.segmentation import DrawnMasks, Job, MaskFiles, Member, lesions_to_draw, refuse_autoencoder
from focusmap.study import Failure, ImageColumns, RunOptions, Samples, Task, first_parts_of, local_samples, open_run
from focusmap.study.cohort import load_cohort
from focusmap.study.recipe import read_recipe
from focusmap.study.streamed import Streamed, TableAnswer, files_of, one_table, refuse_more_than_images, stream
from focusmap.verbs.requests import ExplainRequest, SegmentRequest

Draw = Callable[[Samples, Path], Sequence[Failure]]
"""Writes the files of some images and their ``index.csv`` to a folder; returns what cannot be read."""


def explain_table(folder: Path, request: ExplainRequest, options: RunOptions = RunOptions()) -> TableAnswer:
    """Write the heat maps of a table's images: a folder below ``files`` and an index in ``parts`` for each share.

    Maps are those of `focusmap.explain`, without scores, in the colours of the run's own maps; where it has none, each
    share has colours of its own.

    Raises
    ------
    InputError, MissingPartError
        As `focusmap.predict_table`; if a method or a target is unknown, or trust is asked for.
    """
    table, out = one_table(request.inputs, request.out)
    if request.trust is not None:
        raise InputError("--trust is not for --engine ray. Ask for it with the run's own test split.")
    model = load_explainable_run(folder, "cpu")
    refuse_more_than_images(folder, needs_of(model))
    methods = tuple(dict.fromkeys(model.explainable().check(name) for name in request.methods or (None,)))
    for name in request.targets:
        model.task.index(name)
    question = f"{model_fingerprint(model_folder(folder))} maps {methods} {request.targets}"
    streamed = Streamed(table, out, question, request.declaration, options, resume=request.resume)
    return stream(folder, streamed, partial(_explaining, folder.absolute(), out, methods, request.targets))


def segment_table(folder: Path, request: SegmentRequest, options: RunOptions = RunOptions()) -> TableAnswer:
    """Write the masks of a table's images: a folder below ``files`` and an index in ``parts`` for each share.

    Masks are those of `focusmap.segment`, without scores. What draws them is learnt here, once, and kept in the run.

    Raises
    ------
    InputError, MissingPartError
        As `focusmap.predict_table`; if a target or class is unknown or has no lesion, or the model is an autoencoder.
    """
    table, out = one_table(request.inputs, request.out)
    model = load_run_net(folder, "cpu")
    refuse_more_than_images(folder, needs_of(model))
    refuse_autoencoder(model.explainable(), folder)
    run = open_run(folder.absolute())
    lesions = lesions_to_draw(run, model.task, request.targets, request.negatives)
    recipe = read_recipe(run.recipe).with_segmentation_of(options.recipe)
    own = replace(request, inputs=(), out=None)
    fingerprint = model_fingerprint(model_folder(folder))
    question = f"{fingerprint} masks {lesions} {own.method} {recipe.segmentation}"
    streamed = Streamed(table, out, question, request.declaration, options, resume=request.resume)
    with TemporaryDirectory() as nowhere:
        none = Samples.from_files(load_cohort(run.folder).take([]))
        _masks(run.folder, own, replace(options, recipe=recipe))(none, Path(nowhere))
    return stream(folder, streamed, partial(_segmenting, run.folder, out, own, replace(RunOptions(), recipe=recipe)))


def _explaining(
    folder: Path, out: Path, methods: Sequence[str], targets: tuple[str, ...], columns: ImageColumns
) -> Tool:
    _compute_on_one_core()
    model = load_explainable_run(folder, "cpu")
    view = model.explainable()
    how = ExplainOptions(targets=targets, like=open_run(folder).focus, showing=showing_of(folder))

    def draw(samples: Samples, place: Path) -> Sequence[Failure]:
        return write_methods(view, samples, place, methods, how).failures

    return _tool(model.task, draw, out, columns)


def _segmenting(folder: Path, out: Path, request: SegmentRequest, options: RunOptions, columns: ImageColumns) -> Tool:
    _compute_on_one_core()
    return _tool(load_cohort(folder).task, _masks(folder, request, options), out, columns)


def _compute_on_one_core() -> None:
    import torch

    torch.set_num_threads(1)


def _masks(folder: Path, request: SegmentRequest, options: RunOptions) -> Draw:
    """Return what draws masks as a run has learnt to, or learns now."""
    import torch

    view, parts = load_run_net(folder, "cpu").explainable(), first_parts_of(open_run(folder))
    lesions = lesions_to_draw(parts.run, view.card.task, request.targets, request.negatives)
    job = Job(options.recipe, request.tune_on_masks, torch.device("cpu"), options.progress, showing_of(folder))

    def draw(samples: Samples, place: Path) -> Sequence[Failure]:
        drawn = DrawnMasks(MaskFiles(place), request.method)
        drawn.draw([Member(parts.run, view, parts.train, parts.tune, samples.rows)], lesions, job)
        drawn.write(lesions)
        return tuple(drawn.failures.values())

    return draw


def _tool(task: Task, draw: Draw, out: Path, columns: ImageColumns) -> Tool:
    """Return what answers a share: its files, whole or not there, and the part that lists them."""

    def answer(share: Share) -> Tally:
        place = files_of(share, out)
        with local_samples(columns, share.rows, task) as samples, atomic_folder(place) as folder:
            failures = draw(samples, folder)
        # Every part has the same types, empty columns too.
        index = pd.read_csv(place / "index.csv", dtype=str, keep_default_na=False)
        index["probability"] = index["probability"].astype(float)
        for name in (*FILES, "mask"):
            if name in index:
                index[name] = [f"{place.relative_to(out)}/{path}" if path else "" for path in index[name]]
        return write_share(share, out, index, [failure.row for failure in failures])

    return answer
