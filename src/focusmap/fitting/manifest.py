"""The manifest of a run: what was run, on what, with which versions, for how long."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast

from focusmap.basics import Json, file_hash, read_json, write_json
from focusmap.study import Run, RunOptions, read_recipe, read_study

LIBRARIES = (
    "torch", "timm", "monai", "lightning-fabric", "numpy", "pandas", "scikit-learn", "scikit-image",
    "opencv-python-headless", "pydicom", "nibabel",
)  # fmt: skip


def write_manifest(run: Run, options: RunOptions, seconds: Mapping[str, float]) -> None:
    """Write or extend ``manifest.json``; the seconds of steps recorded earlier are kept."""
    earlier = read_json(run.manifest) if run.manifest.exists() else {}
    known = cast(dict[str, Json], earlier.get("seconds", {}))
    rounded: dict[str, Json] = {step: round(value, 1) for step, value in seconds.items()}
    manifest: dict[str, Json] = {
        "focusmap": version("focusmap"),
        "versions": cast(Json, library_versions()),
        "seed": read_recipe(run.recipe).seed,
        "started": earlier.get("started") or _ago(sum(seconds.values())),
        "seconds": {**known, **rounded},
        "hashes": cast(Json, _hashes(run)),
        **_computed_on(options.devices),
        "accepted": cast(Json, list(options.accept) or earlier.get("accepted", [])),
        "parameters": _n_parameters(run),
    }
    write_json(run.manifest, manifest, sealed=True)


def _ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")


def _computed_on(devices: str) -> dict[str, Json]:
    import torch

    from focusmap.training import choose_devices

    chosen = choose_devices(devices)
    name = chosen.accelerator if chosen.n == 1 else f"{chosen.accelerator}:{chosen.n}"
    return {"device": name, "threads": torch.get_num_threads()}


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a result depends on."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _hashes(run: Run) -> dict[str, str]:
    """Return the SHA-256 of the files that a result stands on, as far as they are there."""
    weights = {_weights_name(run, path): path for path in sorted(run.model.rglob("weights.safetensors"))}
    named = {"labels": read_study(run.study).label_file, "split": run.split, **weights}
    return {name: file_hash(path) for name, path in named.items() if path.is_file()}


def _weights_name(run: Run, path: Path) -> str:
    """Return ``weights``, or ``weights members/0`` and so on for those of an ensemble's members."""
    return f"weights {path.parent.relative_to(run.model)}".removesuffix(" .")


def _n_parameters(run: Run) -> int | None:
    card = run.model / "model.json"
    if not card.is_file():
        return None
    training = cast(dict[str, Json], read_json(card)["training"])
    return cast(int | None, training.get("n_parameters"))
