"""A progress line on stderr with an estimate of the time left; quiet where stderr is no terminal."""

import sys
import time

from focusmap.progress import Progress, silent

QUIET_SECONDS = 2.0


class ProgressLine:
    """Writes one line a step and keeps it up to date; nothing for what ends within two seconds."""

    def __init__(self) -> None:
        self._doing = ""
        self._started = 0.0
        self._written = 0.0

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Tell that `done` of `total` are done; 0 where the total is not known."""
        now = time.monotonic()
        if doing != self._doing:
            self._doing, self._started, self._written = doing, now, 0.0
        elapsed = now - self._started
        ends = 0 < total <= done
        if elapsed < QUIET_SECONDS or (now - self._written < 0.2 and not ends):
            return
        left = elapsed / max(done, 1) * (total - done)
        rest = f" of {total}, {clock(left)} left" if total else ""
        print(f"\r{doing}: {done}{rest}   ", end="", file=sys.stderr, flush=True)
        self._written = now
        if ends:
            print(file=sys.stderr)


def terminal_progress() -> Progress:
    """Return a progress line where a person is watching, and silence where not."""
    return ProgressLine() if sys.stderr.isatty() else silent


def clock(seconds: float) -> str:
    """Return a duration as a person writes it.

    >>> clock(75), clock(9000)
    ('1 min 15 s', '2 h 30 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
