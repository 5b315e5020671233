"""From a command's dataclass to its options and their help, and from what was typed to the dataclass.

`argparse` does the parsing. `focusmap.basics.settings` says how a field describes its option.
"""

import argparse
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from itertools import takewhile
from typing import Any, NoReturn, TypeVar, cast

from focusmap.basics import Field, InputError, Only, Setting, fields_of, normalised, suggest

Made = TypeVar("Made")
NO_DEFAULT = (None, False, 0, 0.0, "", (), MISSING)
EXPECTED: Mapping[object, str] = {int: "a whole number", float: "a number such as 1.5"}
# What word processors make of two hyphens.
DASH = re.compile("[\u2010-\u2015\u2212]+-?(?=[A-Za-z])")


class Parser(argparse.ArgumentParser):
    """A parser that refuses abbreviations and suggests the nearest option for an unknown one."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and one line: after a page of usage it would be overlooked."""
        end = "" if message.endswith(("?", ".")) else "."
        self.exit(2, f"{self.prog}: error: {message}{end} All options: {self.prog} --help\n")

    def refuse_unknown(self, words: Sequence[str]) -> None:
        """End with exit code 2 where a word is no option of this command, whatever else is wrong."""
        if dashed := next(filter(DASH.match, words), None):
            typed = DASH.sub("--", dashed, count=1)
            self.error(f"{dashed!r} begins with a dash, as text programs write it. Type two hyphens: {typed}")
        known = [option for action in self._actions for option in action.option_strings]
        options = takewhile(lambda word: word != "--", words)
        unknown = [word for word in options if word.startswith("--") and word.partition("=")[0] not in known]
        if unknown:
            name, _, _ = unknown[0].partition("=")
            values = takewhile(lambda word: not word.startswith("-"), words[words.index(unknown[0]) + 1 :])
            self.error(f"unrecognized arguments: {' '.join([unknown[0], *values])}.{suggest(name, known)}")


def arguments_of(owner: Any, only: Only | None = None, prefix: str = "") -> Iterator[tuple[str, str, Field]]:
    """Yield the dotted name, the title and the field of each setting of a command and of its groups."""
    for field in fields_of(owner):
        if only is not None and not only.shows(field.name):
            continue
        name = prefix + field.name
        if is_dataclass(field.type):
            own = field.setting if isinstance(field.setting, Only) else None
            yield from arguments_of(field.type, only.within(field.name, own) if only else own, f"{name}.")
        elif isinstance(field.setting, Setting):
            title = field.setting.title or (only.title if only else "")
            yield name, title or getattr(owner, "TITLE", ""), field


def add_arguments(parser: argparse.ArgumentParser, command: type) -> None:
    """Add an argument for each setting of a command."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, title, field in arguments_of(command):
        setting = cast(Setting, field.setting)
        if title and title not in groups:
            groups[title] = parser.add_argument_group(title)
        place = groups[title] if title else parser
        if setting.is_positional:
            settings = {**_parsing(field), **_nargs(field), "default": None}
        else:
            settings = {**_parsing(field), "dest": name, "required": field.default is MISSING}
        place.add_argument(name if setting.is_positional else f"--{option_name(field)}", help=_help(field), **settings)


def typed_values(parsed: argparse.Namespace) -> dict[str, object]:
    """Return the typed values by dotted name; optional positional arguments that were not typed are left out."""
    return {name: value for name, value in vars(parsed).items() if value is not None and value != []}


def option_name(field: Field) -> str:
    """Return the name of a field's option, without its dashes."""
    setting = cast(Setting, field.setting)
    return setting.option or field.name.replace("_", "-")


def _parsing(field: Field) -> dict[str, Any]:
    """Return how `argparse` reads an argument; one that was not typed leaves no trace."""
    setting = cast(Setting, field.setting)
    if field.type is bool:
        action = argparse.BooleanOptionalAction if field.default is True else "store_true"
        return {"action": action, "default": argparse.SUPPRESS}
    metavar = f"{{{','.join(field.choices)}}}" if field.choices else setting.metavar
    convert = _reading(setting.parse or (str if field.choices else field.of_each), setting.metavar)
    repeats = field.is_tuple and setting.parse is None and not setting.is_positional
    return {"default": argparse.SUPPRESS, "type": convert, "metavar": metavar} | (
        {"action": "append"} if repeats else {}
    )


def _reading(convert: Callable[[str], object], form: str) -> Callable[[str], object]:
    """Return a conversion whose refusal says what was expected."""

    def converted(text: str) -> object:
        try:
            return convert(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        except ValueError:
            expected = EXPECTED.get(convert, f"of the form {form}")
            raise argparse.ArgumentTypeError(f"{text!r} is not {expected}") from None

    return converted


def _nargs(field: Field) -> dict[str, str]:
    if field.is_tuple:
        return {"nargs": "+" if field.default is MISSING else "*"}
    return {} if field.default is MISSING else {"nargs": "?"}


def _help(field: Field) -> str:
    words = cast(Setting, field.setting).help
    if field.default not in NO_DEFAULT and "default" not in words:
        words += f" (default: {field.default})"
    return words.replace("%", "%%")


def build_command(command: type[Made], typed: Mapping[str, object]) -> Made:
    """Return the command made of typed values by dotted name; its field ``typed``, if it has one, holds them all.

    Raises
    ------
    InputError
        If a value is not one of its field's choices.
    """
    extra = {"typed": typed} if any(item.name == "typed" for item in fields(cast(Any, command))) else {}
    return _build(command, typed, "", extra)


def _build(owner: type[Made], typed: Mapping[str, object], prefix: str, extra: Mapping[str, object]) -> Made:
    values = dict(extra)
    for field in fields_of(cast(Any, owner)):
        name = prefix + field.name
        is_asked_for = field.default is MISSING or any(key.startswith(f"{name}.") for key in typed)
        if is_dataclass(field.type) and is_asked_for:
            values[field.name] = _build(cast(type, field.type), typed, f"{name}.", {})
        elif name in typed:
            values[field.name] = normalised(field, typed[name])
    return owner(**values)


def refuse_idle(command: object, typed: Mapping[str, object], acts: Collection[str], why: str) -> None:
    """Raise `InputError` if an option was typed that is not among `acts`, those that have an effect here."""
    idle = [
        f"--{option_name(field)}"
        for name, _, field in arguments_of(type(command))
        if name in typed and name not in acts and not cast(Setting, field.setting).is_positional
    ]
    if idle:
        raise InputError(f"{', '.join(idle)}: {why}")
