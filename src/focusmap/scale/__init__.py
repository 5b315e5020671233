"""Tables of any length, answered on a cluster share by share: what is done stays done, whatever is killed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
