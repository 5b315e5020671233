"""What a recipe is made of: what a model's name says, recipes to start from by kind of image, how masks are drawn.

Mirroring is on only where left and right are alike to the label. There is no preset that mirrors chest images: in a
mirrored film the heart lies on the right side, which is a finding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal

from focusmap.basics import InputError, Json, suggest

# Ways to choose an operating point that take a number: an example, below what it lies, and what it means.
STATED_RULES = {
    "sensitivity": ("0.9", 1.0, "a share between 0 and 1"),
    "specificity": ("0.9", 1.0, "a share between 0 and 1"),
    "cost": ("5", inf, "how many false alarms a missed positive weighs"),
}
TABLE_NET = "table-net"
WITH_TABLE = "+table"
LADDER = "ladder"
"""What `auto` becomes where pretrained weights are to be had: models from the simple to the strong, and a choice."""
MEAN = "mean"
"""Of models of different kinds; its members have names of their own."""
ESTIMATORS = (
    "logistic", "svm", "rbf-svm", "forest", "gradient-boosting", "nearest", "centroid", "naive-bayes",
)  # fmt: skip
"""Estimators of scikit-learn; `focusmap.fitting.estimators` fits them."""
COUNTS = ("histogram", "lbp", "sift-bow")
"""Features that are counts, which naive Bayes needs."""
FEATURES = (*COUNTS, "moments", "shape", "texture", "hog", "pyramid")
"""Features of images; `focusmap.models.features` measures them."""


@dataclass(frozen=True)
class ModelName:
    """A model's name, read.

    Parameters
    ----------
    shown
        ``images`` or ``table``.
    engine
        ``net``, or ``estimator`` of scikit-learn.
    features
        Of images, for an estimator; several stand beside each other.
    estimator
        Its name; empty for a net.
    with_table
        True for a net of images that is shown the table too.
    """

    name: str
    shown: Literal["images", "table"]
    engine: Literal["net", "estimator"]
    features: tuple[str, ...] = ()
    estimator: str = ""
    with_table: bool = False

    @property
    def is_net_of_images(self) -> bool:
        """Whether it is a net that is shown images, which can be asked where it looks."""
        return (self.engine, self.shown) == ("net", "images")

    @property
    def net(self) -> str:
        """The name of a net of images without what says that it is shown the table too."""
        return self.name.removesuffix(WITH_TABLE)


def parse_model(name: str) -> ModelName:
    """Return what a model's name says.

    An estimator alone is shown the table, ``FEATURE+ESTIMATOR`` images; other names are nets of images, whose
    names `focusmap.nets` knows, and ``NET+table`` one that is shown both.

    Raises
    ------
    InputError
        If a part of ``FEATURE+ESTIMATOR`` is unknown, naive Bayes is given what cannot be counted, or what stands
        before ``+table`` is no net of images.

    >>> parse_model("hog+lbp+svm").features, parse_model("logistic").shown, parse_model("resnet18").engine
    (('hog', 'lbp'), 'table', 'net')
    """
    if name == TABLE_NET:
        return ModelName(name, "table", "net")
    if name.endswith(WITH_TABLE):
        base = parse_model(name.removesuffix(WITH_TABLE))
        if not base.is_net_of_images:
            raise InputError(f"model {name!r}: {WITH_TABLE} goes with a net of images, such as resnet18{WITH_TABLE}.")
        return ModelName(name, "images", "net", with_table=True)
    *features, estimator = name.split("+")
    if not features and estimator not in ESTIMATORS:
        return ModelName(name, "images", "net")
    for part, known, what in (*((f, FEATURES, "feature") for f in features), (estimator, ESTIMATORS, "estimator")):
        if part not in known:
            raise InputError(f"model {name!r}: {what} {part!r} is not one of {', '.join(known)}.{suggest(part, known)}")
    if estimator == "naive-bayes" and (not features or not set(features) <= set(COUNTS)):
        raise InputError(f"model {name!r}: naive-bayes takes counts: {', '.join(f'{f}+naive-bayes' for f in COUNTS)}.")
    return ModelName(name, "images" if features else "table", "estimator", tuple(features), estimator)


PRESETS: dict[str, Mapping[str, Json]] = {
    # Small findings need the pixels: 320 is CheXpert's choice (Irvin et al. 2019, section 4).
    "chest-xray": {
        "model": "densenet121",
        "size": 320,
        "channels": 1,
        "augmentation": {"mirror": False, "shift": 0.05, "rotate_degrees": 7.0, "brightness": 0.2, "contrast": 0.2},
    },
    # The halves of the brain are alike to a tumour's kind. Turn the mirror off where a label names a side.
    "brain-mri": {
        "size": 224,
        "channels": 1,
        "augmentation": {"mirror": True, "rotate_degrees": 15.0, "elastic": 0.02, "gamma": 0.2},
    },
    # A mirrored left eye looks like a right one, and a fundus has no upright that a camera keeps.
    "retina": {
        "size": 320,
        "channels": 3,
        "augmentation": {"mirror": True, "rotate_degrees": 45.0, "shift": 0.05, "brightness": 0.2, "contrast": 0.2},
    },
    # The exports of the APTOS 2021 challenge are 596 rows of 1264 columns, a fundus image on the left and the scan on
    # the right; the shares keep rows 50 to 450 and columns 550 to 1200, as the shared entries do. 640 pixels keep the
    # scan's own; a mirrored left eye looks like a right one.
    "oct-aptos": {
        "model": "plain-cnn",
        "crop": "0.0839,0.4351,0.755,0.9494",
        "size": 640,
        "channels": 1,
        "augmentation": {"mirror": True, "rotate_degrees": 5.0, "shift": 0.05, "brightness": 0.2, "contrast": 0.2},
    },
    # Organs that have a side are scanned too, so nothing is mirrored; turn it on for breast or thyroid.
    "ultrasound": {
        "size": 224,
        "channels": 1,
        "augmentation": {
            "mirror": False,
            "brightness": 0.2,
            "contrast": 0.25,
            "gamma": 0.25,
            "blur": 0.5,
            "noise": 0.05,
        },
    },
    "natural": {
        "channels": 3,
        "augmentation": {"mirror": True, "shift": 0.12, "rotate_degrees": 5.0, "cutout": 0.25},
    },
}


def preset(name: str) -> Mapping[str, Json]:
    """Return the settings that the preset called `name` changes; `InputError` names the known ones."""
    if name not in PRESETS:
        raise InputError(f"preset {name!r} is not one of {', '.join(PRESETS)}.{suggest(name, PRESETS)}")
    return PRESETS[name]


def over_preset(values: Mapping[str, Json], name: str) -> dict[str, Json]:
    """Return a preset's settings with `values` over them, those of the augmentation one by one."""
    base = preset(name)
    merged = {**base, **values}
    inner, augmentation = base.get("augmentation"), values.get("augmentation")
    if isinstance(inner, Mapping) and isinstance(augmentation, Mapping):
        merged["augmentation"] = {**inner, **augmentation}
    return merged


Features = Literal["unit", "elu"]
Edges = Literal["none", "random-walker", "superpixels"]


@dataclass(frozen=True)
class SegmentationRecipe:
    """Settings of the way from a heat map to a mask.

    Parameters
    ----------
    foreground, background
        Where a map, its highest value 1, is cut into seeds of lesion and of background; 0 means chosen on tune, where
        Otsu's method parts the values of the maps in three.
    features
        What ends the net that gives each voxel a feature: ``unit`` length, or an ``elu``.
    pair_radius
        How far apart, in voxels, the two of a pair may lie that this net learns from; 0 means anywhere, in another case
        too. It is a setting for large volumes whose lesions are to be told from what lies about them.
    points
        Share of a case's voxels, the highest of its map, that a lesion grows from.
    similarity
        Lambda: from how much on a voxel is like the points and joins them.
    walk_radius, walk_beta, walk_steps
        The random walk over similar voxels: how far a step goes, the exponent of the similarity, how many steps.
    edges
        What aligns the region with the image's own edges.
    band
        Half of the width, about `similarity`, of the band that the distilled U-Net does not learn from.
    rounds
        How often a U-Net is trained, each on what the one before it drew.
    n_steps
        Steps of each training.
    max_cases
        Cases of train that are learnt from, those with a lesion first.
    """

    foreground: float = 0.0
    background: float = 0.0
    features: Features = "unit"
    pair_radius: float = 0.0
    points: float = 0.005
    similarity: float = 0.5
    walk_radius: float = 3.0
    walk_beta: float = 4.0
    walk_steps: int = 6
    edges: Edges = "none"
    band: float = 0.1
    rounds: int = 1
    n_steps: int = 300
    max_cases: int = 400

    def __post_init__(self) -> None:
        for name in ("points", "similarity"):
            self._check(name, 0 < getattr(self, name) < 1, "must lie between 0 and 1")
        for name in ("background", "foreground"):
            self._check(name, 0 <= getattr(self, name) <= 1, "must lie between 0 and 1")
        if bool(self.background) != bool(self.foreground):
            raise InputError("segmentation: give both foreground and background, or neither.")
        ordered = self.background <= self.foreground
        self._check("background", ordered, f"must not be above foreground, {self.foreground:g}")
        room = min(self.similarity, 1 - self.similarity)
        within = f"must be at least 0 and below {room:g}, the smaller of similarity and 1 - similarity"
        self._check("band", 0 <= self.band < room, within)
        self._check("walk_beta", self.walk_beta > 0, "must be above 0")
        least = {"walk_radius": 1, "walk_steps": 0, "pair_radius": 0, "rounds": 1, "max_cases": 1, "n_steps": 2}
        for name, at_least in least.items():
            self._check(name, getattr(self, name) >= at_least, f"must be at least {at_least}")

    def _check(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise InputError(f"segmentation: {name} is {getattr(self, name):g}; it {rule}.")


def check_threshold_rule(rule: str) -> None:
    """Raise `InputError` unless `rule` is a known way to choose an operating point."""
    name, _, wanted = rule.partition("=")
    if name in ("accuracy", "youden", "f1") and not wanted:
        return
    if name not in STATED_RULES:
        known = ("accuracy", "youden", "f1", *(f"{held}={example}" for held, (example, _, _) in STATED_RULES.items()))
        raise InputError(f"threshold rule {rule!r} is not one of {', '.join(known)}.{suggest(rule, known)}")
    example, above, meaning = STATED_RULES[name]
    try:
        value = float(wanted)
    except ValueError:
        value = -1.0
    if not 0 < value < above:
        raise InputError(f"threshold rule {rule!r}: write {name}={example}, {meaning}.")
