"""Maps of the images of a case: they add up to its logit, and every method of single images draws them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from focusmap.basics import InputError
from focusmap.heatmaps.drawing import heat_maps
from focusmap.heatmaps.methods import METHODS, can_draw, choose_method
from focusmap.nets import CaseArchitecture, CaseBatch, FocusNet, backbone_of, build_case_net, take_apart
from focusmap.nets.cases import WEIGHTINGS

N_LABELS, SIDE = 3, 16
ARCHITECTURE = CaseArchitecture("small-residual", 1, N_LABELS, ("post", "pre"), "attention", "separate")
TABLE = {"joint": 3, "gated": 3, "none": 0}


def net_of(**changes: object) -> FocusNet:
    return build_case_net(replace(ARCHITECTURE, **changes), seed=1).eval()


def case_of(n_covariates: int = 0, shape: tuple[int, ...] = (SIDE, SIDE)) -> CaseBatch:
    """Return a case of two images of one view and three of the other."""
    generator = torch.Generator().manual_seed(2)
    return CaseBatch(
        torch.randn(5, 1, *shape, generator=generator),
        torch.zeros(5, dtype=torch.int64),
        torch.tensor([1, 0, 1, 0, 1]),
        torch.randn(1, n_covariates, generator=generator),
    )


def cams_of(net: FocusNet, case: CaseBatch) -> list[Tensor]:
    """Return the CAM of each image, ``(1, L, *grid)``."""
    nets = take_apart(net, case)[1]
    return [heat_maps(own, image[None], "cam").maps for own, image in zip(nets, case.images, strict=True)]


@pytest.mark.parametrize("pooling", list(WEIGHTINGS))
@pytest.mark.parametrize("fusion", ["joint", "none"])
@pytest.mark.parametrize("model", ["small-residual", "small-residual-3d"])
def test_the_maps_of_a_case_and_what_is_no_image_add_up_to_its_logit(pooling, fusion, model):
    net = net_of(model=model, pooling=pooling, n_covariates=TABLE[fusion], encoder="shared")
    case = case_of(TABLE[fusion], (SIDE,) * (3 if model.endswith("3d") else 2))
    backbone, weight = backbone_of(net), net.head.weight.detach()
    with torch.no_grad():
        logits = net(case)[0]
        of_table = backbone.table(case.rows).flatten() if TABLE[fusion] else torch.empty(0)
    from_images = sum(maps.flatten(2).mean(dim=2)[0] for maps in cams_of(net, case))
    width = backbone.n_features + 1
    indicators = weight[:, width - 1] + weight[:, 2 * width - 1]
    expected = net.head.bias.detach() + indicators + weight[:, 2 * width :] @ of_table + from_images
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert from_images.abs().max() > 0.01


@pytest.mark.parametrize("fusion", list(TABLE))
def test_an_image_in_its_own_place_gives_the_logits_of_its_case(fusion):
    net = net_of(pooling="max", n_covariates=TABLE[fusion], fusion="joint" if fusion == "none" else fusion)
    case = case_of(TABLE[fusion])
    encoded, nets = take_apart(net, case)
    with torch.no_grad():
        torch.testing.assert_close(encoded, net.backbone.encode(case)[0])
        for own, image in zip(nets, case.images, strict=True):
            logits = own.classify(own.features(image[None]))
            torch.testing.assert_close(logits, net(case), rtol=1e-4, atol=1e-5)


def test_an_image_in_the_place_of_another_is_the_case_with_that_image():
    """Of the mean, whose weights do not depend on the images, nothing is held that would have changed."""
    net, case = net_of(pooling="mean"), case_of()
    other = torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        for k, own in enumerate(take_apart(net, case)[1]):
            changed = case._replace(images=case.images.index_copy(0, torch.tensor([k]), other))
            torch.testing.assert_close(own.classify(own.features(other)), net(changed), rtol=1e-4, atol=1e-5)


def test_all_but_a_nets_own_outputs_can_be_drawn_and_those_are_refused_with_the_remedy():
    net, case = net_of(n_covariates=3, fusion="gated"), case_of(3)
    own, image = take_apart(net, case)[1][2], case.images[[2]]
    refused = [name for name in METHODS if not can_draw(own, name)]
    assert refused == ["focus", "acam", "reconstruction", "rollout"]
    with pytest.raises(InputError, match=r"'focus' needs a net with evidence at every place.*; for this one use cam"):
        choose_method("focus", own)
    with torch.no_grad():
        logits = net(case)
    for name in [*(name for name in METHODS if name not in refused), "gradcam@mirror,sizes"]:
        found = heat_maps(own, image, name, [0, 2])
        assert found.maps.shape[:2] == (1, 2), name
        assert torch.isfinite(found.maps).all(), name
        torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-5)


def test_a_transformer_of_cases_rolls_out_the_attention_of_each_image():
    own = take_apart(net_of(model="vit_tiny_patch16_224"), case_of(shape=(32, 32)))[1][0]
    found = heat_maps(own, case_of(shape=(32, 32)).images[[0]], "rollout", [0])
    assert found.maps.shape == (1, 1, 2, 2)
    assert 0.5 < float(found.maps.sum()) <= 1
