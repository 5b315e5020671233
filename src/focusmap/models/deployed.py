"""What is exported of a model: one module from uint8 images, as any program reads them, to calibrated answers.

The steps of the preparation are sums over rows and columns here, so that one graph takes images of any size: shrinking
is the mean over what a cell covers (OpenCV's ``INTER_AREA``), enlarging a cubic convolution of four neighbours
(``INTER_CUBIC``), and padding a row of zeros in the matrix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.basics import InputError
from focusmap.evaluation import divisors
from focusmap.heatmaps import FOCUS, RECONSTRUCTION, unit_of
from focusmap.images import AnyPreparation, Preparation, parse_crop
from focusmap.models import ood
from focusmap.models.ensemble import MeanModel
from focusmap.models.net import Model
from focusmap.models.predictor import Predictor
from focusmap.nets import Ensemble, FocusNet, LevelsNet, bring_home, follow_edges, on_finest, show
from focusmap.study import Task

# Of cubic convolution, and the steps in which OpenCV holds its weights.
CUBIC, WEIGHT_STEPS = -0.75, 2048
LUMA = (0.299, 0.587, 0.114)
WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)


class Span(NamedTuple):
    """One axis: the cells that are kept, where they come to lie in the square, and the places of both."""

    first: Tensor
    n_kept: Tensor
    start: Tensor
    n_out: Tensor
    cells: Tensor
    places: Tensor

    @property
    def inside(self) -> Tensor:
        """``(S,) bool``: which places of the square are no padding."""
        return (self.places >= self.start) & (self.places < self.start + self.n_out)


class PixelSteps(nn.Module):
    """The steps from images ``(N, H, W, 3) uint8`` to a net's input, as `focusmap.images.prepare` takes them."""

    def __init__(self, preparation: Preparation) -> None:
        super().__init__()
        self.preparation = preparation
        # What each image decides for itself is cut out before it comes here.
        self.shares = parse_crop(preparation.crop) or WHOLE_IMAGE

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return levels of 0 to 255 and what a net is shown of them, both ``(N, C, S, S)``."""
        rows, columns = self._spans(images)
        shrinks = rows.n_out * columns.n_out < rows.n_kept * columns.n_kept
        down, across = (torch.where(shrinks, _area(span), _cubic(span)) for span in (rows, columns))
        pixels = images.permute(0, 3, 1, 2).float()
        # Halves rise, as OpenCV rounds them where an image shrinks to its half.
        levels = (down @ pixels @ across.T + 0.5).floor().clamp(0, 255)
        if self.preparation.channels == 1:
            levels = (levels * levels.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True).round()
        return levels, self._standardised(levels, rows.inside[:, None] & columns.inside)

    def _spans(self, images: Tensor) -> tuple[Span, Span]:
        top, left, bottom, right = self.shares
        lines = [_kept(images[0, :, 0, 0], top, bottom), _kept(images[0, 0, :, 0], left, right)]
        longer = torch.maximum(lines[0][1], lines[1][1])
        return _span(*lines[0], longer, self.preparation.size), _span(*lines[1], longer, self.preparation.size)

    def _standardised(self, levels: Tensor, content: Tensor) -> Tensor:
        if self.preparation.scaling == "range":
            return (levels - 127.5) / 127.5
        n = content.float().sum() * levels.shape[1]
        mean = (levels * content).sum(dim=(1, 2, 3), keepdim=True) / n
        variance = ((levels - mean).square() * content).sum(dim=(1, 2, 3), keepdim=True) / n
        return (levels - mean) / torch.where(variance > 0, variance.sqrt(), torch.ones_like(variance))


def _kept(line: Tensor, start: float, stop: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return of the cells ``(n,)`` of an axis the first that is kept, how many are, and the number of each."""
    ones = torch.ones_like(line, dtype=torch.float32)
    n = ones.sum()
    first = torch.minimum((start * n).round(), n - 1)
    return first, torch.maximum((stop * n).round(), first + 1) - first, ones.cumsum(dim=0) - 1


def _span(first: Tensor, n_kept: Tensor, numbers: Tensor, longer: Tensor, size: int) -> Span:
    n_out = (n_kept * size / longer).round().clamp(min=1)
    return Span(first, n_kept, ((size - n_out) / 2).floor(), n_out, numbers, torch.arange(size, dtype=torch.float32))


def _area(span: Span) -> Tensor:
    """Return ``(S, n)``: the share of each cell in the mean over what a place of the square covers."""
    step = span.n_kept / span.n_out
    low = (span.first + (span.places - span.start) * step)[:, None]
    shared = torch.minimum(span.cells + 1, low + step) - torch.maximum(span.cells, low)
    return shared.clamp(min=0) / step * span.inside[:, None]


def _cubic(span: Span) -> Tensor:
    """Return ``(S, n)``: the weights of cubic convolution; the outermost cells stand for what lies beyond."""
    centre = span.first + (span.places - span.start + 0.5) * (span.n_kept / span.n_out) - 0.5
    weights = torch.zeros_like(centre[:, None] - span.cells)
    for neighbour in (-1, 0, 1, 2):
        cell = centre.floor() + neighbour
        weight = (_convolution((cell - centre).abs()) * WEIGHT_STEPS).round() / WEIGHT_STEPS
        inside = torch.minimum(torch.maximum(cell, span.first), span.first + span.n_kept - 1)
        weights = weights + weight[:, None] * (inside[:, None] == span.cells)
    return weights * span.inside[:, None]


def _convolution(away: Tensor) -> Tensor:
    """Return Keys' kernel (IEEE Trans. ASSP 29 (1981), eq. 4) with the slope of OpenCV, at distances of up to 2."""
    near = ((CUBIC + 2) * away - (CUBIC + 3)) * away * away + 1
    return torch.where(away <= 1, near, ((CUBIC * away - 5 * CUBIC) * away + 8 * CUBIC) * away - 4 * CUBIC)


class Unlike(nn.Module):
    """In what images are unlike those of train, as `focusmap.models.ood` says it: distances in units of their limit."""

    def __init__(self, limits: ood.Ood, size: int) -> None:
        super().__init__()
        self.aspects = tuple(limits.aspects)
        self.trains: list[Sequence[ood.Aspect]] = list(limits.aspects.values())
        self.scales = [_Cells.of(size, ood.FINE[2] // factor) for factor in (1, 1, 2, 4)]
        self.layout = _Cells.of(size, ood.LAYOUT[2])

    def forward(self, levels: Tensor) -> Tensor:
        """Return ``(N, A)``: of each aspect the distance to the nearest train, above 1 where an image is unlike it."""
        grey, channels = _greys(levels)
        fine = self.scales[0].means(grey)
        shares = [_shares(fine, ood.GREY_BINS, ood.GREY_RANGE)]
        shares += [_shares(one.steepness(grey), ood.SLOPE_BINS, ood.LOG2_SLOPE_RANGE) for one in self.scales[1:]]
        described = [torch.cat([*shares, channels], dim=1), self.layout.means(grey).flatten(1)]
        return torch.stack([_nearest(*pair) for pair in zip(described, self.trains, strict=True)], dim=1)


@dataclass(frozen=True)
class _Cells:
    """Means over cells along an axis, ``(n, S)``, and slopes between neighbours, ``(n, n)``."""

    averages: Tensor
    slopes: Tensor

    @classmethod
    def of(cls, size: int, n: int) -> "_Cells":
        averages = np.stack([ood.cells(row, n) for row in np.eye(size)], axis=1)
        slopes = np.gradient(np.eye(len(averages)), axis=0) if len(averages) > 1 else np.zeros((1, 1))
        return cls(torch.from_numpy(averages).float(), torch.from_numpy(slopes).float())

    def means(self, grey: Tensor) -> Tensor:
        return self.averages @ grey @ self.averages.T

    def steepness(self, grey: Tensor) -> Tensor:
        means = self.means(grey)
        squares = (self.slopes @ means).square() + (means @ self.slopes.T).square()
        return torch.log2(squares.sqrt() + ood.LEAST_SLOPE)


def _greys(levels: Tensor) -> tuple[Tensor, Tensor]:
    grey = levels.mean(dim=1)
    mean = grey.mean(dim=(1, 2), keepdim=True)
    variance = (grey - mean).square().mean(dim=(1, 2), keepdim=True)
    deviation = torch.where(variance > 0, variance.sqrt(), torch.ones_like(variance))
    apart = (levels.mean(dim=(2, 3)) - mean[:, 0]) / deviation[:, 0]
    return (grey - mean) / deviation, apart if levels.shape[1] > 1 else apart[:, :0]


def _shares(values: Tensor, n: int, ends: tuple[float, float]) -> Tensor:
    steps = ((values.flatten(1) - ends[0]) * (n / (ends[1] - ends[0]))).floor().clamp(0, n - 1)
    return (steps[:, :, None] == torch.arange(n, dtype=torch.float32)).float().mean(dim=1).sqrt()


def _nearest(described: Tensor, trains: Sequence[ood.Aspect]) -> Tensor:
    """Return ``(N,)``: the distance of descriptions ``(N, D)`` to the nearest of several trains, in its limit."""
    distances = []
    for train in trains:
        apart = described - torch.from_numpy(train.centre).float()
        square = ((apart @ torch.from_numpy(train.precision).float()) * apart).sum(dim=1)
        distances.append(square.clamp(min=0).sqrt() / float(train.limit))
    return torch.stack(distances).amin(dim=0)


class OneNet(nn.Module):
    """A net of single images, or an ensemble of nets with one preparation."""

    def __init__(self, model: Model, position: int, method: str) -> None:
        super().__init__()
        self.net, self.position, self.method = model.net, position, method
        zeros, ones = np.zeros((1, model.task.n_logits)), np.ones((1, model.task.n_logits))
        origin = model.to_units(zeros)
        self.gain: Tensor
        self.origin: Tensor
        self.register_buffer("origin", torch.from_numpy(origin).float(), persistent=False)
        self.register_buffer("gain", torch.from_numpy(model.to_units(ones) - origin).float(), persistent=False)

    def forward(self, shown: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits and maps in the targets' own units; of an ensemble their means over members and views."""
        x = shown[self.position]
        if isinstance(self.net, FocusNet):
            logits, maps = self._answer(self.net, x)
        else:
            logits, maps = self._mean(self.net, x)
        return self.gain * logits + self.origin, maps * self._unit(self.gain, maps)

    def _mean(self, ensemble: Ensemble, x: Tensor) -> tuple[Tensor, Tensor]:
        answers = []
        for net, view, gain, offset in ensemble.passes():
            logits, maps = self._answer(net, show(view, x))
            answers.append((gain * logits + offset, self._unit(gain, maps) * bring_home(view, maps)))
        every_logits, every_map = zip(*answers, strict=True)
        maps = torch.stack(on_finest(every_map)).mean(dim=0)
        if self.method != FOCUS and ensemble.is_over_sizes:
            maps = follow_edges(maps, x)
        return torch.stack(every_logits).mean(dim=0), maps

    def _unit(self, gain: Tensor, maps: Tensor) -> Tensor:
        # Focus maps are shares, whatever the unit of the logits.
        return torch.ones_like(maps[:1]) if self.method == FOCUS else gain.reshape(-1, *[1] * (maps.ndim - 2))

    def _answer(self, net: FocusNet, x: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(net, LevelsNet):
            return net.answer_together(x)
        features = net.features(x)
        maps = net.focus_maps(features) if self.method == FOCUS else net.evidence(features)
        return net.classify(features), maps


class MeanOfNets(nn.Module):
    """The mean of the calibrated logits of nets of several kinds, and of their maps."""

    def __init__(self, members: Sequence["OneNet | MeanOfNets"], each: Sequence[np.ndarray], method: str) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.divisors = [torch.from_numpy(of_member).float() for of_member in each]
        self.method = method

    def forward(self, shown: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, L)`` and maps ``(N, L, *grid)`` on the finest grid of the members'."""
        answers = []
        for member, by in zip(self.members, self.divisors, strict=True):
            logits, maps = member(shown)
            by_place = by.reshape(-1, *[1] * (maps.ndim - 2))
            answers.append((logits / by, maps if self.method == FOCUS else maps / by_place))
        every_logits, every_map = zip(*answers, strict=True)
        on_one = on_finest(every_map, per_cell=unit_of(self.method).per_cell)
        return torch.stack(every_logits).mean(dim=0), torch.stack(on_one).mean(dim=0)


class Deployed(nn.Module):
    """All that is exported: from images, or prepared volumes, to answers, maps and what they were made of.

    Parameters
    ----------
    model
        A net of single images, or a mean of such nets.
    limits
        What train looks like; None where that is not known.
    """

    def __init__(self, model: Predictor, limits: ood.Ood | None = None) -> None:
        super().__init__()
        self.preparations = model.preparations
        self.task: Task = model.task
        self.method = _method_of(model)
        self.answering = _answering(model, self.preparations, self.method)
        flat = [one for one in self.preparations if isinstance(one, Preparation)]
        self.steps = nn.ModuleList([PixelSteps(one) for one in flat])
        self.unlike = Unlike(limits, flat[0].size) if limits is not None and flat else None
        self.divisors = torch.from_numpy(divisors(self.task, model.card.temperatures)).float()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return what `focusmap.models.export` names, in this order."""
        if not self.steps:
            return self._answers([images])
        levels, shown = zip(*(steps(images) for steps in self.steps), strict=True)
        unlike = () if self.unlike is None else (self.unlike(levels[0]),)
        return *self._answers(shown), *unlike, *shown

    def _answers(self, shown: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        logits, maps = self.answering(shown)
        return self._probabilities(logits / self.divisors), logits, maps

    def _probabilities(self, logits: Tensor) -> Tensor:
        probabilities = []
        for target in self.task.targets:
            of_target = logits[:, self.task.slice_of(target.name)]
            as_it_is = of_target if target.is_number else of_target.sigmoid()
            is_class = target.has_logit_per_class
            probabilities.append(of_target.softmax(dim=1) if is_class else as_it_is)
        return torch.cat(probabilities, dim=1)


def _method_of(model: Predictor) -> str:
    """Return the method by which the graph draws maps: that of the nets, or ``cam`` where they differ."""
    if isinstance(model, Model):
        usual = RECONSTRUCTION if model.net.reconstructs else "cam"
        return FOCUS if model.net.has_focus else usual
    if not isinstance(model, MeanModel) or not all(isinstance(one, Model | MeanModel) for one in model.members):
        kind = str(model.card.architecture.get("model"))
        raise InputError(
            f"model {kind!r} is no net of single images, nor a mean of such nets; only those are exported."
        )
    names = {_method_of(member) for member in model.members}
    return names.pop() if len(names) == 1 else "cam"


def _answering(model: Predictor, preparations: Sequence[AnyPreparation], method: str) -> OneNet | MeanOfNets:
    if isinstance(model, Model):
        return OneNet(model, preparations.index(model.preparation), method)
    members = [_answering(member, preparations, method) for member in model.members]
    return MeanOfNets(members, [divisors(model.task, member.card.temperatures) for member in model.members], method)
