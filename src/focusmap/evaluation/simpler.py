"""Simpler answers beside a model's, with paired intervals: the usual one, the baseline value, a fast model of rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from focusmap.basics import Json, read_json, write_json
from focusmap.evaluation.comparison import compare_predictions
from focusmap.evaluation.metrics import EvaluationOptions, evaluate_predictions
from focusmap.evaluation.predictions import (
    Predictions,
    from_probabilities,
    joined,
    of_images,
    of_targets,
    read_predictions,
)
from focusmap.evaluation.verdict import USUAL
from focusmap.study import Cohort, Run, Target, Task, fold_split, read_split


def usual_answer(task: Task, truth: np.ndarray) -> np.ndarray:
    """Return ``(L,)``: the mean of each target over the known truth ``(N, T)`` of train, or the share of each class.

    A target that train does not know at all is answered with 0, or with equal shares.

    >>> usual_answer(Task((Target("a"), Target("v", "continuous"))), np.array([[1.0, 3.0], [0.0, np.nan]]))
    array([0.5, 3. ])
    """
    answers = []
    for position, target in enumerate(task.targets):
        known = truth[~np.isnan(truth[:, position]), position]
        if target.has_logit_per_class:
            counts = np.bincount(known.astype(int), minlength=target.n_logits)
            answers.append(counts / counts.sum() if len(known) else np.full(target.n_logits, 1 / target.n_logits))
        else:
            empty = 0.0 if target.is_number else 0.5
            answers.append(np.array([known.mean() if len(known) else empty]))
    return np.concatenate(answers)


def carried_forward(target: Target, before: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Return ``(N, n)``: the baseline value as the answer, and the usual answer ``(N, n)`` where there is none.

    Parameters
    ----------
    target
        What is predicted.
    before
        ``(N,)``: its baseline value, NaN where that is not known.
    usual
        ``(N, n)``, as `usual_answer` gives it.

    >>> carried_forward(Target("a"), np.array([1.0, np.nan]), np.array([[0.3], [0.3]])).tolist()
    [[1.0], [0.3]]
    """
    answers = Task((target,)).label_truth(before[:, None])
    return np.where(np.isnan(before)[:, None], usual, answers)


BASELINES = "baselines.json"
CARRIED = "carried-forward"


@dataclass(frozen=True)
class Simpler:
    """A simpler answer for the images that a model has answered: for all of its targets, or some.

    Parameters
    ----------
    name
        ``mean``, ``carried-forward``, or that of a model.
    predictions
        Of the same images.
    thresholds
        As for `EvaluationOptions`.
    without
        By target, how many of the images with a known truth have no baseline value and are given the usual answer.
    is_rung
        Whether it is a rung of the model's own ladder: a candidate that was not chosen, and no baseline.
    """

    name: str
    predictions: Predictions
    thresholds: Mapping[str, float | np.ndarray]
    without: Mapping[str, int]
    is_rung: bool = False


def write_baselines(
    run: Run, cohort: Cohort, predictions: Predictions, settings: EvaluationOptions, out: Path
) -> dict[str, Json]:
    """Return and write how simpler answers do on the images of `predictions`, and by how much the model betters them.

    Returns
    -------
    dict
        ``baselines``: a list of ``name``, ``is_rung`` (a candidate of the ladder that was not chosen, and no baseline),
        ``metrics`` (as in ``metrics.json``), ``difference`` (model - baseline, as `compare_predictions` gives it) and
        ``without_earlier_value``.
    """
    truth = cohort.of(list(predictions.ids["image_id"])).truth
    return set_beside(_simpler_answers(run, cohort, predictions), predictions, truth, settings, out)


def set_beside(
    simplers: Iterable[Simpler], predictions: Predictions, truth: np.ndarray, settings: EvaluationOptions, out: Path
) -> dict[str, Json]:
    """Return and write how given simpler answers do on the images of `predictions`, as `write_baselines` does."""
    entries: list[Json] = []
    for simpler in simplers:
        names = simpler.predictions.task.names
        columns = [predictions.task.index(name) for name in names]
        simpler_settings = replace(settings, thresholds=simpler.thresholds)
        metrics = evaluate_predictions(simpler.predictions, truth[:, columns], simpler_settings)
        paired = (of_targets(predictions, names), simpler.predictions)
        difference = compare_predictions(*paired, truth[:, columns], (settings, simpler_settings))
        without = cast(Json, dict(simpler.without))
        entry: dict[str, Json] = {"name": simpler.name, "is_rung": simpler.is_rung, "metrics": metrics}
        entries.append({**entry, "difference": difference, "without_earlier_value": without})
    content: dict[str, Json] = {"baselines": entries}
    write_json(out / BASELINES, content, sealed=True)
    return content


def baseline_run(part: Run) -> Run:
    """Return where the fast model beside a run, or beside one of its folds, lies."""
    return Run(part.folder / "baseline")


def _simpler_answers(run: Run, cohort: Cohort, predictions: Predictions) -> Iterator[Simpler]:
    usual = _usual(run, cohort, predictions)
    yield Simpler(USUAL, from_probabilities(cohort.task, predictions.ids, usual), {}, {})
    if cohort.study.before:
        yield carried(cohort.of(list(predictions.ids["image_id"])), predictions, usual)
    if all(baseline_run(part).predictions("test").is_file() for part in run.parts()):
        yield _other_model([baseline_run(part) for part in run.parts()], cohort, predictions)
    for name in rungs_beside(run):
        rung = _other_model([part.rung(name) for part in run.parts()], cohort, predictions)
        yield replace(rung, name=name, is_rung=True)


def rungs_beside(run: Run) -> list[str]:
    """Return the rungs of the ladder, the simplest first, that were not chosen, of all folds."""
    parts = run.parts()
    if not all(part.ladder.is_file() for part in parts):
        return []
    ladders = [read_json(part.ladder) for part in parts]
    chosen = {str(ladder["chosen"]) for ladder in ladders}
    names = [str(rung["name"]) for rung in cast(list[Mapping[str, Json]], ladders[0]["rungs"])]
    reached = [name for name in names if all(part.rung(name).predictions("test").is_file() for part in parts)]
    return [name for name in reached if chosen != {name}]


def _usual(run: Run, cohort: Cohort, predictions: Predictions) -> np.ndarray:
    """Return ``(N, L)``: of each image the usual answer on the train that its own model has seen."""
    split, parts = read_split(run.split, cohort), run.parts()
    answers = np.empty(predictions.probabilities.shape)
    for k in range(len(parts)):
        of_part = split if parts == [run] else fold_split(split, k)
        tested = predictions.rows(of_part.ids("test"))
        answers[tested] = usual_answer(cohort.task, cohort.of(of_part.ids("train")).truth)
    return answers


def carried(members: Cohort, predictions: Predictions, usual: np.ndarray) -> Simpler:
    """Return the baseline value as the answer for the rows of `predictions`; the usual one ``(N, L)`` without any."""
    cohort, blocks, without = members, [], {}
    targets = [target for target in cohort.task.targets if target.name in cohort.study.before]
    for target in targets:
        before = target.encode([str(cell) for cell in members.table[cohort.study.before[target.name]]])
        # Others are not scored: those of unknown truth, and of a change target all without a baseline value.
        is_scored = ~np.isnan(members.truth[:, cohort.task.index(target.name)])
        without[target.name] = int(np.isnan(before[is_scored]).sum())
        blocks.append(carried_forward(target, before, usual[:, cohort.task.slice_of(target.name)]))
    answers = from_probabilities(Task(tuple(targets)), predictions.ids, np.concatenate(blocks, axis=1))
    return Simpler(CARRIED, answers, {}, without)


def _other_model(parts: Sequence[Run], cohort: Cohort, predictions: Predictions) -> Simpler:
    """Return the answers of a model that lies beside a run, or beside each of its folds."""
    tables = [read_predictions(part.predictions("test"), cohort.task) for part in parts]
    cards = [read_json(part.model / "model.json") for part in parts]
    pooled = joined(tables)
    thresholds = _thresholds(tables, [cast(Mapping[str, float], card["thresholds"]) for card in cards], pooled)
    name = str(cast(Mapping[str, Json], cards[0]["architecture"])["model"])
    wanted = list(predictions.ids["image_id"])
    rows = pooled.rows(wanted)
    return Simpler(name, of_images(pooled, wanted), {key: values[rows] for key, values in thresholds.items()}, {})


def _thresholds(
    tables: Sequence[Predictions], found: Sequence[Mapping[str, float]], pooled: Predictions
) -> dict[str, np.ndarray]:
    """Return the operating points ``(N,)`` of each image of the pooled table: those of the model that answered it."""
    sizes = [len(table) for table in tables]
    assert sum(sizes) == len(pooled)
    return {name: np.repeat([thresholds[name] for thresholds in found], sizes) for name in found[0]}
