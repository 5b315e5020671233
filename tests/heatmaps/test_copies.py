"""Maps averaged over copies equal the copies one by one, turn with the image, and keep their unit."""

import pytest
import torch

import support.map_oracles as oracles
from focusmap.basics import InputError
from focusmap.heatmaps.copies import copies_of
from focusmap.heatmaps.drawing import check_copies, heat_maps
from focusmap.nets import Architecture, Ensemble, build_net
from support.mapped_nets import SmallNet, assert_close, images


@pytest.mark.parametrize(("n_dims", "size"), [(2, 16), (3, 8)])
@pytest.mark.parametrize("method", ["cam", "gradients"])
def test_maps_equal_the_mean_over_the_copies_one_by_one(method, n_dims, size):
    net, batch = SmallNet(n_dims, "log-sum-exp"), images(2, n_dims, size)
    found = heat_maps(net, batch, f"{method}@mirror,sizes,moves", labels=(2, 0))
    for image, maps in zip(batch, found.maps, strict=True):
        expected = oracles.mean_over_copies(lambda x: heat_maps(net, x, method, labels=(2, 0)).maps, image)
        assert_close(maps, expected, 1e-9)
    as_it_is = heat_maps(net, batch, method, labels=(2, 0))
    assert torch.equal(found.logits, as_it_is.logits)
    assert torch.equal(found.evidence, as_it_is.evidence)


@pytest.mark.parametrize("n_dims", [2, 3])
def test_the_map_of_a_mirrored_image_is_the_mirrored_map_whatever_the_net(n_dims):
    net, batch = SmallNet(n_dims), images(1, n_dims)
    found, mirrored = heat_maps(net, batch, "cam@mirror").maps, heat_maps(net, batch.flip(-1), "cam@mirror").maps
    torch.testing.assert_close(mirrored, found.flip(-1))
    assert not torch.allclose(heat_maps(net, batch.flip(-1)).maps, heat_maps(net, batch).maps.flip(-1))


def test_a_map_per_cell_of_the_copies_still_adds_up_to_their_mean_logit():
    net, batch = SmallNet(2), images(2, 2, 16).abs()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(parameter.abs() if parameter.ndim > 1 else torch.zeros_like(parameter))
        expected = (net(batch) + net(batch.flip(-1))) / 2
    torch.testing.assert_close(heat_maps(net, batch, "hirescam@mirror").maps.sum(dim=(2, 3)), expected)


def test_copies_of_an_ensemble_are_averaged_member_by_member():
    members = [build_net(Architecture("small-residual", 1, 2), seed=seed).eval() for seed in (1, 2)]
    batch = images(1, 2, 32).float()
    found = heat_maps(Ensemble(members).eval(), batch, "cam@moves").maps
    expected = sum(heat_maps(net, batch, "cam@moves").maps for net in members) / 2
    torch.testing.assert_close(found, expected)


def test_a_focus_map_stays_between_0_and_1_and_its_evidence_is_its_mean():
    net = build_net(Architecture("small-residual-fpn", 1, 2)).eval()
    found = heat_maps(net, images(1, 2, 32).float(), "focus@mirror,sizes")
    assert found.maps.shape == (1, 2, 32, 32)
    assert 0 <= float(found.maps.min()) < float(found.maps.max()) <= 1
    torch.testing.assert_close(found.evidence, found.maps.mean(dim=(2, 3)))


def test_a_net_of_one_size_refuses_others_with_the_reason():
    net = build_net(Architecture("mixer_s32_224", 1, 2)).eval()
    batch = images(1, 2, 224).float()
    assert heat_maps(net, batch, "cam@mirror").maps.shape == (1, 2, 224, 224)
    with pytest.raises(InputError, match=r"takes no images of 168 x 168 \(.*\); average over mirror or moves"):
        heat_maps(net, batch, "cam@sizes")
    with pytest.raises(InputError, match="takes no images of 168 x 168"):
        check_copies(Ensemble([net]).eval(), torch.zeros(1, 1, 224, 224), "cam@mirror,sizes")
    check_copies(net, torch.zeros(1, 1, 224, 224), "cam@mirror")


def test_an_unknown_kind_of_copies_is_named():
    with pytest.raises(InputError, match=r"over mirror, sizes, moves, not over 'size'. Did you mean 'sizes'\?"):
        heat_maps(SmallNet(2), images(1, 2), "cam@mirror,size")


def test_kinds_are_combined_and_the_image_itself_comes_first():
    found = copies_of(["mirror", "sizes", "moves"], 2)
    assert len(found) == len(set(found)) == 2 * 3 * 5
    assert found[0] == copies_of([], 2)[0]
