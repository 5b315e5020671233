"""From a heat map to a mask of the lesion, learnt from image-level labels alone; in any number of dimensions.

`lesions` says which labels mean a lesion; `cases` holds images with the maps that a model draws of them, which is what
masks are learnt from. `drawing` names the two methods, each of which teaches a U-Net (`small_nets`, by `learning`) and
keeps what was learnt in the run (`learnt_files`):

- `by_vote`: `votes` scores the regions that an image proposes; `weighing` learns from image labels how much the map
  counts; the chosen regions teach the U-Net.
- `by_affinity`, as published: `seeds` marks what the map is sure of; `pairs` teaches a net which voxels are alike;
  `propagation` carries the map's highest points over them, which teaches the U-Net.

`masks` draws all masks; `mask_files` writes them with what their lesions measure (`measuring`). `scoring` says how well
they agree with true ones, `cautions` what to beware of, and `examples` shows three.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
