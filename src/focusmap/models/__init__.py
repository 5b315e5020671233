"""Whatever turns images or rows into logits: predictors, their folder, how they are trained, chosen and asked."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
