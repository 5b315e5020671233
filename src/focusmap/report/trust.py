"""How far heat maps can be trusted, in words: for each method, which criteria it passes for this model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from focusmap.basics import Json, Language, branch, number, text
from focusmap.figures import trust_figure
from focusmap.report.cohort_section import images_of_patients
from focusmap.report.page import figure_uri, write_page
from focusmap.report.performance_section import Figure
from focusmap.report.words import DASH, Cell, Footnotes, Table, Words, decimal, name_cell, words_in

Tree = Mapping[str, Json]
CRITERIA = ("deletion", "insertion", "road", "infidelity", "sensitivity-n", "max-sensitivity", "randomisation",
            "label-randomisation", "repeatability", "reproducibility")  # fmt: skip
# Percentiles of a bootstrap over fewer clusters than this cover too seldom.
FEW_PATIENTS = 10


@dataclass(frozen=True)
class MethodVerdict:
    """One method in words: a sentence of the whole, then what it passes, what it fails, and what was not judged."""

    name: str
    sentence: str
    passes_all: bool
    passed: Sequence[str]
    failed: Sequence[str]
    unknown: Sequence[str]


def render_trust(trust: Tree, path: Path, language: Language = "en") -> Path:
    """Write the page of what ``trust.json`` holds to `path` and return it."""
    words = words_in(language)
    context = {
        "verdicts": trust_verdicts(trust, words),
        "controls": _control_sentences(trust, words),
        "reason": words.reason(trust),
        "basis": _basis(trust, words),
        "table_of_verdicts": _table(trust, words),
        "rules": _rules(trust, words),
        "figures": _figures(trust, words),
    }
    return write_page("trust.html", context, path, words)


def trust_verdicts(trust: Tree, words: Words) -> list[MethodVerdict]:
    """Return the verdict on each method; none where nothing was measured."""
    return [_verdict(name, branch(entry), words) for name, entry in branch(trust, "methods").items()]


def _verdict(name: str, entry: Tree, words: Words) -> MethodVerdict:
    known = [criterion for criterion in CRITERIA if criterion in entry]
    passed = [c for c in known if branch(entry, c).get("passes") is True]
    failed = [c for c in known if branch(entry, c).get("passes") is False]
    unknown = [c for c in known if c not in (*passed, *failed)]
    counts = {"name": name, "n": len(passed), "all": len(passed) + len(failed)}
    sentence = words("trust.passes_of", **counts)
    if failed:
        sentence = words("trust.passes_but", **counts, failed=_named(failed, words))
    return MethodVerdict(
        name=name,
        sentence=sentence,
        passes_all=bool(passed) and not failed,
        passed=[words.name("trust_passes", c) for c in passed],
        failed=[words.name("trust_fails", c) for c in failed],
        unknown=[_unjudged(c, branch(entry, c), words) for c in unknown],
    )


def _unjudged(criterion: str, verdict: Tree, words: Words) -> str:
    return words("trust.unjudged", criterion=words.name("criterion", criterion), reason=words.reason(verdict))


def _named(criteria: Sequence[str], words: Words) -> str:
    return words.listed([words.name("criterion", c) for c in criteria])


def _control_sentences(trust: Tree, words: Words) -> list[str]:
    """Return what the controls pass, which therefore shows nothing by itself here."""
    sentences = []
    for name, entry in branch(trust, "controls").items():
        passed = [c for c in CRITERIA if branch(entry, c).get("passes") is True]
        what = _named(passed, words) if passed else words("trust.nothing")
        sentences.append(words("trust.control_passes", control=words.name("trust_control", name), what=what))
    return sentences


def _basis(trust: Tree, words: Words) -> str:
    keys = ("n_maps", "n_pictures", "n_patients", "n_predicted", "n_models")
    n_maps, n_images, n_patients, n_predicted, n_models = (int(number(trust.get(key)) or 0) for key in keys)
    images = images_of_patients(n_images, n_patients, words)
    basis = words("trust.basis", maps=words.plural("count.map", n_maps), images=images, n=n_predicted)
    if n_models > 1:
        basis = words("page.sentences", first=basis, second=words("trust.first_of", n=n_models))
    if 0 < n_patients < FEW_PATIENTS:
        basis = words("page.sentences", first=basis, second=words("trust.few_patients"))
    return basis


def _table(trust: Tree, words: Words) -> Table:
    entries = {**branch(trust, "methods"), **branch(trust, "controls")}
    notes, rows = Footnotes(words), []
    for criterion in (name for name in CRITERIA if name in branch(trust, "criteria")):
        cells = [_cell(branch(entry, criterion), notes) for entry in entries.values()]
        rows.append([name_cell(words.name("criterion", criterion)), *cells])
    # A method keeps the name under which it is asked for.
    controls = words.tables["trust_control"]
    return Table(["", *(controls.get(name, name) for name in entries)], rows, notes.lines())


def _cell(verdict: Tree, notes: Footnotes) -> Cell:
    words = notes.words
    value, limit = number(verdict.get("value")), number(verdict.get("limit"))
    if verdict.get("passes") is None or value is None or limit is None:
        return Cell(DASH, mark=notes.mark(words.reason(verdict) or words("trust.not_judged")))
    return Cell(words("trust.passes" if verdict["passes"] else "trust.fails"), _measured(verdict, words))


def _measured(verdict: Tree, words: Words) -> str:
    """Return what was measured beside the interval, or else the limit, by which it is judged."""
    keys = ("value", "low", "high", "limit")
    value, low, high, limit = (decimal(number(verdict.get(key)) or 0) for key in keys)
    if number(verdict.get("low")) is None:
        return words("trust.with_limit", value=value, limit=limit)
    return words("trust.with_interval", value=value, interval=words("page.interval", low=low, high=high))


def _rules(trust: Tree, words: Words) -> Table:
    criteria = branch(trust, "criteria")
    rows = []
    for name in (name for name in CRITERIA if name in criteria):
        source = words.tables["trust_source"].get(name) or text(branch(criteria, name).get("source"))
        rows.append(
            [name_cell(cell) for cell in (words.name("criterion", name), words.name("trust_rule", name), source)]
        )
    return Table([words("trust.criterion"), words("trust.rule"), words("trust.source")], rows)


def _figures(trust: Tree, words: Words) -> list[Figure]:
    drawn = ((name, trust_figure(branch(entry))) for name, entry in branch(trust, "methods").items())
    caption = words("trust.curves_caption")
    return [Figure(name, figure_uri(figure), caption) for name, figure in drawn if figure is not None]
