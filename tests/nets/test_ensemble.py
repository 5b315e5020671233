"""An ensemble is the mean of its members and views, worked out slowly; maps of a moved image come home."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focusmap.basics import InputError
from focusmap.heatmaps import heat_maps
from focusmap.nets.build import Architecture, build_net
from focusmap.nets.focus_net import Ensemble, FocusNet
from focusmap.nets.grids import AS_IT_IS, View, bring_home, show, views_within
from focusmap.study import Augmentation

VIEWS = (AS_IT_IS, View(mirror=True), View(scale=1.1), View(mirror=True, scale=0.9, down=0.05, right=-0.1))


def nets(n: int) -> list[FocusNet]:
    return [build_net(Architecture("small-residual", 1, 2), seed=seed).eval() for seed in range(n)]


def with_maps(net: FocusNet | Ensemble, x: Tensor) -> tuple[Tensor, Tensor]:
    found = heat_maps(net, x)
    return found.logits, found.maps


def test_logits_and_maps_are_means_over_members_and_views() -> None:
    members, x = nets(3), torch.randn(2, 1, 32, 32)
    gains, offsets = torch.rand(3, 2) + 0.5, torch.randn(3, 2)
    ensemble = Ensemble(members, VIEWS, gains, offsets).eval()
    with torch.no_grad():
        logits, maps = with_maps(ensemble, x)
        slow_logits, slow_maps = [], []
        for k, net in enumerate(members):
            for view in VIEWS:
                features = net.features(show(view, x))
                slow_logits.append(gains[k] * net.classify(features) + offsets[k])
                slow_maps.append(gains[k][:, None, None] * bring_home(view, net.evidence(features)))
        assert torch.allclose(logits, torch.stack(slow_logits).mean(0), atol=1e-6)
        assert torch.allclose(maps, torch.stack(slow_maps).mean(0), atol=1e-6)
        assert torch.allclose(ensemble(x), logits, atol=1e-6)


def test_the_mean_of_an_ensembles_map_is_its_logit_less_the_mean_bias() -> None:
    members, x = nets(2), torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        logits, maps = with_maps(Ensemble(members, (AS_IT_IS, View(mirror=True))).eval(), x)
    bias = torch.stack([net.head.bias for net in members]).mean(0)
    assert torch.allclose(maps.mean(dim=(2, 3)) + bias, logits, atol=1e-4)


def test_focus_maps_are_means_that_stay_shares_whatever_the_members_units() -> None:
    members = [build_net(Architecture("small-residual-fpn", 1, 2), seed=seed).eval() for seed in range(2)]
    x, views = torch.randn(2, 1, 32, 32), (AS_IT_IS, View(mirror=True))
    ensemble = Ensemble(members, views, torch.tensor([[5.0], [7.0]]), torch.tensor([[1.0], [2.0]])).eval()
    found = heat_maps(ensemble, x, "focus", [1])
    with torch.no_grad():
        drawn = [bring_home(view, net.forward_with_focus(show(view, x))[1]) for net in members for view in views]
        assert torch.allclose(found.logits, ensemble(x), atol=1e-5)
    assert torch.allclose(found.maps, torch.stack(drawn).mean(0)[:, [1]], atol=1e-6)
    assert torch.allclose(found.evidence, found.maps.mean(dim=(2, 3)), atol=1e-6)


def test_a_mirror_view_is_the_mirror_image_and_back() -> None:
    x = torch.randn(2, 3, 16, 16)
    assert torch.allclose(show(View(mirror=True), x), x.flip(-1), atol=1e-5)
    assert torch.allclose(bring_home(View(mirror=True), x), x.flip(-1), atol=1e-5)
    assert show(AS_IT_IS, x) is x


def test_a_view_moves_and_grows_as_it_says() -> None:
    x = torch.zeros(1, 1, 32, 32)
    x[..., 14:18, 14:18] = 1
    moved = show(View(down=0.25, right=-0.125), x)
    assert torch.allclose(moved, x.roll((8, -4), dims=(2, 3)), atol=1e-5)
    assert float(show(View(scale=2.0), x).sum()) == pytest.approx(4 * float(x.sum()), rel=0.01)


@pytest.mark.parametrize("view", VIEWS)
def test_a_spot_is_where_it_was_after_there_and_back(view: View) -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    spot = torch.exp(-((rows - 20) ** 2 + (columns - 40) ** 2) / 50)[None, None]
    assert torch.allclose(bring_home(view, show(view, spot)), spot, atol=0.03)


class Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 4)


def test_the_map_of_a_net_that_sees_brightness_stays_on_the_bright_spot() -> None:
    net = FocusNet(Sum(), 1, 1).eval()
    x = torch.zeros(1, 1, 64, 64)
    x[..., 8:16, 40:48] = 1
    with torch.no_grad():
        net.head.weight.fill_(1.0)
        _, maps = with_maps(Ensemble([net], views_within(Augmentation(mirror=True))).eval(), x)
    row, column = divmod(int(maps.argmax()), 16)
    assert (row, column) in [(r, c) for r in (2, 3) for c in (10, 11)]


def test_views_mirror_only_where_the_training_does_and_stay_within_half_of_its_limits() -> None:
    limits = Augmentation(shift=0.1, scale=0.2)
    plain, mirrored = views_within(limits), views_within(Augmentation(shift=0.1, scale=0.2, mirror=True))
    assert AS_IT_IS in plain
    assert not any(view.mirror for view in plain)
    assert sum(view.mirror for view in mirrored) == len(plain) == len(mirrored) / 2
    assert {abs(view.down) for view in plain} == {0.0, 0.05}
    assert max(view.scale for view in plain) == pytest.approx(1.1)
    assert views_within(Augmentation(shift=0, scale=0)) == (AS_IT_IS,)


def test_a_view_survives_writing_and_a_broken_one_is_refused() -> None:
    assert View.from_dict(VIEWS[3].to_dict()) == VIEWS[3]
    for values in (None, {}, {**AS_IT_IS.to_dict(), "turn": 3.0}, {**AS_IT_IS.to_dict(), "scale": 0.0}):
        with pytest.raises(InputError, match="a view needs mirror"):
            View.from_dict(values)
