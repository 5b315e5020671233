"""That a command uses memory again that was freed, in place of asking the system for cleared pages."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
from focusmap.cli import keep_freed_memory
{}
for _ in range(50):
    bytearray(40_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(before: str) -> int:
    """Return the page faults of a process that makes 50 arrays of 40 MB, one after the other."""
    done = subprocess.run([sys.executable, "-c", FAULTS.format(before)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_the_memory_of_an_array_that_is_gone_serves_the_next_one() -> None:
    assert faults("keep_freed_memory()") < 0.5 * faults("")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_a_users_own_setting_of_malloc_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert faults("keep_freed_memory()") > 0.9 * faults("")
