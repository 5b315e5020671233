"""From a heat map to a mask of the lesion, learnt from image-level labels alone; in any number of dimensions.

`seeds` marks what the map is sure of, `affinity` learns which voxels belong together, `propagation` grows the seeds
over them, and `distillation` trains a U-Net on what came of it.
"""
