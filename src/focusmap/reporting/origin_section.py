"""How the result came about: recipe, model, versions, hashes, seed, wall-clock."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from focusmap.figures.json_tree import branch, number, text
from focusmap.figures.training_curves import compared_learning_figure, has_curves, learning_figure
from focusmap.reporting.files import RunFiles
from focusmap.reporting.performance_section import Figure
from focusmap.reporting.pictures import figure_uri
from focusmap.reporting.tables import Cell, Table, name_cell, range_text
from focusmap.values.files import Json

Facts = Sequence[tuple[str, str]]
NET_SETTINGS = ("model", "weights", "size", "channels", "freeze_epochs", "precision", "seed")


@dataclass(frozen=True)
class FactGroup:
    """Names and values under a heading."""

    heading: str
    facts: Facts


def recipe_groups(files: RunFiles) -> list[FactGroup]:
    """Return the settings of the training; empty without ``recipe.yaml``."""
    if files.recipe is None:
        return []
    settings = asdict(files.recipe)
    augmentation = settings.pop("augmentation")
    net = {key: settings.pop(key) for key in NET_SETTINGS}
    return [
        FactGroup("Net and input", _facts(net)),
        FactGroup("Training", _facts(settings)),
        FactGroup("Augmentation, largest change", _facts(augmentation)),
    ]


def learning_curves(files: RunFiles) -> Figure | None:
    """Return the learning curves, of all folds on common axes; None without a history."""
    histories = {name: history for name, history in files.histories.items() if has_curves(history)}
    if not histories:
        return None
    if len(histories) > 1:
        return Figure("Learning curves", figure_uri(compared_learning_figure(histories)), "One line a net.")
    caption = (
        "The dashed line is the best epoch on tune. Positives and negatives should add about equally much to the loss: "
        "that is what the class weights are for."
    )
    return Figure("Learning curves", figure_uri(learning_figure(next(iter(histories.values())))), caption)


def model_groups(files: RunFiles) -> list[FactGroup]:
    """Return architecture, preparation and training facts of the model; empty without ``model.json``."""
    if files.card is None:
        return []
    card = files.card
    parameters = number(files.manifest.get("parameters")) or number(card.training.get("n_parameters"))
    size: Mapping[str, Json] = {"parameters": f"{parameters:,.0f}"} if parameters else {}
    mean: Mapping[str, Json] = {"nets averaged": len(card.members) or None, "views averaged": len(card.tta) or None}
    return [
        FactGroup("Architecture", _facts({**card.architecture, **size, **mean})),
        FactGroup("Preparation of a picture", _facts(card.preparation)),
    ]


def threshold_table(files: RunFiles) -> Table | None:
    """Return operating points and temperatures of the targets; None without ``model.json``."""
    if files.card is None:
        return None
    cards, rows = list(files.fold_cards.values()) or [files.card], []
    for target in files.task.targets:
        fitted = ([card.thresholds for card in cards], [card.temperatures for card in cards])
        cells = [Cell(range_text(of[target.name] for of in each if target.name in of)) for each in fitted]
        kind = f"{target.kind}, positive: {target.positive}" if target.kind == "binary" else target.kind
        rows.append([name_cell(target.name), name_cell(kind), *cells])
    several = ""
    if len(cards) > 1:
        several = " Lowest and highest of the folds; each image is judged by its own. Those of their mean, the model of"
        several += " this run, are fitted on the pooled tune parts."
    caption = f"Fitted on tune: temperatures for calibration, operating points for {files.card.threshold_for}.{several}"
    return Table(["", "Kind", "Operating point", "Temperature"], rows, caption=caption)


def provenance_groups(files: RunFiles) -> list[FactGroup]:
    """Return versions, hashes, seed, device and wall-clock; empty without ``manifest.json``."""
    manifest = files.manifest
    if not manifest:
        return []
    started = text(manifest.get("started")).replace("T", " ")
    run = {**{key: manifest.get(key) for key in ("focusmap", "seed", "device", "threads")}, "started": started}
    seconds = {step: number(value) or 0.0 for step, value in branch(manifest, "seconds").items()}
    clock: Facts = [(step, duration_text(value)) for step, value in [*seconds.items(), ("all", sum(seconds.values()))]]
    groups = [
        FactGroup("Run", _facts(run)),
        FactGroup("Wall-clock", clock if seconds else []),
        FactGroup("Versions", _facts(branch(manifest, "versions"))),
        FactGroup("SHA-256", _facts(branch(manifest, "hashes"))),
    ]
    return [group for group in groups if group.facts]


def duration_text(seconds: float) -> str:
    """Return a duration in words.

    >>> duration_text(7.25), duration_text(92), duration_text(5400)
    ('7.2 s', '1 min 32 s', '1 h 30 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _facts(values: Mapping[str, Json]) -> Facts:
    return [(key.replace("_", " "), _plain(value)) for key, value in values.items() if value is not None]


def _plain(value: Json) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " to ".join(_plain(entry) for entry in value) if len(value) == 2 else ", ".join(map(_plain, value))
    if isinstance(value, float):
        return f"{value:g}"
    return text(value)
