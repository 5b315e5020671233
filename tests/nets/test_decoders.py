"""FPN and PAN equal the papers' sums written out level by level, in two and three dimensions, on every backbone."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focusmap.basics import InputError
from focusmap.nets.backbones import BACKBONES, OURS, build_pyramid, dimensions_of, levels
from focusmap.nets.decoders import (
    FeaturePyramid,
    PathAggregation,
    average_levels,
    build_decoder,
    decoders_of,
    split_model,
    strides_of,
)

CHANNELS = (3, 4, 8)
GRIDS = [[(8, 8), (4, 4), (2, 2)], [(7, 5), (4, 3), (2, 2)], [(6, 4, 5), (3, 2, 3), (2, 1, 2)]]


def pyramid_of(grids: list[tuple[int, ...]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(2, n, *grid, generator=generator) for n, grid in zip(CHANNELS, grids, strict=True)]


def randomised(module: nn.Module) -> nn.Module:
    """In eval mode, with statistics and affine parameters as after some training."""
    torch.manual_seed(5)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
            for values in (part.running_mean, part.weight, part.bias):
                nn.init.normal_(values)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return module.eval()


def convolved(layer: nn.Module, x: np.ndarray, stride: int = 1) -> np.ndarray:
    """A convolution as a sum over the taps of its kernel, each a shifted copy of the padded image."""
    weight = layer.weight.detach().numpy()
    taps, pad = weight.shape[2:], weight.shape[2] // 2
    padded = np.pad(x, [(0, 0), (0, 0), *[(pad, pad)] * len(taps)])
    total = 0.0
    for tap in np.ndindex(*taps):
        moved = padded[(..., *(slice(t, t + side, stride) for t, side in zip(tap, x.shape[2:], strict=True)))]
        total = total + np.einsum("ok,nk...->no...", weight[(..., *tap)], moved)
    return total if layer.bias is None else total + column(layer.bias, total.ndim)


def column(values: Tensor, ndim: int) -> np.ndarray:
    return values.detach().numpy().reshape(1, -1, *[1] * (ndim - 2))


def block(layers: nn.Sequential, x: np.ndarray, stride: int = 1) -> np.ndarray:
    convolution, norm, _ = layers
    y = convolved(convolution, x, stride)
    scale = column(norm.weight, y.ndim) / np.sqrt(column(norm.running_var, y.ndim) + norm.eps)
    return np.maximum((y - column(norm.running_mean, y.ndim)) * scale + column(norm.bias, y.ndim), 0)


def nearest(x: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    for axis, side in enumerate(grid, start=2):
        x = x.take([i * x.shape[axis] // side for i in range(side)], axis=axis)
    return x


def fpn_slowly(net: FeaturePyramid, c: list[np.ndarray]) -> list[np.ndarray]:
    """Lin et al. 2017, section 3 and figure 3: from the coarsest level down."""
    m = [None, None, convolved(net.lateral[2], c[2])]
    m[1] = convolved(net.lateral[1], c[1]) + nearest(m[2], c[1].shape[2:])
    m[0] = convolved(net.lateral[0], c[0]) + nearest(m[1], c[0].shape[2:])
    return [block(net.smooth[i], m[i]) for i in range(3)]


def pan_slowly(net: PathAggregation, c: list[np.ndarray]) -> list[np.ndarray]:
    """Liu et al. 2018, section 3.1: N_2 is P_2; each further level is reached by a convolution of stride 2."""
    p = fpn_slowly(net.pyramid, c)
    n0 = p[0]
    n1 = block(net.smooth[0], p[1] + block(net.down[0], n0, stride=2))
    n2 = block(net.smooth[1], p[2] + block(net.down[1], n1, stride=2))
    return [n0, n1, n2]


@pytest.mark.parametrize("grids", GRIDS)
@pytest.mark.parametrize(("kind", "slowly"), [(FeaturePyramid, fpn_slowly), (PathAggregation, pan_slowly)])
def test_a_decoder_equals_its_paper(kind, slowly, grids):
    net = randomised(kind(CHANNELS, dimensions=len(grids[0])))
    given = pyramid_of(grids)
    with torch.no_grad():
        found = net.levels(given)
        decoded = net(given)
    for level, expected in zip(found, slowly(net, [level.numpy() for level in given]), strict=True):
        np.testing.assert_allclose(level.numpy(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoded, average_levels(found))
    assert decoded.shape == (2, net.n_features, *grids[0])


@pytest.mark.parametrize("grid", [(4, 6), (4, 6, 2)])
def test_levels_are_averaged_on_the_finest_grid(grid):
    coarse = tuple(side // 2 for side in grid)
    mean = average_levels([torch.full((1, 1, *grid), 2.0), torch.full((1, 1, *coarse), 4.0)])
    torch.testing.assert_close(mean, torch.full((1, 1, *grid), 3.0))


def test_a_coarse_convolution_that_rounds_up_meets_a_level_that_was_rounded_down():
    net = build_decoder("pan", (2, 2)).eval()
    assert net([torch.zeros(1, 2, 7, 7), torch.zeros(1, 2, 3, 3)]).shape[2:] == (7, 7)


def probe_of(name: str) -> Tensor:
    return torch.randn(1, 1, *[64, 64] if dimensions_of(name) == 2 else [32, 32, 32])


@pytest.mark.parametrize("name", list(BACKBONES))
def test_every_backbone_has_the_levels_that_it_claims_and_its_light_form_drops_what_lies_behind_the_first(name):
    strides = strides_of(name, "fpn")
    stride = strides[0]
    (whole, channels), (cut, one) = (build_pyramid(name, 1, chosen) for chosen in (strides, (stride,)))
    cut.load_state_dict(whole.state_dict(), strict=False)
    x = probe_of(name)
    with torch.no_grad():
        found = levels(whole.eval(), x, list(channels))
        (level,) = levels(cut.eval(), x, list(one))
    assert [level.shape[1] for level in found] == list(channels.values())
    assert [x.shape[2] // level.shape[2] for level in found] == list(strides)
    torch.testing.assert_close(level, found[0])
    assert sum(p.numel() for p in cut.parameters()) < sum(p.numel() for p in whole.parameters())
    light = build_decoder(f"evidence{stride}", (level.shape[1],), level.ndim - 2).eval()
    torch.testing.assert_close(light([level]), F.relu(level / (1 + light.norm.eps) ** 0.5))


def test_names_are_read_and_an_unknown_one_is_answered_with_the_nearest():
    assert split_model("convnext-tiny-pan") == ("convnext-tiny", "pan")
    assert split_model("convnext-tiny") == ("convnext-tiny", "")
    assert "evidence8" not in decoders_of(OURS)
    with pytest.raises(InputError, match=r"'vgg16-fpm' is not one of .*-fpn, -pan, .*Did you mean 'vgg16-fpn'"):
        split_model("vgg16-fpm")
    with pytest.raises(InputError, match=r"'small-residual-evidence8' is not one of .*-evidence2, -evidence4\."):
        split_model("small-residual-evidence8")
