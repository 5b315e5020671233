"""Several readers of the same images: how far they agree, and one label file made of what they say."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
