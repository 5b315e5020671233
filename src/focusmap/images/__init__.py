"""Images and volumes: read from any format, cropped, prepared for a net, and kept in a store."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
