"""Masks of planted lesions, learnt from image labels alone, beside a U-Net that has seen the true ones.

    python benchmarks/weak_masks_phantom.py [--model small-residual-acam] [--size 48] [--epochs 20] [--steps 300]
                                            [--finding nodule ...] [--dimensions 2] [--pooling lse] [--sharpness 4]

Wanted: Dice of the refined masks at least 0.05 above the raw class activation map's, and at least 0.9 of the
supervised U-Net's. Several models may be named; each is trained once for all findings.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import focusmap
from focusmap.api.workflow import DEMO_RECIPE
from focusmap.phantom import FINDINGS, PhantomOptions, make_phantom, write_phantom
from focusmap.study import SegmentationRecipe, read_cohort

METHODS = ("cam", "acam", "focus", "refined", "distilled", "weak_unet", "supervised", "mean_mask")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="repeat for several (default: small-residual-acam)")
    parser.add_argument("--finding", action="append", choices=FINDINGS, help="repeat for several (default: all)")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=SegmentationRecipe().n_steps)
    parser.add_argument("--dimensions", type=int, choices=(2, 3), default=2)
    parser.add_argument("--pooling", default="auto")
    parser.add_argument("--sharpness", type=float, default=DEMO_RECIPE.sharpness)
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args()
    print("| model | finding | " + " | ".join(METHODS) + " | refined - cam | of supervised |")
    print("|---|---|" + "---|" * (len(METHODS) + 2))
    for model in parsed.model or ["small-residual-acam"]:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            scores = scores_of(parsed, model, Path(folder))
            for name, methods in [*scores.get("by_target", {}).items(), ("all", scores["methods"])]:
                print(f"| {model} | {name} | {row_of(methods)} |")
            print(f"\n{model}: {time.monotonic() - started:.0f} s; seeds: {json.dumps(scores['seeds'])}\n", flush=True)


def scores_of(parsed: argparse.Namespace, model: str, folder: Path) -> dict[str, dict[str, dict]]:
    options = PhantomOptions(size=parsed.size, seed=parsed.seed, dimensions=parsed.dimensions)
    labels = write_phantom(make_phantom(options), folder / "study")
    drawing = SegmentationRecipe(n_steps=parsed.steps)
    recipe = replace(DEMO_RECIPE, model=model, epochs=parsed.epochs, seed=parsed.seed, segmentation=drawing)
    pooled = replace(recipe, pooling=parsed.pooling, sharpness=parsed.sharpness)
    made = focusmap.train(read_cohort(labels), folder / "run", focusmap.RunOptions(recipe=pooled))
    mean = focusmap.evaluate(made.folder)["mean"]["auroc"]
    print(f"AUROC on the test part, mean of the findings: {mean['value']:.3f}")
    found = focusmap.segment(
        made.folder, focusmap.SegmentRequest(targets=tuple(parsed.finding or ()), method="refined")
    )
    return found.scores


def row_of(methods: dict[str, dict]) -> str:
    dice = {name: methods[name]["dice"]["value"] for name in METHODS if name in methods}
    shown = ["-" if dice.get(name) is None else f"{dice[name]:.3f}" for name in METHODS]
    gain, bound = dice["refined"] - dice["cam"], dice["supervised"]
    return " | ".join([*shown, f"{gain:+.3f}", f"{dice['refined'] / bound:.2f}" if bound else "-"])


if __name__ == "__main__":
    main()
