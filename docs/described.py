"""For the reference: a class that is made of settings has the docstring that Python gives it, with its parameters."""

from importlib import import_module
from typing import Any

import griffe


class Described(griffe.Extension):
    """Reads the docstring of a class with the decorator `described` from the class, and its types without help."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Replace the docstring that stands in the source, and ``Annotated[X, ...]`` by ``X``."""
        if not any(str(decorator.value) == "described" for decorator in cls.decorators):
            return
        made = getattr(import_module(cls.module.path), cls.name)
        cls.docstring = griffe.Docstring(made.__doc__, parent=cls, parser="numpy")
        for field in cls.attributes.values():
            said = field.annotation
            if isinstance(said, griffe.ExprSubscript) and str(said.left) == "Annotated":
                field.annotation = said.slice.elements[0]
