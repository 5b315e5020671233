"""The answering process: a batch equals one by one, one image that ends it harms no other, and limits hold."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")

from focusmap.basics import InputError, MissingPartError
from focusmap.reading_room.desk import Desk, RefusedImageError
from focusmap.reading_room.intake import Sent
from focusmap.reading_room.shelf import Shelf
from focusmap.verbs.requests import ServeRequest
from support.room_files import png


def sent_of(films: list[Path], folder: Path) -> list[Sent]:
    return [Sent(film, film.name, folder) for film in films]


def probabilities(found: list[dict]) -> np.ndarray:
    return np.array([[target["classes"][0]["probability"] for target in one["targets"]] for one in found])


def test_a_batch_equals_one_by_one(desk: Desk, films: list[Path], tmp_path: Path) -> None:
    sent = sent_of(films[:6], tmp_path)
    together = desk.ask("answer", sent, False).result()
    alone = [desk.ask("answer", [one], False).result()[0] for one in sent]
    np.testing.assert_allclose(probabilities(together), probabilities(alone), atol=1e-6)


def test_requests_that_come_at_once_are_answered_in_few_batches(desk: Desk, films: list[Path], tmp_path: Path) -> None:
    before = desk.counts.batches
    # It answers none before all have come, however slowly they do.
    os.kill(desk._process.pid or 0, signal.SIGSTOP)
    futures = [desk.ask("answer", [one], False) for one in sent_of(films[:20], tmp_path)]
    os.kill(desk._process.pid or 0, signal.SIGCONT)
    assert all("targets" in future.result()[0] for future in futures)
    assert desk.counts.batches - before <= 4


def test_a_process_that_is_killed_is_replaced_and_the_requests_are_answered(
    desk: Desk, films: list[Path], tmp_path: Path
) -> None:
    before = desk.counts.restarts
    os.kill(desk._process.pid or 0, signal.SIGKILL)
    time.sleep(0.2)
    found = desk.ask("answer", sent_of(films[:2], tmp_path), False).result(timeout=300)
    assert all("targets" in one for one in found)
    assert desk.counts.restarts > before


def test_where_no_other_process_starts_the_next_request_tries_again(
    desk: Desk, films: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise MissingPartError("the process that answers did not start.")

    with monkeypatch.context() as while_broken:
        while_broken.setattr(desk, "_start", fails)
        os.kill(desk._process.pid or 0, signal.SIGKILL)
        time.sleep(0.2)
        (refused,) = desk.ask("answer", sent_of(films[:1], tmp_path), False).result(timeout=60)
        assert "refused" in refused
        assert not desk.is_ready
    desk.ask("answer", sent_of(films[:1], tmp_path), False).result(timeout=300)
    (found,) = desk.ask("answer", sent_of(films[:1], tmp_path), False).result(timeout=300)
    assert "targets" in found


@pytest.fixture
def narrow(run: Path) -> Iterator[Desk]:
    opened = Desk(run, ServeRequest(seconds=20, memory=0.75))
    yield opened
    opened.close()


def test_an_image_that_needs_too_much_is_refused_alone(narrow: Desk, films: list[Path], tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(png(np.zeros((9000, 9000), np.uint16)))
    sent = sent_of([films[0], large, films[1]], tmp_path)
    first, refused, last = narrow.ask("answer", sent, True).result(timeout=300)
    assert "targets" in first
    assert "targets" in last
    assert refused["refused"]
    assert str(tmp_path) not in refused["refused"]


@pytest.mark.slow
def test_what_takes_too_long_is_ended(narrow: Desk, films: list[Path], tmp_path: Path) -> None:
    (one,) = sent_of(films[:1], tmp_path)
    os.kill(narrow._process.pid or 0, signal.SIGSTOP)
    with pytest.raises(RefusedImageError, match="seconds"):
        narrow.ask("maps", one, None).result(timeout=300)
    assert "targets" in narrow.ask("answer", [one], False).result(timeout=300)[0]


def test_what_was_sent_is_removed_after_a_while(desk: Desk, films: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(desk)
    with films[0].open("rb") as content:
        (item,) = shelf.receive("me", [("a.png", content)])
    assert shelf.of("me") == [item]
    assert item.sent.file.is_file()
    monkeypatch.setattr("time.time", lambda: item.arrived + 60 * desk.limits.keep + 1)
    assert shelf.of("me") == []
    assert not item.sent.file.exists()
    assert not item.sent.folder.exists()
    shelf.close()


def test_what_a_killed_server_left_behind_is_removed_and_what_is_in_use_stays(desk: Desk) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = Path(tempfile.mkdtemp(prefix=f"focusmap-room-{ended.pid}-"))
    first = Shelf(desk)
    second = Shelf(desk)
    assert not left.exists()
    assert first.root.is_dir()
    first.close()
    second.close()
    assert not first.root.exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run"):
        Desk(tmp_path, ServeRequest())
