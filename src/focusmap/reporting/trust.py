"""How far heat maps can be trusted, in words: for each method, which criteria it passes for this model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from focusmap.figures.json_tree import branch, number, text
from focusmap.figures.trust_curves import trust_figure
from focusmap.reporting.page import write_page
from focusmap.reporting.performance_section import Figure
from focusmap.reporting.pictures import figure_uri
from focusmap.reporting.tables import DASH, Cell, Footnotes, Table, count_text, list_text, name_cell
from focusmap.values.files import Json

Tree = Mapping[str, Json]
# Percentiles of a bootstrap over fewer clusters than this cover too seldom.
FEW_PATIENTS = 10


@dataclass(frozen=True)
class Words:
    """What passing a criterion means, what not passing it means, and when it is passed."""

    passes: str
    fails: str
    rule: str


ABOVE_0 = "the whole 95 % interval of the gain lies above 0"
WORDS = {
    "deletion": Words(
        "Without the places it marks the score falls faster than without as many other places.",
        "It is not shown that the score falls faster without the places it marks than without as many others.",
        f"Area under the deletion curve, against the same map in the wrong place: {ABOVE_0}.",
    ),
    "insertion": Words(
        "Into a blurred picture, the places it marks bring the score back faster than other places.",
        "It is not shown that the places it marks bring the score back faster than others.",
        f"Area under the insertion curve, against the same map in the wrong place: {ABOVE_0}.",
    ),
    "road": Words(
        "The order of its places is right: what it ranks first matters more than what it ranks last.",
        "It is not shown that what it ranks first matters more than what it ranks last.",
        f"Least minus most relevant first, removed places imputed: {ABOVE_0}.",
    ),
    "infidelity": Words(
        "The sum of the map over a region tells what the score loses without it.",
        "It is not shown that the sum of the map over a region tells what the score loses without it.",
        f"Share of the loss that stays unexplained, against the same map in the wrong place: {ABOVE_0}.",
    ),
    "sensitivity-n": Words(
        "Scattered places with more weight on the map cost the score more.",
        "It is not shown that scattered places with more weight on the map cost the score more.",
        "Correlation of the map's sums with the losses: the whole 95 % interval lies above 0.",
    ),
    "max-sensitivity": Words(
        "Noise too weak to be seen leaves the map as it is.",
        "Noise too weak to be seen changes the map.",
        "Median greatest change, as a share of the map: at most the limit.",
    ),
    "randomisation": Words(
        "A net with random weights gives another map: it depends on what the net has learnt.",
        "A net with random weights gives much the same map: it does not depend on what the net has learnt.",
        "Median SSIM to the maps of random nets: at most that of different pictures + 0.05, signed and absolute.",
    ),
    "label-randomisation": Words(
        "A net trained on shuffled labels gives another map: it depends on what the labels mean.",
        "A net trained on shuffled labels gives much the same map: it does not depend on what the labels mean.",
        "Median SSIM to the maps of that net: at most that of different pictures + 0.05, signed and absolute.",
    ),
    "repeatability": Words(
        "Training again with another seed gives a map of the same places.",
        "Training again with another seed gives a map of other places.",
        "Median SSIM between seeds: above that of different pictures + 0.05.",
    ),
    "reproducibility": Words(
        "Another architecture gives a map of the same places.",
        "Another architecture gives a map of other places.",
        "Median SSIM between architectures: above that of different pictures + 0.05.",
    ),
}  # fmt: skip
CONTROLS = {"edges": "edges of the image (control)", "random": "noise (control)"}


@dataclass(frozen=True)
class MethodVerdict:
    """One method in words: a sentence of the whole, then what it passes, what it fails, and what was not judged."""

    name: str
    sentence: str
    passes_all: bool
    passed: Sequence[str]
    failed: Sequence[str]
    unknown: Sequence[str]


def render_trust(trust: Tree, path: Path) -> Path:
    """Write the page of what ``trust.json`` holds to `path` and return it."""
    context = {
        "verdicts": trust_verdicts(trust),
        "controls": _control_sentences(trust),
        "reason": text(trust.get("reason")),
        "basis": _basis(trust),
        "table_of_verdicts": _table(trust),
        "rules": _rules(trust),
        "figures": _figures(trust),
    }
    return write_page("trust.html", context, path)


def trust_verdicts(trust: Tree) -> list[MethodVerdict]:
    """Return the verdict on each method; none where nothing was measured."""
    return [_verdict(name, branch(entry)) for name, entry in branch(trust, "methods").items()]


def _verdict(name: str, entry: Tree) -> MethodVerdict:
    known = [criterion for criterion in WORDS if criterion in entry]
    passed = [c for c in known if branch(entry, c).get("passes") is True]
    failed = [c for c in known if branch(entry, c).get("passes") is False]
    unknown = [c for c in known if c not in (*passed, *failed)]
    sentence = f"{name} passes {len(passed)} of the {len(passed) + len(failed)} criteria judged for this model"
    sentence += f"; it fails {list_text(failed)}." if failed else "."
    reasons = [f"{c}: {text(branch(entry, c).get('reason'))}" for c in unknown]
    says, does_not = [WORDS[c].passes for c in passed], [WORDS[c].fails for c in failed]
    return MethodVerdict(name, sentence, bool(passed) and not failed, says, does_not, reasons)


def _control_sentences(trust: Tree) -> list[str]:
    """Return what the controls pass, which therefore shows nothing by itself here."""
    found = []
    for name, entry in branch(trust, "controls").items():
        passed = [c for c in WORDS if branch(entry, c).get("passes") is True]
        what = list_text(passed) if passed else "nothing"
        found.append(f"{CONTROLS.get(name, name)}: passes {what}.")
    return found


def _basis(trust: Tree) -> str:
    keys = ("n_maps", "n_pictures", "n_patients", "n_predicted", "n_models")
    n_maps, n_pictures, n_patients, n_predicted, n_models = (int(number(trust.get(key)) or 0) for key in keys)
    words = (
        f"Measured on {count_text(n_maps, 'map')} of {count_text(n_pictures, 'image')} of "
        f"{count_text(n_patients, 'patient')}; the label was predicted in {n_predicted:,} of them."
    )
    if n_models > 1:
        words += f" The first of {n_models} models stands for all."
    if 0 < n_patients < FEW_PATIENTS:
        words += " Intervals from so few patients are too narrow."
    return words


def _table(trust: Tree) -> Table:
    entries = {**branch(trust, "methods"), **branch(trust, "controls")}
    notes, rows = Footnotes(), []
    for criterion in (name for name in WORDS if name in branch(trust, "criteria")):
        cells = [_cell(branch(entry, criterion), notes) for entry in entries.values()]
        rows.append([name_cell(criterion), *cells])
    return Table(["", *(CONTROLS.get(name, name) for name in entries)], rows, notes.lines())


def _cell(verdict: Tree, notes: Footnotes) -> Cell:
    value, low, high, limit = (number(verdict.get(key)) for key in ("value", "low", "high", "limit"))
    if verdict.get("passes") is None or value is None or limit is None:
        return Cell(DASH, mark=notes.mark(text(verdict.get("reason")) or "not judged"))
    shown = f"{value:.3f}; limit {limit:.3f}" if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"
    return Cell("passes" if verdict["passes"] else "fails", shown.replace("-", "−"))


def _rules(trust: Tree) -> Table:
    criteria = branch(trust, "criteria")
    rows = [
        [name_cell(name), name_cell(words.rule), name_cell(text(branch(criteria, name).get("source")))]
        for name, words in WORDS.items()
        if name in criteria
    ]
    return Table(["Criterion", "Passed where", "Source"], rows)


def _figures(trust: Tree) -> list[Figure]:
    drawn = ((name, trust_figure(branch(entry))) for name, entry in branch(trust, "methods").items())
    return [Figure(name, figure_uri(figure)) for name, figure in drawn if figure is not None]
