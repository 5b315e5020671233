"""Does a heat map show where the net looks? Measures from the literature, for maps of any method.

Notation: x an image, M its map on the image's grid, f the score of the label that M explains.

=====================  ==============================================================================================
`curves`               does f fall where M is high? Deletion and insertion (Petsiuk et al. 2018), ROAD (Rong et al.
                       2022)
`removals`             do sums of M predict by how much f falls? Infidelity (Yeh et al. 2019), sensitivity-n (Ancona et
                       al. 2018)
`stability`            does M stay when x changes by less than one sees? Max-sensitivity (Yeh et al. 2019)
`similarity`           how alike are two maps, and those of different images? SSIM (Wang et al. 2004), Spearman
`randomisation`        does M change when the net's weights or labels are random? (Adebayo et al. 2018). Does it stay
                       when the same data train another net? (Arun et al. 2021)
`criteria`             which of these a method passes
=====================  ==============================================================================================

Images are ``(N, C, *spatial)``, maps ``(N, *spatial)``, with any number of spatial dimensions; a score takes images
to ``(N,)``. Whatever is drawn at random is drawn from a seed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
