"""A table on a cluster beside the plain loop: processor time, the driver's memory, and that the answers are equal.

    python benchmarks/scale.py OUT [--images 20000] [--rows 1000000]
    python benchmarks/scale.py OUT --rates

The first makes a phantom study of as many images of 28 pixels and a small net that learnt from 600 of them, and sets
the answers of ``focusmap predict`` with one thread beside those of ``--engine ray`` with two workers; once a worker is
killed on the way, and the driver, which is gone on with. Then tables without images go through ``audit`` and
``evaluate --predictions``. What is compared is processor time, of a command and all processes below it, since other
work on the machine does not change it much; rates are of one core.

The second measures what an image of an archive costs one core, step by step; `docs/scale.md` reckons with it.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

import focusmap
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from focusmap.scale import PARTS, parts_in

LEARNT, TICKS = 600, os.sysconf("SC_CLK_TCK")
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
COMMAND = [sys.executable, "-m", "focusmap"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rates", action="store_true")
    asked = parser.parse_args()
    if asked.rates:
        rates(asked.out)
        return
    images(asked.out, asked.images)
    for n in (asked.rows // 10, asked.rows):
        tables(asked.out, n)


def images(out: Path, n_images: int) -> None:
    table, run = study(out, n_images)
    few, many = (shortened(table, n) for n in (n_images // 10, n_images))
    spent: dict[tuple[str, Path], Spent] = {}
    for rows in (few, many):
        for name, more in (("plain loop", ["--out", str(out / "one.csv")]), ("two workers", on_ray(out / "many"))):
            command = [*COMMAND, "predict", str(run), str(rows), *more, "--force"]
            wall, spent[name, rows], memory = measured(command)
            told = ", ".join(f"{who} {seconds:.1f}" for who, seconds in spent[name, rows].items())
            print(
                f"{name}, {rows.stem}: seconds of processor: {told}; {wall:.0f} s; driver {memory:.0f} MB", flush=True
            )
    further(spent, few, many, n_images - n_images // 10)
    command = [*COMMAND, "predict", str(run), str(many), *on_ray(out / "again")]
    killed([*command, "--force"], out / "again")
    measured([*command, "--resume"])
    one = pd.read_csv(out / "one.csv", keep_default_na=False)
    for name, folder in (("two workers", out / "many"), ("killed and gone on with", out / "again")):
        compared(name, one, folder)


def further(spent: "dict[tuple[str, Path], Spent]", few: Path, many: Path, n: int) -> None:
    """Print what each of the n images costs that one table has more than the other, the start left out."""
    cost = {
        name: {who: 1000 * (spent[name, many][who] - spent[name, few][who]) / n for who in spent[name, many]}
        for name in ("plain loop", "two workers")
    }
    plain, ray = (sum(cost[name].values()) for name in ("plain loop", "two workers"))
    workers = cost["two workers"]["workers"]
    print(f"each further image: plain loop {plain:.2f} ms, two workers {ray:.2f} ({ray / plain - 1:+.1%}), "
          f"of which the workers {workers:.2f} ({workers / plain - 1:+.1%})", flush=True)  # fmt: skip


def shortened(table: Path, n: int) -> Path:
    few = table.with_name(f"first_{n}.csv")
    pd.read_csv(table, dtype=str, keep_default_na=False, nrows=n).to_csv(few, index=False)
    return few


def on_ray(out: Path) -> list[str]:
    return ["--engine", "ray", "--workers", "2", "--out", str(out)]


def compared(name: str, one: pd.DataFrame, folder: Path) -> None:
    found = pd.concat([pd.read_parquet(file) for file in parts_in(folder / PARTS)], ignore_index=True)
    numbers = [column for column in one if pd.api.types.is_float_dtype(one[column])]
    texts = [column for column in one if column not in numbers]
    equal = found[texts].fillna("").astype(str).equals(one[texts].astype(str))
    off = float(np.abs(found[numbers].to_numpy(float) - one[numbers].to_numpy(float)).max())
    print(f"{name}: {len(found)} of {len(one)} rows; texts equal: {equal}; numbers differ by {off:.1e} at most",
          flush=True)  # fmt: skip


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


def below(parent: int) -> dict[int, tuple[float, str]]:
    """Return seconds of processor and name of all processes below one."""
    found, parents = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            _, _, told = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
            name = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        # One that has ended and not been asked for has no name left.
        if not name:
            continue
        cells = told.split()
        parents[int(entry.name)] = int(cells[1])
        found[int(entry.name)] = ((int(cells[11]) + int(cells[12])) / TICKS, name)

    def is_below(process: int) -> bool:
        while process in parents and process != parent:
            process = parents[process]
        return process == parent

    return {process: told for process, told in found.items() if is_below(process)}


Spent = dict[str, float]
"""Seconds of processor, by who spent them."""


def measured(command: list[str]) -> tuple[float, Spent, float]:
    """Return the seconds of a command, those of processor of it and all below it, and the most memory of its own in MB.

    Processes are looked at twice a second: of each at most the last half second is missed.
    """
    started = time.monotonic()
    process = subprocess.Popen(command, env=QUIET, stdout=subprocess.DEVNULL)
    spent: dict[int, tuple[float, str]] = {}
    most = 0.0
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.5):
            spent.update(below(process.pid))
            most = max(most, most_memory(process.pid))

    watching = threading.Thread(target=watch)
    watching.start()
    assert process.wait() == 0, command
    over.set()
    watching.join()
    found = {"driver": spent.pop(process.pid, (0.0, ""))[0], "workers": 0.0, "Ray": 0.0}
    for seconds, name in spent.values():
        found["workers" if name.startswith("ray::_Worker") else "Ray"] += seconds
    return time.monotonic() - started, found, most


def most_memory(process: int) -> float:
    """Return the most MB that a process has held; `getrusage` would tell those of the program that started it, too."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def killed(command: list[str], out: Path) -> None:
    """Start a command, kill a worker when some parts are there, and the driver when there are some more."""
    process = subprocess.Popen(command, env=QUIET, stdout=subprocess.DEVNULL)

    def waited(n: int) -> None:
        while process.poll() is None and len(parts_in(out / PARTS)) < n:
            time.sleep(0.5)

    waited(3)
    workers = [one for one, (_, name) in below(process.pid).items() if name.startswith("ray::_Worker")]
    os.kill(workers[0], signal.SIGKILL)
    waited(10)
    process.kill()
    process.wait()
    print(f"a worker killed after 3 parts, the driver after {len(parts_in(out / PARTS))}", flush=True)


def tables(out: Path, n: int) -> None:
    """Send a table of n rows without images through ``audit``, and one of predictions through ``evaluate``."""
    rng = np.random.default_rng(0)
    label, age = rng.integers(0, 2, n), rng.integers(20, 90, n)
    rows = pd.DataFrame({"patient_id": [f"p{k}" for k in range(n)], "age": age, "label": label})
    rows.to_csv(out / "rows.csv", index=False)
    told = 1 / (1 + np.exp(-(label + rng.normal(0, 1, n))))
    pd.DataFrame({"true_label": label, "prob_label": told.round(6)}).to_csv(out / "told.csv", index=False)
    size = sum((out / name).stat().st_size for name in ("rows.csv", "told.csv")) / 1e6
    audit = ["audit", str(out / "rows.csv"), "--out", str(out / "audit"), "--force"]
    evaluate = ["evaluate", "--predictions", str(out / "told.csv"), "--out", str(out / "evaluation"), "--force"]
    for command in (audit, evaluate):
        wall, spent, memory = measured([*COMMAND, *command])
        print(f"{command[0]}, {n} rows: {sum(spent.values()):.1f} s of processor, {wall:.0f} s; {memory:.0f} MB "
              f"(both files {size:.0f} MB)", flush=True)  # fmt: skip


def rates(out: Path, n: int = 14, side: int = 1024) -> None:
    """Print what an image of an archive costs one core: hashed, read, looked at by the audit, prepared, predicted."""
    from focusmap.audit.looks import look_at
    from focusmap.basics import file_hash
    from focusmap.images import Preparation, prepare_file, read_image
    from focusmap.nets import Architecture, build_net

    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"{k}.png" for k in range(n)]
    for k, file in enumerate(files):
        noise = np.random.default_rng(k).normal(127, 60, (side // 4, side // 4)).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(file), cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC))
    size = float(np.mean([file.stat().st_size for file in files])) / 1e6
    print(f"{n} PNG files of {side} x {side} pixels, {size:.2f} MB each; one core, milliseconds of processor per image")
    preparation = Preparation(224)
    steps: dict[str, Callable[[Path], object]] = {
        "hash": file_hash, "read": read_image, "audit": look_at, "prepare": lambda file: prepare_file(file, preparation)
    }  # fmt: skip
    for name, step in steps.items():
        print(f"{name}: {1000 * per_item(step, files):.1f}")
    import torch

    torch.set_num_threads(1)
    for model in ("resnet18", "tf_efficientnet_lite0"):
        net = build_net(Architecture(model, 3, 1)).eval()
        batches = [torch.zeros((8, 3, 224, 224))] * 6
        with torch.inference_mode():
            print(f"predict, {model} at 224 pixels: {1000 * per_item(net, batches) / 8:.1f}")


def per_item(step: Callable[..., object], items: list[object]) -> float:  # type: ignore[type-arg]
    """Return the seconds of processor of each item but the first few."""
    for item in items[:2]:
        step(item)
    started = time.process_time()
    for item in items[2:]:
        step(item)
    return (time.process_time() - started) / (len(items) - 2)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
