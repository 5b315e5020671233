"""An autoencoder's score is the mean of its map, its code is narrow, and its encoder can start a classifier."""

import pytest
import torch
from safetensors.torch import save_file

from focusmap.basics import InputError
from focusmap.heatmaps import heat_maps, methods_of
from focusmap.nets.autoencoder import COMPRESSION, Reconstruction
from focusmap.nets.build import Architecture, build_net, check_recipe
from focusmap.nets.focus_net import Ensemble
from focusmap.study import recipe_from

NAMES = ("small-residual-autoencoder", "resnet18-autoencoder", "plain-cnn-autoencoder")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_the_mean_of_the_map_is_the_mean_squared_error(name, channels):
    net = build_net(Architecture(name, channels, 1)).eval()
    x = torch.randn(2, channels, 45, 64, generator=torch.Generator().manual_seed(1))
    found = heat_maps(net, x, "reconstruction")
    with torch.no_grad():
        painted = net.backbone.reconstruct(x)
    for i in range(2):
        for row, column in ((0, 0), (44, 63), (20, 31)):
            errors = [(x[i, c, row, column] - painted[i, c, row, column]) ** 2 for c in range(channels)]
            torch.testing.assert_close(found.maps[i, 0, row, column], sum(errors) / channels)
        torch.testing.assert_close(net(x)[i, 0], ((x[i] - painted[i]) ** 2).mean())
    torch.testing.assert_close(found.logits, found.maps.mean(dim=(2, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_the_code_holds_a_sixteenth_of_the_images_numbers(name):
    net = build_net(Architecture(name, 1, 1)).eval().backbone
    code = net.code(net.narrow(net.encoder(torch.zeros(1, 1, 64, 64))))
    assert code.numel() == 64 * 64 / COMPRESSION


def test_volumes_are_painted_as_images_are():
    net = Reconstruction(torch.nn.Conv3d(1, 4, 8, stride=8), 4, 8, channels=1, dimensions=3)
    assert net(torch.randn(2, 1, 32, 32, 16)).shape == (2, 1, 32, 32, 16)


def test_what_it_has_learnt_it_paints_and_a_mark_on_it_stands_out():
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(12, 2, generator=generator) * 16 + 8
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    distances = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    x = torch.exp(-distances / 60)[:, None]
    x = (x - x.mean(dim=(2, 3), keepdim=True)) / x.std(dim=(2, 3), keepdim=True)
    net = build_net(Architecture("plain-cnn-autoencoder", 1, 1)).train()
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(50):
        optimizer.zero_grad()
        net(x).mean().backward()
        optimizer.step()
    net.requires_grad_(False).eval()
    marked = x[:4].clone()
    marked[:, :, 4:8, 24:28] += 3
    assert float(net(x).mean()) < 0.1
    assert bool((net(marked) > net(x[:4])).all())
    (maps,) = heat_maps(net, marked, "reconstruction").maps.transpose(0, 1)
    inside = maps[:, 4:8, 24:28].mean(dim=(1, 2))
    assert bool((inside > 10 * maps.mean(dim=(1, 2))).all())


def test_a_classifier_of_the_same_backbone_starts_from_the_encoder(tmp_path):
    net = build_net(Architecture("resnet18-autoencoder", 1, 1), seed=1)
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    started = build_net(Architecture("resnet18", 1, 3), str(tmp_path / "weights.safetensors"), seed=2)
    for name, tensor in started.backbone.state_dict().items():
        assert torch.equal(tensor, net.backbone.encoder.state_dict()[name]), name
    with pytest.raises(InputError, match="Choose the --model that the weights were trained for"):
        build_net(Architecture("densenet121", 1, 3), str(tmp_path / "weights.safetensors"))


def test_it_has_no_map_but_its_own_and_a_classifier_has_not_this_one():
    net, classifier = (build_net(Architecture(name, 1, 1)).eval() for name in (NAMES[0], "small-residual"))
    assert methods_of(net) == methods_of(Ensemble([net, net])) == ("reconstruction",)
    with pytest.raises(InputError, match="'cam' needs a classifier; for this one use reconstruction"):
        heat_maps(net, torch.zeros(1, 1, 32, 32), "cam")
    with pytest.raises(InputError, match=r"needs an autoencoder \(--model autoencoder\); for this one use cam"):
        heat_maps(classifier, torch.zeros(1, 1, 32, 32), "reconstruction")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"freeze_epochs": 2}, "freeze_epochs is for classifiers"),
        ({"layer_decay": 0.8}, "layer_decay is for classifiers"),
        ({"sampling": "over"}, "sampling is for classifiers"),
        ({"sparsity": 1.0}, "sparsity is for focus maps"),
        ({"pooling": "max"}, "needs a net with evidence at every place"),
    ],
)
def test_what_only_a_classifier_has_is_refused(values, reason):
    with pytest.raises(InputError, match=reason):
        check_recipe(recipe_from({"model": NAMES[0], "size": 32, **values}))
