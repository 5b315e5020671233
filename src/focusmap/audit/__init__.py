"""What a careful person looks at before training: the table, the images, and what could pass for the disease."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
