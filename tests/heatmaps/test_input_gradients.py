"""Gradients of the input equal their papers' formulas in 2-D and 3-D, and Captum."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import support.map_oracles as oracles
from focusmap.heatmaps.drawing import heat_maps
from focusmap.heatmaps.gradients import N_STEPS, guided_backpropagation, orientations, saliency, symmetric_noise
from support.mapped_nets import N_LABELS, SmallNet, assert_close, images, net_of

BACKBONES = ["small-residual", pytest.param("resnet18", marks=pytest.mark.slow)]


@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_maps_equal_the_papers_formulas(n_dims, channels):
    net, batch = SmallNet(n_dims, "log-sum-exp", channels), images(2, n_dims, 6, channels)
    noises = symmetric_noise(batch[0].shape)
    slow = {
        "gradients": oracles.saliency,
        "smoothgrad": lambda *given: oracles.smooth_grad(*given, noises),
        "integrated-gradients": lambda *given: oracles.integrated_gradients(*given, N_STEPS),
    }
    for method, oracle in slow.items():
        expected = np.stack([[oracle(net, image, label) for label in (2, 0)] for image in batch])
        assert_close(heat_maps(net, batch, method, labels=(2, 0)).maps, expected, 1e-12)


@pytest.mark.parametrize("name", BACKBONES)
def test_maps_equal_captum(name):
    attr = pytest.importorskip("captum.attr")
    net, batch = net_of(name), images(2, 2, 32).float()
    saliency, integrated = attr.Saliency(net), attr.IntegratedGradients(net)
    theirs = saliency.attribute(batch, target=1)
    assert_close(heat_maps(net, batch, "gradients", (1,)).maps[:, 0], theirs.amax(dim=1).numpy())
    theirs = integrated.attribute(batch, target=1, n_steps=N_STEPS, method="riemann_middle").float()
    assert_close(heat_maps(net, batch, "integrated-gradients", (1,)).maps[:, 0], theirs.detach().sum(dim=1).numpy())
    spread = 0.15 * (batch.amax(dim=(1, 2, 3), keepdim=True) - batch.amin(dim=(1, 2, 3), keepdim=True))
    noisy = [batch + spread * noise.float() for noise in symmetric_noise((1, 32, 32))]
    theirs = sum(saliency.attribute(x, target=1, abs=False) for x in noisy) / len(noisy)
    assert_close(heat_maps(net, batch, "smoothgrad", (1,)).maps[:, 0], theirs.abs().amax(dim=1).numpy())


class Functional(nn.Module):
    """A net of two linear layers whose ReLU is a function, not a module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(36, 20).double(), nn.Linear(20, N_LABELS).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(nn.functional.relu(self.first(x.flatten(1))))


def test_guided_backpropagation_equals_the_papers_rule():
    net, batch = Functional(), images(2, 2, 6)
    found = guided_backpropagation(net, batch, range(N_LABELS))
    with torch.no_grad():
        active = (net.first(batch.flatten(1)) > 0)[:, None]
        passed = net.second.weight.clamp(min=0) * active
        expected = (passed @ net.first.weight).abs().reshape(2, N_LABELS, 6, 6)
    assert_close(found, expected.numpy(), 1e-12)
    assert not torch.allclose(found, saliency(net, batch, range(N_LABELS)))


def test_guided_backpropagation_equals_captum():
    attr = pytest.importorskip("captum.attr")
    net, batch = SmallNet(2, "log-sum-exp"), images(2, 2)
    theirs = attr.GuidedBackprop(net).attribute(batch.clone().requires_grad_(), target=1)
    assert_close(heat_maps(net, batch, "guided-backprop", (1,)).maps[:, 0], theirs.abs().amax(dim=1).numpy(), 1e-12)


def test_integrated_gradients_add_up_to_what_the_image_changes():
    net, batch = net_of("small-residual"), images(2, 2, 32).float()
    found = heat_maps(net, batch, "integrated-gradients")
    with torch.no_grad():
        changed = found.logits - net(torch.zeros_like(batch))
    torch.testing.assert_close(found.maps.sum(dim=(2, 3)), changed, rtol=0, atol=0.03 * float(changed.abs().max()))


def test_noise_is_the_same_set_in_all_orientations_and_standard_normal():
    noises = symmetric_noise((1, 6, 6))
    given = {noise.numpy().tobytes() for noise in noises}
    assert len(given) == len(noises)
    assert {noise.rot90(1, (1, 2)).contiguous().numpy().tobytes() for noise in noises} == given
    assert {noise.flip(2).numpy().tobytes() for noise in noises} == given
    many = torch.cat([noise.flatten() for noise in symmetric_noise((1, 64, 64))])
    assert abs(float(many.mean())) < 0.05
    assert float(many.std()) == pytest.approx(1, abs=0.05)


def test_an_image_that_is_not_square_is_mirrored_but_not_turned():
    assert [tuple(x.shape) for x in orientations(torch.zeros(1, 2, 3))] == [(1, 2, 3)] * 4
    assert len(list(orientations(torch.zeros(1, 2, 2, 2)))) == 48
