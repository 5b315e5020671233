"""The reading room: a page on which images are answered, and the same over HTTP. Imported by its commands alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
