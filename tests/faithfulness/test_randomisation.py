"""Nets become random from the top down, edge maps are found out, and criteria hold their limits."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from focusmap.evaluation import edges_map
from focusmap.faithfulness.criteria import (
    MARGIN,
    MOST_CHANGE,
    agrees,
    better_than_nothing,
    forgets,
    steady,
)
from focusmap.faithfulness.randomisation import (
    Comparison,
    Similarity,
    agreement,
    between_images,
    cascade,
    cascading_randomisation,
    label_randomisation,
)
from focusmap.heatmaps import heat_maps
from focusmap.nets import Architecture, FocusNet, build_net


def net_of(seed: int) -> FocusNet:
    return build_net(Architecture("small-residual", 1, 1), seed=seed).eval()


def noisy_images(n: int = 6) -> Tensor:
    return torch.randn(n, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def cams(net: nn.Module) -> np.ndarray:
    maps = heat_maps(net, noisy_images()).maps
    return nn.functional.interpolate(maps, (32, 32), mode="bilinear")[:, 0].numpy()


def edges(net: nn.Module) -> np.ndarray:
    return np.stack([edges_map(image.numpy()) for image in noisy_images()])


def test_layers_are_taken_from_the_top_and_the_last_net_is_the_untrained_one():
    trained, untrained = net_of(0), net_of(1)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    seen = []
    for layer, net in cascade(trained, untrained):
        state = net.state_dict()
        seen.append(layer)
        for name, value in state.items():
            source = untrained if name.rpartition(".")[0] in seen else trained
            assert torch.equal(value, source.state_dict()[name]), (layer, name)
    assert seen[0] == "head"
    assert seen[-1] == "backbone.stem"
    assert len(set(seen)) == len(seen)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_a_few_steps_end_at_the_same_net_as_many():
    *_, (layer, net) = cascade(net_of(0), net_of(1), n_steps=3)
    assert layer == "backbone.stem"
    assert all(torch.equal(value, net_of(1).state_dict()[name]) for name, value in net.state_dict().items())
    assert len(list(cascade(net_of(0), net_of(1), n_steps=3))) == 3


def test_parameters_that_lie_on_a_block_itself_are_random_in_the_end():
    class Scaled(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.gamma = nn.Parameter(torch.tensor([value]))

    *_, (_, net) = cascade(Scaled(1.0), Scaled(2.0))
    assert net.gamma.item() == 2


def test_an_edge_map_is_found_out_and_noise_is_not_so_that_passing_is_not_enough():
    trained, untrained, random = net_of(0), net_of(1), np.random.default_rng(0)

    def noise(net: nn.Module) -> np.ndarray:
        return random.random((6, 32, 32))

    for explain, passes in ((edges, False), (noise, True)):
        level = between_images(explain(trained), [0] * 6)
        steps = cascading_randomisation(explain, trained, untrained, n_steps=2)
        assert forgets(steps[-1].similarity, level).passes is passes
        assert forgets(label_randomisation(explain, trained, untrained), level).passes is passes


def test_nets_agree_with_themselves_and_all_pairs_count():
    nets = [net_of(0), net_of(0), net_of(0)]
    found = agreement(cams, nets)
    np.testing.assert_allclose(found.signed.ssim, np.ones(18))
    assert agrees(found, between_images(cams(nets[0]), [0] * 6)).passes


def comparison(signed: float, absolute: float) -> Comparison:
    return Comparison(*(Similarity(np.full(4, ssim), np.full(4, 0.1)) for ssim in (signed, absolute)))


def test_both_signed_and_absolute_maps_must_change():
    level = comparison(0.2, 0.3)
    assert forgets(comparison(0.2 + MARGIN - 1e-9, 0.3), level).passes
    failed = forgets(comparison(-0.9, 0.9), level)
    assert not failed.passes
    assert (failed.value, failed.limit) == (0.9, pytest.approx(0.35))


def test_without_maps_nothing_is_judged():
    nothing = Comparison(Similarity(np.zeros(0), np.zeros(0), 3), Similarity(np.zeros(0), np.zeros(0), 3))
    assert forgets(nothing, comparison(0.2, 0.3)).passes is None
    assert forgets(nothing, comparison(0.2, 0.3)).n_left_out == 3
    assert agrees(comparison(0.2, 0.3), nothing).passes is None


def test_a_gain_counts_where_its_whole_interval_is_above_nothing():
    patients = [f"p{i}" for i in range(12)]
    clear, mixed = torch.full((12,), 0.2), torch.tensor([0.5, -0.4] * 6)
    assert better_than_nothing(clear + 0.01 * torch.arange(12), patients).passes
    assert better_than_nothing(mixed, patients).passes is False
    assert better_than_nothing(-clear, patients).passes is False
    assert better_than_nothing(clear, ["one"] * 12).passes is None
    undefined = torch.where(torch.arange(12) < 5, torch.nan, clear)
    assert (better_than_nothing(undefined, patients).n, better_than_nothing(undefined, patients).n_left_out) == (7, 5)
    assert better_than_nothing(torch.full((2,), torch.nan), patients[:2]).passes is None


def test_ten_images_of_one_patient_are_not_ten_patients():
    gains = torch.tensor([0.3] * 20 + [-0.2, -0.1])
    patients = ["a"] * 20 + ["b", "c"]
    assert better_than_nothing(gains, [f"p{i}" for i in range(22)]).passes
    assert better_than_nothing(gains, patients).passes is False


def test_half_a_map_may_change():
    assert steady(torch.tensor([0.1, MOST_CHANGE, torch.nan])).passes
    assert steady(torch.tensor([0.6, MOST_CHANGE, 0.7])).passes is False
    assert steady(torch.tensor([torch.nan])).passes is None
