"""A training's time is told by steps of it: within reason what it then takes, whatever the recipe asks of a step."""

import time
from dataclasses import replace

import pytest
import torch

from focusmap.nets import Architecture, build_net
from focusmap.study import Augmentation
from focusmap.training import epoch, loop
from focusmap.training.loop import fit, training_seconds
from support.small_study import QUICK, study


def net():
    return build_net(Architecture("small-residual", 1, 1))


def test_the_time_told_is_about_the_time_taken(monkeypatch):
    # By the processor's clock: what else the machine does now and then is not this training's time.
    monkeypatch.setattr(loop.time, "perf_counter", time.process_time)
    recipe = replace(QUICK, epochs=6)
    told = training_seconds(net(), study(n=160, n_train=128), recipe)
    started = time.process_time()
    list(fit(net(), study(n=160, n_train=128), recipe))
    taken = time.process_time() - started
    assert taken / 3 < told < taken * 3


def clocked(monkeypatch, seconds_of):
    """Let each step last as long as `seconds_of` says of its number of images; return the steps taken."""
    taken, clock = [], [0.0]
    step = epoch.take_step

    def timed(session, together, epoch):
        taken.append(len(together[0].positions))
        clock[0] += seconds_of(taken)
        return step(session, together, epoch)

    monkeypatch.setattr(epoch, "take_step", timed)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    return taken


def test_epochs_draws_and_tune_are_counted(monkeypatch):
    clocked(monkeypatch, lambda taken: 0.1 * taken[-1] + 5 * (len(taken) == 1))
    recipe, data = replace(QUICK, epochs=5), study(n=48, n_train=33)
    assert training_seconds(net(), data, recipe) == pytest.approx(5 * 0.1 * (33 + 15 / 3))
    # 17 of the 33 are negative: the 16 positives come 17 times.
    assert training_seconds(net(), data, replace(recipe, sampling="over")) == pytest.approx(5 * 0.1 * (34 + 15 / 3))


def test_a_net_that_takes_long_is_timed_by_few_images(monkeypatch):
    taken = clocked(monkeypatch, lambda taken: 2.0 * taken[-1])
    training_seconds(net(), study(), QUICK)
    assert taken == [2, 2]


def test_of_several_devices_one_is_timed(monkeypatch):
    clocked(monkeypatch, lambda taken: 2.0 * taken[-1])
    one, two = (training_seconds(net(), study(), QUICK, devices) for devices in ("cpu", "cpu:2"))
    assert two == one


def test_the_whole_batch_and_all_that_the_recipe_does_to_it_is_timed(monkeypatch):
    taken = clocked(monkeypatch, lambda _: 0.01)
    training_seconds(net(), study(), replace(QUICK, augmentation=Augmentation(mixup=0.4, elastic=0.03)))
    assert taken == [2, 2, 4, 8, 8, 8, 8]


def test_a_batch_that_does_not_fit_has_no_time(monkeypatch):
    def full(session, together, epoch):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(epoch, "take_step", full)
    assert training_seconds(net(), study(), QUICK) is None
