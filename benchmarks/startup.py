"""How fast the command line starts: ``focusmap --help`` against an empty Python, and what the light commands import.

Run: ``python benchmarks/startup.py``. Aim: help in under 0.15 s.
"""

import subprocess
import sys
import time

ROUNDS = 10
HELP = "from focusmap.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"


def best_seconds(code: str) -> float:
    """Return the fastest of some runs of `code` in a fresh interpreter."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main() -> None:
    """Print the figures."""
    empty, helped = best_seconds("pass"), best_seconds(HELP)
    print(f"empty Python     {empty:.3f} s")
    print(f"focusmap --help  {helped:.3f} s, ratio {helped / empty:.1f} (aim: under 0.15 s)")
    for module in ("audit.inspection", "report.run_page", "evaluation.metrics"):
        code = f"import sys, focusmap.{module}; sys.exit('torch' in sys.modules)"
        print(f"focusmap.{module:<17} {best_seconds(code):.3f} s, without torch")


if __name__ == "__main__":
    main()
