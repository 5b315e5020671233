"""Maps averaged over copies of the image: mirrored, at other sizes, moved; each copy's map is brought back first.

What a map owes to where the net's cells happen to lie on the image, or to the side that it is seen from, differs from
copy to copy and averages out; what it owes to the image stays. Averaging over sizes and mirrored copies is usual
where maps are to become masks (Ahn and Kwak 2018). Images are ``(N, C, *spatial)``, with any number of spatial
dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch

from focusmap.basics import InputError, suggest
from focusmap.nets import on_grid

# Further from the size that a net has learnt, its maps get worse faster than their mean gets better.
SIZES = (1.0, 0.75, 1.25)
MOVED_BY = 1 / 16


@dataclass(frozen=True)
class Copy:
    """One copy of an image.

    Parameters
    ----------
    mirrored
        Along the last axis.
    size
        As a share of the image's own, along each axis.
    moves
        How far it is moved along each axis, as a share of its side; () is nowhere.
    """

    mirrored: bool = False
    size: float = 1.0
    moves: tuple[float, ...] = ()


AS_IT_IS = Copy()


def _mirrored(_: int) -> list[Copy]:
    return [AS_IT_IS, Copy(mirrored=True)]


def _sizes(_: int) -> list[Copy]:
    return [Copy(size=size) for size in SIZES]


def _moved(n_dims: int) -> list[Copy]:
    steps = [tuple(sign * MOVED_BY * (axis == k) for axis in range(n_dims)) for k in range(n_dims) for sign in (-1, 1)]
    return [AS_IT_IS, *(Copy(moves=step) for step in steps)]


COPIES: dict[str, Callable[[int], list[Copy]]] = {"mirror": _mirrored, "sizes": _sizes, "moves": _moved}
"""Kinds of copies by the number of dimensions, the image as it is always first."""


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise `InputError` where one of the kinds is no key of `COPIES`."""
    for kind in kinds:
        if kind not in COPIES:
            known = ", ".join(COPIES)
            raise InputError(f"maps are averaged over {known}, not over {kind!r}.{suggest(kind, COPIES)}")


def copies_of(kinds: Sequence[str], n_dims: int) -> list[Copy]:
    """Return every combination of the kinds, the image as it is first.

    >>> len(copies_of(["mirror", "sizes"], n_dims=2)), len(copies_of(["moves"], n_dims=3))
    (6, 7)
    """
    copies = [AS_IT_IS]
    for kind in kinds:
        copies = [_joined(first, second) for first, second in product(copies, COPIES[kind](n_dims))]
    return copies


def copied(copy: Copy, batch: torch.Tensor) -> torch.Tensor:
    """Return the copy of each image ``(N, C, *spatial)``; what is moved in repeats the edge."""
    changed = batch.flip(-1) if copy.mirrored else batch
    if copy.size != 1:
        changed = on_grid(changed, [round(copy.size * side) for side in batch.shape[2:]])
    return _moved_by(changed, copy.moves)


def brought_back(copy: Copy, maps: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return maps ``(N, M, *grid)`` of copies on the images' own grid; what was moved out repeats the edge."""
    restored = _moved_by(on_grid(maps, shape), [-move for move in copy.moves])
    return restored.flip(-1) if copy.mirrored else restored


def _moved_by(x: torch.Tensor, moves: Sequence[float]) -> torch.Tensor:
    for axis, move in enumerate(moves, start=2):
        side = x.shape[axis]
        places = torch.arange(side, device=x.device) - round(move * side)
        x = x.index_select(axis, places.clamp(0, side - 1))
    return x


def _joined(first: Copy, second: Copy) -> Copy:
    """Return the copy of a copy."""
    return replace(
        first,
        mirrored=first.mirrored != second.mirrored,
        size=first.size * second.size,
        moves=first.moves or second.moves,
    )
