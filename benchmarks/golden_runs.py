"""Freeze what focusmap writes on tiny made-up studies, so that a change of its code can be shown to change nothing.

Run: ``python benchmarks/golden_runs.py OUT`` writes each study's data, runs and answers to ``OUT/STUDY``, what every
command said to ``OUT/STUDY/commands``, the SHA-256 of every file to ``OUT/hashes.json`` and the text files without
their times, versions and paths to ``OUT/texts``. ``PYTHONPATH=CHECKOUT/src`` says whose focusmap is run. Then::

    python benchmarks/golden_runs.py --compare BEFORE AFTER

names the files that are missing, added or different, and ends with 1 if there are any. Equal hashes can only be
expected on one machine, with the same libraries; ``OUT/environment.json`` says with which they were made.

Only the command line is used, and nothing is imported from focusmap: its modules may move.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from PIL import Image

Words = list[str]
Hashes = dict[str, dict[str, str]]

SEAL = re.compile(r"\b[0-9a-f]{64}\b")
"""What a seal holds of a file; those of files with times or paths differ, and every file is hashed here anyway."""
TEXTS = {".json", ".csv", ".html", ".yaml", ".txt"}
SEEDED = ["--seed", "0"]
HOW = [*SEEDED, "--workers", "1", "--devices", "cpu"]
SMALL = ["--weights", "none", "--size", "24", "--epochs", "2", "--batch-size", "4", "--recipe", "recipe.yaml"]
NET = ["--model", "small-residual", *SMALL, *HOW]
IN_WORDS = ["other/000.png", "--overlay", "one"]
SUBMISSION = ["predict", "run", "other.csv", "--out", "submission.csv", "--template", "form.csv", *HOW]
METHODS = ("cam", "gradcam", "occlusion")
LIBRARIES = (
    "torch", "timm", "monai", "lightning-fabric", "numpy", "pandas", "scikit-learn", "scikit-image",
    "opencv-python-headless", "matplotlib", "pydicom", "nibabel",
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- the data


def write_pictures(folder: Path, name: str, n: int, seed: int, colour: bool = False) -> pd.DataFrame:
    """Write `n` noisy pictures of 24 pixels, two a patient, to ``folder/name``; some have a bright square or dark band.

    The table has ``path``, ``patient_id``, ``width`` of the square (0, 5 or 9), ``spot`` (is there one), ``band`` and
    ``mask`` (of the square, for two pictures in three that have one).
    """
    generator, side = np.random.default_rng(seed), 24
    (folder / name).mkdir(parents=True)
    widths, bands = (
        np.array([0, 5, 9])[generator.permutation(np.arange(n) % 3)],
        generator.permutation(np.arange(n) % 2),
    )
    rows = []
    for i, (width, band) in enumerate(zip(widths, bands, strict=True)):
        pixels, mask = generator.normal(90, 14, (side, side)), np.zeros((side, side), np.uint8)
        top, left = generator.integers(1, side - 10, 2)
        mask[top : top + width, left : left + width] = 255
        pixels += 80 * (mask > 0)
        pixels[:, side - 4 : side - 1] -= 60 * band
        path = f"{name}/{i:03}.png"
        grey = pixels.clip(0, 255).astype(np.uint8)
        Image.fromarray(np.stack([grey, grey // 2, 255 - grey], axis=-1) if colour else grey).save(folder / path)
        row = {"path": path, "patient_id": f"{name}-{i // 2}", "width": width, "spot": int(width > 0), "band": band}
        if width and i % 3:
            Image.fromarray(mask).save(folder / f"{name}/{i:03}_mask.png")
            row["mask"] = f"{name}/{i:03}_mask.png"
        rows.append(row)
    return pd.DataFrame(rows, columns=["path", "patient_id", "width", "spot", "band", "mask"])


def write_volumes(folder: Path, name: str, n: int, seed: int) -> pd.DataFrame:
    """Write `n` volumes of 12 x 12 x 8 voxels of 1 x 1 x 2.5 mm, one a patient, half of them with a bright cube."""
    generator, affine = np.random.default_rng(seed), np.diag([1.0, 1.0, 2.5, 1.0])
    (folder / name).mkdir(parents=True)
    rows = []
    for i, nodule in enumerate(generator.permutation(np.arange(n) % 2)):
        voxels, mask = generator.normal(100, 15, (12, 12, 8)), np.zeros((12, 12, 8), np.uint8)
        x, y, z = generator.integers(0, [8, 8, 5])
        mask[x : x + 4, y : y + 4, z : z + 3] = nodule
        paths = [f"{name}/{i:03}.nii.gz", f"{name}/{i:03}_mask.nii.gz"]
        for path, values in zip(paths, (voxels + 90.0 * mask, 1.0 * mask), strict=True):
            nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), affine), folder / path)
        row = {"path": paths[0], "patient_id": f"{name}-{i}", "nodule": nodule, "mask": paths[1] if nodule else ""}
        rows.append(row)
    return pd.DataFrame(rows)


def clinical(n: int, prefix: str, seed: int) -> pd.DataFrame:
    """Return a table of `n` eyes of half as many patients: covariates of every kind, with gaps, and three targets."""
    generator = np.random.default_rng(seed)
    drug, age = generator.choice(["none", "old", "new"], n), generator.integers(40, 90, n)
    before = generator.uniform(0.1, 1.0, n).round(2)
    table = pd.DataFrame({
        "eye_id": [f"{prefix}{i // 2}{'LR'[i % 2]}" for i in range(n)],
        "patient_id": [f"{prefix}{i // 2}" for i in range(n)],
        "drug": drug,
        "age": age.astype(object),
        "visit": [f"19{80 + i % 9}-0{1 + i % 9}-15" for i in range(n)],
        "codes": generator.choice(["H35|E11", "H35", "E11|I10", ""], n),
        "preVA": before.astype(object),
        "VA": (before + 0.2 * (drug == "new") + generator.normal(0, 0.03, n)).round(3),
        "CST": (300 - 60 * (drug == "new") + generator.normal(0, 20, n)).round(),
        "relapse": ((age > 62) ^ (generator.random(n) < 0.15)).astype(int),
    })  # fmt: skip
    table.loc[[3, 7], "age"] = ""
    table.loc[[1, 6], "preVA"] = ""
    return table


def write_eyes(folder: Path, prefix: str, n: int, seed: int) -> pd.DataFrame:
    """Write the pictures of `n` eyes, before and after, and return a row a picture with the eye's row of `clinical`.

    The first eye has two pictures after, the second none before.
    """
    eyes = clinical(n, prefix, seed)
    pictures = write_pictures(folder, prefix, 2 * n, seed=seed)[["path"]]
    table = pd.concat([pictures, eyes.loc[np.repeat(eyes.index, 2)].reset_index(drop=True)], axis=1)
    table["view"] = ["pre", "post"] * n
    table.loc[0, "view"] = "post"
    return table.drop(index=2).reset_index(drop=True)


def save(table: pd.DataFrame, path: Path) -> None:
    """Write a label file."""
    table.to_csv(path, index=False)


# ------------------------------------------------------------------------------------------------------- the studies


def own_and_other(folder: Path, n: int, n_other: int, colour: bool = False) -> Iterator[tuple[Path, pd.DataFrame]]:
    """Write pictures to learn from and pictures of other patients; yield the label file and the table of each."""
    for name, pictures, n_pictures, seed in (("labels", "own", n, 0), ("other", "other", n_other, 1)):
        yield folder / f"{name}.csv", write_pictures(folder, pictures, n_pictures, seed=seed, colour=colour)


def write_recipe(folder: Path, *lines: str) -> None:
    """Write a recipe whose nets learn something in a few steps, so that maps are not empty, with further lines."""
    quick = ("ema_decay: 0.0", "warmup_epochs: 0", "learning_rate: 0.002", "schedule: constant")
    (folder / "recipe.yaml").write_text("\n".join([*quick, *lines, ""]))


def usual_commands(
    run: Words, image: Words = IN_WORDS, methods: Sequence[str] = METHODS, evaluate: Sequence[str] = ()
) -> list[Words]:
    """Return run, predict, explain by each method, evaluate on other patients and report.

    `image` and `evaluate` are what else these two commands are given; without methods no picture of a map is asked for.
    """
    drawn = ["--overlay", "answers/overlays"] if methods else []
    return [
        ["run", "labels.csv", "--out", "run", *run],
        ["predict", "run", *image, *HOW],
        ["predict", "run", "other.csv", "--out", "answers/answers.csv", *drawn, *HOW],
        *[["explain", "run", "--method", name, "--out", f"maps-{name}", *HOW] for name in methods],
        ["evaluate", "run", "other.csv", "--out", "external", *evaluate, *HOW],
        ["report", "run"],
    ]


def multi_label(folder: Path) -> list[Words]:
    """Two findings with unknown cells, masks of one, a subgroup; trust in the maps, and the report in Chinese."""
    write_recipe(folder)
    for file, table in own_and_other(folder, 40, 16):
        table["sex"] = np.where(table.index // 2 % 2, "F", "M")
        table["band"] = table["band"].astype("Int64").mask(table.index == 5)
        save(table.rename(columns={"mask": "mask_spot"}).drop(columns="width"), file)
    side_by_side = [word for name in METHODS for word in ("--method", name)]
    trust = ["--trust", "--trust-images", "3", "--trust-draws", "3"]
    return [
        *usual_commands([*NET, "--group", "sex"]),
        ["explain", "run", *side_by_side, "--out", "compared", *HOW],
        ["explain", "run", "other.csv", "--out", "maps-other", *HOW],
        ["explain", "run", *trust, "--out", "run/focus", "--force", *HOW],
        ["report", "run", "--language", "zh"],
    ]


def multiclass(folder: Path) -> list[Words]:
    """Three classes of colour pictures, a declared split with enough pictures to know what they look like."""
    write_recipe(folder)
    for file, table in own_and_other(folder, 60, 16, colour=True):
        table["label"] = table["width"].map({0: "normal", 5: "small", 9: "large"})
        table["split"] = np.select([table.index < 28, table.index < 50], ["train", "tune"], "test")
        save(table[["path", "patient_id", "label", *(["split"] if file.stem == "labels" else [])]], file)
    unlike = np.indices((24, 24)).sum(axis=0) % 2 * 255
    Image.fromarray(unlike.astype(np.uint8)).convert("RGB").save(folder / "unlike.png")
    return [*usual_commands(NET), ["predict", "run", "unlike.png", *HOW]]


def ordinal(folder: Path) -> list[Words]:
    """A grade with unknown cells beside a number and a finding, weighed by their uncertainty."""
    write_recipe(
        folder, "target_weights: uncertainty", "sampling: weighted", "augmentation: {elastic: 0.05, gamma: 0.1}"
    )
    for file, table in own_and_other(folder, 36, 12):
        grade = table["width"].map({0: "low", 5: "mid", 9: "high"})
        table["grade"], table["size"] = grade.mask(table.index % 9 == 4, ""), 1000.0 * table["width"]
        save(table[["path", "patient_id", "grade", "size", "band"]], file)
    targets = ["--target", "grade:ordinal:classes=low,mid,high", "--target", "size:continuous", "--target", "band"]
    return usual_commands([*NET, *targets])


def change(folder: Path) -> list[Words]:
    """A number whose change is learnt, with unknown baseline values, beside one learnt as it is."""
    write_recipe(folder, "loss: absolute")
    for file, pictures in own_and_other(folder, 36, 12):
        table = clinical(len(pictures), file.stem, seed=2)[["preVA", "VA", "CST"]]
        table["preCST"] = table["CST"] + 20
        save(pd.concat([pictures[["path", "patient_id"]], table], axis=1), file)
    save(pd.read_csv(folder / "other.csv").head(1), folder / "one.csv")
    (folder / "form.csv").write_text("Path,va,CST\n")  # refused: a template is for tables alone
    targets = ["--target", "VA:delta=preVA", "--target", "CST:continuous", "--before", "CST=preCST"]
    return [*usual_commands([*NET, *targets], ["one.csv"]), SUBMISSION]


def soft_labels(folder: Path) -> list[Words]:
    """Fractions in the place of yes and no, and the settings of the default recipe."""
    (folder / "recipe.yaml").write_text("{}\n")
    for file, table in own_and_other(folder, 32, 12):
        table["opacity"] = (table["spot"] * 0.7 + table.index % 3 * 0.1).round(2)
        save(table[["path", "patient_id", "opacity"]], file)
    return usual_commands([*NET, "--target", "opacity"])


def focus_net(folder: Path) -> list[Words]:
    """A focus-map net with losses on its maps, and masks that choose where they are cut."""
    write_recipe(folder, "sparsity: 0.01", "equivariance: 0.1", "pooling: attention")
    for file, table in own_and_other(folder, 36, 12):
        save(table[["path", "patient_id", "spot", "mask"]], file)
    run = [*NET, "--model", "small-residual-fpn", "--target", "spot"]
    return usual_commands(run, methods=("focus", "gradcam", "layercam-stages"))


def axis_attention(folder: Path) -> list[Words]:
    """A net with attention along the axes, and masks of lesions of its own test part and of other patients."""
    write_recipe(folder, "segmentation: {n_steps: 60, max_cases: 12}")
    for file, table in own_and_other(folder, 36, 12):
        save(table[["path", "patient_id", "spot", "mask"]], file)
    run = [*NET, "--model", "small-residual-acam", "--target", "spot", "--segment"]
    commands = usual_commands(run, methods=("acam", "cam", "occlusion"))
    return [*commands, ["segment", "run", "other.csv", "--out", "outlines", *HOW]]


def volumes(folder: Path) -> list[Words]:
    """NIfTI volumes with masks, and a net in three dimensions."""
    write_recipe(folder)
    save(write_volumes(folder, "own", 24, 0), folder / "labels.csv")
    save(write_volumes(folder, "other", 8, 1), folder / "other.csv")
    net = [word for word in NET if word not in ("--size", "24")]
    run = [*net, "--model", "small-residual-3d", "--shape", "12,12,8", "--target", "nodule"]
    return usual_commands(run, ["other/000.nii.gz", "--overlay", "one"])


def cases(folder: Path, *lines: str, options: Sequence[str] = ()) -> list[Words]:
    """Cases of several pictures in two views; `lines` of the recipe and further options of the run."""
    write_recipe(folder, *lines)
    own, other = write_eyes(folder, "own", 24, 0), write_eyes(folder, "other", 8, 1)
    for name, table in (("labels", own), ("other", other), ("one", other[other["eye_id"] == "other2L"])):
        save(table, folder / f"{name}.csv")
    study = ["--case", "eye_id", "--view", "view", "--target", "CST:continuous", "--target", "relapse"]
    return usual_commands([*NET, *study, *options], ["one.csv"])


def cases_with_table(folder: Path) -> list[Words]:
    """Cases with a row of a table each, brought together as the folder's name says."""
    covariates = [word for name in ("drug", "age", "preVA") for word in ("--covariate", name)]
    fusion = folder.name.rpartition("-")[2]
    return cases(folder, f"fusion: {fusion}", options=["--model", "small-residual+table", *covariates])


def folds(folder: Path) -> list[Words]:
    """Cross-validation."""
    write_recipe(folder)
    for file, table in own_and_other(folder, 36, 12):
        save(table.rename(columns={"mask": "mask_spot"}).drop(columns="width"), file)
    return usual_commands([*NET, "--folds", "3"])


def ensemble(folder: Path) -> list[Words]:
    """Two nets averaged, over several views of each picture."""
    write_recipe(folder)
    for file, table in own_and_other(folder, 32, 12):
        save(table[["path", "patient_id", "spot", "band"]], file)
    return usual_commands([*NET, "--ensemble", "2", "--tta"])


def classical(folder: Path) -> list[Words]:
    """A support vector machine on gradients."""
    for file, table in own_and_other(folder, 40, 12):
        save(table[["path", "patient_id", "spot", "band"]], file)
    return usual_commands(["--model", "hog+svm", "--size", "24", *HOW], ["other/000.png"], methods=())


def autoencoder(folder: Path) -> list[Words]:
    """A net that learns without labels; its anomaly score is held against one afterwards."""
    write_recipe(folder)
    for file, table in own_and_other(folder, 32, 12):
        save(table[["path", "patient_id", "spot"]], file)
    against = ["--target", "spot"]
    commands = usual_commands([*NET, "--model", "autoencoder"], methods=("reconstruction",), evaluate=against)
    return [*commands[:-1], ["evaluate", "run", *against, *HOW], commands[-1]]


def table_only(folder: Path) -> list[Words]:
    """Rows without pictures: covariates of every kind, and two targets."""
    for name, n, seed in (("labels", 160, 0), ("other", 12, 1)):
        save(clinical(n, name, seed), folder / f"{name}.csv")
    save(clinical(12, "other", 1).tail(1), folder / "one.csv")
    covariates = [word for name in ("drug", "age", "visit", "codes", "preVA") for word in ("--covariate", name)]
    run = ["--model", "gradient-boosting", "--case", "eye_id", "--target", "VA:continuous", "--target", "relapse"]
    (folder / "form.csv").write_text("Patient ID,va,RELAPSE\n")
    return [*usual_commands([*run, *covariates, *HOW], ["one.csv"], methods=()), SUBMISSION]


def other_commands(folder: Path) -> list[Words]:
    """What the other studies leave out: files made of files, a training in steps, a resumed one, two runs compared."""
    write_recipe(folder)
    table = write_pictures(folder, "own", 48, seed=0)
    save(table[["path", "patient_id", "spot", "band"]], folder / "labels.csv")
    save(table[["path", "patient_id", "spot"]].tail(8), folder / "again.csv")
    for i, (path, spot) in enumerate(zip(table["path"], table["spot"], strict=True)):
        (folder / f"sorted/{spot}").mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / path, folder / f"sorted/{spot}/p{i // 2}_{i}.png")
    readings = table.loc[np.repeat(table.index, 3), ["path", "patient_id", "spot"]].reset_index(drop=True)
    readings["reader"] = ["ann", "bob", "cem"] * len(table)
    generator = np.random.default_rng(0)
    readings["spot"] ^= (generator.random(len(readings)) < 0.15).astype(int)
    save(readings, folder / "readers.csv")
    told = pd.DataFrame({"patient_id": table["patient_id"], "true_spot": table["spot"]})
    save(told.assign(prob_spot=(table["spot"] * 0.5 + generator.random(len(told)) * 0.5).round(3)), folder / "told.csv")
    return [
        ["index", "sorted", "--out", "found.csv", "--pattern", "{label}/{patient}_{n}.png"],
        ["consensus", "readers.csv", "--out", "consensus/labels.csv", *SEEDED],
        ["consensus", "readers.csv", "--out", "soft/labels.csv", "--method", "dawid-skene", "--soft", *SEEDED],
        ["convert", "labels.csv", "--parts", "left-half,right-half", "--out", "halves"],
        ["audit", "labels.csv", "--against", "again.csv", "--out", "audit", *SEEDED],
        ["audit", "labels.csv", "--out", "audit-zh", "--language", "zh", *SEEDED],
        ["prepare", "labels.csv", "--out", "first", *NET],
        ["train", "--resume", "first"],
        ["evaluate", "first"],
        ["explain", "first"],
        ["report", "first"],
        ["train", "labels.csv", "--out", "second", "--model", "hog+svm", "--size", "24", *HOW],
        ["evaluate", "second"],
        ["compare", "first", "second", "--out", "comparison"],
        ["evaluate", "--predictions", "told.csv", "--out", "of-predictions", *SEEDED],
    ]


STUDIES: dict[str, Callable[[Path], list[Words]]] = {
    "multi-label": multi_label,
    "multiclass": multiclass,
    "ordinal": ordinal,
    "change": change,
    "soft-labels": soft_labels,
    "focus-net": focus_net,
    "axis-attention": axis_attention,
    "volumes": volumes,
    "cases": cases,
    **{f"cases-{fusion}": cases_with_table for fusion in ("joint", "gated", "late", "stacked")},
    "folds": folds,
    "ensemble": ensemble,
    "classical": classical,
    "autoencoder": autoencoder,
    "table-only": table_only,
    "other-commands": other_commands,
}
"""What writes a study's data to a folder and returns the commands that are then run in it."""

ENDS_WITH = {("change", 9): 2, ("other-commands", 5): 3}
"""Exit codes other than 0 that are meant, by study and number of the command.

A model of pictures takes no template, and an audit against a table of the same pictures refuses."""


# ------------------------------------------------------------------------------------------------------- running them


def run_study(folder: Path) -> list[str]:
    """Write a study's data, run its commands and return those that ended otherwise than they should."""
    if folder.exists():
        raise SystemExit(f"{folder} is there already; remove it, or name another OUT")
    folder.mkdir(parents=True)
    commands = STUDIES[folder.name](folder)
    (folder / "commands").mkdir()
    (folder / "kept").mkdir()
    failed = []
    for number, words in enumerate(commands, 1):
        done = ask(words, folder)
        head = f"$ focusmap {' '.join(words)}\nexit code {done.returncode}\n"
        said = f"{head}--- stdout\n{done.stdout}--- stderr\n{done.stderr}"
        (folder / f"commands/{number:02}-{words[0]}.txt").write_text(said)
        if done.returncode != ENDS_WITH.get((folder.name, number), 0):
            failed.append(f"{folder.name} {number:02}: focusmap {' '.join(words)}: exit code {done.returncode}")
        for page in folder.glob("*/report.html"):
            # `report` writes over the page that `run` wrote, and over its own in another language.
            shutil.copy(page, folder / f"kept/{number:02}-{page.parent.name}-report.html")
    return failed


def ask(words: Words, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one focusmap command in a study's folder, on one thread, at a width that does not depend on the terminal."""
    command = [sys.executable, "-m", "focusmap", *acted_on(words)]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def acted_on(words: Words) -> Words:
    """Return a command without the options that change nothing there and are refused since.

    The transcripts keep the words as they were typed when the baseline was made. All that is left out here was read by
    nobody, or was the default: the seed of metrics and of trust is 0.
    """
    others = words[0] in ("evaluate", "predict", "segment", "explain")
    idle = [SEEDED, HOW[2:4]] if others else [HOW[4:]] if words[0] == "prepare" else []
    if words[:2] == ["evaluate", "run"] and "other.csv" not in words:
        idle = [*idle, HOW[4:]]
    left = list(words)
    for option in idle:
        places = [i for i in range(len(left)) if left[i : i + 2] == option]
        for place in places:
            del left[place : place + 2]
    return left


def environment() -> dict[str, str]:
    """Return the environment of the commands."""
    roots = [str(Path(root).resolve()) for root in os.environ.get("PYTHONPATH", "").split(os.pathsep) if root]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(roots), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def code_in_use() -> Path:
    """Return the folder of the focusmap that the commands run."""
    code = "import focusmap; print(focusmap.__file__)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()).parent


def describe_environment(package: Path) -> dict[str, object]:
    """Return what equal hashes depend on, besides the code."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    cpu = platform.processor() or platform.machine()
    return {"code": str(package), "python": platform.python_version(), "machine": cpu, "libraries": found}


# --------------------------------------------------------------------------------------------------- what is compared


@dataclass(frozen=True)
class Normaliser:
    """Takes out of a file what is not a function of a study's data.

    Parameters
    ----------
    folder
        The study's, whose absolute path stands in ``study.yaml``.
    package
        focusmap's, whose path and line numbers stand in warnings.
    """

    folder: Path
    package: Path

    def __call__(self, path: Path) -> bytes:
        """Return a file's content as it is hashed.

        What is not text stays as it is, but for checkpoints and the archives that numpy writes.
        """
        content = path.read_bytes()
        if path.suffix == ".npz":
            return plain_archive(content)
        if path.suffix == ".safetensors" and path.parent.name == "checkpoint":
            return plain_checkpoint(content)
        if path.suffix not in TEXTS:
            return content
        text = content.decode()
        for place, name in ((self.folder, "STUDY"), (self.package, "FOCUSMAP"), (Path(sys.prefix), "PYTHON")):
            text = text.replace(str(place), name)
        if path.name in ("manifest.json", "model.json"):
            text = plain_facts(text)
        elif path.name == "history.csv":
            text = without_seconds(text)
        elif path.name in ("hashes.json", "checklists.json"):
            text = SEAL.sub("SEAL", text)
        elif path.suffix == ".html":
            text = plain_page(text)
        elif path.parent.name == "commands":
            text = plain_words(text)
        return text.encode()


def plain_facts(text: str) -> str:
    """Return a manifest or model card without versions, times and the moment it was begun; every other byte stays.

    >>> plain_facts('{"versions": {"torch": "2.6"}, "seconds": {"train": 1.5}, "focusmap": "0.1.0"}')
    '{"versions": {"torch": VERSION}, "seconds": {"train": SECONDS}, "focusmap": VERSION}'
    """
    text = in_group("versions", r': "[^"]*"', ": VERSION", text)
    text = in_group("seconds", r": [\d.]+", ": SECONDS", text)
    text = re.sub(r'("focusmap": )"[^"]*"', r"\1VERSION", text)
    return re.sub(r'("started": )"[^"]*"', r"\1MOMENT", text)


def in_group(name: str, pattern: str, replacement: str, text: str) -> str:
    """Return JSON text with a pattern replaced in the flat group of a name only."""
    return re.sub(rf'("{name}": \{{)([^{{}}]*)', lambda found: found[1] + re.sub(pattern, replacement, found[2]), text)


def without_seconds(text: str) -> str:
    """Return a table of epochs without how long each took.

    >>> without_seconds("epoch,seconds,note" + chr(10) + "1,0.25," + chr(10))
    'epoch,seconds,note\\n1,SECONDS,\\n'
    """
    header, *rows = text.split("\n")
    names = header.split(",")
    if "seconds" not in names:
        return text
    place = names.index("seconds")
    plain = []
    for row in rows:
        cells = row.split(",")
        plain.append(",".join([*cells[:place], "SECONDS", *cells[place + 1 :]]) if len(cells) > place else row)
    return "\n".join([header, *plain])


def plain_archive(content: bytes) -> bytes:
    """Return the members of a zip file, with their names and compression, without the moment each was put in."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        heads = [f"{member.filename} {member.compress_type}\n".encode() for member in archive.infolist()]
        return b"".join(head + archive.read(name) for head, name in zip(heads, archive.namelist(), strict=True))


def plain_checkpoint(content: bytes) -> bytes:
    """Return a checkpoint without how long each epoch took, which its header repeats; every tensor stays.

    >>> header = rb'{"__metadata__":{"facts":"[{\\"seconds\\": 0.25}]"}}  '
    >>> plain_checkpoint(len(header).to_bytes(8, "little") + header + b"0.25")
    b'{"__metadata__":{"facts":"[{\\\\"seconds\\\\": SECONDS}]"}}0.25'
    """
    end = 8 + int.from_bytes(content[:8], "little")
    # Spaces pad the header to a multiple of eight bytes, and so depend on how many digits the seconds have.
    header = re.sub(rb'(\\"seconds\\": )[-+.\de]+', rb"\1SECONDS", content[8:end]).rstrip(b" ")
    return header + content[end:]


def plain_page(text: str) -> str:
    """Return a page without its day, moment, durations, versions and seals; its pictures are told by their hashes."""
    text = re.sub(r"\([0-9a-f]{12}\)", "(SEAL)", text)
    text = re.sub(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\+00:00", "MOMENT", text)
    text = re.sub(r"(· )20\d\d-\d\d-\d\d( · focusmap )[\w.+]+", r"\1DAY\2VERSION", text)
    text = re.sub(r"<dd>(?:\d+ \S+ )?[\d.]+ (?:s|min|秒|分)</dd>", "<dd>DURATION</dd>", text)
    text = re.sub(rf"(<dt>(?:focusmap|{'|'.join(LIBRARIES)})</dt><dd>)[^<]*", r"\1VERSION", text)
    return re.sub(r"data:image/(\w+);base64,([\w+/=]+)", lambda found: f"{found[1]} {digest(found[2].encode())}", text)


def plain_words(text: str) -> str:
    """Return what a command said without how long it took and the line of code that a warning comes from."""
    text = re.sub(r"within \d+ s", "within SECONDS s", text)
    return re.sub(r"(\S+\.py):\d+: (\w*Warning)", r"FILE: \2", text)


def digest(content: bytes) -> str:
    """Return the SHA-256."""
    return hashlib.sha256(content).hexdigest()


def hash_study(folder: Path, package: Path, texts: Path) -> dict[str, str]:
    """Return the hash of each file of a study, and write its normalised texts to a folder."""
    normalise, found = Normaliser(folder, package), {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, content = str(path.relative_to(folder)), normalise(path)
        found[name] = digest(content)
        if path.suffix in TEXTS:
            (texts / name).parent.mkdir(parents=True, exist_ok=True)
            (texts / name).write_bytes(content)
    return found


def differences(before: Hashes, after: Hashes, ignore_text: bool) -> list[str]:
    """Return a line for each file that is missing, added or different.

    >>> differences({"a": {"x.png": "1", "y.csv": "2"}}, {"a": {"x.png": "3"}}, ignore_text=True)
    ['a: differs: x.png']
    """
    lines = [f"{study}: study only in one of the two" for study in sorted(before.keys() ^ after.keys())]
    for study in [name for name in before if name in after]:
        old, new = before[study], after[study]
        for name in sorted(old.keys() | new.keys()):
            if ignore_text and Path(name).suffix in TEXTS:
                continue
            if old.get(name) != new.get(name):
                fact = "missing" if name not in new else "added" if name not in old else "differs"
                lines.append(f"{study}: {fact}: {name}")
    return lines


def read_hashes(place: Path) -> Hashes:
    """Return the hashes in a folder or a file of them."""
    found: Hashes = json.loads((place / "hashes.json" if place.is_dir() else place).read_text())
    return found


def run_all(out: Path, only: list[str]) -> int:
    """Run the studies into a folder, and return how many commands ended otherwise than they should."""
    out.mkdir(parents=True, exist_ok=True)
    package, failed = code_in_use(), []
    print(f"focusmap of {package}")
    (out / "environment.json").write_text(json.dumps(describe_environment(package), indent=1) + "\n")
    hashes = read_hashes(out) if (out / "hashes.json").exists() else {}
    for name in only or STUDIES:
        started = time.monotonic()
        failed += run_study(out / name)
        hashes[name] = hash_study(out / name, package, out / "texts" / name)
        (out / "hashes.json").write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n")
        print(f"{name}: {len(hashes[name])} files, {time.monotonic() - started:.0f} s", flush=True)
    print("\n".join(failed) or "every command ended as it should")
    return len(failed)


def hash_again(out: Path) -> None:
    """Make ``hashes.json`` and the texts of a folder anew from the studies that lie in it."""
    package = Path(json.loads((out / "environment.json").read_text())["code"])
    hashes = {name: hash_study(out / name, package, out / "texts" / name) for name in STUDIES if (out / name).is_dir()}
    (out / "hashes.json").write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n")


def main() -> None:
    """Run the studies, or compare two folders of hashes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, metavar="OUT", help="folder of studies, texts and hashes.json")
    named = f"one study of {', '.join(STUDIES)}; repeat"
    parser.add_argument("--only", action="append", default=[], choices=STUDIES, metavar="NAME", help=named)
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("BEFORE", "AFTER"), help="two OUTs or hashes.json")
    parser.add_argument("--ignore-text", action="store_true", help=f"leave out {', '.join(sorted(TEXTS))}")
    parser.add_argument("--hash-again", action="store_true", help="run nothing; hash what lies in OUT")
    asked = parser.parse_args()
    if asked.compare:
        before, after = (read_hashes(place) for place in asked.compare)
        lines = differences(before, after, asked.ignore_text)
        print("\n".join(lines) or f"equal: {sum(map(len, before.values()))} files of {len(before)} studies")
        sys.exit(1 if lines else 0)
    if asked.out is None:
        parser.error("name a folder, or --compare two")
    if asked.hash_again:
        hash_again(asked.out.resolve())
        return
    sys.exit(1 if run_all(asked.out.resolve(), asked.only) else 0)


if __name__ == "__main__":
    main()
