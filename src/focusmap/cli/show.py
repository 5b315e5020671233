"""What commands print: results to stdout, in words and small tables."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from focusmap.cli.options import cohort_from, run_options_from
from focusmap.cli.progress import clock

if TYPE_CHECKING:
    from focusmap.audit import Audit
    from focusmap.audit.image_summary import Seen
    from focusmap.files import Json
    from focusmap.models.plan import Plan
    from focusmap.study.cohort import Cohort
    from focusmap.study.options import RunOptions
    from focusmap.study.recipe import Recipe
    from focusmap.study.run import Run

SHOWN_FAILURES = 10
# Why a training found no weights to start from, where it was not told to.
UNASKED = "start-none-found"
MIRROR = (
    "the recipe mirrors pictures. In a mirrored chest film the heart lies on the right side, which is a finding "
    "(dextrocardia) and not a variation; so for every organ that has a side. Turn it off there: augmentation.mirror."
)
SCORES = {"pointing_hit": "pointing game", "auprc": "pixel AUPRC"}
HEADLINE = ("auroc", "average_precision", "balanced_accuracy", "accuracy", "mae", "r2")


def understood(parsed: argparse.Namespace) -> "tuple[Cohort, RunOptions] | None":
    """Return the cohort and options of a command, the study printed; None where a dry run asks for the plan only."""
    cohort, options = cohort_from(parsed, parsed.labels), run_options_from(parsed)
    print_study(cohort)
    print_cases(cohort, options.recipe)
    if changed := changed_settings(options.recipe):
        print(f"recipe      {changed}")
    if options.recipe.augmentation.mirror:
        print(f"note: {MIRROR}", file=sys.stderr)
    if not parsed.dry_run:
        return cohort, options
    print_plan(cohort, options)
    return None


def changed_settings(recipe: "Recipe") -> str:
    """Return the settings that are not the default ones, of a preset, a file or options alike.

    >>> from focusmap.study.recipe import Augmentation, Recipe
    >>> changed_settings(Recipe(size=320, augmentation=Augmentation(shift=0.05)))
    'size 320, augmentation.shift 0.05'
    """
    default = type(recipe)()
    groups = ("augmentation", "segmentation")
    pairs = [(name, value, getattr(default, name)) for name, value in vars(recipe).items() if name not in groups]
    for group in groups:
        inner = vars(getattr(default, group))
        pairs += [(f"{group}.{name}", value, inner[name]) for name, value in vars(getattr(recipe, group)).items()]
    return ", ".join(f"{name} {str(value).lower()}" for name, value, usual in pairs if value != usual)


def print_study(cohort: "Cohort") -> None:
    """Print the study as understood, and how many images, known patients, masks and boxes it has.

    Raises
    ------
    InputError
        If there is a file of boxes that cannot be read: now, and not when the model has been trained.
    """
    print(cohort.study.describe())
    what = "images" if cohort.has_images else "cases"
    patients = f", {len(set(cohort.patient_ids))} patients" if cohort.study.patients == "column" else ""
    print(f"rows        {len(cohort)} {what}{patients}")
    for what, shown in {"masks": masks_in_words(cohort), "boxes": boxes_in_words(cohort)}.items():
        if shown:
            print(f"{what:<11} {shown}")


def masks_in_words(cohort: "Cohort") -> str:
    """Return how many masks each column names, to score maps by; empty where there are none."""
    if not cohort.has_images or not cohort.has_masks:
        return ""
    counts = {name: (cohort.table[name] != "").sum() for name in cohort.mask_columns}
    return f"{', '.join(f'{n} in {name}' for name, n in counts.items())}; to score heat maps by"


def boxes_in_words(cohort: "Cohort") -> str:
    """Return how many boxes there are to score maps by, and which find no picture or no label; empty without a file."""
    from focusmap.evaluation.localisation.reference import read_boxes

    if cohort.study.boxes_file is None or not cohort.has_images:
        return ""
    return read_boxes(cohort.study.boxes_file, cohort).in_words()


def did_you_mean(nearest: Mapping[str, str]) -> str:
    """Return a question after the labels that come near to names which are none; empty where there are none.

    >>> did_you_mean({"Infiltrate": "Infiltration"})
    ". Did you mean 'Infiltration'?"
    """
    names = dict.fromkeys(map(repr, nearest.values()))
    return f". Did you mean {', '.join(names)}?" if names else ""


def print_cases(cohort: "Cohort", recipe: "Recipe") -> None:
    """Print how many cases the pictures make, and which views they have, where a model is to learn from cases."""
    from focusmap.models.any import cases_of, rows_for
    from focusmap.study.cases import views_of

    how = cases_of(cohort, recipe)
    if how == "pictures":
        print_single(cohort, recipe)
        return
    rows = rows_for(cohort, recipe)
    views = ", ".join(filter(None, views_of(rows)))
    print(f"cases       {len(rows)}, of pictures pooled by {how}{views and ' view by view: '}{views}")


def print_single(cohort: "Cohort", recipe: "Recipe") -> None:
    """Say on stderr that a case is named and yet each picture is judged alone, where the recipe did not ask for it."""
    from focusmap.models.any import model_name

    case, name = cohort.study.case_column, model_name(cohort, recipe)
    if case is None or recipe.cases != "auto" or not (cohort.has_images and recipe.learns_labels):
        return
    net = "" if name.engine == "net" else "a net (--model resnet18) and "
    print(
        f"note: pictures are judged one by one, although {case} says which belong together. For a case to be one "
        f"sample, add {net}--view COL, --covariate COL with a +table model, or cases: mean in the recipe.",
        file=sys.stderr,
    )


def print_plan(cohort: "Cohort", options: "RunOptions") -> None:
    """Print what a run would cost: sizes, time, memory and disk."""
    from focusmap.models.names import parse_model
    from focusmap.models.plan import estimate
    from focusmap.verbs.prepare import accepting

    plan = estimate(cohort, options)
    size, shape = plan.recipe.size, plan.recipe.shape
    taken = f", {' x '.join(map(str, shape))} voxels" if shape else f", {size} x {size} pixels" if size else ""
    if plan.seen is not None and shape:
        print(f"volumes     {volumes_in_words(plan.seen)}")
    epochs = f", {plan.recipe.epochs} epochs" if parse_model(plan.recipe.model).engine == "net" else ""
    print(f"model       {plan.recipe.model}{taken}{epochs}")
    print(f"time        {time_in_words(plan)}")
    print(f"memory      about {plan.memory_mb} MB")
    print(f"disk        about {plan.disk_mb} MB of prepared pictures; weights and maps come on top")
    later = "; pictures are looked at by the run itself" if cohort.has_images else ""
    print(f"audit       {'the table blocks' if plan.blocking else 'nothing in the table blocks'}{later}")
    for finding in plan.blocking:
        print(f"refused: {finding.name}: {finding.message}")
    if plan.blocking:
        print(f"refused: the run will end with exit code 3. To go on all the same: {accepting(plan.blocking)}")


def time_in_words(plan: "Plan") -> str:
    """Return how long the training would take, and how that is known."""
    if plan.seconds is None:
        return f"unknown: a batch does not fit into the memory of {plan.device}. Try a smaller --batch-size"
    known = f"measured here on {plan.device} by a few steps" if plan.device else "a rough guess"
    return f"about {clock(plan.seconds)} of training ({known}); all else comes on top"


def volumes_in_words(seen: "Seen") -> str:
    """Return the sizes of some of a study's volumes towards right, front and top.

    >>> from focusmap.audit.image_summary import Seen
    >>> volumes_in_words(Seen([(256, 256, 24), (256, 256, 20)], 1, [(1, 1, 5), (1, 1, 6)]))
    '256 x 256 x 20 to 24 voxels of 1 x 1 x 5 to 6 mm (2 looked at)'
    """
    shapes = [shape for shape in seen.shapes if len(shape) == 3]
    sizes = f"of {ranges(seen.voxels)} mm" if len(seen.voxels) == len(shapes) else "of unknown size"
    return f"{ranges(shapes)} voxels {sizes} ({len(shapes)} looked at)"


def ranges(rows: "Sequence[Sequence[float]]") -> str:
    """Return the least and the greatest of each column, with ``x`` between the columns."""
    ends = [(min(column), max(column)) for column in zip(*rows, strict=True)]
    return " x ".join(
        f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}" for low, high in ends
    )


def print_run(run: "Run") -> None:
    """Print a run's metrics and, last, where its report is."""
    from focusmap.files import read_json

    print_notes(run)
    metrics = run.evaluation / "metrics.json"
    if metrics.is_file():
        print_metrics(read_json(metrics), run.unit)
    scores = run.focus / "scores.json"
    if scores.is_file():
        print_scores(read_json(scores))
    cautions = run.segmentation / "cautions.json"
    if cautions.is_file():
        print(*cast(list[str], read_json(cautions)["cautions"]), sep="\n")
    masks = run.segmentation / "scores.json"
    if masks.is_file():
        print_mask_scores(read_json(masks))
    print(f"report: {run.folder / 'report.html'}")


def print_notes(run: "Run") -> None:
    """Say, on stderr, what a training met: no weights to start from, covariates that are constant on train."""
    from focusmap.models.card import read_card
    from focusmap.reasons import Reason, read_reason
    from focusmap.study.covariates import Covariates

    cards = [read_card(part.model / "model.json") for part in run.parts()]
    starts = dict.fromkeys(read_reason(card.training, "start_reason") for card in cards)
    notes = [
        f"training started from {start}" for start in starts if isinstance(start, Reason) and start.code == UNASKED
    ]
    names = dict.fromkeys(name for card in cards for name in Covariates.from_list(card.covariates).left_out)
    if names:
        notes.append(f"constant on train, and so left out: {', '.join(names)}")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def print_metrics(metrics: Mapping[str, "Json"], unit: str = "images") -> None:
    """Print one line a target; `unit` is what was judged, and patients are counted where they are known."""
    targets = cast(Mapping[str, Mapping[str, object]], metrics["targets"])
    whose = f" of {metrics['n_patients']} patients" if metrics.get("clustered_by") == "patient" else ""
    print(f"{metrics['split']}: {metrics['n_images']} {unit}{whose}")
    width = max([len(name) for name in targets] + [4])
    for name, values in targets.items():
        shown = [f"{metric} {interval(values[metric])}" for metric in HEADLINE if metric in values]
        print(f"  {name:<{width}}  {'  '.join(shown)}")
    mean = cast(Mapping[str, object], metrics.get("mean") or {})
    if len(targets) > 1 and "auroc" in mean:
        print(f"  {'mean':<{width}}  auroc {interval(mean['auroc'])}")


def unlike_in_words(n: int, n_images: int) -> str:
    """Return what is to be thought of pictures unlike those of train.

    >>> unlike_in_words(2, 40)
    '2 of 40 pictures are unlike those that the model learnt from; do not rely on its answers to them'
    """
    return f"{n} of {n_images} pictures are unlike those that the model learnt from; do not rely on its answers to them"


def interval(value: object) -> str:
    """Return a metric with its interval; the reason where one of them is missing.

    >>> interval({"value": 0.91, "low": 0.85, "high": 0.96})
    '0.9100 (0.850 to 0.960)'
    >>> interval({"value": None, "reason": "one class only"})
    '- (one class only)'
    """
    entry = cast(Mapping[str, float | str | None], value)
    if entry.get("value") is None:
        return f"- ({entry.get('reason', 'undefined')})"
    if entry.get("low") is None or entry.get("high") is None:
        return f"{entry['value']:.4f}" + (f" ({entry['reason']})" if entry.get("reason") else "")
    return f"{entry['value']:.4f} ({entry['low']:.3f} to {entry['high']:.3f})"


def print_scores(scores: Mapping[str, "Json"] | None) -> None:
    """Print how well the maps find the marked lesions, beside the baselines, and whether they beat the mean mask."""
    if not scores:
        return
    methods = cast(Mapping[str, Mapping[str, object]], scores["methods"])
    width = max(map(len, methods))
    for metric, heading in SCORES.items():
        print(f"maps against marked lesions ({heading}):")
        for name, values in methods.items():
            if metric in values:
                print(f"  {name:<{width}}  {interval(values[metric])}")
    any_method = next(iter(methods.values()))
    print(f"  {'chance':<{width}}  {interval(any_method['chance'])}")
    print(f"  of {any_method['n']} found positives; {any_method['n_false_negative']} more were missed")
    for name, values in methods.items():
        gain = cast(Mapping[str, Mapping[str, float | None]], values.get("minus_mean_mask") or {}).get("auprc")
        if gain:
            answer = "" if gain["value"] is None else "yes; " if (gain.get("low") or 0) > 0 else "no; "
            print(f"{name} above the mean mask: {answer}pixel AUPRC {interval(gain)}")
    if scores.get("masks_used_for_tuning"):
        print(f"masks of the tune part that chose where maps are cut: {scores['masks_used_for_tuning']}")
    unmatched = cast(list[str], scores.get("boxes_unmatched") or [])
    if unmatched:
        meant = did_you_mean(cast(Mapping[str, str], scores.get("boxes_nearest") or {}))
        print(f"note: boxes of {', '.join(unmatched)} are left out: no label is called so{meant}", file=sys.stderr)


def print_mask_scores(scores: Mapping[str, "Json"] | None) -> None:
    """Print the Dice of every method, the test of the paired differences, and how many masks chose how to draw."""
    if not scores:
        return
    from focusmap.evaluation.localisation.mask_scores import above_mean_mask

    methods = cast(Mapping[str, Mapping[str, object]], scores["methods"])
    print("masks against true masks (Dice):")
    for name, values in methods.items():
        print(f"  {name:<10}  {interval(values['dice'])}")
    differences = cast(Mapping[str, Mapping[str, "Json"]], scores["differences"])
    for name, found in differences.items():
        test = cast(Mapping[str, float], found["sign_flip"])
        how = "exact sign-flip test" if test["exact"] else f"sign-flip test with {test['n_signs']} draws"
        print(
            f"  {name}: {cast(float, found['mean']):+.4f} a patient, {test['n']} patients, p = {test['p']:.4g} ({how})"
        )
    is_above = above_mean_mask(differences, cast(str, scores["drawn_by"]))
    if is_above is not None:
        print(f"{scores['drawn_by']} above the mean mask: {'yes' if is_above else 'no'}")
    print(f"masks that chose how lesions are drawn: {scores['masks_used_for_tuning']}")


def print_trust(trust: Mapping[str, "Json"], page: Path) -> None:
    """Print which criteria each method passes, and where the page is."""
    from focusmap.report.trust import trust_verdicts
    from focusmap.report.words import words_in

    print("do the maps show where the net looks?")
    for verdict in trust_verdicts(trust, words_in("en")):
        print(f"  {verdict.sentence}")
    if trust.get("reason"):
        print(f"  not measured: {trust['reason']}")
    print(f"trust: {page}")


def print_findings(audit: "Audit") -> None:
    """Print the audit's findings, the blocking ones first; one that is overridden or answered blocks nothing."""
    if not audit.findings:
        print("no findings")
    for finding in audit.findings:
        severity = "accepted" if finding.name in audit.accepted else finding.severity
        print(f"{severity:<8}  {finding.name}: {finding.message}")


def print_consensus(facts: Mapping[str, "Json"]) -> None:
    """Print two lines a label: what was decided, and how far readers agree."""
    print(f"{facts['n_pictures']} pictures, {len(cast(Mapping[str, object], facts['readers']))} readers")
    for name, values in cast(Mapping[str, Mapping[str, object]], facts["labels"]).items():
        counts = cast(Mapping[str, int], values["counts"])
        decided = ", ".join(f"{label}: {n}" for label, n in counts.items())
        print(f"  {name}  {decided}, without a label: {values['n_undecided']}")
        said = [f"{values[f'n_{what}']} {what}" for what in ("disputed", "ties", "overridden")]
        print(f"    {', '.join(said)}; Krippendorff's alpha {interval(values['krippendorff_alpha'])}")
    for note in cast(Sequence[str], facts["notes"]):
        print(f"note: {note}", file=sys.stderr)


def print_comparison(comparison: Mapping[str, "Json"]) -> None:
    """Print the paired differences, and for each pair of runs on how much they rest."""
    told: set[tuple[object, object]] = set()
    for row in cast(Sequence[Mapping[str, object]], comparison["differences"]):
        if (row["b"], row["a"]) not in told:
            told.add((row["b"], row["a"]))
            print(f"{row['b']} - {row['a']}: {row['n_images']} shared test images of {row['n_patients']} patients")
        print(f"  {row['b']} - {row['a']}  {row['target']}  {row['metric']} {interval(row['difference'])}")


def print_failures(failures: Sequence[tuple[Path, str]], *, skip: bool) -> int:
    """Print what could not be done on stderr; return the exit code."""
    for file, reason in failures[:SHOWN_FAILURES]:
        print(f"failed: {reason if str(file) in reason else f'{file}: {reason}'}", file=sys.stderr)
    if len(failures) > SHOWN_FAILURES:
        print(f"and {len(failures) - SHOWN_FAILURES} more; see failures.csv", file=sys.stderr)
    return 2 if failures and not skip else 0
