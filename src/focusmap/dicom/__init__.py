"""DICOM out: what a model answers as objects that an archive stores beside the images, and files without names."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
