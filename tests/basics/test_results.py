"""Folders of results: filled whole or not at all, whoever stops it and when, beside files that are somebody's own."""

from pathlib import Path

import pytest

from focusmap.basics import InputError, Results, write_text

THINGS = Results("things", "thing", lambda name: name in ("index.csv", "things", "scores.json"))
HEADER = "image_id,target,thing\n"


def fill(out: Path, content: str) -> None:
    with THINGS.filling(out) as place:
        write_text(place / "things/a.txt", content)
        write_text(place / "index.csv", f"{HEADER}{content},,\n")


def test_new_results_take_the_place_of_earlier_ones_and_other_files_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(out, "first")
    (out / "scores.json").touch()
    (out / "notes.txt").touch()
    fill(out, "second")
    assert {path.name for path in out.iterdir()} == {"index.csv", "things", "notes.txt"}
    assert (out / "things/a.txt").read_text() == "second"


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("n_moved", range(4))
def test_a_program_that_is_stopped_between_two_files_can_be_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_moved: int, *, is_new: bool
) -> None:
    out, moves, replace = tmp_path / "out", iter(range(n_moved)), Path.replace
    if not is_new:
        fill(out, "first")

    def stopping(self: Path, target: Path) -> Path:
        if next(moves, None) is None:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as during:
        during.setattr(Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            fill(out, "second")
    has_index = (out / "index.csv").is_file()
    assert not has_index or (out / "things/a.txt").read_text() in (out / "index.csv").read_text()
    assert has_index == (not is_new and n_moved < 2)
    THINGS.refuse_other(out, force=has_index)
    fill(out, "third")
    assert {path.name for path in out.iterdir()} == {"index.csv", "things"}


def test_what_a_killed_program_left_before_it_was_done_is_no_result(tmp_path: Path) -> None:
    write_text(tmp_path / "out/.partial/things/a.txt", "killed")
    THINGS.refuse_other(tmp_path / "out", force=False)
    fill(tmp_path / "out", "again")
    assert not (tmp_path / "out/.partial").exists()


def test_the_folder_may_be_the_current_one_which_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(Path(), "here")
    assert {path.name for path in tmp_path.iterdir()} == {"index.csv", "things"}


def test_files_of_the_same_names_without_an_index_are_refused(tmp_path: Path) -> None:
    (tmp_path / "things").mkdir()
    with pytest.raises(InputError, match=r"holds things, but no index.csv of things"):
        THINGS.refuse_other(tmp_path, force=True)
    (tmp_path / "index.csv").write_text("image_id,other\n")
    with pytest.raises(InputError, match="is not an index of things"):
        THINGS.refuse_other(tmp_path, force=True)
    (tmp_path / "index.csv").write_text(HEADER)
    with pytest.raises(InputError, match="holds things already"):
        THINGS.refuse_other(tmp_path, force=False)
    THINGS.refuse_other(tmp_path, force=True)
