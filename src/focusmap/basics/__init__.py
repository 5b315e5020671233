"""What every room stands on: errors, files, tables, reasons as codes, settings, progress, and what is installed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
