"""Proves that a store holds what was prepared, is made once, and is never taken for whole when it is not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from focusmap.basics import DiskError, InputError, UnreadableImageError, write_json
from focusmap.images import store as store_module
from focusmap.images import workers
from focusmap.images.prepare import Preparation, prepare_file
from focusmap.images.store import StoreOptions, open_store, prepare_store
from support.images import encode, smooth

PREPARATION = Preparation(32)
HERE = StoreOptions(workers=1)


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(12):
        kind = "PNG" if k % 2 else "JPEG"
        (folder / f"{k:02d}.{kind.lower()}").write_bytes(encode(smooth(40 + k, 60, seed=k), kind))
    return sorted(folder.iterdir())


def ids(files):
    return [file.stem for file in files]


def make(files, folder, preparation=PREPARATION, options=HERE):
    return prepare_store(files, ids(files), preparation, folder, options)


@pytest.fixture
def prepared_count(monkeypatch):
    """Return a list that grows by one with each image that is really prepared."""
    seen = []

    def counting(file, preparation):
        seen.append(file)
        return prepare_file(file, preparation)

    monkeypatch.setattr(workers, "prepare_file", counting)
    return seen


def test_rows_are_the_prepared_images_in_order(files, tmp_path):
    store = make(files, tmp_path / "store")
    assert store.pixels.shape == (12, 1, 32, 32)
    assert store.image_ids == ids(files)
    for row, file in enumerate(files):
        pixels, placement = prepare_file(file, PREPARATION)
        assert np.array_equal(store.pixels[row], pixels)
        assert tuple(store.source_shapes[row]) == placement.source_shape
    assert list(store.rows(["03", "00"])) == [3, 0]
    with pytest.raises(InputError, match=r"'031' is not in this store\. Did you mean '03'"):
        store.rows(["031"])


def test_a_store_is_read_back_equal(files, tmp_path):
    made = make(files, tmp_path / "store")
    for folder in (made.folder, tmp_path / "store"):
        opened = open_store(folder)
        assert opened.image_ids == made.image_ids
        assert opened.preparation == PREPARATION
        for name in ("pixels", "mean", "std", "source_shapes"):
            assert np.array_equal(getattr(opened, name), getattr(made, name))
    assert not opened.pixels.flags.writeable


def test_processes_give_the_same_store_as_one(files, tmp_path, monkeypatch):
    many = [file for file in files for _ in range(6)]
    names = [f"{k:03d}" for k in range(len(many))]
    alone = prepare_store(many, names, PREPARATION, tmp_path / "alone", HERE)
    monkeypatch.setattr(workers, "WORTH_SECONDS", 0.0)
    calls = []
    options = StoreOptions(workers=2, progress=lambda *call: calls.append(call))
    together = prepare_store(many, names, PREPARATION, tmp_path / "together", options)
    assert np.array_equal(alone.pixels, together.pixels)
    assert alone.folder.name == together.folder.name
    assert calls[-1] == ("preparing images", len(many), len(many))


def test_what_did_not_change_is_not_prepared_again(files, tmp_path, prepared_count):
    make(files, tmp_path / "store")
    assert len(prepared_count) == 12
    for file in files:
        os.utime(file, (1, 1))
    make(files, tmp_path / "store")
    make(files[3:], tmp_path / "store")
    assert len(prepared_count) == 12


def test_a_changed_file_is_prepared_again_even_with_its_old_size_and_date(files, tmp_path, prepared_count):
    make(files, tmp_path / "store")
    before = files[1].stat()
    content = encode(255 - smooth(41, 60, seed=1), "PNG")
    files[1].write_bytes(content)
    os.utime(files[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    store = make(files, tmp_path / "store")
    assert prepared_count[12:] == [files[1]]
    assert np.array_equal(store.pixels[1], prepare_file(files[1], PREPARATION)[0])


def test_a_changed_preparation_prepares_all_again(files, tmp_path, prepared_count):
    make(files, tmp_path / "store")
    store = make(files, tmp_path / "store", Preparation(32, 3))
    assert len(prepared_count) == 24
    assert store.pixels.shape == (12, 3, 32, 32)
    with pytest.raises(InputError, match="holds 2 prepared stores"):
        open_store(tmp_path / "store")


def spoil(files):
    files[2].write_bytes(b"")
    files[5].write_text("text")
    files[7].unlink()


def test_all_unreadable_images_are_named_at_once(files, tmp_path):
    spoil(files)
    with pytest.raises(UnreadableImageError) as caught:
        make(files, tmp_path / "store")
    message = str(caught.value)
    assert message.startswith("3 of 12 images cannot be read:")
    assert "02.jpeg: is empty" in message
    assert "05.png: its content is none of" in message
    assert "07.png: no such file" in message
    assert not list((tmp_path / "store").iterdir())


def test_of_very_many_unreadable_images_twenty_are_named(tmp_path):
    files = [tmp_path / f"{k}.png" for k in range(30)]
    with pytest.raises(UnreadableImageError, match="and 10 more") as caught:
        make(files, tmp_path / "store")
    assert str(caught.value).count("no such file") == 20


def test_unreadable_images_may_be_left_out(files, tmp_path, prepared_count):
    spoil(files)
    skip = StoreOptions(workers=1, skip_unreadable=True)
    store = make(files, tmp_path / "store", options=skip)
    assert [image_id for image_id, _ in store.failures] == ["02", "05", "07"]
    assert len(store) == len(store.pixels) == len(store.mean) == 9
    assert np.array_equal(store.pixels[store.rows(["11"])[0]], prepare_file(files[11], PREPARATION)[0])
    again = make(files, tmp_path / "store", options=skip)
    assert again.folder == store.folder
    assert len(prepared_count) == 12 + 3
    with pytest.raises(UnreadableImageError, match="1 of 1"):
        make(files[2:3], tmp_path / "store", options=skip)


@pytest.mark.parametrize("left", [-200, 0])
@pytest.mark.parametrize("spoilt", ["pixels.npy", "store.json"])
def test_a_store_cut_in_half_is_refused_and_made_anew(files, tmp_path, spoilt, left):
    whole = make(files, tmp_path / "store")
    expected = np.array(whole.pixels)
    path = whole.folder / spoilt
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InputError, match="damaged"):
        open_store(whole.folder)
    assert np.array_equal(make(files, tmp_path / "store").pixels, expected)


def test_a_store_of_a_newer_program_is_neither_used_nor_deleted(files, tmp_path):
    whole = make(files, tmp_path / "store")
    newer = tmp_path / "store" / "newer"
    shutil.copytree(whole.folder, newer)
    sidecar = json.loads((newer / "store.json").read_text())
    write_json(newer / "store.json", {**sidecar, "format": 99})
    with pytest.raises(InputError, match="format 99"):
        open_store(newer)
    make(files[1:], tmp_path / "store")
    assert newer.is_dir()


def test_a_full_disk_is_told_before_and_while_writing(files, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(store_module.shutil, "disk_usage", lambda _: usage(10, 9, 1))
        with pytest.raises(DiskError, match="Free some space"):
            make(files, tmp_path / "store")
    # The operating system stops a file at a size limit as it does on a full disk: while it is being written.
    script = (
        "import resource, sys; from pathlib import Path; from focusmap.basics import DiskError\n"
        "from focusmap.images.store import *; from focusmap.images.prepare import Preparation\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "files = sorted(Path(sys.argv[1]).iterdir())\n"
        "try: prepare_store(files, [f.stem for f in files], Preparation(32), Path(sys.argv[2]))\n"
        "except DiskError as error: print(error)\n"
    )
    run = run_script(script, files[0].parent, tmp_path / "store")
    assert "cannot be written" in run.communicate(timeout=300)[0]
    assert not list((tmp_path / "store").iterdir())


def run_script(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


SLOWLY = """
import sys, time
from pathlib import Path
from focusmap.images import workers
from focusmap.images.prepare import Preparation, prepare_file
from focusmap.images.store import StoreOptions, prepare_store
def slow(file, preparation):
    time.sleep(float(sys.argv[3]))
    return prepare_file(file, preparation)
workers.prepare_file = slow
files = sorted(Path(sys.argv[1]).iterdir())
prepare_store(files, [f.stem for f in files], Preparation(32), Path(sys.argv[2]), StoreOptions(workers=1))
"""


def test_a_killed_process_leaves_nothing_that_is_taken_for_whole(files, tmp_path):
    folder = tmp_path / "store"
    process = run_script(SLOWLY, files[0].parent, folder, 600)
    wait_for(lambda: list(folder.glob(".building-*/pixels.npy")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(folder.glob(".building-*"))
    with pytest.raises(InputError, match="holds 0 prepared stores"):
        open_store(folder)
    store = make(files, folder)
    assert len(store) == 12
    assert list(folder.iterdir()) == [store.folder]


def wait_for(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def test_two_processes_at_once_do_no_harm(files, tmp_path):
    folder = tmp_path / "store"
    both = [run_script(SLOWLY, files[0].parent, folder, 0.02) for _ in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    store = make(files, folder)
    assert list(folder.iterdir()) == [store.folder]
    assert np.array_equal(store.pixels, make(files, tmp_path / "other").pixels)


def test_threads_at_once_do_no_harm(files, tmp_path):
    folder, stores = tmp_path / "store", []
    threads = [threading.Thread(target=lambda: stores.append(make(files, folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({store.folder for store in stores}) == 1
    assert len(stores) == 4
    assert [path.name for path in folder.iterdir()] == [stores[0].folder.name]


def test_an_error_in_the_middle_leaves_nothing(files, tmp_path, monkeypatch):
    def interrupted(file: Path, preparation: Preparation):
        if file.stem == "06":
            raise KeyboardInterrupt
        return prepare_file(file, preparation)

    monkeypatch.setattr(workers, "prepare_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(files, tmp_path / "store")
    assert not list((tmp_path / "store").iterdir())
