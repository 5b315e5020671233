"""How commands print their results: to stdout, in words and small tables."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from focusmap import evaluation, models, study
from focusmap.basics import Json, Reason, read_json, read_notes, read_reason

SHOWN_FAILURES = 10
# With more targets, the metrics of each are in the report only.
FEW_TARGETS = 3
# The reason why training started from random weights although pretrained ones were wanted.
NO_WEIGHTS_FOUND = "start-none-found"
SCORES = {"pointing_hit": "pointing game", "auprc": "pixel AUPRC"}
HEADLINE = ("auroc", "average_precision", "balanced_accuracy", "accuracy", "mae", "r2")


def print_run(run: "study.Run") -> None:
    """Print a run's verdict, its evidence in a few lines, and last the path of its report."""
    print_notes(run)
    metrics = run.evaluation / "metrics.json"
    if metrics.is_file():
        print_in_short(read_json(metrics), run.unit)
    subgroups = run.evaluation / "subgroups.json"
    if subgroups.is_file():
        _print_gaps_of_groups(cast(Sequence[Mapping[str, object]], read_json(subgroups)["rows"]))
    if run.ladder.is_file():
        ladder = read_json(run.ladder)
        n_tried = len(cast(list[object], ladder["rungs"]))
        print(f"model: {ladder['chosen']}, of {n_tried} tried ({ladder['reason']})")
    scores = run.focus / "scores.json"
    if scores.is_file():
        _print_gains(read_json(scores))
    cautions = run.segmentation / "cautions.json"
    if cautions.is_file():
        print(*cast(list[str], read_json(cautions)["cautions"]), sep="\n")
    masks = run.segmentation / "scores.json"
    if masks.is_file():
        _print_masks_in_short(read_json(masks))
    print(f"report: {run.folder / 'report.html'}")


def _print_gaps_of_groups(rows: Sequence[Mapping[str, object]]) -> None:
    """Print which subgroups differ beyond chance from the others, and how many could not be judged."""
    for row in rows:
        if row["is_beyond_chance"]:
            finding = f"{row['column']}={row['group']}: {row['metric']} of {row['target']} {interval(row)}"
            print(f"subgroup {finding}, {interval(row['gap'])} from the others")
    if least := evaluation.smallest_judged(cast(Sequence[Mapping[str, "Json"]], rows)):
        print(f"smallest subgroup that could be judged: {least[0]}, {least[1]} patients")
    unjudged = {(row["column"], row["group"]) for row in rows if row["p"] is None}
    if unjudged:
        print(f"subgroups with too few patients to judge: {', '.join(sorted(f'{c}={g}' for c, g in unjudged))}")


def print_verdict(metrics: Mapping[str, "Json"]) -> None:
    """Print the verdict with its reason; nothing if the metrics have none."""
    from focusmap.report import verdict_title, words_in

    title = verdict_title(metrics, words_in("en"))
    if title:
        print(f"verdict: {title[0].lower()}{title[1:]}\n  {metrics.get('verdict_reason', '')}")


def print_in_short(metrics: Mapping[str, "Json"], unit: str) -> None:
    """Print verdict and metrics; for many targets only their mean and the verdict of each."""
    targets = cast(Mapping[str, Mapping[str, object]], metrics["targets"])
    if len(targets) <= FEW_TARGETS:
        print_metrics(metrics, unit)
        return
    print_verdict(metrics)
    print(_test_summary(metrics, unit))
    mean = cast(Mapping[str, object], metrics.get("mean") or {})
    if "auroc" in mean:
        print(f"  mean auroc {interval(mean['auroc'])}; of each label: focusmap evaluate RUN")
    levels: dict[object, list[str]] = {}
    for name, values in targets.items():
        levels.setdefault(values.get("verdict"), []).append(name)
    for level, names in levels.items():
        print(f"  {level}: {', '.join(names)}")


def print_notes(run: "study.Run") -> None:
    """Print notes on a training to stderr: no weights to start from, covariates that are constant on train."""
    cards = [models.read_card(part.model / "model.json") for part in run.parts()]
    starts = dict.fromkeys(read_reason(card.training, "start_reason") for card in cards)
    notes = [
        f"training started from {start}"
        for start in starts
        if isinstance(start, Reason) and start.code == NO_WEIGHTS_FOUND
    ]
    names = dict.fromkeys(name for card in cards for name in study.Covariates.from_list(card.covariates).left_out)
    if names:
        notes.append(f"constant in the training set, and therefore excluded: {', '.join(names)}")
    of_split = read_notes(read_json(run.split.with_suffix(".json")), "notes") if run.split.is_file() else ()
    notes += [str(note) for note in of_split if isinstance(note, Reason) and note.code == "near-together"]
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def print_metrics(metrics: Mapping[str, "Json"], unit: str = "images") -> None:
    """Print the verdict and one line per target; `unit` names what was predicted, such as images or cases."""
    targets = cast(Mapping[str, Mapping[str, object]], metrics["targets"])
    print_verdict(metrics)
    print(_test_summary(metrics, unit))
    width = max([len(name) for name in targets] + [4])
    by_fold = cast(Mapping[str, Mapping[str, object]], metrics.get("by_fold") or {})
    for name, values in targets.items():
        shown = [f"{metric} {interval(values[metric])}" for metric in HEADLINE if metric in values]
        print(f"  {name:<{width}}  {'  '.join(shown)}")
        if name in by_fold:
            print(f"  {'':<{width}}  {folds_in_words(by_fold[name])}")
    mean = cast(Mapping[str, object], metrics.get("mean") or {})
    if len(targets) > 1 and "auroc" in mean:
        print(f"  {'mean':<{width}}  auroc {interval(mean['auroc'])}")


def folds_in_words(of_folds: Mapping[str, object]) -> str:
    """Return what each fold reaches by itself, and their mean.

    >>> folds_in_words({"metric": "auroc", "values": [0.95, None], "mean": 0.95})
    'auroc of each fold by itself: 0.950, -; mean 0.950'
    """
    values = cast(Sequence[float | None], of_folds["values"])
    each, mean = (
        ", ".join("-" if value is None else f"{value:.3f}" for value in shown)
        for shown in (values, [cast(float | None, of_folds["mean"])])
    )
    return f"{of_folds['metric']} of each fold by itself: {each}; mean {mean}"


def _test_summary(metrics: Mapping[str, "Json"], unit: str) -> str:
    whose = f" of {metrics['n_patients']} patients" if metrics.get("clustered_by") == "patient" else ""
    return f"{metrics['split']}: {metrics['n_images']} {unit}{whose}"


def unlike_in_words(n: int, n_images: int) -> str:
    """Return a sentence about images that are out of distribution.

    >>> unlike_in_words(2, 40)
    '2 of 40 images are out of distribution (unlike those of train, or blank); do not rely on their predictions'
    """
    return (
        f"{n} of {n_images} images are out of distribution (unlike those of train, or blank); "
        "do not rely on their predictions"
    )


def interval(value: object) -> str:
    """Return a metric with its interval; in place of a missing one, the reason.

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
    """Print the scores of the maps and of the baselines, and whether the maps beat the mean mask."""
    if not scores:
        return
    methods = cast(Mapping[str, Mapping[str, object]], scores["methods"])
    width = max(map(len, methods))
    for metric, heading in SCORES.items():
        print(f"maps compared with marked lesions ({heading}):")
        for name, values in methods.items():
            if metric in values:
                print(f"  {name:<{width}}  {interval(values[metric])}")
    any_method = next(iter(methods.values()))
    print(f"  {'chance':<{width}}  {interval(any_method['chance'])}")
    print(f"  over {any_method['n']} true positives; {any_method['n_false_negative']} more positives were missed")
    _print_gains(scores)
    if scores.get("masks_used_for_tuning"):
        print(f"masks of the tuning set used to choose the thresholds of the maps: {scores['masks_used_for_tuning']}")
    unmatched = cast(list[str], scores.get("boxes_unmatched") or [])
    if unmatched:
        meant = evaluation.did_you_mean(cast(Mapping[str, str], scores.get("boxes_nearest") or {}))
        print(f"note: boxes of {', '.join(unmatched)} were excluded: no label has this name{meant}", file=sys.stderr)


def _print_gains(scores: Mapping[str, "Json"]) -> None:
    """Print for each method whether its maps beat the mean mask."""
    for name, values in cast(Mapping[str, Mapping[str, object]], scores["methods"]).items():
        gain = cast(Mapping[str, Mapping[str, float | None]], values.get("minus_mean_mask") or {}).get("auprc")
        if gain:
            answer = "" if gain["value"] is None else "yes; " if (gain.get("low") or 0) > 0 else "no; "
            print(f"{name} better than the mean mask: {answer}pixel AUPRC {interval(gain)}")


def _print_masks_in_short(scores: Mapping[str, "Json"]) -> None:
    drawn_by = cast(str, scores["drawn_by"])
    dice = cast(Mapping[str, Mapping[str, object]], scores["methods"])[drawn_by]["dice"]
    is_above = evaluation.above_mean_mask(cast(Mapping[str, Mapping[str, "Json"]], scores["differences"]), drawn_by)
    better = "" if is_above is None else f"; better than the mean mask: {'yes' if is_above else 'no'}"
    print(f"masks ({drawn_by}) compared with reference masks: Dice {interval(dice)}{better}")


def print_mask_scores(scores: Mapping[str, "Json"] | None) -> None:
    """Print the Dice of every method, the paired differences with their test, and how many masks served for tuning."""
    if not scores:
        return

    methods = cast(Mapping[str, Mapping[str, object]], scores["methods"])
    print("masks compared with reference masks (Dice):")
    for name, values in methods.items():
        print(f"  {name:<10}  {interval(values['dice'])}")
    differences = cast(Mapping[str, Mapping[str, "Json"]], scores["differences"])
    for name, found in differences.items():
        test = cast(Mapping[str, float], found["sign_flip"])
        how = "exact sign-flip test" if test["exact"] else f"sign-flip test with {test['n_signs']} draws"
        mean = cast(float, found["mean"])
        print(f"  {name}: {mean:+.4f} per patient, {test['n']} patients, p = {test['p']:.4g} ({how})")
    is_above = evaluation.above_mean_mask(differences, cast(str, scores["drawn_by"]))
    if is_above is not None:
        print(f"{scores['drawn_by']} better than the mean mask: {'yes' if is_above else 'no'}")
    print(f"masks used to choose how lesions are drawn: {scores['masks_used_for_tuning']}")


def print_trust(trust: Mapping[str, "Json"], page: Path) -> None:
    """Print the criteria that each method passes, and the path of the page."""
    from focusmap.report import trust_verdicts, words_in

    print("do the maps show where the net looks?")
    for verdict in trust_verdicts(trust, words_in("en")):
        print(f"  {verdict.sentence}")
    if trust.get("reason"):
        print(f"  not measured: {trust['reason']}")
    print(f"trust: {page}")


def print_failures(failures: Sequence[tuple[Path, str]], *, skip: bool) -> int:
    """Print failures to stderr; return the exit code."""
    for file, reason in failures[:SHOWN_FAILURES]:
        print(f"failed: {reason if str(file) in reason else f'{file}: {reason}'}", file=sys.stderr)
    if len(failures) > SHOWN_FAILURES:
        print(f"and {len(failures) - SHOWN_FAILURES} more; see failures.csv", file=sys.stderr)
    return 2 if failures and not skip else 0
