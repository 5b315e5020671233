"""From a heat map to a mask of the lesion, learnt from image-level labels alone; in any number of dimensions.

`lesions` says what a lesion is, `cases` what a model says of it and where, `seen` what masks are learnt from. `drawing`
names the methods. Of the published one, `seeds` marks what the map is sure of, `affinity` learns which voxels belong
together, `propagation` grows the seeds over them, and `distillation` trains a U-Net on what came of it. `masks` writes
what was drawn, and `scoring` holds it against true masks.
"""

DRAWN_BY = ("vote", "distilled", "refined")
"""Whose masks can be written; `focusmap.segmentation.drawing.METHODS` says who learns to draw them."""
AUTO = "auto"
"""In place of one of them: which, image-level labels say."""
