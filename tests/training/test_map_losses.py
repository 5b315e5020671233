"""Focus maps are asked to be small and to move with the image, and training heeds it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from focusmap.nets import architecture_of, build_net
from focusmap.training.loop import FitOptions, fit
from focusmap.training.map_losses import draw_shift, equivariance, shifted, sparsity
from support.small_study import QUICK, study

GRIDS = [(6, 5), (4, 5, 3)]
FOCUS = replace(
    QUICK, model="small-residual-fpn", pooling="lse", epochs=3, ema_decay=0.0, learning_rate=5e-3, schedule="constant"
)


def drawn(grid: tuple[int, ...]) -> torch.Tensor:
    return torch.rand(2, 3, *grid, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("grid", GRIDS)
def test_a_map_that_moves_along_costs_nothing_whatever_comes_in_at_the_border(grid):
    maps, cells = drawn(grid), [(2, -1, 1)[i] for i in range(len(grid))]
    moved = shifted(maps, cells)
    moved[:, :, :2], moved[:, :, :, -1:] = 9.0, 9.0
    if len(grid) == 3:
        moved[..., :1] = 9.0
    assert float(equivariance(maps, moved, cells)) == 0
    assert float(equivariance(maps, maps, cells)) > 0


@pytest.mark.parametrize("grid", GRIDS)
def test_equivariance_equals_a_loop_over_the_places_that_both_see(grid):
    maps, moved, cells = drawn(grid), drawn(grid).flip(0), [(-1, 2, 0)[i] for i in range(len(grid))]
    found = []
    for place in np.ndindex(*grid):
        origin = tuple(p - step for p, step in zip(place, cells, strict=True))
        if all(0 <= o < side for o, side in zip(origin, grid, strict=True)):
            found.append((moved[(..., *place)] - maps[(..., *origin)]).square())
    assert float(equivariance(maps, moved, cells)) == pytest.approx(float(torch.stack(found).mean()), rel=1e-5)


def test_a_shift_depends_on_seed_and_step_alone_and_is_never_none():
    drawn_shifts = [draw_shift((8, 8), 0, step) for step in range(50)]
    assert drawn_shifts == [draw_shift((8, 8), 0, step) for step in range(50)]
    assert drawn_shifts != [draw_shift((8, 8), 1, step) for step in range(50)]
    assert all(any(shift) and max(map(abs, shift)) <= 2 for shift in drawn_shifts)
    assert all(any(draw_shift((1, 1), 0, step)) for step in range(10))


def trained(**weights: float) -> tuple[float, float]:
    """Return what is left of both losses after a short training with these weights."""
    data, recipe = study(n=24, n_train=16), replace(FOCUS, **weights)
    net = build_net(architecture_of(recipe, data.task))
    list(fit(net, data, recipe, FitOptions(devices="cpu")))
    x = torch.from_numpy(data.store.pixels[:8].astype(np.float32) / 50 - 1)
    with torch.no_grad():
        maps, moved = (net.forward_with_focus(images)[1] for images in (x, shifted(x, (4, 2))))
    return float(sparsity(maps)), float(equivariance(maps, moved, (2, 1)))


def test_training_heeds_the_weights_of_the_recipe():
    plain, sparse, moving = trained(), trained(sparsity=5.0), trained(equivariance=50.0)
    assert sparse[0] < 0.8 * plain[0]
    assert moving[1] < plain[1]
