"""What is answered of a row, target by target: yes, no, a class, unsure or nothing; and how often that holds.

A split-conformal set holds every class that cannot be excluded at a stated error. It is fitted on the tuning set, for
each class by itself (Vovk, ACML 2012, section 3), and by patient: from draws of one image of each (Dunn, Wasserman and
Ramdas, JASA 118 (2023), 2491-2502, section 3.3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np

from focusmap.basics import InputError, Json, branch, number, read_json, read_reason, reason_entries, text, write_json
from focusmap.evaluation.predictions import Predictions, read_predictions, write_predictions
from focusmap.evaluation.showing import Showing, Why, Whys, is_unlike, why_of, whys_of
from focusmap.statistics import bootstrap, bounded_interval
from focusmap.study import Cohort, Run, Target

ERRORS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
ERROR = 0.1
N_DRAWS = 100
ANSWERS, COVERAGE = "answers.json", "coverage.json"


@dataclass(frozen=True)
class Answer:
    """What is answered of one target of one row.

    Parameters
    ----------
    answer
        ``yes``, ``no``, or a class; ``unsure`` where several cannot be excluded; ``none`` where nothing is answered.
        Empty of a value, which is its own answer.
    members
        The classes that cannot be excluded at the stated error; of a value the ends of its interval. Empty where the
        tuning set has too few patients to say.
    why
        Why it is no plain answer: ``unsure``, ``unlike`` train, ``not-better`` than guessing, ``unjudged`` where
        test has too few patients to say, ``broken`` where its test means nothing; else empty.
    """

    answer: str
    members: tuple[str, ...] = ()
    why: Why = ""


Limits: TypeAlias = Mapping[str, float | None]
"""By class, the nonconformity up to which it stays in the set; None where too few patients are there to say."""


def conformal_limit(scores: np.ndarray, patients: np.ndarray, error: float) -> float | None:
    """Return the nonconformity ``(n,)`` that a new patient's image exceeds with a probability of at most `error`.

    The mean over draws of one image per patient of the quantile at rank ``(1 - error) (K + 1)`` of K patients, between
    neighbours interpolated, so that the coverage is neither below nor above what is stated. None where fewer patients
    are there than that needs: ``1 / error - 1``.

    >>> conformal_limit(np.arange(1.0, 20.0), np.arange(19), 0.1)
    18.0
    >>> conformal_limit(np.arange(8.0), np.arange(8), 0.1) is None
    True
    """
    _, starts, counts = np.unique(np.sort(patients), return_index=True, return_counts=True)
    if error * (len(counts) + 1) < 1 - 1e-9:
        return None
    chosen = np.random.default_rng(0).random((N_DRAWS, len(counts))) * counts
    drawn = scores[np.argsort(patients, kind="stable")][starts + chosen.astype(int)]
    return float(np.quantile(drawn, 1 - error, axis=1, method="weibull").mean())


def nonconformity(target: Target, probabilities: np.ndarray) -> np.ndarray:
    """Return ``(N, K)``: one minus the calibrated probability of each class; of a binary one absent first."""
    both = np.concatenate([1 - probabilities, probabilities], axis=1) if target.kind == "binary" else probabilities
    return 1 - both


def fit_limits(target: Target, probabilities: np.ndarray, truth: np.ndarray, patients: np.ndarray) -> dict[str, Limits]:
    """Return for each error, written as text, the limits of the classes; of a value that of its absolute error.

    Parameters
    ----------
    probabilities, truth, patients
        ``(N, n)`` calibrated, ``(N,)`` with NaN unknown, and ``(N,)``, of the tuning set.
    """
    known = ~np.isnan(truth)
    if target.is_number:
        apart = np.abs(probabilities[known, 0] - truth[known])
        of_values = ~np.isnan(apart)
        return {
            f"{error:g}": {"": conformal_limit(apart[of_values], patients[known][of_values], error)} for error in ERRORS
        }
    scores, classes = nonconformity(target, probabilities), _coded(target, truth)
    return {
        f"{error:g}": {
            name: conformal_limit(scores[classes == k, k], patients[classes == k], error)
            for k, name in enumerate(target.classes)
        }
        for error in ERRORS
    }


def in_sets(target: Target, probabilities: np.ndarray, limits: Limits) -> np.ndarray | None:
    """Return ``(N, K) bool``: which classes cannot be excluded; None where a class has no limit."""
    found = [limits.get(name) for name in target.classes]
    if any(limit is None for limit in found):
        return None
    return nonconformity(target, probabilities) <= np.array(found, dtype=np.float64) + 1e-12


def _coded(target: Target, truth: np.ndarray) -> np.ndarray:
    """Return ``(N,)`` numbers of classes, -1 unknown; a soft label is positive from 0.5 on."""
    known = np.nan_to_num(truth, nan=-1)
    return np.where(known < 0, -1, known >= 0.5 if target.kind == "binary" else known).astype(int)


@dataclass(frozen=True)
class Standing:
    """How a target did on test, and within what limits it is answered.

    Parameters
    ----------
    verdict, reason
        As in ``metrics.json``.
    metric
        What it is judged by, ``auroc`` or ``r2``, with its interval; of a value its ``mae`` too.
    limits
        By error, as `fit_limits` gives them.
    classes
        Why nothing may be shown of some of its classes, by label, where the target as a whole may be.
    """

    verdict: str
    reason: str
    metric: Mapping[str, Json]
    limits: Mapping[str, Limits]
    classes: Whys = field(default_factory=dict)

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for JSON."""
        limits: dict[str, Json] = {error: dict(found) for error, found in self.limits.items()}
        return {
            "verdict": self.verdict, **reason_entries(self.reason, "verdict_reason"), "metric": dict(self.metric),
            "limits": limits, "classes": dict(self.classes),
        }  # fmt: skip


Standings: TypeAlias = Mapping[str, Standing]
"""By target."""


def read_standings(model: Path) -> Standings:
    """Return how each target of a model performed on test, from its folder; empty if it was never evaluated."""
    path = model / ANSWERS
    if not path.is_file():
        return {}
    return {
        name: Standing(
            text(branch(entry).get("verdict")),
            read_reason(branch(entry), "verdict_reason"),
            branch(entry, "metric"),
            {
                error: {k: number(v) for k, v in branch(found).items()}
                for error, found in branch(entry, "limits").items()
            },
            cast(Whys, branch(entry, "classes")),
        )
        for name, entry in branch(read_json(path), "targets").items()
    }


def standings_of(folder: Path) -> Standings:
    """Return the standings of a run, or of a model folder itself."""
    return read_standings(folder if (folder / "model.json").is_file() else Run(folder).model)


def whys_in(standings: Standings) -> dict[str, Why]:
    """Return by target and label why nothing of it may be shown."""
    of_targets = {name: why for name, standing in standings.items() if (why := why_of(standing.verdict))}
    return of_targets | {label: why for one in standings.values() for label, why in one.classes.items()}


def answered(
    predictions: Predictions, standings: Standings, thresholds: Mapping[str, float], error: float = ERROR
) -> Predictions:
    """Return predictions with what is answered of each row.

    What may not be shown (`focusmap.evaluation.showing`) gets no answer. A target that was never evaluated, or of which
    too few patients were in the tuning set, is answered at its operating point, without a set.

    Raises
    ------
    InputError
        If `error` is not one of `ERRORS`.
    """
    if error not in ERRORS:
        raise InputError(f"error {error:g} is not one of {', '.join(f'{known:g}' for known in ERRORS)}.")
    showing = Showing(whys_in(standings))
    columns = [
        _answers(
            target, predictions.of(target.name), thresholds.get(target.name, 0.5), standings.get(target.name), error
        )
        for target in predictions.task.targets
    ]
    rows = [
        tuple(
            replace(answer, answer="none", why=why)
            if (why := showing.why_not(target.name, unlike=is_unlike(flags)))
            else answer
            for target, answer in zip(predictions.task.targets, row, strict=True)
        )
        for row, flags in zip(zip(*columns, strict=True), predictions.flags or [()] * len(predictions), strict=True)
    ]
    return replace(predictions, answers=tuple(rows))


def _answers(
    target: Target, probabilities: np.ndarray, threshold: float, standing: Standing | None, error: float
) -> list[Answer]:
    """Return what would be answered of each row, were all of it to be shown."""
    limits = {} if standing is None else standing.limits.get(f"{error:g}", {})
    if target.is_number:
        half = limits.get("")
        ends = [() if half is None else (f"{value - half:.4g}", f"{value + half:.4g}") for value in probabilities[:, 0]]
        return [Answer("", end) for end in ends]
    names = ("no", "yes") if target.kind == "binary" else target.classes
    called = probabilities[:, 0] >= threshold if target.kind == "binary" else probabilities.argmax(axis=1)
    sets = in_sets(target, probabilities, limits)
    if sets is None:
        return [Answer(names[int(k)]) for k in called]
    # Where every class is excluded, the likeliest is the answer: to add it can only raise the coverage.
    sets[~sets.any(axis=1), :] = np.eye(len(names), dtype=bool)[called.astype(int)][~sets.any(axis=1)]
    return [_answer(target, names, row) for row in sets]


def _answer(target: Target, names: Sequence[str], held: np.ndarray) -> Answer:
    members = tuple(name for name, is_held in zip(target.classes, held, strict=True) if is_held)
    if len(members) == 1:
        return Answer(names[int(held.argmax())], members)
    return Answer("unsure", members, "unsure")


def write_answering(
    run: Run, cohort: Cohort, predictions: Predictions, metrics: Mapping[str, Json], out: Path
) -> dict[str, Json]:
    """Return and write how often the sets hold on test; write limits and standings, and answers to the predictions.

    Of a run with folds each fold's test rows are held against the limits of its own tuning set; the run's own limits,
    for new images, come from all tuning sets together.

    Returns
    -------
    dict
        ``error, targets``: by target ``classes`` (of each ``n``, ``n_patients`` and ``coverage`` with its interval),
        ``answered`` and ``right`` (shares with intervals), and ``curve``: the same two at each error.
    """
    parts = run.parts()
    tunes = [read_predictions(part.predictions("tune"), cohort.task) for part in parts]
    tests = [predictions] if parts == [run] else [read_predictions(p.predictions("test"), cohort.task) for p in parts]
    targets: dict[str, Json] = {}
    standings: dict[str, Json] = {}
    whys = whys_of(metrics)
    for target in cohort.task.targets:
        judged = branch(metrics, "targets", target.name)
        limits = [_limits_on(target, [tune], cohort) for tune in tunes]
        targets[target.name] = _checked(target, list(zip(tests, limits, strict=True)), cohort)
        kept: dict[str, Json] = {key: judged[key] for key in ("auroc", "r2", "mae") if key in judged}
        verdict, reason = text(metrics.get("verdict")), read_reason(metrics, "verdict_reason")
        if verdict != "broken":
            verdict, reason = text(judged.get("verdict")), read_reason(judged, "verdict_reason")
        limits_now = _limits_on(target, tunes, cohort)
        classes = {label: whys[label] for label in target.label_names if label in whys and target.name not in whys}
        standings[target.name] = Standing(verdict, reason, kept, limits_now, classes).to_dict()
    found: dict[str, Json] = {"error": ERROR, "targets": targets}
    write_json(out / COVERAGE, found, sealed=True)
    if out.resolve() == run.evaluation.resolve():
        write_json(run.model / ANSWERS, {"error": ERROR, "targets": standings}, sealed=True)
        thresholds = cast(dict[str, float], read_json(run.model / "model.json")["thresholds"])
        write_predictions(answered(predictions, read_standings(run.model), thresholds), run.predictions("test"))
    return found


def _limits_on(target: Target, tunes: Sequence[Predictions], cohort: Cohort) -> dict[str, Limits]:
    shown = np.concatenate([tune.of(target.name) for tune in tunes])
    truth = np.concatenate([_truth(target, tune, cohort) for tune in tunes])
    return fit_limits(target, shown, truth, np.concatenate([_patients(tune) for tune in tunes]))


def _truth(target: Target, predictions: Predictions, cohort: Cohort) -> np.ndarray:
    return cohort.of(list(predictions.ids["image_id"])).truth[:, cohort.task.index(target.name)]


def _patients(predictions: Predictions) -> np.ndarray:
    column = "patient_id" if "patient_id" in predictions.ids else "image_id"
    return predictions.ids[column].astype(str).to_numpy(dtype=np.str_)


def _checked(
    target: Target, parts: Sequence[tuple[Predictions, Mapping[str, Limits]]], cohort: Cohort
) -> dict[str, Json]:
    """Return what the sets of one target are worth on test rows; empty where a class has no limit in any part."""
    patients = np.concatenate([_patients(test) for test, _ in parts])
    truths = [_truth(target, test, cohort) for test, _ in parts]
    if target.is_number:
        return _checked_values(target, parts, truths, patients)
    classes, sets = _coded(target, np.concatenate(truths)), _sets_by_error(target, parts)
    if ERROR not in sets:
        return {}
    known, covered = classes >= 0, sets[ERROR][np.arange(len(classes)), np.maximum(classes, 0)]
    is_answered, right = _answered_and_right(sets[ERROR], classes)
    curve = [(error, *_answered_and_right(found, classes)) for error, found in sets.items()]
    return {
        "classes": {name: _share(covered, classes == k, patients) for k, name in enumerate(target.classes)},
        "answered": _share(is_answered, known, patients),
        "right": _share(right, is_answered & known, patients),
        "curve": [
            {"error": error, "answered": float(t[known].mean()), "right": float(r[t & known].mean())}
            for error, t, r in curve
            if (t & known).any()
        ],
    }


def _checked_values(
    target: Target,
    parts: Sequence[tuple[Predictions, Mapping[str, Limits]]],
    truths: Sequence[np.ndarray],
    patients: np.ndarray,
) -> dict[str, Json]:
    """Return the share of values that lie within their limits; empty where a part has none."""
    limits = [found[f"{ERROR:g}"][""] for _, found in parts]
    if any(limit is None for limit in limits):
        return {}
    apart = [np.abs(test.of(target.name)[:, 0] - truth) for (test, _), truth in zip(parts, truths, strict=True)]
    within = [one <= cast(float, limit) for one, limit in zip(apart, limits, strict=True)]
    return {"classes": {"": _share(np.concatenate(within), ~np.isnan(np.concatenate(apart)), patients)}}


def _sets_by_error(
    target: Target, parts: Sequence[tuple[Predictions, Mapping[str, Limits]]]
) -> dict[float, np.ndarray]:
    """Return, by each error for which every part has limits, which classes remain: ``(N, K) bool``."""
    found = {
        error: [in_sets(target, test.of(target.name), limits[f"{error:g}"]) for test, limits in parts]
        for error in ERRORS
    }
    return {
        error: np.concatenate(cast(list[np.ndarray], sets))
        for error, sets in found.items()
        if all(one is not None for one in sets)
    }


def _answered_and_right(sets: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(N,) bool`` each: where one class remains, or none, and where that is the true one."""
    alone = sets.sum(axis=1) == 1
    return alone, alone & (sets.argmax(axis=1) == classes)


def _share(holds: np.ndarray, among: np.ndarray, patients: np.ndarray) -> dict[str, Json]:
    """Return the share of rows `among` which something holds, with its patient-clustered interval."""
    n = int(among.sum())
    if not n:
        return {"n": 0, "n_patients": 0}
    held, own = holds[among].astype(np.float64), patients[among]
    n_patients = len(np.unique(own))
    interval = bounded_interval(bootstrap(lambda weights: held @ weights / weights.sum(axis=0), own), n_patients)
    return {"n": n, "n_patients": n_patients, **interval.to_dict()}
