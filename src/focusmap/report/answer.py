"""What a model says of one image or case, in words for the terminal."""

from typing import TYPE_CHECKING

import numpy as np

from focusmap.evaluation.predictions import NOTICE, Predictions
from focusmap.study.flags import flags_in_words
from focusmap.study.task import ANOMALY, Target

if TYPE_CHECKING:
    from focusmap.models.predictor import Predictor


def in_words(model: "Predictor", predictions: Predictions) -> str:
    """Return what the model says of the first image, one line per target."""
    first = predictions.ids.iloc[0]
    lines = [str(first.get("path", first["image_id"]))]
    for target in model.task.targets:
        lines.append(f"  {target.name}: {_say(target, predictions.of(target.name)[0], model)}")
    if predictions.flags and predictions.flags[0]:
        lines.append(f"  flagged: {flags_in_words(predictions.flags[0])}")
    return "\n".join([*lines, NOTICE])


def _say(target: Target, probabilities: np.ndarray, model: "Predictor") -> str:
    if target == ANOMALY:
        usual = model.card.thresholds.get(target.name, np.inf)
        verdict = "above" if probabilities[0] > usual else "within"
        missed = f"{probabilities[0]:.3f} of the image's variance is not reconstructed"
        return f"{missed}, {verdict} what 95 % of the tune images have (up to {usual:.3f})"
    if target.kind == "continuous":
        return "not known" if np.isnan(probabilities[0]) else f"{probabilities[0]:.4g}"
    if target.kind == "binary":
        cut = model.card.threshold_of(target.name)
        name = "" if target.classes == ("0", "1") else f" {target.positive}"
        verdict = f"yes{name and ','}{name}" if probabilities[0] >= cut else f"no{name and ', not'}{name}"
        return f"{verdict} (probability {probabilities[0]:.2f}, operating point {cut:.2f})"
    order = np.argsort(probabilities)[::-1]
    rest = ", ".join(f"{target.classes[i]} {probabilities[i]:.2f}" for i in order[1:])
    return f"{target.classes[order[0]]} (probability {probabilities[order[0]]:.2f}; {rest})"
