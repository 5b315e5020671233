"""Maps whose borders follow those of their image: the guided filter ("Guided image filtering", He, Sun and Tang 2013).

A class activation map says where the evidence lies, to within a cell of a coarse grid. What belongs together on the
image, such as a dark lesion, is there for all to see. In the square window about each place the filter fits the map
as a linear form of the image, q = a I + b (eq. 5 and 6), and averages what the windows say of a place (eq. 8):
evidence moves to that part of its surroundings that looks as places of much evidence do, and nowhere else.

The filter is linear in the map, so that the mean of several models' filtered maps is the filtered mean, and each map
keeps its own mean: it still adds up to the logit.
"""

from torch import Tensor, nn

from focusmap.nets.grids import on_finest, resized

# Of the image's side; chosen on tuning sets of BUSI (decision 40).
REACH = 1 / 8
# Epsilon in eq. 5, beside the image's variance of 1: windows that vary far less than the image does are averaged.
FLATNESS = 0.1
# The grid that maps are filtered on has a fourth of the image's places along each side.
STEP = 4


def follow_edges(maps: Tensor, images: Tensor) -> Tensor:
    """Return maps ``(N, L, h, w)`` of images ``(N, C, H, W)``, filtered, on the finer of their grid and the filter's.

    Each has the mean that it had. Of volumes maps stay as they are.
    """
    if maps.ndim != 4:
        return maps
    guide = resized(images.float().mean(dim=1, keepdim=True), 1 / STEP)
    maps, guide = on_finest([maps.float(), guide])
    guide = guide - guide.mean(dim=(2, 3), keepdim=True)
    guide = guide / guide.square().mean(dim=(2, 3), keepdim=True).clamp(min=1e-6).sqrt()
    reach = max(1, round(REACH * min(guide.shape[2:])))
    level, of_guide = _averaged(maps, reach), _averaged(guide, reach)
    slope = _averaged(guide * maps, reach) - of_guide * level
    slope = slope / (_averaged(guide.square(), reach) - of_guide.square() + FLATNESS)
    filtered = _averaged(slope, reach) * guide + _averaged(level - slope * of_guide, reach)
    return filtered + maps.mean(dim=(2, 3), keepdim=True) - filtered.mean(dim=(2, 3), keepdim=True)


def _averaged(maps: Tensor, reach: int) -> Tensor:
    """Return the mean over the square window about each place, as much of it as lies on the map."""
    return nn.functional.avg_pool2d(maps, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)
