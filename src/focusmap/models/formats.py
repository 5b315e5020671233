"""Formats of an exported model: what opens its graph, whole or cut where images are prepared. Without torch.

A graph lies in a folder with ``export.json``, which says what goes in and what comes out. Of images it takes those of
any size; to answer many of different sizes together, it is cut where they are prepared.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from focusmap.basics import InputError, suggest

if TYPE_CHECKING:
    import openvino

CARD = "export.json"
IMAGES, LOGITS = "images", "logits"
ONNX, OPENVINO = "model.onnx", ("model.xml", "model.bin")
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
"""How OpenVINO computes here: where the processor has bfloat16, it would compute with that."""

Ask: TypeAlias = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""From arrays by the names of inputs to arrays by the names of outputs."""


@dataclass(frozen=True)
class Format:
    """A format: its files, what computes it, and how the first file is opened, whole or between some of its tensors."""

    files: tuple[str, ...]
    runtime: str
    open: Callable[[Path, Sequence[str], Sequence[str]], Ask]


def _open_onnx(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Ask:
    import onnxruntime

    graph: str | bytes = str(path)
    if inputs:
        import onnx

        graph = onnx.utils.Extractor(onnx.load(path)).extract_model(list(inputs), list(outputs)).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]

    def ask(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return dict(zip(names, cast(Sequence[np.ndarray], session.run(names, dict(arrays))), strict=True))

    return ask


def _open_openvino(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Ask:
    import openvino

    core = openvino.Core()
    graph = core.read_model(path)
    if inputs:
        graph = cut(graph, inputs, outputs)
    compiled = core.compile_model(graph, "CPU", EXACT)

    def ask(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        results = compiled(dict(arrays))
        return {port.any_name: np.array(results[port]) for port in compiled.outputs}

    return ask


def cut(graph: "openvino.Model", inputs: Sequence[str], outputs: Sequence[str]) -> "openvino.Model":
    """Return the part of a graph from some of its outputs, which become inputs, to some others."""
    from openvino import Model, opset13

    parameters = []
    for name in inputs:
        source = graph.output(name).get_node().input_value(0)
        parameter = opset13.parameter(source.get_partial_shape(), source.get_element_type(), name=name)
        for reader in source.get_target_inputs():
            reader.replace_source_output(parameter.output(0))
        parameter.output(0).get_tensor().set_names({name})
        parameters.append(parameter)
    return Model([graph.output(name).get_node() for name in outputs], parameters, "answers")


FORMATS: dict[str, Format] = {
    "onnx": Format((ONNX,), "onnxruntime", _open_onnx),
    "openvino": Format(OPENVINO, "openvino", _open_openvino),
}


def format_of(name: str) -> Format:
    """Return a format by its name; `InputError` names those that are known."""
    if name not in FORMATS:
        raise InputError(f"export format {name!r} is not one of {', '.join(FORMATS)}.{suggest(name, FORMATS)}")
    return FORMATS[name]


def prepared_name(position: int) -> str:
    """Return what the images are called in the graph that are prepared for the nets at `position`."""
    return f"prepared_{position}"


def model_fingerprint(model: Path) -> str:
    """Return what tells a model's folder from that of another model, or of the same with other thresholds."""
    cards = sorted(model.rglob("model.json"))
    return hashlib.sha256(b"".join(card.read_bytes() for card in cards)).hexdigest()
