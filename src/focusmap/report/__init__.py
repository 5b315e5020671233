"""Pages made from the files of a run, in the language of their reader.

`files` reads a run, `run_page` makes its report: what a reader sees first (`verdict_section`), who is in the study
(`cohort_section`), how well it did (`performance_section`), `model_section`, where the net looked (`focus_section`),
`localisation_section` and `segmentation_section`, other label files (`elsewhere_section`), and how it came about
(`origin_section`). Other pages: `audit_page` (written by `auditing`), `comparison`, `consensus_page`. Files beside
them: `model_card`, `checklists`.

`page` fills templates; `words` are those of the catalogues, of which `wording`, `answer_words` and `trust` make
sentences.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
