"""What is promised of input, integrity and honesty, each with its figure as measured now: writes docs/reliability.md.

    FOCUSMAP_DATA=FOLDER python benchmarks/reliability.py docs/reliability.md [PART ...]

FOCUSMAP_DATA names the public sets; without it their rows are left out. It takes some minutes. Named PARTs alone are
measured (integrity, coverage, shortcuts, near_duplicates, costs, kills); rows of the others stay as they are.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps

from focusmap import read_cohort
from focusmap.audit import AuditOptions
from focusmap.audit.images import look_at_all
from focusmap.audit.near import near_pairs
from focusmap.audit.probes import probe_findings, run_probes
from focusmap.basics import HASHES, FocusmapError, check_sealed, write_text
from focusmap.evaluation import EvaluationOptions, Predictions, evaluate_predictions
from focusmap.images import read_image
from focusmap.study import Declaration, Target, Task

DATA = Path(os.environ.get("FOCUSMAP_DATA", "no-data-here"))
N_STUDIES, N_IMAGES, N_ROWS = 200, 10_000, 1_000_000
TRUE_SHARE = 0.7602  # P(normal of variance 2 > -1)
Row = tuple[str, str, str]

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": ImageOps.mirror,
    "inverted": ImageOps.invert,
    "cropped by 5 % on one side": lambda image: image.crop((image.width // 20, 0, image.width, image.height)),
    "cropped by 5 % around": lambda image: ImageOps.crop(image, min(image.size) // 20),
    "turned by 2 degrees": lambda image: image.rotate(2, Image.Resampling.BICUBIC),
    "with letters burnt in": lambda image: lettered(image),
}


def lettered(image: Image.Image) -> Image.Image:
    written, font = image.copy(), ImageFont.load_default(size=max(10, image.height // 12))
    draw = ImageDraw.Draw(written)
    draw.text((image.width // 20, image.height // 20), "PATIENT LEFT 12:34", 255, font)
    draw.text((image.width * 6 // 10, image.height * 17 // 20), "B-MODE", 255, font)
    return written


def near_duplicates() -> Iterator[Row]:
    if not DATA.is_dir():
        return
    command = "pytest tests/audit/test_audit_real_data.py -k fifty"
    cohort = read_cohort(DATA / "breast_us_busi/labels.csv", Declaration(targets=("label",), patient="none"))
    own, n = look_at_all(cohort.files, AuditOptions(workers=1)).thumbnails, len(cohort)
    chosen = np.random.default_rng(0).choice(n, 50, replace=False)
    for name, change in CHANGES.items():
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{place}.png" for place in chosen]
            for place, file in zip(chosen, files, strict=True):
                with Image.open(cohort.files[place]) as image:
                    change(image.convert("L")).save(file)
            made = look_at_all(files, AuditOptions(workers=1)).thumbnails
        pairs = near_pairs(np.concatenate([own, made]), np.ones(n + 50, bool))
        found = {(pair.a, pair.b) for pair in pairs}
        hits = sum((int(place), n + k) in found for k, place in enumerate(chosen))
        yield f"A near-duplicate is found {name}", f"{hits} of 50 (breast ultrasound)", command
    for name in ("cxr_nih621", "breast_us_busbra", "brain_lgg_mri"):
        table = pd.read_csv(DATA / name / "labels.csv", dtype=str)
        images = look_at_all([DATA / name / path for path in table["path"]], AuditOptions(workers=1))
        pairs = near_pairs(images.thumbnails, images.readable)
        apart = sum(table["patient_id"][pair.a] != table["patient_id"][pair.b] for pair in pairs)
        possible = len(table) * (len(table) - 1) // 2
        yield (
            f"Images of two patients are not called near ({name})",
            f"{apart} of {possible:,} pairs",
            command[:-5] + "hardly",
        )


def shortcuts() -> Iterator[Row]:
    found = blamed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        coarse = rng.normal(size=(120, 8, 8))
        images = [np.asarray(Image.fromarray(field.astype(np.float32)).resize((64, 64))) for field in coarse]
        sick = rng.integers(0, 2, 120) == 1
        for has_mark in (np.zeros(120, bool), sick & (rng.random(120) < 0.95)):
            said = _is_told(images, sick, has_mark)
            found, blamed = found + (said and has_mark.any()), blamed + (said and not has_mark.any())
    command = "pytest tests/audit/test_probes.py"
    yield "A mark of 4 pixels in a corner of 95 % of positives is found", f"{found} of 20 sets", command
    yield "A clean set is not blamed", f"{blamed} of 20 sets blamed", command


def _is_told(images: list[np.ndarray], sick: np.ndarray, has_mark: np.ndarray) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder, paths = Path(name), [f"{k:03d}.png" for k in range(len(images))]
        for path, image, mark in zip(paths, images, has_mark, strict=True):
            pixels = np.clip(128 + 40 * image, 0, 255).astype(np.uint8)
            pixels[:4, :4] = 255 if mark else pixels[:4, :4]
            Image.fromarray(pixels).save(folder / path)
        table = pd.DataFrame({"path": paths, "patient_id": paths, "label": np.where(sick, "sick", "well")})
        table.to_csv(folder / "labels.csv", index=False)
        cohort = read_cohort(folder / "labels.csv", Declaration())
        return bool(probe_findings(run_probes(cohort, look_at_all(cohort.files, AuditOptions(workers=1)))))


def coverage() -> Iterator[Row]:
    command = "pytest tests/evaluation/test_evaluation_metrics.py -m slow"
    for n_patients in (20, 30, 50, 100):
        covered = [inside for seed in range(N_STUDIES) for inside in _covered(n_patients, seed)]
        promise = f"95 % intervals of sensitivity and specificity cover at {n_patients} patients"
        yield promise, f"{np.mean(covered):.1%} ({N_STUDIES} simulated studies)", command


def _covered(n_patients: int, seed: int) -> list[bool]:
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(n_patients), rng.integers(1, 4, n_patients))
    sick = rng.permutation(np.arange(n_patients) % 2)[owner]
    logits = (2 * sick - 1 + rng.normal(size=n_patients)[owner] + rng.normal(size=len(owner)))[:, None]
    task, names = Task((Target("sick"),)), [f"i{i}" for i in range(len(owner))]
    ids = pd.DataFrame({"image_id": names, "patient_id": [f"p{i}" for i in owner], "path": names})
    predictions = Predictions(task, ids, logits, task.probabilities(logits))
    found = evaluate_predictions(predictions, sick[:, None].astype(float), EvaluationOptions())["targets"]["sick"]
    return [found[name]["low"] <= TRUE_SHARE <= found[name]["high"] for name in ("sensitivity", "specificity")]


def integrity() -> Iterator[Row]:
    rng, n_found = np.random.default_rng(0), 0
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "cohort.csv"
        write_text(file, "row,image_id\n" + "".join(f"{k},i{k}\n" for k in range(200)), sealed=True)
        content = file.read_bytes()
        for _ in range(200):
            place = int(rng.integers(len(content)))
            file.write_bytes(
                content[:place] + bytes([content[place] ^ 1 << int(rng.integers(8))]) + content[place + 1 :]
            )
            try:
                check_sealed(file)
            except FocusmapError:
                n_found += 1
    fact = f"{n_found} of 200 (`{HASHES}`; each kind of file of a run in the test)"
    yield "A flipped bit in a file of a run is found at load", fact, "pytest tests/faults/test_integrity.py"


def costs() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        owners, labels = np.arange(N_ROWS) // 3, (rng.random((N_ROWS, 3)) < 0.1).astype(int)
        table = pd.DataFrame({"patient_id": [f"P{k:07d}" for k in owners], "age": rng.integers(20, 90, N_ROWS)})
        table = table.assign(Effusion=labels[:, 0], Edema=labels[:, 1], Mass=labels[:, 2])
        table.to_csv(folder / "t.csv", index=False)
        seconds, peak = _audited(folder / "t.csv")
        yield (
            f"Audit of a table of {N_ROWS:,} rows",
            f"{seconds:.0f} s, {peak:.2f} GB",
            "focusmap audit TABLE --out DIR",
        )
        for k in range(N_IMAGES):
            coarse = Image.fromarray(rng.integers(0, 255, (8, 8)).astype(np.uint8))
            coarse.resize((256, 256), Image.Resampling.BICUBIC).save(folder / f"{k}.png")
        names = [f"{k}.png" for k in range(N_IMAGES)]
        images = pd.DataFrame({"path": names, "patient_id": names, "label": np.arange(N_IMAGES) % 2})
        images.to_csv(folder / "images.csv", index=False)
        started = time.process_time()
        for path in names:
            read_image(folder / path)
        decoded = time.process_time() - started
        seconds, peak = _audited(folder / "images.csv", "--workers", "1")
        fact = f"{seconds:.0f} s, {peak:.2f} GB: {seconds / decoded:.1f} times a plain decode ({decoded:.0f} s)"
        yield f"Audit of {N_IMAGES:,} images of 256 x 256", fact, "focusmap audit TABLE --out DIR --workers 1"


def _audited(table: Path, *options: str) -> tuple[float, float]:
    """Return the seconds of a processor and the peak memory in GB of an audit in a process of its own."""
    command = [sys.executable, "-m", "focusmap", "audit", str(table), "--out", str(table.parent / "audit"), "--force"]
    watch = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True, check=True); "
    watch += "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime, used.ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", watch, *command, *options], capture_output=True, text=True, check=True)
    seconds, kilobytes = done.stdout.split()
    return float(seconds), int(kilobytes) / 2**20


def kills() -> Iterator[Row]:
    """Kill a run and its masks at ten moments each; what goes on, or starts again, must end as what nobody stopped."""
    command = "benchmarks/reliability.py OUT kills"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng, rows = np.random.default_rng(0), ["path,patient_id,label"]
        for k in range(60):
            pixels = rng.integers(0, 80, (48, 48)).astype(np.uint8)
            pixels[10:20, 10:20] += (k % 2) * 120
            Image.fromarray(pixels).save(folder / f"{k}.png")
            rows.append(f"{k}.png,p{k},{k % 2}")
        (folder / "labels.csv").write_text("\n".join(rows) + "\n")
        words = ["--model", "small-residual", "--epochs", "4", "--size", "48", "--workers", "1"]
        run = ["run", "labels.csv", *words, "--accept", "too-few-positives", "--out"]
        same = sum(_killed(folder, run, ["run", "--resume"], "run", ("predictions/*.csv", "model/weights*")))
        yield "A run that was killed goes on and predicts the same, bit for bit", f"{same} of 10", command
        masks = ["segment", "run-whole", "--out"]
        same = sum(_killed(folder, masks, masks, "masks", ("index.csv", "masks/*")))
        yield "Masks that were killed leave nothing half done, and are the same again", f"{same} of 10", command


def _killed(folder: Path, first: list[str], again: list[str], name: str, compared: tuple[str, ...]) -> Iterator[bool]:
    started = time.monotonic()
    whole = f"{name}-whole"
    subprocess.run([sys.executable, "-m", "focusmap", *first, whole], cwd=folder, capture_output=True, check=True)
    lasted = time.monotonic() - started
    for k in range(1, 11):
        out = f"{name}-{k}"
        process = subprocess.Popen(
            [sys.executable, "-m", "focusmap", *first, out],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(lasted * k / 11)
        process.kill()
        process.wait()
        words = again if (folder / out / "recipe.yaml").is_file() else first
        done = subprocess.run(
            [sys.executable, "-m", "focusmap", *words, out], cwd=folder, capture_output=True, check=False
        )
        files = [file.relative_to(folder / whole) for pattern in compared for file in (folder / whole).glob(pattern)]
        own = [(folder / whole / file).read_bytes() for file in files]
        theirs = [(folder / out / file).read_bytes() if (folder / out / file).is_file() else b"" for file in files]
        yield done.returncode == 0 and bool(files) and own == theirs


HEAD = """# What is promised, and what was measured

Written by `python benchmarks/reliability.py docs/reliability.md`; no figure is typed in. Seconds are those of one
processor, whatever else the machine did.

| Promise | Measured | Command |
|---|---|---|
"""


PARTS = (integrity, coverage, shortcuts, near_duplicates, costs, kills)


def main(out: Path, chosen: list[str]) -> None:
    lines = [line for line in out.read_text().splitlines() if line.startswith("| ")][1:] if chosen else []
    for part in (part for part in PARTS if not chosen or part.__name__ in chosen):
        for promise, fact, command in part():
            print(promise, fact, command, sep=" | ", file=sys.stderr, flush=True)
            row = f"| {promise} | {fact} | `{command}` |"
            place = next((n for n, line in enumerate(lines) if line.startswith(f"| {promise} |")), len(lines))
            lines[place : place + 1] = [row]
    out.write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
