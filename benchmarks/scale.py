"""A table on a cluster beside the plain loop: images per second, the driver's memory, and that the answers are equal.

    python benchmarks/scale.py OUT [--images 20000]

OUT gets a phantom study of as many images of 28 pixels, a small net that learnt from 600 of them, and the answers of
``focusmap predict`` with one thread, of ``--engine ray``, and of ``--engine ray`` whose driver is killed on the way and
gone on with. The plain loop reads and answers on one core: workers are compared with as many times its rate.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

import focusmap
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from focusmap.scale import PARTS

LEARNT = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=20000)
    asked = parser.parse_args()
    table, run = study(asked.out, asked.images)
    seconds, _ = timed([*PREDICT, str(run), str(table), "--out", str(asked.out / "one.csv"), "--force"])
    print(f"plain loop, one thread: {asked.images / seconds:.1f} images per second, start included", flush=True)
    ray = [*PREDICT, str(run), str(table), "--engine", "ray", "--out"]
    many, again = asked.out / "many", asked.out / "again"
    for n in (asked.images // 10, asked.images):
        few = table.with_name(f"first_{n}.csv")
        pd.read_csv(table, dtype=str, nrows=n).to_csv(few, index=False)
        seconds, memory = timed([*ray[:4], str(few), *ray[5:], str(many), "--force"])
        print(f"{os.cpu_count()} workers, {n} images: {n / seconds:.1f} images per second, start included; "
              f"driver {memory:.0f} MB", flush=True)  # fmt: skip
    killed([*ray, str(again), "--force"], again)
    timed([*ray, str(again), "--resume"])
    one = pd.read_csv(asked.out / "one.csv", keep_default_na=False)
    for name, folder in (("cluster", many), ("killed and gone on with", again)):
        found = pd.concat([pd.read_parquet(file) for file in sorted((folder / PARTS).glob("*.parquet"))])
        equal = found.reset_index(drop=True).fillna("").astype(str).equals(one.astype(str))
        print(f"{name}: {len(found)} rows, equal to the plain loop's: {equal}")


PREDICT = [sys.executable, "-m", "focusmap", "predict"]


def study(out: Path, n: int) -> tuple[Path, Path]:
    """Return the label file of n images and a run that learnt from the first of them; made unless they are there."""
    labels, run = out / "study/labels.csv", out / "run"
    if not labels.is_file():
        write_phantom(make_phantom(PhantomOptions(n_patients=n // 2, n_images=n, size=28)), out / "study")
    if not (run / "model").is_dir():
        few = out / "study/few.csv"
        pd.read_csv(labels, dtype=str, keep_default_na=False, nrows=LEARNT).to_csv(few, index=False)
        recipe = focusmap.Recipe(model="small-residual", weights="none", epochs=2, size=28)
        focusmap.train(focusmap.read_cohort(few), run, focusmap.RunOptions(recipe=recipe, force=True))
    return labels, run


def timed(command: list[str]) -> tuple[float, float]:
    """Return the seconds of a command and the most memory of its own process in MB."""
    started = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.monotonic() - started, usage.ru_maxrss / 1024


def killed(command: list[str], out: Path) -> None:
    """Start a command, and kill it when some parts are there."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and len(list((out / PARTS).glob("*.parquet"))) < 3:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
