"""LayerCAM of all stages equals the paper's fusion; every backbone hands out stages that lead to its logits."""

import numpy as np
import pytest
import torch

import support.map_oracles as oracles
from focusmap.basics import InputError
from focusmap.heatmaps.drawing import heat_maps
from focusmap.heatmaps.gradients import gradients_of
from focusmap.heatmaps.methods import methods_of
from focusmap.nets import Architecture, build_net
from support.mapped_nets import SmallNet, assert_close, images

# One of each way that timm hands out stages, ours, MONAI's, and focus-map nets.
NAMES = (
    "small-residual", "resnet18", "densenet121", "mobilenetv3_small_050", "resnet10t-fpn", "small-residual-pan",
    "small-residual-3d", "resnet10-3d", "densenet121-3d", "resnet10-3d-fpn",
)  # fmt: skip


@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("head", ["linear", "log-sum-exp"])
def test_maps_equal_the_papers_fusion(head, n_dims):
    net, batch = SmallNet(n_dims, head), images(2, n_dims)
    found = heat_maps(net, batch, "layercam-stages", labels=(2, 0)).maps
    for image, maps in zip(batch, found, strict=True):
        for label, of_label in zip((2, 0), maps, strict=True):
            stages = net.stages(image[None])
            expected = oracles.layer_cam_of_stages(lambda _, at=stages: net.classify(at[-1]), stages, label)
            assert_close(of_label, expected, 1e-9)


def test_a_stage_without_evidence_has_no_say():
    net, batch = SmallNet(2), images(1, 2)
    with torch.no_grad():
        net.head.weight[1] = 0
    assert torch.equal(heat_maps(net, batch, "layercam-stages", [1]).maps, torch.zeros(1, 1, 8, 8, dtype=torch.float64))


@pytest.mark.parametrize("name", NAMES)
def test_the_stages_of_a_backbone_lead_to_its_logits(name):
    n_dims = 3 if "-3d" in name else 2
    net, image = build_net(Architecture(name, 1, 2)).eval(), images(1, n_dims, {2: 64, 3: 32}[n_dims]).float()
    stages = net.stages(image)
    assert torch.equal(stages[-1], net.features(image))
    assert len({stage.shape[2:] for stage in stages}) > 1
    logits = net.classify(stages[-1])
    assert all(float(gradient.abs().max()) > 0 for gradient in gradients_of(logits, 0, stages))
    found = heat_maps(net, image, "layercam-stages").maps
    assert found.shape[2:] == max(stage.shape[2:] for stage in stages)
    assert float(found.max()) == pytest.approx(np.tanh(2), abs=1e-6)


def test_nets_whose_stages_are_copies_are_not_asked():
    for name in ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"):
        assert "layercam-stages" not in methods_of(build_net(Architecture(name, 1, 2)))
    with pytest.raises(InputError, match="use layercam"):
        gradients_of(torch.ones(1, 1, requires_grad=True) * 2, 0, [torch.ones(1, requires_grad=True)])
