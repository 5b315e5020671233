"""Where a net looks: heat maps on an absolute scale, every method behind one call.

A net gives its last feature map, ``net.features(x)``, and its logits from that, ``net.classify(features)``; nothing
else of it is needed (`Net`), but for focus maps, which are a net's own.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
