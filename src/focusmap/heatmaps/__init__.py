"""Where a net looks: heat maps on an absolute scale, every method behind one call.

A net gives its last feature map, ``net.features(x)``, and its logits from that, ``net.classify(features)``; nothing
else of it is needed (`Net`).
"""

from focusmap.heatmaps.methods import METHODS, HeatMaps, Method, Net, Unit, check_method, heat_maps

__all__ = ["METHODS", "HeatMaps", "Method", "Net", "Unit", "check_method", "heat_maps"]
