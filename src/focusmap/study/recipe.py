"""The settings of one training: frozen, validated, written to `recipe.yaml` and read back equal."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Annotated, ClassVar, Literal, cast, get_args, get_origin, get_type_hints

from focusmap.basics import InputError, Json, Setting, read_yaml, suggest, with_parameters, write_text
from focusmap.study.recipe_parts import SegmentationRecipe, check_threshold_rule, over_preset

Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["cosine", "constant", "one-cycle", "step", "plateau"]
Loss = Literal["cross-entropy", "focal", "asymmetric", "absolute"]
Sampling = Literal["all", "weighted", "over", "under"]
Monitor = Literal["auroc", "loss"]
Precision = Literal["auto", "fp32", "bf16"]
Cases = Literal["auto", "pictures", "mean", "max", "attention"]
Encoder = Literal["shared", "separate"]
Fusion = Literal["joint", "gated", "late", "stacked"]
Pooling = Literal["auto", "average", "max", "lse", "topk", "attention"]


def whole_numbers(text: str) -> tuple[int, ...]:
    """Return whole numbers that are written with commas between them."""
    return tuple(int(part) for part in text.split(","))


def numbers(text: str) -> tuple[float, ...]:
    """Return numbers that are written with commas between them."""
    return tuple(float(part) for part in text.split(","))


@with_parameters
@dataclass(frozen=True)
class Augmentation:
    """How far a training image may be changed; each number is the largest change, 0 turns it off."""

    shift: Annotated[float, "Share of the image's side, in each direction."] = 0.08
    rotate_degrees: Annotated[float, "Degrees, in each direction."] = 10.0
    scale: Annotated[float, "Share by which the image grows or shrinks."] = 0.1
    brightness: Annotated[float, "In units of the standardised image (standard deviation 1), and as a share."] = 0.15
    contrast: Annotated[float, "In units of the standardised image (standard deviation 1), and as a share."] = 0.15
    noise: Annotated[float, "Standard deviation of added Gaussian noise, in the same units."] = 0.03
    cutout: Annotated[float, "Side of a blanked square as a share of the image's side."] = 0.0
    mirror: Annotated[
        bool | None,
        "Left-right mirroring of half of the images: it moves the heart to the right side. `null`: off but where the "
        "ladder finds that images are hardly told from their mirror images, and that no label suffers.",
    ] = None
    shear_degrees: Annotated[float, "Degrees by which upright lines lean, in each direction."] = 0.0
    elastic: Annotated[float, "Share of the image's side by which places move on their own, neighbours alike."] = 0.0
    gamma: Annotated[
        float,
        "Share by which the exponent of the brightness, between an image's darkest and brightest, exceeds 1 or 1 the "
        "exponent.",
    ] = 0.0
    blur: Annotated[float, "Standard deviation, in pixels of the net's input, of a Gaussian."] = 0.0
    mixup: Annotated[
        float, "Of the two images that are blended the shares are drawn from Beta(mixup, mixup); 0.2 is usual."
    ] = 0.0

    def __post_init__(self) -> None:
        for name in ("shift", "scale", "contrast", "cutout", "elastic"):
            _check(0 <= getattr(self, name) < 1, f"augmentation.{name} must be at least 0 and below 1")
        for name in ("rotate_degrees", "brightness", "noise", "shear_degrees", "gamma", "blur", "mixup"):
            _check(getattr(self, name) >= 0, f"augmentation.{name} must not be negative")
        _check(self.shear_degrees < 90, "augmentation.shear_degrees must be below 90")


@with_parameters
@dataclass(frozen=True)
class Recipe:
    """Settings of one training."""

    TITLE: ClassVar = "the training"

    model: Annotated[
        str,
        Setting(
            "densenet121, resnet18, ... or any timm model; for volumes resnet18-3d, densenet121-3d, ...; -fpn or -pan "
            "makes a focus-map net; +table adds the covariates; autoencoder uses no labels (default: see --budget)",
            "NAME",
        ),
        "A name of `focusmap.nets.backbones`, any name of timm's, or one of these with a decoder, as in `vgg16-fpn`: "
        "a focus-map net; with `-autoencoder` it learns without labels; with `+table` a backbone also takes the "
        "covariates. `auto`: `small-residual` up to 64 pixels, else `resnet18`; `autoencoder`: that of the one "
        "that `auto` would choose.",
    ] = "auto"
    size: Annotated[
        int,
        Setting("side of the net's input in pixels (default: from the images)", "N"),
        "Side of the net's square input in pixels, or of the cube for volumes; 0 means chosen from the images.",
    ] = 0
    shape: Annotated[
        tuple[int, ...],
        Setting(
            "voxels of the net's input towards right, front and top, such as 96,96,24 (default: from the volumes)",
            "N,N,N",
            parse=whole_numbers,
        ),
        "Voxels of the net's input towards the patient's right, front and top, such as `[96, 96, 24]`; empty means "
        "chosen from the volumes, or a cube of `size`. For volumes only, as is `spacing`.",
    ] = ()
    spacing: Annotated[
        tuple[float, ...],
        Setting(
            "voxel size of the input in mm; what does not fit --shape is padded or cropped (default: stretched)",
            "MM,MM,MM",
            parse=numbers,
        ),
        "Voxel size of the input in mm along the same axes, such as `[1, 1, 5]`: volumes are padded or cropped to "
        "`shape` about their middle. Empty means that each axis is stretched to fill it.",
    ] = ()
    channels: Annotated[int, "1 (grey) or 3, of volumes the number of modalities; 0 means chosen from the images."] = 0
    crop: Annotated[
        str,
        "What is kept of each image: `whole`, `foreground`, `left-half`, `right-half`, `top-half`, `bottom-half`, "
        "or `TOP,LEFT,BOTTOM,RIGHT` in shares of the image.",
    ] = "whole"
    scaling: Annotated[
        Literal["auto", "image", "range"],
        "`image`: less the mean of its grey values, by their deviation; `range`: -1 to 1; `auto`: as the weights know.",
    ] = "auto"
    weights: Annotated[
        str,
        Setting("what training starts from: none, hub, auto (FOCUSMAP_WEIGHTS, hub, package) or a file", "START"),
        "`none` (from scratch), `hub`, `auto` (folder, hub or package, what there is) or the path of a weights file.",
    ] = "auto"
    epochs: Annotated[
        int,
        Setting("passes over the training images", "N"),
    ] = 60
    batch_size: Annotated[
        int,
        Setting("images per step", "N"),
    ] = 16
    optimizer: Optimizer = "adamw"
    learning_rate: Annotated[
        float,
        "Of the first epoch after warm-up; 0 means chosen: 3e-3 for `small-residual`, `plain-cnn` and `residual-cnn`, "
        "5e-4 for the others.",
    ] = 0.0
    weight_decay: float = 0.05
    warmup_epochs: int = 3
    schedule: Annotated[
        Schedule,
        "After the warm-up: `cosine` falls to zero; `constant`; `step` falls to a tenth after half of the epochs and "
        "to a hundredth after three quarters; `plateau` falls to 0.3 of itself whenever `monitor` has not improved on "
        "tune for five epochs. `one-cycle` has a warm-up of its own.",
    ] = "cosine"
    layer_decay: Annotated[
        float,
        "The learning rate of each stage of the backbone is that of the next one times this; 1 means the same for all.",
    ] = 1.0
    accumulate: Annotated[
        int, "Batches whose gradients are averaged before a step: as if `batch_size` were that many times larger."
    ] = 1
    clip_norm: Annotated[float, "Largest length of the gradient; 0 leaves it as it is."] = 1.0
    freeze_epochs: Annotated[int, "Epochs in which only the head is trained, before the backbone is unfrozen."] = 0
    frozen_stages: Annotated[
        int, "Stages of the backbone, counted from its input, that keep their initial weights."
    ] = 0
    head_rate: Annotated[float, "Factor of the learning rate for the layers after the backbone."] = 1.0
    ema_decay: Annotated[
        float, "Decay of the exponential moving average of the weights, 0 for none; the average is what is evaluated."
    ] = 0.99
    label_smoothing: float = 0.0
    patience: Annotated[
        int, "Epochs without a better `monitor` on tune after which training ends; 0 trains to the last epoch."
    ] = 0
    monitor: Annotated[
        Monitor, "Metric that decides which epoch is better: `auroc`, the mean over labels on tune, or `loss` on tune."
    ] = "auroc"
    class_weights: Annotated[
        bool,
        "Weight positives by the share of negatives and negatives by the share of positives, per label. A "
        "`sampling` other than `all` takes their place.",
    ] = True
    sampling: Annotated[
        Sampling,
        "Images of an epoch. `all`: each once. By the rarity of an image's rarest class: `weighted` draws as many "
        "with replacement, `over` repeats the rare ones, `under` leaves out some of the others.",
    ] = "all"
    screen_negatives: Annotated[
        float,
        "For models with one estimator per target: negatives of a binary target that held-out models predict negative "
        "with a probability above this are excluded, keeping at least as many negatives as positives; 0 keeps all.",
    ] = 0.0
    loss: Annotated[
        Loss,
        "`cross-entropy`, `focal` (Lin et al. 2017) or, for binary targets, `asymmetric` (Ridnik et al. 2021). "
        "`absolute`: for continuous targets the absolute error, less sensitive to a few large errors than the squared.",
    ] = "cross-entropy"
    target_weights: Annotated[
        str,
        "Weight of each target's loss: `equal`; `NAME=2,OTHER=0.5`; or `uncertainty`: the larger its own loss, the "
        "lower its weight.",
    ] = "equal"
    pooling: Annotated[
        Pooling,
        "How a focus-map net pools its evidence into a logit; `auto`: `lse` there, `average` for a plain backbone and "
        "for one with attention along the axes (`-acam`).",
    ] = "auto"
    sharpness: Annotated[float, "For `lse`: higher values shrink the maps towards their maximum; 0 means learned."] = (
        1.0
    )
    top_share: Annotated[float, "Share of the positions that `topk` averages."] = 0.1
    sparsity: Annotated[
        float, "Weights of the losses that keep focus maps small, and moving with the image; 0 for none."
    ] = 0.0
    equivariance: Annotated[
        float, "Weights of the losses that keep focus maps small, and moving with the image; 0 for none."
    ] = 0.0
    threshold_for: Annotated[
        str,
        Setting("rule for the operating point: accuracy, youden, f1, sensitivity=0.9, specificity=0.9, cost=5", "RULE"),
        "`accuracy`, `youden`, `f1`, `sensitivity=0.9`, `specificity=0.9`, or `cost=5`: a miss weighs 5 false alarms.",
    ] = "youden"
    precision: Precision = "auto"
    seed: Annotated[
        int,
        Setting("random seed of the split, the training and the intervals", "N", title="how it runs"),
    ] = 0
    cases: Annotated[
        Cases,
        "What a net learns from. `pictures`: one at a time. `mean`, `max`, `attention`: cases, whose images' "
        "features are pooled so, view by view. `auto`: `attention` where the study names cases and views, or cases "
        "for a `+table` model; else `pictures`.",
    ] = "auto"
    encoder: Annotated[Encoder, "`shared` by all views of a case, or `separate`: one per view."] = "shared"
    fusion: Annotated[
        Fusion,
        "How a `+table` model combines images and table. `joint`: their features side by side. `gated`: as "
        "much of each as a gate admits that takes both as input. `late`: the mean of two models. `stacked`: the "
        "same, weighted by a regression on tune.",
    ] = "joint"
    ensemble: Annotated[
        int,
        Setting("train N nets with different seeds and average them", "N"),
        "Number of nets to train, with the seeds `seed`, `seed` + 1 and so on; their predictions are averaged.",
    ] = 1
    baseline: Annotated[
        str,
        Setting("simple baseline model that 'run' compares with: hog+svm, ..., none (default: auto)", "NAME"),
        "The simple baseline that `focusmap run` compares with the run's own model: a name such as `hog+svm`, `none`, "
        "or `auto`: features of images, or the table, with logistic regression.",
    ] = "auto"
    tta: Annotated[
        bool,
        Setting("test-time augmentation: average over a few views of each image"),
        "Average the prediction over a few views of each image: scaled and shifted by half of what the augmentation "
        "does, and mirrored where it mirrors.",
    ] = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    segmentation: Annotated[
        SegmentationRecipe, "How masks are drawn; the classifier's training does not depend on it."
    ] = field(default_factory=SegmentationRecipe)

    def __post_init__(self) -> None:
        _check(self.size == 0 or 16 <= self.size <= 2048, "size must lie between 16 and 2048 pixels (0: chosen)")
        _check(len(self.shape) in (0, 3), "shape must be three whole numbers such as [96, 96, 24]")
        _check(all(8 <= side <= 1024 for side in self.shape), "shape must lie between 8 and 1024 voxels a side")
        _check(not (self.shape and self.size), "give shape or size, not both")
        _check(len(self.spacing) in (0, 3), "spacing must be three sizes in mm such as [1, 1, 5]")
        _check(all(side > 0 for side in self.spacing), "spacing must be above 0 mm")
        _check(0 <= self.channels <= 16, "channels must be 1 or 3, of volumes at most 16 (0: chosen)")
        _check(self.epochs >= 1, "epochs must be at least 1")
        _check(self.batch_size >= 2, "batch_size must be at least 2")
        _check(self.learning_rate >= 0, "learning_rate must not be negative (0: chosen)")
        _check(self.weight_decay >= 0, "weight_decay must not be negative")
        _check(0 <= self.ema_decay < 1, "ema_decay must be at least 0 and below 1")
        _check(0 <= self.label_smoothing < 1, "label_smoothing must be at least 0 and below 1")
        _check(min(self.warmup_epochs, self.freeze_epochs, self.patience) >= 0, "epoch counts must not be negative")
        _check(self.frozen_stages >= 0 < self.head_rate, "frozen_stages must not be negative, head_rate above 0")
        _check(min(self.ensemble, self.accumulate) >= 1, "ensemble and accumulate must be at least 1")
        _check(0 <= self.screen_negatives < 1, "screen_negatives must be at least 0 (none) and below 1")
        _check(self.clip_norm >= 0, "clip_norm must not be negative (0: none)")
        _check(0 < self.layer_decay <= 1, "layer_decay must be above 0 and at most 1")
        _check(self.sharpness >= 0, "sharpness must not be negative (0: learned)")
        _check(0 < self.top_share <= 1, "top_share must be above 0 and at most 1")
        _check(min(self.sparsity, self.equivariance) >= 0, "sparsity and equivariance must not be negative")
        check_threshold_rule(self.threshold_for)
        _check_crop(self.crop)

    @property
    def learns_labels(self) -> bool:
        """False for an autoencoder, which learns from images alone.

        >>> Recipe().learns_labels, Recipe(model="resnet18-autoencoder").learns_labels
        (True, False)
        """
        return self.model.rpartition("-")[2] != "autoencoder"

    def flat(self) -> dict[str, object]:
        """Return all settings, those of a group as ``GROUP.NAME``.

        >>> Recipe(size=64).flat()["size"], Recipe().flat()["augmentation.mixup"]
        (64, 0.0)
        """
        flat: dict[str, object] = {}
        for name, value in asdict(self).items():
            is_group = isinstance(value, Mapping)
            flat |= {f"{name}.{key}": one for key, one in value.items()} if is_group else {name: value}
        return flat

    def with_segmentation_of(self, other: "Recipe") -> "Recipe":
        """Return the recipe with another's settings of the segmentation, unless those are the defaults."""
        is_default = other.segmentation == Recipe().segmentation
        return self if is_default else replace(self, segmentation=other.segmentation)

    def to_yaml(self, path: Path) -> None:
        """Write the recipe."""
        import yaml

        write_text(path, yaml.safe_dump(asdict(self), sort_keys=False), sealed=True)


def read_recipe(path: Path, preset: str | None = None) -> Recipe:
    """Return the recipe of a YAML file, over a preset where one is named here or in the file.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, is not YAML, or has an unknown key or an impossible value.
    """
    values = read_yaml(path) or {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds {type(values).__name__}; settings such as 'epochs: 30' were expected.")
    try:
        return recipe_from(values if preset is None else {**values, "preset": preset})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def recipe_from(values: Mapping[str, Json]) -> Recipe:
    """Return a recipe from plain values; `InputError` names an unknown key and the nearest known one.

    The key ``preset`` names settings of `focusmap.study.recipe_parts` that the others override; the recipe holds what
    comes of it.
    """
    if "preset" in values:
        rest = {key: value for key, value in values.items() if key != "preset"}
        values = over_preset(rest, str(values["preset"]))
    groups = {name: owner(**_group(values, name, owner)) for name, owner in GROUPS.items()}
    return Recipe(**_checked({**values, **groups}, Recipe, ""))  # type: ignore[arg-type]


GROUPS: Mapping[str, type] = {"augmentation": Augmentation, "segmentation": SegmentationRecipe}


def _group(values: Mapping[str, Json], name: str, owner: type) -> dict[str, object]:
    inner = values.get(name, {})
    if not isinstance(inner, Mapping):
        raise InputError(f"{name} must be a group of settings such as '{fields(owner)[0].name}: 0.1'.")
    return _checked(inner, owner, f"{name}.")


def _checked(values: Mapping[str, Json], owner: type, prefix: str) -> dict[str, object]:
    hints = get_type_hints(owner)
    known = [item.name for item in fields(owner)]
    for key in values:
        if key not in known:
            groups = [name for name, group in GROUPS.items() if key in {item.name for item in fields(group)}]
            near = f" Write {groups[0]}: {{{key}: ...}}." if groups else suggest(str(key), [*known, "preset"])
            raise InputError(f"{prefix}{key} is not a setting of a recipe.{near} Known: {', '.join(known)}.")
    return {key: _typed(value, hints[key], prefix + key) for key, value in values.items()}


def _typed(value: Json, hint: object, name: str) -> object:
    if get_origin(hint) is tuple:
        _check(isinstance(value, list), f"{name}: {value!r} is {type(value).__name__}; a list was expected")
        return tuple(_typed(item, get_args(hint)[0], name) for item in cast(list[Json], value))
    if get_origin(hint) is UnionType:
        return None if value is None else _typed(value, get_args(hint)[0], name)
    choices = cast(tuple[str, ...], getattr(hint, "__args__", ()))
    if choices:
        _check(value in choices, f"{name} {value!r} is not one of {', '.join(choices)}")
        return value
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        # YAML reads 1e-3, without a point, as text.
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(hint, type) and type(value) is hint:
        return value
    wanted = getattr(hint, "__name__", str(hint))
    raise InputError(f"{name}: {value!r} is {type(value).__name__}; {wanted} was expected.")


def _check_crop(crop: str) -> None:
    from focusmap.images import parse_crop  # numpy: what shows its options only needs none

    parse_crop(crop)


def _check(holds: bool, fact: str) -> None:
    if not holds:
        raise InputError(f"{fact}.")
