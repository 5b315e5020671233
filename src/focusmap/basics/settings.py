"""A setting is written once: the field of a frozen dataclass holds its type, its default, its help and its spelling.

The request of a verb is such a dataclass; `focusmap.cli.arguments` makes the command's options and their help of it::

    images: Annotated[Path | None, Setting("folder of the images", "DIR")] = None
"""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import cache, wraps
from inspect import signature
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from focusmap.basics.errors import InputError, suggest

Owner = TypeVar("Owner")
Given = ParamSpec("Given")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Setting:
    """How a field is described to a reader, and how it is spelt on the command line.

    Parameters
    ----------
    help
        What it means; its default is added where a reader would miss it.
    metavar
        What stands for its value, such as ``DIR``.
    option
        The option's name without its dashes; by default the field's, with dashes for underscores.
    title
        Of its group of options, where that is not the dataclass's ``TITLE``.
    parse
        From the typed text to the value, where the type does not determine it.
    is_positional
        Whether it is an argument without a name.
    """

    help: str
    metavar: str = ""
    option: str = ""
    title: str = ""
    parse: Callable[[str], object] | None = None
    is_positional: bool = False


@dataclass(frozen=True)
class Only:
    """The fields of a group that a command acts on, those of a group in it as ``recipe.seed``; it shows no others."""

    names: frozenset[str]
    title: str

    def __init__(self, *names: str, title: str = "") -> None:
        object.__setattr__(self, "names", frozenset(names))
        object.__setattr__(self, "title", title)

    def shows(self, name: str) -> bool:
        """Return whether a field, or some of a group, is shown."""
        return any(shown.partition(".")[0] == name for shown in self.names)

    def within(self, name: str, own: "Only | None") -> "Only | None":
        """Return what is shown of the group `name`: the fields named here, or else those of its own `Only`."""
        inner = [shown.partition(".")[2] for shown in self.names if shown.startswith(f"{name}.")]
        return Only(*inner) if inner else own


@dataclass(frozen=True)
class Field:
    """A field of a request, its type unwrapped: ``X`` of ``X | None``, with its setting."""

    name: str
    type: Any
    default: object
    setting: Setting | Only | None
    documentation: str

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a closed choice; empty for any other type."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def of_each(self) -> Any:
        """The type of one value: of each member of a tuple, else the field's own."""
        return get_args(self.type)[0] if self.is_tuple else self.type

    @property
    def is_tuple(self) -> bool:
        """Whether it holds as many values as are given."""
        return get_origin(self.type) is tuple


@cache
def fields_of(owner: Any) -> tuple[Field, ...]:
    """Return the fields of a dataclass in their order."""
    hints = get_type_hints(owner, include_extras=True)
    return tuple(
        _field(item.name, hints[item.name], item.default if item.default_factory is MISSING else None)
        for item in fields(owner)
    )


def _field(name: str, hint: Any, default: object) -> Field:
    annotations: tuple[object, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        annotations = tuple(rest)
    if get_origin(hint) in (Union, UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    setting = next((word for word in annotations if isinstance(word, Setting | Only)), None)
    helped = setting.help if isinstance(setting, Setting) else ""
    return Field(name, hint, default, setting, next((word for word in annotations if isinstance(word, str)), helped))


def with_parameters(owner: type[Owner]) -> type[Owner]:
    """Return a dataclass with its fields' documentation as the parameters of its docstring."""
    entries = [
        f"{field.name}\n    {field.documentation}" for field in fields_of(cast(Any, owner)) if field.documentation
    ]
    owner.__doc__ = "\n".join([f"{owner.__doc__}\n\nParameters\n----------", *entries])
    return owner


def normalise(request: object) -> None:
    """Turn the text of a new request's paths into paths, and its lists into tuples, in place.

    Only for a request's ``__post_init__``.

    Raises
    ------
    InputError
        If a value is none of the field's choices; the message names the nearest.
    """
    for field in fields_of(cast(Any, type(request))):
        value = normalised(field, getattr(request, field.name))
        object.__setattr__(request, field.name, value)


def normalised(field: Field, value: object) -> object:
    """Return a field's value as its type says: a path for text, a tuple for a list."""
    if field.choices and value not in field.choices and not (value is None and field.default is None):
        option = field.setting.option if isinstance(field.setting, Setting) and field.setting.option else field.name
        raise InputError(
            f"{option} {value!r} is not one of {', '.join(field.choices)}.{suggest(str(value), field.choices)}"
        )
    if field.is_tuple and isinstance(value, list | tuple):
        return tuple(Path(one) if field.of_each is Path else one for one in value)
    return Path(value) if field.type is Path and isinstance(value, str) else value


def accepting_text(verb: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Return the function with every argument that is a path, or several, accepted as text too."""
    parameters = signature(verb)
    paths = [name for name, one in parameters.parameters.items() if Path in (one.annotation, *get_args(one.annotation))]

    @wraps(verb)
    def called(*args: Given.args, **named: Given.kwargs) -> Answer:
        bound = parameters.bind(*args, **named)
        for name in paths:
            value = bound.arguments.get(name)
            if isinstance(value, str):
                bound.arguments[name] = Path(value)
            elif isinstance(value, list | tuple):
                bound.arguments[name] = tuple(Path(one) for one in value)
        return verb(*bound.args, **bound.kwargs)

    return called
