"""Where a net looks: heat maps on an absolute scale, every method behind one call.

A net gives its last feature map, ``net.features(x)``, and its logits from that, ``net.classify(features)``; nothing
else of it is needed (`Net`), but for focus maps, which are a net's own.
"""

from focusmap.heatmaps.drawing import HeatMaps, check_copies, heat_maps
from focusmap.heatmaps.methods import (
    ACAM,
    FOCUS,
    METHODS,
    RECONSTRUCTION,
    Method,
    Net,
    Unit,
    can_draw,
    check_method,
    choose_method,
    is_method,
    method_of,
    methods_of,
    unit_of,
)

__all__ = [
    "ACAM", "FOCUS", "METHODS", "RECONSTRUCTION", "HeatMaps", "Method", "Net", "Unit", "can_draw", "check_copies",
    "check_method", "choose_method", "heat_maps", "is_method", "method_of", "methods_of", "unit_of",
]  # fmt: skip
