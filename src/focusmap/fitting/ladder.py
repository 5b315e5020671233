"""The ladder: models from the simple to the strong, as far as the time allows, and the choice among them.

A linear probe of a pretrained backbone comes first, since it costs seconds; then the same backbone, fine-tuned. The
tuning set chooses, never test: between two rungs the one-standard-error rule takes the simpler of equals, and the mean
of both is taken where its log loss is lower than that of the one that was chosen.

Each rung lies in a folder of its own when it is done, so that a climb that was stopped goes on from there.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from focusmap import nets
from focusmap.basics import Json, Reason, read_json, read_table, reason_entries, write_json
from focusmap.evaluation import baseline_run, calibrated_probabilities, divisors, read_predictions
from focusmap.fitting import choice, configure, mirroring, train
from focusmap.fitting.rungs import Clock, fine_tuned_recipe, from_scratch_recipe, own_size, probe_recipe, rung_training
from focusmap.fitting.training import Training
from focusmap.models import ensemble, folder, predictor
from focusmap.study import Recipe, Run, RunOptions, read_recipe

# The simplest first; a model without maps comes after the probe.
SINGLE = (choice.PROBE, choice.SIMPLE, choice.FROM_SCRATCH, choice.FINE_TUNED)


@dataclass
class _Climb:
    """The rungs that were reached, the simplest first, and which of them, or their mean, is chosen why."""

    training: Training
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
        simple = None if is_known else _read_rung(choice.SIMPLE, self.training, {})
        if simple is not None:
            self.add(simple)
        return simple is not None

    def choose(self) -> choice.Rung:
        """Return the rung that the tuning set prefers, and write ``ladder.json``."""
        with_maps = [rung for rung in self.rungs if rung.name != choice.SIMPLE]
        candidates = [*self.rungs, *([_mean_rung(with_maps, self.training)] if len(with_maps) > 1 else [])]
        best, reason = choice.choose(candidates, self.training)
        truth = choice.truth_of(best.tune, self.training)
        content: dict[str, Json] = {
            "budget_minutes": self.options.minutes,
            "rungs": [_entry(rung, truth, chosen=rung is best) for rung in candidates],
            "chosen": best.name, **reason_entries(reason), "finished": False, "mirror": self.mirror,
        }  # fmt: skip
        write_json(self.training.run.ladder, content, sealed=True)
        return best


def climb(training: Training, options: RunOptions, clock: Clock) -> Iterator[choice.Rung]:
    """Yield the best model so far whenever a rung is done, calibrated on the tuning set; ``ladder.json`` says why.

    Rungs that lie in the run already are not trained again. Fine-tuning is, where another budget allows more epochs.

    Parameters
    ----------
    training
        Of the recipe's model ``auto``, prepared for the probe.
    clock
        Says how many seconds the next rung may take.
    """
    earlier = read_json(training.run.ladder) if training.run.ladder.is_file() else {}
    backbone = configure.ladder_settings(options.devices).backbone
    decided, mirror = mirroring.decide_mirroring(training, probe_recipe(training.recipe, backbone), options)
    training = replace(training, recipe=decided)
    done = [rung for name in SINGLE if (rung := _read_rung(name, training, earlier))]
    climbing = _Climb(training, options, mirror, done)
    if not done:
        recipe = probe_recipe(training.recipe, backbone)
        climbing.add(_train_rung(choice.PROBE, training, recipe, options))
    yield climbing.choose()
    for name in _trained_after_probe(training):
        if (wanted := _next_recipe(name, training, options, clock, earlier)) is not None:
            climbing.add_simple()
            climbing.add(_train_rung(name, training, wanted, options))
            yield climbing.choose()
    if climbing.add_simple():
        yield climbing.choose()
    write_json(training.run.ladder, {**read_json(training.run.ladder), "finished": True})


def _trained_after_probe(training: Training) -> tuple[str, ...]:
    """Return the rungs above the probe, and above the simple model, that are trained for this kind of study."""
    if training.recipe.shape:
        # Nothing that is pretrained for images can be tuned to volumes.
        return (choice.FROM_SCRATCH,)
    is_small = training.cohort.images is None and own_size(training) <= configure.SMALL
    # Of many images a net from random weights would take the time of the pretrained one, which is the better one.
    return (choice.FINE_TUNED, choice.FROM_SCRATCH) if is_small else (choice.FINE_TUNED,)


def _read_rung(name: str, training: Training, earlier: Mapping[str, Json]) -> choice.Rung | None:
    """Return a rung as it was left by an earlier climb; None where it is not done."""
    run, task = baseline_run(training.run) if name == choice.SIMPLE else training.run.rung(name), training.cohort.task
    if not run.predictions("tune").is_file():
        return None
    files = {part: run.predictions(part) for part in train.PREDICTED if run.predictions(part).is_file()}
    predictions = {part: read_predictions(file, task) for part, file in files.items()}
    entries = cast(list[Mapping[str, Json]], earlier.get("rungs", []))
    seconds = next((float(cast(float, entry["seconds"])) for entry in entries if entry["name"] == name), 0.0)
    attention = read_table(run.attention) if run.attention.is_file() else None
    model = folder.load_model(run.model)
    return choice.Rung(name, model, predictions, seconds, attention)


def _next_recipe(
    name: str, training: Training, options: RunOptions, clock: Clock, earlier: Mapping[str, Json]
) -> Recipe | None:
    """Return the recipe of the rung after the probe; None where it is done, or there is no time for more than was done.

    One that was stopped goes on as it was begun, unless the budget is another one.
    """
    run, recipe_for = training.run.rung(name), fine_tuned_recipe if name == choice.FINE_TUNED else from_scratch_recipe
    begun = read_recipe(run.recipe) if run.recipe.is_file() else None
    if begun is None:
        return recipe_for(training, clock.share(), options)
    is_done, minutes = run.predictions("tune").is_file(), earlier.get("budget_minutes", options.minutes)
    if minutes != options.minutes:
        recipe = recipe_for(training, clock.share(), options)
        if recipe is not None and recipe != begun and (not is_done or recipe.epochs > begun.epochs):
            shutil.rmtree(run.folder)
            return recipe
    return None if is_done else begun


def _train_rung(name: str, training: Training, recipe: Recipe, options: RunOptions) -> choice.Rung:
    """Return a rung that is trained now, and write it; a line says what it scores."""
    started = time.monotonic()
    of_rung = rung_training(name, training, recipe, options)
    recipe.to_yaml(of_rung.run.recipe)
    model = train.train_calibrated(of_rung, options)
    if name == choice.FINE_TUNED:
        trained, model = model, _over_sizes(model, training, recipe)
        # Asked of the images that the ladder holds, which are larger than those that it learnt from.
        of_rung = of_rung if model is trained else replace(of_rung, store=training.store)
    predictions, attention = train.predict_parts(model, of_rung)
    train.write_trained(of_rung, model, predictions, attention)
    seconds = time.monotonic() - started
    rung = choice.Rung(name, model, predictions, seconds, attention)
    score = choice.score(rung.tune, choice.truth_of(rung.tune, training))
    words = f"{score:.3f} on the tuning set" if np.isfinite(score) else "no score: one class in the tuning set"
    of_fold = f" of fold {training.run.fold}" if training.run.fold else ""
    options.say(f"{name}{of_fold}: {words}, {seconds:.0f} s")
    return rung


def _over_sizes(model: predictor.Predictor, training: Training, recipe: Recipe) -> predictor.Predictor:
    """Return a fine-tuned net as the mean over sizes of an image, mirrored where its training was; calibrated on tune.

    So its map has a finer grid, and still adds up to the logit: that of the mean.
    """
    from focusmap.models.net import Model, over_views

    assert training.store is not None
    views = nets.views_over_sizes(recipe.size, training.recipe.size, mirrors=bool(recipe.augmentation.mirror))
    if len(views) < 2 or not training.split.ids("tune") or recipe.cases != "pictures":
        return model
    return train.calibrated_on_tune(over_views(cast(Model, model), views, training.store.preparation), training)


def _mean_rung(rungs: Sequence[choice.Rung], training: Training) -> choice.Rung:
    """Return the mean of the calibrated logits of the two best, calibrated itself; nothing is looked at again."""
    started = time.monotonic()
    truth = choice.truth_of(rungs[0].tune, training)
    best = sorted((choice.score(rung.tune, truth), -k) for k, rung in enumerate(rungs))[-2:]
    rungs = [rungs[k] for k in sorted(-k for _, k in best)]
    model = ensemble.combine([rung.model for rung in rungs], (), "rungs")
    logits = {part: _mean_logits(rungs, part) for part in rungs[0].predictions}
    model = predictor.calibrated(model, logits["tune"], truth)
    predictions = {
        part: replace(
            rungs[0].predictions[part],
            logits=of_part,
            probabilities=calibrated_probabilities(model.task, of_part, model.card.temperatures),
        )
        for part, of_part in logits.items()
    }
    tables = [table for rung in rungs if (table := rung.attention) is not None]
    attention = None
    if tables:
        weights = np.stack([table["attention"].to_numpy(dtype=np.float64) for table in tables])
        attention = tables[0].assign(attention=np.round(weights.mean(axis=0), 4))
    seconds = time.monotonic() - started
    return choice.Rung(choice.MEAN, model, predictions, seconds, attention)


def _mean_logits(rungs: Sequence[choice.Rung], part: str) -> np.ndarray:
    """Return ``(N, L)`` of a part, as `focusmap.models.ensemble.MeanModel` gives them."""
    calibrated = [
        rung.predictions[part].logits / divisors(rung.model.task, rung.model.card.temperatures) for rung in rungs
    ]
    return np.asarray(np.mean(calibrated, axis=0))


def _entry(rung: choice.Rung, truth: np.ndarray, *, chosen: bool) -> Json:
    """Return what ``ladder.json`` says of a rung: its scores on the tuning set, its time, and the choice."""
    inner: dict[str, Json] = {
        "score": _defined(choice.score(rung.tune, truth)),
        "log_loss": _defined(choice.log_loss(rung.tune, truth)),
        "n": len(rung.tune),
    }
    return {"name": rung.name, "inner": inner, "seconds": round(rung.seconds, 1), "chosen": chosen}


def is_finished(run: Run, options: RunOptions) -> bool:
    """Return whether a climb has come to its end, and no other budget is given to go on with."""
    ladder = read_json(run.ladder) if run.ladder.is_file() else {}
    is_same = options.budget is None or ladder.get("budget_minutes") == options.budget
    return bool(ladder.get("finished", True)) and is_same and run.predictions("tune").is_file()


def write_ladder_of_folds(run: Run) -> None:
    """Write the run's ``ladder.json`` of those of its folds: mean scores, all seconds, and who chose what."""
    ladders = [read_json(part.ladder) for part in run.parts() if part.ladder.is_file()]
    chosen = Counter(str(ladder["chosen"]) for ladder in ladders)
    usual = max(chosen, key=chosen.__getitem__)
    entries: dict[str, list[Mapping[str, Json]]] = {}
    for ladder in ladders:
        for rung in cast(list[Mapping[str, Json]], ladder["rungs"]):
            entries.setdefault(str(rung["name"]), []).append(rung)
    content: dict[str, Json] = {
        "budget_minutes": ladders[0]["budget_minutes"],
        "rungs": [_mean_entry(name, rungs, chosen=name == usual) for name, rungs in entries.items()],
        "chosen": usual,
        **reason_entries(Reason("rung-of-folds", names=", ".join(f"{name} ({n})" for name, n in chosen.items()))),
        "mirror": mirroring.mirroring_of_folds(ladders),
        "finished": all(bool(ladder.get("finished", True)) for ladder in ladders),
    }
    write_json(run.ladder, content, sealed=True)


def _mean_entry(name: str, rungs: Sequence[Mapping[str, Json]], *, chosen: bool) -> Json:
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
