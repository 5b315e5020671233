"""Reporting checklists whose ticks are files: CLAIM 2024, TRIPOD+AI, STARD-AI, item by item, by their own numbers.

An item is ticked where files of the run carry it and every one of them is as it was written, by the hash in the
``hashes.json`` beside it. All other items are left to people; of some of them a file carries a part.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from focusmap.basics import InputError, Json, Language, read_json, read_yaml, seal_of, write_json
from focusmap.report.page import write_page
from focusmap.report.words import words_in

LISTS = ("claim-2024", "tripod-ai", "stard-ai")
FILE, PAGE = "checklists.json", "checklists.html"
SHORT_HASH = 12


@dataclass(frozen=True)
class Proof:
    """A file, relative to the run, and its SHA-256."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Item:
    """An item by its own number, with a short name of ours in both languages; what carries it, or a part of it."""

    number: str
    names: Mapping[Language, str]
    proofs: Sequence[Proof] = ()
    material: Sequence[Proof] = ()

    @property
    def is_ticked(self) -> bool:
        """Whether files carry all of it."""
        return bool(self.proofs)


@dataclass(frozen=True)
class Checklist:
    """A list with its items; `verified` says how far numbers and meaning were compared with what was published."""

    name: str
    title: str
    source: str
    verified: str
    items: Sequence[Item]

    @property
    def n_ticked(self) -> int:
        """How many items files carry."""
        return sum(item.is_ticked for item in self.items)

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for JSON."""
        return {
            "name": self.name, "title": self.title, "source": self.source, "verified": self.verified,
            "n_items": len(self.items), "n_ticked": self.n_ticked,
            "items": [
                {
                    "number": item.number, "name": item.names["en"], "ticked": item.is_ticked,
                    "files": [{**vars(proof)} for proof in item.proofs],
                    "material": [{**vars(proof)} for proof in item.material],
                }
                for item in self.items
            ],
        }  # fmt: skip


class Evidence:
    """The sealed files of a run: each is hashed and read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seal, self._tree = cache(seal_of), cache(_tree)

    def proofs(self, wanted: str) -> tuple[Proof, ...]:
        """Return the files that carry what is wanted; none where one is missing, was changed, or lacks the key.

        Parameters
        ----------
        wanted
            ``FILE`` or ``FILE:KEY.KEY``, a pattern of files and a value that must be there; ``*`` stands for any key.
            Alternatives are parted by `` | ``.
        """
        return next(filter(None, map(self._carried, wanted.split(" | "))), ())

    def _carried(self, wanted: str) -> tuple[Proof, ...]:
        pattern, _, key = wanted.partition(":")
        files = sorted(path for path in self.folder.glob(pattern) if path.is_file())
        seals = [self._seal(path) for path in files]
        if not all(seals) or not all(holds(self._tree(path), key.split(".")) for path in files if key):
            return ()
        pairs = zip(files, seals, strict=True)
        return tuple(Proof(path.relative_to(self.folder).as_posix(), seal) for path, seal in pairs if seal)

    def altered(self) -> list[str]:
        """Return the files whose hash is not the one that they were written with."""
        hashed = [path for place in self.folder.rglob("hashes.json") for path in place.parent.iterdir()]
        return sorted(path.relative_to(self.folder).as_posix() for path in hashed if self._seal(path) == "")


def _tree(path: Path) -> Json:
    try:
        return read_yaml(path) if path.suffix == ".yaml" else read_json(path)
    except InputError:
        return None


def holds(tree: Json, keys: Sequence[str]) -> bool:
    """Return whether there is a value that says something under keys; ``*`` is any key.

    >>> holds({"a": {"x": {"low": None}, "y": {"low": 0.1}}}, ["a", "*", "low"]), holds({"a": []}, ["a"])
    (True, False)
    """
    if not keys:
        return tree is not None and tree not in ("", [], {})
    if not isinstance(tree, Mapping):
        return False
    inner = list(tree.values()) if keys[0] == "*" else [tree.get(keys[0])]
    return any(holds(branch, keys[1:]) for branch in inner)


def checklists_of(evidence: Evidence) -> list[Checklist]:
    """Return the lists with what the files of a run carry."""
    return [_checklist(name, evidence) for name in LISTS]


def _checklist(name: str, evidence: Evidence) -> Checklist:
    catalogue = tomllib.loads((Path(__file__).parent / "catalogues" / f"{name}.toml").read_text(encoding="utf-8"))
    items = [_item(entry, evidence) for entry in catalogue.pop("items")]
    return Checklist(**catalogue, items=items)


def _item(entry: Mapping[str, str | list[str]], evidence: Evidence) -> Item:
    def found(key: str) -> Iterator[tuple[Proof, ...]]:
        return (evidence.proofs(wanted) for wanted in entry.get(key, ()))

    each, part = list(found("proof")), list(found("material"))
    carried = dict.fromkeys(proof for proofs in each for proof in proofs) if all(each) else {}
    material = dict.fromkeys(proof for proofs in (part if not carried else []) for proof in proofs)
    names: dict[Language, str] = {"en": str(entry["en"]), "zh": str(entry["zh"])}
    return Item(str(entry["n"]), names, tuple(carried), tuple(material))


@dataclass(frozen=True)
class _Row:
    item: Item
    name: str

    @cached_property
    def files(self) -> str:
        """The files with the beginnings of their hashes, in full in ``checklists.json``."""
        proofs = self.item.proofs or self.item.material
        return ", ".join(f"{proof.file} ({proof.sha256[:SHORT_HASH]})" for proof in proofs)


def write_checklists(folder: Path, language: Language = "en") -> Path:
    """Write ``checklists.json`` and ``checklists.html`` to a run folder and return the path of the latter."""
    evidence, words = Evidence(folder), words_in(language)
    lists = checklists_of(evidence)
    write_json(folder / FILE, {"lists": [checklist.to_dict() for checklist in lists]})
    rows = {checklist.name: [_Row(item, item.names[language]) for item in checklist.items] for checklist in lists}
    context = {"run": folder, "lists": lists, "rows": rows, "altered": evidence.altered()}
    return write_page("checklists.html", context, folder / PAGE, words)
