"""Predictions against the truth: metrics, calibration, operating points, curves; heat maps against lesions.

- `predictions` are one row per image, `case_pooling` one per case; `prediction_table` is another program's.
  `calibration` makes probabilities and thresholds of logits.
- `metrics` has all `measures` of a target with their intervals, `clinical` what decisions gain, `subgroups` the same
  group by group, `by_fold` fold by fold, `simpler` what simpler answers reach; `writing` makes files of them.
- `verdict` says whether a reader may rely on the model, `answers` what is answered of a row, `showing` what of it is
  shown.
- `comparison` and `decisions` weigh two models, `drift` two label files; `label_errors` are labels to look at again.
- `localisation` holds heat maps and masks against true ones.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
