"""From a heat map to a mask of the lesion, learnt from image-level labels alone; in any number of dimensions.

`lesions` says what a lesion is, `cases` what a model says of it and where, and what masks are learnt from. `drawing`
names the methods. `votes` chooses among the regions that the image proposes, with the map as far as image labels say in
`weighing`; `voted` adds the U-Net that learns from the chosen ones, and keeps both. Of the published way, `seeds` marks
what the map is sure of and grows it over what is alike, `affinity` learns which voxels are, and `segmenter` trains a
U-Net on what came of it. `masks` writes what was drawn with its scores, and `measuring` says how large each lesion is
and where.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
