"""Runs side by side: learning curves on common axes, metrics, and paired differences."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from focusmap.basics import Json, Language, branch, items, number, text
from focusmap.evaluation import COMPARED_BY, LESS_IS_BETTER
from focusmap.figures import STYLES, compared_learning_figure, has_curves
from focusmap.report import files, page, performance_section, verdict_section
from focusmap.report.words import DASH, Cell, Footnotes, Table, Words, metric_cell, name_cell, signed_cell, words_in

Tree = Mapping[str, Json]
# Where the scale of the plot may end.
SCALES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
METRICS = [
    key
    for key in dict.fromkeys(
        (
            *performance_section.RANKING,
            *performance_section.AGREEMENT,
            *performance_section.CLASSES,
            *performance_section.VALUES,
        )
    )
    if key != "threshold"
]


def render_comparison(
    comparison: Tree, histories: Mapping[str, pd.DataFrame], out: Path, language: Language = "en"
) -> Path:
    """Write ``compare.html`` to the folder `out` and return its path.

    Parameters
    ----------
    comparison
        ``runs``: a list of ``name``, ``folder``, ``metrics`` (as in ``metrics.json``); ``differences``: a list of
        ``a``, ``b``, ``target``, ``metric``, ``difference`` (value, low, high; b minus a), ``p``, ``n_images``,
        ``n_patients``.
    histories
        ``history.csv`` of each run, by the run's name.
    """
    words, runs = words_in(language), [branch(run) for run in items(comparison.get("runs"))]
    differences = [branch(row) for row in items(comparison.get("differences"))]
    context = {
        "forest": difference_forest(differences, words),
        "answers": [_answer(branch(answer), words) for answer in items(comparison.get("answers"))],
        "settings": _settings_table(branch(comparison, "settings"), runs, words),
        "names": [text(run.get("name")) for run in runs],
        "headline": _headline_table(runs, words),
        "learning": _learning(histories, words),
        "metrics": _metric_tables(runs, words),
        "differences": _difference_table(differences, words),
    }
    return page.write_page("compare.html", context, out / "compare.html", words)


def _answer(answer: Tree, words: Words) -> str:
    """Return in a sentence which of two runs is the better, if that may be said."""
    p, better = number(answer.get("p_false")), text(answer.get("better"))
    names = {"a": text(answer.get("a")), "b": text(answer.get("b"))}
    other = names["a"] if better == names["b"] else names["b"]
    limits = {key: number(branch(answer, "difference").get(key)) for key in ("value", "low", "high")}
    figures = {
        "metric": words.name("metric", text(answer.get("metric"))),
        "n": int(number(answer.get("n_patients")) or 0),
        "p": DASH if p is None else words("compare.below", p="0.1 %") if p < 0.001 else f"{100 * p:.1f} %",
        **{key: DASH if limit is None else f"{limit:+.3f}" for key, limit in limits.items()},
    }
    if better:
        return words("compare.better", better=better, other=other, **names, **figures)
    return words("compare.no_difference", **names, **figures)


def difference_forest(differences: Sequence[Tree], words: Words) -> verdict_section.Forest | None:
    """Return the paired differences of what runs are judged by, target by target, beside no difference; None without.

    The scale is symmetrical about 0 and ends at a round number beyond the widest interval.
    """
    metric = next((key for key in COMPARED_BY.values() if any(row.get("metric") == key for row in differences)), "")
    rows = [row for row in differences if row.get("metric") == metric and _limits(row) is not None]
    if not rows:
        return None
    reach = max(abs(end) for row in rows for end in _limits(row) or ())
    reach = min(step for step in (*SCALES, max(reach, SCALES[-1])) if step >= reach)

    def place(value: float) -> float:
        return round(50 + 50 * value / reach, 2)

    ticks = {f"{value:+g}".replace("-", "−") if value else "0": place(value) for value in (-reach, 0.0, reach)}
    name = words.name("metric", metric)
    is_less = metric in LESS_IS_BETTER
    caption = words("compare.plot_of_less" if is_less else "compare.plot", metric=name)
    n_pairs = len({(row["a"], row["b"]) for row in rows})
    drawn = [_difference_row(row, place, words, is_less=is_less, pairs=n_pairs) for row in rows]
    return verdict_section.Forest(words("compare.difference"), drawn, place(0.0), ticks, False, caption)


def _limits(row: Tree) -> tuple[float, float, float] | None:
    value, low, high = (number(branch(row, "difference").get(key)) for key in ("value", "low", "high"))
    return None if value is None or low is None or high is None else (value, low, high)


def _difference_row(
    row: Tree, place: Callable[[float], float], words: Words, *, is_less: bool, pairs: int
) -> verdict_section.ForestRow:
    value, low, high = _limits(row) or (0.0, 0.0, 0.0)
    a, b, target = (text(row.get(key)) for key in ("a", "b", "target"))
    better = "" if low <= 0 <= high else b if (value > 0) != is_less else a
    target = words("results.mean") if target == "mean" else target
    interval = words("page.interval", low=f"{low:+.3f}", high=f"{high:+.3f}").replace("-", "−")
    return verdict_section.ForestRow(
        name=f"{b} − {a}: {target}" if pairs > 1 else target,
        level="useful" if better else "cannot-be-judged",
        word=words("compare.is_better", name=better) if better else words("compare.not_shown"),
        value=f"{value:+.3f}".replace("-", "−"),
        interval=interval,
        at=place(value),
        start=place(low),
        end=place(high),
        rivals=(),
    )


def _settings_table(settings: Tree, runs: Sequence[Tree], words: Words) -> Table:
    names = [text(run.get("name")) for run in runs]
    rows = [
        [name_cell(setting), *(Cell(text(branch(values).get(name))) for name in names)]
        for setting, values in settings.items()
    ]
    return Table([words("compare.setting"), *names], rows)


def _headline_table(runs: Sequence[Tree], words: Words) -> Table:
    notes, rows = Footnotes(words), []
    for run in runs:
        metrics = branch(run, "metrics")
        name = name_cell(text(run.get("name")), text(run.get("folder")))
        rows.append([name, *_counts(metrics), metric_cell(performance_section.mean_metric(metrics), notes, bar=True)])
    head = [words("compare.run"), words("compare.test_images"), words("compare.patients"), words("compare.mean_auroc")]
    return Table(head, rows, notes.lines())


def _metric_cell(metric: str, words: Words) -> Cell:
    return name_cell(words.name("metric", metric), words("compare.less_is_better") if metric in LESS_IS_BETTER else "")


def _counts(tested: Tree) -> list[Cell]:
    """Return how many images were tested, and of how many patients."""
    sizes = (number(tested.get(key)) for key in ("n_images", "n_patients"))
    return [Cell(DASH if size is None else f"{size:,.0f}") for size in sizes]


def _learning(histories: Mapping[str, pd.DataFrame], words: Words) -> performance_section.Figure | None:
    read = {name: files.numeric_history(table) for name, table in histories.items()}
    drawn = {name: history for name, history in read.items() if has_curves(history)}
    if not any(key in history for history in drawn.values() for key in STYLES):
        return None
    return performance_section.Figure(words("training.curves"), page.figure_uri(compared_learning_figure(drawn)))


def _metric_tables(runs: Sequence[Tree], words: Words) -> list[Table]:
    """Return one table per target: a row a metric, a column a run."""
    targets = list(dict.fromkeys(name for run in runs for name in branch(run, "metrics", "targets")))
    return [table for target in targets if (table := _metric_table(target, runs, words)).rows]


def _metric_table(target: str, runs: Sequence[Tree], words: Words) -> Table:
    entries, notes = [branch(run, "metrics", "targets", target) for run in runs], Footnotes(words)
    keys = [key for key in METRICS if any(branch(entry, key) for entry in entries)]
    rows = [
        [
            _metric_cell(key, words),
            *(metric_cell(entry.get(key), notes, bar=key == "auroc") for entry in entries),
        ]
        for key in keys
    ]
    return Table(["", *(text(run.get("name")) for run in runs)], rows, notes.lines(), target)


def _difference_table(differences: Sequence[Tree], words: Words) -> Table:
    notes, rows = Footnotes(words), []
    for row in differences:
        p, metric = number(row.get("p")), text(row.get("metric"))
        runs = [name_cell(f"{text(row.get('b'))} − {text(row.get('a'))}"), name_cell(text(row.get("target")))]
        p_text = DASH if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
        difference = signed_cell(row.get("difference"), notes)
        rows.append(
            [
                *runs,
                _metric_cell(metric, words),
                *_counts(row),
                difference,
                Cell(p_text),
            ]
        )
    columns = ("runs", "target", "metric", "test_images", "patients", "difference")
    return Table([*(words(f"compare.{column}") for column in columns), "p"], rows, notes.lines())
