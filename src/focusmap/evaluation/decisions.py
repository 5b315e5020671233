"""Decisions that metrics allow: does a model reach here what is required of it, and is one of two the better?

Both say so only where patients are enough, and say how far a claim may be wrong.

A requirement is met when the whole interval is on its right side, failed when the whole interval is on the other, and
undecided between: then there are too few patients. Intervals are widened by Student's t for the number of patients
that they rest on, so that at a model that only just does not meet it, a requirement is wrongly called met in about one
site in forty.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from focusmap.basics import InputError, Json, branch, number, suggest
from focusmap.evaluation.measures import COMPARED_BY, LESS_IS_BETTER
from focusmap.evaluation.verdict import n_patients_behind, widening
from focusmap.statistics import Z

Decision = Literal["pass", "fail", "too few patients"]
EXIT_CODES: Mapping[Decision, int] = {"pass": 0, "fail": 3, "too few patients": 4}
# Beyond this a number of patients is no plan.
MOST_PATIENTS = 1_000_000
CLAIMED_BELOW = 0.025


@dataclass(frozen=True)
class Requirement:
    """What a metric must reach: of one target, or without a name of the only one or of the mean over all."""

    metric: str
    limit: float
    target: str = ""
    is_upper: bool = False

    def __str__(self) -> str:
        """Return it as a person reads it."""
        name = f"{self.target}/{self.metric}" if self.target else self.metric
        return f"{name} at {'most' if self.is_upper else 'least'} {self.limit:g}"


def parse_requirement(words: str, *, is_upper: bool = False) -> Requirement:
    """Return the requirement of ``METRIC=VALUE`` or ``TARGET/METRIC=VALUE``.

    >>> str(parse_requirement("Effusion/auroc=.80"))
    'Effusion/auroc at least 0.8'
    """
    name, _, value = words.rpartition("=")
    target, _, metric = name.rpartition("/")
    if not re.fullmatch(r"[a-z0-9_]+", metric) or not re.fullmatch(r"-?\d*\.?\d+", value.strip()):
        raise InputError(f"{words!r} is no requirement. Write METRIC=VALUE, such as auroc=.80, or TARGET/METRIC=VALUE.")
    return Requirement(metric, float(value), target, is_upper)


def decide(metrics: Mapping[str, Json], requirements: Sequence[Requirement]) -> dict[str, Json]:
    """Return the content of ``acceptance.json``: what became of each requirement, and of all together.

    All together pass where each does, and fail where one does.

    Raises
    ------
    InputError
        If the metrics have no such target or metric.
    """
    if not requirements:
        raise InputError("nothing is required. Say what the model must reach, such as --at-least auroc=.80.")
    rows = [_decided(metrics, requirement) for requirement in requirements]
    decided = {row["decision"] for row in rows}
    of_all: Decision = "fail" if "fail" in decided else "too few patients" if len(decided) > 1 else rows[0]["decision"]  # type: ignore[assignment]
    return {
        "decision": of_all,
        "n_images": metrics["n_images"],
        "n_patients": metrics["n_patients"],
        "clustered_by": metrics["clustered_by"],
        "requirements": [*rows],
    }


def _decided(metrics: Mapping[str, Json], required: Requirement) -> dict[str, Json]:
    entry, units = _entry(metrics, required)
    value, low, high = (number(entry.get(key)) for key in ("value", "low", "high"))
    row: dict[str, Json] = {
        "requirement": str(required), "target": required.target, "metric": required.metric, "limit": required.limit,
        "is_upper": required.is_upper, "value": value, "low": low, "high": high, "n_patients": units,
    }  # fmt: skip
    if value is None or low is None or high is None:
        return {**row, "decision": "too few patients", "n_patients_needed": None}
    wide = widening(units, 1)
    low, high = value - wide * (value - low), value + wide * (high - value)
    sign = -1 if required.is_upper else 1
    worst, best = sorted((sign * low, sign * high))
    limit = sign * required.limit
    decision: Decision = "pass" if worst >= limit else "fail" if best < limit else "too few patients"
    row |= {"low": low, "high": high, "decision": decision}
    if decision != "too few patients":
        return row
    margin = sign * value - limit
    reach = sign * value - worst if margin > 0 else best - sign * value
    needed = ceil(units * (reach / margin) ** 2) if margin else MOST_PATIENTS + 1
    return {**row, "n_patients_needed": needed if needed <= MOST_PATIENTS else None}


def _entry(metrics: Mapping[str, Json], required: Requirement) -> tuple[Mapping[str, Json], int]:
    """Return the metric with its limits, and how many patients it rests on."""
    targets = branch(metrics, "targets")
    if required.target and required.target not in targets:
        raise InputError(f"there is no target {required.target!r}.{suggest(required.target, list(targets))}")
    only = required.target or (next(iter(targets)) if len(targets) == 1 else "")
    owner = branch(targets, only) if only else branch(metrics, "mean")
    having = [name for name, entry in owner.items() if isinstance(entry, Mapping) and "value" in entry]
    if required.metric not in having:
        where = f"target {only}" if only else "the mean over targets: name one, as in TARGET/METRIC=VALUE"
        raise InputError(
            f"{required.metric!r} is no metric of {where}. There are {', '.join(having)}."
            f"{suggest(required.metric, having)}"
        )
    if not only:
        return branch(owner, required.metric), min(n_patients_behind(branch(targets, name)) for name in targets)
    return branch(owner, required.metric), n_patients_behind(branch(targets, only))


def better_of(rows: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """Return which of two models may be called the better one, and the probability that this is wrong.

    Parameters
    ----------
    rows
        Paired differences b - a of one pair, as `focusmap.compare` returns them. The mean over targets stands for all;
        of one target its AUROC, else its quadratic kappa, else its mean absolute error.

    Returns
    -------
    dict
        ``a, b, target, metric, difference, n_patients``; ``p_false``: how often so great a difference would be met
        where the two are alike or the other one is better (one-sided, Student's t over patients); ``better``: the name
        that is claimed, where that is at most 2.5 %, else None.
    """
    row = next(
        (
            row
            for metric in COMPARED_BY.values()
            for row in sorted(rows, key=lambda row: row["target"] != "mean")
            if row["metric"] == metric
        ),
        None,
    )
    if row is None:
        return {}
    answer: dict[str, Json] = {key: row[key] for key in ("a", "b", "target", "metric", "difference", "n_patients")}
    value, low, high = (number(branch(row, "difference").get(key)) for key in ("value", "low", "high"))
    if value is None or low is None or high is None or low == high:
        return {**answer, "p_false": None, "better": None}
    from scipy.stats import t

    units = int(number(row["n_patients"]) or 0)
    p_false = float(t.sf(abs(value) / ((high - low) / (2 * Z)), max(units - 1, 1)))
    b_is_better = (value > 0) != (row["metric"] in LESS_IS_BETTER)
    return {
        **answer,
        "p_false": p_false,
        "better": row["b" if b_is_better else "a"] if p_false <= CLAIMED_BELOW else None,
    }
