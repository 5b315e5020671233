"""What is declared and what follows from it: study, task, recipe, cohort, split, runs, and samples to predict.

- A cell: `values` and `measurements` say what it means, `ids` whether two name one patient, `paths` where it leads.
- A column: `roles` says which is what, `target_cells` and `targets` make targets of some, `cells` and `covariates`
  numbers of others. `declaration` puts it together as a `study`, which predicts a `task`.
- A table: `cohort` is the checked one, `cases` brings it to one row per case, `index` makes it from folders, and
  `readings` is that of several readers. `external` reads tables that are not the run's own.
- A run: `recipe` (made of `recipe_parts`) and `options` are what is asked for, `split` (by `dealing`) says who trains,
  tunes and tests, and `run` where each file lies.
- Images: `stores` has them prepared, `samples` hands them to a model. `inputs` are those that it is asked about,
  `streamed` those of a table of any length, at `addresses` elsewhere too; `flags` go with the answers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
