"""Where a net looks: heat maps on an absolute scale, every method behind one call.

A net gives its last feature map, ``net.features(x)``, and its logits from that, ``net.classify(features)``; nothing
else of it is needed (`Net`).
"""

from focusmap.heatmaps.focus import FOCUS, check_map_method, choose_method, focus_maps, unit_of
from focusmap.heatmaps.methods import METHODS, HeatMaps, Method, Net, Unit, check_method, heat_maps

__all__ = [
    "FOCUS", "METHODS", "HeatMaps", "Method", "Net", "Unit", "check_map_method", "check_method", "choose_method",
    "focus_maps", "heat_maps", "unit_of",
]  # fmt: skip
