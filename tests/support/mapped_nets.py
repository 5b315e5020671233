"""Nets to be mapped: small ones in 2-D and 3-D for the oracles, one that turns with its image, and the backbones."""

from itertools import combinations, permutations

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.nets import Architecture, FocusNet, build_net
from focusmap.nets.backbones import dimensions_of

N_LABELS = 3
CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
POOLS = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


class SmallNet(nn.Module):
    """Two convolutions with ReLU, then a head: ``linear`` behind the average, or ``log-sum-exp`` of evidence."""

    has_stages = True

    def __init__(self, n_dims: int, head: str = "linear", channels: int = 1) -> None:
        super().__init__()
        conv, generator = CONVOLUTIONS[n_dims], torch.Generator().manual_seed(3)
        self.body = nn.Sequential(
            conv(channels, 6, 3, padding=1), nn.ReLU(), POOLS[n_dims](2), conv(6, 5, 3, padding=1), nn.ReLU()
        )
        self.head, self.pooling = nn.Linear(5, N_LABELS), head
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.4, generator=generator)
        self.double().eval()

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def stages(self, x: Tensor) -> list[Tensor]:
        first = self.body[:2](x)
        return [first, self.body[2:](first)]

    def classify(self, features: Tensor) -> Tensor:
        if self.pooling == "linear":
            return self.head(features.flatten(2).mean(dim=2))
        return self.head(features.flatten(2).transpose(1, 2)).logsumexp(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))


class TokenNet(nn.Module):
    """A transformer of three layers and two heads, with a class token in front, as timm's are."""

    has_token_attention = True

    def __init__(self, n_dims: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.patches = CONVOLUTIONS[n_dims](1, 6, 2, 2)
        self.token = nn.Parameter(torch.zeros(1, 1, 6))
        self.layers = nn.ModuleList(nn.Linear(6, 18) for _ in range(3))
        self.head = nn.Linear(6, N_LABELS)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.8, generator=generator)
        self.double().eval()

    def features(self, x: Tensor) -> Tensor:
        patches = self.patches(x)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        for layer in self.layers:
            query, key, value = layer(tokens).reshape(*tokens.shape[:2], 3, 2, 3).permute(2, 0, 3, 1, 4)
            passed = nn.functional.scaled_dot_product_attention(query, key, value)
            tokens = tokens + passed.transpose(1, 2).flatten(2)
        return tokens[:, 1:].transpose(1, 2).reshape(patches.shape)

    def classify(self, features: Tensor) -> Tensor:
        return self.head(features.flatten(2).mean(dim=2))


def turning_net(n_dims: int) -> SmallNet:
    """A net whose kernels are the same in all orientations: the features of a turned image are the turned ones."""
    net = SmallNet(n_dims, "log-sum-exp")
    with torch.no_grad():
        for module in net.body:
            if isinstance(module, CONVOLUTIONS[n_dims]):
                module.weight.copy_(torch.stack(turned(module.weight)).mean(dim=0))
        net.head.weight += 0.3  # or some methods see nothing
    return net


def turned(x: Tensor) -> list[Tensor]:
    """Return ``(N, C, *spatial)`` in all orientations of a square or a cube."""
    axes = range(2, x.ndim)
    return [
        x.permute(0, 1, *order).flip(flipped)
        for order in permutations(axes)
        for n_flipped in range(x.ndim - 1)
        for flipped in combinations(axes, n_flipped)
    ]


def images(n: int, n_dims: int, size: int = 8, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n, channels, *[size] * n_dims, generator=generator, dtype=torch.float64)


def net_of(name: str) -> FocusNet:
    """A backbone whose maps are positive here and negative there, as those of a trained one are."""
    net = build_net(Architecture(name, 1, N_LABELS), seed=1).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # Normalisations with random statistics, or the features of an untrained net would hardly differ.
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
        features = net.features(batch_for(name, 4)).flatten(2)
        mean = features.mean(dim=(0, 2))
        net.head.weight.normal_(0, 1, generator=generator)
        # Without the mean feature a map is positive in some places and negative in others; then of spread 1.
        net.head.weight -= torch.outer(net.head.weight @ mean, mean) / mean.square().sum()
        maps = torch.einsum("nkp,ck->ncp", features, net.head.weight)
        net.head.weight /= maps.std(dim=(0, 2))[:, None]
        net.head.bias.normal_(0, 1, generator=generator)
    return net


def batch_of(n: int, size: int = 64) -> Tensor:
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(2))


def batch_for(name: str, n: int) -> Tensor:
    """Images for a backbone of images, volumes for one of volumes, large enough for several features."""
    deep = (64, 64, 32) if name != "small-residual-3d" else (32, 32, 32)
    shape = (64, 64) if dimensions_of(name) == 2 else deep
    return torch.randn(n, 1, *shape, generator=torch.Generator().manual_seed(2))


def assert_close(found: Tensor, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Equal within a share of the greatest value, which must be positive: maps without evidence prove nothing."""
    assert expected.max() > 0
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance * float(np.abs(expected).max()))


class Brightness(nn.Module):
    """The feature of a net that sees bright spots: by how much the mean of 4 x 4 pixels exceeds 1."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 4).clamp(min=1) - 1
