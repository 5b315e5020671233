"""A trained model at hand, in a notebook or a program: ask it about images, and see its answers."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import pandas as pd

from focusmap import models
from focusmap.basics import FocusmapError, InputError, Language
from focusmap.evaluation import ERROR, SHOWN, Standings, Why, answered, standings_of
from focusmap.figures import as_image, as_shown
from focusmap.images import middle_slice, read_image, read_map
from focusmap.models.predict import predict
from focusmap.report import TargetAnswer, answers_by_target, data_uri, in_words, unlike_in_words, words_in
from focusmap.study import Declaration, Failure, Run, Samples, Task, read_inputs

Inputs = str | Path | Sequence[str | Path]
SHOWN_SIDE, MOST_SHOWN = 256, 8


@dataclass(frozen=True)
class LoadedModel:
    """The model of a run, or of a model folder, ready to be asked.

    Parameters
    ----------
    folder
        Where it lies.
    model
        What answers.
    """

    folder: Path
    model: models.Predictor

    def __repr__(self) -> str:
        targets = ", ".join(self.model.task.names)
        return f"<LoadedModel {self.model.card.architecture.get('model')} of {self.folder}: {targets}>"

    @property
    def card(self) -> models.ModelCard:
        """What it predicts, from what input, and how its output is read."""
        return self.model.card

    @property
    def members(self) -> Sequence[models.Predictor]:
        """The models whose answers are averaged; none of a single model."""
        return self.model.members

    @property
    def task(self) -> Task:
        """Targets, in the order of the logits."""
        return self.model.task

    def predict(self, inputs: Inputs, declaration: Declaration = Declaration(), error: float = ERROR) -> "Answers":
        """Return what the model says of one image, of several, of folders of them, or of the rows of a table.

        Parameters
        ----------
        inputs
            Files and folders; a model of tables or cases takes one table.
        declaration
            What is to be known of a table's columns, and where its images are.
        error
            The error at which a class is excluded; one of `focusmap.evaluation.answers.ERRORS`.

        Raises
        ------
        InputError, MissingFileError
            If an input is not there, or a table lacks what the model must know. An image that cannot be read is no
            error; it stands in `Answers.failures`.
        """
        samples = self._samples(inputs, declaration)
        predicted, standings = predict(self.model, samples, models.ood_of(self.folder)), standings_of(self.folder)
        predictions = answered(predicted.predictions, standings, self.model.card.thresholds, error)
        files = tuple(_read_files(samples))
        predicted = replace(predicted, predictions=predictions)
        return Answers(self.model, predicted, tuple(samples.failures), files, standings, error, self.folder)

    def explain(
        self,
        inputs: Inputs,
        method: str | None = None,
        targets: Sequence[str] = (),
        declaration: Declaration = Declaration(),
    ) -> "Maps":
        """Return heat maps of what `predict` is given, in the colours of the run's own.

        Parameters
        ----------
        inputs, declaration
            As for `predict`.
        method
            A name of `focusmap.heatmaps`; None: the one that suits the net.
        targets
            Whose maps; none means all.

        Raises
        ------
        InputError, MissingFileError
            As `predict`; if the model is no net of images, or the method needs another net.
        """
        from focusmap.heatmaps import ExplainOptions, write_maps

        view = self.model.explainable()
        if view is None:
            raise InputError(f"{self.folder}: its model is no net of images and has no heat maps.")
        answers = self.predict(inputs, declaration)
        with TemporaryDirectory() as folder:
            options = ExplainOptions(
                view.check(method), tuple(targets), like=Run(self.folder).focus, showing=models.showing_of(self.folder)
            )
            written = write_maps(view, self._samples(inputs, declaration), Path(folder), options)
            return Maps(answers, tuple(_drawn(written.index, Path(folder))))

    def _samples(self, inputs: Inputs, declaration: Declaration) -> Samples:
        files = [Path(path) for path in ([inputs] if isinstance(inputs, str | Path) else inputs)]
        return read_inputs(self.folder, models.needs_of(self.model), files, declaration)


@dataclass(frozen=True)
class Answers:
    """What a model says of rows; the last value of a notebook's cell shows itself.

    Parameters
    ----------
    model
        Who says it.
    found
        Of the rows that could be read.
    failures
        What could not be read, and why.
    files
        The images that were read, at most as many as are shown.
    standings
        How each target did on test; empty of a model that was not evaluated.
    error
        The error at which a class is excluded.
    folder
        Of the run or model that answers.
    """

    model: models.Predictor
    found: models.Predicted
    failures: tuple[Failure, ...]
    files: tuple[Path, ...]
    standings: Standings = field(default_factory=dict)
    error: float = ERROR
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.found)

    @property
    def table(self) -> pd.DataFrame:
        """What ``focusmap predict`` would write, a row per image, case or row of the table."""
        return self.found.predictions.to_table()

    @property
    def words(self) -> str:
        """The first row's answer in words."""
        return in_words(self.model, self.found.predictions, self.standings, self.error) if len(self) else ""

    def alike(self, row: int = 0, n: int = 3) -> list[models.Neighbour]:
        """Return the images of the run's train that look most like a row's image; none without the run."""
        if row >= len(self.files) or self.folder is None:
            return []
        samples = read_inputs(self.folder, models.needs_of(self.model), [self.files[row]], Declaration())
        return models.neighbours_of(self.folder, self.model, samples, n)

    def told(self, row: int = 0, language: Language = "en") -> list[TargetAnswer]:
        """Return what is said of each target of a row: the answer, its words, its probability, its standing on test."""
        return answers_by_target(self.model, self.found.predictions, self.standings, words_in(language), row)

    def unlike(self, row: int = 0, language: Language = "en") -> str:
        """Return that a row is out of distribution, and in what; empty where it is not."""
        return unlike_in_words(self.found.predictions, row, words_in(language))

    def probability(self, label: str) -> np.ndarray:
        """Return the calibrated probabilities of a label ``(N,)``, or the values of a continuous target."""
        return self.found.predictions.probabilities[:, self.model.task.label_names.index(label)]

    def __str__(self) -> str:
        return self.words if len(self) == 1 else str(self.table.drop(columns="notice"))

    def __repr__(self) -> str:
        return f"<Answers to {len(self)} rows, {len(self.failures)} not read>"

    def _repr_html_(self) -> str:
        """Return the answer in words, or as a table, with the images; all of it stands in the text itself."""
        answer = f"<pre>{escape(self.words)}</pre>" if len(self) == 1 else self.table.to_html(index=False, max_rows=20)
        failed = "".join(f"<li>{escape(failure.reason)}</li>" for failure in self.failures)
        images = "".join(
            _shown(data_uri("image/png", small), file.name) for file in self.files if (small := thumbnail(file))
        )
        return f"<div>{answer}{images}{f'<p>Not read:</p><ul>{failed}</ul>' if failed else ''}</div>"


@dataclass(frozen=True)
class Map:
    """Where one label is seen in one image.

    Parameters
    ----------
    image_id, label
        Whose and what.
    values
        ``(*source_shape) float32``, in the grid of the image's file and in the unit of the method.
    overlay
        PNG: the map over the image; empty where there is none.
    why
        Why it may not be shown, such as ``not-better`` than guessing on test; empty where it may be.
    """

    image_id: str
    label: str
    values: np.ndarray
    overlay: bytes
    why: Why = ""

    def __repr__(self) -> str:
        return f"<Map of {self.label} in {self.image_id}, {' x '.join(map(str, self.values.shape))}>"


@dataclass(frozen=True)
class Maps:
    """Heat maps and what they explain; the last value of a notebook's cell shows itself."""

    answers: Answers
    maps: tuple[Map, ...]

    def __len__(self) -> int:
        return len(self.maps)

    def __repr__(self) -> str:
        return f"<Maps of {len({heat_map.image_id for heat_map in self.maps})} images: {len(self)}>"

    def of(self, label: str) -> tuple[Map, ...]:
        """Return the maps of a label, one per image."""
        return tuple(heat_map for heat_map in self.maps if heat_map.label == label)

    def _repr_html_(self) -> str:
        """Return the answer, and the maps over their images."""
        drawn = [heat_map for heat_map in self.maps if heat_map.overlay][:MOST_SHOWN]
        images = "".join(
            _shown(data_uri("image/png", heat_map.overlay), f"{heat_map.image_id}: {heat_map.label}")
            for heat_map in drawn
        )
        return f"<div>{self.answers._repr_html_()}{images}</div>"


def load_model(folder: str | Path, devices: str = "cpu", engine: str = "torch") -> LoadedModel:
    """Return the model of a run, or of a model folder, ready to be asked; of a run with folds, their ensemble.

    Parameters
    ----------
    folder
        Of the run, or of the model.
    devices
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    engine
        What computes: ``torch``, ``onnx`` or ``openvino``, whose graph is made where it is missing; ``auto`` is
        ``openvino`` on a processor where its graph is there. Heat maps are always drawn by torch.

    Raises
    ------
    MissingFileError, InputError, ModelError
        If there is no model, a file of it is missing or damaged, or it does not give the logits it was saved with.
    """
    return LoadedModel(Path(folder), models.load_answering(Path(folder), devices, engine))


def _read_files(samples: Samples) -> Iterator[Path]:
    failed = {failure.file for failure in samples.failures}
    yield from [file for file in samples.files if file not in failed][:MOST_SHOWN]


def _drawn(index: pd.DataFrame, folder: Path) -> Iterator[Map]:
    for row in index.itertuples(index=False):
        overlay = folder / str(row.overlay)
        content = overlay.read_bytes() if row.overlay and overlay.is_file() else b""
        why: Why = "" if row.shown == SHOWN else cast(Why, row.shown)
        yield Map(str(row.image_id), str(row.target), read_map(folder / str(row.map)), content, why)


def thumbnail(file: Path) -> bytes:
    """Return a small PNG of an image, of a volume its middle slice; empty where it cannot be read any more."""
    try:
        pixels = middle_slice(read_image(file, at_least=SHOWN_SIDE))
    except FocusmapError:
        return b""
    drawn, written = as_image(as_shown(pixels)), io.BytesIO()
    drawn.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    drawn.save(written, format="png")
    return written.getvalue()


def _shown(uri: str, caption: str) -> str:
    text = escape(caption, quote=True)
    return f'<figure><img src="{uri}" alt="{text}"><figcaption>{text}</figcaption></figure>'
