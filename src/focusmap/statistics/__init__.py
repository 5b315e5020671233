"""Intervals and rankings: arrays in, numbers out."""

from focusmap.statistics.delong import PairedDifference, clustered_delong, paired_delong
from focusmap.statistics.intervals import Interval, bootstrap, bootstrap_auroc, wilson
from focusmap.statistics.ranking import auroc, average_precision

__all__ = [
    "Interval",
    "PairedDifference",
    "auroc",
    "average_precision",
    "bootstrap",
    "bootstrap_auroc",
    "clustered_delong",
    "paired_delong",
    "wilson",
]
