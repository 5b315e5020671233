"""Python API: what stands above the verbs: whole runs, a model at hand in a notebook, its answers as plain values."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
