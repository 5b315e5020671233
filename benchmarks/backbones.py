"""Backbones from end to end: trained, saved, loaded, asked for maps, exported. Prints what docs/models.md lists.

    python benchmarks/backbones.py [--size 96] [--epochs 3] [NAME ...]

Images are noise, half of them with a bright square; weights start at random. A net passes if its training loss
falls, its maps add up to its logits, the saved model gives its probe's logits again, and every map is finite. Its
export to ONNX passes if the graph gives what torch gives, for one image and for two. A net that cannot be used is
listed with the reason.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from focusmap.basics import FocusmapError
from focusmap.heatmaps import heat_maps
from focusmap.images import Preparation, Store
from focusmap.models import Model, ModelCard, export_model, load_model
from focusmap.models.folder import save_model
from focusmap.nets import Architecture, build_net
from focusmap.nets.backbones import check_size
from focusmap.study import Augmentation, Recipe, Target, Task
from focusmap.training import FitOptions, Labelled, TrainingData, fit
from focusmap.training.batches import read_batch

NAMES = (
    "plain-cnn", "residual-cnn",
    "resnet34", "resnet50d", "resnext50_32x4d", "seresnet50", "skresnet18", "res2net50_26w_4s", "resnetv2_50",
    "densenet169", "vgg16_bn", "inception_v3", "xception41", "dpn68", "dla34", "hrnet_w18_small", "cspdarknet53",
    "efficientnet_b1", "efficientnetv2_rw_t", "mobilenetv2_100", "mobilenetv3_large_100", "mnasnet_100", "ghostnet_100",
    "regnety_008", "repvgg_a2", "convnext_nano", "convnextv2_nano", "poolformer_s12", "edgenext_small", "mobilevit_s",
    "vit_tiny_patch16_224", "deit_tiny_patch16_224", "vit_small_patch14_dinov2", "swin_tiny_patch4_window7_224",
    "tiny_vit_5m_224", "pvt_v2_b0", "xcit_nano_12_p16_224",
)  # fmt: skip
N, N_TRAIN = 32, 24
TASK = Task((Target("square"),))


def study(size: int) -> TrainingData:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 100, (N, 1, size, size)).astype(np.uint8)
    truth = (np.arange(N) % 2).astype(np.float64)[:, None]
    for i in np.flatnonzero(truth[:, 0]):
        top, left = generator.integers(0, size // 2, 2)
        pixels[i, 0, top : top + size // 3, left : left + size // 3] += 120
    ids = [str(i) for i in range(N)]
    mean, std = pixels.mean((1, 2, 3), dtype=np.float32), pixels.std((1, 2, 3), dtype=np.float32)
    store = Store(Path("memory"), Preparation(size=size), pixels, ids, [""] * N, mean, std, np.full((N, 2), size))
    parts = Labelled(tuple(ids[:N_TRAIN]), truth[:N_TRAIN]), Labelled(tuple(ids[N_TRAIN:]), truth[N_TRAIN:])
    return TrainingData(store, TASK, *parts)


def card_of(name: str, data: TrainingData) -> ModelCard:
    architecture, preparation = Architecture(name, 1, 1).to_dict(), data.store.preparation.to_dict()
    return ModelCard(TASK, architecture, preparation, {}, "youden", {}, {}, {}, {}, {})


def row(name: str, data: TrainingData, recipe: Recipe) -> str:
    size = data.store.preparation.size
    try:
        check_size(name, (size,))
    except FocusmapError as error:
        return f"| `{name}` | | | {error} | |"
    started = time.perf_counter()
    net = build_net(Architecture(name, 1, 1))
    records = list(fit(net, data, replace(recipe, model=name), FitOptions(devices="cpu")))
    with tempfile.TemporaryDirectory() as folder:
        save_model(Model(net, card_of(name, data)), Path(folder))
        model = load_model(Path(folder))
    found = heat_maps(model.net, read_batch(data.store, np.arange(N_TRAIN, N)))
    logits, maps = found.logits, found.maps
    adds_up = torch.allclose(maps.mean(dim=(2, 3)) + model.nets[0].head.bias, logits, atol=1e-3, rtol=1e-3)
    learns = records[-1].train_loss < records[0].train_loss
    passed = "yes" if adds_up and learns and bool(maps.isfinite().all()) else f"NO: adds_up={adds_up} learns={learns}"
    n_parameters = sum(weights.numel() for weights in net.parameters())
    cells = f"{n_parameters / 1e6:.1f} | {maps.shape[2]} x {maps.shape[3]}"
    return f"| `{name}` | {cells} | {passed} | {exports(model)} |    {time.perf_counter() - started:.0f} s"


def exports(model: Model) -> str:
    """Return ``yes`` if the model exports to ONNX, else why not."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            export_model(model, "onnx", Path(folder))
        except FocusmapError as error:
            return str(error)
    return "yes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=3)
    parsed = parser.parse_args()
    data = study(parsed.size)
    nothing = Augmentation(shift=0, rotate_degrees=0, scale=0, brightness=0, contrast=0, noise=0)
    recipe = Recipe(
        size=parsed.size, channels=1, weights="none", epochs=parsed.epochs, batch_size=8, learning_rate=3e-4,
        warmup_epochs=0, schedule="constant", augmentation=nothing,
    )  # fmt: skip
    print(
        f"| name | million weights | map at {parsed.size} pixels | trained, saved, loaded, mapped | ONNX |\n"
        "|---|---|---|---|---|"
    )
    for name in parsed.names:
        print(row(name, data, recipe), flush=True)


if __name__ == "__main__":
    main()
