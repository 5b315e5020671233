"""What was learnt of a lesion, kept in the run: it is read for the settings that it was learnt for, and no others."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar, cast

from torch import Tensor

from focusmap.basics import HASHES, DiskError, InputError, Json
from focusmap.segmentation.seeds import SeedThresholds
from focusmap.training import Checkpoint, read_checkpoint, write_checkpoint

Made = TypeVar("Made")


def write_learnt(
    made_for: Mapping[str, Json], facts: Mapping[str, Json], weights: Mapping[str, Tensor], path: Path
) -> None:
    """Write facts and weights; a run that cannot be written to is none the worse to draw with."""
    with suppress(DiskError):
        write_checkpoint(Checkpoint({"made_for": dict(made_for), **facts}, weights), path)


def read_learnt(path: Path, made_for: Mapping[str, Json], build: Callable[[Checkpoint], Made]) -> Made | None:
    """Return what is built of a saved file; None if there is no file, or it was learnt for other settings.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        saved = read_checkpoint(path)
        return build(saved) if saved.facts["made_for"] == dict(made_for) else None
    except (InputError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{path}: is damaged. Delete it and {HASHES} beside it; it is then learnt anew.") from error


def thresholds_of(saved: Checkpoint) -> dict[str, SeedThresholds]:
    """Return the thresholds of each method's maps, as a saved file says."""
    saved_values = cast(Mapping[str, Mapping[str, float]], saved.facts["cuts"])
    return {name: SeedThresholds(**values) for name, values in saved_values.items()}  # type: ignore[arg-type]


def cuts_of(thresholds: Mapping[str, SeedThresholds]) -> Json:
    """Return the thresholds of each method's maps as facts; `thresholds_of` reads them."""
    return {name: cast(Json, asdict(own)) for name, own in thresholds.items()}
