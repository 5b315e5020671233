"""The table of a data set over its folds: what the ladder chose beside its rungs, maps and masks; one command.

    python benchmarks/folds.py LABELS.csv OUT --folds 5 --patient patient_id --budget 50 --masks "--stacks --nets"

All options but --masks are those of `focusmap run`, which is called unless OUT holds a report already; --masks calls
`benchmarks/lesions.py` with what it says. Every figure is of images out of fold, with its interval by patient.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

LESIONS = Path(__file__).with_name("lesions.py")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("labels", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--masks", help="options of benchmarks/lesions.py, '' for none")
    asked, options = parser.parse_known_args()
    if not (asked.out / "report.html").is_file():
        command = [sys.executable, "-m", "focusmap", "run", str(asked.labels), "--out", str(asked.out), *options]
        subprocess.run(command, check=True)
    show_answers(asked.out)
    show_maps(asked.out)
    if asked.masks is not None:
        subprocess.run([sys.executable, str(LESIONS), str(asked.out), *shlex.split(asked.masks)], check=True)


def read(file: Path) -> Any:
    return json.loads(file.read_text()) if file.is_file() else {}


def show_answers(run: Path) -> None:
    """Print what was chosen, each rung, and by how much the chosen one is above it."""
    ladder, metrics = read(run / "ladder.json"), read(run / "evaluation" / "metrics.json")
    print(f"{metrics['n_images']} images of {metrics['n_patients']} patients; {ladder['reason']}")
    print_metrics("chosen", metrics)
    for one in read(run / "evaluation" / "baselines.json")["baselines"]:
        if one["is_rung"]:
            print_metrics(one["name"], one["metrics"])
            print_metrics("  chosen minus it", one["difference"])
    print("seconds:", {rung["name"]: rung["seconds"] for rung in ladder["rungs"]})


def print_metrics(name: str, metrics: Any) -> None:
    for target, found in metrics["targets"].items():
        told = (f"{key} {in_words(found[key])}" for key in ("auroc", "accuracy") if key in found)
        print(f"  {name:18} {target}: {', '.join(told)}")


def in_words(interval: Any) -> str:
    if interval["value"] is None:
        return "none"
    return f"{interval['value']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"


def show_maps(run: Path) -> None:
    """Print the pixel AUPRC of the maps and of what they are held against."""
    for name, found in read(run / "focus" / "scores.json").get("methods", {}).items():
        above = found.get("minus_mean_mask", {}).get("auprc")
        said = f", above the mean mask by {in_words(above)}" if above else ""
        print(f"  {name}: pixel AUPRC {in_words(found['auprc'])}, n {found['n']}{said}")


if __name__ == "__main__":
    main()
