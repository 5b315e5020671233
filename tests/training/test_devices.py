"""Devices are found by name and number; two processes take the steps of one."""

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from focusmap.basics import InputError
from focusmap.nets import FocusNet
from focusmap.study import Augmentation
from focusmap.training.devices import DepthwiseInFloat32, Devices, choose_devices, open_fabric
from focusmap.training.loop import FitOptions, fit
from support.small_study import QUICK, plain_net, study, weights

RECIPE = replace(QUICK, precision="fp32", epochs=2, augmentation=Augmentation(mixup=0.5), accumulate=2)


def test_devices_are_named_counted_or_both() -> None:
    assert choose_devices("cpu") == Devices("cpu", 1, 1)
    assert choose_devices("cpu:3", 2).n_processes == 6
    assert choose_devices("1").n == choose_devices("auto").n == 1


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("tpu", "is not one of auto"), ("cpu:two", "is no number of devices"), ("cpu:0", "is no number of devices")],
)
def test_what_is_no_device_is_refused(wanted: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_devices(wanted)


def test_batches_too_small_for_the_processes_are_refused(tmp_path: Path) -> None:
    options = FitOptions(tmp_path / "last.safetensors", devices="cpu:4")
    with pytest.raises(InputError, match="batch_size 8 gives each of 4 processes 2 images"):
        next(fit(plain_net(), study(), RECIPE, options))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_a_fabric_computes_as_asked_and_says_nothing(precision, dtype, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), open_fabric(Devices("cpu"), precision).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert caplog.text == ""


def test_depthwise_convolutions_that_are_trained_compute_in_float32() -> None:
    """And no others: all else is faster in bfloat16."""
    depthwise, plain, frozen = nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4)
    frozen.requires_grad_(False)
    images = torch.rand(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    with open_fabric(Devices("cpu"), "bf16").autocast(), DepthwiseInFloat32():
        assert plain(images).dtype == frozen(images).dtype == torch.bfloat16
        assert torch.equal(depthwise(images), nn.functional.conv2d(images, depthwise.weight, depthwise.bias, groups=4))
        depthwise(images.bfloat16()).sum().backward()
        with torch.no_grad():
            assert depthwise(images).dtype == torch.bfloat16
    assert depthwise.weight.grad is not None
    whole = images.bfloat16().float()
    expected = torch.stack([whole[:, :, i : i + 3, j : j + 3].sum((0, 2, 3)) for i in range(3) for j in range(3)], 1)
    torch.testing.assert_close(depthwise.weight.grad.flatten(1), expected)


def test_a_training_in_bf16_leaves_depthwise_convolutions_in_float32(tmp_path: Path) -> None:
    backbone = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=8))
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    backbone[1].register_forward_hook(lambda module, _, images: seen[module.training].add(images.dtype))
    list(fit(FocusNet(backbone, 8, 1), study(), replace(RECIPE, precision="bf16"), FitOptions(tmp_path / "last")))
    assert seen == {True: {torch.float32}, False: {torch.bfloat16}}


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    """In a net without batch norm and dropout; some truths are unknown, so that shares differ in what they know."""

    def hide(truth):
        truth[3:12] = float("nan")
        return truth

    alone, together = plain_net(), plain_net()
    one = list(fit(alone, study(change=hide), RECIPE, FitOptions(tmp_path / "one.safetensors")))
    two = list(fit(together, study(change=hide), RECIPE, FitOptions(tmp_path / "two.safetensors", devices="cpu:2")))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(weights(alone), weights(together), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(plain_net()), weights(together), strict=True))
    for first, second in zip(one, two, strict=True):
        assert first.train_loss == pytest.approx(second.train_loss, rel=1e-4)
        assert first.tune_loss == pytest.approx(second.tune_loss, rel=1e-4)


@dataclass(frozen=True)
class Deadly:
    """Ends the second process in the midst of an epoch, once there is a checkpoint; once."""

    checkpoint: Path

    def __call__(self, *_: object) -> None:
        mark = self.checkpoint.with_name("killed")
        if self.checkpoint.is_file() and torch.distributed.get_rank() == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_training_of_two_goes_on_where_one_was_killed(tmp_path: Path) -> None:
    whole, stopped = FitOptions(tmp_path / "whole.safetensors", devices="cpu:2"), tmp_path / "stopped.safetensors"
    recipe = replace(RECIPE, epochs=3)
    at_once, net = plain_net(), plain_net()
    list(fit(at_once, study(), recipe, whole))
    first = next(layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d))
    hook = first.register_forward_pre_hook(Deadly(stopped))
    with pytest.raises(InputError, match="was ended from outside"):
        list(fit(net, study(), recipe, FitOptions(stopped, devices="cpu:2")))
    hook.remove()
    again = plain_net()
    records = list(fit(again, study(), recipe, FitOptions(stopped, resume=True, devices="cpu:2")))
    assert len(records) == 3
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights(at_once), weights(again), strict=True))


@pytest.mark.slow
def test_what_a_process_refuses_is_said_by_the_program(tmp_path: Path) -> None:
    recipe = replace(QUICK, learning_rate=1e30, warmup_epochs=0)
    with pytest.raises(InputError, match="the training loss is"):
        list(fit(plain_net(), study(), recipe, FitOptions(tmp_path / "last.safetensors", devices="cpu:2")))
