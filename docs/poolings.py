"""Draw what each pooling does to focus maps: the same net and the same images, learnt five times.

    python docs/poolings.py [--out docs/poolings.png] [--size 40] [--epochs 15]

Prints, for each pooling, how much of the image the maps of true positives cover, how often their highest place lies
in the lesion, and their Dice at the threshold that tune has chosen.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import focusmap
from focusmap.api.workflow import DEMO_RECIPE
from focusmap.figures import as_shown, blend
from focusmap.figures.style import new_figure
from focusmap.images import read_image, read_mask
from focusmap.nets.pooling import POOLINGS
from focusmap.phantom import FINDINGS, PhantomOptions, make_phantom, write_phantom
from focusmap.study import Run, read_cohort

INCHES = 1.5
# A map that is 1 in the lesion and 0 elsewhere covers what the lesion does.
COVERED = "mean of the maps"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("poolings.png"))
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=15)
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_phantom(make_phantom(PhantomOptions(n_patients=50, n_images=450, size=parsed.size)), folder / "study")
        runs = {name: trained(name, folder, parsed.epochs) for name in POOLINGS}
        print(f"| pooling | {COVERED} | hit rate | Dice at the threshold |\n|---|---|---|---|")
        for name, run in runs.items():
            print(f"| {name} | {numbers(run)} |")
        draw(parsed.out, runs, folder / "study")


def trained(pooling: str, folder: Path, epochs: int) -> Run:
    recipe = replace(DEMO_RECIPE, model="small-residual-fpn", pooling=pooling, epochs=epochs)
    options = focusmap.RunOptions(recipe=recipe, store=folder / "store")
    run = focusmap.train(read_cohort(folder / "study" / "labels.csv"), folder / pooling, options)
    focusmap.explain(run.folder)
    return run


def numbers(run: Run) -> str:
    focus = json.loads((run.focus / "scores.json").read_text())["methods"]["focus"]
    index = pd.read_csv(run.focus / "index.csv")
    covered = index.loc[index["predicted"], "evidence"].mean()
    return f"{covered:.2f} | {focus['pointing_hit']['value']:.2f} | {focus['dice_at_cut']['value']:.2f}"


def draw(out: Path, runs: dict[str, Run], study: Path) -> None:
    """Draw one row per finding: the image with its lesion outlined, then the map of each pooling."""
    labels = pd.read_csv(study / "labels.csv").set_index("path")
    indices = {name: pd.read_csv(run.focus / "index.csv") for name, run in runs.items()}
    figure = new_figure(INCHES * (len(runs) + 1), INCHES * len(FINDINGS) + 0.3)
    axes = figure.subplots(len(FINDINGS), len(runs) + 1)
    for row, finding in zip(axes, FINDINGS, strict=True):
        path = found_by_all(indices, finding, labels)
        image = as_shown(read_image(study / path).pixels[0])
        row[0].imshow(image)
        row[0].contour(read_mask(study / labels.loc[path, f"mask_{finding}"]), [0.5], colors="white", linewidths=1)
        row[0].set_ylabel(finding)
        for axis, (name, index) in zip(row[1:], indices.items(), strict=True):
            file = index[(index["path"] == path) & (index["target"] == finding)]["map"].iloc[0]
            axis.imshow(blend(image, np.load(runs[name].focus / file)["map"], 1.0))
    for axis, name in zip(axes[0], ["lesion outlined", *runs], strict=True):
        axis.set_title(name, fontsize=9)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout(pad=0.4)
    figure.savefig(out, dpi=100)


def found_by_all(indices: dict[str, pd.DataFrame], finding: str, labels: pd.DataFrame) -> str:
    """Return the first image that has the finding and for which all nets predict it."""
    found = [set(index[(index["target"] == finding) & index["predicted"]]["path"]) for index in indices.values()]
    return str(min(set.intersection(set(labels.index[labels[f"mask_{finding}"].notna()]), *found)))


if __name__ == "__main__":
    main()
