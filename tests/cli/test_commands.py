"""Each command shows the options that it acts on, each says the same of it as Python does, and help is quick."""

import re
import resource
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from focusmap.basics import InputError, Only, Setting
from focusmap.cli import COMMANDS, command_class, main
from focusmap.cli.arguments import Parser, add_arguments, arguments_of, build_command, option_name, typed_values

HEAVY = {"torch", "numpy", "pandas", "matplotlib", "PIL", "cv2", "yaml", "sklearn", "scipy", "nibabel", "pydicom"}
MAIN = "import sys; from focusmap.cli import main"
HELP_SECONDS = 0.15
ROUNDS = 5


def options_of(command):
    """Return the names of a command's options, without dashes."""
    return {
        option_name(field) for _, _, field in arguments_of(command_class(command)) if not field.setting.is_positional
    }


@dataclass(frozen=True)
class Inner:
    TITLE = "inside"

    count: Annotated[int, Setting("how many", "N")] = 3
    hidden: Annotated[str, "never an option"] = "x"
    other: Annotated[str, Setting("not acted on")] = "y"


@dataclass(frozen=True, kw_only=True)
class Example:
    place: Annotated[Path, Setting("where", "PLACE", is_positional=True)]
    more: Annotated[tuple[Path, ...], Setting("more", "MORE", is_positional=True)] = ()
    names: Annotated[tuple[str, ...], Setting("names", "NAME", option="name")] = ()
    sizes: Annotated[tuple[int, ...], Setting("sizes", "N,N", parse=lambda text: tuple(map(int, text.split(","))))] = ()
    kind: Annotated[Literal["red", "green"], Setting("colour")] = "red"
    share: Annotated[float | None, Setting("100 % of it", "X")] = None
    loud: Annotated[bool, Setting("shout")] = False
    inner: Annotated[Inner, Only("count")] = Inner()
    typed: dict = field(default_factory=dict)


def parsed(*words):
    parser = Parser(prog="example")
    add_arguments(parser, Example)
    return build_command(Example, typed_values(parser.parse_args(list(words))))


def test_a_command_is_made_of_what_was_typed():
    found = parsed(
        "here", "a", "b", "--name", "x", "--name", "y:z", "--sizes", "1,2", "--kind", "green", "--count", "7"
    )
    assert found.place == Path("here")
    assert found.more == (Path("a"), Path("b"))
    assert (found.names, found.sizes, found.kind, found.share, found.loud) == (
        ("x", "y:z"),
        (1, 2),
        "green",
        None,
        False,
    )
    assert found.inner == Inner(count=7)
    assert set(found.typed) == {"place", "more", "names", "sizes", "kind", "inner.count"}
    alone = parsed("here")
    assert (alone.more, alone.inner, set(alone.typed)) == ((), Inner(), {"place"})


def test_help_tells_metavars_defaults_choices_and_groups(capsys):
    with pytest.raises(SystemExit):
        parsed("--help")
    said = capsys.readouterr().out
    assert "--kind {red,green}" in said
    assert "colour (default: red)" in said
    assert "100 % of it" in said
    assert "inside:\n  --count N" in said
    assert "how many (default: 3)" in said
    assert "--other" not in said
    assert "--hidden" not in said


def test_a_value_that_is_no_choice_is_named_with_the_nearest_one():
    with pytest.raises(InputError, match=r"kind 'gren' is not one of red, green\. Did you mean 'green'"):
        parsed("here", "--kind", "gren")


def test_text_is_as_good_as_a_path_in_a_request():
    import focusmap

    asked = focusmap.PredictRequest(["a.png"], out="b.csv", declaration=focusmap.Declaration(images="folder"))
    assert asked == focusmap.PredictRequest(
        (Path("a.png"),), out=Path("b.csv"), declaration=focusmap.Declaration(images=Path("folder"))
    )
    assert focusmap.RunOptions(store="x").store == Path("x")


def test_text_is_as_good_as_a_path_to_a_verb(tmp_path):
    import focusmap

    (tmp_path / "labels.csv").write_text("patient_id,age,label\n" + "".join(f"p{i},{i},{i % 2}\n" for i in range(40)))
    labels, out = str(tmp_path / "labels.csv"), str(tmp_path / "audit")
    focusmap.audit(focusmap.read_cohort(labels), out, focusmap.RunOptions(workers=1))
    assert (tmp_path / "audit/audit.json").is_file()
    with pytest.raises(InputError, match="--force"):
        focusmap.audit(focusmap.read_cohort(tmp_path / "labels.csv"), out)
    with pytest.raises(InputError, match="two runs or more"):
        focusmap.compare([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match="no such run"):
        focusmap.report(str(tmp_path / "none"))


@pytest.mark.parametrize("command", COMMANDS)
def test_abbreviations_are_refused(command, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([command, "--hel"])
    assert "Did you mean '--help'" in capsys.readouterr().err


def test_an_unknown_option_is_answered_with_the_nearest(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["run", "labels.csv", "--epoch", "3"])
    assert "unrecognized arguments: --epoch 3. Did you mean '--epochs'?" in capsys.readouterr().err


SHOWN = {
    "predict": {
        "out",
        "overlay",
        "error",
        "alike",
        "engine",
        "address",
        "resume",
        "images",
        "target",
        "patient",
        "case",
        "view",
        "missing",
        "means",
        "template",
        "follow-links",
        "reading-budget",
        "escape-cells",
    }
    | {"skip-unreadable", "devices", "workers", "force"},
    "segment": {
        "out",
        "target",
        "negative",
        "method",
        "tune-on-masks",
        "images",
        "patient",
        "same-patient",
        "case",
        "mask",
        "missing",
        "means",
        "follow-links",
        "reading-budget",
    }
    | {"recipe", "accept", "skip-unreadable", "devices", "workers", "engine", "address", "resume", "force"},
    "report": {"language", "pdf"},
}
ABSENT = {
    "predict": {"store", "covariate", "before", "split", "group", "block", "seed", "uncertain", "boxes"}
    | {"mask", "accept", "dry-run", "study"},
    "explain": {"dry-run", "study", "store", "block", "split", "before", "uncertain", "group", "covariate"},
    "segment": {"dry-run", "study", "store", "seed", "boxes", "block", "split", "before", "uncertain"},
    "evaluate": {"dry-run", "study", "store", "workers", "mask", "boxes", "block", "split", "before", "group"},
    "audit": {"devices", "store", "skip-unreadable"},
    "prepare": {"devices", "nodes", "language"},
}


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_shows_these_options(command):
    assert options_of(command) == SHOWN[command]


@pytest.mark.parametrize("command", ABSENT)
def test_a_command_does_not_show_what_it_would_ignore(command):
    assert not options_of(command) & ABSENT[command]


def test_an_audit_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("patient_id,age,label\n" + "".join(f"p{i},{i},{i % 2}\n" for i in range(40)))
    asked = ["audit", str(tmp_path / "labels.csv"), "--workers", "1"]
    assert main(asked) == 0
    before = (tmp_path / "labels_audit/audit.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main(asked) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "labels_audit/audit.json").stat().st_mtime_ns == before
    assert main([*asked, "--force"]) == 0
    with pytest.raises(SystemExit):
        main([*asked, "--devices", "nosuch"])


@pytest.fixture(scope="module")
def empty_seconds():
    return min(_fresh("pass")[1] for _ in range(ROUNDS))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_quick_and_imports_nothing_heavy(command, empty_seconds):
    code = f"{MAIN}\ntry: main(['{command}', '--help'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    said, seconds = _fresh(code)
    assert not _heavy(said.splitlines()[-1])
    assert f"focusmap {command}" in said
    assert "example" in said
    most = empty_seconds + HELP_SECONDS
    # On a busy machine few rounds are undisturbed.
    assert seconds < most or any(_fresh(code)[1] < most for _ in range(4 * ROUNDS))


def _heavy(modules):
    return HEAVY & {name.partition(".")[0] for name in modules.split()}


def _fresh(code):
    """Return what a fresh interpreter prints, and its processor seconds; what else the machine does counts not."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return said, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_package_holds_every_command_as_a_function():
    import focusmap
    import focusmap.audit.findings
    import focusmap.report.run_page  # rooms that are called like verbs do not take their place

    verbs = [name for name in COMMANDS if name != "completion"]
    assert all(callable(getattr(focusmap, name)) for name in verbs)
    assert set(verbs) <= set(focusmap.__all__)


@pytest.mark.parametrize(
    "code", ["import sys, focusmap; focusmap.PredictRequest", f"{MAIN}\ntry: main(['--help'])\nexcept SystemExit: pass"]
)
def test_the_package_and_its_own_help_import_nothing_heavy(code):
    said, _ = _fresh(f"{code}\nprint(*sys.modules)")
    assert "focusmap" in said
    assert not _heavy(said.splitlines()[-1])


def test_completion_knows_commands_options_and_choices(tmp_path):
    script = subprocess.run([sys.executable, "-m", "focusmap", "completion", "bash"], capture_output=True, check=True)
    (tmp_path / "focusmap.bash").write_bytes(script.stdout)

    def completed(*words):
        line = " ".join(f"'{word}'" for word in words)
        ask = f"source {tmp_path}/focusmap.bash; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _focusmap"
        done = subprocess.run(
            ["bash", "-c", f"{ask}; echo ${{COMPREPLY[@]}}"], capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert completed("focusmap", "pre") == ["prepare", "predict"]
    assert completed("focusmap", "predict", "runs/first", "--over") == ["--overlay"]
    assert completed("focusmap", "export", "runs/first", "--format", "o") == ["onnx", "openvino"]
    assert completed("focusmap", "predict", "runs/") == []


def test_the_reference_shows_every_name_of_the_package():
    import focusmap

    stub = Path(focusmap.__file__).with_suffix(".pyi").read_text()
    names = re.findall(r"^from (\.[a-z_.]+) import (\w+) as", stub, re.MULTILINE)
    assert {name for _, name in names} == set(focusmap.__all__)
    page = (Path(__file__).parents[2] / "docs/reference.md").read_text()
    assert [f"focusmap{place}.{name}" for place, name in names if f"::: focusmap{place}.{name}\n" not in page] == []
