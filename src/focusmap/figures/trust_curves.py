"""How a score follows a heat map, and how the map follows the net: the curves behind a verdict of trust."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from focusmap.figures.json_tree import branch, items, series
from focusmap.figures.panels import row_of_panels
from focusmap.figures.style import MUTED, NEGATIVE, POSITIVE, SMALL, name_axes, name_panel
from focusmap.files import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class TrustPanel:
    """One panel: two lines ``(S,)`` over `x` ``(S,)``, the first of which is the map's."""

    title: str
    x: np.ndarray
    lines: Mapping[str, np.ndarray]
    x_name: str
    y_name: str


def trust_figure(entry: Mapping[str, Json]) -> "Figure | None":
    """Return deletion, insertion, ROAD and randomisation of one method of ``trust.json``; None if it has none."""
    panels = [panel for panel in (*_removal_panels(entry), _randomisation_panel(entry)) if panel.x.size]
    if not panels:
        return None
    figure, all_axes = row_of_panels(len(panels), height=2.7)
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw(axes, panel)
    return figure


def _removal_panels(entry: Mapping[str, Json]) -> Sequence[TrustPanel]:
    found = []
    for name in ("deletion", "insertion"):
        own, control = (series(branch(entry, name).get(key)) for key in ("curve", "control"))
        x = np.linspace(0, 100, own.size)
        words = "% removed" if name == "deletion" else "% put back"
        lines = {"map": own, "misplaced map": control}
        found.append(TrustPanel(name.capitalize(), x, lines, words, "mean score"))
    road = branch(entry, "road")
    lines = {"most relevant first": series(road.get("most_first")), "least first": series(road.get("least_first"))}
    found.append(TrustPanel("ROAD", series(road.get("percentiles")), lines, "% imputed", "mean score"))
    return found


def _randomisation_panel(entry: Mapping[str, Json]) -> TrustPanel:
    cascade = branch(entry, "randomisation")
    steps = items(cascade.get("steps"))
    ssim = [1.0, *series([branch(step, "signed").get("ssim") for step in steps])] if steps else []
    level = series([branch(cascade, "between_images", "signed").get("ssim")])
    lines = {"same image": np.array(ssim), "different images": np.repeat(level, len(ssim))}
    x = np.linspace(0, 100, len(ssim))
    return TrustPanel("Randomisation", x, lines, "% of layers random", "median SSIM")


def _draw(axes: "Axes", panel: TrustPanel) -> None:
    for (name, y), colour, style in zip(panel.lines.items(), (POSITIVE, NEGATIVE), ("-", "--"), strict=True):
        axes.plot(panel.x, y, style, color=colour, linewidth=1.5, label=name)
    axes.set_xlim(0, 100)
    axes.tick_params(colors=MUTED)
    name_axes(axes, panel.x_name, panel.y_name)
    name_panel(axes, panel.title)
    axes.legend(fontsize=SMALL - 0.5, frameon=False, handlelength=1.6, borderaxespad=0.2, labelspacing=0.3)
