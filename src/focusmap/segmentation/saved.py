"""What draws the masks of a lesion, kept as a file, so that more images are drawn without learning anew."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from focusmap.errors import InputError
from focusmap.files import Json
from focusmap.segmentation.representation import FeatureNet
from focusmap.segmentation.seeds import SeedCuts
from focusmap.segmentation.segmenter import N_FEATURES, Segmenter
from focusmap.segmentation.unet import UNet
from focusmap.study.segmentation import SegmentationRecipe
from focusmap.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint


@dataclass(frozen=True)
class Learnt:
    """What was learnt of a lesion: what draws it, and where each kind of map is cut, the seeds' own first."""

    segmenter: Segmenter
    cuts: Mapping[str, SeedCuts]

    @property
    def seed_method(self) -> str:
        """The heat map whose highest points a lesion grows from."""
        return next(iter(self.cuts))


def save_learnt(learnt: Learnt, made_for: Mapping[str, Json], path: Path) -> None:
    """Write what was learnt, and for what: settings by which it is known again."""
    segmenter = learnt.segmenter
    facts: dict[str, Json] = {
        "made_for": dict(made_for),
        "channels": segmenter.features.unet.channels,
        "dimensions": segmenter.features.unet.dimensions,
        "cuts": {name: cast(Json, asdict(cuts)) for name, cuts in learnt.cuts.items()},
    }
    write_checkpoint(Checkpoint(facts, _nets(segmenter.features, segmenter.distilled).state_dict()), path)


def load_learnt(
    path: Path, made_for: Mapping[str, Json], recipe: SegmentationRecipe, device: torch.device
) -> Learnt | None:
    """Return the saved segmenter, its nets on a device; None if there is no file, or it was made for other settings.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        saved = read_checkpoint(path)
        if saved.facts["made_for"] != dict(made_for):
            return None
        channels, dimensions = (cast(int, saved.facts[name]) for name in ("channels", "dimensions"))
        features = FeatureNet(channels, N_FEATURES, dimensions, recipe.features)
        distilled = UNet(channels, 1, dimensions)
        nets = _nets(features, distilled)
        nets.load_state_dict(dict(saved.tensors))
        told = cast(Mapping[str, Mapping[str, float]], saved.facts["cuts"])
        cuts = {name: SeedCuts(**values) for name, values in told.items()}  # type: ignore[arg-type]
    except (InputError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{path}: is damaged. Delete it; it is then learnt anew.") from error
    nets.to(device).eval()
    return Learnt(Segmenter(next(iter(cuts.values())), features, distilled, recipe), cuts)


def _nets(features: FeatureNet, distilled: UNet) -> nn.ModuleDict:
    return nn.ModuleDict({"features": features, "distilled": distilled})
