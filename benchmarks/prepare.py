"""Images of 1024 x 1024 to 320 x 320: focusmap beside OpenCV, Pillow and MONAI, and on two processes.

    python benchmarks/prepare.py

Prints images a second of one worker, our ratio to each peer, and how much faster two workers are than one.
The peers do the same work: read the file, decode, resize with antialiasing, pad to a square. MONAI is optional.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from focusmap.images import Preparation, prepare_file, workers

SIDE, SIZE = 1024, 320
N_FILES, ROUNDS = 12, 8
N_FOR_SCALING = 600
WANTED = {"JPEG": 1.5, "PNG": 1.3}
PREPARATION = Preparation(SIZE)
Prepare = Callable[[Path], object]


def main() -> None:
    cv2.setNumThreads(1)
    contenders = {"focusmap": lambda file: prepare_file(file, PREPARATION), **peers()}
    with tempfile.TemporaryDirectory() as folder:
        for kind, wanted in WANTED.items():
            files = write_images(Path(folder), kind)
            print(f"{kind} {SIDE} -> {SIZE}, one worker (wanted: {wanted} x OpenCV)")
            print_rates(rates(contenders, files))
            print_scaling(files)
    if "MONAI" not in contenders:
        print("MONAI is not installed: pip install 'focusmap[bench]'")


def write_images(folder: Path, kind: str) -> list[Path]:
    """Write textured grey images with the noise of a radiograph: the JPEG has about 150 kB, as one of those."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(N_FILES):
        anatomy = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), 20)
        anatomy = (anatomy - anatomy.min()) / np.ptp(anatomy) * 200
        pixels = np.clip(anatomy + rng.normal(0, 3, anatomy.shape), 0, 255).astype(np.uint8)
        files.append(folder / f"{number}.{kind.lower()}")
        Image.fromarray(pixels).save(files[-1], quality=90)
    return files


def rates(contenders: dict[str, Prepare], files: Sequence[Path]) -> dict[str, float]:
    """Return images a second of each; they take turns on each file, so that all see the same disturbances."""
    seconds = dict.fromkeys(contenders, 0.0)
    for file in files:
        best = dict.fromkeys(contenders, float("inf"))
        for _ in range(ROUNDS):
            for name, prepare in contenders.items():
                started = time.perf_counter()
                prepare(file)
                best[name] = min(best[name], time.perf_counter() - started)
        seconds = {name: seconds[name] + best[name] for name in contenders}
    return {name: len(files) / total for name, total in seconds.items()}


def print_rates(found: dict[str, float]) -> None:
    ours = found["focusmap"]
    for name, images_a_second in found.items():
        print(f"  {name:8} {images_a_second:7.0f} images/s   ratio {ours / images_a_second:.2f}")


def peers() -> dict[str, Prepare]:
    known: dict[str, Prepare] = {"OpenCV": by_opencv, "Pillow": by_pillow}
    try:
        import torch
        from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Resize, SpatialPad
    except ImportError:
        return known
    torch.set_num_threads(1)
    steps = [LoadImage(image_only=True), EnsureChannelFirst(), Resize(SIZE, size_mode="longest", anti_aliasing=True)]
    return {**known, "MONAI": Compose([*steps, SpatialPad((SIZE, SIZE))])}


def by_opencv(file: Path) -> np.ndarray:
    plane = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    return pad(cv2.resize(plane, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def by_pillow(file: Path) -> np.ndarray:
    with Image.open(file) as opened:
        return pad(np.asarray(opened.resize((SIZE, SIZE), Image.Resampling.BOX)))


def pad(plane: np.ndarray) -> np.ndarray:
    square = np.zeros((1, SIZE, SIZE), np.uint8)
    square[0] = plane
    return square


def print_scaling(files: Sequence[Path]) -> None:
    """Print how much faster two processes are than one, both started and warm before the clock runs."""
    one, two = (pool_seconds(files, n_workers) for n_workers in (1, 2))
    print(f"  two worker processes are {one / two:.2f} times as fast as one (wanted: 1.8)")


def pool_seconds(files: Sequence[Path], n_workers: int) -> float:
    """Return the seconds from the first image that a pool gives back to its last."""
    many = [files[k % len(files)] for k in range(N_FOR_SCALING)]
    outcomes = workers.prepare_by_processes(many, PREPARATION, n_workers)
    skipped = 2 * workers.CHUNK * workers.CHUNKS_AHEAD
    for _ in range(skipped):
        next(outcomes)
    started = time.perf_counter()
    for _ in outcomes:
        pass
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
