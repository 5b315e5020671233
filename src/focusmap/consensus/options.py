"""How several readers' labels become one: what may be chosen. Nothing here imports numpy, so that help is quick."""

from dataclasses import dataclass
from typing import Annotated, Literal

from focusmap.settings import Setting, described, settle

Method = Literal["majority", "dawid-skene"]


@described
@dataclass(frozen=True)
class ConsensusOptions:
    """How readings become labels."""

    method: Annotated[
        Method,
        Setting("how the readings are combined"),
        "`majority`: the class that most readers gave. `dawid-skene`: the most probable class, where each reader "
        "is weighted by his or her estimated errors.",
    ] = "majority"
    ties: Annotated[
        str,
        Setting("label at a tie: unknown, positive, negative or reader=NAME", "RULE"),
        "If two classes tie: `unknown` leaves the cell empty; `positive` and `negative` decide binary labels; "
        "`reader=NAME` lets that reader decide where he or she gave one of the tied classes.",
    ] = "unknown"
    soft: Annotated[
        bool,
        Setting("write the probability of each binary label"),
        "Write the probability of each binary label (share of votes, or posterior) and no decision.",
    ] = False

    def __post_init__(self) -> None:
        settle(self)
