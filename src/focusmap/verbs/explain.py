"""Explain: heat maps of a run's test split or of other images, and their scores where lesions are marked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from focusmap.basics import InputError, Json, branch, is_table, write_failures, write_json
from focusmap.evaluation import Explained, FrozenThresholds, Showing, reference_of, score_maps
from focusmap.faithfulness import TrustPlan, choose_subjects, measure_trust, plan_trust
from focusmap.figures import save_figure
from focusmap.heatmaps import FOCUS, HEAT_MAPS, check_method, write
from focusmap.models import Explainable, load_explainable_run, net_within, showing_of
from focusmap.report import draw_scores, render_trust
from focusmap.study import Cohort, Failure, Run, Samples, by_image, learnt_by_any, open_run, parts_of, read_images
from focusmap.study.external import read_other, refuse_known_patients, rows_like
from focusmap.study.options import RunOptions, TrustRequest
from focusmap.verbs.requests import ExplainRequest, results_folder

# Of the time for maps; in the rest they are held against marked lesions, and so are the baselines.
SHARE_DRAWN = 2 / 3


@dataclass(frozen=True)
class ExplainResult:
    """Where the maps lie, their scores where lesions are marked, what failed, trust if asked for, what boxes hold."""

    folder: Path
    scores: dict[str, Json] | None
    failures: tuple[tuple[Path, str], ...]
    trust: dict[str, Json] | None = None
    boxes: str = ""


@dataclass(frozen=True)
class _Member:
    """One model, the rows that it explains into a folder, those that it learnt from if known, and what is shown."""

    model: Explainable
    rows: Cohort
    train: Cohort | None
    folder: Path
    showing: Showing

    def explained(self, boxes: Path | None) -> Explained:
        """Return the folder with what is known of lesions in its images, and in those of train."""
        train = None if self.train is None else reference_of(by_image(self.train), boxes)
        thresholds = FrozenThresholds.of(FOCUS, self.model.card.map_thresholds)
        return Explained(self.folder, reference_of(by_image(self.rows), boxes), train, thresholds)


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
    if options.engine == "ray":
        raise InputError("engine 'ray' answers a whole table: call focusmap.explain_table.")
    for method in request.methods:
        check_method(method)
    if request.trust is not None and not all(map(is_table, request.inputs)):
        raise InputError("--trust needs many images: name a label file, or nothing for the test split.")
    out = results_folder(request, run.focus, HEAT_MAPS, force=options.force)
    if request.inputs and not is_table(request.inputs[0]):
        return _explain_images(run, request, out, options)
    with HEAT_MAPS.filling(out) as place:
        members = (_of_table if request.inputs else _of_test_parts)(run, request, place, options)
        for name in request.targets:
            members[0].model.task.index(name)
        methods = _methods(members[0].model, request)
        plan = None if request.trust is None else _plan_trust(run, members, request.trust, methods, options)
        explained = [member.explained(request.declaration.boxes) for member in members]
        of_each = replace(request, seconds=None if request.seconds is None else request.seconds / len(members))
        explanations = [
            _write(member, rows, methods, of_each, options) for member, rows in zip(members, explained, strict=True)
        ]
        if len(members) > 1:
            write.pool_indexes([member.folder for member in members], place)
            write.pool_scales([member.folder for member in members], methods[0], place)
        failures = _write_failures([failure for explanation in explanations for failure in explanation.failures], place)
        trust = None if plan is None else _measure_trust(plan, members[0], explanations[0], place, options)
        scores = _score(explained, place)
    boxes = explained[0].reference.boxes if request.declaration.boxes else None
    return ExplainResult(out, scores, failures, trust, boxes.in_words() if boxes else "")


def _explain_images(run: Run, request: ExplainRequest, out: Path, options: RunOptions) -> ExplainResult:
    """Explain images alone, in the colours of the run's own maps."""
    model = load_explainable_run(run.folder, options.devices)
    if model.views:
        raise InputError(f"{run.folder}: is a model of cases; give a label file that says which images are whose.")
    samples = read_images(run.folder, model.task, request.inputs, request.declaration)
    methods = _methods(model, request)
    showing = showing_of(run.folder)
    how = write.ExplainOptions(targets=request.targets, like=run.focus, showing=showing, progress=options.progress)
    with HEAT_MAPS.filling(out) as place:
        explanation = write.write_methods(model.explainable(), samples, place, methods, how)
        return ExplainResult(out, None, _write_failures(explanation.failures, place))


def _of_test_parts(run: Run, request: ExplainRequest, out: Path, options: RunOptions) -> list[_Member]:
    """Return a run's model, or those of its folds, with what they have not seen."""
    parts = parts_of(run, request.declaration.images)
    models = [load_explainable_run(part.run.folder, options.devices) for part in parts]
    folders = [out] if parts[0].run == run else [out / f"fold{k}" for k in range(len(parts))]
    return [
        _Member(model, part.test, part.train, folder, showing_of(run.folder))
        for model, part, folder in zip(models, parts, folders, strict=True)
    ]


def _of_table(run: Run, request: ExplainRequest, out: Path, options: RunOptions) -> list[_Member]:
    """Return a run's model with the rows of a label file of other images."""
    rows = read_other(run, request.inputs[0], request.declaration)
    if reference_of(rows, request.declaration.boxes).exists:
        # Maps may be drawn of any image; their score on images that the model was trained on would mean nothing.
        refuse_known_patients(run, rows, options)
    model = load_explainable_run(run.folder, options.devices)
    if model.views:
        rows = rows_like(run, rows)
        model.check(rows)
    return [_Member(model, rows, learnt_by_any(run), out, showing_of(run.folder))]


def _methods(model: Explainable, request: ExplainRequest) -> tuple[str, ...]:
    """Return the methods asked for, each once, or the one that suits the net; `InputError` if it cannot do one."""
    view = model.explainable()
    return tuple(dict.fromkeys(view.check(name) for name in request.methods or (None,)))


def _write(
    member: _Member, explained: Explained, methods: Sequence[str], request: ExplainRequest, options: RunOptions
) -> write.Explanation:
    share = SHARE_DRAWN if explained.reference.exists else 1.0
    seconds = None if request.seconds is None else share * request.seconds
    how = write.ExplainOptions(
        targets=request.targets, reference=explained.reference, showing=member.showing, seconds=seconds,
        progress=options.progress,
    )  # fmt: skip
    rows = member.rows
    if request.seconds is not None:
        rows = rows.take(np.random.default_rng(options.recipe.seed).permutation(len(rows)))
    return write.write_methods(member.model.explainable(), Samples.from_files(rows), member.folder, methods, how)


def _write_failures(failures: Sequence[Failure], out: Path) -> tuple[tuple[Path, str], ...]:
    if failures:
        write_failures([failure.row for failure in failures], out / "failures.csv")
    return tuple((failure.file, failure.reason) for failure in failures)


def _score(explained: Sequence[Explained], out: Path) -> dict[str, Json] | None:
    """Return and write the scores and their figure, the maps of all folds pooled; None where no lesion is marked."""
    scores = score_maps(explained, out / "scores.json")
    if scores is not None:
        save_figure(draw_scores(branch(scores, "methods")), out / "scores.png")
    return scores


def _plan_trust(
    run: Run, members: Sequence[_Member], trust: TrustRequest, methods: Sequence[str], options: RunOptions
) -> TrustPlan:
    """Return how trust in the first model's maps is measured; `InputError` if it is one of cases, or cannot be."""
    net = net_within(members[0].model, run.folder)
    if net is not members[0].model:
        options.say(f"trust is measured in the maps of {net.card.architecture['model']}, one of the model's members")
    return plan_trust(trust, net, methods, options, n_models=len(members))


def _measure_trust(
    plan: TrustPlan, member: _Member, explanation: write.Explanation, out: Path, options: RunOptions
) -> dict[str, Json]:
    """Return and write what was measured on some of the images that a member has explained."""
    subjects = choose_subjects(member.rows, explanation.index, plan)
    trust = measure_trust(net_within(member.model, member.folder), subjects, plan)
    write_json(out / "trust.json", trust, sealed=True)
    render_trust(trust, out / "trust.html", options.language)
    return trust
