"""Every method: the same bytes twice, a batch as one by one, a turned image's map turned, one evidence for all."""

import pytest
import torch
from torch import Tensor, nn

from focusmap.basics import InputError
from focusmap.heatmaps.class_activation import NO_EVIDENCE_BELOW
from focusmap.heatmaps.drawing import HeatMaps, heat_maps
from focusmap.heatmaps.methods import EVIDENCE, METHODS, check_method, choose_method, methods_of
from support.mapped_nets import SmallNet, TokenNet, assert_close, images, turned, turning_net

OF_ANY_NET = [name for name, method in METHODS.items() if method.need is None]
OF_SMALL_NETS = [*methods_of(SmallNet(2)), "gradcam@mirror,sizes,moves"]
# Supervoxels grow from seeds on a grid, which does not turn with the volume.
TURNING = [(method, n_dims) for method in OF_SMALL_NETS[:-1] for n_dims in (2, 3) if (method, n_dims) != ("xrai", 3)]


@pytest.mark.parametrize("method", [*OF_SMALL_NETS, "rollout"])
def test_the_same_image_gives_the_same_bytes(method):
    net, batch = (TokenNet if method == "rollout" else SmallNet)(2).float(), images(2, 2, 16).float()
    first, second = heat_maps(net, batch, method), heat_maps(net, batch, method)
    assert first.maps.numpy().tobytes() == second.maps.numpy().tobytes()


@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("method", [*OF_SMALL_NETS, "rollout"])
def test_a_batch_equals_one_by_one(method, n_dims):
    net, batch = SmallNet(n_dims, "log-sum-exp"), images(8, n_dims)
    net = TokenNet(n_dims) if method == "rollout" else net
    found, singles = heat_maps(net, batch, method), [heat_maps(net, one[None], method) for one in batch]
    assert_close(found.maps, torch.cat([single.maps for single in singles]).numpy(), 1e-6)
    assert_close(found.evidence, torch.cat([single.evidence for single in singles]).numpy(), 1e-6)


@pytest.mark.parametrize(("method", "n_dims"), TURNING)
def test_mirrors_and_quarter_turns_move_the_map_with_the_image(method, n_dims):
    net, batch = turning_net(n_dims), images(1, n_dims)
    expected = turned(heat_maps(net, batch, method).maps)
    assert not torch.allclose(expected[0], expected[-1]), "a map that is symmetric itself proves nothing"
    chosen = range(len(expected)) if n_dims == 2 else (1, 9, 26, 47)
    images_turned = turned(batch)
    for i in chosen:
        assert_close(heat_maps(net, images_turned[i], method).maps, expected[i].numpy(), 1e-9)


@pytest.mark.parametrize("method", OF_SMALL_NETS)
def test_only_the_labels_asked_for_are_mapped(method):
    net, batch = SmallNet(2), images(2, 2)
    every, some = heat_maps(net, batch, method), heat_maps(net, batch, method, labels=(2, 0))
    assert torch.equal(some.maps, every.maps[:, [2, 0]])
    assert torch.equal(some.evidence, every.evidence[:, [2, 0]])
    assert torch.equal(some.logits, every.logits)


@pytest.mark.parametrize("method", OF_SMALL_NETS)
def test_neither_net_nor_image_is_changed(method):
    net, batch = SmallNet(2), images(1, 2)
    heat_maps(net, batch, method)
    assert torch.equal(batch, images(1, 2))
    assert not batch.requires_grad
    assert all(parameter.grad is None for parameter in net.parameters())


def test_evidence_is_what_the_positive_part_of_the_cam_adds_to_the_logit_whatever_the_method():
    net, batch = SmallNet(2), images(3, 2)
    cams = heat_maps(net, batch).maps
    assert (cams < 0).any()
    for method in OF_SMALL_NETS:
        found = heat_maps(net, batch, method)
        torch.testing.assert_close(found.evidence, cams.clamp(min=0).mean(dim=(2, 3)))


PER_CELL = [name for name in OF_ANY_NET if METHODS[name].unit.per_cell and METHODS[name].unit.words == EVIDENCE.words]


@pytest.mark.parametrize("method", [name for name in PER_CELL if name != "xrai"])
def test_what_a_map_per_cell_holds_adds_up_to_logits(method):
    """On a net without bias whose features all speak for the label, every one of these maps is the logit, divided."""
    net, batch = SmallNet(2), images(2, 2).abs()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(parameter.abs() if parameter.ndim > 1 else torch.zeros_like(parameter))
    found = heat_maps(net, batch, method)
    torch.testing.assert_close(found.maps.sum(dim=(2, 3)), found.logits)


class Blind(nn.Module):
    """A net that sees nothing: its features do not depend on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2).double()

    def features(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 2, 4, 4, dtype=x.dtype)

    def classify(self, features: Tensor) -> Tensor:
        return self.head(features.mean(dim=(2, 3)))


@pytest.mark.parametrize("method", OF_ANY_NET)
def test_a_net_that_sees_nothing_has_no_evidence_and_an_empty_map(method):
    found = heat_maps(Blind().eval(), images(1, 2), method)
    assert not found.has_evidence.any()
    assert torch.equal(found.maps, torch.zeros_like(found.maps))


def test_evidence_below_the_least_is_none():
    least = torch.tensor([[0.9 * NO_EVIDENCE_BELOW, 1.1 * NO_EVIDENCE_BELOW]])
    assert HeatMaps(least, least, least).has_evidence.tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("method", "remedy"),
    [("focus", "resnet18-fpn"), ("layercam-stages", "resnet18"), ("rollout", "vit_tiny_patch16_224")],
)
def test_a_net_that_lacks_what_a_method_needs_is_refused_with_a_remedy(method, remedy):
    assert method not in methods_of(Blind())
    with pytest.raises(InputError, match=rf"'{method}' needs .* such as --model {remedy}; for this one use cam"):
        choose_method(f"{method}@mirror", Blind())


def test_an_unknown_method_is_named_with_the_nearest():
    assert check_method("gradcam") == "gradcam"
    with pytest.raises(
        InputError, match=r"is not one of focus, acam, reconstruction, cam, gradcam, .* Did you mean 'gradcam'"
    ):
        check_method("grad-cam")
