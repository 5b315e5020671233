"""From a net and a store of images to trained weights.

`loop` yields a record (`history`) per `epoch`, and keeps its state (`checkpoint`). An epoch shows `batches` of images
in changed form (`augmentation`), and moves weights (`optimisation`) on one of the `devices`; maps may add to the loss
(`map_losses`).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
