"""focusmap: from medical images and a table of findings to an evaluated, explained and reported classifier.

The verbs of the command line are functions here; each returns the value that the command writes. Nothing is
imported before it is used; `__init__.pyi` lists what there is and where it stands.
"""

import sys
from types import FunctionType, ModuleType

import lazy_loader

_found, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Verbs(ModuleType):
    """This package: where a subpackage has the name of a verb (`audit`, `report`), the name means the verb."""

    def __getattr__(self, name: str) -> object:
        found = _found(name)
        if isinstance(found, FunctionType):
            from focusmap.basics import accepting_text

            found = accepting_text(found)
        super().__setattr__(name, found)
        return found

    def __setattr__(self, name: str, value: object) -> None:
        # The import of a subpackage sets it as an attribute of this package.
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Verbs
