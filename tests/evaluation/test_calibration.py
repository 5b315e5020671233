"""Temperature scaling finds a planted temperature and keeps every ranking."""

import numpy as np
import pytest

from focusmap.evaluation.calibration import calibrated_probabilities, fit_temperatures
from focusmap.study import Target, Task

TASK = Task((Target("effusion"), Target("label", "multiclass", ("a", "b", "c")), Target("size", "continuous")))


def planted(temperature: float, n: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too large for the truth drawn from them."""
    generator = np.random.default_rng(0)
    honest = generator.normal(size=(n, 5)) * 1.5
    p = TASK.probabilities(honest)
    effusion = generator.random(n) < p[:, 0]
    label = (generator.random(n)[:, None] > p[:, 1:4].cumsum(axis=1)).sum(axis=1)
    return honest * temperature, np.column_stack([effusion, np.minimum(label, 2), honest[:, 4]]).astype(float)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_planted_temperature_is_found(temperature: float) -> None:
    logits, truth = planted(temperature)
    found = fit_temperatures(TASK, logits, truth)
    assert found["effusion"] == pytest.approx(temperature, rel=0.08)
    assert found["label"] == pytest.approx(temperature, rel=0.08)
    assert found["size"] == 1


def test_calibrated_probabilities_rank_as_before_and_values_stay() -> None:
    logits, _ = planted(2.0, 50)
    shown = calibrated_probabilities(TASK, logits, {"effusion": 2.0, "label": 3.0, "size": 7.0})
    assert (np.argsort(shown[:, 0]) == np.argsort(logits[:, 0])).all()
    np.testing.assert_allclose(shown[:, 1:4].sum(axis=1), 1)
    np.testing.assert_array_equal(shown[:, 4], logits[:, 4])


def test_one_class_or_no_truth_leaves_the_temperature_at_one() -> None:
    truth = np.column_stack([np.zeros(4), np.full(4, np.nan), np.zeros(4)])
    assert set(fit_temperatures(TASK, np.ones((4, 5)), truth).values()) == {1.0}
