"""Nets for volumes: one interface, gradients through every shortcut, MedicalNet's weights under their names."""

from pathlib import Path

import numpy as np
import pytest
import torch

from focusmap.basics import InputError
from focusmap.nets.backbones import build_backbone, check_size, stages_of
from focusmap.nets.build import Architecture, build_net, check_recipe
from focusmap.nets.focus_net import Ensemble
from focusmap.nets.grids import View, bring_home, show, warped
from focusmap.nets.pooling import POOLINGS, PoolingOptions
from focusmap.nets.staged import PaddedShortcut
from focusmap.study import Recipe


def test_medicalnets_file_is_the_start_of_a_net(tmp_path: Path) -> None:
    from monai.networks.nets import resnet10

    torch.manual_seed(7)
    medical = resnet10(spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type="B", bias_downsample=False)
    torch.save({"state_dict": {f"module.{k}": v for k, v in medical.state_dict().items()}}, tmp_path / "resnet_10.pth")
    net = build_net(Architecture("resnet10-3d", 1, 2), str(tmp_path / "resnet_10.pth"))
    own = net.backbone.state_dict()
    assert net.weights_origin.reason == f"{len(own)} of {len(net.state_dict())} tensors from resnet_10.pth"
    for name, tensor in medical.state_dict().items():
        assert torch.equal(own[f"net.{name}"], tensor)
    four = build_net(Architecture("resnet10-3d-fpn", 4, 1), str(tmp_path / "resnet_10.pth"))
    assert torch.allclose(
        four.backbone.state_dict()["net.conv1.weight"], own["net.conv1.weight"].expand(-1, 4, -1, -1, -1) / 4
    )


def test_the_shortcut_without_weights_is_monais_but_lets_gradients_through() -> None:
    from monai.networks.nets import resnet18

    whole = resnet18(spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type="A")
    x = torch.randn(2, 64, 5, 4, 6)
    theirs = whole.layer2[0].downsample(x)
    assert torch.equal(PaddedShortcut(128, 2)(x), theirs)
    net, _ = build_backbone("resnet18-3d", 1)
    volume = torch.randn(1, 1, 32, 32, 32, requires_grad=True)
    with torch.no_grad():
        for block in (net.net.layer2[0], net.net.layer3[0], net.net.layer4[0]):
            block.bn2.weight.zero_()  # what is left of the block is its shortcut
            block.bn2.bias.zero_()
    net.eval()(volume).sum().backward()
    assert float(volume.grad.abs().sum()) > 0


@pytest.mark.parametrize("pooling", list(POOLINGS))
def test_focus_maps_of_volumes_with_every_pooling(pooling: str) -> None:
    architecture = Architecture("small-residual-3d-fpn", 2, 3, PoolingOptions(pooling), ((1, 3),))
    net = build_net(architecture).eval()
    x = torch.randn(2, 2, 16, 12, 8)
    with torch.inference_mode():
        logits, maps = net.forward_with_focus(x)
        one = net.forward_with_focus(x[1:])
    assert logits.shape == (2, 3)
    assert maps.shape == (2, 3, 8, 6, 4)
    assert float(maps.min()) >= 0
    assert float(maps.max()) <= 1
    torch.testing.assert_close(one[0], logits[1:], atol=1e-4, rtol=1e-4)
    assert Architecture.from_dict(architecture.to_dict()) == architecture


def test_every_parameter_has_a_stage() -> None:
    for name, n_stages in (("densenet121-3d", 4), ("resnet10-3d", 4)):
        net, _ = build_backbone(name, 1)
        stages = stages_of(net)
        assert set(stages) == {key for key, _ in net.named_parameters()}
        assert set(stages.values()) == set(range(n_stages))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "densenet121-3d", "shape": (96, 96, 24)}, "volumes of at least 32 voxels a side, not 24"),
        ({"model": "resnet18", "shape": (32, 32, 32)}, "are for volumes, and resnet18 takes images"),
        ({"model": "resnet18", "channels": 4}, "have 1 or 3"),
        ({"model": "resnet19-3d"}, "Did you mean 'resnet1[08]-3d'"),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_recipe(Recipe(**values))


def test_a_volume_of_few_slices_is_taken() -> None:
    check_size("resnet18-3d", (96, 96, 24))
    check_size("small-residual-3d", (64, 64, 8))


def test_a_warp_of_a_volume_is_that_of_its_slices() -> None:
    """Rows of an image are the second axis of the volume, columns the first."""
    volume = torch.randn(2, 1, 9, 9, 4, generator=torch.Generator().manual_seed(0))
    plane = torch.tensor([[[0.9, -0.3, 0.1], [0.2, 1.1, -0.2]]]).expand(2, 2, 3)
    space = torch.zeros(2, 3, 4)
    space[:, :2, :2], space[:, :2, 3], space[:, 2, 2] = plane[:, :, :2], plane[:, :, 2], 1.0
    found = warped(volume, space, "border")
    for k in range(4):
        image = warped(volume[..., k].transpose(2, 3), plane, "border")
        torch.testing.assert_close(found[..., k].transpose(2, 3), image, atol=1e-5, rtol=1e-5)


def test_a_quarter_turn_of_a_volume_that_is_not_square_keeps_its_voxels() -> None:
    """Coordinates are of equally long sides: what turns does not shear."""
    volume = torch.zeros(1, 1, 21, 11, 3)
    volume[0, 0, 13, 5, 1] = 1.0
    turn = torch.tensor([[[0.0, -1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]])
    found = np.argwhere(warped(volume, turn, "zeros")[0, 0].numpy() > 0.99)
    assert found.tolist() == [[10, 2, 1]]


def test_a_view_of_a_volume_brings_its_maps_home() -> None:
    volume = torch.zeros(1, 1, 32, 32, 4)
    volume[0, 0, 20:23, 9:12, 2] = 1.0
    view = View(mirror=True, scale=1.1, down=0.05, right=-0.04)
    home = bring_home(view, show(view, volume))
    assert float((home - volume).abs().mean()) < 0.01
    assert np.unravel_index(int(home.argmax()), home.shape)[2:5] == (21, 10, 2)
    net = build_net(Architecture("small-residual-3d", 1, 1)).eval()
    with torch.inference_mode():
        assert Ensemble([net], (View(), View(mirror=True)))(volume).shape == (1, 1)
