"""Tests of a Ray cluster: each in a process of its own, and workers that are killed while it works."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from focusmap.scale import cluster

OWN = "FOCUSMAP_TEST_IN_ITS_OWN_PROCESS"
# Ray starts workers at niceness 15: beside other work they would wait for minutes.
AT_WORK = {"RAY_worker_niceness": "0"}


def typed_on_ray(command: Sequence[str]) -> None:
    """Type a command that starts Ray, which may end the process that it is started in, in one of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "focusmap", *command],
        env={**os.environ, **AT_WORK},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (command, done.stderr[-2000:])


def in_its_own_process(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a process of its own: Ray ends one that it is started in again after its cluster has gone."""

    @wraps(test)
    def run(*given: object, **named: object) -> None:
        if OWN in os.environ:
            test(*given, **named)
            return
        file = test.__code__.co_filename
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "slow",
            "-p",
            "no:cacheprovider",
            "--show-capture=no",
            file,
        ]
        own = {**os.environ, **AT_WORK, OWN: "1"}
        done = subprocess.run([*command, "-k", test.__name__], env=own, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:]

    return run


def workers_of(driver: int) -> list[int]:
    """Return the processes of the actors of a cluster that a process has started."""
    parents, names = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            told = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            names[int(entry.name)] = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(entry.name)] = int(told[1])
    raylets = {process for process, parent in parents.items() if parent == driver}
    return [
        process for process, name in names.items() if name.startswith(b"ray::_Worker") and parents[process] in raylets
    ]


@contextmanager
def a_worker_killed(monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Kill one actor of this process's cluster at the first answer at which `when` says so."""
    answer, killed = cluster._answer, list[int]()

    def deadly(*given: Any) -> object:
        found = answer(*given)
        if not killed and when():
            killed.append(workers_of(os.getpid())[0])
            os.kill(killed[0], signal.SIGKILL)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(cluster, "_answer", deadly)
        yield
    assert killed


def killed_in(function: Callable[..., None], *given: object) -> None:
    """Call a function, which kills its own process, in one that is started for it."""
    process = get_context("spawn").Process(target=function, args=given)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
