"""The views that models give of themselves to heat maps: nets of single images, models of cases, means of models."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np
import torch

from focusmap.basics import InputError
from focusmap.evaluation import divisors
from focusmap.heatmaps.drawing import HeatMaps, check_copies, heat_maps
from focusmap.heatmaps.methods import FOCUS, choose_method, method_of, methods_of, unit_of
from focusmap.heatmaps.view import BatchMaps, Card, NetView, deviations_of
from focusmap.images import AnyPreparation, VolumePreparation
from focusmap.nets import Ensemble, FocusNet, ImageInCase, on_finest
from focusmap.study import Batch, Cohort

AnyNet: TypeAlias = FocusNet | Ensemble | ImageInCase


@dataclass(frozen=True)
class ImageView:
    """A net that is shown single images, or an ensemble of such nets with one preparation."""

    card: Card
    net: FocusNet | Ensemble
    preparation: AnyPreparation

    @property
    def preparations(self) -> tuple[AnyPreparation, ...]:
        """The one of the net."""
        return (self.preparation,)

    @property
    def methods(self) -> tuple[str, ...]:
        """As `NetView.methods`."""
        return methods_of(self.net)

    def check(self, method: str | None) -> str:
        """Return the method, as `NetView.check`."""
        return _checked(method, self.net, self.preparation)

    def map_batch(self, batch: Batch, method: str, labels: Sequence[int]) -> BatchMaps:
        """Return logits and maps of each image, as `NetView.map_batch`; the net is set to eval mode."""
        drawn = _drawn(self.net.eval(), batch.images(self.preparation).pixels, method, labels)
        logits = self.card.task.in_units(drawn.logits.cpu().double().numpy(), self.card.scales)
        deviations = deviations_of(self.card)[labels]
        if method_of(method) == FOCUS:
            # Focus maps are shares, whatever the target.
            deviations = np.ones_like(deviations)
        return _batch_maps(logits, drawn, deviations, len(logits) * [1])


class CaseModel(Protocol):
    """A model of cases that can be taken apart into nets of its images."""

    @property
    def card(self) -> Card:
        """How its logits are read."""

    @property
    def preparation(self) -> AnyPreparation:
        """How images are prepared for it."""

    def image_net(self) -> ImageInCase:
        """Return the net of a blank image in a case of its own."""

    def take_apart(self, images: np.ndarray, case: Cohort) -> tuple[np.ndarray, list[ImageInCase]]:
        """Return the logits ``(1, L)`` of one case, and the nets of its images."""


@dataclass(frozen=True)
class CaseView:
    """A model that is shown cases of images: all else of a case is held fixed while one of its images is explained.

    How one image of a case becomes a net of its own stands in `focusmap.nets.case_images`. Since images add up, one
    has evidence worth showing from an even share of what a case needs.
    """

    model: CaseModel

    @property
    def card(self) -> Card:
        """The model's."""
        return self.model.card

    @property
    def preparations(self) -> tuple[AnyPreparation, ...]:
        """The one of the model."""
        return (self.model.preparation,)

    @property
    def methods(self) -> tuple[str, ...]:
        """As `NetView.methods`."""
        return methods_of(self.model.image_net())

    def check(self, method: str | None) -> str:
        """Return the method, as `NetView.check`."""
        return _checked(method, self.model.image_net(), self.model.preparation)

    def map_batch(self, batch: Batch, method: str, labels: Sequence[int]) -> BatchMaps:
        """Return the logits of each case, once for each of its images, and the maps of each of these images."""
        pixels, owner = batch.images(self.model.preparation).pixels, batch.table["position"].to_numpy()
        several = [
            self._map_case(pixels[owner == position], batch.rows.take([position]), method, labels)
            for position in range(len(batch))
        ]
        of_images = {
            name: np.concatenate([getattr(one, name) for one in several])
            for name in ("logits", "maps", "amounts", "sharing")
        }
        return replace(several[0], **of_images)

    def _map_case(self, pixels: np.ndarray, case: Cohort, method: str, labels: Sequence[int]) -> BatchMaps:
        logits, nets = self.model.take_apart(pixels, case)
        drawn = [_drawn(net, pixels[[k]], method, labels) for k, net in enumerate(nets)]
        n = len(pixels)
        return _batch_maps(np.repeat(logits, n, axis=0), _together(drawn), deviations_of(self.card)[labels], n * [n])


@dataclass(frozen=True)
class MeanView:
    """The mean of several models, each of which sees images prepared in its own way.

    Its map is the mean of theirs on one grid, the finest of each axis. A map that is brought to a finer grid keeps its
    mean, so that the mean map adds up to the mean of what the members' maps add up to.

    Raises
    ------
    InputError
        If the members are shown different parts of an image, so that their maps do not lie on one another.
    """

    card: Card
    members: tuple[NetView, ...]

    def __post_init__(self) -> None:
        if len({_part_shown(preparation) for preparation in self.preparations}) > 1:
            raise InputError("the models of this ensemble are shown different parts of an image; it has no common map.")

    @property
    def preparations(self) -> tuple[AnyPreparation, ...]:
        """Those of all members, each once."""
        return tuple(dict.fromkeys(one for member in self.members for one in member.preparations))

    @property
    def methods(self) -> tuple[str, ...]:
        """As `NetView.methods`: those of all members."""
        first, *others = (member.methods for member in self.members)
        return tuple(name for name in first if all(name in methods for methods in others))

    def check(self, method: str | None) -> str:
        """Return the method, as `NetView.check`; where the members have different usual ones, it is ``cam``."""
        names = {member.check(method) for member in self.members}
        return names.pop() if len(names) == 1 else self.check("cam")

    def map_batch(self, batch: Batch, method: str, labels: Sequence[int]) -> BatchMaps:
        """Return the mean logits and maps of the members, each divided by its temperatures, as in prediction."""
        several = [
            _calibrated(member, member.map_batch(batch, method, labels), method, labels) for member in self.members
        ]
        return mean_of(several, method)


def _calibrated(view: NetView, mapped: BatchMaps, method: str, labels: Sequence[int]) -> BatchMaps:
    """Return logits, maps and amounts divided by a member's temperatures; focus maps, which are shares, stay."""
    each = divisors(view.card.task, view.card.temperatures)
    of_labels = each[list(labels)]
    by_place = of_labels.reshape(-1, *[1] * (mapped.maps.ndim - 2)).astype(np.float32)
    maps = mapped.maps if method_of(method) == FOCUS else mapped.maps / by_place
    return replace(mapped, logits=mapped.logits / each, maps=maps, amounts=mapped.amounts / of_labels)


def mean_of(several: Sequence[BatchMaps], method: str) -> BatchMaps:
    """Return the mean logits and maps of several models of the same images, the maps on the finest of their grids."""
    deviations = np.mean([mapped.deviations for mapped in several], axis=0)
    per_cell = unit_of(method).per_cell
    maps = on_finest([torch.from_numpy(np.ascontiguousarray(mapped.maps)) for mapped in several], per_cell=per_cell)
    return BatchMaps(
        logits=np.mean([mapped.logits for mapped in several], axis=0),
        maps=torch.stack(maps).mean(dim=0).numpy(),
        amounts=np.mean([mapped.amounts * mapped.deviations / deviations for mapped in several], axis=0),
        deviations=deviations,
        sharing=several[0].sharing,
    )


def _part_shown(preparation: AnyPreparation) -> object:
    """Return what decides which part of an image a prepared one shows."""
    is_cut_in_mm = isinstance(preparation, VolumePreparation) and preparation.spacing is not None
    return replace(preparation, channels=1) if is_cut_in_mm else preparation.crop


def _checked(method: str | None, net: AnyNet, preparation: AnyPreparation) -> str:
    name = choose_method(method, net.eval())
    check_copies(net, torch.zeros(1, *preparation.input_shape, device=_device(net)), name)
    return name


def _drawn(net: AnyNet, pixels: np.ndarray, method: str, labels: Sequence[int]) -> HeatMaps:
    return heat_maps(net, torch.from_numpy(pixels).to(_device(net)), method, labels)


def _device(net: AnyNet) -> torch.device:
    return next(net.parameters()).device


def _together(found: Sequence[HeatMaps]) -> HeatMaps:
    parts = zip(*((one.logits, one.maps, one.evidence) for one in found), strict=True)
    return HeatMaps(*map(torch.cat, parts))


def _batch_maps(logits: np.ndarray, found: HeatMaps, deviations: np.ndarray, sharing: Sequence[int]) -> BatchMaps:
    maps = found.maps.float().cpu().numpy()
    return BatchMaps(
        logits=logits,
        maps=maps * deviations.reshape(-1, *[1] * (maps.ndim - 2)),
        amounts=found.evidence.float().cpu().numpy(),
        deviations=deviations,
        sharing=np.array(sharing, np.float32),
    )
