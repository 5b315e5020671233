"""What turns images, cases or rows of a table into logits: models as values that are saved, loaded and asked.

Every kind is a `predictor` with a `card`, and `folder` writes and reads it. The kinds are `net` (of single images),
`cases`, `rows` (a table, or `features` of images; a `target_model` each, of `scorers`) and `ensemble` of any.

- Asked: `predict`; `ood` says whether an image is like those of train, `neighbours` which of those it looks most like.
- Judged: `importance` of what it is shown, and models `elsewhere`, that of another run on the same images.
- Exported: `export` writes what is `deployed` in one of the `formats`, and `graphs` asks it.

How a model comes to be is the matter of `focusmap.fitting`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
