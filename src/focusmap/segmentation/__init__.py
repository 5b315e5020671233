"""From a heat map to a mask of the lesion, learnt from image-level labels alone; in any number of dimensions.

`lesions` says which labels mean a lesion; `cases` holds images with the maps that a model draws of them, which is what
masks are learnt from. `drawing` names the two methods, each of which teaches a U-Net, one of `small_nets`:

- `by_vote`: `votes` scores the regions that an image proposes; `weighing` learns from image labels how much the map
  counts; the chosen regions teach the U-Net.
- `by_affinity`, as published: `seeds` marks what the map is sure of; `pairs` teaches a net which voxels are alike;
  `propagation` carries the map's highest points over them, which teaches the U-Net.

`masks` writes the masks with their scores; `measuring` says what the lesions in them measure.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
