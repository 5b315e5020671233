"""What each target's loss is worth beside the others'."""

from focusmap.errors import InputError
from focusmap.study.task import Task

EQUAL, UNCERTAINTY = "equal", "uncertainty"


def parse_target_weights(text: str, task: Task) -> tuple[float, ...] | None:
    """Return the weight of each target, 1 where none is named; None where they follow the targets' uncertainty.

    Raises
    ------
    InputError
        If a target is unknown, or a weight is not a positive number.

    >>> from focusmap.study.task import Target
    >>> parse_target_weights("b=2", Task((Target("a"), Target("b"))))
    (1.0, 2.0)
    """
    if text == UNCERTAINTY:
        return None
    weights = dict.fromkeys(task.names, 1.0)
    for part in [] if text == EQUAL else text.split(","):
        name, _, number = part.rpartition("=")
        if not name:
            raise InputError(f"target_weights {text!r} is not {EQUAL}, {UNCERTAINTY}, or NAME=WEIGHT,...")
        task.index(name.strip())
        weights[name.strip()] = _positive(number, part)
    return tuple(weights.values())


def _positive(number: str, part: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"target_weights: {part!r} gives no positive number. Write NAME=2.")
    return value
