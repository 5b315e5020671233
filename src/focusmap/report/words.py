"""The words of the pages: one catalogue a language, ``catalogues/en.toml`` and ``zh.toml``, with the same keys."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import Formatter

from focusmap.errors import InputError
from focusmap.files import Json
from focusmap.reasons import LANGUAGES, SENTENCES, Language, Reason, read_notes, read_reason

DASH = "—"


@dataclass(frozen=True)
class Words:
    """The words of one language; called with ``table.key`` and the values of its placeholders.

    >>> words = words_in("en")
    >>> words("page.interval", low="0.8", high="0.9")
    '0.8 to 0.9'
    """

    language: Language
    tables: Mapping[str, Mapping[str, str]]

    def __call__(self, key: str, **values: object) -> str:
        """Return the words under `key` with the values filled in."""
        return self._template(key).format(**values)

    def plural(self, key: str, n: float, **values: object) -> str:
        """Return the words under `key` for `n` things; ``|`` parts the form for one from the form for more.

        >>> [words_in("en").plural("count.image", n) for n in (1, 1200)]
        ['1 image', '1,200 images']
        >>> words_in("zh").plural("count.image", 1)
        '1 张图像'
        """
        forms = self._template(key).split("|")
        return forms[0 if n == 1 else -1].format(n=n, **values)

    def name(self, table: str, name: str) -> str:
        """Return what something called `name` in a file is called on the page; a name that is not known stays.

        >>> words_in("en").name("metric", "auroc"), words_in("en").name("setting", "some_new_setting")
        ('AUROC', 'some new setting')
        """
        return self.tables[table].get(name, name.replace("_", " "))

    def listed(self, names: Sequence[str], limit: int = 20) -> str:
        """Return names joined as in a sentence.

        >>> words_in("en").listed(["a", "b", "c"]), words_in("en").listed(["a", "b", "c"], 2)
        ('a, b and c', 'a and 2 more')
        """
        comma = self("page.comma")
        if len(names) > limit:
            return self("page.more", names=comma.join(names[: limit - 1]), n=len(names) - limit + 1)
        if len(names) < 2:
            return "".join(names)
        return self("page.pair", first=comma.join(names[:-1]), last=names[-1])

    def share(self, part: float, whole: float) -> str:
        """Return a share in per cent; a dash of nothing.

        >>> words_in("en").share(1, 8), words_in("zh").share(1, 0)
        ('12.5 %', '—')
        """
        return self("page.share", share=100 * part / whole) if whole else DASH

    def reason(self, entry: Mapping[str, Json], name: str = "reason") -> str:
        """Return the reason that a file has under `name`; a sentence without a code, of an older run, as it is.

        >>> words_in("zh").reason({"reason": "one class only", "reason_code": "one-class"})
        '仅有一个类别'
        >>> words_in("zh").reason({"reason": "a sentence of an older run"})
        'a sentence of an older run'
        """
        return self._said(read_reason(entry, name))

    def notes(self, tree: Mapping[str, Json]) -> list[str]:
        """Return the ``notes`` of a file; those without a code as they are."""
        return [self._said(note) for note in read_notes(tree, "notes")]

    def _said(self, note: str) -> str:
        return self.tables["reason"][note.code].format(**note.values) if isinstance(note, Reason) else note

    def _template(self, key: str) -> str:
        table, _, name = key.partition(".")
        return self.tables[table][name]


@lru_cache
def words_in(language: Language) -> Words:
    """Return the words of a language.

    Raises
    ------
    InputError
        If there is no catalogue of that language.
    """
    if language not in LANGUAGES:
        raise InputError(f"language {language!r} is not one of {', '.join(LANGUAGES)}.")
    path = Path(__file__).parent / "catalogues" / f"{language}.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    # Files hold reasons in English already; their words are written once, where files are made.
    return Words(language, {**tables, "reason": SENTENCES} if language == "en" else tables)


def placeholders(template: str) -> set[str]:
    """Return the names of the placeholders in a template.

    >>> sorted(placeholders("{n:,} of {whole}|{n:,} of {whole}"))
    ['n', 'whole']
    """
    return {name for _, name, _, _ in Formatter().parse(template) if name}
