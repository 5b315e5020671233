"""How trust in heat maps is measured: what may be chosen. Nothing here imports numpy, so that help is quick."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from focusmap.errors import InputError
from focusmap.settings import Setting, described, settle


@described
@dataclass(frozen=True)
class TrustRequest:
    """How trust is measured, and compared with which other runs."""

    TITLE: ClassVar = "trust in the maps"

    methods: Annotated[
        tuple[str, ...],
        Setting(
            "method to assess, or all; repeat for several (default: those of the maps)", "NAME", option="trust-method"
        ),
    ] = ()
    n_images: Annotated[
        int,
        Setting("maps to assess each method on", "N", option="trust-images"),
        "Number of maps to assess, drawn from those with evidence, label by label in turn.",
    ] = 16
    n_draws: Annotated[int, Setting("number of random removals of each kind", "N", option="trust-draws")] = 20
    against: Annotated[
        tuple[Path, ...],
        Setting("run with another seed (repeatability) or architecture (reproducibility); repeat for several", "RUN"),
        "Runs on the same data: those with the same architecture test repeatability, others reproducibility.",
    ] = ()
    shuffled: Annotated[Path | None, Setting("run trained on shuffled labels", "RUN")] = None

    def __post_init__(self) -> None:
        settle(self)
        for name, n in (("n_images", self.n_images), ("n_draws", self.n_draws)):
            if n < 2:
                raise InputError(f"trust: {name} is {n}; at least 2 was expected.")
