"""The settings of one training: frozen, validated, written to `recipe.yaml` and read back equal."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, cast, get_type_hints

from focusmap.errors import InputError, suggest
from focusmap.values.files import Json, read_text, write_text

Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["cosine", "constant"]
Monitor = Literal["auroc", "loss"]
Precision = Literal["auto", "fp32", "bf16"]
Pooling = Literal["auto", "average", "max", "lse", "topk", "attention"]


@dataclass(frozen=True)
class Augmentation:
    """How far a training picture may be changed; each number is the largest change, 0 turns it off.

    Parameters
    ----------
    shift
        Share of the picture's side, in each direction.
    rotate_degrees
        Degrees, in each direction.
    scale
        Share by which the picture grows or shrinks.
    brightness, contrast
        In units of the standardised picture (standard deviation 1), and as a share.
    noise
        Standard deviation of added Gaussian noise, in the same units.
    cutout
        Side of a blanked square as a share of the picture's side.
    mirror
        Left-right mirroring of half of the pictures. Off by default: it moves the heart to the right side.
    """

    shift: float = 0.08
    rotate_degrees: float = 10.0
    scale: float = 0.1
    brightness: float = 0.15
    contrast: float = 0.15
    noise: float = 0.03
    cutout: float = 0.0
    mirror: bool = False

    def __post_init__(self) -> None:
        for name in ("shift", "scale", "contrast", "cutout"):
            _check(0 <= getattr(self, name) < 1, f"augmentation.{name} must be at least 0 and below 1")
        for name in ("rotate_degrees", "brightness", "noise"):
            _check(getattr(self, name) >= 0, f"augmentation.{name} must not be negative")


@dataclass(frozen=True)
class Recipe:
    """Settings of one training.

    Parameters
    ----------
    model
        A backbone of `focusmap.nets.backbones`, or one with a decoder, as in ``vgg16-fpn``: a focus-map net. ``auto``:
        ``small-residual`` up to 64 pixels, else ``resnet18``.
    size
        Side of the net's square input in pixels; 0 means chosen from the pictures.
    channels
        1 (grey) or 3; 0 means chosen from the pictures.
    weights
        ``none`` (from scratch), ``hub``, ``auto`` (hub where it can be reached) or the path of a weights file.
    learning_rate
        Of the first epoch after warm-up; 0 means chosen: 3e-3 for ``small-residual``, 5e-4 for the others.
    freeze_epochs
        Epochs in which only the head is trained, before the backbone is set free.
    ema_decay
        Decay of the exponential moving average of the weights, 0 for none; the average is what is evaluated.
    patience
        Epochs without a better `monitor` on tune after which training ends; 0 trains to the last epoch.
    class_weights
        Weigh positives by the share of negatives and negatives by the share of positives, label by label.
    pooling
        How a focus-map net makes a logit of its evidence; ``auto``: ``lse`` there, ``average`` for a plain backbone.
    sharpness
        Of ``lse``: higher shrinks the maps towards their strongest place; 0 means learned.
    top_share
        Share of the places that ``topk`` averages.
    sparsity, equivariance
        Weights of the losses that keep focus maps small, and moving with the picture; 0 for none.
    threshold_for
        ``accuracy``, ``youden``, ``f1``, ``sensitivity=0.9`` or ``specificity=0.9``.
    """

    model: str = "auto"
    size: int = 0
    channels: int = 0
    weights: str = "auto"
    epochs: int = 60
    batch_size: int = 16
    optimizer: Optimizer = "adamw"
    learning_rate: float = 0.0
    weight_decay: float = 0.05
    warmup_epochs: int = 3
    schedule: Schedule = "cosine"
    freeze_epochs: int = 0
    ema_decay: float = 0.99
    label_smoothing: float = 0.0
    patience: int = 0
    monitor: Monitor = "auroc"
    class_weights: bool = True
    pooling: Pooling = "auto"
    sharpness: float = 1.0
    top_share: float = 0.1
    sparsity: float = 0.0
    equivariance: float = 0.0
    threshold_for: str = "youden"
    precision: Precision = "auto"
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        _check(self.size == 0 or 16 <= self.size <= 2048, "size must lie between 16 and 2048 pixels (0: chosen)")
        _check(self.channels in (0, 1, 3), "channels must be 1 or 3 (0: chosen)")
        _check(self.epochs >= 1, "epochs must be at least 1")
        _check(self.batch_size >= 2, "batch_size must be at least 2")
        _check(self.learning_rate >= 0, "learning_rate must not be negative (0: chosen)")
        _check(self.weight_decay >= 0, "weight_decay must not be negative")
        _check(0 <= self.ema_decay < 1, "ema_decay must be at least 0 and below 1")
        _check(0 <= self.label_smoothing < 1, "label_smoothing must be at least 0 and below 1")
        _check(min(self.warmup_epochs, self.freeze_epochs, self.patience) >= 0, "epoch counts must not be negative")
        _check(self.sharpness >= 0, "sharpness must not be negative (0: learned)")
        _check(0 < self.top_share <= 1, "top_share must be above 0 and at most 1")
        _check(min(self.sparsity, self.equivariance) >= 0, "sparsity and equivariance must not be negative")
        check_threshold_rule(self.threshold_for)

    def to_yaml(self, path: Path) -> None:
        """Write the recipe."""
        import yaml

        write_text(path, yaml.safe_dump(asdict(self), sort_keys=False))


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a YAML file.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, is not YAML, or has an unknown key or an impossible value.
    """
    import yaml

    try:
        values = yaml.safe_load(read_text(path)) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not valid YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds {type(values).__name__}; settings such as 'epochs: 30' were expected.")
    try:
        return recipe_from(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def recipe_from(values: Mapping[str, Json]) -> Recipe:
    """Return a recipe from plain values; `InputError` names an unknown key and the nearest known one."""
    inner = values.get("augmentation", {})
    if not isinstance(inner, Mapping):
        raise InputError("augmentation must be a group of settings such as 'shift: 0.1'.")
    augmentation = replace(Augmentation(), **_checked(inner, Augmentation, "augmentation."))  # type: ignore[arg-type]
    outer = {key: value for key, value in values.items() if key != "augmentation"}
    return replace(Recipe(augmentation=augmentation), **_checked(outer, Recipe, ""))  # type: ignore[arg-type]


def check_threshold_rule(rule: str) -> None:
    """Raise `InputError` unless `rule` is a known way to choose an operating point."""
    name, _, wanted = rule.partition("=")
    if name in ("accuracy", "youden", "f1") and not wanted:
        return
    if name in ("sensitivity", "specificity"):
        try:
            share = float(wanted)
        except ValueError:
            share = -1.0
        _check(0 < share < 1, f"threshold_for {rule!r}: write {name}=0.9, a share between 0 and 1")
        return
    known = ("accuracy", "youden", "f1", "sensitivity=0.9", "specificity=0.9")
    raise InputError(f"threshold_for {rule!r} is not one of {', '.join(known)}.{suggest(rule, known)}")


def _checked(values: Mapping[str, Json], owner: type, prefix: str) -> dict[str, object]:
    hints = get_type_hints(owner)
    known = [item.name for item in fields(owner)]
    for key in values:
        if key not in known:
            near = suggest(str(key), known)
            raise InputError(f"{prefix}{key} is not a setting of a recipe.{near} Known: {', '.join(known)}.")
    return {key: _typed(value, hints[key], prefix + key) for key, value in values.items()}


def _typed(value: Json, hint: object, name: str) -> object:
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


def _check(holds: bool, fact: str) -> None:
    if not holds:
        raise InputError(f"{fact}.")
