"""A linear head on all levels is one net: its maps add up to its logits, and what it measures is what it decides by."""

import pytest
import torch

from focusmap.heatmaps import heat_maps
from focusmap.heatmaps.class_activation import class_activation
from focusmap.nets.build import Architecture, build_net
from focusmap.nets.case_images import take_apart
from focusmap.nets.cases import CaseArchitecture, CaseBatch, build_case_net
from focusmap.nets.edges import follow_edges
from focusmap.nets.levels import LevelsNet, statistics_of

MODELS = ("small-residual-probe", "tf_efficientnet_lite0-probe")


@pytest.fixture(scope="module", params=MODELS)
def net(request: pytest.FixtureRequest) -> LevelsNet:
    made = build_net(Architecture(request.param, 1, 3), seed=1)
    assert isinstance(made, LevelsNet)
    torch.manual_seed(2)
    torch.nn.init.normal_(made.head.weight)
    return made.eval()


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(3))


def test_logits_are_those_of_the_enlarged_maps(net: LevelsNet, x: torch.Tensor) -> None:
    assert torch.allclose(net(x), net.classify(net.features(x)), rtol=1e-3, atol=1e-2)
    assert torch.allclose(net(x), net.decide(net.measure(x)))


def test_evidence_adds_up_to_the_logit(net: LevelsNet, x: torch.Tensor) -> None:
    """By the closed form on enlarged maps, and level by level, which is how maps are drawn.

    The two differ where a coarse place is among the highest tenth in part: enlarged, some of its repeats are.
    """
    features = net.features(x)
    expected = net.classify(features) - net.head.bias
    closed = net.evidence(features)
    assert torch.allclose(closed.mean(dim=(2, 3)), expected, rtol=1e-3, atol=5e-2)
    found = heat_maps(net, x, "cam", [0, 1, 2])
    assert torch.allclose(found.logits, net(x), rtol=1e-3, atol=1e-2)
    assert torch.allclose(found.maps.mean(dim=(2, 3)), expected, rtol=1e-3, atol=5e-2)
    assert torch.allclose(found.maps, follow_edges(by_gradients(net, x), x), rtol=1e-2, atol=1e-1)


def by_gradients(net: LevelsNet, x: torch.Tensor) -> torch.Tensor:
    """Return the class activation maps of every level, by the gradient of each logit, on the finest grid."""
    maps = [found.detach().requires_grad_() for found in net.backbone.levels(x)]
    logits = net.decide(torch.cat([statistics_of(found) for found in maps], dim=2).flatten(1))
    finest = max((found.shape[2:] for found in maps), key=lambda grid: grid.numel())
    found = []
    for column in logits.sum(dim=0):
        gradients = torch.autograd.grad(column, maps, retain_graph=True)
        of_levels = [class_activation(*pair)[:, None] for pair in zip(maps, gradients, strict=True)]
        enlarged = [torch.nn.functional.interpolate(one, finest, mode="nearest-exact") for one in of_levels]
        found.append(torch.stack(enlarged).sum(dim=0)[:, 0])
    return torch.stack(found, dim=1)


def test_a_volume_is_seen_slice_by_slice_with_the_front_up() -> None:
    """Levels of a volume are those of its slices, each modality for itself, laid back on the volume's own axes."""
    net = build_net(Architecture("small-residual-slices", 2, 3), seed=1).eval()
    assert isinstance(net, LevelsNet)
    torch.nn.init.normal_(net.head.weight, generator=torch.Generator().manual_seed(5))
    volume = torch.randn(2, 2, 24, 32, 5, generator=torch.Generator().manual_seed(4))
    found = net.backbone.levels(volume)
    # Of the second volume the first modality of the third slice: columns run to the right, rows to the back.
    image = volume[1, 0, :, :, 2].T.flip(0)[None, None]
    alone = net.backbone.levels(image)
    for of_volume, of_image in zip(found, alone, strict=True):
        k = of_image.shape[1]
        laid = of_image[0].flip(1).transpose(1, 2)
        assert torch.allclose(of_volume[1, :k, :, :, 2], laid, atol=1e-5)
    assert [one.shape[1] for one in found] == [2 * one.shape[1] for one in alone]
    logits, evidence = net.answer_and_evidence(volume)
    assert evidence.shape == (2, 3, *found[0].shape[2:])
    assert torch.allclose(logits, net(volume), rtol=1e-3, atol=1e-2)
    assert torch.allclose(evidence.mean(dim=(2, 3, 4)), logits - net.head.bias, rtol=1e-3, atol=5e-2)


def test_a_case_is_measured_as_its_images_are() -> None:
    """A view's features are the mean of its images' statistics, whether levels are enlarged or not."""
    net = build_case_net(CaseArchitecture("small-residual-probe", 1, 2, views=("pre", "post")), seed=1).eval()
    torch.nn.init.normal_(net.head.weight, generator=torch.Generator().manual_seed(6))
    images = torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(7))
    case = CaseBatch(images, torch.zeros(3, dtype=torch.int64), torch.tensor([0, 1, 1]), torch.empty(1, 0))
    levels = net.backbone.encoder_of(0).net
    measured = levels.measure(images)
    one = torch.ones(1)
    expected = torch.cat([measured[0], one, measured[1:].mean(dim=0), one])
    looked, nets = take_apart(net, case)
    assert torch.allclose(looked[0], expected, rtol=1e-3, atol=1e-3)
    for image, own in zip(images, nets, strict=True):
        assert torch.allclose(own.classify(own.features(image[None])), net(case), rtol=1e-3, atol=1e-2)


def test_statistics_are_those_of_each_map() -> None:
    maps = torch.randn(2, 4, 5, 6)
    flat = maps.flatten(2)
    highest = flat.sort(dim=2, descending=True).values[:, :, :3].mean(2)
    expected = torch.stack([flat.mean(2), highest, flat.std(2, unbiased=False)], dim=1)
    assert torch.allclose(statistics_of(maps), expected, atol=1e-5)
    assert torch.isfinite(statistics_of(torch.zeros(1, 1, 3, 3))).all()


def test_every_layer_has_a_stage_of_its_own_rate(net: LevelsNet) -> None:
    from focusmap.nets.backbones import stages_of

    stages = stages_of(net.backbone)
    assert set(stages) == {name for name, _ in net.backbone.named_parameters()}
    assert len(set(stages.values())) > 1
