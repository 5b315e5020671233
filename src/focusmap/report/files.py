"""What lies in a run folder, read as far as it is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.files import Json, read_json, read_table
from focusmap.models.predictor import ModelCard, read_card
from focusmap.study.model_names import ModelName, parse_model
from focusmap.study.recipe import Recipe, read_recipe
from focusmap.study.study import Study, read_study
from focusmap.study.task import Task

Tree = Mapping[str, Json]


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
    baselines
        ``evaluation/baselines.json``.
    images
        ``images.csv``, where the cohort's rows are cases.
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
    mask_scores
        ``segmentation/scores.json``.
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
    card: ModelCard | None
    fold_cards: Mapping[str, ModelCard]
    predicted_by: Mapping[str, str]
    predictions: pd.DataFrame | None
    attention: pd.DataFrame | None
    metrics: Tree
    curves: Tree
    baselines: Tree
    importance: Tree
    sides: Tree
    ladder: Tree
    index: pd.DataFrame | None
    scores: Tree
    single_scores: pd.DataFrame | None
    trust: Tree
    masks: pd.DataFrame | None
    mask_scores: Tree

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
    return RunFiles(
        folder=folder,
        study=read_study(folder / "study.yaml"),
        cohort=_cohort(folder),
        images=_table(folder / "pictures.csv"),
        split_facts=_json(folder / "split.json"),
        audit=_json(folder / "audit.json"),
        recipe=read_recipe(folder / "recipe.yaml") if (folder / "recipe.yaml").is_file() else None,
        histories={name: read_history(part / "history.csv") for name, part in parts.items() if _has_history(part)},
        manifest=_json(folder / "manifest.json"),
        card=next((read_card(_card(part)) for part in (folder, *parts.values()) if _card(part).is_file()), None),
        fold_cards={fold.name: read_card(_card(fold)) for fold in folds if _card(fold).is_file()},
        predicted_by=_predicted_by(folds),
        predictions=_table(folder / "predictions" / "test.csv"),
        attention=_table(folder / "predictions" / "attention.csv"),
        metrics=_json(folder / "evaluation" / "metrics.json"),
        curves=_json(folder / "evaluation" / "curves.json"),
        baselines=_json(folder / "evaluation" / "baselines.json"),
        importance=_json(folder / "evaluation" / "importance.json"),
        sides=_json(folder / "evaluation" / "sides.json"),
        ladder=_json(folder / "ladder.json"),
        index=_table(folder / "focus" / "index.csv"),
        scores=_json(folder / "focus" / "scores.json"),
        single_scores=_table(folder / "focus" / "scores.csv"),
        trust=_json(folder / "focus" / "trust.json"),
        masks=_table(folder / "segmentation" / "index.csv"),
        mask_scores=_json(folder / "segmentation" / "scores.json"),
    )


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


def _parts(folder: Path) -> dict[str, Path]:
    folds = {f"fold {path.name}": path for path in _numbered(folder / "folds")} or {folder.name: folder}
    found = {}
    for name, part in folds.items():
        found[name] = part
        found |= {f"{name}, net {int(path.name) + 1}": path for path in _numbered(part / "seeds")}
    return found


def _numbered(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))


def _predicted_by(folds: Sequence[Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for fold in folds:
        tested = _table(fold / "predictions" / "test.csv")
        found |= {} if tested is None else dict.fromkeys(tested["image_id"], fold.name)
    return found


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
    return read_json(path) if path.is_file() else {}


def _names(value: Json) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []
