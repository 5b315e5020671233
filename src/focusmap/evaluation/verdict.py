"""The verdict: may a reader rely on a model, in one of five levels, for a whole run and for each target.

A rule over numbers that are already known: metrics with their intervals, paired differences from simpler models, and
what was accepted. Nothing here looks at predictions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from focusmap.basics import Json, Reason, branch, number, reason_entries, text
from focusmap.evaluation.measures import JUDGED_BY, LESS_IS_BETTER
from focusmap.statistics import LEVEL, Z

Level = Literal["useful", "useful-not-better-than-simpler", "not-shown-useful", "cannot-be-judged", "broken"]
LEVELS: tuple[Level, ...] = get_args(Level)
USEFUL: tuple[Level, ...] = LEVELS[:2]
# Findings by which a test image, or its label, may be known from train.
LEAKS = ("patient-across-splits", "duplicate-across-splits", "same-patient-two-spellings", "source-shortcut")
# Below five of each, even a perfect ranking cannot be told from guessing.
FEWEST_OF_A_CLASS, FEWEST_IN_ALL = 5, 10
# So many patients that Student's t is the normal distribution.
MANY = 10**6
# What guessing reaches, and what is compared with simpler models: the metric itself, or the error of a value.
GUESSING: Mapping[str, float] = {"auroc": 0.5, "r2": 0.0}
COMPARED: Mapping[str, str] = {"auroc": "auroc", "r2": "mae"}
NAMES: Mapping[str, str] = {"auroc": "AUROC", "r2": "R²"}
# The mean of the training set: above it is above guessing.
USUAL = "mean"

Tree = Mapping[str, Json]


@dataclass(frozen=True)
class Evidence:
    """What a verdict is given of.

    Parameters
    ----------
    metrics
        Content of ``metrics.json``.
    baselines
        Entries of ``baselines.json``; rungs of the model's own ladder do not count as simpler models.
    accepted
        Findings of the audit that were overridden.
    is_simple
        Whether the model is itself the simple one, so that none stands beside it.
    """

    metrics: Tree
    baselines: Sequence[Tree] = ()
    accepted: Sequence[str] = ()
    is_simple: bool = False


@dataclass(frozen=True)
class Verdict:
    """A level, and why."""

    level: Level
    reason: Reason

    def to_dict(self) -> dict[str, Json]:
        """Return its entries in ``metrics.json``: ``verdict``, and ``verdict_reason`` with its code and values."""
        return {"verdict": self.level, **reason_entries(self.reason, "verdict_reason")}


def with_verdict(evidence: Evidence) -> dict[str, Json]:
    """Return the metrics with the verdict of the run first, and that of each target within it."""
    found = verdicts_of(evidence)
    targets = branch(evidence.metrics, "targets")
    judged: dict[str, Json] = {name: {**found[name].to_dict(), **_bare(branch(targets, name))} for name in targets}
    of_all = verdict_of_all(found, evidence.accepted).to_dict()
    return {**of_all, **_bare(evidence.metrics), "targets": judged}


def _bare(tree: Tree) -> Tree:
    """Return a tree without an earlier verdict of its own."""
    return {key: value for key, value in tree.items() if not key.startswith("verdict")}


def verdicts_of(evidence: Evidence) -> dict[str, Verdict]:
    """Return the verdict of each target.

    An interval is widened before it is held against guessing: by Student's t for the number of patients that it rests
    on, and, unless the mean AUROC over all targets is above guessing, by Bonferroni for the number of targets, since
    one of many lies above guessing by chance.
    """
    targets = branch(evidence.metrics, "targets")
    if leak := _leak(evidence.accepted):
        return dict.fromkeys(targets, leak)
    n_looks = 1 if _mean_is_above(evidence.metrics) else len(targets)
    return {name: _verdict(name, branch(targets, name), evidence, n_looks) for name in targets}


def verdict_of_all(found: Mapping[str, Verdict], accepted: Sequence[str] = ()) -> Verdict:
    """Return the verdict of a run: the best of its targets'; broken where a leak is accepted."""
    if leak := _leak(accepted):
        return leak
    levels = [verdict.level for verdict in found.values()]
    order = ("useful", "useful-not-better-than-simpler", "not-shown-useful", "broken", "cannot-be-judged")
    best = min(found.values(), key=lambda verdict: order.index(verdict.level))
    if len(found) == 1:
        return best
    counts = {"n": len(levels), "useful": sum(level in USEFUL for level in levels), "best": levels.count("useful")}
    if best.level == "cannot-be-judged":
        return Verdict(best.level, Reason("verdict-none-judged", n=len(levels)))
    if not counts["useful"]:
        return Verdict(best.level, Reason("verdict-none-of-many", n=len(levels) - levels.count("cannot-be-judged")))
    codes = {"verdict-simple": "verdict-of-many-simple", "verdict-none-compared": "verdict-of-many-uncompared"}
    return Verdict(best.level, Reason(codes.get(best.reason.code, "verdict-of-many"), **counts))


def _leak(accepted: Sequence[str]) -> Verdict | None:
    leaks = ", ".join(name for name in accepted if name in LEAKS)
    return Verdict("broken", Reason("verdict-leak", names=leaks)) if leaks else None


def is_above_guessing(entry: Tree) -> bool:
    """Return whether the interval of a label's or class's AUROC lies above 0.5; of a value's R2, above 0."""
    metric, guessing = _measured(entry)
    low = number(branch(entry, metric).get("low"))
    return low is not None and low > guessing


def _verdict(name: str, entry: Tree, evidence: Evidence, n_looks: int) -> Verdict:
    (metric, guessing), units = _measured(entry), n_patients_behind(entry)
    value, low, high = (number(branch(entry, metric).get(key)) for key in ("value", "low", "high"))
    fewest, code = (
        (FEWEST_IN_ALL, "verdict-few-in-all") if metric == "r2" else (FEWEST_OF_A_CLASS, "verdict-few-of-a-class")
    )
    if units < fewest:
        return Verdict("cannot-be-judged", Reason(code, n=units, least=fewest))
    if _is_constant(entry, (value, low, high)):
        return Verdict("broken", Reason("verdict-constant"))
    if value is None or low is None or high is None:
        return Verdict("cannot-be-judged", Reason("verdict-no-number", metric=NAMES[metric]))
    values = {"metric": NAMES[metric], "value": f"{value:.3f}", "low": f"{low:.3f}", "high": f"{high:.3f}"}
    if low <= guessing:
        return Verdict("not-shown-useful", Reason("verdict-at-guessing", guessing=f"{guessing:g}", **values))
    # Wilson's limits of a perfect result allow for the number of patients already.
    is_perfect = text(branch(entry, metric).get("method")).startswith("Wilson")
    if value - widening(MANY if is_perfect else units, n_looks) * (value - low) <= guessing:
        return Verdict("not-shown-useful", Reason("verdict-widened", guessing=f"{guessing:g}", **values))
    level, why, rival = _against_simpler(name, metric, evidence)
    return Verdict(level, Reason(why, guessing=f"{guessing:g}", **rival, **values))


def _against_simpler(name: str, metric: str, evidence: Evidence) -> tuple[Level, str, dict[str, str]]:
    """Return what is left of usefulness beside simpler models, the code of why, and which model is not bettered."""
    compared = COMPARED[metric]
    differences = {
        text(entry.get("name")): branch(entry, "difference", "targets", name)
        for entry in evidence.baselines
        if entry.get("name") != USUAL and not entry.get("is_rung") and branch(entry, "difference", "targets", name)
    }
    # The simple model that a ladder chose stands beside itself.
    judged = {rival: found for rival, found in differences.items() if not _is_nothing(found)}
    for rival, difference in judged.items():
        low, high = (number(branch(difference, compared).get(end)) for end in ("low", "high"))
        is_better = (high is not None and high < 0) if compared in LESS_IS_BETTER else (low is not None and low > 0)
        if not is_better:
            return "useful-not-better-than-simpler", "verdict-not-above", {"rival": rival}
    if judged:
        return "useful", "verdict-above-all", {}
    if evidence.is_simple or differences:
        return "useful", "verdict-simple", {}
    return "useful-not-better-than-simpler", "verdict-none-compared", {}


def _is_nothing(difference: Tree) -> bool:
    """Return whether two models differ in no metric at all, not even the losses: then they are one."""
    values = [branch(metric).get("value") for metric in difference.values()]
    return all(value == 0 for value in values if value is not None)


def _measured(entry: Tree) -> tuple[str, float]:
    """Return the metric that is held against guessing, and what guessing reaches."""
    metric = JUDGED_BY.get(text(entry.get("kind")), "auroc")
    return metric, GUESSING[metric]


def n_patients_behind(entry: Tree) -> int:
    """Return on how many patients a target rests: of its rarer class, or of a value all; images in an older file."""
    positives, n = number(entry.get("n_positive")), number(entry.get("n")) or 0
    images = n if positives is None else min(positives, n - positives)
    found = number(entry.get("n_patients_rarest"))
    return int(images if found is None else found)


def _is_constant(entry: Tree, limits: tuple[float | None, ...]) -> bool:
    """Return whether every row gets one answer: all resamples of the AUROC tie, or a value has no correlation."""
    if entry.get("kind") == "continuous":
        is_undefined = branch(entry, "pearson").get("reason_code") == "constant"
        return is_undefined and branch(entry, "r2").get("value") is not None
    return limits == (0.5, 0.5, 0.5)


def _mean_is_above(metrics: Tree) -> bool:
    mean = branch(metrics, "mean", "auroc")
    value, low = number(mean.get("value")), number(mean.get("low"))
    if value is None or low is None:
        return False
    units = int(number(metrics.get("n_patients")) or 0)
    return units >= FEWEST_IN_ALL and value - widening(units, 1) * (value - low) > 0.5


@cache
def widening(units: int, n_looks: int) -> float:
    """Return by how much a 95 % interval over `units` patients that is one of `n_looks` is stretched.

    >>> [round(widening(units, n), 2) for units, n in ((1000, 1), (10, 1), (5, 1), (1000, 14))]
    [1.0, 1.15, 1.42, 1.49]
    """
    from scipy.stats import t

    return float(t.ppf(1 - (1 - LEVEL) / (2 * max(n_looks, 1)), max(units - 1, 1)) / Z)
