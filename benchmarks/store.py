"""Random batches of 32 uint8 images of 320 x 320 from a warm store, beside a plain copy and MONAI's cache.

    python benchmarks/store.py

Prints images a second of each, and the store's ratio to its peers. MONAI is optional.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from focusmap.images import Preparation, open_store
from focusmap.images.store import Wanted, write_store
from focusmap.images.workers import PreparedImage

N_IMAGES, N_BATCHES, BATCH, SIZE = 3000, 200, 32, 320
ROUNDS = 5


def main() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N_IMAGES, 1, SIZE, SIZE), dtype=np.uint8)
    batches = rng.integers(0, N_IMAGES, (N_BATCHES, BATCH))
    with tempfile.TemporaryDirectory() as folder:
        wanted = Wanted([str(k) for k in range(N_IMAGES)], [""] * N_IMAGES, Preparation(SIZE))
        write_store(Path(folder), wanted, (PreparedImage(each, (SIZE, SIZE), 0.0, 1.0) for each in images))
        store = open_store(Path(folder))
        assert np.array_equal(store.pixels[batches[0]], images[batches[0]])
        ours = rate(lambda rows: store.pixels[rows], batches)
        plain = rate(lambda rows: images[rows], batches)
        print(f"focusmap store           {ours:10,.0f} images/s   (wanted: 100,000)")
        print(f"plain copy in memory     {plain:10,.0f} images/s   ratio {ours / plain:.2f}")
        compare_with_monai(images, batches[:10], Path(folder) / "monai", ours)


def rate(read: Callable[[np.ndarray], object], batches: np.ndarray) -> float:
    """Return images a second, the best of several rounds."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for rows in batches:
            read(rows)
        seconds.append(time.perf_counter() - started)
    return batches.size / min(seconds)


def compare_with_monai(images: np.ndarray, batches: np.ndarray, cache: Path, ours: float) -> None:
    try:
        from monai.data import PersistentDataset
    except ImportError:
        print("MONAI PersistentDataset  is not installed: pip install 'focusmap[bench]'")
        return
    import torch

    used = np.unique(batches)
    dataset = PersistentDataset([{"image": torch.from_numpy(images[k])} for k in used], transform=[], cache_dir=cache)
    place = {k: position for position, k in enumerate(used)}

    def read(rows: np.ndarray) -> torch.Tensor:
        return torch.stack([dataset[place[row]]["image"] for row in rows])

    theirs = rate(read, batches)
    print(f"MONAI PersistentDataset  {theirs:10,.0f} images/s   ratio {ours / theirs:.1f}")


if __name__ == "__main__":
    main()
