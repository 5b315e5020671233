"""Explain: heat maps of a run's test split or of other pictures, and their scores where lesions are marked."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from focusmap.errors import InputError
from focusmap.faithfulness.measuring import PAGE, TRUST, choose_subjects, trust_options, write_trust
from focusmap.faithfulness.request import TrustRequest
from focusmap.figures.json_tree import branch
from focusmap.files import Json, is_table, write_failures, write_table
from focusmap.models.any import is_case_model
from focusmap.models.load import load_run_looking
from focusmap.study.cases import by_picture
from focusmap.study.cohort import Cohort, load_cohort
from focusmap.study.external import read_other, refuse_known_patients, rows_like
from focusmap.study.inputs import read_images
from focusmap.study.options import RunOptions
from focusmap.study.run import Run, open_run
from focusmap.study.samples import Samples
from focusmap.study.split import Split, fold_split, read_split
from focusmap.verbs.requests import ExplainRequest

if TYPE_CHECKING:
    from focusmap.evaluation.localisation import FrozenCuts, Reference
    from focusmap.faithfulness.trust import TrustOptions
    from focusmap.heatmaps.write import ExplainOptions, Explanation
    from focusmap.models.cases import CaseModel
    from focusmap.models.net import Model

    Writer: TypeAlias = Callable[[Path, ExplainOptions], Explanation]


@dataclass(frozen=True)
class ExplainResult:
    """Where the maps lie, their scores where lesions are marked, what failed, and trust if asked for."""

    folder: Path
    scores: dict[str, Json] | None
    failures: tuple[tuple[Path, str], ...]
    trust: dict[str, Json] | None = None
    boxes: str = ""


@dataclass(frozen=True)
class _Member:
    """One model and the cohort that it explains; its training cohort gives the mean mask."""

    model: "Model | CaseModel"
    cohort: Cohort
    train: Cohort | None
    folder: Path

    @property
    def pictures(self) -> Cohort:
        """What is explained, a row a picture."""
        return by_picture(self.cohort)

    def reference(self, request: ExplainRequest) -> "Reference":
        """Return what is known of lesions in the pictures."""
        return _reference(self.pictures, request)

    def train_reference(self, request: ExplainRequest) -> "Reference | None":
        """Return what is known of lesions in the pictures of train; None where that is not known."""
        return None if self.train is None else _reference(by_picture(self.train), request)


def explain(
    folder: Path, request: ExplainRequest = ExplainRequest(), options: RunOptions = RunOptions()
) -> ExplainResult:
    """Write heat maps, overlays, ``index.csv`` and, where lesions are marked, ``scores.json``; return what was done.

    Raises
    ------
    InputError
        If the method or a target is unknown, the method needs another net, the run has no test split, or `out` holds
        maps already and `options.force` is not given; if trust in the maps of cases is asked for.
    RefusedError
        If a label file has marked lesions and patients of the run's own study.
    """
    run = open_run(folder)
    out = _checked_folder(run, request, options)
    if request.inputs and not is_table(request.inputs[0]):
        return _explain_files(folder, request, out, options)
    members = [_other_member(run, request, out, options)] if request.inputs else _own_members(run, out, options.devices)
    methods = _methods(members[0].model, request)
    for name in request.targets:
        members[0].model.task.index(name)
    plan = None if request.trust is None else _plan_trust(run, members, request.trust, methods, options)
    boxes = members[0].reference(request).boxes if request.said.boxes else None
    _clear(out)
    explained = [(member, _explain_member(member, request, options)) for member in members]
    if len(members) > 1:
        _pool([member.folder for member in members], out)
        _pool_scales([member.folder for member in members], methods[0], out)
    failures = [failure for member, found in explained for failure in _failures(member, found)]
    if failures:
        write_failures(failures, out / "failures.csv")
    trust = None if plan is None else _measure_trust(plan, *explained[0], out, options)
    told = boxes.in_words() if boxes else ""
    return ExplainResult(out, _score(members, request, out), tuple(failures), trust, told)


def write_overlays(folder: Path, model: "Model | CaseModel", samples: Samples, out: Path, options: RunOptions) -> None:
    """Write overlays, maps and their index for the images or cases of a prediction."""
    settings = _settings_like(folder, model, ExplainRequest(), options)
    _clear(out)
    if is_case_model(model):
        _explain_all(_writer(model, samples.rows), out, settings)
    else:
        _explain_images(model, samples, out, settings)


@dataclass(frozen=True)
class _TrustPlan:
    """The model whose maps are judged, and how; it is made before any map is drawn, since it may be refused."""

    model: "Model"
    settings: "TrustOptions"


def _plan_trust(
    run: Run, members: Sequence[_Member], trust: TrustRequest, methods: Sequence[str], options: RunOptions
) -> _TrustPlan:
    """Return how trust in the first model's maps is measured; `InputError` if it is one of cases, or cannot be."""
    model = members[0].model
    if is_case_model(model):
        raise InputError(f"{run.folder}: is a model of cases; --trust is for nets of single pictures. Leave it out.")
    settings = trust_options(trust, model, methods, options)
    return _TrustPlan(model, replace(settings, n_models=len(members)))


def _measure_trust(
    plan: _TrustPlan, member: _Member, found: "Explanation", out: Path, options: RunOptions
) -> dict[str, Json]:
    """Return and write what was measured on some of the pictures that a member has explained."""
    subjects = choose_subjects(member.cohort, found.index, plan.settings)
    return write_trust(plan.model, subjects, out, plan.settings, options.language)


def _failures(member: _Member, found: "Explanation") -> list[tuple[Path, str]]:
    """Return the files of a member's pictures that could not be explained, and why."""
    pictures = member.pictures
    return [(pictures.file(image_id), reason) for image_id, reason in found.failures]


def _checked_folder(run: Run, request: ExplainRequest, options: RunOptions) -> Path:
    """Return the folder to write to; the run's own is for its own test split, which may be explained again at will."""
    from focusmap.heatmaps import check_method

    for method in request.methods:
        check_method(method)
    if request.inputs and request.out is None:
        raise InputError("say where the maps of these pictures go with --out DIR.")
    if len(request.inputs) > 1 and any(map(is_table, request.inputs)):
        raise InputError("give pictures or one label file, not both.")
    if request.trust is not None and not all(map(is_table, request.inputs)):
        raise InputError("--trust needs many pictures: name a label file, or nothing for the test split.")
    if request.out is not None and (request.out / "index.csv").exists() and not options.force:
        raise InputError(f"{request.out}: holds heat maps already. Choose another --out, or add --force.")
    return request.out or run.focus


def _clear(out: Path) -> None:
    """Remove the maps that an earlier call left in a folder."""
    from focusmap.heatmaps import is_method

    of_methods = (path.name for path in out.glob("*") if is_method(path.name))
    for name in ("maps", "overlays", "binaries", *of_methods, *(path.name for path in out.glob("fold[0-9]*"))):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("index.csv", "scores.json", "scores.csv", "scores.png", "failures.csv", TRUST, PAGE):
        (out / name).unlink(missing_ok=True)


def _explain_files(folder: Path, request: ExplainRequest, out: Path, options: RunOptions) -> ExplainResult:
    """Explain pictures alone, in the colours of the run's own maps."""
    model = load_run_looking(folder, options.devices)
    if is_case_model(model):
        raise InputError(f"{folder}: is a model of cases; give a label file that says which pictures are whose.")
    settings = _settings_like(folder, model, request, options)
    samples = read_images(folder, model.task, request.inputs, request.said)
    _clear(out)
    return ExplainResult(out, None, _explain_images(model, samples, out, settings))


def _explain_images(
    model: "Model", samples: Samples, out: Path, settings: "Sequence[ExplainOptions]"
) -> tuple[tuple[Path, str], ...]:
    """Write the maps of images by each method; return which could not be read, and why."""
    from focusmap.heatmaps.evidence import Item
    from focusmap.heatmaps.write import explain as write_maps

    named = zip(samples.table["image_id"], samples.table["path"], samples.files, strict=True)
    found = _explain_all(partial(write_maps, model, [Item(*one) for one in named]), out, settings)
    failures = tuple((Path(name), reason) for name, reason in found.failures)
    if failures:
        write_failures(failures, out / "failures.csv")
    return failures


def _settings_like(
    folder: Path, model: "Model | CaseModel", request: ExplainRequest, options: RunOptions
) -> "list[ExplainOptions]":
    """Return how each method draws in the colours of the run's own maps."""
    from focusmap.heatmaps.overlays import read_scale
    from focusmap.heatmaps.write import ExplainOptions

    own = Run(folder).focus
    return [
        ExplainOptions(method, request.targets, scale=read_scale(own, method), progress=options.progress)
        for method in _methods(model, request)
    ]


def _own_members(run: Run, out: Path, devices: str) -> list[_Member]:
    cohort = load_cohort(run.folder)
    split = read_split(run.split, cohort)
    parts = run.parts()
    if parts == [run]:
        if not split.ids("test"):
            raise InputError(f"{run.folder}: its split has no test part. Name pictures or a label file to explain.")
        return [_own_member(load_run_looking(run.folder, devices), cohort, split, out)]
    return [
        _own_member(load_run_looking(part.folder, devices), cohort, fold_split(split, k), out / f"fold{k}")
        for k, part in enumerate(parts)
    ]


def _own_member(model: "Model | CaseModel", cohort: Cohort, split: Split, out: Path) -> _Member:
    return _Member(model, cohort.of(split.ids("test")), cohort.of(split.ids("train")), out)


def _other_member(run: Run, request: ExplainRequest, out: Path, options: RunOptions) -> _Member:
    cohort = read_other(run, request.inputs[0], request.said)
    if _reference(cohort, request).exists:
        # Maps may be drawn of any picture; a score on what the model learnt from would say nothing.
        refuse_known_patients(run, cohort, options)
    own = load_cohort(run.folder)
    # Of a run with folds, some member of the ensemble has learnt from each of them.
    parts = read_split(run.split, own).part_of if run.split.is_file() else {}
    learnt = [image_id for image_id, part in parts.items() if part == "train" or part.isdecimal()]
    train = own.of(learnt) if learnt else None
    model = load_run_looking(run.folder, options.devices)
    if is_case_model(model):
        cohort = rows_like(run, cohort)
        model.check(cohort)
    return _Member(model, cohort, train, out)


def _explain_member(member: _Member, request: ExplainRequest, options: RunOptions) -> "Explanation":
    from focusmap.heatmaps.write import ExplainOptions

    reference = member.reference(request)
    settings = [
        ExplainOptions(method, request.targets, reference=reference, progress=options.progress)
        for method in _methods(member.model, request)
    ]
    return _explain_all(_writer(member.model, member.cohort), member.folder, settings)


def _writer(model: "Model | CaseModel", cohort: Cohort) -> "Writer":
    """Return what writes the maps of a cohort's pictures, or of the pictures of its cases."""
    from focusmap.heatmaps.evidence import Item
    from focusmap.heatmaps.write import explain as write_maps
    from focusmap.heatmaps.write import explain_cases

    if is_case_model(model):
        return partial(explain_cases, model, cohort)
    table = cohort.table
    items = [Item(*row) for row in zip(table["image_id"], table["path"], cohort.files, strict=True)]
    return partial(write_maps, model, items)


def _explain_all(write: "Writer", out: Path, settings: "Sequence[ExplainOptions]") -> "Explanation":
    """Write the maps of one method to `out`, or those of several to a folder each; return the first one's."""
    if len(settings) == 1:
        return write(out, settings[0])
    found = [write(out / one.method, one) for one in settings]
    _pool([out / one.method for one in settings], out)
    _pool_scales([out / settings[0].method], settings[0].method, out)
    return found[0]


def _methods(model: "Model | CaseModel", request: ExplainRequest) -> tuple[str, ...]:
    """Return the methods asked for, each once, or the one that suits the net; `InputError` if it cannot do one."""
    import torch

    from focusmap.heatmaps import check_copies, choose_method

    net = model.picture_net() if is_case_model(model) else model.net.eval()
    methods = tuple(dict.fromkeys(choose_method(name, net) for name in request.methods or (None,)))
    blank = torch.zeros(1, *model.preparation.input_shape, device=next(net.parameters()).device)
    for name in methods:
        check_copies(net, blank, name)
    return methods


def _reference(cohort: Cohort, request: ExplainRequest) -> "Reference":
    from focusmap.evaluation.localisation import reference_of

    return reference_of(cohort, request.said.boxes)


def _pool(folders: Sequence[Path], out: Path) -> None:
    """Write one index over the folders."""
    tables = []
    for folder in folders:
        table = pd.read_csv(folder / "index.csv", dtype=str, keep_default_na=False)
        for column in ("map", "overlay", "binary", "slices"):
            table[column] = [f"{folder.name}/{path}" if path else "" for path in table[column]]
        tables.append(table)
    write_table(out / "index.csv", pd.concat(tables, ignore_index=True))


def _pool_scales(folders: Sequence[Path], method: str, out: Path) -> None:
    """Write the mean of the scales that the folders' overlays of a method have, for pictures to come."""
    from focusmap.heatmaps.overlays import read_scale, write_scale

    means = pd.DataFrame([read_scale(folder, method) for folder in folders]).mean()
    write_scale(out, method, {str(label): float(value) for label, value in means.items()})


def _frozen_cuts(model: "Model | CaseModel") -> "FrozenCuts":
    from focusmap.evaluation.localisation import FrozenCuts
    from focusmap.heatmaps import FOCUS

    cuts = model.card.cuts
    return FrozenCuts(FOCUS, {label: cut.cut for label, cut in cuts.items()}, sum(cut.n_masks for cut in cuts.values()))


def _score(members: Sequence[_Member], request: ExplainRequest, out: Path) -> dict[str, Json] | None:
    """Return and write the scores and their picture, the maps of all folds pooled; None where no lesion is marked."""
    from focusmap.evaluation.localisation import Explained, score_maps
    from focusmap.figures.style import save_figure
    from focusmap.report.localisation_section import draw_scores

    explained = [
        Explained(
            member.folder,
            member.reference(request),
            member.train_reference(request),
            _frozen_cuts(member.model),
        )
        for member in members
    ]
    scores = score_maps(explained, out / "scores.json")
    if scores is not None:
        save_figure(draw_scores(branch(scores, "methods")), out / "scores.png")
    return scores
