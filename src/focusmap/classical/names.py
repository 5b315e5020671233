"""What a model's name says: what it is shown, and what makes an answer of it."""

from dataclasses import dataclass
from typing import Literal

from focusmap.errors import InputError, suggest

TABLE_NET = "table-net"
ESTIMATORS = (
    "logistic", "svm", "rbf-svm", "forest", "gradient-boosting", "nearest", "centroid", "naive-bayes",
)  # fmt: skip
"""Estimators of scikit-learn; `focusmap.classical.estimators` fits them."""
COUNTS = ("histogram", "lbp", "sift-bow")
"""Features that are counts, which naive Bayes needs."""
FEATURES = (*COUNTS, "moments", "shape", "texture", "hog", "pyramid")
"""Features of pictures; `focusmap.classical.features` measures them."""


@dataclass(frozen=True)
class ModelName:
    """A model's name, read.

    Parameters
    ----------
    shown
        ``pictures`` or ``table``.
    engine
        ``net``, or ``estimator`` of scikit-learn.
    features
        Of pictures, for an estimator; several stand beside each other.
    estimator
        Its name; empty for a net.
    """

    name: str
    shown: Literal["pictures", "table"]
    engine: Literal["net", "estimator"]
    features: tuple[str, ...] = ()
    estimator: str = ""


def parse_model(name: str) -> ModelName:
    """Return what a model's name says.

    An estimator alone is shown the table, ``FEATURE+ESTIMATOR`` pictures; other names are nets of pictures, whose
    names `focusmap.nets` knows.

    Raises
    ------
    InputError
        If a part of ``FEATURE+ESTIMATOR`` is unknown, or naive Bayes is given what cannot be counted.

    >>> parse_model("hog+lbp+svm").features, parse_model("logistic").shown, parse_model("resnet18").engine
    (('hog', 'lbp'), 'table', 'net')
    """
    if name == TABLE_NET:
        return ModelName(name, "table", "net")
    *features, estimator = name.split("+")
    if not features and estimator not in ESTIMATORS:
        return ModelName(name, "pictures", "net")
    for part, known, what in (*((f, FEATURES, "feature") for f in features), (estimator, ESTIMATORS, "estimator")):
        if part not in known:
            raise InputError(f"model {name!r}: {what} {part!r} is not one of {', '.join(known)}.{suggest(part, known)}")
    if estimator == "naive-bayes" and (not features or not set(features) <= set(COUNTS)):
        raise InputError(f"model {name!r}: naive-bayes takes counts: {', '.join(f'{f}+naive-bayes' for f in COUNTS)}.")
    return ModelName(name, "pictures" if features else "table", "estimator", tuple(features), estimator)
