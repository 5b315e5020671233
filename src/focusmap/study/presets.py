"""Recipes to start from, by kind of image: what each changes of the default recipe.

Mirroring is on only where left and right are alike to the label. There is no preset that mirrors chest images: in a
mirrored film the heart lies on the right side, which is a finding.
"""

from collections.abc import Mapping

from focusmap.errors import InputError, suggest
from focusmap.files import Json

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
    inner, given = base.get("augmentation"), values.get("augmentation")
    if isinstance(inner, Mapping) and isinstance(given, Mapping):
        merged["augmentation"] = {**inner, **given}
    return merged
