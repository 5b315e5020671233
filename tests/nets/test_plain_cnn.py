"""The plain net is eight convolutions on end; its twin has the same weights and adds what a block was given."""

import pytest
import torch
from torch.nn import functional as F

from focusmap.images import parse_crop, shares_box
from focusmap.nets.build import Architecture, build_net
from focusmap.nets.staged import PLAIN_NETS, PLAIN_WIDTHS, Block
from focusmap.study import recipe_from


def slow_net(net, x, *, residual):
    """Return the last feature map, written out place by place where a skip is added."""
    y = F.relu(net.stem.norm(net.stem.conv(x)))
    for block in net.blocks:
        found = F.relu(block.norm(block.conv(y)))
        if residual:
            for channel in range(y.shape[1]):
                for row in range(found.shape[2]):
                    for column in range(found.shape[3]):
                        found[:, channel, row, column] += y[:, channel, row * block.stride, column * block.stride]
        y = found
    return y


@pytest.mark.parametrize("name", list(PLAIN_NETS))
def test_it_is_eight_convolutions_with_and_without_the_skip(name):
    net, x = PLAIN_NETS[name](3).eval(), torch.randn(2, 3, 45, 70, generator=torch.Generator().manual_seed(0))
    assert tuple(block.conv.out_channels for block in net.blocks) == PLAIN_WIDTHS == (8, 8, 16, 16, 32, 32, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), slow_net(net, x, residual=name == "residual-cnn"))


def test_the_twins_start_from_the_same_weights():
    plain, residual = (build_net(Architecture(name, 1, 2), seed=3) for name in PLAIN_NETS)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), residual.parameters(), strict=True))
    assert not torch.equal(plain.eval()(torch.ones(1, 1, 64, 64)), residual.eval()(torch.ones(1, 1, 64, 64)))


def test_a_block_that_says_nothing_hands_on_what_it_was_given():
    block = Block(2, 3, stride=2, residual=True).eval()
    torch.nn.init.zeros_(block.conv.weight)
    x = torch.arange(18.0).reshape(1, 2, 3, 3)
    assert block(x).tolist() == [[[[0, 2], [6, 8]], [[9, 11], [15, 17]], [[0, 0], [0, 0]]]]


def test_the_preset_of_the_challenge_keeps_the_part_of_an_export_that_its_entries_keep():
    recipe = recipe_from({"preset": "oct-aptos"})
    box = shares_box(parse_crop(recipe.crop), (596, 1264))
    assert box.slices == (slice(50, 450), slice(550, 1200))
    assert recipe.model == "plain-cnn"
