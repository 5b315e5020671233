"""Budgets of the source: no circles, few arrows, short files, verbs apart, and no switch on kinds of model."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import focusmap

SOURCE = Path(focusmap.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
TESTS = Path(__file__).parent

MOST_LINES = 400
MOST_LINES_OF_A_VERB = 200
# How many others a module may import, and on average.
MOST_OTHERS, MEAN_OTHERS = 30, 7
# Modules of a room that are known by their names alone.
MOST_UNNAMED = 12
# Packages that are told apart by tests of their own, not by a folder of the source.
APART = {"support", "docs", "faults"}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path, root: Path) -> str:
    return ".".join((root.name, *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")


def offered(door: Path, package: str) -> dict[str, str]:
    """Return the modules of the names that a room's door (`__init__.pyi`) lists."""
    nodes = ast.parse(door.read_text(encoding="utf-8")).body if door.exists() else []
    listed = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 1]
    return {alias.name: f"{package}.{node.module}" for node in listed for alias in node.names}


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield module and name of each import, within functions too; what only types need is left out.

    >>> list(imports(ast.parse("import a\\nif TYPE_CHECKING:\\n    import b\\ndef f():\\n    from c import d as e")))
    [('a', ''), ('c', 'd')]
    """
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.Import():
                yield from ((alias.name, "") for alias in node.names)
            case ast.ImportFrom(level=0):
                yield from ((node.module or "", alias.name) for alias in node.names)
            case _:
                yield from imports(node)


def through_rooms(tree: ast.AST, house: str) -> Iterator[tuple[str, str]]:
    """Yield room and name of what is asked of a room that is imported whole; quoted types are left out.

    >>> list(through_rooms(ast.parse("from house import a\\ndef f(x: 'a.Low'):\\n    a.High(x.b)"), "house"))
    [('house.a', 'High')]
    """
    whole = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == house)
    rooms = {alias.asname or alias.name: f"{house}.{alias.name}" for node in whole for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in rooms:
            yield rooms[node.value.id], node.attr


@cache
def arrows_of(root: Path) -> dict[str, set[str]]:
    """Return which modules of a package each of them imports: through a door, the one where the name stands."""
    paths = {name_of(path, root): path for path in sorted(root.rglob("*.py"))}
    doors = {name: offered(path.with_suffix(".pyi"), name) for name, path in paths.items() if path.stem == "__init__"}

    def meant(module: str, name: str) -> str:
        return inner if (inner := f"{module}.{name}") in paths else doors.get(module, {}).get(name, module)

    trees = {name: tree_of(path) for name, path in paths.items()}
    found = {name: [*imports(tree), *through_rooms(tree, root.name)] for name, tree in trees.items()}
    return {name: {meant(*one) for one in asked} & set(paths) for name, asked in found.items()}


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of nodes that reach each other (Tarjan's components of more than one node).

    >>> circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [{"b", "c"}]
    True
    """
    found, order, low, stack = [], {}, {}, []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(arrows.get(node, ())):
            if other not in order:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == order[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(set(component))

    for node in sorted(arrows):
        if node not in order:
            visit(node)
    return found


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def circles_of_rooms(root: Path) -> list[set[str]]:
    rooms: dict[str, set[str]] = {}
    for module, others in arrows_of(root).items():
        if "." in module:
            room = module.split(".")[1]
            rooms.setdefault(room, set()).update({name.split(".")[1] for name in others if "." in name} - {room})
    return circles(rooms)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(arrows_of(SOURCE)) == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    assert circles_of_rooms(SOURCE) == []


def test_a_circle_is_found_behind_doors(tmp_path: Path) -> None:
    root = tmp_path / "house"
    files = {
        "__init__.py": "",
        "a/__init__.py": "",
        "a/__init__.pyi": "from .low import Low as Low\nfrom .high import High as High",
        "a/low.py": "class Low: ...",
        "a/high.py": "def high():\n    from house.b import Middle",
        "b/__init__.py": "",
        "b/__init__.pyi": "from .middle import Middle as Middle",
        "b/middle.py": "from house.a import Low",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    assert circles(arrows_of(root)) == []  # the room's circle is not one of its modules
    assert circles_of_rooms(root) == [{"a", "b"}]
    for text in ("from house.a import High", "from house import a\n\ndef middle():\n    return a.High()"):
        arrows_of.cache_clear()
        tree_of.cache_clear()
        (root / "b/middle.py").write_text(text, encoding="utf-8")
        assert circles(arrows_of(root)) == [{"house.a.high", "house.b.middle"}]


def test_what_stands_at_a_door_is_there() -> None:
    doors = {name_of(path, SOURCE): path for path in SOURCE.glob("*/__init__.pyi")}
    assert len(doors) >= 17
    for package, path in doors.items():
        for name, module in offered(path, package).items():
            assert getattr(import_module(package), name) is getattr(import_module(module), name), f"{package}.{name}"
            assert f"{package}.{name}" not in arrows_of(SOURCE), f"{name} is a module of {package} too"


def test_no_module_goes_through_the_door_of_its_own_room() -> None:
    def own(module: str, path: Path) -> list[str]:
        room = ".".join(module.split(".")[:2])
        found = list(imports(tree_of(path)))
        through = (name for home, name in found if home == room and f"{room}.{name}" not in arrows_of(SOURCE))
        return [*through, *(name for home, name in found if home == "focusmap" and f"focusmap.{name}" == room)]

    rooms = {name_of(path, SOURCE): path for path in FILES if (path.parent / "__init__.pyi").exists()}
    assert {module: names for module, path in rooms.items() if (names := own(module, path))} == {}


def test_a_room_that_is_imported_whole_is_a_room() -> None:
    # Verbs come before rooms of the same name.
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.pyi")}
    found = {name for path in FILES for home, name in imports(tree_of(path)) if home == "focusmap"}
    assert {name for name in found & rooms if not isinstance(getattr(focusmap, name), ModuleType)} == set()


def test_a_module_imports_few_others() -> None:
    numbers = {module: len(others) for module, others in arrows_of(SOURCE).items()}
    assert {module: n for module, n in numbers.items() if n > MOST_OTHERS} == {}
    assert sum(numbers.values()) <= MEAN_OTHERS * len(numbers)


def test_a_large_room_says_what_its_modules_are() -> None:
    # Those of `verbs` are the commands.
    rooms = {path.parent for path in SOURCE.glob("*/__init__.py")} - {SOURCE / "verbs"}
    missing = {}
    for room in rooms:
        modules = {path.stem for path in room.glob("*.py")} - {"__init__"}
        said = set(re.findall(r"`(\w+)`", ast.get_docstring(tree_of(room / "__init__.py")) or ""))
        if len(modules) > MOST_UNNAMED and modules - said:
            missing[room.name] = sorted(modules - said)
    assert missing == {}


def test_private_names_stay_in_their_module() -> None:
    root = TESTS.parent
    paths = [*FILES, *TESTS.rglob("*.py"), *root.glob("benchmarks/*.py")]
    found = {str(path.relative_to(root)): [name for _, name in imports(tree_of(path))] for path in paths}
    private = {path: [name for name in names if re.match("_[^_]", name)] for path, names in found.items()}
    assert {path: names for path, names in private.items() if names} == {}


def test_no_module_is_long() -> None:
    assert {str(path.relative_to(SOURCE)): n for path in FILES if (n := lines_of(path)) > MOST_LINES} == {}


def test_a_verb_reads_as_what_it_does() -> None:
    # What commands ask for stands together, and is no verb.
    verbs = (path for path in SOURCE.glob("verbs/*.py") if path.name != "requests.py")
    assert {path.name: n for path in verbs if (n := lines_of(path)) > MOST_LINES_OF_A_VERB} == {}


def test_verbs_import_no_verbs() -> None:
    # What commands ask for stands together, and is no verb.
    arrows = arrows_of(SOURCE)
    verbs = {module for module in arrows if module.startswith("focusmap.verbs.")} - {"focusmap.verbs.requests"}
    found = {verb: arrows[verb] & verbs for verb in sorted(verbs)}
    assert {verb: sorted(others) for verb, others in found.items() if others} == {}


def kinds_of_model() -> set[str]:
    """Return the classes of `models` that are predictors: they have a card, which they can change for another."""
    nodes = (node for path in SOURCE.glob("models/*.py") for node in ast.walk(tree_of(path)))
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    return {
        node.name
        for node in classes
        if any(isinstance(part, ast.FunctionDef) and part.name == "with_card" for part in node.body)
    }


def switches(tree: ast.AST, names: set[str]) -> list[int]:
    """Return the lines that ask of what class something is: ``isinstance``, ``type(x) is``, ``case Class()``.

    >>> switches(ast.parse("isinstance(x, A | B)\\ntype(x) is A\\nisinstance(x, C)"), {"A"})
    [1, 2]
    """
    found = []
    for node in ast.walk(tree):
        asks = (
            (isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"))
            or (isinstance(node, ast.Compare) and "type(" in ast.unparse(node.left))
            or isinstance(node, ast.MatchClass)
        )
        if not asks:
            continue
        mentioned = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        mentioned |= {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
        if mentioned & names:
            found.append(node.lineno)  # type: ignore[attr-defined]
    return sorted(set(found))


def test_only_models_know_what_kind_of_model_one_is() -> None:
    names = kinds_of_model()
    assert names >= {"Model", "RowModel", "CaseModel", "MeanModel", "GraphModel"}
    outside = [path for path in FILES if "models" not in path.relative_to(SOURCE).parts]
    found = {str(path.relative_to(SOURCE)): switches(tree_of(path), names) for path in outside}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_tests_mirror_the_source() -> None:
    def packages(root: Path) -> set[str]:
        return {str(path.parent.relative_to(root)) for path in root.rglob("*.py")} - {"."}

    folders = {name for name in packages(TESTS) if name.split("/")[0] not in APART}
    assert folders - packages(SOURCE) == set()
    assert {name for name in packages(SOURCE) if "/" not in name} - folders == set()
