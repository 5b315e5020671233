"""Commands that are killed midway: a half result is never taken for a whole one, and the next call goes on."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from focusmap.cli import main
from support.options import quick
from support.studies import phantom_study

# Dies, as by ``kill -9``, where the n-th file or folder is about to stand in its place; of none it says how many did.
KILLED = """
import os, signal, sys, threading
from pathlib import Path
n_left, lock, replace = int(sys.argv[1]), threading.Lock(), Path.replace
def dying(self, target):
    global n_left
    with lock:
        n_left -= 1
        if n_left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = dying
from focusmap.cli import main
code = main(sys.argv[2:])
print("left", n_left)
sys.exit(code)
"""
MANY = 10**6
COMMANDS = {"evaluate": ("evaluation", "metrics.json"), "explain": ("focus", "index.csv")}


def killed(n: int, *words: object) -> tuple[int, int]:
    """Return the exit status of a command, and how many files it put in their places."""
    line = [sys.executable, "-c", KILLED, str(n), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    return done.returncode, n - int(done.stdout.split()[-1]) if done.returncode == 0 else n


def content_of(folder: Path) -> dict[str, bytes]:
    """Return what a folder holds, without hidden files and hashes; of maps, whose files keep the hour, the names."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "hashes.json"]
    return {
        path.relative_to(folder).as_posix(): b"" if path.suffix == ".npz" else path.read_bytes()
        for path in files
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    labels = phantom_study(folder / "study", patients=24, images=48)
    options = [*quick("small-residual"), "--accept", "no-patient-column"]
    assert main(["train", str(labels), "--out", str(folder / "run"), *options]) == 0
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_killed_is_never_half_shown_and_goes_on(run: Path, command: str) -> None:
    name, last = COMMANDS[command]
    place = run / name
    shutil.rmtree(place, ignore_errors=True)
    code, n_files = killed(MANY, command, run)
    whole = content_of(place)
    assert code == 0
    assert last in whole
    for n in (n_files // 2, n_files - 1):
        shutil.rmtree(place)
        assert killed(n, command, run)[0] == -signal.SIGKILL
        assert last not in content_of(place) or content_of(place) == whole
        assert killed(MANY, command, run)[0] == 0
        assert content_of(place) == whole
    # Over a result that stands there already.
    assert killed(n_files - 1, command, run)[0] == -signal.SIGKILL
    assert last not in content_of(place) or content_of(place) == whole
