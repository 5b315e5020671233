"""A run's model as computed by its exported graph, with ONNX Runtime or OpenVINO; only heat maps need torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import cast

import numpy as np

from focusmap import heatmaps, training
from focusmap.basics import InputError, Json, branch, check_sealed, items, read_json, require
from focusmap.images import AnyPreparation, Preparation, preparation_from
from focusmap.models.card import ModelCard, read_card
from focusmap.models.folder import load_model, model_folder
from focusmap.models.formats import CARD, IMAGES, LOGITS, Ask, format_of, model_fingerprint, prepared_name
from focusmap.models.predictor import EncodedImages, Predictor
from focusmap.study import Batch, Cohort, Flags, Task

# Images that are answered together.
AT_ONCE = 32


@dataclass(frozen=True)
class GraphModel:
    """A model of single images whose graph predicts; only heat maps need torch.

    Parameters
    ----------
    card
        What `model.json` holds.
    place
        The model's folder.
    ask
        The graph, from prepared images on.
    shown
        How images are prepared, in the order of the graph's inputs.
    """

    card: ModelCard
    place: Path
    ask: Ask
    shown: tuple[AnyPreparation, ...]

    @property
    def members(self) -> tuple[Predictor, ...]:
        """None: the graph is one."""
        return ()

    @property
    def task(self) -> Task:
        """Targets, in the order of the logits."""
        return self.card.task

    @property
    def preparations(self) -> tuple[AnyPreparation, ...]:
        """How images are prepared, each way once."""
        return self.shown

    @property
    def views(self) -> tuple[str, ...]:
        """None: rows are single images."""
        return ()

    def batch_size(self, *, stored: bool) -> int:  # noqa: ARG002
        """Return how many images are shown at once."""
        return AT_ONCE

    def check(self, rows: Cohort) -> None:
        """Accept all rows: nothing but their images is used."""

    def encode(self, batch: Batch) -> EncodedImages:
        """Return the logits of the images of a batch, in the targets' own units."""
        pixels = [batch.images(one).pixels for one in self.shown]
        is_flat = isinstance(self.shown[0], Preparation)
        names = [prepared_name(position) for position in range(len(pixels))] if is_flat else [IMAGES]
        outputs = self.ask(dict(zip(names, pixels, strict=True)))
        return EncodedImages(outputs[LOGITS].astype(np.float64))

    def logits(self, encoded: EncodedImages, rows: Cohort) -> tuple[np.ndarray, tuple[Flags, ...] | None]:  # noqa: ARG002
        """Return the logits ``(N, L)`` that were found."""
        return encoded.features, None

    @cached_property
    def in_torch(self) -> Predictor:
        """The same model as torch computes it."""
        return load_model(self.place)

    def explainable(self) -> "heatmaps.NetView | None":
        """Return what heat maps need of it."""
        return self.in_torch.explainable()

    def with_card(self, card: ModelCard) -> "GraphModel":
        """Return the same model with another card."""
        return replace(self, card=card)

    def to(self, device: str) -> "GraphModel":  # noqa: ARG002
        """Return the model as it is: its graph computes on the processor."""
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """Return nothing: what was fitted is in the graph."""
        return {}

    def known_answer(self, earlier: Mapping[str, Json]) -> dict[str, Json]:  # noqa: ARG002
        """Return nothing: the graph was compared with torch when it was made."""
        return {}

    def folders(self) -> Mapping[str, Predictor]:
        """Return none."""
        return {}


def open_graph(folder: Path, model: Path) -> GraphModel:
    """Return the model of a folder whose graph was exported to `folder`; `InputError` where a file was changed."""
    facts = read_json(folder / CARD)
    name = str(facts["graph"])
    for file in format_of(name).files:
        check_sealed(folder / file)
    preparations = tuple(preparation_from(cast(Mapping[str, Json], one)) for one in items(facts["preparations"]))
    is_flat = isinstance(preparations[0], Preparation)
    inputs = [prepared_name(position) for position in range(len(preparations))] if is_flat else []
    ask = format_of(name).open(folder / format_of(name).files[0], inputs, [LOGITS])
    return GraphModel(read_card(model / "model.json"), model, ask, preparations)


def graph_folder(model: Path, engine: str) -> Path:
    """Return where the graph of a model folder lies that an engine computes."""
    return model / engine


def has_graph(model: Path, engine: str) -> bool:
    """Return whether a model folder has a graph for an engine, made of the model as it is now."""
    card = graph_folder(model, engine) / CARD
    return card.is_file() and branch(read_json(card)).get("made_from") == model_fingerprint(model)


def load_answering(folder: Path, devices: str, engine: str = "auto") -> Predictor:
    """Return the model of a run, or of a model folder, as an engine computes it.

    A graph that is asked for by name is made where it is missing, which takes a minute or so, and kept in the model's
    folder. ``auto`` is OpenVINO where it is installed, the graph is there and no other device is asked for; else torch.

    Raises
    ------
    InputError
        If there is no model yet, the engine computes on the processor alone and another device is named, or the model
        cannot be exported.
    MissingPartError
        If the engine is not installed.
    """
    place = model_folder(folder)
    if engine == "auto":
        engine = "openvino" if _suits_openvino(devices) and has_graph(place, "openvino") else "torch"
    if engine == "torch":
        return load_model(place, training.choose_devices(devices).accelerator)
    if devices not in ("auto", "cpu"):
        raise InputError(f"--engine {engine} computes on the processor; --devices {devices} needs --engine torch.")
    require("export", format_of(engine).runtime)
    if not has_graph(place, engine):
        from focusmap.models.export import export_model

        export_model(load_model(place), engine, graph_folder(place, engine), force=True, of=place)
    return open_graph(graph_folder(place, engine), place)


def _suits_openvino(devices: str) -> bool:
    has_other = devices == "auto" and which("nvidia-smi") is not None
    return devices in ("auto", "cpu") and not has_other and find_spec("openvino") is not None
