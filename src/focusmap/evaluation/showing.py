"""May this be shown? The one rule for answers, heat maps and masks: in words, pages, reports, files and archives.

Numbers stay in files: probabilities, maps and masks are written whatever the rule says, and beside them whether they
may be shown. What people look at follows the rule: nothing is answered, coloured or outlined of an image that is
unlike those of train, nor of a label that was not better than guessing on test or could not be judged there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from focusmap.basics import Json, branch, number, text
from focusmap.evaluation.verdict import is_above_guessing
from focusmap.study import Flags, Images

Why: TypeAlias = Literal["", "unsure", "unlike", "not-better", "unjudged", "broken"]
"""Why something is not shown, or no plain answer; empty where it is shown."""
Whys: TypeAlias = Mapping[str, Why]
"""By target, and by label of a class, why nothing of it may be shown; what may be shown is left out."""

SHOWN = "yes"
"""In the column ``shown`` of an index; else it holds the reason."""
IN_WORDS: Mapping[str, str] = {
    "unlike": "out of distribution",
    "not-better": "not better than guessing on test",
    "unjudged": "too few test patients to judge it",
    "broken": "its test is broken",
}
"""What an overlay and an archive say."""


def why_of(verdict: str) -> Why:
    """Return why nothing is shown of a target with that verdict on test; empty where all may be.

    >>> [why_of(verdict) for verdict in ("not-shown-useful", "useful", "")]
    ['not-better', '', '']
    """
    found: dict[str, Why] = {
        "not-shown-useful": "not-better", "cannot-be-judged": "unjudged", "broken": "broken",
    }  # fmt: skip
    return found.get(verdict, "")


def whys_of(metrics: Mapping[str, Json]) -> dict[str, Why]:
    """Return what ``metrics.json`` lets nobody see: targets by their verdict, and classes at guessing by their AUROC.

    >>> whys_of({"targets": {"Hernia": {"verdict": "cannot-be-judged"}, "Mass": {"verdict": "useful"}}})
    {'Hernia': 'unjudged'}
    """
    whys: dict[str, Why] = {}
    for name, entry in branch(metrics, "targets").items():
        of_target = why_of("broken" if metrics.get("verdict") == "broken" else text(branch(entry).get("verdict")))
        whys[name] = of_target
        for label, own in branch(entry, "per_class").items():
            whys[f"{name}={label}"] = of_target or _why_of_class(branch(own))
    return {label: why for label, why in whys.items() if why}


def _why_of_class(own: Mapping[str, Json]) -> Why:
    if number(branch(own, "auroc").get("low")) is None:
        return "unjudged"
    return "" if is_above_guessing(own) else "not-better"


def is_unlike(flags: Flags) -> bool:
    """Return whether a row is flagged as unlike train."""
    return any(flag.kind == "unlike" for flag in flags)


@dataclass(frozen=True)
class Showing:
    """What of a model may be shown.

    Parameters
    ----------
    whys
        Of its labels, as they did on test; empty of a model that was not evaluated, of which all may be shown.
    unlike
        Says of an image ``(C, *spatial)``, prepared for the model, in what it is unlike those of train; None where
        nobody knows.
    """

    whys: Whys = field(default_factory=dict)
    unlike: Callable[[np.ndarray], str] | None = None

    def is_unlike(self, images: Images, i: int) -> bool:
        """Return whether an image, prepared and the i-th of several, shows nothing or is unlike those of train."""
        return bool(images.is_blank[i]) or (self.unlike is not None and bool(self.unlike(images.prepared[i])))

    def why_not(self, *labels: str, unlike: bool = False) -> Why:
        """Return why an answer, a map or a mask of these labels may not be shown; empty where one of them may be.

        >>> Showing({"Hernia": "unjudged"}).why_not("Hernia"), Showing().why_not("Hernia", unlike=True)
        ('unjudged', 'unlike')
        """
        if unlike:
            return "unlike"
        whys: list[Why] = [self.whys.get(label) or self.whys.get(label.rpartition("=")[0], "") for label in labels]
        return "" if "" in whys or not whys else whys[0]
