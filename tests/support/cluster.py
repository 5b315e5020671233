"""Tests of a Ray cluster: each in a process of its own, and workers that are killed while it works."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

OWN = "FOCUSMAP_TEST_IN_ITS_OWN_PROCESS"


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
        # Ray starts workers at niceness 15: beside other work they would wait for minutes.
        own = {**os.environ, OWN: "1", "RAY_worker_niceness": "0"}
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
def a_worker_killed(when: Callable[[], bool], killed: list[int]) -> Iterator[None]:
    """Kill one actor of this process's cluster as soon as `when` says so, and note which."""
    over = threading.Event()

    def watch() -> None:
        while not over.is_set() and not killed:
            if when() and (found := workers_of(os.getpid())):
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
            time.sleep(0.01)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
