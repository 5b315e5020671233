"""The state of a training after its last finished epoch: one safetensors file, its facts in the header."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from focusmap.errors import InputError, MissingFileError
from focusmap.files import Json, atomic

FACTS = "focusmap"


@dataclass(frozen=True)
class Checkpoint:
    """All that a training needs to go on.

    Parameters
    ----------
    facts
        Plain values: what is being trained, and the records of the finished epochs.
    tensors
        Named by part: ``net.``, ``average.``, ``best.``, ``optimizer.``.
    """

    facts: Mapping[str, Json]
    tensors: Mapping[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one part, without its prefix."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the state whole or not at all; the state of the epoch before stays until then."""
    from safetensors.torch import save_file

    # safetensors takes neither strided nor shared memory; the reader restores the layout.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in checkpoint.tensors.items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={FACTS: json.dumps(checkpoint.facts)})


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the state in `path`.

    Raises
    ------
    MissingFileError, InputError
        If there is none, or the file is cut short or not a checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise MissingFileError(f"{path}: no such checkpoint; nothing to resume. Train without --resume.")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[FACTS])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  the file is no mapping
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: is cut short, damaged or not a checkpoint ({error}). Delete it and train again without --resume."
        ) from None
    return Checkpoint(cast(Mapping[str, Json], facts), tensors)


def check_same(path: Path, saved: Checkpoint, wanted: Mapping[str, Json]) -> None:
    """Raise `InputError` naming what differs, unless a checkpoint is of the training that is wanted."""
    found = cast(Mapping[str, Json], saved.facts["identity"])
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    if differing:
        shown = "; ".join(f"{name} was {found.get(name)!r}, now {wanted[name]!r}" for name in differing)
        raise InputError(f"{path}: is of another training ({shown}). Use the same settings, or train without --resume.")
