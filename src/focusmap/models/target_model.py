"""One target of a model without a net: rows are scaled and scored by a fitted estimator, and the scores made logits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from focusmap.basics import Json
from focusmap.models.scorers import Linear, Scorer, form_of, from_arrays, to_arrays


@dataclass(frozen=True)
class TargetModel:
    """From rows ``(N, K)`` to the logits, or the value, of one target ``(N, n)``.

    Parameters
    ----------
    shift, scale
        ``(K,)``: rows are standardised to (x - shift) / scale.
    scorer
        The fitted estimator.
    floor
        ``(1,)``: where scores are shares, the least share that is believed, and a logarithm is taken; else 0.
    readout
        From scores to logits: the identity, or fitted to the scores of rows that the estimator had not seen.
    """

    shift: np.ndarray
    scale: np.ndarray
    scorer: Scorer
    floor: np.ndarray
    readout: Linear

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return logits ``(N, n)``, or a continuous target's value ``(N, 1)``."""
        return self.readout(self.scores(values))

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Return what the estimator says of rows ``(N, n)``: its scores, of shares their log-odds or logarithms."""
        scores = self.scorer((values - self.shift) / self.scale)
        if not self.floor[0]:
            return scores
        shares = np.clip(scores, self.floor[0], 1 - self.floor[0])
        return np.asarray(np.log(shares) - np.log1p(-shares) if shares.shape[1] == 1 else np.log(shares))

    def to_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return all arrays, each named after the target."""
        plain = {f"{name}.{key}": np.ascontiguousarray(getattr(self, key)) for key in ("shift", "scale", "floor")}
        return plain | to_arrays(self.scorer, f"{name}.scorer") | to_arrays(self.readout, f"{name}.readout")

    def describe(self) -> Json:
        """Return the form of the scorer, for `model.json`."""
        return form_of(self.scorer)


def target_model_from(name: str, form: str, arrays: Mapping[str, np.ndarray]) -> TargetModel:
    """Read what `TargetModel.to_arrays` gave; `ModelError` if something is missing."""
    readout = from_arrays("linear", arrays, f"{name}.readout")
    assert isinstance(readout, Linear)
    plain = (arrays.get(f"{name}.{key}", np.zeros(1)) for key in ("shift", "scale", "floor"))
    shift, scale, floor = plain
    return TargetModel(shift, scale, from_arrays(form, arrays, f"{name}.scorer"), floor, readout)
