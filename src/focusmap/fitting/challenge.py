"""How far a result depends on how it was measured: other splits, shuffled labels, fewer patients, confounders.

All of it by one family of models, the linear probe on frozen features, so that only what is varied differs, and a study
of some hundred images takes a minute or two. What comes out says what such models would seem to reach; it is no
evaluation of the run's own model.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np

from focusmap import nets
from focusmap.basics import Json, Progress, UnreadableImageError, atomic, branch, number
from focusmap.evaluation import EvaluationOptions, Predictions, doubts, evaluate_predictions
from focusmap.fitting.covers import Cover, Covered, covered
from focusmap.fitting.frozen import Change, features_key, kept_features, measure_each_change, unchanged
from focusmap.fitting.probe import fit_head
from focusmap.images import AnyPreparation
from focusmap.study import Cohort, Recipe, Samples, Target, Task, preparation_for

N_FOLDS = 5
N_SHUFFLES = 5
STRENGTHS = (1e-3,)  # of all probes the same, so that only what is asked differs
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the patients of each fold's train
MOST_VALUES = 10  # of a column that the features are asked for
FEWEST = 10  # rows with each value
WANTED_HALF_WIDTH = 0.03
FEWEST_POINTS = 3
TIMES_MORE = 2  # patients that the forecast is of


@dataclass(frozen=True)
class Challenge:
    """Features ``(N, D)`` of a cohort's N rows, and what else may explain a label.

    Parameters
    ----------
    duplicates
        Pairs of ids of near or exact duplicates.
    columns
        Of the label file, by name: what is no disease, such as site, view or scanner. Each value is held out once.
    beside
        What else is no disease, by name, such as the hour of acquisition; empty where it is not known.
    covered
        The same of images of which a part is covered, by its name.
    seed
        Of all that is drawn.
    """

    features: np.ndarray
    cohort: Cohort
    duplicates: Sequence[tuple[str, str]] = ()
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    beside: Mapping[str, Sequence[str]] = field(default_factory=dict)
    covered: Mapping[str, Covered] = field(default_factory=dict)
    seed: int = 0


def frozen_features(
    cohort: Cohort, recipe: Recipe, device: str, progress: Progress, covers: Mapping[str, Cover], place: Path
) -> tuple[np.ndarray, dict[str, Covered]]:
    """Return features ``(N, D)`` of a cohort's images, and with each of the covers, by a resolved recipe of a probe.

    They are measured once, and kept in the folder `place` where there is one.

    Raises
    ------
    UnreadableImageError
        If an image cannot be read.
    """
    net = cast(
        "nets.LevelsNet",
        nets.build_net(nets.architecture_of(recipe, cohort.task), recipe.weights, recipe.seed).to(device),
    )
    file = place / f"challenge-{_key(features_key(net, mirrored=False), cohort, covers)}.npy"
    measured = kept_features(file)
    if measured is None:
        measured = _measured(net, cohort, preparation_for(recipe), progress, covers)
        if place.is_dir():
            with atomic(file) as temporary:
                np.save(temporary, measured)
    first, *covered = measured.astype(np.float64)
    pairs = zip(covers.items(), covered, strict=True)
    return first, {name: Covered(features, cover) for (name, cover), features in pairs}


def _key(net: str, cohort: Cohort, covers: Mapping[str, Cover]) -> str:
    """Return a name of what is measured: by which net, of which images, with what covered."""
    digest = hashlib.sha256("\0".join([net, *cohort.image_ids]).encode())
    for cover in covers.values():
        digest.update(cover.boxes.tobytes())
    return digest.hexdigest()[:16]


def _measured(
    net: "nets.LevelsNet",
    cohort: Cohort,
    preparation: AnyPreparation,
    progress: Progress,
    covers: Mapping[str, Cover],
) -> np.ndarray:
    """Return ``(1 + C, N, D) float32``: features of the images as they are, and with each of C covers."""
    samples, changes = Samples.from_files(cohort), [unchanged, *(_hiding(cover) for cover in covers.values())]
    features = measure_each_change(net, samples, preparation, progress, changes, len(changes) * len(samples))
    if samples.failures:
        raise UnreadableImageError(samples.failures[0].reason)
    return np.stack(features)


def _hiding(cover: Cover) -> Change:
    return lambda batch, images: covered(images.pixels, images.placements, cover.boxes[batch.positions])


def run_challenge(question: Challenge, say: Callable[[str], None] = lambda _: None) -> dict[str, Json]:
    """Return the content of ``challenge.json``.

    Returns
    -------
    dict
        ``splits``: by name the mean AUROC with its interval when images, patients, or patients with their duplicates
        are kept on one side, when each value of a column is held out, and with labels shuffled among patients (the
        mean, lowest and highest of five). ``curve``: the same by number of patients that were learnt from.
        ``n_patients_needed``: about how many would have to be tested for an interval of 0.03 to either side.
        ``columns``: how well the same features tell what is no disease. ``covered``: by what is covered, the same as of
        ``splits`` by patient, the ``share`` of the image that is, and what the same images reach ``uncovered``.
        ``forecast``: within what limits the AUROC will
        lie when twice as many patients have come. ``doubtful``: labels that may be wrong, the most doubtful first.
    """
    cohort, draw = question.cohort, np.random.default_rng(question.seed)
    patients = numbered(cohort.patient_ids)
    schemes = _schemes(question, patients, draw)
    by_patient = schemes["patient"]
    splits: dict[str, Json] = {}
    for name, folds in schemes.items():
        splits[name] = _auroc(question, folds)
        say(f"{name}: {_in_words(splits[name])}")
    splits["shuffled labels"] = auroc_shuffled(question, patients, by_patient, draw)
    say(f"shuffled labels: {_in_words(splits['shuffled labels'])}")
    curve = [auroc_at_share(question, patients, by_patient, share) for share in SHARES]
    plain = _out_of_fold(question, by_patient, is_levelled=False)
    doubtful = doubts(cohort.task, cohort.task.probabilities(plain), cohort.truth)
    no_disease = {**question.columns, **question.beside}
    beside_disease = {
        name: row for name, cells in no_disease.items() if (row := _auroc_of_column(question, name, cells, by_patient))
    }
    covers = {name: _auroc_covered(question, part, by_patient) for name, part in question.covered.items()}
    return {
        "splits": splits, "curve": [*curve],
        "n_patients_needed": _n_patients_needed(branch(splits["patient"]), patients),
        "columns": {**beside_disease}, "covered": {**covers}, "forecast": forecast(curve),
        "doubtful": [{**_ids_of(cohort, doubt.row), **doubt.to_dict()} for doubt in doubtful],
    }  # fmt: skip


def _schemes(question: Challenge, patients: np.ndarray, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the fold of each row ``(N,)`` by each way to split: by patient, image, patient with duplicates, column."""
    cohort = question.cohort
    schemes = {"patient": random_folds(patients, draw)}
    if patients.max() + 1 < len(cohort):
        schemes = {"image": random_folds(np.arange(len(cohort)), draw), **schemes}
    if question.duplicates:
        schemes["patient-and-duplicates"] = random_folds(
            _joined_by_duplicates(cohort, patients, question.duplicates), draw
        )
    for name, cells in question.columns.items():
        if 1 < len(set(cells)) <= MOST_VALUES:
            schemes[f"held-out {name}"] = numbered(cells)
    return schemes


def numbered(cells: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return ``(N,) int``: equal cells share a number, from 0 on in the order of their texts."""
    return np.unique(np.asarray(cells).astype(str), return_inverse=True)[1].reshape(-1)


def random_folds(groups: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return five folds of whole groups, as even as chance makes them."""
    return np.asarray(draw.permutation(groups.max() + 1)[groups] % N_FOLDS)


def _joined_by_duplicates(cohort: Cohort, patients: np.ndarray, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Return groups of patients that share a duplicate, however far."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known = [(cohort.positions[a], cohort.positions[b]) for a, b in pairs if {a, b} <= cohort.positions.keys()]
    a, b = (patients[[pair[side] for pair in known]] for side in (0, 1))
    n = patients.max() + 1
    _, of_patient = connected_components(coo_array((np.ones(len(known)), (a, b)), shape=(n, n)), directed=False)
    return np.asarray(of_patient[patients])


def _out_of_fold(
    question: Challenge, folds: np.ndarray, learnt: np.ndarray | None = None, *, is_levelled: bool = True
) -> np.ndarray:
    """Return logits ``(N, L)`` of each fold by a probe of the others, or of the rows among them that are `learnt`.

    Levelled, less what each probe says of its own rows on the whole: a fold with many positives leaves few to learn
    from, so that probes that know nothing would rank its images below those of others, and do worse than guessing.
    """
    features, cohort = question.features, question.cohort
    learnt = np.full(len(cohort), True) if learnt is None else learnt
    logits = np.zeros((len(cohort), cohort.task.n_logits))
    for fold in np.unique(folds):
        train = np.flatnonzero((folds != fold) & learnt)
        rows = cohort.take(train)
        probe = fit_head(cohort.task, features[train], rows.truth, rows, question.seed, STRENGTHS)
        level = probe(features[train]).mean(axis=0) if is_levelled else 0.0
        logits[folds == fold] = probe(features[folds == fold]) - level
    return logits


def _auroc(question: Challenge, folds: np.ndarray, learnt: np.ndarray | None = None) -> dict[str, Json]:
    """Return the mean AUROC over targets that probes reach out of fold, with its patient-clustered interval."""
    cohort, logits = question.cohort, _out_of_fold(question, folds, learnt)
    ids = cohort.table[["image_id", "patient_id"]].reset_index(drop=True)
    predictions = Predictions(cohort.task, ids, logits, cohort.task.probabilities(logits))
    metrics = evaluate_predictions(predictions, cohort.truth, EvaluationOptions(n_resamples=500))
    return dict(branch(metrics["mean"], "auroc"))


def auroc_shuffled(
    question: Challenge, patients: np.ndarray, folds: np.ndarray, draw: np.random.Generator
) -> dict[str, Json]:
    """Return the mean, the lowest and the highest of what is reached when patients have the labels of others."""
    first = np.unique(patients, return_index=True)[1]
    reached = []
    for _ in range(N_SHUFFLES):
        of_other = first[draw.permutation(len(first))][patients]
        names = question.cohort.task.names
        table = question.cohort.table.assign(
            **{name: question.cohort.table[name].to_numpy()[of_other] for name in names}
        )
        auroc = _auroc(replace(question, cohort=replace(question.cohort, table=table)), folds)
        if (value := number(auroc["value"])) is not None:
            reached.append(value)
    if not reached:
        return {"value": None, "low": None, "high": None}
    return {"value": float(np.mean(reached)), "low": min(reached), "high": max(reached), "n_shuffles": len(reached)}


def auroc_at_share(question: Challenge, patients: np.ndarray, folds: np.ndarray, share: float) -> dict[str, Json]:
    """Return what is reached when only a share of the patients of train is learnt from."""
    order = np.random.default_rng(question.seed).permutation(patients.max() + 1)
    learnt = order[patients] < share * len(order)
    n = round(len(np.unique(patients[learnt])) * (N_FOLDS - 1) / N_FOLDS)
    try:
        return {"n_patients": n, **_auroc(question, folds, learnt)}
    except (ValueError, np.linalg.LinAlgError):
        return {"n_patients": n, "value": None, "low": None, "high": None}


def _n_patients_needed(reached: Mapping[str, Json], patients: np.ndarray) -> int | None:
    """Return about how many patients make an interval of `WANTED_HALF_WIDTH`; its width falls with their root."""
    low, high = number(reached.get("low")), number(reached.get("high"))
    if low is None or high is None:
        return None
    return int(np.ceil(len(np.unique(patients)) * ((high - low) / 2 / WANTED_HALF_WIDTH) ** 2))


def _auroc_of_column(question: Challenge, name: str, cells: Sequence[str], folds: np.ndarray) -> dict[str, Json] | None:
    """Return how well the features tell the values of a column; None where there are too few rows of each."""
    values = np.array([str(cell).strip() for cell in cells])
    names, counts = np.unique(values[values != ""], return_counts=True)
    frequent = [str(value) for value, count in zip(names, counts, strict=True) if count >= FEWEST]
    if not 1 < len(frequent) <= MOST_VALUES:
        return None
    rows = np.flatnonzero(np.isin(values, frequent))
    target = Target(name) if len(frequent) == 2 else Target(name, "multiclass", tuple(frequent))
    column = (values[rows] == frequent[1]).astype(int).astype(str) if len(frequent) == 2 else values[rows]
    cohort = question.cohort.take(rows)
    study = replace(cohort.study, task=Task((target,)))
    cohort = replace(cohort, table=cohort.table.assign(**{name: column}), study=study)
    of_rows = replace(question, features=question.features[rows], cohort=cohort)
    return {"values": [*frequent], **_auroc(of_rows, folds[rows])}


def _auroc_covered(question: Challenge, part: Covered, folds: np.ndarray) -> dict[str, Json]:
    """Return what probes reach that learn from, and are asked about, images of which a part is covered."""
    rows = np.flatnonzero(part.cover.rows)
    cohort = question.cohort.take(rows)
    with_it, without = (
        _auroc(replace(question, features=features[rows], cohort=cohort), folds[rows])
        for features in (part.features, question.features)
    )
    return {"share": part.cover.share, "n_images": len(rows), **with_it, "uncovered": without}


def forecast(curve: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """Return where the AUROC will lie when there are `TIMES_MORE` as many patients, learnt from and tested.

    The curve is ``a - b / sqrt(n)`` with b not below 0, by least squares. The limits hold what was measured, since the
    patients who come are added to those who are here, with the share of its variance that new patients can change, and
    as much again as the curve says will be gained.

    Parameters
    ----------
    curve
        Rows of ``n_patients, value, low, high`` by rising numbers of patients.

    Returns
    -------
    dict
        ``n_patients``, ``value``, ``low``, ``high``; empty where fewer than three points are known.
    """
    known = [[number(row.get(key)) for key in ("n_patients", "value", "low", "high")] for row in curve]
    points = np.array([row for row in known if None not in row], dtype=np.float64)
    if len(points) < FEWEST_POINTS:
        return {}
    n, value = points[:, 0], points[:, 1]
    design = 1 / np.sqrt(n)
    slope = -np.cov(design, value, bias=True)[0, 1] / max(float(design.var()), 1e-12)
    gain = max(0.0, float(slope)) * (design[-1] - 1 / np.sqrt(TIMES_MORE * n[-1]))
    half = np.hypot((points[-1, 3] - points[-1, 2]) / 2 * np.sqrt(1 - 1 / TIMES_MORE), gain)
    centre = min(1.0, value[-1] + gain)
    return {
        "n_patients": round(TIMES_MORE * n[-1]), "value": float(centre), "low": max(0.0, float(centre - half)),
        "high": min(1.0, float(centre + half)),
    }  # fmt: skip


def _ids_of(cohort: Cohort, row: int) -> dict[str, Json]:
    names = [name for name in ("image_id", "path", "patient_id") if name in cohort.table]
    return {name: str(cohort.table[name].iloc[row]) for name in names}


def _in_words(reached: Json) -> str:
    value, low, high = (number(branch(reached).get(key)) for key in ("value", "low", "high"))
    limits = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return "undefined" if value is None else f"{value:.3f}{limits}"
