"""Packed data sets (archives, MATLAB and NumPy files, DICOM frames, stacks) to images and a label file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
