"""The state of a training after its last finished epoch: its parts, kept in one safetensors file and brought back."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.optim import Optimizer

from focusmap.basics import InputError, Json, MissingFileError, atomic, seal_of
from focusmap.nets import CHANNELS_LAST, FocusNet
from focusmap.study import Recipe
from focusmap.training import history, optimisation
from focusmap.training.batches import TrainingData

FACTS = "focusmap"
REMEDY = "Delete it: the same command then begins at the first epoch."


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
    tensors: Mapping[str, torch.Tensor]

    def part(self, name: str) -> dict[str, torch.Tensor]:
        """Return the tensors of one part, without its prefix."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the state whole or not at all; the state of the epoch before stays until then."""
    # safetensors takes neither strided nor shared memory; the reader restores the layout.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in checkpoint.tensors.items()}
    with atomic(path, sealed=True) as temporary:
        save_file(tensors, temporary, metadata={FACTS: json.dumps(checkpoint.facts)})


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the state in `path`.

    Raises
    ------
    MissingFileError, InputError
        If there is none, or the file is cut short or not a checkpoint.
    """
    if seal_of(path) == "":
        raise InputError(f"{path}: was changed or damaged after it was written. {REMEDY}")
    with _damage_named(path), safe_open(path, framework="pt") as file:
        facts = json.loads((file.metadata() or {})[FACTS])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  the file is no mapping
    return Checkpoint(cast(Mapping[str, Json], facts), tensors)


def read_facts(path: Path) -> Mapping[str, Json]:
    """Return the facts of the state in `path`; its tensors are not read, nor is it seen whether they are whole.

    Raises
    ------
    MissingFileError, InputError
        As `read_checkpoint`.
    """
    with _damage_named(path), safe_open(path, framework="pt") as file:
        return cast(Mapping[str, Json], json.loads((file.metadata() or {})[FACTS]))


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such checkpoint; nothing to resume. Train without --resume.")
    try:
        yield
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is cut short, damaged or not a checkpoint ({error}). {REMEDY}") from None


def check_same(path: Path, saved: Checkpoint, wanted: Mapping[str, Json]) -> None:
    """Raise `InputError` naming what differs, unless a checkpoint is of the training that is wanted."""
    identity = cast(Mapping[str, Json], saved.facts["identity"])
    differing = [name for name in wanted if identity.get(name) != wanted[name]]
    if differing:
        differences = "; ".join(f"{name} was {identity.get(name)!r}, now {wanted[name]!r}" for name in differing)
        raise InputError(
            f"{path}: is of another training ({differences}). Use the same settings, or train without --resume."
        )


@dataclass
class TrainingState:
    """Net, averaged net, optimiser, the best weights so far (empty where none are kept), and the epochs done."""

    net: FocusNet
    average: optimisation.WeightAverage
    optimizer: Optimizer
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    n_steps: int = 0
    records: list[history.EpochRecord] = field(default_factory=list)


def start_state(net: FocusNet, recipe: Recipe, device: torch.device) -> TrainingState:
    """Return the state before the first epoch, the net on `device` with channels last in memory."""
    order = CHANNELS_LAST.get(max(weights.ndim for weights in net.parameters()), torch.preserve_format)
    net.to(device=device, memory_format=order)  # type: ignore[call-overload]
    return TrainingState(
        net, optimisation.WeightAverage(net, recipe.ema_decay), optimisation.make_optimizer(net, recipe)
    )


def keep_best(state: TrainingState) -> None:
    """Keep a copy of the averaged weights as the best so far."""
    state.best = {name: value.clone() for name, value in state.average.net.state_dict().items()}


def to_checkpoint(state: TrainingState, identity: Mapping[str, Json]) -> Checkpoint:
    """Return what is written after an epoch."""
    tensors = {
        **_prefixed("net", state.net.state_dict()),
        **_prefixed("average", state.average.net.state_dict()),
        **_prefixed("best", state.best),
        **_prefixed("optimizer", optimisation.state_tensors(state.optimizer)),
    }
    records = cast(Json, [asdict(record) for record in state.records])
    return Checkpoint({"identity": identity, "n_steps": state.n_steps, "records": records}, tensors)


def from_checkpoint(state: TrainingState, checkpoint: Checkpoint) -> None:
    """Bring the state back to what the checkpoint holds; memory layouts stay."""
    state.net.load_state_dict(checkpoint.part("net"))
    state.average.net.load_state_dict(checkpoint.part("average"))
    state.best = checkpoint.part("best")
    optimisation.restore_state(state.optimizer, checkpoint.part("optimizer"))
    state.n_steps = cast(int, checkpoint.facts["n_steps"])
    state.records = [history.EpochRecord(**row) for row in cast(list[dict[str, object]], checkpoint.facts["records"])]  # type: ignore[arg-type]


def identity_of(net: FocusNet, data: TrainingData, recipe: Recipe) -> dict[str, Json]:
    """Return what must be the same for a training to be continued: recipe, images, truths and shape of the net."""
    digest = sha256()
    for part in (data.train, data.tune):
        digest.update("\n".join(part.image_ids).encode())
        digest.update(part.truth.tobytes())
    settings = {name: value for name, value in asdict(recipe).items() if name != "segmentation"}
    return {
        # As JSON reads them back.
        **{name: list(value) if isinstance(value, tuple) else cast(Json, value) for name, value in settings.items()},
        "targets": data.task.to_dict(),
        "images": digest.hexdigest()[:16],
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
    }


def _prefixed(name: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": value for key, value in tensors.items()}
