"""A case as an image of one place: its images are encoded, pooled view by view and joined, with a table's row.

A batch of cases is one flat stack of images, each with the number of its case and of its view; nothing is padded. The
images of one case and view are a segment s. With h_k the features of image k, averaged over its places, a segment's
are the sum of a_k * h_k over its images (of a probe h_k are statistics of all levels, `focusmap.nets.levels`), where

- mean: a_k = 1 / n_s;
- max: a_k is 1 for the image with the highest value of a feature, else 0, feature by feature;
- attention: a_k = exp(e_k) / sum of exp(e_j) over the segment, e_k = w (tanh(V h_k) * sigmoid(U h_k)) (Ilse et al.
  2018, eq. 9).

Segments of a case stand side by side; of a view without an image all is 0, its indicator too. One linear layer after
that gives the view what it learns to give in its absence, so that no vector for it has to be learnt apart.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from focusmap.basics import InputError, Json
from focusmap.nets import backbones, decoders, focus_net, table_net
from focusmap.nets.levels import STATISTICS, Levels, build_levels, statistics_of
from focusmap.nets.table_net import WIDTHS as TABLE_WIDTHS
from focusmap.nets.weights import find_weights

ATTENTION_WIDTH = 64
GATED_WIDTH = 64


class CaseBatch(NamedTuple):
    """N cases of P images in all.

    Parameters
    ----------
    images
        ``(P, C, *spatial)``, case by case.
    cases, views
        ``(P,) int64``: the number of each image's case, 0 to N - 1, and of its view, 0 to V - 1.
    rows
        ``(N, K)``: covariates as numbers; K is 0 for a net that takes none.
    """

    images: Tensor
    cases: Tensor
    views: Tensor
    rows: Tensor

    def to(self, device: torch.device) -> "CaseBatch":
        """Return the same cases on a device."""
        return CaseBatch(*(part.to(device) for part in self))


@dataclass(frozen=True)
class CaseArchitecture:
    """What a net of cases is built from.

    Parameters
    ----------
    model
        A backbone.
    channels, n_logits
        As for a net of images.
    views
        Names of the V views; one empty name where none are declared.
    pooling
        A key of `WEIGHTINGS`.
    encoder
        ``shared`` by all views, or ``separate``.
    n_covariates
        Numbers K of a table's row; 0 for none.
    fusion
        A key of `FUSIONS`; of no account without a table.
    """

    model: str
    channels: int
    n_logits: int
    views: tuple[str, ...] = ("",)
    pooling: str = "mean"
    encoder: str = "shared"
    n_covariates: int = 0
    fusion: str = "joint"

    @property
    def dimensions(self) -> int:
        """Number of spatial dimensions."""
        return decoders.dimensions_of_model(self.model)

    def to_dict(self) -> dict[str, Json]:
        """Return plain values for `model.json`."""
        return {**asdict(self), "views": list(self.views)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Json]) -> "CaseArchitecture":
        """Read what `to_dict` gave; `InputError` if a key is missing or unknown."""
        known = cls("resnet18", 1, 1).to_dict()
        if set(values) != set(known):
            raise InputError(f"the architecture of a net of cases needs {', '.join(known)}; found {', '.join(values)}.")
        views = tuple(str(view) for view in cast(list[Json], values["views"]))
        return cls(**{**values, "views": views})  # type: ignore[arg-type]


def segment_sum(values: Tensor, segments: Tensor, n: int) -> Tensor:
    """Return ``(n, K)``: the sum of the rows of `values` ``(P, K)`` by their segment ``(P,)``, 0 for an empty one.

    >>> segment_sum(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0, 2, 2]), 3).flatten().tolist()
    [1.0, 0.0, 6.0]
    """
    return values.new_zeros(n, values.shape[1]).index_add(0, segments, values)


def segment_max(values: Tensor, segments: Tensor, n: int) -> Tensor:
    """Return ``(n, K)``: the highest of the rows of `values` ``(P, K)`` by their segment; of an empty one, 0."""
    index = segments[:, None].expand_as(values)
    return values.new_zeros(n, values.shape[1]).scatter_reduce(0, index, values, "amax", include_self=False)


def segment_softmax(scores: Tensor, segments: Tensor, n: int) -> Tensor:
    """Return ``(P, K)``: the softmax of scores ``(P, K)`` over the rows of each segment."""
    highest = segment_max(scores.detach(), segments, n)[segments]
    powers = (scores - highest).exp()
    return powers / segment_sum(powers, segments, n)[segments]


class MeanWeights(nn.Module):
    """Every image of a segment weighs the same."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        del n_features

    def forward(self, features: Tensor, segments: Tensor, n: int) -> Tensor:
        """Return weights ``(P, 1)`` of the images' features ``(P, K)``."""
        return segment_softmax(features.new_zeros(len(features), 1), segments, n)


class MaxWeights(nn.Module):
    """Feature by feature the image with the highest value has all the weight; equal ones share it."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        del n_features

    def forward(self, features: Tensor, segments: Tensor, n: int) -> Tensor:
        """Return weights ``(P, K)`` of the images' features ``(P, K)``."""
        features = features.detach()
        highest = (features == segment_max(features, segments, n)[segments]).to(features.dtype)
        return highest / segment_sum(highest, segments, n)[segments]


class AttentionWeights(nn.Module):
    """Weights that are learnt: gated attention."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.content = nn.Linear(n_features, ATTENTION_WIDTH)
        self.gate = nn.Linear(n_features, ATTENTION_WIDTH)
        self.score = nn.Linear(ATTENTION_WIDTH, 1, bias=False)

    def forward(self, features: Tensor, segments: Tensor, n: int) -> Tensor:
        """Return weights ``(P, 1)`` of the images' features ``(P, K)``."""
        scores = self.score(torch.tanh(self.content(features)) * torch.sigmoid(self.gate(features)))
        return segment_softmax(scores.float(), segments, n)


WEIGHTINGS: dict[str, Callable[[int], nn.Module]] = {
    "mean": MeanWeights, "max": MaxWeights, "attention": AttentionWeights,
}  # fmt: skip


class Encoder(nn.Module):
    """From images to their features, averaged over the places, and the weights of those within their segments.

    Of a net's `Levels` the features are statistics over the places.
    """

    def __init__(self, net: nn.Module, n_features: int, pooling: str) -> None:
        super().__init__()
        self.net = net
        self.weigh = WEIGHTINGS[pooling](n_features)

    def forward(self, images: Tensor, segments: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Return features and weights ``(P, K)`` of images ``(P, C, *spatial)`` in segments ``(P,)`` of n."""
        features = self.net.measure(images) if isinstance(self.net, Levels) else self.summary(self.net(images))
        return features, self.weigh(features, segments, n).expand_as(features)

    def summary(self, maps: Tensor) -> Tensor:
        """Return the features ``(P, K)`` of feature maps ``(P, K', *grid)``."""
        if isinstance(self.net, Levels):
            return statistics_of(maps).flatten(1)
        return maps.flatten(2).float().mean(dim=2)


class Joint(nn.Module):
    """Features of images ``(N, F)`` and of the table ``(N, G)`` side by side."""

    def __init__(self, n_images: int, n_table: int) -> None:
        super().__init__()
        self.n_features = n_images + n_table

    def forward(self, images: Tensor, table: Tensor) -> Tensor:
        """Return ``(N, F + G)``."""
        return torch.cat([images, table], dim=1)


class Gated(nn.Module):
    """Each side says something, and a gate that sees both how much of each counts.

    h = z * tanh(W_i i) + (1 - z) * tanh(W_t t), z = sigmoid(W_z [i, t]) (Arevalo et al. 2017, Gated multimodal units,
    eq. 2): unlike `Joint`, what one side is worth may depend on the other.
    """

    def __init__(self, n_images: int, n_table: int) -> None:
        super().__init__()
        self.n_features = GATED_WIDTH
        self.images, self.table = nn.Linear(n_images, GATED_WIDTH), nn.Linear(n_table, GATED_WIDTH)
        self.gate = nn.Linear(n_images + n_table, GATED_WIDTH)

    def forward(self, images: Tensor, table: Tensor) -> Tensor:
        """Return ``(N, GATED_WIDTH)``."""
        z = torch.sigmoid(self.gate(torch.cat([images, table], dim=1)))
        return z * torch.tanh(self.images(images)) + (1 - z) * torch.tanh(self.table(table))


FUSIONS: dict[str, Callable[[int, int], Joint | Gated]] = {"joint": Joint, "gated": Gated}


class CaseBackbone(nn.Module):
    """Cases to features ``(N, Z, 1, 1)``; behind it a linear head as behind any backbone.

    Parameters
    ----------
    encoders
        One, or one per view.
    n_features
        K of an encoder.
    n_views
        V.
    table, fusion
        The table's own layers, and what joins both sides; None without a table.
    """

    def __init__(
        self,
        encoders: list[Encoder],
        n_features: int,
        n_views: int,
        table: table_net.TableBackbone | None = None,
        fusion: Joint | Gated | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.n_features, self.n_views = n_features, n_views
        self.table, self.fusion = table, fusion

    def forward(self, batch: CaseBatch) -> Tensor:
        """Return the features of each case."""
        return self.fused(self.encode(batch)[0], batch.rows)

    def encode(self, batch: CaseBatch) -> tuple[Tensor, Tensor]:
        """Return the pooled image features of each case, ``(N, V * (K + 1))``, and the weight of each image ``(P,)``.

        Of each view the K pooled features and its indicator, 1 where there is an image of it. The weights of one case
        and view sum to 1; those of ``max`` are the shares of the features that an image decides.
        """
        features, weights = self.encoded(batch)
        return self.pooled(batch, weights * features), weights.mean(dim=1)

    def pooled(self, batch: CaseBatch, weighted: Tensor) -> Tensor:
        """Return ``(N, V * (K + 1))``: of each case and view the sum of its images' features ``(P, K)``, and 1.

        All is 0 where there is no image of the view.
        """
        segments, n = self._segments(batch)
        is_present = segment_max(torch.ones_like(weighted[:, :1]), segments, n)
        return torch.cat([segment_sum(weighted, segments, n), is_present], dim=1).view(len(batch.rows), -1)

    def placed(self, pooled: Tensor, view: int) -> Tensor:
        """Return the features of one view ``(N, K)`` at that view's columns of ``(N, V * (K + 1))``, others 0."""
        width = self.n_features + 1
        return nn.functional.pad(pooled, (view * width, (self.n_views - view) * width - self.n_features))

    def fused(self, encoded: Tensor, rows: Tensor) -> Tensor:
        """Return features ``(N, Z, 1, 1)`` of what `encode` gave and the table's rows ``(N, K)``."""
        if self.table is not None and self.fusion is not None:
            encoded = self.fusion(encoded, self.table(rows).flatten(1))
        return encoded[:, :, None, None]

    def encoder_of(self, view: int) -> Encoder:
        """Return what encodes the images of a view."""
        encoder = self.encoders[view if len(self.encoders) > 1 else 0]
        assert isinstance(encoder, Encoder)
        return encoder

    def encoded(self, batch: CaseBatch) -> tuple[Tensor, Tensor]:
        """Return features ``(P, K)`` of all images, and their weights of the same shape."""
        segments, n = self._segments(batch)
        if len(self.encoders) == 1:
            return self.encoders[0](batch.images, segments, n)  # type: ignore[no-any-return]
        features = weights = torch.zeros(len(batch.views), self.n_features, device=batch.rows.device)
        for view, encoder in enumerate(self.encoders):
            members = (batch.views == view).nonzero().flatten()
            if len(members):
                of_view, weights_of_view = encoder(batch.images[members], segments[members], n)
                features = features.index_copy(0, members, of_view)
                weights = weights.index_copy(0, members, weights_of_view)
        return features, weights

    def _segments(self, batch: CaseBatch) -> tuple[Tensor, int]:
        """Return the segment of each image ``(P,)``, and their number."""
        return batch.cases * self.n_views + batch.views, len(batch.rows) * self.n_views


def build_case_net(architecture: CaseArchitecture, weights: str = "none", seed: int = 0) -> focus_net.FocusNet:
    """Return a net of cases, trained like a net of images; `net.weights_origin` says where it starts from.

    Parameters
    ----------
    architecture
        What it is built from.
    weights, seed
        As for `focusmap.nets.build.build_net`.

    >>> net = build_case_net(CaseArchitecture("small-residual", 1, 2, views=("pre", "post")))
    >>> numbers = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])
    >>> net.eval()(CaseBatch(torch.ones(3, 1, 28, 28), *numbers, torch.ones(2, 0))).shape
    torch.Size([2, 2])
    """
    first_weights = find_weights(decoders.split_model(architecture.model)[0], weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        n_encoders = len(architecture.views) if architecture.encoder == "separate" else 1
        built = [_built(architecture, first_weights.hub_file) for _ in range(n_encoders)]
        net = _on_encoders(architecture, built)
    starts = [
        first_weights.load(focus_net.FocusNet(encoder, n_features, architecture.n_logits))
        for encoder, n_features in built
    ]
    net.weights_origin = starts[-1]
    return net


def _built(architecture: CaseArchitecture, file: Path | None) -> tuple[nn.Module, int]:
    """Return what encodes images, and its number of features."""
    if decoders.split_model(architecture.model)[1] not in (decoders.PROBE, decoders.SLICES):
        return backbones.build_backbone(architecture.model, architecture.channels, file)
    levels = build_levels(architecture.model, architecture.channels, file)
    return levels, STATISTICS * levels.num_features


def _on_encoders(architecture: CaseArchitecture, built: list[tuple[nn.Module, int]]) -> focus_net.FocusNet:
    n_features, n_views = built[0][1], len(architecture.views)
    encoders = [Encoder(net, n_features, architecture.pooling) for net, _ in built]
    n_images = n_views * (n_features + 1)
    if not architecture.n_covariates:
        return focus_net.FocusNet(CaseBackbone(encoders, n_features, n_views), n_images, architecture.n_logits)
    fusion = FUSIONS[architecture.fusion](n_images, TABLE_WIDTHS[-1])
    table = table_net.TableBackbone(architecture.n_covariates)
    backbone = CaseBackbone(encoders, n_features, n_views, table, fusion)
    return focus_net.FocusNet(backbone, fusion.n_features, architecture.n_logits)
