"""Near-duplicates side by side: the audit, imagededup and cleanvision on the same images, each with its defaults.

    pip install imagededup cleanvision
    FOCUSMAP_DATA=FOLDER python benchmarks/near_duplicates.py [N]

With N, only the first N images of each set are looked at, which takes minutes.
The two are for this script alone. Of 50 breast ultrasound images, changed in ten ways and laid among all others, it
counts which are found beside what they were made of; of three public sets, the pairs of different patients that are
called near. imagededup's CNN needs downloaded weights and is left out.
"""

import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance
from reliability import CHANGES

from focusmap.audit import AuditOptions
from focusmap.audit.images import look_at_all
from focusmap.audit.near import near_pairs

DATA = Path(os.environ["FOCUSMAP_DATA"])
AMONG = int(sys.argv[1]) if len(sys.argv) > 1 else None
N_CHANGED, SETS = 50, ("cxr_nih621", "breast_us_busbra", "brain_lgg_mri")
Pairs = set[frozenset[str]]


def jpeg(image: Image.Image) -> Image.Image:
    packed = io.BytesIO()
    image.save(packed, "jpeg", quality=75)
    return Image.open(packed)


EASY: dict[str, Callable[[Image.Image], Image.Image]] = {
    "copied": lambda image: image,
    "packed as JPEG": jpeg,
    "resized": lambda image: image.resize((image.width * 3 // 4, image.height * 3 // 4)),
    "brightened by a fifth": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
}


def by_the_audit(files: list[Path]) -> Pairs:
    images = look_at_all(files, AuditOptions(workers=1))
    names = [file.name for file in files]
    near = {frozenset((names[pair.a], names[pair.b])) for pair in near_pairs(images.thumbnails, images.readable)}
    digests = pd.Series(names).groupby([look.digest for look in images.looks])
    return near | of_sets(digests.apply(list))


def by_hash(method: str) -> Callable[[list[Path]], Pairs]:
    def found(files: list[Path]) -> Pairs:
        from imagededup import methods

        hasher = getattr(methods, method)(verbose=False)
        codes = {file.name: hasher.encode_image(str(file)) for file in files}
        told = hasher.find_duplicates(encoding_map=codes, num_dist_workers=0)
        return {frozenset((name, other)) for name, others in told.items() for other in others}

    return found


def by_cleanvision(files: list[Path]) -> Pairs:
    from cleanvision import Imagelab

    lab = Imagelab(filepaths=[str(file) for file in files])
    lab.find_issues({"near_duplicates": {}, "exact_duplicates": {}}, n_jobs=1, verbose=False)
    groups = [group for kind in ("near_duplicates", "exact_duplicates") for group in lab.info[kind]["sets"]]
    return of_sets([[Path(file).name for file in group] for group in groups])


def of_sets(groups: Iterable[list[str]]) -> Pairs:
    return {frozenset(pair) for group in groups for pair in combinations(group, 2)}


TOOLS: dict[str, Callable[[list[Path]], Pairs]] = {
    "focusmap audit": by_the_audit,
    "imagededup PHash": by_hash("PHash"),
    "imagededup DHash": by_hash("DHash"),
    "imagededup WHash": by_hash("WHash"),
    "cleanvision": by_cleanvision,
}


def row(name: str, cells: Iterable[object]) -> None:
    print(f"| {name} |", " | ".join(map(str, cells)), "|", flush=True)


def changed() -> None:
    table = pd.read_csv(DATA / "breast_us_busi/labels.csv", dtype=str)
    own = [DATA / "breast_us_busi" / path for path in table["path"][:AMONG]]
    chosen = np.random.default_rng(0).choice(len(own), N_CHANGED, replace=False)
    for name, change in {**EASY, **CHANGES}.items():
        with tempfile.TemporaryDirectory() as folder:
            made = [Path(folder) / f"made_{own[place].name}" for place in chosen]
            for place, file in zip(chosen, made, strict=True):
                with Image.open(own[place]) as image:
                    change(image.convert("L")).save(file)
            pairs = {tool: find([*own, *made]) for tool, find in TOOLS.items()}
        wanted = [frozenset((own[place].name, file.name)) for place, file in zip(chosen, made, strict=True)]
        row(f"{name}, of {N_CHANGED}", (sum(one in found for one in wanted) for found in pairs.values()))


def apart() -> None:
    for name in SETS:
        table = pd.read_csv(DATA / name / "labels.csv", dtype=str)
        patient = dict(zip((Path(path).name for path in table["path"]), table["patient_id"], strict=True))
        files = [DATA / name / path for path in table["path"][:AMONG]]
        found = (find(files) for find in TOOLS.values())
        counts = (sum(len({patient[one] for one in pair}) > 1 for pair in pairs) for pairs in found)
        row(f"pairs of two patients in {name}", counts)


if __name__ == "__main__":
    row("", TOOLS)
    row("---", ["---"] * len(TOOLS))
    changed()
    apart()
