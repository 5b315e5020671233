"""What the images or volumes of a study are like, as far as a recipe is chosen by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from focusmap.errors import UnreadableImageError
from focusmap.study.cohort import Cohort

if TYPE_CHECKING:
    from focusmap.audit import Audit

SAMPLE = 8


@dataclass(frozen=True)
class Seen:
    """What was seen of a study's images or volumes.

    Parameters
    ----------
    shapes
        Of each that can be read; of volumes towards right, front and top, of some.
    n_channels
        The most that any has.
    voxels
        Size in mm of the voxels of each volume whose file says it, along the same axes.
    """

    shapes: Sequence[tuple[int, ...]]
    n_channels: int
    voxels: Sequence[tuple[float, ...]] = ()

    @property
    def dimensions(self) -> int:
        """Return 3 if most are volumes, else 2."""
        return 3 if 2 * sum(len(shape) == 3 for shape in self.shapes) > len(self.shapes) else 2


def look_at_sample(cohort: Cohort) -> Seen:
    """Return what a few images or volumes are like; unreadable ones are left to the audit."""
    from focusmap.images.image import voxel_sizes
    from focusmap.images.read import read_image
    from focusmap.images.volumes import orientation

    shapes, voxels, n_channels = [], [], 1
    for position in np.linspace(0, len(cohort) - 1, min(SAMPLE, len(cohort))).astype(int):
        try:
            image = read_image(cohort.files[position])
        except UnreadableImageError:
            continue
        shape, axes = image.source_shape, orientation(image.affine)[0]
        shapes.append(tuple(shape[axis] for axis in axes) if len(shape) == 3 else shape)
        n_channels = max(n_channels, image.n_channels)
        if image.affine is not None:
            voxels.append(tuple(float(size) for size in voxel_sizes(image.affine)[list(axes)]))
    return Seen(shapes, n_channels, voxels)


def seen_by(judged: "Audit", cohort: Cohort) -> Seen | None:
    """Return the shape of every image as the audit saw it; of volumes, of those that a dry run looks at.

    None for a study without images.
    """
    if not cohort.has_images:
        return None
    images = cast(Mapping[str, Mapping[str, int]], judged.overview["images"])
    shapes = [tuple(map(int, size.split("x"))) for size, count in images["sizes"].items() for _ in range(count)]
    seen = Seen(shapes, max([int(mode.split(", ")[1].split()[0]) for mode in images["modes"]], default=1))
    return seen if seen.dimensions == 2 else replace(look_at_sample(cohort), n_channels=seen.n_channels)
