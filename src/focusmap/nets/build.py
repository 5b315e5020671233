"""From an architecture to a net that classifies and says where it looks, in one pass."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import torch

from focusmap.basics import InputError, Json
from focusmap.nets import autoencoder, backbones, decoders, focus_net
from focusmap.nets.levels import SLICE_SIZES, LevelsNet, build_levels
from focusmap.nets.pooling import AVERAGE, AxisAttention, PoolingOptions, build_pooling
from focusmap.nets.weights import find_weights
from focusmap.study import Recipe, Task


@dataclass(frozen=True)
class Architecture:
    """What a net is built from.

    Parameters
    ----------
    model
        A backbone, or a backbone and a decoder, as `focusmap.nets.decoders.split_model` reads it.
    channels
        1 or 3; of volumes, any number.
    n_logits
        Number of logits L.
    pooling
        How a focus-map net makes a logit of its evidence; a plain backbone averages.
    classes
        (start, stop) of the logits of each target whose classes compete at every place of a focus map.
    """

    model: str
    channels: int
    n_logits: int
    pooling: PoolingOptions = field(default_factory=PoolingOptions)
    classes: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        check_pooling(self.model, self.pooling.name)
        if self.channels < 1 or (self.dimensions == 2 and self.channels not in (1, 3)):
            raise InputError(f"a net of images takes 1 or 3 channels, not {self.channels}.")

    @property
    def has_focus(self) -> bool:
        """True if the net's last layer is evidence at every place."""
        return decoders.has_focus(self.model)

    @property
    def dimensions(self) -> int:
        """Number of spatial dimensions: 2 for images, 3 for volumes."""
        return decoders.dimensions_of_model(self.model)

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for `model.json`."""
        plain: dict[str, Json] = {"model": self.model, "channels": self.channels, "n_logits": self.n_logits}
        if self.has_focus:
            plain |= {"pooling": asdict(self.pooling), "classes": [list(group) for group in self.classes]}
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Json]) -> "Architecture":
        """Read what `to_dict` gave; `InputError` if a key is missing, unknown or of the wrong type."""
        match dict(values):
            case {"model": str(model), "channels": int(channels), "n_logits": int(n_logits), **rest} if not rest:
                return cls(model, channels, n_logits)
            case {
                "model": str(model),
                "channels": int(channels),
                "n_logits": int(n_logits),
                "pooling": {"name": str(name), "sharpness": float(sharpness), "top_share": float(share)},
                "classes": list(groups),
                **rest,
            } if not rest:
                classes = tuple((start, stop) for start, stop in cast(list[list[int]], groups))
                return cls(model, channels, n_logits, PoolingOptions(name, sharpness, share), classes)
        raise InputError(
            f"an architecture needs model, channels and n_logits, a focus-map net also pooling and classes; "
            f"found {dict(values)!r}."
        )


def architecture_of(recipe: Recipe, task: Task) -> Architecture:
    """Return what a resolved recipe asks for, for a task.

    >>> from focusmap.study import Target
    >>> recipe = Recipe(model="resnet18-fpn", pooling="lse", channels=1)
    >>> architecture_of(recipe, Task((Target("a"), Target("b", "multiclass", ("x", "y", "z"))))).classes
    ((1, 4),)
    """
    if not decoders.has_focus(recipe.model):
        return Architecture(recipe.model, recipe.channels, task.n_logits)
    competing = [task.slice_of(target.name) for target in task.targets if target.n_logits > 1]
    return Architecture(
        recipe.model,
        recipe.channels,
        task.n_logits,
        PoolingOptions(recipe.pooling, recipe.sharpness, recipe.top_share),
        tuple((part.start, part.stop) for part in competing),
    )


def check_recipe(recipe: Recipe) -> None:
    """Raise `InputError` if there is no net for a recipe: the one place that looks at its model, pooling and size.

    What a recipe leaves open is looked at once it is chosen.
    """
    if not recipe.learns_labels:
        _check_autoencoder(recipe)
    if recipe.model in ("auto", "ladder", decoders.AUTOENCODER):
        return
    base, decoder = decoders.split_model(recipe.model)
    check_pooling(recipe.model, recipe.pooling)
    for name in ("sparsity", "equivariance"):
        if getattr(recipe, name) and not decoders.has_focus(recipe.model):
            raise InputError(f"{name} is for focus maps, and {base} has none. Try --model {base}-fpn.")
    dimensions = decoders.dimensions_of_model(recipe.model)
    if dimensions == 2 and (recipe.shape or recipe.spacing):
        raise InputError(f"shape and spacing are for volumes, and {base} takes images. Try --model resnet18-3d.")
    if dimensions == 2 and recipe.channels not in (0, 1, 3):
        raise InputError(f"channels is {recipe.channels}; {base} takes images, which have 1 or 3 (0: chosen).")
    if recipe.shape or recipe.size:
        shape = (
            [round(side * SLICE_SIZES[-1]) for side in recipe.shape[:2]] if decoder == decoders.SLICES else recipe.shape
        )
        backbones.check_size(base, shape or (recipe.size,), decoders.strides_of(base, decoder))


def _check_autoencoder(recipe: Recipe) -> None:
    """Raise `InputError` if a recipe asks an autoencoder for what only a classifier has."""
    for name, usual in (("freeze_epochs", 0), ("layer_decay", 1.0), ("sampling", "all"), ("label_smoothing", 0.0)):
        if getattr(recipe, name) != usual:
            raise InputError(f"{name} is for classifiers; an autoencoder has no head and no labels. Leave it out.")


def check_pooling(model: str, pooling: str) -> None:
    """Raise `InputError` if the model is unknown, or a plain backbone that is asked for more than an average."""
    base = decoders.split_model(model)[0]
    if not decoders.has_focus(model) and pooling not in ("auto", AVERAGE):
        raise InputError(
            f"pooling {pooling!r} needs a net with evidence at every place, and {base} averages. "
            f"Try --model {base}-fpn."
        )


def build_net(architecture: Architecture, weights: str = "none", seed: int = 0) -> focus_net.FocusNet:
    """Return a net; `net.weights_origin` says which weights it starts from and why.

    Parameters
    ----------
    architecture
        What the net is built from.
    weights
        As for `focusmap.nets.weights.find_weights`.
    seed
        Of the random weights.

    Raises
    ------
    InputError, MissingFileError
        If the hub was asked for and does not answer, or the file is missing, damaged or of another net.

    >>> net = build_net(Architecture("small-residual", 1, 2))
    >>> features = net.eval().features(torch.ones(1, 1, 28, 28))
    >>> means = net.evidence(features).mean(dim=(2, 3))
    >>> bool(torch.allclose(means + net.head.bias, net.classify(features), atol=1e-5))
    True
    """
    first_weights = find_weights(decoders.split_model(architecture.model)[0], weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _make(architecture, first_weights.hub_file)
    net.weights_origin = first_weights.load(net)
    return net


def _make(architecture: Architecture, file: Path | None) -> focus_net.FocusNet:
    model, channels, n_logits = architecture.model, architecture.channels, architecture.n_logits
    decoder = decoders.split_model(model)[1]
    if decoder == decoders.AUTOENCODER:
        return _autoencoder(architecture, file)
    if decoder in (decoders.PROBE, decoders.SLICES):
        return LevelsNet(build_levels(model, channels, file), n_logits)
    if decoder:
        return _focus_net(architecture, file)
    return focus_net.FocusNet(*backbones.build_backbone(model, channels, file), n_logits)


def _autoencoder(architecture: Architecture, file: Path | None) -> focus_net.FocusNet:
    base, channels = decoders.split_model(architecture.model)[0], architecture.channels
    encoder, n_features = backbones.build_backbone(base, channels, file)
    stride = backbones.pyramid_strides(base)[-1]
    net = focus_net.FocusNet(
        autoencoder.Reconstruction(encoder, n_features, stride, channels, architecture.dimensions), 1, 1
    )
    net.head, net.dropout.p = autoencoder.mean_of_errors(), 0.0
    return net


def _focus_net(architecture: Architecture, file: Path | None) -> focus_net.FocusNet:
    base, name = decoders.split_model(architecture.model)
    net, levels = backbones.build_pyramid(base, architecture.channels, decoders.strides_of(base, name), file)
    decoder = decoders.build_decoder(name, tuple(levels.values()), architecture.dimensions)
    pooling = build_pooling(architecture.pooling, decoder.n_features, architecture.n_logits)
    if decoders.attends_along_axes(name):
        pooling = AxisAttention(pooling, decoder.n_features, architecture.n_logits, architecture.dimensions)
    focus = focus_net.FocusLayers(decoder, tuple(levels), pooling, architecture.n_logits, architecture.classes)
    return focus_net.FocusNet(net, decoder.n_features, architecture.n_logits, focus)
