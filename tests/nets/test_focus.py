"""Focus-map nets: logits are pooled evidence, and maps mean what is said of them."""

import pytest
import torch
from torch import Tensor, nn

from focusmap.basics import InputError
from focusmap.nets.build import Architecture, architecture_of, build_net, check_recipe
from focusmap.nets.decoders import Level
from focusmap.nets.focus_net import FocusLayers, FocusNet
from focusmap.nets.heads import task_loss, undo_class_weights
from focusmap.nets.pooling import POOLINGS, PoolingOptions, build_pooling
from focusmap.study import Recipe, Target, Task

TASK = Task((Target("a"), Target("kind", "multiclass", ("x", "y", "z")), Target("size", "continuous")))
CLASSES = ((1, 4),)


class Handed(nn.Module):
    """A backbone whose only level is the image itself, of any number of dimensions."""

    def forward_intermediates(self, x: Tensor, *_: list[int], **__: bool) -> list[Tensor]:
        return [x]


def net_of(pooling: str, dimensions: int = 2, classes: tuple[tuple[int, int], ...] = CLASSES) -> FocusNet:
    """A net that is no more than evidence and pooling, for features of 4 channels handed to it."""
    torch.manual_seed(0)
    pool = build_pooling(PoolingOptions(pooling), 4, TASK.n_logits)
    focus = FocusLayers(Level((4,), dimensions), (0,), pool, TASK.n_logits, classes)
    net = FocusNet(Handed(), 4, TASK.n_logits, focus).eval()
    nn.init.normal_(net.head.weight)
    return net


def drawn(dimensions: int) -> Tensor:
    return torch.rand(2, 4, *(6, 5, 3)[:dimensions], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("pooling", list(POOLINGS))
def test_logits_and_maps_are_what_the_formulas_say_place_by_place(pooling, dimensions):
    net, x = net_of(pooling, dimensions), drawn(dimensions)
    net.focus.softness.copy_(torch.tensor([2.0, 3.0, 3.0, 3.0, 1.0]))
    with torch.no_grad():
        logits, maps = net.forward_with_focus(x)
        h = net.features(x)
        e = torch.einsum("lk,nk...->nl...", net.head.weight, h)
        expected = net.focus.pooling(e, h) + net.head.bias
        weight = torch.ones_like(maps)
        if pooling == "attention":
            attention = net.focus.pooling.attention(h)
            weight = attention / attention.amax(dim=tuple(range(2, attention.ndim)), keepdim=True)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(maps[:, 0], weight[:, 0] * torch.sigmoid((e[:, 0] + net.head.bias[0]) / 2))
    for k, others in ((1, (2, 3)), (2, (1, 3)), (3, (1, 2))):
        rivals = sum(logits[:, j].exp() for j in others).log()
        margin = e[:, k] + net.head.bias[k] - rivals.view(-1, *[1] * dimensions)
        torch.testing.assert_close(maps[:, k], weight[:, k] * torch.sigmoid(margin / 3))
    assert maps.min() >= 0
    assert maps.max() <= 1


@pytest.mark.parametrize("pooling", ["average", "max", "lse", "topk"])
def test_a_place_says_what_an_image_that_looks_like_it_everywhere_would_get(pooling):
    net, x = net_of(pooling, classes=()), drawn(2)
    with torch.no_grad():
        _, maps = net.forward_with_focus(x)
        everywhere = x[:1, :, 2:3, 3:4].expand(1, 4, 6, 5)
        torch.testing.assert_close(torch.sigmoid(net(everywhere))[0], maps[0, :, 2, 3])


@pytest.mark.parametrize("pooling", ["average", "max", "lse", "topk"])
def test_of_classes_it_is_what_the_class_would_get_if_its_evidence_were_the_places_everywhere(pooling):
    net, x = net_of(pooling), drawn(2)
    with torch.no_grad():
        logits, maps = net.forward_with_focus(x)
        everywhere = net.evidence(x)[0, 2, 2, 3] + net.head.bias[2]
        changed = torch.stack([logits[0, 1], everywhere, logits[0, 3]])
    torch.testing.assert_close(maps[0, 2, 2, 3], torch.softmax(changed, dim=0)[1])


@pytest.mark.parametrize("pooling", list(POOLINGS))
def test_class_weights_are_taken_off_every_logit_exactly(pooling):
    net, x = net_of(pooling), drawn(2)
    truth = torch.tensor([[1, 0, 0.5], [0, 0, 1.5], [0, 1, 2.5], [0, 2, 3.5]]).double().numpy()
    weights = [found.classes for found in task_loss(TASK, truth).weights]
    with torch.no_grad():
        before = net(x)
        undo_class_weights(net.head, TASK, truth)
        moved = before - net(x)
    expected = torch.cat([(weights[0][1] / weights[0][0]).log()[None], weights[1].log(), torch.zeros(1)])
    torch.testing.assert_close(moved, expected.expand(2, -1))


@pytest.mark.parametrize("name", ["small-residual-fpn", "small-residual-pan", "resnet18-evidence8"])
@pytest.mark.parametrize("pooling", ["lse", "attention"])
def test_every_weight_of_a_focus_net_learns(name, pooling):
    net = build_net(Architecture(name, 1, 5, PoolingOptions(pooling), CLASSES))
    logits, maps = net.forward_with_focus(torch.randn(2, 1, 64, 64))
    (logits.square().sum() + maps.mean()).backward()
    assert [key for key, weight in net.named_parameters() if weight.grad is None] == []
    assert maps.shape[:2] == (2, 5)


def test_maps_of_a_shifted_image_are_the_shifted_maps():
    """Away from the border, by whole cells of the coarsest level."""
    net = build_net(Architecture("small-residual-fpn", 1, 1, PoolingOptions("max"))).eval()
    x = torch.zeros(1, 1, 192, 192)
    x[..., 90:100, 84:92] = torch.randn(10, 8)
    with torch.no_grad():
        (_, maps), (_, moved) = net.forward_with_focus(x), net.forward_with_focus(x.roll((8, -4), dims=(2, 3)))
    torch.testing.assert_close(moved[..., 32:64, 32:64], maps.roll((4, -2), dims=(2, 3))[..., 32:64, 32:64])
    assert maps[..., 32:64, 32:64].std() > 0


def test_a_recipe_becomes_an_architecture_and_both_survive_writing():
    recipe = Recipe(model="vgg16-pan", pooling="topk", top_share=0.2, channels=3)
    architecture = architecture_of(recipe, TASK)
    assert architecture == Architecture("vgg16-pan", 3, 5, PoolingOptions("topk", 1.0, 0.2), CLASSES)
    assert Architecture.from_dict(architecture.to_dict()) == architecture
    plain = architecture_of(Recipe(model="vgg16", pooling="average", channels=3), TASK)
    assert set(plain.to_dict()) == {"model", "channels", "n_logits"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "resnet18", "pooling": "lse"}, r"pooling 'lse' needs a net with evidence.*--model resnet18-fpn"),
        ({"model": "resnet18", "sparsity": 0.1}, r"sparsity is for focus maps, and resnet18 has none"),
        ({"model": "resnet18-fpn", "size": 16}, r"'resnet18' needs images of at least 32 pixels"),
        ({"model": "resnet18-fpm"}, r"Did you mean 'resnet18-fpn'"),
    ],
)
def test_a_recipe_without_a_net_is_refused_with_the_remedy(settings, message):
    with pytest.raises(InputError, match=message):
        check_recipe(Recipe(**settings))
