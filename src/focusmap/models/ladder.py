"""The ladder: models from the simple to the strong, as far as the time allows, and the choice among them.

A linear probe of a pretrained backbone comes first, since it costs seconds; then the same backbone, fine-tuned. The
tuning set chooses, never test: between two rungs the one-standard-error rule takes the simpler of equals, and the mean
of both is taken where its log loss is lower than that of the one that was chosen.

Each rung lies in a folder of its own when it is done, so that a climb that was stopped goes on from there.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from focusmap.basics import Json, Reason, read_json, read_table, reason_entries, write_json, write_table
from focusmap.evaluation import apply, baseline_run, divisors, read_predictions, write_predictions
from focusmap.models import choice, configure, ensemble, fit_nets, folder, predictor
from focusmap.models.mirroring import mirroring, of_folds
from focusmap.models.rungs import Clock, fine_tuned_recipe, from_scratch_recipe, own_size, probe_recipe
from focusmap.study import Recipe, Run, RunOptions, read_recipe

if TYPE_CHECKING:
    from focusmap.models.training import Training

# The simplest first; a model without maps comes after the probe.
SINGLE = (choice.PROBE, choice.SIMPLE, choice.FROM_SCRATCH, choice.FINE_TUNED)
# Test is only predicted: `focusmap.evaluation.simpler` sets the rungs beside the chosen one.
ASKED = ("test", "tune")

Fit = Callable[["Training", RunOptions], predictor.Predictor]


@dataclass
class _Climb:
    """The rungs that were reached, the simplest first, and which of them, or their mean, is chosen why."""

    training: "Training"
    options: RunOptions
    mirror: dict[str, Json]
    rungs: list[choice.Rung] = field(default_factory=list)

    def add(self, rung: choice.Rung) -> None:
        """Put a rung in its place."""
        known = {**{one.name: one for one in self.rungs}, rung.name: rung}
        self.rungs = [known[name] for name in SINGLE if name in known]

    def add_simple(self) -> bool:
        """Return whether the simple model, which is set beside the first answer, has come meanwhile; put it there."""
        is_known = any(rung.name == choice.SIMPLE for rung in self.rungs)
        simple = None if is_known else _reached(choice.SIMPLE, self.training, {})
        if simple is not None:
            self.add(simple)
        return simple is not None

    def chosen(self) -> choice.Rung:
        """Return the rung that the tuning set prefers, and write ``ladder.json``."""
        nets = [rung for rung in self.rungs if rung.name != choice.SIMPLE]
        candidates = [*self.rungs, *([_mean(nets, self.training)] if len(nets) > 1 else [])]
        best, reason = choice.choose(candidates, self.training)
        _write(candidates, best, reason, self.training, self.options)
        write_json(self.training.run.ladder, {**read_json(self.training.run.ladder), "mirror": self.mirror})
        return best


def climb(training: "Training", options: RunOptions, fit: Fit, clock: Clock) -> Iterator[choice.Rung]:
    """Yield the best model so far whenever a rung is done, calibrated on the tuning set; ``ladder.json`` says why.

    Rungs that lie in the run already are not trained again. Fine-tuning is, where another budget allows more epochs.

    Parameters
    ----------
    training
        Of the recipe's model ``auto``, prepared for the probe.
    fit
        Returns the model of a training with another recipe, calibrated on tune.
    clock
        Says how many seconds the next rung may take.
    """
    earlier = read_json(training.run.ladder) if training.run.ladder.is_file() else {}
    backbone = configure.climbing_on(options.devices).backbone
    decided, mirror = mirroring(training, probe_recipe(training.recipe, backbone), options)
    training = replace(training, recipe=decided)
    reached = [rung for name in SINGLE if (rung := _reached(name, training, earlier))]
    found = _Climb(training, options, mirror, reached)
    if not found.rungs:
        found.rungs.append(_climbed(choice.PROBE, training, probe_recipe(training.recipe, backbone), options, fit))
    yield found.chosen()
    for name in _trained_after_probe(training):
        if (recipe := _next_recipe(name, training, options, clock, earlier)) is not None:
            found.add_simple()
            found.add(_climbed(name, training, recipe, options, fit))
            yield found.chosen()
    if found.add_simple():
        yield found.chosen()
    write_json(training.run.ladder, {**read_json(training.run.ladder), "finished": True})


def _trained_after_probe(training: "Training") -> tuple[str, ...]:
    """Return the rungs above the probe, and above the simple model, that are trained for this kind of study."""
    if training.recipe.shape:
        # Nothing that is pretrained for images can be tuned to volumes.
        return (choice.FROM_SCRATCH,)
    is_small = training.cohort.images is None and own_size(training) <= configure.SMALL
    return (choice.FROM_SCRATCH, choice.FINE_TUNED) if is_small else (choice.FINE_TUNED,)


def _reached(name: str, training: "Training", earlier: Mapping[str, Json]) -> choice.Rung | None:
    """Return a rung as it was left by an earlier climb; None where it is not done."""
    run, task = baseline_run(training.run) if name == choice.SIMPLE else training.run.rung(name), training.cohort.task
    if not run.predictions("tune").is_file():
        return None
    found = {part: read_predictions(run.predictions(part), task) for part in ASKED if run.predictions(part).is_file()}
    entries = cast(list[Mapping[str, Json]], earlier.get("rungs", []))
    seconds = next((float(cast(float, entry["seconds"])) for entry in entries if entry["name"] == name), 0.0)
    attention = read_table(run.attention) if run.attention.is_file() else None
    return choice.Rung(name, folder.load_model(run.model), found["tune"], seconds, found.get("test"), attention)


def _next_recipe(
    name: str, training: "Training", options: RunOptions, clock: Clock, earlier: Mapping[str, Json]
) -> Recipe | None:
    """Return the recipe of the rung after the probe; None where it is done, or there is no time for more than was done.

    One that was stopped goes on as it was begun, unless the budget is another one.
    """
    run, wanted = training.run.rung(name), fine_tuned_recipe if name == choice.FINE_TUNED else from_scratch_recipe
    kept = read_recipe(run.recipe) if run.recipe.is_file() else None
    if kept is None:
        return wanted(training, clock.share(), options)
    is_done, minutes = run.predictions("tune").is_file(), earlier.get("budget_minutes", options.minutes)
    if minutes == options.minutes:
        return None if is_done else kept
    recipe = wanted(training, clock.share(), options)
    if recipe is not None and recipe != kept and (not is_done or recipe.epochs > kept.epochs):
        shutil.rmtree(run.folder)
        return recipe
    return None if is_done else kept


def _climbed(name: str, training: "Training", recipe: Recipe, options: RunOptions, fit: Fit) -> choice.Rung:
    started = time.monotonic()
    own = training.rung(name, recipe, options)
    recipe.to_yaml(own.run.recipe)
    model = fit(own, options)
    if name == choice.FINE_TUNED:
        learnt, model = model, fit_nets.over_sizes(model, training, recipe)
        # Asked of the images that the ladder holds, which are larger than those that it learnt from.
        own = own if model is learnt else replace(own, store=training.store)
    folder.save_model(model, own.run.model)
    answers = {part: own.asked(model, part) for part in ASKED if own.split.ids(part)}
    found = {part: one.predictions for part, one in answers.items()}
    for part, predictions in found.items():
        write_predictions(predictions, own.run.predictions(part))
    attention = answers["test"].attention if "test" in answers else None
    if attention is not None:
        write_table(own.run.attention, attention)
    rung = choice.Rung(name, model, found["tune"], time.monotonic() - started, found.get("test"), attention)
    reached = choice.score(rung.tune, choice.truth_of(rung.tune, training))
    score = f"{reached:.3f} on the tuning set" if np.isfinite(reached) else "no score: one class in the tuning set"
    options.say(f"{called(training.run, name)}: {score}, {rung.seconds:.0f} s")
    return rung


def called(run: Run, name: str) -> str:
    """Return what a rung is called in a line: its name, and the fold that it is of.

    >>> from pathlib import Path
    >>> called(Run(Path("runs/first")), "probe"), called(Run(Path("runs/first/folds/2")), "probe")
    ('probe', 'probe of fold 2')
    """
    return f"{name} of fold {run.folder.name}" if run.folder.parent.name == "folds" else name


def _mean(rungs: Sequence[choice.Rung], training: "Training") -> choice.Rung:
    """Return the mean of the calibrated logits of the two best, calibrated itself; nothing is looked at again."""
    started = time.monotonic()
    truth = choice.truth_of(rungs[0].tune, training)
    best = sorted((choice.score(rung.tune, truth), -k) for k, rung in enumerate(rungs))[-2:]
    rungs = [rungs[k] for k in sorted(-k for _, k in best)]
    model = ensemble.combine([rung.model for rung in rungs], (), "rungs")
    logits = {part: _mean_logits(rungs, part) for part in rungs[0].found}
    model = predictor.calibrated(model, logits["tune"], choice.truth_of(rungs[0].tune, training))
    found = {
        part: replace(rungs[0].found[part], logits=one, probabilities=apply(model.task, one, model.card.temperatures))
        for part, one in logits.items()
    }
    weights = [one for rung in rungs if (one := rung.attention) is not None]
    attention = None
    if weights:
        each = np.stack([one["attention"].to_numpy(dtype=np.float64) for one in weights])
        attention = weights[0].assign(attention=np.round(each.mean(axis=0), 4))
    return choice.Rung(choice.MEAN, model, found["tune"], time.monotonic() - started, found.get("test"), attention)


def _mean_logits(rungs: Sequence[choice.Rung], part: str) -> np.ndarray:
    """Return ``(N, L)`` of a part, as `focusmap.models.ensemble.MeanModel` gives them."""
    calibrated = [rung.found[part].logits / divisors(rung.model.task, rung.model.card.temperatures) for rung in rungs]
    return np.asarray(np.mean(calibrated, axis=0))


def _write(
    rungs: Sequence[choice.Rung], chosen: choice.Rung, reason: str, training: "Training", options: RunOptions
) -> None:
    """Write ``ladder.json``: each rung with its scores on the tuning set and its time, the choice, and its reason."""
    truth = choice.truth_of(chosen.tune, training)
    entries: list[Json] = [
        {
            "name": rung.name,
            "inner": {
                "score": _defined(choice.score(rung.tune, truth)),
                "log_loss": _defined(choice.log_loss(rung.tune, truth)),
                "n": len(rung.tune),
            },
            "seconds": round(rung.seconds, 1),
            "chosen": rung is chosen,
        }
        for rung in rungs
    ]
    found: dict[str, Json] = {
        "budget_minutes": options.minutes, "rungs": entries, "chosen": chosen.name, **reason_entries(reason),
        "finished": False,
    }  # fmt: skip
    write_json(training.run.ladder, found, sealed=True)


def is_finished(run: Run, options: RunOptions) -> bool:
    """Return whether a climb has come to its end, and no other budget is given to go on with."""
    found = read_json(run.ladder) if run.ladder.is_file() else {}
    is_same = options.budget is None or found.get("budget_minutes") == options.budget
    return bool(found.get("finished", True)) and is_same and run.predictions("tune").is_file()


def write_ladder_of_folds(run: Run) -> None:
    """Write the run's ``ladder.json`` of those of its folds: mean scores, all seconds, and who chose what."""
    ladders = [read_json(part.ladder) for part in run.parts() if part.ladder.is_file()]
    chosen = Counter(str(ladder["chosen"]) for ladder in ladders)
    usual = max(chosen, key=chosen.__getitem__)
    entries: dict[str, list[Mapping[str, Json]]] = {}
    for ladder in ladders:
        for rung in cast(list[Mapping[str, Json]], ladder["rungs"]):
            entries.setdefault(str(rung["name"]), []).append(rung)
    found: dict[str, Json] = {
        "budget_minutes": ladders[0]["budget_minutes"],
        "rungs": [_of_folds(name, rungs, chosen=name == usual) for name, rungs in entries.items()],
        "chosen": usual,
        **reason_entries(Reason("rung-of-folds", names=", ".join(f"{name} ({n})" for name, n in chosen.items()))),
        "mirror": of_folds(ladders),
        "finished": all(bool(ladder.get("finished", True)) for ladder in ladders),
    }
    write_json(run.ladder, found, sealed=True)


def _of_folds(name: str, rungs: Sequence[Mapping[str, Json]], *, chosen: bool) -> Json:
    inner = [cast(Mapping[str, float | None], rung["inner"]) for rung in rungs]

    def mean(key: str) -> float | None:
        known = [value for one in inner if (value := one[key]) is not None]
        return float(np.mean(known)) if known else None

    scores: dict[str, Json] = {"score": mean("score"), "log_loss": mean("log_loss")}
    seconds = round(sum(cast(float, rung["seconds"]) for rung in rungs), 1)
    n = sum(int(one["n"] or 0) for one in inner)
    return {"name": name, "inner": {**scores, "n": n}, "seconds": seconds, "chosen": chosen, "n_folds": len(rungs)}


def _defined(value: float) -> float | None:
    """Return a score for a file; None where the tuning set has one class only, so that there is none."""
    return value if np.isfinite(value) else None
