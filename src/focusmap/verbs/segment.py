"""Segment: masks of lesions, drawn from image-level labels alone, and their scores where true masks exist."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd

from focusmap.errors import InputError
from focusmap.files import Json, atomic_folder, write_failures, write_json, write_table
from focusmap.models.any import model_name, rows_for
from focusmap.models.load import load_run_net
from focusmap.reasons import Reason, note_entries
from focusmap.study.cohort import Cohort, load_cohort
from focusmap.study.external import read_other, refuse_known_patients
from focusmap.study.options import RunOptions
from focusmap.study.recipe import Recipe, read_recipe
from focusmap.study.run import Run, open_run
from focusmap.study.split import Split, fold_split, read_split
from focusmap.verbs.requests import DrawnBy, SegmentRequest

if TYPE_CHECKING:
    from focusmap.evaluation.localisation.mask_scores import MaskScore
    from focusmap.heatmaps.map_files import MapNames
    from focusmap.segmentation.drawing import Drawer, Job, Member
    from focusmap.segmentation.lesions import Lesion, LesionCase

UNKNOWN, CAUTIONS = "unknown", "cautions.json"
DRAWN_BY = get_args(DrawnBy)
COMPARED = (("refined", "cam"), ("distilled", "cam"))
INDEX_COLUMNS = ["image_id", "path", "target", "probability", "mask", "area", "n_pixels", "predicted"]


@dataclass(frozen=True)
class SegmentResult:
    """Where the masks lie, what counts as a lesion, the scores where true masks exist, what failed, and a caution."""

    folder: Path
    lesions: tuple[str, ...]
    scores: dict[str, Json] | None
    failures: tuple[tuple[Path, str], ...]
    cautions: tuple[str, ...] = ()


@dataclass
class _Drawn:
    """What has been drawn so far."""

    rows: list[dict[str, Json]] = field(default_factory=list)
    scores: "list[MaskScore]" = field(default_factory=list)
    cuts: dict[str, Json] = field(default_factory=dict)
    failures: dict[Path, str] = field(default_factory=dict)
    sources: dict[str, Cohort] = field(default_factory=dict)
    n_masks: int = 0
    empty: dict[str, dict[str, list[bool]]] = field(default_factory=dict)

    def note_empty(self, target: str, regions: Mapping[str, np.ndarray]) -> None:
        """Note whether a case in which the model finds a lesion has any region of it."""
        for method in DRAWN_BY:
            self.empty.setdefault(target, {}).setdefault(method, []).append(not regions[method].any())


def segment(folder: Path, request: SegmentRequest, options: RunOptions = RunOptions()) -> SegmentResult:
    """Write masks, ``index.csv`` and, where true masks exist, ``scores.json``; return what was done.

    The folder is written as a whole or not at all.

    Raises
    ------
    InputError
        If a target or class is unknown or has no lesion, the run has no test split, a true mask does not have the shape
        of its picture, or `out` holds masks already and `options.force` is not given.
    RefusedError
        If other pictures have true masks and patients of the run's own study.
    """
    from focusmap.heatmaps.map_files import MapNames
    from focusmap.segmentation.drawing import Job
    from focusmap.segmentation.lesions import lesions_of

    run = open_run(folder)
    out = _checked_folder(run, request, options)
    members = _members(run, request, options)
    if members[0].model.net.reconstructs:
        raise InputError(f"{folder}: holds an autoencoder; masks are drawn from the maps of a classifier.")
    lesions = lesions_of(members[0].model.task, request.targets, request.negatives)
    job = Job(_recipe_of(run, options), request.tune_on_masks, options.progress)
    drawn, names = _Drawn(), MapNames()
    with atomic_folder(out) as place:
        for lesion in lesions:
            for member in members:
                _draw_all(member, lesion, job, _Place(place, names, request.method, drawn))
        scores = _write_files(place, drawn, lesions, request.method)
        cautions = _cautions(drawn, request.method)
        if cautions:
            write_json(place / CAUTIONS, note_entries("cautions", cautions))
    failures = tuple(drawn.failures.items())
    words = tuple(lesion.in_words() for lesion in lesions)
    return SegmentResult(out, words, scores, failures, cautions)


def check_lesions(cohort: Cohort, recipe: Recipe, request: SegmentRequest) -> None:
    """Raise `InputError` if there is no lesion in a study's targets to be drawn, or the model has no maps for it."""
    from focusmap.segmentation.lesions import lesions_of

    name = model_name(cohort, recipe)
    is_plain = name.is_net_of_pictures and rows_for(cohort, recipe).pictures is None
    if not is_plain or not recipe.learns_labels:
        raise InputError(f"model {name.name!r} has no heat maps of labels to draw masks from. Leave --segment out.")
    lesions_of(cohort.task, request.targets, request.negatives)


@dataclass(frozen=True)
class _Place:
    """Where masks go, what their files are called, whose they are, and what there is so far."""

    folder: Path
    names: "MapNames"
    method: str
    drawn: _Drawn


def _checked_folder(run: Run, request: SegmentRequest, options: RunOptions) -> Path:
    """Return the folder to write to; the run's own is for its own test split, which may be drawn again at will."""
    if request.labels is not None and request.out is None:
        raise InputError("say where the masks of these pictures go with --out DIR.")
    out = request.out or run.segmentation
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; a folder for the masks was expected.")
    if request.out is None or not out.exists() or not any(out.iterdir()):
        return out
    if not (out / "index.csv").is_file():
        raise InputError(f"{out}: holds other files. Choose an empty folder.")
    if not options.force:
        raise InputError(f"{out}: holds masks already. Choose another --out, or add --force.")
    return out


def _recipe_of(run: Run, options: RunOptions) -> Recipe:
    """Return the run's recipe, with the drawing's settings of the options where they are not the usual ones."""
    from dataclasses import replace

    recipe = read_recipe(run.recipe)
    said = options.recipe.segmentation
    return replace(recipe, segmentation=said) if said != Recipe().segmentation else recipe


def _members(run: Run, request: SegmentRequest, options: RunOptions) -> "list[Member]":
    cohort = load_cohort(run.folder)
    split = read_split(run.split, cohort)
    if request.labels is not None:
        other = read_other(run, request.labels, request.said)
        if other.has_masks:
            # Drawn they may be; a score on what the model learnt from would say nothing.
            refuse_known_patients(run, other, options)
        # Of a run with folds the ensemble draws; what it learnt from is the first fold's.
        learnt = fold_split(split, 0) if split.n_folds else split
        return [_member(run, cohort, learnt, options, other)]
    parts = run.parts()
    if parts == [run]:
        if not split.ids("test"):
            raise InputError(f"{run.folder}: its split has no test part. Name a label file of pictures to segment.")
        return [_member(run, cohort, split, options)]
    return [_member(part, cohort, fold_split(split, k), options) for k, part in enumerate(parts)]


def _member(run: Run, cohort: Cohort, split: Split, options: RunOptions, other: Cohort | None = None) -> "Member":
    from focusmap.segmentation.drawing import Member

    model = load_run_net(run.folder, options.devices)
    train, tune, test = (cohort.of(split.ids(part)) for part in ("train", "tune", "test"))
    return Member(run, model, train, tune, test if other is None else other)


def _draw_all(member: "Member", lesion: "Lesion", job: "Job", place: _Place) -> None:
    """Learn, draw, write and score all masks of one lesion by one member."""
    from focusmap.segmentation.drawing import cases_of, drawn_regions, prepare_drawer, with_comparisons

    drawer = prepare_drawer(member, lesion, job)
    if member.cohort.has_masks:
        drawer = with_comparisons(drawer, member, lesion, job)
    _note_cuts(drawer, lesion, place.drawn)
    failures: list[tuple[str, str]] = []
    for done, case in enumerate(cases_of(member, lesion, failures), start=1):
        regions = drawn_regions(case, drawer)
        place.drawn.rows.append(_write_mask(case, lesion, regions[place.method], place))
        if case.predicted:
            place.drawn.note_empty(lesion.name, regions)
        place.drawn.scores.extend(_scores_of(case, lesion, regions, member.cohort))
        job.progress(f"drawing {lesion.name}", done, len(member.cohort))
    place.drawn.sources.update(dict.fromkeys(member.cohort.image_ids, member.cohort))
    place.drawn.failures.update({member.cohort.file(image_id): reason for image_id, reason in failures})


def _note_cuts(drawer: "Drawer", lesion: "Lesion", drawn: _Drawn) -> None:
    for method, cuts in drawer.cuts.items():
        chosen: Json = {
            "method": method, "target": lesion.name, "background": cuts.background, "foreground": cuts.foreground,
            "n_cases": cuts.n_cases, "n_masks": cuts.n_masks,
        }  # fmt: skip
        drawn.cuts[f"{lesion.name} {method} {len(drawn.cuts)}"] = chosen
    drawn.n_masks += max(cuts.n_masks for cuts in drawer.cuts.values())


def _write_mask(case: "LesionCase", lesion: "Lesion", region: np.ndarray, place: _Place) -> dict[str, Json]:
    """Write the mask of one case; return its row of the index."""
    from focusmap.evaluation.localisation.regions import extent
    from focusmap.heatmaps.map_files import file_name, write_binary
    from focusmap.images.nifti import write_nifti
    from focusmap.images.volumes import VolumePlacement

    name = f"masks/{place.names.name(f'{file_name(case.item.image_id)}.{lesion.name}')}"
    if isinstance(case.placement, VolumePlacement):
        name += ".nii.gz"
        write_nifti(place.folder / name, region[np.newaxis].astype(np.uint8), case.placement.affine)
    else:
        name += ".png"
        write_binary(place.folder / name, region)
    n_pixels = int(np.count_nonzero(region))
    size = extent(n_pixels, spacing_of(case))
    return {
        "image_id": case.item.image_id, "path": case.item.path, "target": lesion.name,
        "probability": case.probability, "mask": name, "area": UNKNOWN if size is None else size,
        "n_pixels": n_pixels, "predicted": case.predicted,
    }  # fmt: skip


def spacing_of(case: "LesionCase") -> tuple[float, ...] | None:
    """Return the spacing of a case's own grid in mm; None where its file does not say."""
    affine = getattr(case.placement, "affine", None)
    if affine is None:
        return None
    n_axes = len(case.placement.source_shape)
    return tuple(float(step) for step in np.linalg.norm(np.asarray(affine)[:3, :n_axes], axis=0))


def _scores_of(
    case: "LesionCase", lesion: "Lesion", regions: Mapping[str, np.ndarray], cohort: Cohort
) -> "Iterator[MaskScore]":
    """Yield what each method scores in a case whose true mask is known."""
    from focusmap.evaluation.localisation.mask_scores import MaskScore, measure_mask
    from focusmap.segmentation.drawing import true_mask

    image_id = case.item.image_id
    mask = true_mask(cohort, image_id, lesion, case.placement.source_shape) if cohort.has_masks else None
    if mask is None:
        return
    patient_id = str(cohort.patient_ids[cohort.positions[image_id]])
    for method, region in regions.items():
        yield MaskScore(image_id, patient_id, lesion.name, method, *measure_mask(region, mask, spacing_of(case)))


def _write_files(folder: Path, drawn: _Drawn, lesions: "Sequence[Lesion]", method: str) -> dict[str, Json] | None:
    from focusmap.evaluation.localisation.mask_scores import score_table
    from focusmap.segmentation.examples import by_dice, by_size, write_examples

    write_table(folder / "index.csv", pd.DataFrame(drawn.rows, columns=INDEX_COLUMNS))
    if drawn.failures:
        write_failures(list(drawn.failures.items()), folder / "failures.csv")
    scores = None
    if any(np.isfinite(score.measures["dice"]) for score in drawn.scores):
        scores = _summary(drawn, method)
        write_json(folder / "scores.json", scores)
        write_table(folder / "scores.csv", score_table(drawn.scores))
    masks = {(str(row["image_id"]), str(row["target"])): str(row["mask"]) for row in drawn.rows}
    examples = by_dice([score for score in drawn.scores if score.method == method]) or by_size(drawn.rows)
    if examples:
        write_examples(folder, examples, masks, drawn.sources, lesions)
    return scores


def _summary(drawn: _Drawn, method: str) -> dict[str, Json]:
    from focusmap.evaluation.localisation.mask_scores import pool_by_case, summarise_masks

    targets = dict.fromkeys(score.target for score in drawn.scores)
    by_target: dict[str, Json] = {
        target: _with_absent(summarise_masks([score for score in drawn.scores if score.target == target]))
        for target in targets
    }
    by_case: dict[str, Json] = {}
    case_of = _case_of(drawn)
    if len(set(case_of.values())) < len(case_of):
        pooled = pool_by_case(drawn.scores, case_of)
        by_case = {"methods": dict(summarise_masks(pooled)), "differences": _differences(pooled, method)}
    return {
        "methods": _with_absent(summarise_masks(drawn.scores)),
        **({"by_target": by_target} if len(targets) > 1 else {}),
        "differences": _differences(drawn.scores, method),
        **({"by_case": by_case} if by_case else {}),
        "drawn_by": method,
        "seeds": list(drawn.cuts.values()),
        "masks_used_for_tuning": drawn.n_masks,
    }


def _case_of(drawn: _Drawn) -> dict[str, str]:
    """Return the case of each image that was scored; its own name where the study has no cases."""
    found: dict[str, str] = {}
    for score in drawn.scores:
        cohort = drawn.sources[score.image_id]
        case_ids = cohort.table["case_id"] if "case_id" in cohort.table else pd.Series(cohort.image_ids)
        found[score.image_id] = str(case_ids.iloc[cohort.positions[score.image_id]])
    return found


def _differences(scores: "Sequence[MaskScore]", method: str) -> dict[str, Json]:
    from focusmap.evaluation.localisation.mask_scores import MEAN_MASK, paired_differences

    pairs = (*COMPARED, (method, MEAN_MASK))
    found = {f"{better} - {worse}": paired_differences(scores, better, worse) for better, worse in pairs}
    return {pair: entry for pair, entry in found.items() if entry is not None}


def _cautions(drawn: _Drawn, method: str) -> tuple[str, ...]:
    """Return a sentence for each lesion whose masks are mostly empty where the model says that there is one."""
    from focusmap.evaluation.localisation.mask_scores import are_mostly_empty

    other = next(name for name in DRAWN_BY if name != method)
    found = []
    for target, empty in drawn.empty.items():
        n_empty, n_other, n = sum(empty[method]), sum(empty[other]), len(empty[method])
        if are_mostly_empty(n_empty, n):
            code = "masks-empty" if n_other < n_empty else "masks-empty-either-way"
            found.append(Reason(code, target=target, n=n_empty, all=n, other=other, n_other=n_other))
    return tuple(found)


def _with_absent(methods: dict[str, Json]) -> dict[str, Json]:
    """Return the methods with those that there are none of, each with the reason."""
    from focusmap.evaluation.localisation.mask_scores import undefined_scores

    reasons = {
        "acam": Reason("no-axis-attention"),
        "supervised": Reason("no-train-mask"),
        "mean_mask": Reason("no-train-mask"),
    }
    return {**methods, **{name: undefined_scores(why) for name, why in reasons.items() if name not in methods}}
