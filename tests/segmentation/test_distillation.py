"""A U-Net of any dimension learns masks, and what is marked as ignored has no say."""

import numpy as np
import pytest
import torch

from focusmap.segmentation.by_affinity import banded, learn_segmenter
from focusmap.segmentation.learning import (
    LabelledMaps,
    LearningOptions,
    MarkedImages,
    learn_masks,
    mask_loss,
    start_from_share,
)
from focusmap.segmentation.seeds import SeedThresholds, centred
from focusmap.segmentation.small_nets import UNet, predict_masks
from focusmap.study import SegmentationRecipe


def balls(shape: tuple[int, ...], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(n, 1, *shape)`` of bright balls at random places, and the balls."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(side) for side in shape], indexing="ij"))
    centres = rng.uniform(0.3, 0.7, (n, len(shape))) * np.array(shape)
    masks = np.stack([((grid - c.reshape(-1, *[1] * len(shape))) ** 2).sum(axis=0) < 9 for c in centres])
    return (masks + rng.normal(0, 0.3, masks.shape)).astype(np.float32)[:, None], masks


@pytest.mark.parametrize("shape", [(20, 24), (10, 12, 10)])
def test_masks_are_learnt_through_an_ignored_band_of_wrong_marks(shape: tuple[int, ...]) -> None:
    images, masks = balls(shape, 8)
    marked = masks.astype(np.int8)
    marked[np.random.default_rng(1).random(masks.shape) < 0.5] = -1
    net = learn_masks(MarkedImages(images, marked), LearningOptions(70))
    drawn = predict_masks(net, images) >= 0.5
    assert 2 * (drawn & masks).sum() / (drawn.sum() + masks.sum()) > 0.9


@pytest.mark.parametrize("shape", [(7, 9), (5, 4, 6)])
def test_sides_may_be_odd_and_ignored_voxels_change_no_gradient(shape: tuple[int, ...]) -> None:
    net = UNet(2, 1, len(shape))
    x = torch.randn(1, 2, *shape)
    assert net(x).shape == (1, 1, *shape)
    logits = torch.randn(1, *shape, requires_grad=True)
    marked = torch.randint(-1, 2, (1, *shape))
    mask_loss(logits, marked).backward()
    assert logits.grad is not None
    assert (logits.grad[marked == -1] == 0).all()
    assert mask_loss(logits, torch.full_like(marked, -1)).item() == 0


def test_a_net_begins_with_the_share_of_lesion_among_what_is_marked() -> None:
    net, marked = UNet(1, 1, 2), np.zeros((2, 10, 10), np.int8)
    marked[0, :5, 0], marked[1] = 1, -1
    torch.nn.init.zeros_(net.last.weight)
    start_from_share(net, marked)
    np.testing.assert_allclose(predict_masks(net, np.ones((1, 1, 8, 8), np.float32)), 6 / 102, rtol=1e-5)


def pretrained(n_steps: int, cases: MarkedImages) -> UNet:
    return learn_masks(cases, LearningOptions(n_steps, is_pretrained=True))


def test_the_first_stages_and_the_statistics_of_pretrained_weights_stay() -> None:
    images, masks = balls((32, 32), 4)
    cases = MarkedImages(images, masks.astype(np.int8))
    before, after = (pretrained(n, cases).contracting.state_dict() for n in (1, 3))
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert {name.split(".")[3] for name in changed if name.startswith("backbone.net.blocks.")} == {
        "2",
        "3",
        "4",
        "5",
        "6",
    }
    assert not any("running" in name or name.startswith("backbone.net.conv_stem") for name in changed)


def test_volumes_and_machines_without_weights_have_a_net_from_random_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    images, masks = balls((8, 8, 8), 2)
    assert not pretrained(1, MarkedImages(images, masks.astype(np.int8))).is_pretrained
    monkeypatch.setattr("focusmap.nets.has_local_weights", lambda _: False)
    images, masks = balls((16, 16), 2)
    assert not pretrained(1, MarkedImages(images, masks.astype(np.int8))).is_pretrained


@pytest.mark.slow
def test_a_net_from_pretrained_weights_learns_masks_in_few_steps() -> None:
    images, masks = balls((64, 64), 16)
    drawn = predict_masks(pretrained(60, MarkedImages(images[:12], masks[:12].astype(np.int8))), images[12:]) >= 0.5
    assert 2 * (drawn & masks[12:]).sum() / (drawn.sum() + masks[12:].sum()) > 0.8


def test_of_upright_images_left_and_right_alone_change_places() -> None:
    images = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    cases, generator = MarkedImages(images, images[:, 0].astype(np.int8) % 2), torch.Generator().manual_seed(0)
    batches = [cases.draw(1, generator, is_upright=True) for _ in range(20)]
    assert all(torch.equal(found[0] % 2, marked.float()) for found, marked in batches)
    drawn = {tuple(found.flatten().tolist()) for found, _ in batches}
    assert drawn == {(0, 1, 2, 3, 4, 5), (2, 1, 0, 5, 4, 3)}


def test_the_same_seed_draws_the_same_masks() -> None:
    images, masks = balls((16, 16), 4)
    cases = MarkedImages(images, masks.astype(np.int8))
    first, again = (predict_masks(learn_masks(cases, LearningOptions(5)), images) for _ in range(2))
    assert (first == again).all()


def test_a_case_whose_voxels_are_little_alike_is_still_marked_as_a_lesion() -> None:
    region = np.array([0.0, 0.3, 0.5, 0.52, 0.54])
    assert banded(region, 0.5, 0.1).tolist() == [0, 0, -1, 1, 1]
    assert banded(region - 0.1, 0.5, 0.1).tolist() == [0, 0, -1, -1, -1], "nothing reaches the threshold"


def test_a_band_lies_about_the_cut_and_a_cut_can_be_moved_to_a_half() -> None:
    region = np.array([0.0, 0.35, 0.4, 0.45, 0.55, 1.0])
    assert banded(region, 0.4, 0.1).tolist() == [0, -1, -1, -1, 1, 1]
    assert ((centred(region, 0.4) >= 0.5) == (region >= 0.4)).all()


def test_what_every_map_has_at_a_place_is_no_mark_of_a_lesion(monkeypatch):
    taught = []

    def noted(cases, options):
        taught.append(cases.marked)
        return UNet(1, 1, 2)

    monkeypatch.setattr("focusmap.segmentation.learning.learn_masks", noted)
    maps = np.zeros((3, 12, 12), np.float32)
    maps[:2, 4:8, 4:8], maps[:2, 0, :3] = 1.0, 0.9
    lesions = LabelledMaps(maps[:, np.newaxis], maps, np.array([1, 0, 1]))
    stands_out = np.ones(maps.shape, bool)
    stands_out[:, 0, :3] = False
    recipe = SegmentationRecipe(walk_steps=0)
    learn_segmenter(lesions, stands_out, {"cam": SeedThresholds(0.2, 0.6)}, recipe, LearningOptions(20))
    marks = taught[-1]
    assert (marks[0, 4:8, 4:8] == 1).all()
    assert (marks[0, 0, :3] == -1).all(), "neither lesion nor background"
    assert (marks[1] == 0).all(), "the label says that there is none"
    assert (marks[2] == -1).all(), "there is one, and the map does not know where"
