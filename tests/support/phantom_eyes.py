"""An embedded study of eyes: exports of a fundus-like image and an OCT-like scan, before and after, and a table.

Each export has the fundus on its left half and the scan on its right one, as those of the APTOS 2021 challenge. What is
planted: fluid between two layers of the scan, before and after treatment, and bright spots on the fundus; a drug, an
age and an acuity in the table. Every target is the sum of one thing that only the images show, one that only the
table says, of equal variance, and a little noise:

- ``CST`` (continuous): fluid after, and drug;
- ``continue_injection``: fluid after, and acuity;
- ``relapse``: spots, and age;
- ``loss``: fluid before, and drug.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.basics import InputError, atomic, write_table

VISITS = ("pre", "post")
COVARIATES = ("drug", "age", "acuity", "sex")
TARGETS = ("CST", "continue_injection", "relapse", "loss")
_LINKS = {
    "CST": ("post", "drug"),
    "continue_injection": ("post", "acuity"),
    "relapse": ("spots", "age"),
    "loss": ("pre", "drug"),
}
_DRUGS = {"none": -1.22, "old": 0.0, "new": 1.22}  # of mean 0 and variance 1
_NOISE = 0.3
_MOST_SPOTS = 7
_MISSING_SHARE = 0.04


@dataclass(frozen=True)
class EyeOptions:
    """What to generate; equal options give equal studies.

    Parameters
    ----------
    n_patients
        Of two eyes each.
    size
        Rows of an export; it has twice as many columns.
    seed
        Of all that is drawn.
    images_tell, table_tells
        Whether targets follow what the images show, and what the table says. Where not, something else of the same
        distribution that nobody sees takes its place: the same images and table, and a link cut.
    """

    n_patients: int = 200
    size: int = 48
    seed: int = 0
    images_tell: bool = True
    table_tells: bool = True

    def __post_init__(self) -> None:
        if self.n_patients < 1:
            raise InputError(f"{self.n_patients} patients: at least one is needed.")
        if self.size < 28:
            raise InputError(f"size {self.size}: the planted fluid needs at least 28 rows.")


@dataclass(frozen=True)
class EyeStudy:
    """A generated study of N exports, two an eye.

    Parameters
    ----------
    images
        ``(N, size, 2 * size) uint8``.
    table
        N rows: ``path, patient_id, eye_id, view`` (the visit), the covariates, the targets.
    """

    images: np.ndarray
    table: pd.DataFrame


def make_eyes(options: EyeOptions) -> EyeStudy:
    """Return the study that `options` describe.

    >>> study = make_eyes(EyeOptions(n_patients=2, size=32))
    >>> study.images.shape, study.table["view"].tolist()[:2]
    ((8, 32, 64), ['pre', 'post'])
    """
    n = 2 * options.n_patients
    rng = np.random.default_rng([options.seed, 0])
    shown = {name: rng.standard_normal(n) for name in ("pre", "post", "spots")}
    said = {"drug": rng.choice(list(_DRUGS), n), "age": rng.standard_normal(n), "acuity": rng.standard_normal(n)}
    eyes = _eye_table(options, said, _targets(options, shown, said))
    images = [
        _export(options, {"fluid": shown[visit][i], "spots": shown["spots"][i]}, [options.seed, 1, i, k])
        for i in range(n)
        for k, visit in enumerate(VISITS)
    ]
    table = eyes.loc[np.repeat(np.arange(n), len(VISITS))].reset_index(drop=True)
    table.insert(0, "path", [f"images/{eye}_{visit}.png" for eye in eyes["eye_id"] for visit in VISITS])
    table.insert(3, "view", list(VISITS) * n)
    return EyeStudy(np.stack(images), table)


def write_eyes(study: EyeStudy, folder: Path) -> Path:
    """Write the exports as PNG under ``images/``, and `labels.csv`; return the path of that.

    Raises
    ------
    DiskError
        If a file cannot be written.
    """
    from PIL import Image

    for path, image in zip(study.table["path"], study.images, strict=True):
        with atomic(folder / path) as temporary:
            Image.fromarray(image).save(temporary, format="PNG")
    write_table(folder / "labels.csv", study.table)
    return folder / "labels.csv"


def _targets(options: EyeOptions, shown: dict[str, np.ndarray], said: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the value of each target's sum, ``(n,)``; a link that is cut is an independent draw of the same shape."""
    rng = np.random.default_rng([options.seed, 2])
    found = {}
    for name, (image, column) in _LINKS.items():
        effect = np.array([_DRUGS[drug] for drug in said["drug"]]) if column == "drug" else said[column]
        seen, noise = shown[image], _NOISE * rng.standard_normal(len(effect))
        # Both are drawn in any case, so that the one switch leaves what the other one does alone.
        hidden = rng.permutation(seen), rng.permutation(effect)
        found[name] = (seen if options.images_tell else hidden[0]) + noise
        found[name] = found[name] + (effect if options.table_tells else hidden[1])
    return found


def _eye_table(options: EyeOptions, said: dict[str, np.ndarray], sums: dict[str, np.ndarray]) -> pd.DataFrame:
    n = 2 * options.n_patients
    rng = np.random.default_rng([options.seed, 3])
    patients = [f"P{i // 2 + 1:03d}" for i in range(n)]
    acuity = np.round(0.5 + 0.2 * said["acuity"], 2).astype(object)
    acuity[rng.random(n) < _MISSING_SHARE] = ""
    return pd.DataFrame(
        {
            "patient_id": patients,
            "eye_id": [f"{patient}{'LR'[i % 2]}" for i, patient in enumerate(patients)],
            "drug": said["drug"],
            "age": np.round(64 + 9 * said["age"], 1),
            "acuity": acuity,
            "sex": rng.choice(["F", "M"], n),
            "CST": np.round(300 + 60 * sums["CST"]).astype(int),
            **{name: (sums[name] > 0).astype(int) for name in TARGETS[1:]},
        }
    )


def _export(options: EyeOptions, shown: dict[str, float], seed: list[int]) -> np.ndarray:
    """Return one export ``(size, 2 * size) uint8``."""
    rng = np.random.default_rng(seed)
    rows, columns = np.meshgrid(*[np.linspace(-1, 1, options.size)] * 2, indexing="ij")
    halves = [_fundus(rows, columns, shown["spots"], rng), _scan(rows, columns, shown["fluid"], rng)]
    noisy = np.concatenate(halves, axis=1) + 0.03 * rng.standard_normal((options.size, 2 * options.size))
    return np.asarray(np.round(255 * np.clip(noisy, 0, 1)), dtype=np.uint8)


def _fundus(rows: np.ndarray, columns: np.ndarray, spots: float, rng: np.random.Generator) -> np.ndarray:
    """Return a disc with vessels, and as many bright spots as `spots` (mean 0, deviation 1) stands for."""
    image = 0.35 * (rows**2 + columns**2 < 0.9) + 0.03 * _smooth(rows.shape, rng)
    for _ in range(4):
        course = rng.uniform(-0.6, 0.6) + rng.uniform(-0.5, 0.5) * np.sin(3 * columns + rng.uniform(0, 6))
        image = image - 0.15 * np.exp(-(((rows - course) / 0.05) ** 2))
    n_spots = round(_MOST_SPOTS * float(np.clip(0.5 + 0.25 * spots, 0, 1)))
    for _ in range(n_spots):
        angle, reach = rng.uniform(0, 2 * np.pi), 0.8 * np.sqrt(rng.uniform())
        distance = (rows - reach * np.sin(angle)) ** 2 + (columns - reach * np.cos(angle)) ** 2
        image = image + 0.5 * np.exp(-distance / 0.07**2)
    return np.asarray(image)


def _scan(rows: np.ndarray, columns: np.ndarray, fluid: float, rng: np.random.Generator) -> np.ndarray:
    """Return two bright layers, and between them dark fluid as wide as `fluid` (mean 0, deviation 1) stands for."""
    course = rng.uniform(-0.2, 0.2) + rng.uniform(-0.15, 0.15) * np.sin(2 * columns + rng.uniform(0, 6))
    depth = rows - course
    image = 0.1 + 0.35 * (np.abs(depth) < 0.5) + 0.05 * _smooth(rows.shape, rng)
    for edge in (-0.5, 0.5):
        image = image + 0.4 * np.exp(-(((depth - edge) / 0.06) ** 2))
    width = 0.05 + 0.75 * float(np.clip(0.5 + 0.25 * fluid, 0, 1))
    shape = (depth / 0.32) ** 2 + ((columns - rng.uniform(-0.2, 0.2)) / width) ** 2
    return np.asarray(image - 0.35 * np.exp(-(shape**2)))


def _smooth(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(shape), shape[0] / 24)
    return np.asarray(noise / noise.std())
