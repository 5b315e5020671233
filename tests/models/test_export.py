"""What is exported gives, in another program, what focusmap gives of an image; what would not is refused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import focusmap.images.image
from focusmap.basics import InputError, MissingPartError
from focusmap.cli import main
from focusmap.heatmaps import heat_maps
from focusmap.images import Preparation, VolumePreparation, scale_of
from focusmap.images.crop import crop_box
from focusmap.images.prepare import Placement, prepare
from focusmap.models import export
from focusmap.models.deployed import Deployed, MeanOfNets, PixelSteps, Unlike
from focusmap.models.ensemble import combine
from focusmap.models.export import export_model
from focusmap.models.folder import load_model, save_model
from focusmap.models.formats import FORMATS, Format
from focusmap.models.graphs import has_graph
from focusmap.models.net import Model, over_views
from focusmap.models.ood import ASPECTS, fit_ood, ood_of_any, save_ood
from focusmap.models.predict import predict
from focusmap.nets import AS_IT_IS, Architecture, View, build_net
from focusmap.study import Declaration, read_images
from support.exported import ask_without_focusmap
from support.models import model_of, with_calibration


def model(name: str = "small-residual", seed: int = 0) -> Model:
    architecture = Architecture(name, 1, 2)
    card = replace(model_of().card, architecture=architecture.to_dict())
    return Model(build_net(architecture, seed=seed).eval(), card)


def run_elsewhere(folder: Path, batch: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the graph gives, by name; only the files of the export are used."""
    facts = json.loads((folder / "export.json").read_text())
    found = FORMATS[facts["graph"]].open(folder / facts["file"], (), ())({facts["input"]["name"]: batch})
    assert set(found) == set(facts["outputs"])
    return dict(found)


def images_in(folder: Path, n: int = 3) -> list[Path]:
    """Write smooth images of several sizes, one of them in colour."""
    files = []
    for i in range(n):
        files.append(folder / f"{i}.png")
        coarse = np.random.default_rng(i).integers(0, 255, (6, 5, 3) if i == 1 else (6, 5), dtype=np.uint8)
        Image.fromarray(coarse).resize((50 + 30 * i, 60 + 10 * i), Image.Resampling.BICUBIC).save(files[-1])
    return files


@pytest.mark.slow
def test_another_program_gives_what_focusmap_gives_of_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("onnxruntime", reason="the optional part export is not installed")
    train = [np.random.default_rng(i).integers(0, 255, (1, 32, 32), dtype=np.uint8) for i in range(40)]
    of = model()
    save_model(replace(of, card=replace(of.card, temperatures={"nodule": 2.0})), tmp_path / "model")
    ood = fit_ood(train[:20], train[20:])
    assert ood is not None
    save_ood(ood, tmp_path / "model/likeness.safetensors")
    assert main(["export", str(tmp_path / "model"), "--out", str(tmp_path / "out")]) == 0
    assert "differs from torch by at most: probabilities" in capsys.readouterr().out
    names = ["example.py", "export.json", "hashes.json", "model.onnx"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names

    files, loaded = images_in(tmp_path), load_model(tmp_path / "model")
    samples = read_images(tmp_path, loaded.task, files, Declaration())
    expected = predict(loaded, samples, ood).predictions
    batch = next(samples.batches(loaded.preparations, 3))
    seen = loaded.explainable().map_batch(batch, "cam", [0, 1])
    facts = json.loads((tmp_path / "out/export.json").read_text())
    for i, file in enumerate(files):
        found = run_elsewhere(tmp_path / "out", np.asarray(Image.open(file).convert("RGB"))[None])
        # At most one level of a few pixels is rounded in another way when an image is brought to its size.
        np.testing.assert_allclose(found["probabilities"][0], expected.probabilities[i], atol=2e-3)
        np.testing.assert_allclose(found["logits"][0], expected.logits[i], atol=2e-2)
        np.testing.assert_allclose(found["class_activation"][0], seen.maps[i], atol=0.05)
        np.testing.assert_allclose(found["prepared_0"][0], batch.images(loaded.preparations[0]).pixels[i], atol=0.05)
        far = [text for text, ratio in zip(facts["ood"]["aspects"], found["unlike"][0], strict=True) if ratio > 1]
        assert ("unlike the images of train in " + " and in ".join(far) if far else "") == "".join(
            flag.text for flag in (expected.flags or [()])[i]
        )
    assert facts["input"]["shape"] == ["N", "rows", "columns", 3]
    assert facts["outputs"]["class_activation"] == {"shape": ["N", 2, 8, 8], "unit": "evidence (logit units)"}
    assert facts["labels"] == ["nodule", "size"]
    assert max(facts["parity"]["difference"].values()) < 1e-4

    said = ask_without_focusmap(tmp_path / "out/example.py", files[0])
    assert abs(float(said["nodule"].split()[0]) - expected.probabilities[0, 0]) < 2e-3
    assert ("out" in said) == bool(expected.flags and expected.flags[0])


@pytest.mark.parametrize("preparation", [
    Preparation(48, 3, scaling="range"), Preparation(32), Preparation(40, crop="0.1,0.05,0.9,0.77"),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("shape", [(100, 80), (33, 60), (20, 11), (48, 48), (96, 96), (300, 2), (1, 1)], ids=str)
def test_pixels_are_prepared_as_images_are(preparation: Preparation, shape: tuple[int, int]):
    coarse = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))
    image = focusmap.images.image.Image(np.moveaxis(pixels, -1, 0), Path(), shape)
    expected = prepare(image, preparation)
    levels, shown = PixelSteps(preparation)(torch.from_numpy(pixels[np.newaxis].copy()))
    assert np.abs(levels[0].numpy() - expected).max() <= 1
    assert (levels[0].numpy() != expected).mean() < 0.05
    scale = scale_of(expected, Placement(shape, crop_box(image, preparation.crop), preparation.size), preparation)
    np.testing.assert_allclose(shown[0].numpy(), (expected - scale[0]) / scale[1], atol=0.1)


def test_distances_are_those_of_the_out_of_distribution_check():
    images = [np.random.default_rng(i).integers(0, 255, (3, 64, 64), dtype=np.uint8) for i in range(60)]
    ood = ood_of_any([known for k in (0, 20) if (known := fit_ood(images[k : k + 20], images[40:]))])
    asked = [*images[:2], images[3] // 2 + np.arange(64, dtype=np.uint8)]
    found = Unlike(ood, 64)(torch.from_numpy(np.stack(asked)).float()).numpy()
    for image, ratios in zip(asked, found, strict=True):
        for ratio, (name, aspects) in zip(ratios, ood.aspects.items(), strict=True):
            described = ASPECTS[name](image)[np.newaxis]
            expected = min(aspect.distances(described)[0] / aspect.limit for aspect in aspects)
            np.testing.assert_allclose(ratio, expected, rtol=1e-3)


@pytest.mark.slow
def test_a_mean_of_unlike_nets_is_one_graph_that_predict_computes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("openvino", reason="the optional part export is not installed")
    larger = model("small-residual", 1)
    larger = replace(larger, card=replace(larger.card, preparation=Preparation(48).to_dict()))
    views = over_views(larger, [View(size=0.7), View(mirror=True, size=0.7)], Preparation(48))
    mean = combine([probe_model(), views], [], "rungs")
    run = tmp_path / "run"
    save_model(with_calibration(mean, {"nodule": 1.5}, {"nodule": 0.4}), run)
    files = images_in(tmp_path)
    asked = ["predict", str(run), *map(str, files), "--out"]
    assert main([*asked, str(tmp_path / "torch.csv"), "--engine", "torch"]) == 0
    for engine in ("onnx", "openvino"):
        assert main([*asked, str(tmp_path / f"{engine}.csv"), "--engine", engine]) == 0
        assert (run / engine / "export.json").is_file()
    tables = [pd.read_csv(tmp_path / f"{name}.csv") for name in ("torch", "onnx", "openvino")]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0], atol=1e-4)
    # Of a graph whose model has changed since, nobody is told.
    save_model(with_calibration(mean, {"nodule": 3.0}, {"nodule": 0.4}), run)
    assert not has_graph(run, "openvino")
    assert main(["predict", str(run), str(files[0]), "--engine", "openvino", "--devices", "cuda"]) == 2
    assert "computes on the processor" in capsys.readouterr().err


def probe_model() -> Model:
    architecture = Architecture("tf_efficientnet_lite0-probe", 1, 2)
    preparation = Preparation(64, scaling="range").to_dict()
    card = replace(model_of().card, architecture=architecture.to_dict(), preparation=preparation)
    return Model(build_net(architecture, seed=0).eval(), card)


@pytest.mark.slow
def test_an_ensemble_of_focus_map_nets_is_one_graph(tmp_path: Path):
    pytest.importorskip("onnxruntime", reason="the optional part export is not installed")
    members = [model("small-residual-fpn", seed) for seed in (0, 1)]
    both = combine(members, [AS_IT_IS, View(mirror=True, scale=1.1, down=0.05)], "seeds")
    export_model(both, "onnx", tmp_path)
    batch = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    shown = PixelSteps(Preparation(32))(torch.from_numpy(batch))[1]
    found, expected = run_elsewhere(tmp_path, batch), heat_maps(both.net.eval(), shown, "focus")
    np.testing.assert_allclose(found["logits"], both.to_units(expected.logits.numpy()), atol=1e-4)
    np.testing.assert_allclose(found["focus"], expected.maps.numpy(), atol=1e-4)


@pytest.mark.slow
def test_a_net_for_openvino_gives_the_same(tmp_path: Path):
    pytest.importorskip("openvino", reason="the optional part export is not installed")
    alone = model()
    export_model(alone, "openvino", tmp_path)
    names = ["example.py", "export.json", "hashes.json", "model.bin", "model.xml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    batch = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    shown = PixelSteps(Preparation(32))(torch.from_numpy(batch))[1]
    found, expected = run_elsewhere(tmp_path, batch), heat_maps(alone.net, shown)
    # In the units of each target, as `explain` has them.
    np.testing.assert_allclose(found["class_activation"][:, 0], expected.maps[:, 0].numpy(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "densenet121"])
def test_backbones_that_lay_out_their_features_are_one_graph_for_any_number_of_images(name: str, tmp_path: Path):
    pytest.importorskip("onnxruntime", reason="the optional part export is not installed")
    assert max(export_model(model(name), "onnx", tmp_path).differences.values()) < 1e-4


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An export without the exporter: the file is empty, and a test says what it gives."""
    monkeypatch.setattr(export, "require", lambda _: None)
    monkeypatch.setattr(export, "_write_onnx", lambda _deployed, _names, _probe, path: path.write_bytes(b"graph"))
    return monkeypatch


def graph_of(of: Model, off: float) -> Format:
    """A format whose graph is the model itself, its maps off by a number."""
    deployed = Deployed(of).eval()

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            probabilities, logits, maps, *prepared = deployed(torch.from_numpy(given["images"]))
        shown = {f"prepared_{k}": found.numpy() for k, found in enumerate(prepared)}
        own = {"probabilities": probabilities.numpy(), "logits": logits.numpy(), "class_activation": maps.numpy() + off}
        return own | shown

    return Format(("model.onnx",), "onnxruntime", lambda *_: run)


def test_a_graph_that_gives_something_else_is_refused_and_nothing_is_left(quick, tmp_path: Path):
    quick.setitem(FORMATS, "onnx", graph_of(model(), off=0.5))
    with pytest.raises(InputError, match=r"class_activation of model of nodule, size differ from torch's by 0\.5"):
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
    assert set(export_model(model(), "onnx", tmp_path).differences.values()) == {0.0}
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


class Ones(torch.nn.Module):
    """A net of volumes all of whose answers and places are 1."""

    def forward(self, shown: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones(1, 2), torch.ones(1, 2, *shown[0].shape[2:])


def test_maps_of_volumes_are_calibrated_label_by_label_too():
    mean = MeanOfNets([Ones(), Ones()], [np.array([1.0, 2.0])] * 2, "cam")  # type: ignore[list-item]
    logits, maps = mean([torch.zeros(1, 1, 2, 3, 4)])
    assert logits.tolist() == [[1.0, 0.5]]
    assert maps[0].flatten(1).unique(dim=1).tolist() == [[1.0], [0.5]]


def test_bad_input_is_answered_at_the_door(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    save_model(model(), tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), "--format", "onyx", "--out", str(tmp_path / "out")]) == 2
    assert "'onyx' is not one of onnx, openvino. Did you mean 'onnx'?" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "no such run" in capsys.readouterr().err


def test_without_the_optional_part_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from focusmap.basics import installation

    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    with pytest.raises(MissingPartError, match=r"onnxruntime.*focusmap\[export\]"):
        export_model(model(), "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()
