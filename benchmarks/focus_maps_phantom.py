"""Focus maps on planted lesions, learnt from image labels alone: hit rate, Dice at the frozen cut, and pixel AUPRC.

    python benchmarks/focus_maps_phantom.py [--model small-residual-fpn] [--size 48] [--epochs 20] [--shuffled]

Wanted: hit rate at least 0.95, Dice at least 0.6, and the mean training mask beaten by 0.2 in pixel AUPRC. Scored are
true positives of the test part; what the net missed is counted. With --shuffled the labels have nothing to do with
the pictures, and the maps must lose what they have learnt.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from focusmap import pipeline
from focusmap.cohort.cohort import read_cohort
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from focusmap.pipeline.whole import DEMO_RECIPE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="repeat for several (default: FPN and PAN)")
    parser.add_argument("--pooling", default="auto")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shuffled", action="store_true")
    parsed = parser.parse_args()
    print("| model | finding | n (missed) | hit rate | Dice at the cut | AUPRC | mean mask | difference (95 %) |")
    print("|---|---|---|---|---|---|---|---|")
    for model in parsed.model or ["small-residual-fpn", "small-residual-pan"]:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            run = trained(parsed, model, Path(folder))
            seconds = time.monotonic() - started
            for row in rows_of(run):
                print(f"| {model} | {row} |")
            cuts = json.loads((run.model / "model.json").read_text())["cuts"]
            print(f"\n{model}: {seconds:.0f} s; cuts: {json.dumps(cuts)}\n", flush=True)


def trained(parsed: argparse.Namespace, model: str, folder: Path) -> pipeline.Run:
    options = PhantomOptions(size=parsed.size, seed=parsed.seed, shuffle_labels=parsed.shuffled)
    labels = write_phantom(make_phantom(options), folder / "study")
    recipe = replace(DEMO_RECIPE, model=model, epochs=parsed.epochs, seed=parsed.seed, pooling=parsed.pooling)
    return pipeline.run(read_cohort(labels), folder / "run", pipeline.RunOptions(recipe=recipe))


def rows_of(run: pipeline.Run) -> Iterator[str]:
    """Yield a row of the table for each finding, and one for all."""
    scores = json.loads((run.focus / "scores.json").read_text())
    for name, methods in [*scores["by_target"].items(), ("all", scores["methods"])]:
        focus = methods["focus"]
        measured = [focus["pointing_hit"], focus["dice_at_cut"], focus["auprc"], methods["mean_mask"]["auprc"]]
        cells = [shown(entry) for entry in [*measured, focus["minus_mean_mask"]["auprc"]]]
        yield " | ".join([name, f"{focus['n']} ({focus['n_false_negative']})", *cells])


def shown(entry: dict[str, float | None]) -> str:
    if entry["low"] is None:
        return f"{entry['value']:.3f}" if entry["value"] is not None else "-"
    return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"


if __name__ == "__main__":
    main()
