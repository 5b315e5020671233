"""One volume of 256 x 256 x 24 voxels: read, prepared, learnt from, explained, its lesion's mask drawn.

    python benchmarks/volumes.py [--models small-residual-3d resnet18-3d ...] [--shape 96 96 24] [--rounds 3]

Prints processor seconds and the peak memory of the process so far. Processor time counts the work and not the waiting,
on a machine that others use too; with one thread it is what a quiet machine would take.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from focusmap.heatmaps import heat_maps
from focusmap.images import Store, VolumePreparation, read_image, write_nifti
from focusmap.images.prepare import prepare_file, standardised_file, to_source
from focusmap.nets import Architecture, build_net
from focusmap.segmentation.by_affinity import N_FEATURES, Segmenter, regions_of
from focusmap.segmentation.cases import working_shape
from focusmap.segmentation.learning import LearningOptions, MarkedImages, learn_features, learn_masks
from focusmap.segmentation.seeds import SeedThresholds, seeds_of
from focusmap.segmentation.small_nets import FeatureNet
from focusmap.study import Recipe, SegmentationRecipe, Target, Task
from focusmap.training import FitOptions, Labelled, TrainingData
from focusmap.training.epoch import train_epoch
from focusmap.training.loop import open_session

SOURCE = (256, 256, 24)
BATCH = 2
STEPS = 2
ONE_STEP = LearningOptions(1, BATCH)


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Return the least processor time of one call, after a first one that does not count."""
    work()
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def report(what: str, spent: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:44} {spent:8.3f} s   (peak {peak:,.0f} MB)")


def data_of(pixels: np.ndarray, preparation: VolumePreparation) -> TrainingData:
    stack = np.repeat(pixels[np.newaxis], BATCH, axis=0)
    ids = tuple(str(i) for i in range(BATCH))
    mean, std = np.full(BATCH, pixels.mean(), np.float32), np.full(BATCH, pixels.std(), np.float32)
    store = Store(Path("memory"), preparation, stack, list(ids), [""] * BATCH, mean, std, np.full((BATCH, 3), 1))
    labelled = Labelled(ids, np.arange(BATCH, dtype=float)[:, None] % 2)
    return TrainingData(store, Task((Target("label"),)), labelled, labelled)


def compare(model: str, file: Path, preparation: VolumePreparation, rounds: int) -> None:
    pixels, _ = prepare_file(file, preparation)
    recipe = Recipe(model=model, shape=preparation.shape, channels=1, batch_size=BATCH, epochs=99, learning_rate=1e-3)
    net = build_net(Architecture(model, 1, 1))
    session = open_session(net, data_of(pixels, preparation), recipe, FitOptions(devices="cpu"))
    report(f"{model}: a training step a volume", seconds(lambda: train_epoch(session, 0), rounds) / BATCH)

    def explained() -> None:
        volume, placement = standardised_file(file, preparation)
        found = heat_maps(net.eval(), torch.from_numpy(volume)[None])
        to_source(found.maps[0].float().numpy(), placement)

    report(f"{model}: reading, predicting, drawing one", seconds(explained, rounds))


def draw_masks(file: Path, preparation: VolumePreparation, rounds: int) -> None:
    """Time the small nets of `focusmap segment` and one mask, from a made-up map with a lesion in the middle."""
    whole, placement = standardised_file(file, preparation)
    shape = working_shape(preparation.shape)
    volume = F.interpolate(torch.from_numpy(whole)[None], shape, mode="area")[0].numpy()
    axes = np.meshgrid(*(np.linspace(-2, 2, side) for side in shape), indexing="ij")
    heat_map = np.exp(-sum(axis**2 for axis in axes)).astype(np.float32)
    thresholds, recipe = SeedThresholds(0.1, 0.5), SegmentationRecipe()
    cases = MarkedImages(np.stack([volume] * BATCH), np.stack([seeds_of(heat_map, thresholds)] * BATCH))
    for name, learn_one in {"what is alike": learn_alike, "the U-Net": learn_masks}.items():
        spent = seconds(lambda learn_one=learn_one: learn_one(cases, LearningOptions(STEPS, BATCH)), rounds)
        report(f"masks: a training step a volume of {name}", spent / STEPS / BATCH)
    segmenter = Segmenter({"cam": thresholds}, learn_alike(cases, ONE_STEP), learn_masks(cases, ONE_STEP), recipe)

    def drawn() -> None:
        for region in regions_of(segmenter, volume, heat_map).values():
            to_source(region, placement)

    report("masks: drawing one, refined and distilled", seconds(drawn, rounds))


def learn_alike(cases: MarkedImages, options: LearningOptions) -> FeatureNet:
    return learn_features(FeatureNet(1, N_FEATURES, 3), cases, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=["small-residual-3d", "resnet10-3d", "resnet18-3d", "densenet121-3d"]
    )
    parser.add_argument("--shape", type=int, nargs=3, default=[96, 96, 32])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    preparation = VolumePreparation(tuple(options.shape))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "volume.nii.gz"
        voxels = np.random.default_rng(0).normal(300, 90, (1, *SOURCE)).astype(np.int16)
        write_nifti(file, voxels, np.diag([1.0, 1.0, 5.0, 1.0]))
        sides = " x ".join(map(str, options.shape))
        print(f"256 x 256 x 24 voxels to {sides}, {torch.get_num_threads()} threads")
        report("reading", seconds(lambda: read_image(file), options.rounds))
        report("reading and preparing", seconds(lambda: prepare_file(file, preparation), options.rounds))
        for model in options.models:
            compare(model, file, preparation, options.rounds)
        draw_masks(file, preparation, options.rounds)


if __name__ == "__main__":
    main()
