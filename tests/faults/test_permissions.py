"""Who runs focusmap may not read or write everything: one line says where. What is written is as private as asked."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from focusmap.basics import DiskError, refuse_existing, refuse_unwritable, write_text
from support.dicom_files import a_dataset, saved

# linux/prctl.h and linux/capability.h: without these root may no more than the modes of files allow.
DROP_BOUND, OVERRIDING = 24, (1, 2, 3)


def as_ordinary_user() -> None:
    """Take from a process that begins what root may beyond the modes of files."""
    if os.geteuid() == 0:
        import ctypes

        drop = ctypes.CDLL(None, use_errno=True).prctl
        assert all(drop(DROP_BOUND, power, 0, 0, 0) == 0 for power in OVERRIDING)


def run(*words: object, umask: int = 0o022, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "focusmap", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, umask=umask, preexec_fn=as_ordinary_user, **options
    )


def refused_in_one_line(done: subprocess.CompletedProcess[str], place: Path, *said: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert str(place) in done.stderr
    assert all(text in done.stderr for text in said), done.stderr


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study that only its owner may write."""
    folder = tmp_path / "study"
    rng = np.random.default_rng(0)
    for kind in "ab":
        (folder / kind).mkdir(parents=True)
        for k in range(3):
            Image.fromarray(rng.integers(0, 255, (16, 16)).astype(np.uint8)).save(folder / kind / f"{k}.png")
    folder.chmod(0o555)
    return folder


CLOSED: dict[str, Callable[[Path], Path]] = {
    "a file in it": lambda study: study / "labels.csv",
    "a folder in it": lambda study: study / "new/labels.csv",
}


@pytest.mark.parametrize("where", CLOSED)
def test_what_may_not_be_written_is_refused_in_one_line(study, where):
    out = CLOSED[where](study)
    refused_in_one_line(run("index", study, "--out", out), out, "Permission denied", "Choose another folder")
    assert sorted(file.name for file in study.iterdir()) == ["a", "b"]


def test_what_may_not_be_read_is_refused_in_one_line(study, tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\na/0.png,a\nb/0.png,b\n")
    (tmp_path / "labels.csv").chmod(0)
    done = run("audit", tmp_path / "labels.csv", "--images", study, "--out", tmp_path / "audit")
    refused_in_one_line(done, tmp_path / "labels.csv", "Permission denied", "Have it opened to you")
    (tmp_path / "labels.csv").chmod(0o644)
    (study / "a").chmod(0)
    done = run("audit", tmp_path / "labels.csv", "--images", study, "--out", tmp_path / "audit")
    refused_in_one_line(done, study / "a", "may not be opened")
    done = run("index", study, "--out", tmp_path / "found.csv")
    refused_in_one_line(done, study / "a", "Permission denied")
    assert not (tmp_path / "found.csv").exists()


@pytest.mark.parametrize("name", ["b.dcm", "IM0002"])
def test_a_dicom_file_that_may_not_be_read_is_no_damaged_one(tmp_path, name):
    (tmp_path / "films").mkdir()
    for own in ("a.dcm", name):
        saved(tmp_path / "films", a_dataset(), own)
    (tmp_path / "films" / name).chmod(0)
    done = run("convert", tmp_path / "films", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
    assert "damaged" not in done.stderr


@pytest.mark.parametrize("home", [None, "/nonexistent", "/proc"])
def test_no_home_and_no_temporary_folder_are_needed(study, tmp_path, home):
    env = {name: value for name, value in os.environ.items() if name != "HOME"}
    env |= {"TMPDIR": "/nonexistent"} | ({} if home is None else {"HOME": home})
    done = run("index", study, "--out", tmp_path / "labels.csv", env=env, cwd=study)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_are_as_private_as_the_user_has_them(study, tmp_path, umask, mode):
    assert run("index", study, "--out", tmp_path / "labels.csv", umask=umask).returncode == 0
    assert stat.S_IMODE((tmp_path / "labels.csv").stat().st_mode) == mode


def test_a_device_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for refused in (refuse_unwritable, partial(write_text, text=""), partial(refuse_existing, force=True)):
        with pytest.raises(DiskError, match="is a device or a pipe, which a file would replace"):
            refused(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.slow
def test_another_user_reads_a_run_that_root_wrote_and_writes_elsewhere(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    other = {"user": 65534, "group": 65534, "extra_groups": [], "capture_output": True, "text": True, "check": False}
    if not _starts(other):
        pytest.skip(f"another user cannot start {sys.executable}, which lies in a folder of root's own")
    from focusmap.cli import main
    from support.options import quick
    from support.studies import phantom_study

    folder = tmp_path_factory.mktemp("root")
    folder.parent.parent.chmod(0o755)
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    labels = phantom_study(folder / "study", patients=24, images=48)
    options = [*quick("small-residual"), "--accept", "no-patient-column"]
    assert main(["train", str(labels), "--out", str(folder / "run"), *options]) == 0
    (folder / "own").mkdir()
    os.chown(folder / "own", 65534, 65534)
    words = [sys.executable, "-m", "focusmap", "predict", str(folder / "run"), str(labels), "--out"]
    assert subprocess.run([*words, str(folder / "own/answers.csv")], **other).returncode == 0
    done = subprocess.run([*words, str(folder / "answers.csv")], **other)
    refused_in_one_line(done, folder / "answers.csv", "Permission denied")


def _starts(other: dict[str, object]) -> bool:
    try:
        return subprocess.run([sys.executable, "-c", "import focusmap.cli"], **other).returncode == 0
    except PermissionError:
        return False


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_closed_stream_is_no_bug(study, tmp_path, closed):
    command = f"{sys.executable} -m focusmap audit {study}/none.csv --out {tmp_path}/audit {closed}>&-"
    assert subprocess.run(command, shell=True, capture_output=True, check=False).returncode == 2


def test_a_folder_that_was_removed_is_named(study, tmp_path):
    (tmp_path / "gone").mkdir()
    command = f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && {sys.executable} -m focusmap audit {study}/labels.csv"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith("focusmap audit: the folder that you are in was removed. Go to another one.\n")
