"""What lies in a run folder, read as far as it is there; and its test predictions beside the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.basics import Json, branch, items, number, read_json, read_table
from focusmap.evaluation import Evidence, with_verdict
from focusmap.models import ModelCard, read_card
from focusmap.report.words import Words
from focusmap.study import MEAN, REPRODUCTION, ModelName, Recipe, Study, parse_model, read_recipe, read_study
from focusmap.study.task import DEFAULT_THRESHOLD, Target, Task

Tree = Mapping[str, Json]
OF_OTHERS = ("metrics", "baselines", "drift")


@dataclass(frozen=True)
class RunFiles:
    """The files of a run; what is missing is None or empty.

    Parameters
    ----------
    cohort
        ``cohort.csv`` with the column ``split`` of ``split.csv`` added where that exists.
    histories
        ``history.csv`` of the run, or of each of its folds and seeds by name.
    card
        Of the run's model; of a run with folds, that of their ensemble.
    fold_cards
        In a run with folds, the card of each fold's model, by the number of the fold.
    predicted_by
        In a run with folds, by image_id the number of the fold that predicted it.
    reproduction
        ``reproduction.json``: whether a second training predicted the same.
    baselines
        ``evaluation/baselines.json``.
    subgroups
        ``evaluation/subgroups.json``.
    challenge
        ``evaluation/challenge.json``.
    images
        ``images.csv``, where the cohort's rows are cases.
    coverage
        ``evaluation/coverage.json``.
    doubtful
        ``evaluation/label_errors.csv``: labels that may be wrong, the most doubtful first.
    elsewhere
        By the name of another label file, ``metrics``, ``baselines`` and ``drift`` of ``evaluation/NAME/``.
    importance
        ``evaluation/importance.json``, of a model that is shown a table.
    sides
        ``evaluation/sides.json``, of a model of cases.
    attention
        ``predictions/attention.csv``, of a model of cases.
    index
        ``focus/index.csv``.
    scores
        ``focus/scores.json``.
    single_scores
        ``focus/scores.csv``.
    trust
        ``focus/trust.json``.
    masks
        ``segmentation/index.csv``.
    lesions
        ``segmentation/lesions.csv``.
    mask_scores
        ``segmentation/scores.json``.
    mask_cautions
        ``segmentation/cautions.json``.
    """

    folder: Path
    study: Study
    cohort: pd.DataFrame | None
    images: pd.DataFrame | None
    split_facts: Tree
    audit: Tree
    recipe: Recipe | None
    histories: Mapping[str, Mapping[str, np.ndarray]]
    manifest: Tree
    reproduction: Tree
    card: ModelCard | None
    fold_cards: Mapping[str, ModelCard]
    predicted_by: Mapping[str, str]
    predictions: pd.DataFrame | None
    attention: pd.DataFrame | None
    metrics: Tree
    curves: Tree
    baselines: Tree
    coverage: Tree
    subgroups: Tree
    challenge: Tree
    doubtful: pd.DataFrame | None
    elsewhere: Mapping[str, Tree]
    importance: Tree
    sides: Tree
    ladder: Tree
    index: pd.DataFrame | None
    scores: Tree
    single_scores: pd.DataFrame | None
    trust: Tree
    masks: pd.DataFrame | None
    lesions: pd.DataFrame | None
    mask_scores: Tree
    mask_cautions: Tree

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.study.task

    @property
    def counts_cases(self) -> bool:
        """Whether a row of the cohort is a case: of several images, or of a table without any."""
        return self.images is not None or self.study.path_column is None

    @property
    def knows_patients(self) -> bool:
        """Whether a column says which rows are one patient's; else each row, or case, only stands for one."""
        return self.study.patients == "column"

    @property
    def accepted(self) -> tuple[str, ...]:
        """Names of blocking findings that were overridden."""
        named = [*_names(self.audit.get("accepted")), *_names(self.manifest.get("accepted"))]
        if self.study.patients == "none":
            named.append("no-patient-column")
        return tuple(dict.fromkeys(named))


def read_run(folder: Path) -> RunFiles:
    """Return everything that a report is made of.

    Raises
    ------
    MissingFileError, InputError
        If ``study.yaml`` is not there, or a file that is there cannot be read.
    """
    parts, folds = _parts(folder), _numbered(folder / "folds")
    masks = _table(folder / "segmentation" / "index.csv")
    # Where all masks are empty, the table of lesions has no row.
    has_lesions = masks is not None and bool((masks["n_pixels"] != "0").any())
    return RunFiles(
        folder=folder,
        study=read_study(folder / "study.yaml"),
        cohort=_cohort(folder),
        images=_table(folder / "pictures.csv"),
        split_facts=_json(folder / "split.json"),
        audit=_json(folder / "audit.json"),
        recipe=_recipe(folder),
        histories={name: read_history(part / "history.csv") for name, part in parts.items() if _has_history(part)},
        manifest=_json(folder / "manifest.json"),
        reproduction=_json(folder / REPRODUCTION),
        card=next((read_card(_card(part)) for part in (folder, *parts.values()) if _card(part).is_file()), None),
        fold_cards={fold.name: read_card(_card(fold)) for fold in folds if _card(fold).is_file()},
        predicted_by=_predicted_by(folds),
        predictions=_table(folder / "predictions" / "test.csv"),
        attention=_table(folder / "predictions" / "attention.csv"),
        metrics=_judged(folder),
        curves=_json(folder / "evaluation" / "curves.json"),
        baselines=_json(folder / "evaluation" / "baselines.json"),
        coverage=_json(folder / "evaluation" / "coverage.json"),
        subgroups=_json(folder / "evaluation" / "subgroups.json"),
        challenge=_json(folder / "evaluation" / "challenge.json"),
        doubtful=_doubtful(folder / "evaluation"),
        elsewhere=_elsewhere(folder / "evaluation"),
        importance=_json(folder / "evaluation" / "importance.json"),
        sides=_json(folder / "evaluation" / "sides.json"),
        ladder=_json(folder / "ladder.json"),
        index=_table(folder / "focus" / "index.csv"),
        scores=_json(folder / "focus" / "scores.json"),
        single_scores=_table(folder / "focus" / "scores.csv"),
        trust=_json(folder / "focus" / "trust.json"),
        masks=masks,
        lesions=_table(folder / "segmentation" / "lesions.csv") if has_lesions else None,
        mask_scores=_json(folder / "segmentation" / "scores.json"),
        mask_cautions=_json(folder / "segmentation" / "cautions.json"),
    )


def _elsewhere(evaluation: Path) -> dict[str, Tree]:
    """Return what was written of each other label file, by its name."""
    places = sorted(path.parent for path in evaluation.glob("*/drift.json"))
    return {place.name: {name: _json(place / f"{name}.json") for name in OF_OTHERS} for place in places}


def _doubtful(evaluation: Path) -> pd.DataFrame | None:
    """Return the labels that a challenge doubts; None where it doubts none, or none was made."""
    n = number(_json(evaluation / "challenge.json").get("n_doubtful"))
    return _table(evaluation / "label_errors.csv") if n else None


def model_name(files: RunFiles) -> ModelName:
    """Return what the run's model is: as its card names it, or its recipe."""
    named = files.card.architecture.get("model") if files.card else files.recipe.model if files.recipe else ""
    return parse_model(str(named))


def can_be_mapped(files: RunFiles) -> bool:
    """Return whether the run's model is a net that is shown images, which can be asked where it looks."""
    return model_name(files).is_net_of_images


def can_be_trusted(files: RunFiles) -> bool:
    """Return whether trust in the maps can be measured: those of a net of single images, not of cases."""
    return can_be_mapped(files) and not (files.card and "net" in files.card.architecture)


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Return the number columns of a ``history.csv``, each ``(epochs,) float``; NaN where a cell is empty."""
    return numeric_history(read_table(path))


def numeric_history(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the columns of a history that hold numbers; True and False become 1 and 0."""
    columns = {}
    for name in table.columns:
        cells = table[name].astype(str).replace({"True": "1", "False": "0"})
        values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
        if np.isfinite(values).any():
            columns[str(name)] = values
    return columns


def trained_rung(ladder: Tree) -> str:
    """Return the rung of a ladder whose settings say most: the chosen one, or the strongest member of a mean."""
    names = [str(branch(rung).get("name")) for rung in items(ladder.get("rungs"))]
    chosen = str(ladder.get("chosen"))
    single = [name for name in names if name != MEAN]
    return single[-1] if chosen == MEAN and single else chosen


def _recipe(folder: Path) -> Recipe | None:
    """Return the settings that the run's model was trained with: of a ladder those of a rung, not of its beginning."""
    own = folder / "recipe.yaml"
    if (folder / "ladder.json").is_file():
        rung = trained_rung(read_json(folder / "ladder.json"))
        places = [folder, *_numbered(folder / "folds")]
        recipes = (place / "rungs" / rung / "recipe.yaml" for place in places)
        own = next((recipe for recipe in recipes if recipe.is_file()), own)
    return read_recipe(own) if own.is_file() else None


def _parts(folder: Path) -> dict[str, Path]:
    folds = {f"fold {path.name}": path for path in _numbered(folder / "folds")} or {folder.name: folder}
    parts = {}
    for name, part in folds.items():
        parts[name] = part
        if not _has_history(part):
            parts |= {f"{name}, {rung.name}": rung for rung in sorted(part.glob("rungs/*")) if _has_history(rung)}
        parts |= {f"{name}, net {int(path.name) + 1}": path for path in _numbered(part / "seeds")}
    return parts


def _numbered(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))


def _predicted_by(folds: Sequence[Path]) -> dict[str, str]:
    fold_of: dict[str, str] = {}
    for fold in folds:
        tested = _table(fold / "predictions" / "test.csv")
        fold_of |= {} if tested is None else dict.fromkeys(tested["image_id"], fold.name)
    return fold_of


def _card(part: Path) -> Path:
    return part / "model" / "model.json"


def _has_history(part: Path) -> bool:
    path = part / "history.csv"
    return path.is_file() and path.stat().st_size > 0


def _cohort(folder: Path) -> pd.DataFrame | None:
    cohort, split = _table(folder / "cohort.csv"), _table(folder / "split.csv")
    if cohort is None or split is None:
        return cohort
    parts = dict(zip(split["image_id"], split["split"], strict=True))
    return cohort.assign(split=[parts.get(image_id, "") for image_id in cohort["image_id"]])


def _table(path: Path) -> pd.DataFrame | None:
    return read_table(path) if path.is_file() else None


def _json(path: Path) -> Tree:
    return read_json(path, checked=False) if path.is_file() else {}


def _judged(folder: Path) -> Tree:
    """Return the metrics; those of an older file get the verdict that they lack."""
    metrics = _json(folder / "evaluation" / "metrics.json")
    if not metrics or "verdict" in metrics:
        return metrics
    baselines = items(_json(folder / "evaluation" / "baselines.json").get("baselines"))
    accepted = _names(_json(folder / "audit.json").get("accepted"))
    return with_verdict(Evidence(metrics, [branch(entry) for entry in baselines], accepted))


def _names(value: Json) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def judged_predictions(files: RunFiles, words: Words) -> pd.DataFrame | None:
    """Return test predictions with their truth; None if there are no predictions or no cohort.

    Returns
    -------
    DataFrame
        ``image_id, path, patient_id, target, label, truth`` (0, 1; NaN unknown), ``known`` (the truth in words:
        present, absent, or the class), ``probability, operating_point`` (0 for a class, which needs only to be the
        most probable), ``called`` (whether the label was predicted) and ``outcome`` (TP, FP, FN, TN, or an empty string
        where the truth is unknown). Continuous targets are left out.
    """
    if files.predictions is None or files.cohort is None:
        return None
    truth = _truth_by_label(files, files.cohort, files.predictions["image_id"])
    tables = [
        _of_target(files, files.predictions, target, truth, words)
        for target in files.task.targets
        if not target.is_number
    ]
    return pd.concat(tables, ignore_index=True) if tables else None


def threshold_of(files: RunFiles, target: str) -> float:
    """Return the operating point of a binary target; where folds have their own, the median over images."""
    threshold = number(branch(files.metrics, "targets", target).get("threshold"))
    if threshold is None and files.card is not None:
        threshold = files.card.threshold_of(target)
    return DEFAULT_THRESHOLD if threshold is None else threshold


def thresholds_of(files: RunFiles, target: str, image_ids: Sequence[str]) -> np.ndarray:
    """Return the operating point ``(N,)`` of a binary target for each image: that of the fold that predicted it."""
    usual = threshold_of(files, target)
    own = {fold: card.thresholds.get(target, usual) for fold, card in files.fold_cards.items()}
    return np.array([own.get(files.predicted_by.get(image_id, ""), usual) for image_id in image_ids])


def _truth_by_label(files: RunFiles, cohort: pd.DataFrame, image_ids: pd.Series) -> dict[str, np.ndarray]:
    positions = {image_id: position for position, image_id in enumerate(cohort["image_id"])}
    rows = np.array([positions.get(image_id, -1) for image_id in image_ids], dtype=np.intp)
    labels = files.task.label_truth(files.task.encode(cohort))[rows]
    labels[rows < 0] = np.nan
    return {name: labels[:, column] for column, name in enumerate(files.task.label_names)}


def _of_target(
    files: RunFiles, table: pd.DataFrame, target: Target, truth: Mapping[str, np.ndarray], words: Words
) -> pd.DataFrame:
    names = list(target.label_names)
    probabilities = table[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    points = np.zeros(len(table))
    if target.kind == "binary":
        points = thresholds_of(files, target.name, list(table["image_id"]))
        called = probabilities >= points[:, None]
    else:
        called = probabilities.argmax(axis=1)[:, None] == np.arange(len(names))
    ids = table[[name for name in ("image_id", "path", "patient_id") if name in table]]
    parts = []
    for column, label in enumerate(names):
        known, is_called = truth[label], called[:, column]
        part = ids.assign(target=target.name, label=label, truth=known, probability=probabilities[:, column])
        part = part.assign(known=_truth_words(target, truth, words), operating_point=points)
        parts.append(part.assign(called=is_called, outcome=_outcomes(known, is_called)))
    return pd.concat(parts, ignore_index=True)


def _truth_words(target: Target, truth: Mapping[str, np.ndarray], words: Words) -> np.ndarray:
    labels = np.stack([truth[label] for label in target.label_names], axis=1)
    if target.kind == "binary":
        known = np.where(labels[:, 0] >= 0.5, words("truth.present"), words("truth.absent"))
    else:
        known = np.array(target.classes)[np.nan_to_num(labels).argmax(axis=1)]
    return np.where(np.isnan(labels).any(axis=1), words("truth.unknown"), known)


def answers(judged: pd.DataFrame) -> pd.DataFrame:
    """Return one row per image and target: every binary label, and of several classes the one that was predicted."""
    return judged[(judged["label"] == judged["target"]) | judged["called"].astype(bool)]


def _outcomes(truth: np.ndarray, called: np.ndarray) -> np.ndarray:
    positive = truth >= 0.5
    conditions = [np.isnan(truth), positive & called, ~positive & called, positive & ~called]
    return np.select(conditions, ["", "TP", "FP", "FN"], default="TN")
