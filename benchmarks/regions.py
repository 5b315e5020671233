"""How good the best region of each image is, how good the most contrasting one, and what regions cost.

    python benchmarks/regions.py LABELS.csv [--images DIR] [--n 160] [--polarity dark bright]

The label file needs the columns `path` and `mask`. Prints means over images with a lesion: Dice of the best region,
which bounds what can be chosen, and of the most contrasting one; regions per image and processor milliseconds.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.images import BRIGHT, DARK, propose_regions, read_image, read_mask
from focusmap.images.regions import shrunk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--n", type=int, default=160)
    parser.add_argument("--polarity", nargs="+", default=[DARK, BRIGHT], choices=[DARK, BRIGHT])
    asked = parser.parse_args()
    folder = asked.images or asked.labels.parent
    table = pd.read_csv(asked.labels, dtype=str, keep_default_na=False)
    table = table[table["mask"] != ""]
    rows = []
    for row in table.iloc[np.random.default_rng(0).permutation(len(table))].itertuples():
        lesion = shrunk(read_mask(folder / row.mask).astype(np.float32)) >= 1 / 2
        if not lesion.any() or len(rows) == asked.n:
            continue
        image = shrunk(read_image(folder / row.path).pixels.mean(axis=0, dtype=np.float32))
        started = time.process_time()
        regions = propose_regions(image, asked.polarity)
        seconds = time.process_time() - started
        both = regions.inside @ lesion.ravel().astype(np.float32)
        dice = 2 * both / (regions.sizes + lesion.sum())
        head = dice[regions.contrast.argmax()] if len(regions) else 0.0
        rows.append((dice.max(initial=0), head, len(regions), 1000 * seconds))
    for name, values in zip(("best region", "most contrasting", "regions", "ms"), np.array(rows).T, strict=True):
        print(f"{name:18} {values.mean():8.3f}   median {np.median(values):8.3f}   n {len(values)}")


if __name__ == "__main__":
    main()
