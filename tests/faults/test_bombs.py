"""Bombs: each is refused by one message within two seconds and 512 MiB, by the reader it is meant for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from focusmap.basics import InputError, UnreadableImageError
from focusmap.images import Budget, check_bytes, raised_budget
from focusmap.images.budget import OPTION, VARIABLE, budget
from support.bombs import IMAGES, SETS

MOST_SECONDS, MOST_MIB = 2.0, 512
# The child reads a plain file of the kind first, so that imports count for no time.
CHILD = """
import json, resource, sys, time
from pathlib import Path
from focusmap import convert
from focusmap.basics import FocusmapError
from focusmap.images.read import read_image
kind, path, out = sys.argv[1:]
import pydicom, tifffile, imagecodecs, scipy.io, h5py, cv2, kornia_rs, simplejpeg
started = time.process_time()
try:
    read_image(Path(path)) if kind == "image" else convert(Path(path), Path(out))
    said = "READ"
except FocusmapError as error:
    said = str(error)
spent = time.process_time() - started
# What getrusage gives may be the memory of the process that this one was forked from.
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.is_file() else []
own = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
most = own[0] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([said, spent, most / 1024]))
"""


def set_off(kind: str, path: Path, out: Path) -> tuple[str, float, float]:
    """Return what a process of its own said of a bomb, its seconds of processor time and its most memory in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, kind, str(path), str(out)],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, f"{path.name}: died with {done.returncode}: {done.stderr[-500:]}"
    said, seconds, mib = json.loads(done.stdout.splitlines()[-1])
    return said, seconds, mib


BOMBS = [
    *(("image", name, make) for name, make in IMAGES.items()),
    *(("set", name, make) for name, make in SETS.items()),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name", "make"), BOMBS, ids=[name for _, name, _ in BOMBS])
def test_a_bomb_is_refused_in_time_and_memory(tmp_path, kind, name, make):
    path = tmp_path / name.split(",")[0].split(" of ")[0].split(" with ")[0]
    path.write_bytes(make())
    assert path.stat().st_size < 6 * 2**20, "a bomb is small"
    said, seconds, mib = set_off(kind, path, tmp_path / "out")
    assert said.startswith(str(path)), said
    assert "\n" not in said
    assert seconds < MOST_SECONDS, f"{seconds:.1f} s: {said}"
    assert mib < MOST_MIB, f"{mib:.0f} MiB: {said}"
    assert not (tmp_path / "out").exists()


def test_the_budget_is_raised_by_one_factor(monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")
    assert budget() == Budget()
    with pytest.raises(UnreadableImageError, match=rf"take 300 MiB and has 1 KiB.*{OPTION} 3 \(or {VARIABLE}=3\)"):
        check_bytes(300 * 2**20, 1024)
    with raised_budget(3):
        assert budget().pixels == 3 * Budget().pixels
        check_bytes(300 * 2**20, 1024)
        with pytest.raises(UnreadableImageError, match=f"would take 900 MiB.*{VARIABLE}=8"):
            check_bytes(900 * 2**20, 1024)
    assert budget() == Budget()


@pytest.mark.parametrize("factor", ["0", "-1", "nan", "much", "1e9", ""])
def test_a_factor_that_is_none_is_named(monkeypatch, factor):
    monkeypatch.setenv(VARIABLE, factor)
    with pytest.raises(InputError, match=f"{OPTION} or {VARIABLE} is '{factor}'; a factor from 1 to 1000"):
        budget()
