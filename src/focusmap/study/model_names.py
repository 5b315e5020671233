"""What a model's name says: what it is shown, and what makes an answer of it."""

from dataclasses import dataclass
from typing import Literal

from focusmap.errors import InputError, suggest

TABLE_NET = "table-net"
WITH_TABLE = "+table"
LADDER = "ladder"
"""What `auto` becomes where pretrained weights are to be had: models from the simple to the strong, and a choice."""
MEAN = "mean"
"""Of models of different kinds; its members have names of their own."""
ESTIMATORS = (
    "logistic", "svm", "rbf-svm", "forest", "gradient-boosting", "nearest", "centroid", "naive-bayes",
)  # fmt: skip
"""Estimators of scikit-learn; `focusmap.models.estimators` fits them."""
COUNTS = ("histogram", "lbp", "sift-bow")
"""Features that are counts, which naive Bayes needs."""
FEATURES = (*COUNTS, "moments", "shape", "texture", "hog", "pyramid")
"""Features of images; `focusmap.models.features` measures them."""


@dataclass(frozen=True)
class ModelName:
    """A model's name, read.

    Parameters
    ----------
    shown
        ``images`` or ``table``.
    engine
        ``net``, or ``estimator`` of scikit-learn.
    features
        Of images, for an estimator; several stand beside each other.
    estimator
        Its name; empty for a net.
    with_table
        True for a net of images that is shown the table too.
    """

    name: str
    shown: Literal["images", "table"]
    engine: Literal["net", "estimator"]
    features: tuple[str, ...] = ()
    estimator: str = ""
    with_table: bool = False

    @property
    def is_net_of_images(self) -> bool:
        """Whether it is a net that is shown images, which can be asked where it looks."""
        return (self.engine, self.shown) == ("net", "images")

    @property
    def net(self) -> str:
        """The name of a net of images without what says that it is shown the table too."""
        return self.name.removesuffix(WITH_TABLE)


def parse_model(name: str) -> ModelName:
    """Return what a model's name says.

    An estimator alone is shown the table, ``FEATURE+ESTIMATOR`` images; other names are nets of images, whose
    names `focusmap.nets` knows, and ``NET+table`` one that is shown both.

    Raises
    ------
    InputError
        If a part of ``FEATURE+ESTIMATOR`` is unknown, naive Bayes is given what cannot be counted, or what stands
        before ``+table`` is no net of images.

    >>> parse_model("hog+lbp+svm").features, parse_model("logistic").shown, parse_model("resnet18").engine
    (('hog', 'lbp'), 'table', 'net')
    """
    if name == TABLE_NET:
        return ModelName(name, "table", "net")
    if name.endswith(WITH_TABLE):
        base = parse_model(name.removesuffix(WITH_TABLE))
        if not base.is_net_of_images:
            raise InputError(f"model {name!r}: {WITH_TABLE} goes with a net of images, such as resnet18{WITH_TABLE}.")
        return ModelName(name, "images", "net", with_table=True)
    *features, estimator = name.split("+")
    if not features and estimator not in ESTIMATORS:
        return ModelName(name, "images", "net")
    for part, known, what in (*((f, FEATURES, "feature") for f in features), (estimator, ESTIMATORS, "estimator")):
        if part not in known:
            raise InputError(f"model {name!r}: {what} {part!r} is not one of {', '.join(known)}.{suggest(part, known)}")
    if estimator == "naive-bayes" and (not features or not set(features) <= set(COUNTS)):
        raise InputError(f"model {name!r}: naive-bayes takes counts: {', '.join(f'{f}+naive-bayes' for f in COUNTS)}.")
    return ModelName(name, "images" if features else "table", "estimator", tuple(features), estimator)
