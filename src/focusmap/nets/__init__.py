"""Everything with weights, and where weights come from.

An image goes through one of the `backbones`, perhaps in stages (`staged`) for one of the `decoders`, to evidence place
by place, whose `pooling` gives logits; `heads` say what those are trained towards. `focus_net` is all of that in one;
`build` makes it from an architecture, with `weights` to start from (read as `tensors`). Other nets: that of a probe
(`levels`), of `cases` (for heat maps `case_images`), of a table (`table_net`), and an `autoencoder`. `grids` bring maps
from one grid to another, `edges` to the borders of the image.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
