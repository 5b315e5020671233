"""How many images of its own kind, and of other kinds, are flagged as unlike train.

    python benchmarks/ood.py FOLDER [FOLDER ...] [--size 96] [--most 400]

Each folder holds a `labels.csv`. Sixty percent of at most so many images are train, twenty tune; of the rest, and of
the images of all other folders, the share that is flagged is printed, with that of the rest inverted. Images are
dealt by `patient_id` where every row has one.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.images import Preparation, prepare_file
from focusmap.models.ood import Ood, fit_ood

SHARES = (0.6, 0.8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--most", type=int, default=400)
    parsed = parser.parse_args()
    sets = {folder.name: dealt(folder, parsed) for folder in parsed.folders}
    print("| train | own | " + " | ".join(sets) + " | own, inverted |")
    print("|---|---|" + "---|" * (len(sets) + 1))
    for name, (train, tune, rest) in sets.items():
        ood = fit_ood(train, tune)
        assert ood is not None, f"{name}: too few images"
        others = ["" if other == name else flagged(ood, parts[2]) for other, parts in sets.items()]
        shown = [flagged(ood, rest), *others, flagged(ood, [255 - image for image in rest])]
        print(f"| {name} | " + " | ".join(shown) + " |")


def dealt(folder: Path, parsed: argparse.Namespace) -> list[list[np.ndarray]]:
    """Return the prepared images of train, of tune and of the rest."""
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    has_patients = "patient_id" in table and (table["patient_id"] != "").all()
    patients = table["patient_id"] if has_patients else table["path"]
    order = np.random.default_rng(0).permutation(patients.unique())
    place = patients.map({patient: k for k, patient in enumerate(order)})
    chosen = table.assign(place=place).sort_values("place")[: parsed.most]
    part = np.searchsorted([share * chosen["place"].nunique() for share in SHARES], chosen["place"], side="right")
    preparation = Preparation(size=parsed.size)
    return [[prepare_file(folder / path, preparation)[0] for path in chosen["path"][part == k]] for k in range(3)]


def flagged(ood: Ood, images: list[np.ndarray]) -> str:
    return f"{np.mean([bool(ood.unlike(image)) for image in images]):.2f}"


if __name__ == "__main__":
    main()
