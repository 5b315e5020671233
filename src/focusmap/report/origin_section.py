"""How the result came about: recipe, model, versions, hashes, seed, wall-clock."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from focusmap.basics import Json, branch, items, number, text
from focusmap.figures import compared_learning_figure, has_balance, has_curves, learning_figure
from focusmap.report.files import RunFiles, model_name
from focusmap.report.page import figure_uri
from focusmap.report.performance_section import Figure
from focusmap.report.words import Cell, Table, Words, name_cell, range_text
from focusmap.study import Recipe

Facts = Sequence[tuple[str, str]]
NET_SETTINGS = ("model", "weights", "size", "channels", "crop", "freeze_epochs", "precision", "seed")

ESTIMATOR_SETTINGS = ("model", "sampling", "screen_negatives", "threshold_for", "ensemble", "baseline", "seed")
TABLE_NET_SETTINGS = (
    "epochs", "batch_size", "optimizer", "learning_rate", "weight_decay", "schedule", "warmup_epochs", "ema_decay",
    "patience", "class_weights", "target_weights", "loss", "label_smoothing", *ESTIMATOR_SETTINGS,
)  # fmt: skip


@dataclass(frozen=True)
class FactGroup:
    """Names and values under a heading."""

    heading: str
    facts: Facts


def recipe_groups(files: RunFiles, words: Words, *, changed: bool = False) -> list[FactGroup]:
    """Return the settings of the training, or those alone that differ from the default; empty without any."""
    if files.recipe is None:
        return []
    settings, usual = asdict(files.recipe), asdict(Recipe())
    name = model_name(files)
    augmentation, usual_augmentation = settings.pop("augmentation"), usual.pop("augmentation")
    # How masks are drawn is said beside the masks.
    settings.pop("segmentation")
    if files.study.case_column is None:
        settings.pop("cases")
    if changed:
        settings = {key: value for key, value in settings.items() if value != usual[key]}
        augmentation = {key: value for key, value in augmentation.items() if value != usual_augmentation[key]}
    if not name.is_net_of_images:
        kept = ESTIMATOR_SETTINGS if name.engine == "estimator" else TABLE_NET_SETTINGS
        own = {key: settings[key] for key in kept if key in settings}
        return _filled([FactGroup(words("training.settings"), _facts(own, words))])
    net = {key: settings.pop(key) for key in NET_SETTINGS if key in settings}
    return _filled([
        FactGroup(words("training.net"), _facts(net, words)),
        FactGroup(words("training.settings"), _facts(settings, words)),
        FactGroup(words("training.augmentation"), _facts(augmentation, words)),
    ])  # fmt: skip


def _filled(groups: list[FactGroup]) -> list[FactGroup]:
    return [group for group in groups if group.facts]


def learning_curves(files: RunFiles, words: Words) -> Figure | None:
    """Return the learning curves, of all folds on common axes; None without a history."""
    histories = {name: history for name, history in files.histories.items() if has_curves(history)}
    if not histories:
        return None
    if len(histories) > 1:
        drawn, caption = compared_learning_figure(histories), words("training.one_a_net")
    else:
        (history,) = histories.values()
        stopped = files.recipe is not None and files.recipe.patience > 0
        drawn, caption = (
            learning_figure(history),
            words("training.curves_of_best" if stopped else "training.curves_of_last"),
        )
        if has_balance(history):
            caption = words("page.sentences", first=caption, second=words("training.balance"))
    return Figure(words("training.curves"), figure_uri(drawn), caption)


def model_groups(files: RunFiles, words: Words) -> list[FactGroup]:
    """Return architecture, preparation and training facts of the model; empty without ``model.json``."""
    if files.card is None:
        return []
    card = files.card
    parameters = number(files.manifest.get("parameters")) or number(card.training.get("n_parameters"))
    size: Mapping[str, Json] = {"parameters": f"{parameters:,.0f}"} if parameters else {}
    mean: Mapping[str, Json] = {"nets_averaged": len(card.members) or None, "views_averaged": len(card.tta) or None}
    start: Mapping[str, Json] = {"first_weights": words.name("start", str(card.training.get("start", ""))) or None}
    why: Mapping[str, Json] = {"because": words.reason(card.training, "start_reason") or None}
    plain = {key: value for key, value in card.architecture.items() if not isinstance(value, Mapping)}
    if "forms" in plain:
        # One per target; which kinds there are is enough.
        plain["forms"] = words.listed(list(dict.fromkeys(text(form) for form in items(plain["forms"]))))
    groups = [
        FactGroup(words("model.architecture"), _facts({**plain, **size, **mean, **start, **why}, words)),
        FactGroup(words("model.preparation"), _facts(card.preparation, words)),
    ]
    return [group for group in groups if group.facts]


def threshold_table(files: RunFiles, words: Words) -> Table | None:
    """Return operating points and temperatures of the targets; None without ``model.json``."""
    if files.card is None:
        return None
    cards, rows = list(files.fold_cards.values()) or [files.card], []
    for target in files.task.targets:
        # A value has none; its card says 1.
        temperatures = [{} if target.is_number else card.temperatures for card in cards]
        fitted = ([card.thresholds for card in cards], temperatures)
        cells = [Cell(range_text((of[target.name] for of in each if target.name in of), words)) for each in fitted]
        kind = words.name("kind", target.kind)
        if target.kind == "binary":
            kind = words("model.with_positive", kind=kind, positive=target.positive)
        rows.append([name_cell(target.name), name_cell(kind), *cells])
    caption = words("model.fitted", rule=files.card.threshold_for)
    if len(cards) > 1:
        caption = words("page.sentences", first=caption, second=words("model.fitted_in_folds"))
    head = ["", words("model.kind"), words("metric.threshold"), words("model.temperature")]
    return Table(head, rows, caption=caption)


def provenance_groups(files: RunFiles, words: Words) -> list[FactGroup]:
    """Return versions, hashes, seed, device and wall-clock; empty without ``manifest.json``."""
    manifest = files.manifest
    if not manifest:
        return []
    started = text(manifest.get("started")).replace("T", " ")
    run = {**{key: manifest.get(key) for key in ("focusmap", "seed", "device", "threads")}, "started": started}
    seconds = {step: number(value) or 0.0 for step, value in branch(manifest, "seconds").items()}
    clock: dict[str, Json] = {step: duration_text(value, words) for step, value in seconds.items()}
    clock["all"] = duration_text(sum(seconds.values()), words)
    if files.reproduction:
        key = "provenance.equal" if files.reproduction.get("equal") else "provenance.not_equal"
        largest = number(files.reproduction.get("largest_difference")) or 0.0
        run["trained_again"] = words(key, date=text(files.reproduction.get("date"))[:10], largest=largest)
    groups = [
        FactGroup(words("provenance.run"), _facts(run, words)),
        FactGroup(words("provenance.clock"), _facts(clock, words) if seconds else []),
        FactGroup(words("provenance.versions"), _facts(branch(manifest, "versions"), words)),
        FactGroup("SHA-256", _facts(branch(manifest, "hashes"), words)),
    ]
    return [group for group in groups if group.facts]


def duration_text(seconds: float, words: Words) -> str:
    """Return a duration in words.

    >>> from focusmap.report.words import words_in
    >>> [duration_text(seconds, words_in("en")) for seconds in (7.25, 92, 5400)]
    ['7.2 s', '1 min 32 s', '1 h 30 min']
    """
    if seconds < 60:
        return words("provenance.seconds", seconds=seconds)
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return words("provenance.minutes", minutes=minutes, seconds=rest)
    return words("provenance.hours", hours=minutes // 60, minutes=minutes % 60)


def _facts(values: Mapping[str, Json], words: Words) -> Facts:
    """Return what is said: not what is None or empty, such as the shape of images."""
    filled = {key: value for key, value in values.items() if value or isinstance(value, bool | int | float)}
    return [(words.name("setting", key), _plain(value, words)) for key, value in filled.items()]


def _plain(value: Json, words: Words) -> str:
    if isinstance(value, bool):
        return words("page.yes" if value else "page.no")
    if isinstance(value, list | tuple):
        entries = [_plain(entry, words) for entry in value]
        return words("page.interval", low=entries[0], high=entries[1]) if len(value) == 2 else ", ".join(entries)
    if isinstance(value, float):
        return f"{value:g}"
    return text(value)
