"""What is exported gives, in another program, what focusmap gives of an image; what would not is refused."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from focusmap.cli import main
from focusmap.errors import InputError, MissingPartError
from focusmap.evaluation import apply
from focusmap.heatmaps import heat_maps
from focusmap.images import VolumePreparation, standardised_file
from focusmap.models import export
from focusmap.models.ensemble import combine
from focusmap.models.export import FORMATS, Format, export_model
from focusmap.models.folder import load_model, save_model
from focusmap.models.net import Model
from focusmap.models.predict import predict
from focusmap.nets import AS_IT_IS, Architecture, View, build_net
from focusmap.study import Declaration, read_images
from support.models import model_of


def model(name: str = "small-residual", seed: int = 0) -> Model:
    architecture = Architecture(name, 1, 2)
    card = replace(model_of().card, architecture=architecture.to_dict())
    return Model(build_net(architecture, seed=seed).eval(), card)


def run_elsewhere(folder: Path, batch: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the graph gives, by name; only the files of the export are used."""
    facts = json.loads((folder / "export.json").read_text())
    return dict(zip(facts["outputs"], FORMATS[facts["graph"]].open(folder / facts["file"])(batch), strict=True))


def test_another_program_gives_what_focusmap_gives_of_a_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("onnxruntime", reason="the optional part export is not installed")
    save_model(model(), tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), "--out", str(tmp_path / "out")]) == 0
    assert "differs from torch by at most: logits" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["export.json", "model.onnx"]
    files = []
    for i in range(3):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 30), dtype=np.uint8)).save(files[-1])
    loaded = load_model(tmp_path / "model")
    batch = np.stack([standardised_file(file, loaded.preparation)[0] for file in files])
    found = run_elsewhere(tmp_path / "out", batch)
    maps = heat_maps(loaded.net, torch.from_numpy(batch)).maps.numpy()
    np.testing.assert_allclose(found["class_activation"], maps, atol=1e-5)
    expected = predict(loaded, read_images(tmp_path, loaded.task, files, Declaration())).predictions.logits
    np.testing.assert_allclose(loaded.to_units(found["logits"]), expected, atol=1e-4)

    facts = json.loads((tmp_path / "out/export.json").read_text())
    told: dict[str, Callable[..., list[np.ndarray]]] = {}
    guide = (Path(__file__).parents[2] / "docs/guide.md").read_text()
    exec(next(block for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "onnxruntime" in block), told)
    np.testing.assert_allclose(told["ask"](tmp_path / "out", facts, files[1])[0][0], found["logits"][1], atol=1e-5)
    assert facts["input"]["shape"] == ["N", 1, 32, 32]
    assert facts["outputs"]["class_activation"] == {"shape": ["N", 2, 8, 8], "unit": "evidence (logit units)"}
    assert facts["outputs"]["logits"]["labels"] == ["nodule", "size"]
    assert max(facts["parity"]["largest_difference"].values()) < 1e-5
    # The file alone says how a logit is read: here of the binary target, and of the continuous one.
    logit, value = found["logits"][0].astype(float)
    probability = 1 / (1 + np.exp(-logit / facts["temperatures"]["nodule"]))
    (mean, deviation) = facts["scales"]["size"]
    read = apply(loaded.task, expected, facts["temperatures"])[0]
    np.testing.assert_allclose([probability, mean + deviation * value], read, rtol=1e-4)


@pytest.mark.slow
def test_an_ensemble_of_focus_map_nets_is_one_graph(tmp_path: Path):
    pytest.importorskip("onnxruntime", reason="the optional part export is not installed")
    members = [model("small-residual-fpn", seed) for seed in (0, 1)]
    both = combine(members, [AS_IT_IS, View(mirror=True, scale=1.1, down=0.05)], "seeds")
    export_model(both, "onnx", tmp_path)
    batch = np.random.default_rng(0).standard_normal((3, 1, 32, 32)).astype(np.float32)
    found, expected = run_elsewhere(tmp_path, batch), heat_maps(both.net.eval(), torch.from_numpy(batch), "focus")
    np.testing.assert_allclose(found["logits"], expected.logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(found["focus"], expected.maps.numpy(), atol=1e-4)


@pytest.mark.slow
def test_a_net_for_openvino_gives_the_same(tmp_path: Path):
    pytest.importorskip("openvino", reason="the optional part export is not installed")
    alone = model()
    export_model(alone, "openvino", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.json", "model.bin", "model.xml"]
    batch = np.random.default_rng(0).standard_normal((3, 1, 32, 32)).astype(np.float32)
    found, expected = run_elsewhere(tmp_path, batch), heat_maps(alone.net, torch.from_numpy(batch))
    np.testing.assert_allclose(found["class_activation"], expected.maps.numpy(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "densenet121"])
def test_backbones_that_lay_out_their_features_are_one_graph_for_any_number_of_images(name: str, tmp_path: Path):
    pytest.importorskip("onnxruntime", reason="the optional part export is not installed")
    assert max(export_model(model(name), "onnx", tmp_path).differences.values()) < 1e-4


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An export without the exporter: the file is empty, and a test says what it gives."""
    monkeypatch.setattr(export, "require", lambda _: None)
    monkeypatch.setattr(export, "_write_onnx", lambda _deployed, _probe, path: path.write_bytes(b"graph"))
    return monkeypatch


def graph_of(of: Model, off: float) -> Format:
    """A format whose graph is the model itself, its maps off by a number."""

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            logits, maps = export.Deployed(of.net.eval())(torch.from_numpy(batch))
        return [logits.numpy(), maps.numpy() + off]

    return Format(("model.onnx",), lambda _: None, lambda _: run)


def test_a_graph_that_gives_something_else_is_refused_and_nothing_is_left(quick, tmp_path: Path):
    quick.setitem(FORMATS, "onnx", graph_of(model(), off=0.5))
    with pytest.raises(InputError, match=r"class_activation of model 'small-residual' differ from torch's by 0\.5"):
        export_model(model(), "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_net_that_does_not_export_is_refused_with_the_reason(quick, tmp_path: Path):
    def fail(*_: object) -> None:
        raise RuntimeError("no such operator: adaptive_max_pool3d\nand a long story")

    quick.setattr(export, "_write_onnx", fail)
    with pytest.raises(InputError, match=r"does not export \(no such operator: adaptive_max_pool3d\)"):
        export_model(model(), "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_is_replaced_only_by_force(quick, tmp_path: Path):
    quick.setitem(FORMATS, "onnx", graph_of(model(), off=0.0))
    assert export_model(model(), "onnx", tmp_path).differences == {"logits": 0.0, "class_activation": 0.0}
    with pytest.raises(InputError, match="exists already"):
        export_model(model(), "onnx", tmp_path)
    export_model(model(), "onnx", tmp_path, force=True)


def test_the_sides_of_a_volume_are_told_as_they_are(quick, tmp_path: Path):
    volume = replace(model("small-residual-3d").card, preparation=VolumePreparation((16, 24, 20)).to_dict())
    of = Model(build_net(Architecture("small-residual-3d", 1, 2)).eval(), volume)
    quick.setitem(FORMATS, "onnx", graph_of(of, off=0.0))
    export_model(of, "onnx", tmp_path)
    facts = json.loads((tmp_path / "export.json").read_text())
    assert facts["input"]["shape"] == ["N", 1, 16, 24, 20]
    assert len(facts["outputs"]["class_activation"]["shape"]) == 5


def test_bad_input_is_answered_at_the_door(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    save_model(model(), tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), "--format", "onyx", "--out", str(tmp_path / "out")]) == 2
    assert "'onyx' is not one of onnx, openvino. Did you mean 'onnx'?" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "no such run" in capsys.readouterr().err


def test_without_the_optional_part_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from focusmap import installation

    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    with pytest.raises(MissingPartError, match=r"onnxruntime.*focusmap\[export\]"):
        export_model(model(), "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()
