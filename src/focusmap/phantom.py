"""The embedded study: chest-like images with planted lesions, their masks, and a table.

Every image is textured anatomy of its patient, times a bias field, plus its site's contrast and noise, plus the
lesions of its label. Lesions differ in form, not in brightness, and lie anywhere in either lung, so that neither a
threshold nor a mean mask finds them. Coordinates run from -1 to 1 along each axis, for images and volumes alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from focusmap.basics import InputError, atomic, write_table
from focusmap.images import write_nifti


@dataclass(frozen=True)
class PhantomOptions:
    """What to generate; equal options give equal images.

    Parameters
    ----------
    n_patients, n_images
        Every patient has at least one image, most have several.
    size
        Pixels along each axis.
    dimensions
        2 for images, 3 for volumes.
    seed
        Every patient and every image draws from its own child of this seed.
    shuffle_labels
        Permute the label rows over the images, so that labels and images have nothing to do with each other.
        Masks stay with the images.
    """

    n_patients: int = 66
    n_images: int = 600
    size: int = 64
    dimensions: Literal[2, 3] = 2
    seed: int = 0
    shuffle_labels: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.n_patients <= self.n_images:
            raise InputError(f"{self.n_images} images of {self.n_patients} patients: each patient needs one or more.")
        if self.size < 28:
            raise InputError(f"size {self.size}: the planted lesions need at least 28 pixels a side.")


@dataclass(frozen=True)
class Phantom:
    """A generated study of N images.

    Parameters
    ----------
    images
        ``(N, *spatial) uint8``.
    masks
        Finding to ``(N, *spatial) bool``, true where that finding was planted.
    table
        N rows: ``path``, ``patient_id``, ``sex``, ``age``, ``site``, one column per finding (1, 0, NaN unknown).
    """

    images: np.ndarray
    masks: dict[str, np.ndarray]
    table: pd.DataFrame


@dataclass(frozen=True)
class _Finding:
    prevalence: float
    radius: tuple[float, float]
    contrast: float
    profile: Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Site:
    contrast: float
    gamma: float
    noise: float


@dataclass(frozen=True)
class _Patient:
    patient_id: str
    sex: str
    age_years: int
    site: str
    lung_axes: np.ndarray  # (2 lungs, dimensions), semi-axes
    lung_centres: np.ndarray  # (2 lungs, dimensions)
    heart_centre: np.ndarray
    levels: np.ndarray  # brightness of air, body, lung, heart
    susceptibility: np.ndarray  # (findings,), times the prevalence


def _solid(radius: np.ndarray, stripes: np.ndarray) -> np.ndarray:
    # A core with a faint halo: the evidence that a net draws from the core's edge still lies within the mask.
    return np.asarray(0.85 * np.exp(-((radius / 0.55) ** 3)) + 0.15 * np.clip(1 - radius, 0, 1) + 0 * stripes)


def _ring(radius: np.ndarray, stripes: np.ndarray) -> np.ndarray:
    wall, hole = np.exp(-(((radius - 0.7) / 0.2) ** 2)), np.exp(-((radius / 0.4) ** 2))
    return np.asarray(1.2 * wall - 0.6 * hole + 0 * stripes)


def _streaked(radius: np.ndarray, stripes: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip((1 - radius) / 0.3, 0, 1) * (0.45 + 0.55 * stripes))


# Profiles map distance from the centre (1 at the border of the mask) and unit-amplitude stripes to brightness.
_FINDINGS = {
    "nodule": _Finding(0.35, (0.20, 0.27), 0.55, _solid),
    "cavity": _Finding(0.22, (0.21, 0.28), 0.40, _ring),
    "consolidation": _Finding(0.16, (0.25, 0.33), 0.40, _streaked),
}
FINDINGS = tuple(_FINDINGS)
_SITES = {"north": _Site(1.0, 1.0, 0.015), "south": _Site(0.8, 1.15, 0.030), "east": _Site(0.9, 0.85, 0.022)}
_UNKNOWN_SHARE = 0.03
VOXEL = 5.0  # mm


def make_phantom(options: PhantomOptions) -> Phantom:
    """Return the study that `options` describe; the same options give the same study.

    >>> phantom = make_phantom(PhantomOptions(n_patients=2, n_images=3, size=32))
    >>> phantom.images.shape, phantom.masks["nodule"].shape, len(phantom.table)
    ((3, 32, 32), (3, 32, 32), 3)
    """
    patients = [_draw_patient(options, i) for i in range(options.n_patients)]
    owners = _share_out(options)
    images, masks = [], []
    for i, owner in enumerate(owners):
        image, planted = _draw_image(options, patients[owner], np.random.default_rng([options.seed, 2, i]))
        images.append(image)
        masks.append(planted)
    by_finding = dict(zip(FINDINGS, np.stack(masks, axis=1), strict=True))
    return Phantom(np.stack(images), by_finding, _tabulate(options, [patients[k] for k in owners], by_finding))


def write_phantom(phantom: Phantom, folder: Path) -> Path:
    """Write the images, the masks and `labels.csv` into `folder`; return the path of `labels.csv`.

    Images are 8-bit PNG under ``images/``, masks 0 and 255 under ``masks/FINDING/`` for images where that finding
    was planted; column ``mask_FINDING`` names them. Volumes are ``.nii.gz`` with voxels of 5 mm.

    Raises
    ------
    DiskError
        If a file cannot be written.
    """
    table = phantom.table.copy()
    for path, image in zip(table["path"], phantom.images, strict=True):
        _write(folder / path, image)
    for finding, masks in phantom.masks.items():
        table[f"mask_{finding}"] = [
            _write_mask(folder, f"masks/{finding}/{Path(path).name}", mask)
            for path, mask in zip(table["path"], masks, strict=True)
        ]
    table[list(phantom.masks)] = table[list(phantom.masks)].astype("Int64")
    write_table(folder / "labels.csv", table)
    return folder / "labels.csv"


def _write_mask(folder: Path, relative: str, mask: np.ndarray) -> str:
    if not mask.any():
        return ""
    _write(folder / relative, mask.astype(np.uint8) * 255)
    return relative


def _write(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    if pixels.ndim == 3:
        # The phantom's axes run to the back, down and to its left; millimetres to the right, front and top.
        affine = np.array([[0, 0, -VOXEL, 0], [-VOXEL, 0, 0, 0], [0, -VOXEL, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
        write_nifti(path, pixels[np.newaxis], affine)
        return

    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def _share_out(options: PhantomOptions) -> np.ndarray:
    """Return the position of each image's patient, ``(N,) int``, sorted: one each, the others by lot."""
    rng = np.random.default_rng([options.seed, 0])
    rest = rng.integers(options.n_patients, size=options.n_images - options.n_patients)
    return np.sort(np.concatenate([np.arange(options.n_patients), rest]))


def _draw_patient(options: PhantomOptions, index: int) -> _Patient:
    rng = np.random.default_rng([options.seed, 1, index])
    centres = rng.normal(0, 0.05, (2, options.dimensions))
    centres[:, -1] += rng.uniform(0.38, 0.50) * np.array([-1, 1])
    axes = rng.uniform(0.50, 0.85, (2, options.dimensions))
    axes[:, -1] = rng.uniform(0.28, 0.40, 2)
    heart = rng.normal(0, 0.08, options.dimensions)
    heart[-2:] += 0.35, 0.15
    return _Patient(
        patient_id=f"P{index + 1:03d}",
        sex=str(rng.choice(["F", "M"])),
        age_years=int(np.clip(rng.normal(58, 15), 18, 90)),
        site=str(rng.choice(list(_SITES))),
        lung_axes=axes,
        lung_centres=centres,
        heart_centre=heart,
        levels=np.array([0.06, 0.56, 0.25, 0.62]) + rng.normal(0, 0.03, 4),
        susceptibility=rng.gamma(8, 1 / 8, len(FINDINGS)),
    )


def _draw_image(options: PhantomOptions, patient: _Patient, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return one image ``(*spatial) uint8`` and its masks ``(findings, *spatial) bool``."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, options.size)] * options.dimensions, indexing="ij"))
    posed = grid - rng.normal(0, 0.05, options.dimensions).reshape(-1, *[1] * options.dimensions)
    lungs = _lungs(patient, posed, 1.0)
    pixels = _anatomy(patient, posed, lungs) + 0.03 * _texture(options, rng)
    masks = np.zeros((len(FINDINGS), *lungs.shape), dtype=bool)
    prevalences = np.array([finding.prevalence for finding in _FINDINGS.values()])
    for k in np.flatnonzero(rng.random(len(FINDINGS)) < prevalences * patient.susceptibility):
        allowed = (_lungs(patient, posed, 0.75) > 0.5) & ~masks.any(axis=0)
        added, masks[k] = _lesion(_FINDINGS[FINDINGS[k]], grid, allowed, rng)
        pixels += added
    return _acquire(pixels, _SITES[patient.site], rng), masks


def _ellipsoid(grid: np.ndarray, centre: np.ndarray, axes: np.ndarray, softness: float) -> np.ndarray:
    """Return 1 inside, 0 outside, with a border of about `softness` semi-axes."""
    column = (-1, *[1] * (len(grid)))
    radius = np.sqrt((((grid - centre.reshape(column)) / axes.reshape(column)) ** 2).sum(axis=0))
    return np.asarray(np.clip(0.5 + (1 - radius) / softness, 0, 1))


def _lungs(patient: _Patient, grid: np.ndarray, scale: float) -> np.ndarray:
    pairs = zip(patient.lung_centres, scale * patient.lung_axes, strict=True)
    left, right = [_ellipsoid(grid, centre, axes, 0.2) for centre, axes in pairs]
    return np.asarray(np.maximum(left, right))


def _anatomy(patient: _Patient, grid: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    air, body, lung, heart = patient.levels
    dimensions = len(grid)
    torso = _ellipsoid(grid, np.zeros(dimensions), np.full(dimensions, 1.05), 0.1)
    heart_shape = _ellipsoid(grid, patient.heart_centre, np.full(dimensions, 0.28), 0.3)
    pixels = air + (body - air) * torso
    pixels += (lung - pixels) * lungs
    return np.asarray(pixels + (heart - pixels) * heart_shape * (1 - 0.8 * lungs))


def _smooth_noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise of mean 0 and standard deviation 1."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(shape), sigma, mode="reflect")
    return np.asarray((noise - noise.mean()) / noise.std())


def _texture(options: PhantomOptions, rng: np.random.Generator) -> np.ndarray:
    shape = (options.size,) * options.dimensions
    scale = options.size / 64
    return 0.6 * _smooth_noise(shape, 1.0 * scale, rng) + 0.8 * _smooth_noise(shape, 3.0 * scale, rng)


def _lesion(
    finding: _Finding, grid: np.ndarray, allowed: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a lesion centred where `allowed` adds to the image, and its mask."""
    column = (-1, *[1] * (len(grid)))
    centre = rng.choice(grid[:, allowed], axis=1).reshape(column)
    wobble = 1 + 0.10 * _smooth_noise(allowed.shape, allowed.shape[0] / 16, rng)
    radius = np.sqrt(((grid - centre) ** 2).sum(axis=0)) / rng.uniform(*finding.radius) * wobble
    direction = rng.standard_normal(len(grid))
    phase = np.tensordot(direction / np.linalg.norm(direction), grid, axes=1) * 2 * np.pi / 0.16
    profile = finding.profile(radius, np.sin(phase + rng.uniform(0, 2 * np.pi)))
    return finding.contrast * rng.uniform(0.85, 1.15) * profile, radius < 1


def _acquire(pixels: np.ndarray, site: _Site, rng: np.random.Generator) -> np.ndarray:
    """Return what the scanner of `site` makes of the ideal image: bias field, contrast, noise, 8 bits."""
    bias = np.exp(0.12 * _smooth_noise(pixels.shape, pixels.shape[0] / 4, rng))
    level = np.clip(site.contrast * bias * pixels, 0, 1) ** site.gamma
    noisy = level + rng.normal(0, site.noise, pixels.shape)
    return np.asarray(np.round(np.clip(noisy, 0, 1) * 255), dtype=np.uint8)


def _tabulate(options: PhantomOptions, patients: list[_Patient], masks: dict[str, np.ndarray]) -> pd.DataFrame:
    rng = np.random.default_rng([options.seed, 3])
    labels = np.stack([mask.reshape(len(mask), -1).any(axis=1) for mask in masks.values()], axis=1).astype(float)
    labels[rng.random(labels.shape) < _UNKNOWN_SHARE] = np.nan
    if options.shuffle_labels:
        labels = rng.permutation(labels, axis=0)
    suffix = ".png" if options.dimensions == 2 else ".nii.gz"
    rows = pd.DataFrame(
        {
            "path": [f"images/{i:04d}{suffix}" for i in range(len(patients))],
            "patient_id": [patient.patient_id for patient in patients],
            "sex": [patient.sex for patient in patients],
            "age": [patient.age_years for patient in patients],
            "site": [patient.site for patient in patients],
        }
    )
    return pd.concat([rows, pd.DataFrame(labels, columns=list(masks))], axis=1)
