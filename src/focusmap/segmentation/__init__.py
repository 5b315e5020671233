"""From a heat map to a mask of the lesion, learnt from image-level labels alone; in any number of dimensions.

`lesions` says which labels mean a lesion, and measures a drawn one; `cases` holds images with the maps that a model
draws of them, which is what masks are learnt from. `drawing` names the methods. Of the vote, `votes` scores the regions
that an image proposes, `weighing` learns from image labels how much the map counts, and `voted` adds the U-Net that is
taught by the chosen regions, and saves both. Of the published method, `seeds` marks what the map is sure of and grows
it over similar voxels, `affinity` learns which are similar, and `segmenter` trains a U-Net on the result. `masks`
writes the masks with their scores.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
