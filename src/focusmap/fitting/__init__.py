"""From a checked cohort to the models of a run.

1. `suitability` refuses a recipe that does not suit the cohort, `configure` chooses what it leaves open, `plan` says
   what it will cost; then `preparing` audits, splits and prepares.
2. `rounds` does all trainings of a run, or of its folds. Each is a `training`, which `train` fits, calibrates and
   writes: by `fit_nets`; by `probe`, regressions (`regularisation_path`) on features of a `frozen` net; or by
   `fit_rows`, an estimator per target (`fit_targets`, `estimators`). `map_thresholds` are chosen last.
3. Without a model named, a `ladder` is climbed: `rungs` are its recipes, `mirroring` decides whether images are
   mirrored, `choice` says which model is kept. `manifest` says what was run.

Beside it, `tuning` compares recipes on inner folds, and `challenge` asks what images say when they are changed or in
part covered (`covers`), or fewer.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
