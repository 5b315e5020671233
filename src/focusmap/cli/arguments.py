"""A command's options and their help, made of its dataclass; and the dataclass, made of what was typed.

`argparse` does the parsing. See `focusmap.basics.settings` for how a field says what its option is.
"""

import argparse
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from itertools import takewhile
from typing import Any, TypeVar, cast

from focusmap.basics import Field, InputError, Only, Setting, fields_of, settled, suggest

Made = TypeVar("Made")
NO_DEFAULT = (None, False, 0, 0.0, "", (), MISSING)


class Parser(argparse.ArgumentParser):
    """Takes no abbreviation, and names the option that is nearest to one that it does not know."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)

    def refuse_unknown(self, words: Sequence[str]) -> None:
        """End with exit code 2 where a word is no option of this command, whatever else is wrong."""
        known = [option for action in self._actions for option in action.option_strings]
        options = takewhile(lambda word: word != "--", words)
        unknown = [word for word in options if word.startswith("--") and word.partition("=")[0] not in known]
        if unknown:
            name, _, _ = unknown[0].partition("=")
            values = takewhile(lambda word: not word.startswith("-"), words[words.index(unknown[0]) + 1 :])
            message = f"unrecognized arguments: {' '.join([unknown[0], *values])}.{suggest(name, known)}"
            # Not after a page of usage, in which it would be overlooked.
            self.exit(2, f"{self.prog}: error: {message} All options: {self.prog} --help\n")


def arguments_of(owner: Any, only: Only | None = None, prefix: str = "") -> Iterator[tuple[str, str, Field]]:
    """Yield the settings of a command and of the groups in it, each with its dotted name and its title."""
    for field in fields_of(owner):
        if only is not None and not only.shows(field.name):
            continue
        name = prefix + field.name
        if is_dataclass(field.type):
            own = field.said if isinstance(field.said, Only) else None
            yield from arguments_of(field.type, only.within(field.name, own) if only else own, f"{name}.")
        elif isinstance(field.said, Setting):
            title = field.said.title or (only.title if only else "")
            yield name, title or getattr(owner, "TITLE", ""), field


def add_arguments(parser: argparse.ArgumentParser, command: type) -> None:
    """Add an argument for each setting of a command."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, title, field in arguments_of(command):
        setting = cast(Setting, field.said)
        if title and title not in groups:
            groups[title] = parser.add_argument_group(title)
        place = groups[title] if title else parser
        if setting.is_positional:
            settings = {**_reading(field), **_count(field), "default": None}
        else:
            settings = {**_reading(field), "dest": name, "required": field.default is MISSING}
        place.add_argument(name if setting.is_positional else f"--{spelt(field)}", help=_help(field), **settings)


def typed_in(parsed: argparse.Namespace) -> dict[str, object]:
    """Return what was typed, by dotted name; what could stand without a name and did not stand is not there."""
    return {name: value for name, value in vars(parsed).items() if value is not None and value != []}


def spelt(field: Field) -> str:
    """Return the name of a field's option, without its dashes."""
    setting = cast(Setting, field.said)
    return setting.option or field.name.replace("_", "-")


def _reading(field: Field) -> dict[str, Any]:
    """Return how an argument is read: nothing is noted of one that was not typed."""
    setting = cast(Setting, field.said)
    if field.type is bool:
        action = argparse.BooleanOptionalAction if field.default is True else "store_true"
        return {"action": action, "default": argparse.SUPPRESS}
    metavar = f"{{{','.join(field.choices)}}}" if field.choices else setting.metavar
    convert = setting.parse or (str if field.choices else field.of_each)
    repeats = field.is_tuple and setting.parse is None and not setting.is_positional
    return {"default": argparse.SUPPRESS, "type": convert, "metavar": metavar} | (
        {"action": "append"} if repeats else {}
    )


def _count(field: Field) -> dict[str, str]:
    if field.is_tuple:
        return {"nargs": "+" if field.default is MISSING else "*"}
    return {} if field.default is MISSING else {"nargs": "?"}


def _help(field: Field) -> str:
    words = cast(Setting, field.said).help
    if field.default not in NO_DEFAULT and "default" not in words:
        words += f" (default: {field.default})"
    return words.replace("%", "%%")


def made(command: type[Made], typed: Mapping[str, object]) -> Made:
    """Return the command with what was typed, by dotted name; a field ``typed`` of it holds all of that.

    Raises
    ------
    InputError
        If a value is not one that its field takes.
    """
    extra = {"typed": typed} if any(item.name == "typed" for item in fields(cast(Any, command))) else {}
    return _made(command, typed, "", extra)


def _made(owner: type[Made], typed: Mapping[str, object], prefix: str, extra: Mapping[str, object]) -> Made:
    values = dict(extra)
    for field in fields_of(cast(Any, owner)):
        name = prefix + field.name
        is_asked_for = field.default is MISSING or any(key.startswith(f"{name}.") for key in typed)
        if is_dataclass(field.type) and is_asked_for:
            values[field.name] = _made(cast(type, field.type), typed, f"{name}.", {})
        elif name in typed:
            values[field.name] = settled(field, typed[name])
    return owner(**values)


def refuse_idle(command: object, typed: Mapping[str, object], acts: Collection[str], why: str) -> None:
    """Raise `InputError` where an option was typed that would change nothing: it is none of those that act here."""
    idle = [
        f"--{spelt(field)}"
        for name, _, field in arguments_of(type(command))
        if name in typed and name not in acts and not cast(Setting, field.said).is_positional
    ]
    if idle:
        raise InputError(f"{', '.join(idle)}: {why}")
